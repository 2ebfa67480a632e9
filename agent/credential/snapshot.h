/* Snapshots: what requests see of the store. Immutable and counted; private to the store. */
#ifndef TOLLGATE_CREDENTIAL_SNAPSHOT_H
#define TOLLGATE_CREDENTIAL_SNAPSHOT_H

#include "credential/credential.h"
#include "credential/value.h"

struct snapshot_key {
    struct value *value;   /* NULL: none */
    int64_t back_mono_us;  /* set aside until then; 0: it is not */
    unsigned weight;
    char *name;            /* the snapshot's own copy; NULL: none */
};

struct snapshot_credential {
    char *name, *region, *service; /* region NULL: not signed */
    struct credential_aws aws;
    bool renewable;
    struct snapshot_key keys[CREDENTIAL_KEYS_MAX];
    unsigned key_count;
    uint8_t *turns;        /* keys in the order of smooth weighted round robin */
    size_t turn_count;     /* 0: no key that has a value and is not set aside */
    atomic_uint turn;
};

struct credential_snapshot {
    atomic_uint refs;
    uint64_t generation;
    size_t count;
    struct snapshot_credential credentials[];
};

struct credential_snapshot *snapshot_new(size_t count, uint64_t generation) __attribute__((warn_unused_result));
/* Fills credential i; takes references of the values. `before` may be NULL: whose turn it was goes on. False: out of memory. */
bool snapshot_set(struct credential_snapshot *c, size_t i, const struct credential_options *o, const struct snapshot_key *keys,
                  const struct credential_snapshot *before) __attribute__((warn_unused_result));

#endif

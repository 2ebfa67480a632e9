/* What tollgatectl sends to create or rotate a gateway key, read and checked. */
#ifndef TOLLGATE_GATEWAY_KEYS_PARAMS_H
#define TOLLGATE_GATEWAY_KEYS_PARAMS_H

#include "access/key_budget.h"
#include "ledger/ledger.h"

#include <msgpack.h>

struct agent;

enum { KEY_TEXT_MAX = 512, KEY_LIST_MAX = 4096 };

struct key_params {
    uint8_t digest[32];
    int64_t expires_s;
    struct ledger_key key;    /* its texts are those below; without hash and secret */
    char name[KEY_TEXT_MAX], organization[KEY_TEXT_MAX], team[KEY_TEXT_MAX], user[KEY_TEXT_MAX], application[KEY_TEXT_MAX],
        cost_center[KEY_TEXT_MAX], groups[KEY_LIST_MAX], models[KEY_LIST_MAX], endpoints[KEY_TEXT_MAX], budget[KEY_BUDGET_MAX];
};

struct key_rotation {
    char id[KEY_TEXT_MAX];
    uint8_t digest[32];
    int64_t overlap_s;
    int64_t expires_s;        /* -1: as long again */
};

/* NULL, or a reason, valid until the next call. The key's budget is in force then. Control thread. */
const char *key_params_read(struct agent *a, const msgpack_object *params, struct key_params *out);
const char *key_rotation_read(const msgpack_object *params, struct key_rotation *out);
/* The parameter, NUL-terminated; false when it is none or too long. */
bool key_param(const msgpack_object *params, uint32_t i, char *buf, size_t size);
/* The endpoint of this name. */
bool gateway_keys_endpoint(struct slice name, enum endpoint *out);

#endif

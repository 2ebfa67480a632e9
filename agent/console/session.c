#include "console/session.h"

#include "console/oidc.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>

struct session {
    uint8_t hash[SHA256_DIGEST_LENGTH];
    int64_t until_us; /* 0: free */
    struct console_person who;
};

struct sessions {
    pthread_mutex_t lock;
    struct session table[SESSIONS_MAX];
};

struct sessions *sessions_new(void)
{
    struct sessions *s = calloc(1, sizeof *s);
    if (s != NULL)
        pthread_mutex_init(&s->lock, NULL);
    return s;
}

void sessions_free(struct sessions *s)
{
    if (s == NULL)
        return;
    pthread_mutex_destroy(&s->lock);
    OPENSSL_cleanse(s->table, sizeof s->table);
    free(s);
}

bool sessions_begin(struct sessions *s, const struct console_person *who, int64_t until_us, int64_t now_us, char cookie[SESSION_COOKIE])
{
    uint8_t bytes[32];

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    oidc_base64url(bytes, sizeof bytes, cookie);
    OPENSSL_cleanse(bytes, sizeof bytes);
    pthread_mutex_lock(&s->lock);
    struct session *place = &s->table[0];
    for (size_t i = 0; i < SESSIONS_MAX && place->until_us > now_us; i++)
        if (s->table[i].until_us < place->until_us)
            place = &s->table[i];
    SHA256((const unsigned char *)cookie, SESSION_COOKIE - 1, place->hash);
    place->until_us = until_us;
    place->who = *who;
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* Under lock. Every live session is looked at, whatever the cookie. */
static struct session *find(struct sessions *s, struct slice cookie, int64_t now_us)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    struct session *found = NULL;

    if (cookie.n != SESSION_COOKIE - 1)
        return NULL;
    SHA256((const unsigned char *)cookie.p, cookie.n, hash);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (s->table[i].until_us > now_us && CRYPTO_memcmp(s->table[i].hash, hash, sizeof hash) == 0)
            found = &s->table[i];
    return found;
}

bool sessions_find(struct sessions *s, struct slice cookie, int64_t now_us, struct console_person *who)
{
    pthread_mutex_lock(&s->lock);
    const struct session *one = find(s, cookie, now_us);
    if (one != NULL)
        *who = one->who;
    pthread_mutex_unlock(&s->lock);
    return one != NULL;
}

void sessions_end(struct sessions *s, struct slice cookie)
{
    pthread_mutex_lock(&s->lock);
    struct session *one = find(s, cookie, 0);
    if (one != NULL)
        OPENSSL_cleanse(one, sizeof *one);
    pthread_mutex_unlock(&s->lock);
}

void sessions_clear(struct sessions *s)
{
    pthread_mutex_lock(&s->lock);
    OPENSSL_cleanse(s->table, sizeof s->table);
    pthread_mutex_unlock(&s->lock);
}

size_t sessions_count(struct sessions *s, int64_t now_us)
{
    size_t n = 0;

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        n += s->table[i].until_us > now_us;
    pthread_mutex_unlock(&s->lock);
    return n;
}

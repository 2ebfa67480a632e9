/* Any bytes as what token endpoints, vaults, key files and commands give us: refused with a reason, or used as far as it goes. */
#include "credential/aws_keys.h"
#include "credential/service_account.h"
#include "credential/sigv4.h"
#include "credential/token_reply.h"
#include "credential/vault_reply.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : abort())

static void sign(const struct aws_keys *k, struct slice text)
{
    char out[SIGV4_AUTHORIZATION_MAX], zeros[SIGV4_HEX + 1] = "";
    size_t half = text.n / 2;
    memset(zeros, '0', SIGV4_HEX);
    struct sigv4_header headers[] = { { "host", SLICE_LIT("h") }, { "x-amz-date", SLICE_LIT("20150830T123600Z") }, { "y", text } };
    struct sigv4_request rq = { .region = "r", .service = "s", .method = SLICE_LIT("POST"), .path = slice_make(text.p, half),
                                .query = slice_make(text.p + half, text.n - half), .headers = headers, .header_count = 3,
                                .payload_hex = zeros, .date = "20150830T123600Z" };
    size_t n = sigv4_sign(k, &rq, out, sizeof out);
    CHECK(n < sizeof out && (n == 0 || out[n] == '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make((const char *)data, size);
    struct arena *a = arena_new(4096);
    struct token_reply token;
    struct vault_reply vault;
    struct service_account account;
    struct aws_keys keys;
    struct json_text field;
    const char *why = NULL;
    int64_t seconds;

    CHECK(a != NULL);
    if (token_reply_parse(in, a, &token, &why) == 0)
        CHECK(token.expires_in_s >= -1 && token.error.n <= 200);
    else
        CHECK(why != NULL && why[0] != '\0');
    if (vault_reply_parse(in, a, &vault, &why) == 0 && vault.data.p != NULL) {
        (void)vault_field(vault.data, "key", &field);
        CHECK(vault_number(vault.data, "ttl") >= -1);
    }
    if (service_account_parse(in, &account, &why) == 0) {
        CHECK(account.private_key != NULL && account.client_email[0] != '\0');
        service_account_clear(&account);
    }
    if (aws_keys_parse(in, &keys, &why) == 0) {
        CHECK(keys.id[0] != '\0' && keys.key != NULL);
        sign(&keys, in);
        aws_keys_clear(&keys);
    }
    (void)aws_time_parse(in, &seconds);
    arena_free(a);
    return 0;
}

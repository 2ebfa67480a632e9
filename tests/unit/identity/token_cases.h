/* Tokens, good and hostile, and for each hostile one the reason it must be refused for. The header gives the key it names, `key` the one it
 * is signed with. */
#ifndef TOLLGATE_TESTS_TOKEN_CASES_H
#define TOLLGATE_TESTS_TOKEN_CASES_H

#define NOW_S 1800000000
#define NOW_US (INT64_C(1000000) * NOW_S)
#define ISS "\"iss\":\"https://issuer.test\""
#define REST "\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600"
#define GOOD "{" ISS "," REST "}"
#define RS "{\"alg\":\"RS256\",\"kid\":\"rs\"}"
#define ES "{\"alg\":\"ES256\",\"kid\":\"es256\"}"
#define NARROW_HEADER "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"at+jwt\"}"
#define NARROW(rest) "{\"iss\":\"https://narrow.test\",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600" rest "}"
#define NARROW_GOOD ",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":[\"x\",\"llm\"]}"

enum { RSA_A, RSA_B, RSA_PINNED, RSA_ENC, RSA_WEAK, RSA_PRIVATE, RSA_ENCRYPT, RSA_STRANGER, EC_256, EC_384, EC_521, EC_256_B, ED, KEYS };

static const struct good {
    const char *header, *payload, *alg;
    int key;
} goods[] = {
    { RS, GOOD, "RS256", RSA_A },
    { "{\"alg\":\"RS384\",\"kid\":\"rs\",\"typ\":\"JWT\"}", GOOD, "RS384", RSA_A },
    { "{\"alg\":\"RS512\",\"kid\":\"rs\",\"typ\":\"jwt\"}", GOOD, "RS512", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"at+jwt\"}", GOOD, "RS256", RSA_A },
    { "{\"alg\":\"RS512\",\"kid\":\"rs\",\"typ\":\"application/AT+JWT\"}", GOOD, "RS512", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"application/jwt\"}", GOOD, "RS256", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"pinned\"}", GOOD, "RS256", RSA_PINNED },
    { "{\"alg\":\"PS256\",\"kid\":\"rs\"}", GOOD, "PS256", RSA_A },
    { "{\"alg\":\"PS384\",\"kid\":\"rs\"}", GOOD, "PS384", RSA_A },
    { "{\"alg\":\"PS512\",\"kid\":\"rs\"}", GOOD, "PS512", RSA_A },
    { ES, GOOD, "ES256", EC_256 },
    { "{\"alg\":\"ES384\",\"kid\":\"es384\"}", GOOD, "ES384", EC_384 },
    { "{\"alg\":\"ES512\",\"kid\":\"es512\"}", GOOD, "ES512", EC_521 },
    { "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"at+jwt\"}", GOOD, "ES256", EC_256 },
    { "{\"alg\":\"ES384\",\"kid\":\"es384\",\"typ\":\"at+jwt\"}", GOOD, "ES384", EC_384 },
    { "{\"alg\":\"ES512\",\"kid\":\"es512\",\"typ\":\"at+jwt\"}", GOOD, "ES512", EC_521 },
    { "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD, "EdDSA", ED },
    /* no kid: whichever key fits */
    { "{\"alg\":\"ES256\"}", GOOD, "ES256", EC_256 },
    { "{\"alg\":\"RS256\"}", GOOD, "RS256", RSA_PINNED },
    /* hints about keys in the header are ignored, not followed */
    { "{\"alg\":\"RS256\",\"kid\":\"rs\",\"jku\":\"https://evil.test/\",\"x5u\":\"https://evil.test/\",\"x5c\":[\"AA\"]}", GOOD, "RS256", RSA_A },
    { " { \"kid\" : \"rs\" , \"alg\" : \"RS256\" } ", GOOD, "RS256", RSA_A },
    /* aud as a list, the other audience */
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[\"x\",\"https://gateway.test\"],\"exp\":1800003600}", "RS256", RSA_A },
    /* times: a fraction is rounded down, leeway on both sides */
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800000000.5}", "RS256", RSA_A },
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1799999941}", "RS256", RSA_A },
    { RS, "{" ISS "," REST ",\"nbf\":1800000060,\"iat\":1800000060}", "RS256", RSA_A },
    { RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1.8000036e9}", "RS256", RSA_A },
    { "{\"alg\":\"RS256\",\"kid\":\"rs\"}", "{\"iss\":\"https://other.test\"," REST "}", "RS256", RSA_B },
    { NARROW_HEADER, NARROW(NARROW_GOOD), "RS256", RSA_A },
    { NARROW_HEADER, NARROW(",\"iat\":1799999990,\"client_id\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":\"llm\"}"), "RS256", RSA_A },
};

enum twist {
    AS_IS, DER, HS_PEM, HS_PEM_NO_NEWLINE, HS_DER, HS_MODULUS, HS_JWK_SECRET, NO_SIGNATURE, TWO_PARTS, FOUR_PARTS, FIVE_PARTS, PADDED,
    NOT_CANONICAL, BLANK_INSIDE, NEWLINE_INSIDE, OTHER_ALPHABET, FLIP_SIGNATURE, OTHER_PAYLOAD, ZERO_SIGNATURE, SHORT_SIGNATURE,
    LONG_SIGNATURE, SWAPPED_RS, EMPTY_PAYLOAD, EMPTY_HEADER, TOO_LONG, ONE_WORD, SHORT_SALT, PREFIX_DOT
};

#define DEEP "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]"

static const struct bad {
    const char *name, *header, *payload, *alg;
    int key;
    enum twist twist;
    const char *reason, *says;
} bads[] = {
    /* no signature, shared secrets */
    { "alg none", "{\"alg\":\"none\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg None", "{\"alg\":\"None\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg NONE", "{\"alg\":\"NONE\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg nOnE, escaped", "{\"alg\":\"\\u006eOn\\u0045\"}", GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_algorithm", "unsigned" },
    { "alg none with a signature", "{\"alg\":\"none\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "unsigned" },
    { "alg missing", "{\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg null", "{\"alg\":null,\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg number", "{\"alg\":256,\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg list", "{\"alg\":[\"RS256\"],\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "no algorithm" },
    { "alg empty", "{\"alg\":\"\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "not one of" },
    { "alg in lower case", "{\"alg\":\"rs256\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "not one of" },
    { "alg with a blank", "{\"alg\":\"RS256 \",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "not one of" },
    { "ES256K", "{\"alg\":\"ES256K\",\"kid\":\"es256\"}", GOOD, "ES256", EC_256, AS_IS, "token_algorithm", "not one of" },
    { "HS256 signed with the public key as PEM", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_PEM, "token_algorithm", "shared secret" },
    { "the same without its last newline", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_PEM_NO_NEWLINE, "token_algorithm", "shared secret" },
    { "HS256 signed with the public key as DER", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_DER, "token_algorithm", "shared secret" },
    { "HS256 signed with the modulus", "{\"alg\":\"HS256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_MODULUS, "token_algorithm", "shared secret" },
    { "HS256 signed with the published oct key", "{\"alg\":\"HS256\",\"kid\":\"oct\"}", GOOD, "", RSA_A, HS_JWK_SECRET, "token_algorithm", "shared secret" },
    { "hs256 in lower case", "{\"alg\":\"hs256\",\"kid\":\"rs\"}", GOOD, "", RSA_A, HS_PEM, "token_algorithm", "shared secret" },
    { "RS256 announced, HMAC with the PEM", RS, GOOD, "", RSA_A, HS_PEM, "token_signature", "signature is wrong" },
    /* algorithm and key do not belong together */
    { "RS256 with an EC kid", "{\"alg\":\"RS256\",\"kid\":\"es256\"}", GOOD, "RS256", RSA_A, AS_IS, "token_algorithm", "does not fit the key" },
    { "ES256 with an RSA kid", "{\"alg\":\"ES256\",\"kid\":\"rs\"}", GOOD, "ES256", EC_256, AS_IS, "token_algorithm", "does not fit the key" },
    { "ES256 with a P-384 kid", "{\"alg\":\"ES256\",\"kid\":\"es384\"}", GOOD, "ES256", EC_384, AS_IS, "token_algorithm", "does not fit the key" },
    { "ES512 with a P-256 kid", "{\"alg\":\"ES512\",\"kid\":\"es256\"}", GOOD, "ES512", EC_256, AS_IS, "token_algorithm", "does not fit the key" },
    { "EdDSA with a P-256 kid", "{\"alg\":\"EdDSA\",\"kid\":\"es256\"}", GOOD, "EdDSA", ED, AS_IS, "token_algorithm", "does not fit the key" },
    { "PS256 with a key pinned to RS256", "{\"alg\":\"PS256\",\"kid\":\"pinned\"}", GOOD, "PS256", RSA_PINNED, AS_IS, "token_algorithm", "does not fit the key" },
    { "RS384 with a key pinned to RS256", "{\"alg\":\"RS384\",\"kid\":\"pinned\"}", GOOD, "RS384", RSA_PINNED, AS_IS, "token_algorithm", "does not fit the key" },
    { "RS256 announced, PSS used", RS, GOOD, "PS256", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "PS256 announced, PKCS#1 used", "{\"alg\":\"PS256\",\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "RS256 announced, RS512 used", RS, GOOD, "RS512", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "PSS with a short salt", "{\"alg\":\"PS256\",\"kid\":\"rs\"}", GOOD, "PS256", RSA_A, SHORT_SALT, "token_signature", "signature is wrong" },
    { "an algorithm outside the issuer's list", "{\"alg\":\"RS512\",\"kid\":\"rs\",\"typ\":\"at+jwt\"}", NARROW(NARROW_GOOD), "RS512", RSA_A, AS_IS, "token_algorithm", "from this issuer" },
    /* keys */
    { "unknown kid", "{\"alg\":\"RS256\",\"kid\":\"nope\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "empty kid", "{\"alg\":\"RS256\",\"kid\":\"\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "kid in another case", "{\"alg\":\"RS256\",\"kid\":\"RS\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "kid as a path", "{\"alg\":\"RS256\",\"kid\":\"../../../dev/null\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    { "kid as a number", "{\"alg\":\"RS256\",\"kid\":1}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "kid" },
    { "kid null", "{\"alg\":\"RS256\",\"kid\":null}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "kid" },
    { "a stranger's key under a known kid", RS, GOOD, "RS256", RSA_STRANGER, AS_IS, "token_signature", "signature is wrong" },
    { "a stranger's key, carried in the header", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"jwk\":{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}}", GOOD, "RS256", RSA_STRANGER, AS_IS, "token_signature", "signature is wrong" },
    { "a stranger's key without kid", "{\"alg\":\"RS256\"}", GOOD, "RS256", RSA_STRANGER, AS_IS, "token_signature", "names no key" },
    { "the other issuer's key under the same kid", RS, GOOD, "RS256", RSA_B, AS_IS, "token_signature", "signature is wrong" },
    { "our key under the same kid, the other issuer's name", RS, "{\"iss\":\"https://other.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_signature", "signature is wrong" },
    { "a kid only the other issuer has", "{\"alg\":\"ES256\",\"kid\":\"b-only\"}", GOOD, "ES256", EC_256_B, AS_IS, "token_key", "not among" },
    { "the other issuer's key without kid", "{\"alg\":\"ES256\"}", GOOD, "ES256", EC_256_B, AS_IS, "token_signature", "names no key" },
    { "a key for encryption (use)", "{\"alg\":\"RS256\",\"kid\":\"enc\"}", GOOD, "RS256", RSA_ENC, AS_IS, "token_key", "not among" },
    { "a key for encryption (key_ops)", "{\"alg\":\"RS256\",\"kid\":\"encrypt\"}", GOOD, "RS256", RSA_ENCRYPT, AS_IS, "token_key", "not among" },
    { "an RSA key of 1024 bits", "{\"alg\":\"RS256\",\"kid\":\"weak\"}", GOOD, "RS256", RSA_WEAK, AS_IS, "token_key", "not among" },
    { "a key published with its private half", "{\"alg\":\"RS256\",\"kid\":\"private\"}", GOOD, "RS256", RSA_PRIVATE, AS_IS, "token_key", "not among" },
    { "the oct key's kid with RS256", "{\"alg\":\"RS256\",\"kid\":\"oct\"}", GOOD, "RS256", RSA_A, AS_IS, "token_key", "not among" },
    /* signatures */
    { "no signature", RS, GOOD, "RS256", RSA_A, NO_SIGNATURE, "token_signature", "no signature" },
    { "one bit of the signature", RS, GOOD, "RS256", RSA_A, FLIP_SIGNATURE, "token_signature", "signature is wrong" },
    { "signature of another payload", RS, GOOD, "RS256", RSA_A, OTHER_PAYLOAD, "token_signature", "signature is wrong" },
    { "RSA signature of zeros", RS, GOOD, "RS256", RSA_A, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    { "RSA signature cut short", RS, GOOD, "RS256", RSA_A, SHORT_SIGNATURE, "token_signature", "signature is wrong" },
    { "RSA signature with bytes behind", RS, GOOD, "RS256", RSA_A, LONG_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 in DER", ES, GOOD, "ES256", EC_256, DER, "token_signature", "signature is wrong" },
    { "ES256 r = s = 0", ES, GOOD, "ES256", EC_256, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 r = s = 0, at+jwt", "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"at+jwt\"}", GOOD, "ES256", EC_256, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 in DER, at+jwt", "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"at+jwt\"}", GOOD, "ES256", EC_256, DER, "token_signature", "signature is wrong" },
    { "ES256 cut short", ES, GOOD, "ES256", EC_256, SHORT_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 with a byte behind", ES, GOOD, "ES256", EC_256, LONG_SIGNATURE, "token_signature", "signature is wrong" },
    { "ES256 with r and s exchanged", ES, GOOD, "ES256", EC_256, SWAPPED_RS, "token_signature", "signature is wrong" },
    { "Ed25519 cut short", "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD, "EdDSA", ED, SHORT_SIGNATURE, "token_signature", "signature is wrong" },
    { "Ed25519 of zeros", "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}", GOOD, "EdDSA", ED, ZERO_SIGNATURE, "token_signature", "signature is wrong" },
    /* shape */
    { "an API key", RS, GOOD, "RS256", RSA_A, ONE_WORD, "token_malformed", "three parts" },
    { "two parts", RS, GOOD, "RS256", RSA_A, TWO_PARTS, "token_malformed", "three parts" },
    { "four parts", RS, GOOD, "RS256", RSA_A, FOUR_PARTS, "token_malformed", "three parts" },
    { "five parts (JWE)", RS, GOOD, "RS256", RSA_A, FIVE_PARTS, "token_malformed", "three parts" },
    { "a dot in front", RS, GOOD, "RS256", RSA_A, PREFIX_DOT, "token_malformed", "three parts" },
    { "empty header", RS, GOOD, "RS256", RSA_A, EMPTY_HEADER, "token_malformed", "header is empty" },
    { "empty payload", RS, GOOD, "RS256", RSA_A, EMPTY_PAYLOAD, "token_malformed", "payload is empty" },
    { "padding", RS, GOOD, "RS256", RSA_A, PADDED, "token_malformed", "base64url" },
    { "bits set behind the last byte", RS, GOOD, "RS256", RSA_A, NOT_CANONICAL, "token_malformed", "base64url" },
    { "a blank inside", RS, GOOD, "RS256", RSA_A, BLANK_INSIDE, "token_malformed", "base64url" },
    { "a newline inside", RS, GOOD, "RS256", RSA_A, NEWLINE_INSIDE, "token_malformed", "base64url" },
    { "plain base64 alphabet", RS, GOOD, "RS256", RSA_A, OTHER_ALPHABET, "token_malformed", "base64url" },
    { "16 KiB and one byte", RS, GOOD, "RS256", RSA_A, TOO_LONG, "token_malformed", "larger than 16384" },
    { "header is a list", "[\"RS256\"]", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "header is not a JSON object" },
    { "header names alg twice", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"alg\":\"none\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "header names alg twice, once escaped", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"\\u0061lg\":\"none\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "header with text behind", "{\"alg\":\"RS256\",\"kid\":\"rs\"}x", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "header" },
    { "header with a comment", "{\"alg\":\"RS256\",/* */\"kid\":\"rs\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "not JSON" },
    { "payload is a string", RS, "\"alice\"", "RS256", RSA_A, AS_IS, "token_malformed", "payload is not a JSON object" },
    { "payload names sub twice", RS, "{" ISS "," REST ",\"sub\":\"root\"}", "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "payload names exp twice", RS, "{" ISS "," REST ",\"exp\":1900000000}", "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "payload names a nested claim twice", RS, "{" ISS "," REST ",\"a\":{\"r\":1,\"r\":2}}", "RS256", RSA_A, AS_IS, "token_malformed", "twice" },
    { "payload too deep", RS, "{" ISS "," REST ",\"a\":" DEEP "}", "RS256", RSA_A, AS_IS, "token_malformed", "nested too deeply" },
    { "payload with an escaped NUL", RS, "{" ISS ",\"sub\":\"alice\\u0000\",\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "NUL" },
    { "payload with half a surrogate pair", RS, "{" ISS "," REST ",\"n\":\"\\ud800\"}", "RS256", RSA_A, AS_IS, "token_malformed", "surrogate" },
    { "payload not UTF-8", RS, "{" ISS "," REST ",\"n\":\"\xc0\xaf\"}", "RS256", RSA_A, AS_IS, "token_malformed", "UTF-8" },
    { "payload with a trailing comma", RS, "{" ISS "," REST ",}", "RS256", RSA_A, AS_IS, "token_malformed", "not JSON" },
    { "payload with single quotes", RS, "{'iss':'https://issuer.test'}", "RS256", RSA_A, AS_IS, "token_malformed", "not JSON" },
    /* header parameters */
    { "crit", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"crit\":[\"exp\"],\"exp\":1}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "crit" },
    { "crit empty", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"crit\":[]}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "crit" },
    { "b64 false with crit", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"b64\":false,\"crit\":[\"b64\"]}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "crit" },
    { "b64 false without crit", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"b64\":false}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "b64" },
    { "nested token", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"cty\":\"JWT\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "nested" },
    { "nested token, lower case", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"cty\":\"jwt\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "nested" },
    { "enc", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"enc\":\"A128GCM\"}", GOOD, "RS256", RSA_A, AS_IS, "token_malformed", "encrypted" },
    { "typ logout+jwt", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":\"logout+jwt\"}", GOOD, "RS256", RSA_A, AS_IS, "token_type", "logout token" },
    { "a logout token without its typ", RS, "{" ISS "," REST ",\"events\":{\"http://schemas.openid.net/event/backchannel-logout\":{}}}", "RS256", RSA_A, AS_IS, "token_type", "logout token" },
    { "typ dpop+jwt", "{\"alg\":\"ES256\",\"kid\":\"es256\",\"typ\":\"dpop+jwt\"}", GOOD, "ES256", EC_256, AS_IS, "token_type", "typ" },
    { "typ not a string", "{\"alg\":\"RS256\",\"kid\":\"rs\",\"typ\":[\"JWT\"]}", GOOD, "RS256", RSA_A, AS_IS, "token_type", "typ" },
    { "typ JWT where only access tokens go", RS, NARROW(NARROW_GOOD), "RS256", RSA_A, AS_IS, "token_type", "at+jwt" },
    /* iss */
    { "iss missing", RS, "{" REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss as a list", RS, "{\"iss\":[\"https://issuer.test\"]," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss with a slash behind", RS, "{\"iss\":\"https://issuer.test/\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss as a prefix of a host", RS, "{\"iss\":\"https://issuer.test.evil\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss with a user part", RS, "{\"iss\":\"https://issuer.test@evil.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss in upper case", RS, "{\"iss\":\"HTTPS://ISSUER.TEST\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "iss over http", RS, "{\"iss\":\"http://issuer.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    { "ISS", RS, "{\"ISS\":\"https://issuer.test\"," REST "}", "RS256", RSA_A, AS_IS, "token_issuer", "iss" },
    /* exp, nbf, iat */
    { "exp missing", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\"}", "RS256", RSA_A, AS_IS, "token_claim", "exp" },
    { "exp as a string", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":\"1800003600\"}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp null", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":null}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp true", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":true}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp negative", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":-1}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp beyond the year 9999", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":99999999999999}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp beyond 64 bits", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1e300}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "exp infinite", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1e999}", "RS256", RSA_A, AS_IS, "token_malformed", "range" },
    { "exp in milliseconds", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1800003600000}", "RS256", RSA_A, AS_IS, "token_malformed", "exp" },
    { "expired", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1799990000}", "RS256", RSA_A, AS_IS, "token_expired", "2027-01-15T05:13:20Z" },
    { "expired by just the leeway", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate\",\"exp\":1799999940}", "RS256", RSA_A, AS_IS, "token_expired", "60 seconds ago" },
    { "nbf in the future", RS, "{" ISS "," REST ",\"nbf\":1800000061}", "RS256", RSA_A, AS_IS, "token_not_yet_valid", "nbf" },
    { "nbf as a string", RS, "{" ISS "," REST ",\"nbf\":\"0\"}", "RS256", RSA_A, AS_IS, "token_malformed", "nbf" },
    { "iat in the future", RS, "{" ISS "," REST ",\"iat\":1800000061}", "RS256", RSA_A, AS_IS, "token_not_yet_valid", "iat" },
    { "issued too long ago", NARROW_HEADER, NARROW(",\"iat\":1799999400,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":[\"llm\"]}"), "RS256", RSA_A, AS_IS, "token_too_old", "600 seconds" },
    { "iat missing where an age is set", NARROW_HEADER, NARROW(",\"azp\":\"app-1\",\"tenant\":\"acme\""), "RS256", RSA_A, AS_IS, "token_claim", "iat" },
    /* aud, azp, required claims, sub */
    { "aud missing", RS, "{" ISS ",\"sub\":\"alice\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "no audience" },
    { "aud of another service", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"wiki\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "\"tollgate\" or \"https://gateway.test\"" },
    { "aud as a prefix", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"tollgate2\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "aud empty list", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "aud empty string", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":\"\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "bound by mutual TLS", RS, "{" ISS "," REST ",\"cnf\":{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2\"}}", "RS256", RSA_A, AS_IS, "token_bound", "bound to a key" },
    { "bound twice", RS, "{" ISS "," REST ",\"cnf\":{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2\",\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"}}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound to half a digest", RS, "{" ISS "," REST ",\"cnf\":{\"x5t#S256\":\"bwcK0esc3ACC3DB2Y5_lEQ\"}}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound to nothing", RS, "{" ISS "," REST ",\"cnf\":{}}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound to a text", RS, "{" ISS "," REST ",\"cnf\":\"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2\"}", "RS256", RSA_A, AS_IS, "token_bound", "cannot be checked" },
    { "bound by DPoP", RS, "{" ISS "," REST ",\"cnf\":{\"jkt\":\"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I\"}}", "RS256", RSA_A, AS_IS, "token_bound", "bound to a key" },
    { "aud list of others", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[\"a\",\"TOLLGATE\"],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_audience", "another audience" },
    { "aud number", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":1,\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "aud object", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":{\"tollgate\":1},\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "aud list with a number", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[\"tollgate\",1],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "aud list within a list", RS, "{" ISS ",\"sub\":\"alice\",\"aud\":[[\"tollgate\"]],\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_malformed", "aud" },
    { "azp not a string", RS, "{" ISS "," REST ",\"azp\":[\"app-1\"]}", "RS256", RSA_A, AS_IS, "token_malformed", "azp" },
    { "azp of another client", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-2\",\"client_id\":\"app-1\""), "RS256", RSA_A, AS_IS, "token_party", "client" },
    { "azp and client_id missing", NARROW_HEADER, NARROW(",\"iat\":1799999990"), "RS256", RSA_A, AS_IS, "token_party", "client" },
    { "required claim missing", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\""), "RS256", RSA_A, AS_IS, "token_claim", "\"tenant\"" },
    { "required claim null", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":null"), "RS256", RSA_A, AS_IS, "token_claim", "lacks the claim \"tenant\"" },
    { "required claim of another value", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"evil\""), "RS256", RSA_A, AS_IS, "token_claim", "\"tenant\" does not have" },
    { "required role missing", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":[\"x\"]}"), "RS256", RSA_A, AS_IS, "token_claim", "\"realm.roles\"" },
    { "required role as a member's name", NARROW_HEADER, NARROW(",\"iat\":1799999990,\"azp\":\"app-1\",\"tenant\":\"acme\",\"realm\":{\"roles\":{\"llm\":1}}"), "RS256", RSA_A, AS_IS, "token_claim", "\"realm.roles\"" },
    { "sub missing", RS, "{" ISS ",\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_claim", "sub" },
    { "sub empty", RS, "{" ISS ",\"sub\":\"\",\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_claim", "sub" },
    { "sub an object", RS, "{" ISS ",\"sub\":{\"a\":1},\"aud\":\"tollgate\",\"exp\":1800003600}", "RS256", RSA_A, AS_IS, "token_claim", "sub" },
};

#endif

#include "identity/certificate.h"

#include "identity/certificate_cache.h"
#include "identity/claims.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

enum { DIGEST = 32, NAME_MAX_BYTES = 1024 /* the ledger takes no longer ones */ };

static bool fail(struct fault *f, const char *reason, struct slice message)
{
    *f = (struct fault){ .reason = reason, .message = message };
    return false;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool fingerprint(struct slice der, struct arena *a, struct slice *out)
{
    unsigned char digest[DIGEST];
    char text[2 * DIGEST + 1];

    if (EVP_Digest(der.p, der.n, digest, NULL, EVP_sha256(), NULL) != 1)
        return false;
    for (size_t i = 0; i < DIGEST; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    *out = arena_copy(a, slice_make(text, 2 * DIGEST));
    return out->p != NULL;
}

static bool distinguished_name(const X509_NAME *name, struct arena *a, struct slice *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    bool ok = bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0;
    long n = ok ? BIO_get_mem_data(bio, &text) : 0;

    *out = ok ? arena_copy(a, slice_make(n > 0 ? text : "", n > 0 ? (size_t)n : 0)) : SLICE_NONE;
    BIO_free(bio);
    return ok && out->p != NULL;
}

/* Two common names would let whoever asked for the certificate choose which of them counts. */
static bool common_name(X509_NAME *name, struct arena *a, struct slice *out)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *utf8 = NULL;

    *out = SLICE_NONE;
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return true;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    bool ok = true;
    if (n > 0 && printable(slice_make((char *)utf8, (size_t)n))) {
        *out = arena_copy(a, slice_make((char *)utf8, (size_t)n));
        ok = out->p != NULL;
    }
    OPENSSL_free(utf8);
    return ok;
}

static struct slice alternative_name(const GENERAL_NAME *g, struct arena *a)
{
    const char *kind = g->type == GEN_DNS ? "DNS" : g->type == GEN_URI ? "URI" : g->type == GEN_EMAIL ? "email" : NULL;

    if (kind == NULL)
        return SLICE_NONE;
    struct slice s = slice_make((const char *)ASN1_STRING_get0_data(g->d.ia5), (size_t)ASN1_STRING_length(g->d.ia5));
    return s.n > 0 && printable(s) ? arena_printf(a, "%s:%.*s", kind, SLICE_FMT(s)) : SLICE_NONE;
}

static bool alternative_names(X509 *x, struct arena *a, struct certificate *out, struct fault *f)
{
    int state = -1;
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, &state, NULL);
    int n = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
    struct slice *list = n > 0 ? arena_alloc(a, (size_t)n * sizeof *list) : NULL;
    bool ok = (names != NULL || state == -1) && n <= CERTIFICATE_NAMES_MAX && (n == 0 || list != NULL);

    for (int i = 0; ok && i < n; i++) {
        struct slice s = alternative_name(sk_GENERAL_NAME_value(names, i), a);
        if (s.n > 0)
            list[out->alternative_count++] = s;
    }
    out->alternative_names = list;
    GENERAL_NAMES_free(names);
    return ok || fail(f, "certificate_malformed",
                      SLICE_LIT("the client certificate's alternative names cannot be read, or are more than 64"));
}

static bool instant(const ASN1_TIME *t, int64_t *out)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *out = (int64_t)timegm(&tm);
    return true;
}

static bool fields_read(X509 *x, struct slice der, struct arena *a, struct certificate *out, struct fault *f)
{
    if (!instant(X509_get0_notBefore(x), &out->from_s) || !instant(X509_get0_notAfter(x), &out->until_s))
        return fail(f, "certificate_malformed", SLICE_LIT("the client certificate's dates cannot be read"));
    if (!fingerprint(der, a, &out->fingerprint) || !distinguished_name(X509_get_issuer_name(x), a, &out->issuer) ||
        !distinguished_name(X509_get_subject_name(x), a, &out->subject) || !common_name(X509_get_subject_name(x), a, &out->common_name))
        return fail(f, "certificate_malformed", SLICE_LIT("out of memory while reading the client certificate"));
    return alternative_names(x, a, out, f);
}

bool certificate_parse(struct slice der, struct arena *a, struct certificate *out, struct fault *f)
{
    const unsigned char *p = (const unsigned char *)der.p;

    *out = (struct certificate){ .from_s = 0 };
    if (der.n == 0 || der.n > CERTIFICATE_MAX)
        return fail(f, "certificate_malformed", der.n == 0 ? SLICE_LIT("the client certificate is missing")
                                                           : SLICE_LIT("the client certificate is larger than 16384 bytes"));
    X509 *x = d2i_X509(NULL, &p, (long)der.n);
    bool whole = x != NULL && p == (const unsigned char *)der.p + der.n;
    bool ok = whole ? fields_read(x, der, a, out, f) : fail(f, "certificate_malformed", SLICE_LIT("the client certificate cannot be read"));
    X509_free(x);
    return ok;
}

bool certificate_read(struct certificate_cache *k, const struct http_request *rq, int64_t now_s, struct arena *a, struct certificate *out, struct fault *f)
{
    if (!rq->certificate_used || rq->certificate_verify != 0)
        return fail(f, "certificate_unverified",
                    SLICE_LIT("the client certificate was not verified: it is not from an authority that is accepted here, expired or revoked"));
    if (!certificate_cache_parse(k, rq->certificate, a, out, f))
        return false;
    if (now_s > out->until_s)
        return fail(f, "certificate_expired", SLICE_LIT("the client certificate has expired; get a new one and connect anew"));
    if (now_s < out->from_s)
        return fail(f, "certificate_not_yet_valid", SLICE_LIT("the client certificate is not valid yet"));
    return true;
}

/* ---- mapping ---------------------------------------------------------------------------------------------------------- */

static bool alternative_matches(const char *pattern, const struct certificate *c, struct slice *star)
{
    for (size_t i = 0; i < c->alternative_count; i++)
        if (claims_match(pattern, c->alternative_names[i], star))
            return true;
    return false;
}

/* All that the rule names must hold. At most one of its patterns has a '*'. */
static bool rule_matches(const struct identity_certificate *r, const struct certificate *c, struct slice *star)
{
    struct slice cn = SLICE_NONE, san = SLICE_NONE;

    if ((r->issuer != NULL && !slice_eq_cstr(c->issuer, r->issuer)) || (r->subject != NULL && !slice_eq_cstr(c->subject, r->subject)) ||
        (r->fingerprint != NULL && !slice_eq_cstr(c->fingerprint, r->fingerprint)))
        return false;
    if (r->common_name != NULL && (c->common_name.n == 0 || !claims_match(r->common_name, c->common_name, &cn)))
        return false;
    if (r->alternative_name != NULL && !alternative_matches(r->alternative_name, c, &san))
        return false;
    *star = cn.n > 0 ? cn : san;
    return true;
}

static bool set(struct slice *field, const char *target, struct slice star, struct arena *a)
{
    const char *wild = target != NULL ? strchr(target, '*') : NULL;

    *field = wild == NULL ? slice_cstr(target)
                          : arena_printf(a, "%.*s%.*s%s", (int)(wild - target), target, SLICE_FMT(star), wild + 1);
    return (target == NULL || field->p != NULL) && field->n <= NAME_MAX_BYTES;
}

static bool groups_set(const struct identity_certificate *r, struct arena *a, struct identity *out)
{
    struct slice *list = r->groups_count > 0 ? arena_alloc(a, r->groups_count * sizeof *list) : NULL;

    for (unsigned i = 0; list != NULL && i < r->groups_count; i++)
        list[i] = slice_cstr(r->groups[i]);
    out->groups = list;
    out->group_count = list != NULL ? r->groups_count : 0;
    return r->groups_count == 0 || list != NULL;
}

static bool fill(const struct identity_certificate *r, const struct certificate *c, struct slice star, struct arena *a, struct identity *out)
{
    *out = (struct identity){ .issuer = arena_printf(a, CERTIFICATE_ISSUER "%.*s", SLICE_FMT(c->issuer)), .certificate = c->fingerprint,
                              .certificate_rule = slice_cstr(r->name), .expires_s = c->until_s, .issued_s = c->from_s };
    out->subject = c->subject.n > 0 ? c->subject : c->alternative_count > 0 ? c->alternative_names[0] : c->fingerprint;
    if (out->issuer.p == NULL || out->issuer.n > NAME_MAX_BYTES || out->subject.n > NAME_MAX_BYTES || !set(&out->team, r->team, star, a) ||
        !set(&out->user, r->user, star, a) || !set(&out->organization, r->organization, star, a) ||
        !set(&out->application, r->application, star, a) || !set(&out->cost_center, r->cost_center, star, a) || !groups_set(r, a, out))
        return false;
    if (out->user.n == 0)
        out->user = c->common_name.n > 0 ? c->common_name : out->subject;
    return out->user.n <= NAME_MAX_BYTES && out->team.n > 0;
}

bool certificate_map(const struct identity_options *o, const struct certificate *c, struct arena *a, struct identity *out, struct fault *f)
{
    struct slice star;

    for (unsigned i = 0; i < o->certificates_count; i++) {
        if (!rule_matches(&o->certificates[i], c, &star))
            continue;
        return fill(&o->certificates[i], c, star, a, out) ||
               fail(f, "certificate_malformed", SLICE_LIT("a name in the client certificate is empty or longer than 1024 bytes"));
    }
    return fail(f, "certificate_not_mapped",
                arena_printf(a, "no rule of this gateway (certificates) says who the client certificate %.*s of %.*s is; ask the gateway's "
                             "operators, or send a token", SLICE_FMT(c->subject.n > 0 ? c->subject : c->fingerprint), SLICE_FMT(c->issuer)));
}

/* ---- checking --------------------------------------------------------------------------------------------------------- */

static unsigned stars(const char *s)
{
    unsigned n = 0;

    for (; s != NULL && *s != '\0'; s++)
        n += *s == '*';
    return n;
}

static bool is_fingerprint(const char *s)
{
    return strlen(s) == 2 * DIGEST && strspn(s, "0123456789abcdef") == 2 * DIGEST;
}

static bool is_alternative(const char *s)
{
    return strncmp(s, "DNS:", 4) == 0 || strncmp(s, "URI:", 4) == 0 || strncmp(s, "email:", 6) == 0;
}

/* Sets *place to what is meant. */
static const char *rule_check(const struct identity_certificate *r, const char **place)
{
    const char *targets[] = { r->team, r->user, r->organization, r->application, r->cost_center };
    const char *names[] = { "team", "user", "organization", "application", "cost_center" };
    const char *matched[] = { r->issuer, r->subject, r->common_name, r->alternative_name, r->fingerprint };
    unsigned wild = stars(r->common_name) + stars(r->alternative_name);
    bool any = false;

    for (size_t i = 0; i < sizeof matched / sizeof *matched; i++) {
        any = any || matched[i] != NULL;
        *place = "name";
        if (matched[i] != NULL && matched[i][0] == '\0')
            return "an empty value would match nothing; leave it out";
    }
    if (!any)
        return "the rule matches every certificate; say which: issuer, subject, common_name, alternative_name or fingerprint";
    *place = "fingerprint";
    if (r->fingerprint != NULL && !is_fingerprint(r->fingerprint))
        return "must be the 64 hexadecimal digits of the certificate's SHA-256, in lower case and without colons";
    *place = "alternative_name";
    if (r->alternative_name != NULL && !is_alternative(r->alternative_name))
        return "must begin with its kind: DNS:, URI: or email:";
    *place = r->common_name != NULL ? "common_name" : "alternative_name";
    if (wild > 1)
        return "common_name and alternative_name may hold one '*' between them";
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        *place = names[i];
        if (stars(targets[i]) > wild)
            return "a '*' needs a '*' in common_name or alternative_name, and there may be one";
    }
    *place = "team";
    return r->team == NULL || r->team[0] == '\0' ? "is required: whose spending it is" : NULL;
}

const char *certificate_rules_check(const struct identity_options *o, char *why, size_t why_size)
{
    for (unsigned i = 0; i < o->certificates_count; i++) {
        const struct identity_certificate *r = &o->certificates[i];
        const char *place = "name", *fault = r->name == NULL || r->name[0] == '\0' ? "is required" : rule_check(r, &place);
        for (unsigned k = 0; k < i && fault == NULL; k++) {
            place = "name";
            fault = strcmp(o->certificates[k].name, r->name) == 0 ? "stands there twice" : NULL;
        }
        if (fault != NULL) {
            snprintf(why, why_size, "certificates[%u].%s: %s", i, place, fault);
            return why;
        }
    }
    return NULL;
}

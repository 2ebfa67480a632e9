#include "price/build.h"

void price_raw_init(struct price_raw *raw)
{
    *raw = (struct price_raw){ .provider = SLICE_NONE, .image_out_pico = -1, .image_token_pico = -1 };
    for (int k = 0; k < PRICE_KINDS; k++)
        raw->pico[k] = -1;
}

struct price_raw_tier *price_raw_tier(struct price_raw *raw, int64_t above)
{
    unsigned i = 0;
    while (i < raw->tier_count && raw->tiers[i].above < above)
        i++;
    if (i < raw->tier_count && raw->tiers[i].above == above)
        return &raw->tiers[i];
    if (raw->tier_count == PRICE_TIERS) {
        raw->unmeasured = true;
        return NULL;
    }
    memmove(&raw->tiers[i + 1], &raw->tiers[i], (raw->tier_count - i) * sizeof raw->tiers[0]);
    raw->tier_count++;
    raw->tiers[i] = (struct price_raw_tier){ .above = above };
    for (int k = 0; k < PRICE_KINDS; k++)
        raw->tiers[i].pico[k] = -1;
    return &raw->tiers[i];
}

/* A special rate of 0 beside a price that is not 0 was left empty by the catalogue. */
static bool stands(const int64_t pico[PRICE_KINDS], unsigned believed, int kind, int64_t usual)
{
    return pico[kind] > 0 || (pico[kind] == 0 && (usual <= 0 || believed & 1u << kind));
}

/* Fills `out` from what is published; returns the bits that are. */
static unsigned fill(const int64_t pico[PRICE_KINDS], unsigned believed, int64_t out[PRICE_KINDS])
{
    int64_t in = pico[PRICE_INPUT] > 0 ? pico[PRICE_INPUT] : 0, ans = pico[PRICE_OUTPUT] > 0 ? pico[PRICE_OUTPUT] : 0;
    const int64_t usual[PRICE_KINDS] = { in, in, in, in, ans, ans, in, ans };
    unsigned published = 0;
    for (int k = 0; k < PRICE_KINDS; k++) {
        bool itself = k == PRICE_INPUT || k == PRICE_OUTPUT;
        bool known = itself ? pico[k] >= 0 : stands(pico, believed, k, usual[k]);
        out[k] = known ? pico[k] : usual[k];
        published |= (unsigned)known << k;
    }
    if (!(published & 1u << PRICE_CACHE_WRITE_1H) && published & 1u << PRICE_CACHE_WRITE) {
        int64_t longer = (pico[PRICE_CACHE_WRITE] * 16 + 9) / 10;
        out[PRICE_CACHE_WRITE_1H] = longer > in ? longer : in;
    }
    return published;
}

static void resolve_tier(const struct price_raw *raw, const struct price_raw_tier *t, const struct price_rates *base, struct price_tier *out)
{
    int64_t pico[PRICE_KINDS];
    memcpy(pico, t->pico, sizeof pico);
    if (pico[PRICE_INPUT] < 0)
        pico[PRICE_INPUT] = base->pico[PRICE_INPUT];
    if (pico[PRICE_OUTPUT] < 0)
        pico[PRICE_OUTPUT] = base->pico[PRICE_OUTPUT];
    unsigned published = fill(pico, raw->believed | t->believed, out->rates.pico);
    for (int k = 0; k < PRICE_KINDS; k++)
        if (!(published & 1u << k) && out->rates.pico[k] < base->pico[k])
            out->rates.pico[k] = base->pico[k];
    out->above = t->above;
}

static enum price_status status_of(const struct price_raw *raw)
{
    int64_t in = raw->pico[PRICE_INPUT], out = raw->pico[PRICE_OUTPUT];
    bool said = (raw->believed & 1u << PRICE_INPUT) && (raw->believed & 1u << PRICE_OUTPUT);
    if (in < 0 && out < 0)
        return PRICE_NONE;
    if (raw->unmeasured || in < 0 || (out < 0 && !raw->no_output))
        return PRICE_HALF;
    if (said)
        return PRICE_OK;
    if (in == 0 && out <= 0)
        return PRICE_ZERO;
    return in > 0 && (out > 0 || raw->no_output) ? PRICE_OK : PRICE_HALF;
}

void price_resolve(const struct price_raw *raw, struct model_price *out)
{
    *out = (struct model_price){ .provider = raw->provider, .model = raw->model, .status = status_of(raw),
                                 .request_pico = raw->request_pico, .image_pico = raw->image_pico, .context = raw->context, .input_limit = raw->input_limit,
                                 .output_limit = raw->output_limit, .lacks = raw->lacks,
                                 .image_out_pico = raw->image_out_pico > 0 ? raw->image_out_pico : 0,
                                 .image_token_pico = raw->image_token_pico > 0 ? raw->image_token_pico : 0,
                                 .tier_count = raw->tier_count };
    out->published = fill(raw->pico, raw->believed, out->base.pico) | (raw->image_out_pico >= 0 ? PRICE_SAYS_IMAGE_OUT : 0) |
                     (raw->image_token_pico >= 0 ? PRICE_SAYS_IMAGE_TOKEN : 0);
    for (unsigned i = 0; i < raw->tier_count; i++)
        resolve_tier(raw, &raw->tiers[i], &out->base, &out->tiers[i]);
}

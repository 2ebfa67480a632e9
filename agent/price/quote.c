#include "price/price.h"

#define BP_ALL 10000
#define PICO_PER_NANO 1000

typedef __int128 wide; /* rates are at most PRICE_PICO_MAX (2^37), counts below 2^63: eight products times BP_ALL stay below 2^121 */

static const unsigned input_kinds = 1u << PRICE_INPUT | 1u << PRICE_CACHED | 1u << PRICE_CACHE_WRITE | 1u << PRICE_CACHE_WRITE_1H |
                                    1u << PRICE_AUDIO_IN;
static const unsigned output_kinds = 1u << PRICE_OUTPUT | 1u << PRICE_REASONING | 1u << PRICE_AUDIO_OUT;
static const unsigned always = 1u << PRICE_INPUT | 1u << PRICE_CACHED | 1u << PRICE_OUTPUT | 1u << PRICE_REASONING;

static int64_t dearest(const struct price_rates *r, unsigned kinds)
{
    int64_t max = 0;
    for (int k = 0; k < PRICE_KINDS; k++)
        if (kinds & 1u << k && r->pico[k] > max)
            max = r->pico[k];
    return max;
}

/* Pico-dollars, times BP_ALL once the discount is in. */
static wide discounted(wide pico, int32_t discount_bp)
{
    return pico * (BP_ALL - discount_bp);
}

int price_hold(const struct model_price *m, const struct price_ask *ask, int64_t *nano)
{
    if (m->status != PRICE_OK)
        return PRICE_EUNPRICED;
    if (ask->input < 0 || ask->output < 0 || ask->choices < 1 || ask->discount_bp < 0 || ask->discount_bp > BP_ALL ||
        ask->output > INT64_MAX / ask->choices || ask->images < 0 || ask->images_out < 0)
        return PRICE_ERANGE;
    unsigned kinds = ask->kinds ? ask->kinds | always : ~0u;
    wide max = 0;
    for (unsigned i = 0; i <= m->tier_count; i++) {
        if (i > 0 && m->tiers[i - 1].above >= ask->input)
            break; /* not even the bound gets there */
        const struct price_rates *r = i == 0 ? &m->base : &m->tiers[i - 1].rates;
        int64_t out = dearest(r, kinds & output_kinds);
        wide sum = (wide)ask->input * dearest(r, kinds & input_kinds) + (wide)(ask->output * ask->choices) * (ask->images_out > 0 && m->image_token_pico > out ? m->image_token_pico : out);
        if (sum > max)
            max = sum;
    }
    max = discounted(max + m->request_pico + (wide)ask->images * m->image_pico + (wide)ask->images_out * m->image_out_pico, ask->discount_bp);
    wide unit = (wide)PICO_PER_NANO * BP_ALL, result = (max + unit - 1) / unit;
    if (result > INT64_MAX)
        return PRICE_ERANGE;
    *nano = (int64_t)result;
    return PRICE_DONE;
}

int price_affordable(const struct model_price *m, const struct price_ask *ask, int64_t nano, int64_t *output)
{
    struct price_ask a = *ask;
    int64_t low = 0, high = ask->output, hold; /* low fits, everything above high does not */
    int rc = price_hold(m, ask, &hold);
    if (rc == PRICE_EUNPRICED || (rc != PRICE_DONE && ask->output < 0))
        return rc;
    a.output = 0;
    rc = price_hold(m, &a, &hold);
    if (rc != PRICE_DONE)
        return rc;
    if (hold > nano)
        low = high = -1;
    while (low < high) {
        a.output = low + (high - low) / 2 + (high - low) % 2;
        if (price_hold(m, &a, &hold) == PRICE_DONE && hold <= nano)
            low = a.output;
        else
            high = a.output - 1;
    }
    *output = low;
    return PRICE_DONE;
}

static const struct price_rates *rates_for(const struct model_price *m, wide input)
{
    const struct price_rates *r = &m->base;
    for (unsigned i = 0; i < m->tier_count && input > m->tiers[i].above; i++)
        r = &m->tiers[i].rates;
    return r;
}

/* What images in the answer add to the output's price, their tokens being billed as output already. */
static wide images_out(const struct model_price *m, const struct token_usage *u, int64_t rate)
{
    if (m->image_token_pico > 0 && u->output_image > 0)
        return (wide)u->output_image * (m->image_token_pico - rate);
    if (m->image_out_pico > 0 && u->images_out > 0)
        return (wide)u->images_out * m->image_out_pico - (wide)u->output_image * rate;
    return 0;
}

int price_cost(const struct model_price *m, const struct token_usage *u, int32_t discount_bp, int64_t *nano)
{
    const int64_t count[PRICE_KINDS] = {
        [PRICE_INPUT] = u->input, [PRICE_CACHED] = u->input_cached, [PRICE_CACHE_WRITE] = u->input_cache_write,
        [PRICE_CACHE_WRITE_1H] = u->input_cache_write_1h, [PRICE_OUTPUT] = u->output, [PRICE_REASONING] = u->output_reasoning,
        [PRICE_AUDIO_IN] = u->input_audio, [PRICE_AUDIO_OUT] = u->output_audio
    };
    if (m->status != PRICE_OK)
        return PRICE_EUNPRICED;
    if (discount_bp < 0 || discount_bp > BP_ALL)
        return PRICE_ERANGE;
    if (u->images < 0 || u->images_out < 0 || u->output_image < 0 || u->output_image > u->output)
        return PRICE_ERANGE;
    wide input = 0, sum = m->request_pico + (wide)u->images * m->image_pico;
    for (int k = 0; k < PRICE_KINDS; k++) {
        if (count[k] < 0)
            return PRICE_ERANGE;
        if (input_kinds & 1u << k)
            input += count[k];
    }
    const struct price_rates *r = rates_for(m, input);
    for (int k = 0; k < PRICE_KINDS; k++)
        sum += (wide)count[k] * r->pico[k];
    sum += images_out(m, u, r->pico[PRICE_OUTPUT]);
    wide unit = (wide)PICO_PER_NANO * BP_ALL, result = (discounted(sum, discount_bp) + unit / 2) / unit;
    if (result > INT64_MAX)
        return PRICE_ERANGE;
    *nano = (int64_t)result;
    return PRICE_DONE;
}

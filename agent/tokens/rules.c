#include "tokens/estimate.h"

#include <strings.h>

/* What differs from one family of models to the next; the first prefix that fits decides. Sources: OpenAI, Anthropic and Google
 * documentation of image tokens and context windows; factors of other vendors' tokenizers against o200k_base are measured
 * ranges, and the bounds are set above the dearest of them. */
struct family {
    const char *prefix;
    uint32_t factor_ppm, bound_ppm, slack, tools_prompt;
    bool chat_documented;
    enum image_pricing image;
    uint32_t a, b, most; /* tiles: base, tile, -; patches: cap, ppm, bound ppm; area: area, -, most; flat: usual, -, most */
    int64_t window;
};

#define SAME 1000000, 1000000
#define TILES(base, tile) IMAGE_BY_TILES, base, tile, (base) + 8 * (tile)

static const struct family families[] = {
    { "gpt-3.5", SAME, 0, 16, true, TILES(85, 170), 16385 },
    { "gpt-35", SAME, 0, 16, true, TILES(85, 170), 16385 },
    { "gpt-4o-mini", SAME, 0, 16, true, TILES(2833, 5667), 128000 },
    { "gpt-4o", SAME, 0, 16, true, TILES(85, 170), 128000 },
    { "chatgpt-4o", SAME, 16, 16, false, TILES(85, 170), 128000 },
    { "gpt-4.1-mini", SAME, 16, 16, false, IMAGE_BY_PATCHES, 1536, 1620000, 1620000, 1047576 },
    { "gpt-4.1-nano", SAME, 16, 16, false, IMAGE_BY_PATCHES, 1536, 2460000, 2460000, 1047576 },
    { "gpt-4.1", SAME, 16, 16, false, TILES(85, 170), 1047576 },
    { "gpt-4.5", SAME, 16, 16, false, TILES(85, 170), 128000 },
    { "gpt-4", SAME, 0, 16, true, TILES(85, 170), 128000 },
    { "o4-mini", SAME, 32, 32, false, IMAGE_BY_PATCHES, 1536, 1720000, 1720000, 200000 },
    { "o1", SAME, 32, 32, false, TILES(75, 150), 200000 },
    { "o3", SAME, 32, 32, false, TILES(75, 150), 200000 },
    { "gpt-5-mini", SAME, 32, 32, false, IMAGE_BY_PATCHES, 1536, 1200000, 1620000, 400000 },
    { "gpt-5-nano", SAME, 32, 32, false, IMAGE_BY_PATCHES, 1536, 1500000, 2460000, 400000 },
    { "gpt-5.", SAME, 32, 32, false, IMAGE_BY_PATCHES, 10000, 1200000, 2460000, 1050000 },
    { "gpt-5", SAME, 32, 32, false, TILES(70, 140), 400000 },
    { "gpt-oss-", SAME, 160, 32, false, IMAGE_FLAT, 0, 0, 0, 131072 }, /* the harmony system message is added by the server */
    { "text-embedding-", SAME, 0, 0, false, IMAGE_FLAT, 0, 0, 0, 0 },
    { "claude-", 1250000, 2200000, 64, 700, false, IMAGE_BY_AREA, 750, 0, 5000, 1000000 },
    { "gemini-", 1100000, 1600000, 64, 128, false, IMAGE_FLAT, 1120, 0, 8192, 2097152 },
    { "gemma", 1150000, 1700000, 64, 128, false, IMAGE_FLAT, 256, 0, 8192, 0 },
    { "llama", 1080000, 1700000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "meta-llama", 1080000, 1700000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "mistral", 1200000, 2200000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "mixtral", 1300000, 2500000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "codestral", 1200000, 2200000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "devstral", 1200000, 2200000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "magistral", 1200000, 2200000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "deepseek", 1100000, 1800000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    { "qwen", 1100000, 1800000, 64, 256, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
    /* A model of OpenAI that is newer than this table. */
    { "gpt-", 1000000, 1400000, 64, 64, false, IMAGE_BY_PATCHES, 10000, 1200000, 2460000, 0 },
    { "", 1200000, 2500000, 64, 700, false, IMAGE_FLAT, 1600, 0, 16384, 0 },
};

/* Names under which resellers list a model: "anthropic/claude-...", "eu.anthropic.claude-...", "accounts/x/models/y", "ft:...". */
static struct slice bare_name(struct slice model)
{
    static const char *const makers[] = { "anthropic.", "google.", "meta.", "mistral.", "deepseek.", "qwen.", "openai." };
    for (size_t i = model.n; i-- > 0;)
        if (model.p[i] == '/') {
            model = slice_make(model.p + i + 1, model.n - i - 1);
            break;
        }
    if (slice_starts(model, SLICE_LIT("ft:")))
        model = slice_make(model.p + 3, model.n - 3);
    for (size_t m = 0; m < sizeof makers / sizeof *makers; m++) {
        struct slice maker = slice_cstr(makers[m]);
        /* At the start, or behind a region: "eu.", "global.". */
        for (size_t i = 0; i + maker.n < model.n && i <= 8; i++)
            if (memcmp(model.p + i, maker.p, maker.n) == 0 && (i == 0 || model.p[i - 1] == '.'))
                return slice_make(model.p + i + maker.n, model.n - i - maker.n);
    }
    return model;
}

static bool starts_any_case(struct slice s, const char *prefix)
{
    struct slice p = slice_cstr(prefix);
    return s.n >= p.n && (p.n == 0 || strncasecmp(s.p, p.p, p.n) == 0);
}

/* Snapshots whose window is smaller than their family's or whose wrapping is not the documented one. */
static void refine(struct slice name, struct token_rules *r)
{
    if (slice_eq_cstr(name, "gpt-4") || slice_eq_cstr(name, "gpt-4-0613") || slice_eq_cstr(name, "gpt-4-0314"))
        r->window = 8192;
    if (slice_starts(name, SLICE_LIT("gpt-4-32k")))
        r->window = 32768;
    if (slice_starts(name, SLICE_LIT("gpt-3.5-turbo-0301"))) {
        r->per_message = 4;
        r->per_name = 0; /* the name replaces the role: at most as dear */
    }
    if (slice_starts(name, SLICE_LIT("gpt-4o-audio")) || slice_starts(name, SLICE_LIT("gpt-4o-realtime")) ||
        slice_starts(name, SLICE_LIT("gpt-4o-search")) || slice_starts(name, SLICE_LIT("gpt-4o-mini-search"))) {
        r->chat_documented = false;
        r->slack = 64;
    }
}

void token_rules_for_model(struct slice model, struct token_rules *out)
{
    struct slice name = bare_name(model);
    const struct family *f = families;
    while (!starts_any_case(name, f->prefix))
        f++;
    bool known;
    const char *encoding = tokenizer_name_for_model(name, &known);
    if (!known)
        encoding = tokenizer_name_for_model(model, &known);
    *out = (struct token_rules){
        .encoding = encoding,
        .text_exact = known,
        .chat_documented = known && f->chat_documented,
        .factor_ppm = known ? 1000000 : f->factor_ppm,
        .bound_ppm = known ? 1000000 : f->bound_ppm > 1000000 ? f->bound_ppm : 1400000,
        .per_message = 3,
        .per_name = 1,
        .per_request = 3,
        .slack = f->slack,
        .tools_prompt = f->tools_prompt,
        .image = f->image,
        .window = f->window,
    };
    if (f->image == IMAGE_BY_PATCHES) {
        out->patch_cap = f->a;
        out->patch_ppm = f->b;
        out->patch_bound_ppm = f->most;
        out->image_most = (uint32_t)((uint64_t)f->a * f->most / 1000000 + 1);
    } else {
        out->image_base = f->image == IMAGE_BY_AREA ? 0 : f->a;
        out->image_area = f->image == IMAGE_BY_AREA ? f->a : 0;
        out->image_tile = f->b;
        out->image_most = f->most;
    }
    refine(name, out);
}

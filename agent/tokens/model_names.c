#include "tokens/tokenizer.h"

/* tiktoken/model.py: names that stand for themselves, then prefixes; the first that fits decides. */
static const struct {
    const char *prefix, *encoding;
    bool whole;
} models[] = {
    { "gpt-oss-", "o200k_harmony", false },
    { "gpt-4o", "o200k_base", true },
    { "gpt-4o-", "o200k_base", false },
    { "chatgpt-4o-", "o200k_base", false },
    { "gpt-4.1", "o200k_base", false },
    { "gpt-4.5", "o200k_base", false },
    { "gpt-5", "o200k_base", false },
    { "o1", "o200k_base", true },
    { "o1-", "o200k_base", false },
    { "o3", "o200k_base", true },
    { "o3-", "o200k_base", false },
    { "o4-mini", "o200k_base", false },
    { "ft:gpt-4o", "o200k_base", false },
    { "ft:gpt-4.1", "o200k_base", false },
    { "ft:gpt-4", "cl100k_base", false },
    { "ft:gpt-3.5-turbo", "cl100k_base", false },
    { "ft:davinci-002", "cl100k_base", false },
    { "ft:babbage-002", "cl100k_base", false },
    { "gpt-4", "cl100k_base", true },
    { "gpt-4-", "cl100k_base", false },
    { "gpt-3.5", "cl100k_base", false },
    { "gpt-35-turbo", "cl100k_base", false },
    { "davinci-002", "cl100k_base", true },
    { "babbage-002", "cl100k_base", true },
    { "text-embedding-ada-002", "cl100k_base", true },
    { "text-embedding-3-", "cl100k_base", false },
    { "text-davinci-003", "p50k_base", true },
    { "text-davinci-002", "p50k_base", true },
    { "code-davinci-00", "p50k_base", false },
    { "code-cushman-00", "p50k_base", false },
    { "davinci-codex", "p50k_base", true },
    { "cushman-codex", "p50k_base", true },
    { "text-davinci-001", "r50k_base", true },
    { "text-curie-001", "r50k_base", true },
    { "text-babbage-001", "r50k_base", true },
    { "text-ada-001", "r50k_base", true },
    { "davinci", "r50k_base", true },
    { "curie", "r50k_base", true },
    { "babbage", "r50k_base", true },
    { "ada", "r50k_base", true },
    { "gpt2", "r50k_base", true },
    { "gpt-2", "r50k_base", true },
};

const char *tokenizer_name_for_model(struct slice model, bool *known)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct slice prefix = slice_cstr(models[i].prefix);
        if (models[i].whole ? slice_eq(model, prefix) : slice_starts(model, prefix)) {
            *known = true;
            return models[i].encoding;
        }
    }
    *known = false;
    return "o200k_base";
}

#include "tokens/image.h"
#include "tokens/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char image[] = BINARY_DIR "/share/tollgate/r50k_base.tgv";

static void test_all_encodings_open(void **state)
{
    (void)state;
    char why[512] = "";
    struct tokenizer_set *set = tokenizer_set_open(NULL, why, sizeof why);
    assert_non_null(set);
    static const struct {
        const char *name;
        uint32_t size;
    } wanted[] = { { "o200k_base", 199998 }, { "cl100k_base", 100256 }, { "p50k_base", 50280 }, { "r50k_base", 50256 },
                   { "o200k_harmony", 199998 } };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const struct tokenizer *t = tokenizer_set_find(set, slice_cstr(wanted[i].name));
        assert_non_null(t);
        assert_string_equal(tokenizer_name(t), wanted[i].name);
        assert_int_equal(tokenizer_size(t), wanted[i].size);
    }
    assert_null(tokenizer_set_find(set, SLICE_LIT("o200k")));
    assert_ptr_equal(tokenizer_set_find(set, SLICE_LIT("gpt2")), tokenizer_set_find(set, SLICE_LIT("r50k_base")));
    const struct tokenizer *harmony = tokenizer_set_find(set, SLICE_LIT("o200k_harmony"));
    assert_int_equal(tokenizer_special(harmony, SLICE_LIT("<|start|>")), 200006);
    assert_int_equal(tokenizer_special(tokenizer_set_find(set, SLICE_LIT("o200k_base")), SLICE_LIT("<|start|>")), -1);
    assert_int_equal(tokenizer_special(tokenizer_set_find(set, SLICE_LIT("cl100k_base")), SLICE_LIT("<|endofprompt|>")), 100276);
    tokenizer_set_close(set);
}

/* An image below 20 MB, whatever else changes. */
static void test_image_size(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(BINARY_DIR "/share/tollgate/o200k_base.tgv", &st), 0);
    assert_in_range(st.st_size, 1, 20000000);
}

static char *read_image(size_t *size)
{
    FILE *f = fopen(image, "rb");
    assert_non_null(f);
    struct stat st;
    assert_int_equal(fstat(fileno(f), &st), 0);
    char *data = malloc((size_t)st.st_size);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)st.st_size, f), st.st_size);
    fclose(f);
    *size = (size_t)st.st_size;
    return data;
}

static void refuse(const char *data, size_t size, const char *because)
{
    char path[] = "/tmp/test_tokens_tokenizer.XXXXXX", why[512] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    close(fd);
    assert_null(tokenizer_open(path, why, sizeof why));
    unlink(path);
    assert_non_null(strstr(why, path));
    if (!strstr(why, because))
        fail_msg("\"%s\" does not say \"%s\"", why, because);
}

static void test_bad_images_are_refused(void **state)
{
    (void)state;
    size_t size;
    char *data = read_image(&size);
    struct vocab_header good, *h = (struct vocab_header *)(void *)data;
    memcpy(&good, data, sizeof good);
    refuse(data, 0, "not a vocabulary image");
    refuse(data, sizeof good - 1, "not a vocabulary image");
    refuse(data, size - 1, "cut short");
    h->magic[0]++;
    refuse(data, size, "not a vocabulary image");
    *h = good;
    h->version++;
    refuse(data, size, "another version");
    *h = good;
    h->byte_order = 0x04030201;
    refuse(data, size, "byte order");
    for (int i = 0; i < VOCAB_SECTIONS; i++) {
        *h = good;
        h->offset[i] = size & ~(size_t)63;
        refuse(data, size, "damaged");
        *h = good;
        h->bytes[i] += 64;
        if (i != VOCAB_CLASSES)
            refuse(data, size, "damaged");
    }
    *h = good;
    h->tokens += 1;
    refuse(data, size, "damaged");
    *h = good;
    h->pattern = 9;
    refuse(data, size, "way of cutting");
    *h = good;
    strcpy(h->name, "other");
    refuse(data, size, "does not know");
    free(data);
}

static void test_missing_directory_is_named(void **state)
{
    (void)state;
    char why[512] = "";
    assert_null(tokenizer_set_open("/nonexistent/tokenizers", why, sizeof why));
    assert_non_null(strstr(why, "/nonexistent/tokenizers/o200k_base.tgv"));
}

static void test_model_names(void **state)
{
    (void)state;
    static const struct {
        const char *model, *encoding;
        bool known;
    } wanted[] = {
        { "gpt-4o", "o200k_base", true },         { "gpt-4o-mini-2024-07-18", "o200k_base", true },
        { "gpt-4", "cl100k_base", true },         { "gpt-4-0613", "cl100k_base", true },
        { "gpt-4.1-nano", "o200k_base", true },   { "gpt-3.5-turbo", "cl100k_base", true },
        { "o3-pro", "o200k_base", true },         { "gpt-5.2", "o200k_base", true },
        { "gpt-oss-120b", "o200k_harmony", true }, { "text-embedding-3-large", "cl100k_base", true },
        { "gpt2", "r50k_base", true },            { "gpt-6", "o200k_base", false },
        { "o2", "o200k_base", false },            { "claude-3-haiku-20240307", "o200k_base", false },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        bool known;
        assert_string_equal(tokenizer_name_for_model(slice_cstr(wanted[i].model), &known), wanted[i].encoding);
        assert_int_equal(known, wanted[i].known);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_encodings_open),     cmocka_unit_test(test_image_size),
        cmocka_unit_test(test_bad_images_are_refused), cmocka_unit_test(test_missing_directory_is_named),
        cmocka_unit_test(test_model_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

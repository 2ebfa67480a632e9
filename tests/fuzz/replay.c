/* Runs a fuzz target over files, without libFuzzer: every input that ever broke it stays a test under any compiler.
 * Usage: fuzz_x FILE-OR-FOLDER...; also feeds every prefix of small inputs. Fails when it finds no input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PREFIXES_UP_TO = 2048 };

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return -1;
    }
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    size_t size = n > 0 ? (size_t)n : 0;
    uint8_t *all = malloc(size + 1);
    if (all == NULL || fread(all, 1, size, f) != size) {
        fclose(f);
        free(all);
        return -1;
    }
    fclose(f);
    for (size_t k = size <= PREFIXES_UP_TO ? 0 : size; k <= size; k++) {
        uint8_t *exact = malloc(k ? k : 1); /* so that a sanitizer sees a read past the end */
        if (exact == NULL)
            abort();
        memcpy(exact, all, k);
        LLVMFuzzerTestOneInput(exact, k);
        free(exact);
    }
    free(all);
    return 0;
}

static int replay(const char *path, unsigned *count)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return -1;
    }
    if (!S_ISDIR(st.st_mode)) {
        ++*count;
        return replay_file(path);
    }
    DIR *d = opendir(path);
    if (d == NULL)
        return -1;
    int rc = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char child[4096];
        if (e->d_name[0] == '.')
            continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        rc |= replay(child, count);
    }
    closedir(d);
    return rc;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int rc = 0;
    for (int i = 1; i < argc; i++)
        rc |= replay(argv[i], &count);
    printf("%u inputs replayed\n", count);
    return rc != 0 || count == 0;
}

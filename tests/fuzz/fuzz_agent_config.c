/* The configuration file: any bytes are either a configuration or a list of reasons. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors;
    char path[64];
    int fd = memfd_create("config", 0);

    if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size))
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct config *c = config_load(path, &errors);
    if ((c == NULL) != (errors.count > 0))
        abort();
    if (strlen(errors.text) >= sizeof errors.text)
        abort();
    config_free(c);
    close(fd);
    return 0;
}

/* A whole file in memory: for what is read once and then looked at as text. */
#ifndef TOLLGATE_BASE_FILE_READ_H
#define TOLLGATE_BASE_FILE_READ_H

#include <stddef.h>
#include <sys/stat.h>

/* A regular file of at most `max` bytes, malloced with a NUL behind its *n bytes; the caller's to free, and to wipe if it holds a secret. *st
 * (may be NULL) is the file's state when it was opened. NULL with the reason alone, without the path, in `why`: "No such file or directory",
 * "larger than 4 MiB". Never waits on a FIFO or a terminal. */
char *file_read(const char *path, size_t max, size_t *n, struct stat *st, char *why, size_t why_size) __attribute__((warn_unused_result));

#endif

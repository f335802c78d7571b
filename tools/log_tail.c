/* Owns reading the children's log. */
#include "tools/log_tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ROTATE_BYTES = 16 << 20, TAIL_BYTES = 256 << 10 };

long pm_log_tail_size(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (long)info.st_size : 0;
}

void pm_log_tail_rotate(const char *path) {
    char old[4200];
    if (pm_log_tail_size(path) < ROTATE_BYTES) return;
    snprintf(old, sizeof old, "%s.old", path);
    /* Where that fails the log only goes on growing. */
    (void)rename(path, old);
}

void pm_log_tail_last(const char *path, long from, const char *program, char *out, size_t size) {
    char prefix[64];
    char *line = NULL;
    size_t capacity = 0;
    int best = 0;
    FILE *file = fopen(path, "re");
    out[0] = '\0';
    if (!file) return;
    long end = pm_log_tail_size(path);
    if (end - from > TAIL_BYTES) from = end - TAIL_BYTES;
    snprintf(prefix, sizeof prefix, "%s: ", program);
    if (fseek(file, from, SEEK_SET) != 0) from = 0;
    for (ssize_t n; (n = getline(&line, &capacity, file)) > 0;) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = '\0';
        if (!n) continue;
        int rank = strncmp(line, prefix, strlen(prefix)) == 0 ? 3 : strstr(line, " error ") ? 2 : 1;
        if (rank < best) continue;
        best = rank;
        snprintf(out, size, "%s", rank == 3 ? line + strlen(prefix) : line);
    }
    free(line);
    fclose(file);
}

/* Runs a fuzz target over files and folders of files: corpora as regression tests. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_MAX = 1 << 24, PATH_BYTES = 4096 };

static int replay_file(const char *path) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (pm_file_read(path, INPUT_MAX, &bytes, &size)) {
        fprintf(stderr, "%s\n", pm_error_text());
        return 1;
    }
    /* An allocation of exactly that size: reading one byte too far is seen by the sanitizer. */
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) abort();
    memcpy(exact, bytes, size);
    free(bytes);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

static int replay_folder(const char *folder, size_t *count) {
    int failures = 0;
    struct dirent *entry;
    DIR *dir = opendir(folder);
    if (!dir) {
        perror(folder);
        return 1;
    }
    while ((entry = readdir(dir))) {
        char path[PATH_BYTES];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) continue;
        failures += replay_file(path);
        ++*count;
    }
    closedir(dir);
    return failures;
}

int main(int argc, char **argv) {
    size_t count = 0;
    int failures = 0;
    for (int i = 1; i < argc; i++) failures += replay_folder(argv[i], &count);
    printf("%zu inputs replayed\n", count);
    return failures || count == 0;
}

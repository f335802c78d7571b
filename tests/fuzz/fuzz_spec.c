/* Fuzzes run specifications: the JSON form of the options (--spec), the grid that they span, and
 * that every configuration of it is canonical. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tools/order.h"

enum { GRID_CHECKED = 64 };

static void check(const pm_config *config) {
    char *text = NULL, *again = NULL;
    pm_sha256 hash, same;
    pm_config back;
    if (pm_config_check(config) != PM_OK || pm_config_format(config, &text, &hash) != PM_OK)
        abort();
    if (pm_config_parse(text, &back) != PM_OK) abort();
    if (pm_config_format(&back, &again, &same) != PM_OK || strcmp(text, again) != 0) abort();
    free(text);
    free(again);
}

static void make_grid(const pm_options *options) {
    pm_config base = {.arch = "resnet18",
                      .has_statistics = true,
                      .resize = 256,
                      .crop = 224,
                      .mean = {0.5f, 0.5f, 0.5f},
                      .std = {0.25f, 0.25f, 0.25f}};
    char cat[] = "cat", dog[] = "dog";
    char *const names[] = {cat, dog};
    pm_config *configs = NULL;
    size_t count = 0;
    (void)pm_order_check(options);
    if (pm_grid_make(options, &base, PM_TARGET_RULE_LABEL, names, 2, &configs, &count) == PM_OK) {
        if (!configs || !count || count > PM_GRID_MAX) abort();
        for (size_t i = 0; i < count && i < GRID_CHECKED; i++) check(&configs[i]);
    } else if (configs || !*pm_error_text()) {
        abort();
    }
    free(configs);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static int fd = -1;
    char option[] = "--spec", path[64];
    char *argv[] = {option, path};
    pm_options *options = NULL;
    if (fd < 0) fd = memfd_create("spec", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (pm_options_parse(PM_CMD_RUN, "run", 2, argv, &options) == PM_OK)
        make_grid(options);
    else if (options || !*pm_error_text())
        abort();
    pm_options_free(&options);
    return 0;
}

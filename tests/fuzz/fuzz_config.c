/* Configurations come from clients: whatever parses must be canonical and format to itself. */
#include <stdlib.h>
#include <string.h>

#include "lib/spec/spec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = malloc(size + 1), *again = NULL, label[256];
    pm_config config;
    pm_sha256 hash;
    if (!text) return 0;
    memcpy(text, bytes, size);
    text[size] = 0;
    if (pm_config_parse(text, &config) == PM_OK) {
        pm_config_label(&config, label, sizeof label);
        if (pm_config_format(&config, &again, &hash) == PM_OK && strcmp(text, again) != 0) abort();
        free(again);
    }
    free(text);
    return 0;
}

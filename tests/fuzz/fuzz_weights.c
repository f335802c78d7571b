/* Fuzzes pm_weights_open and pm_weights_read through a file in memory: which reader it is, and zip
 * archives. safetensors, streams and pickles have targets of their own. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char path[64];
    pm_weights *weights = NULL;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fuzz_file(bytes, size));
    if (pm_weights_open(path, &weights) == PM_OK) {
        fuzz_read_tensors(weights);
    } else if (weights || !*pm_error_text()) {
        abort(); /* a failure leaves the pointer alone and says why */
    }
    pm_weights_free(&weights);
    return 0;
}

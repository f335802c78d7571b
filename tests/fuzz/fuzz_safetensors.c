/* Fuzzes the reader of safetensors alone, header to elements. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 9) return 0; /* pm_weights_open's to refuse */
    pm_weights *weights = fuzz_weights(bytes, size);
    fuzz_finish(weights, pm_weights_load_safetensors(weights));
    return 0;
}

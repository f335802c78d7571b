/* Fuzzes the pickle machine and the state dict read from it: what data.pkl of a zip archive is,
 * without the archive's checksums in the way. Every storage that it names is found. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"
#include "worker/engine/weights/checkpoint.h"

static pm_status locate(void *user, pm_checkpoint_storage *storage) {
    static const uint8_t zeros[FUZZ_ELEMENTS_MAX * 8];
    (void)user;
    if (storage->size_bytes > sizeof zeros) return pm_fail(PM_E_FORMAT, "a storage is missing");
    storage->place = (pm_weights_storage){.place = PM_WEIGHTS_IN_MEMORY,
                                          .memory = zeros,
                                          .seekable = true,
                                          .size_bytes = storage->size_bytes};
    return PM_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    pm_pickle *pickle = NULL;
    pm_checkpoint checkpoint = {0};
    pm_weights *weights = calloc(1, sizeof *weights);
    if (!weights || !(weights->path = strdup("fuzz"))) abort();
    weights->fd = -1;
    weights->size_bytes = size;
    pm_status status = pm_pickle_read("fuzz", bytes, size, &pickle);
    if (!status) {
        status = pm_checkpoint_begin(&checkpoint, weights, pickle);
        checkpoint.locate = locate;
        if (!status) status = pm_checkpoint_fill(&checkpoint);
        pm_checkpoint_fini(&checkpoint);
    }
    fuzz_finish(weights, status);
    return 0;
}

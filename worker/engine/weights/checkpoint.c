/* Owns PyTorch checkpoints. */
#include "worker/engine/weights/weights.h"

pm_status pm_weights_load_zip(pm_weights *weights) {
    return pm_fail(PM_E_UNSUPPORTED, "%s: PyTorch checkpoints cannot be read yet", weights->path);
}

pm_status pm_weights_load_pickle(pm_weights *weights) {
    return pm_fail(PM_E_UNSUPPORTED, "%s: PyTorch checkpoints cannot be read yet", weights->path);
}

/* Owns the baselines and the noise of one image's tensor. */
#include "lib/image/extras.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/image/inputs.h"

pm_status pm_extras_init(pm_extras *extras, const float *tensor, size_t side,
                         const pm_sha256 *image, size_t seeds_max) {
    *extras = (pm_extras){.tensor = tensor, .side = side, .image = *image, .noise_room = seeds_max};
    extras->noises = calloc(seeds_max ? seeds_max : 1, sizeof *extras->noises);
    return extras->noises ? PM_OK : pm_fail(PM_E_MEMORY, "noise: no memory");
}

void pm_extras_fini(pm_extras *extras) {
    free(extras->blurred);
    free(extras->noises);
    *extras = (pm_extras){0};
}

static pm_status blurred(pm_extras *extras, const float **out) {
    if (!extras->blurred) {
        float *made = malloc(3 * extras->side * extras->side * sizeof *made);
        if (!made) return pm_fail(PM_E_MEMORY, "baseline: no memory");
        pm_status status =
            pm_image_blur_tensor(extras->tensor, extras->side, PM_BASELINE_BLUR_SIGMA, made);
        if (status) {
            free(made);
            return status;
        }
        extras->blurred = made;
    }
    *out = extras->blurred;
    return PM_OK;
}

pm_status pm_extras_baseline(pm_extras *extras, pm_baseline baseline, const float *photograph,
                             const float **out) {
    switch (baseline) {
    case PM_BASELINE_BLUR: return blurred(extras, out);
    case PM_BASELINE_IMAGE:
        if (!photograph)
            return pm_fail(PM_E_NOT_FOUND, "baseline: the photograph to start from is missing");
        *out = photograph;
        return PM_OK;
    case PM_BASELINE_ZERO:
    case PM_BASELINE_COUNT: break;
    }
    *out = NULL;
    return PM_OK;
}

pm_noise *pm_extras_noise(pm_extras *extras, uint64_t seed) {
    size_t i = 0;
    while (i < extras->noise_count && extras->noises[i].seed != seed) i++;
    if (i == extras->noise_count) {
        assert(i < extras->noise_room);
        extras->noises[extras->noise_count++] =
            (pm_noise){seed, extras->image, 3 * extras->side * extras->side};
    }
    return &extras->noises[i];
}

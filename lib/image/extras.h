/* What methods of many passes need beside an image's tensor: baselines to start from, and noise.
 * Made when first asked for, and the same pointer each time, so that the engine sees what it can
 * share. Knows no engine. */
#ifndef PM_IMAGE_EXTRAS_H
#define PM_IMAGE_EXTRAS_H

#include "lib/base/attribution.h"
#include "lib/base/draw.h"

typedef struct pm_extras {
    const float *tensor; /* [3][side][side], the image as the network sees it; not owned */
    size_t side;
    pm_sha256 image;
    float *blurred;
    pm_noise *noises; /* [noise_room] */
    size_t noise_count, noise_room;
} pm_extras;

/* `seeds_max`: how many different seeds may be asked for. `tensor` must live on. PM_E_MEMORY. */
pm_status pm_extras_init(pm_extras *extras, const float *tensor, size_t side,
                         const pm_sha256 *image, size_t seeds_max);
/* Also of a zeroed one. */
void pm_extras_fini(pm_extras *extras);

/* [3][side][side], or NULL for zero. `photograph` is what PM_BASELINE_IMAGE gives: a tensor of the
 * caller's. PM_E_NOT_FOUND where it is NULL, PM_E_MEMORY. */
pm_status pm_extras_baseline(pm_extras *extras, pm_baseline baseline, const float *photograph,
                             const float **out);

/* For pm_noise_draw, with draws of [3][side][side]. */
pm_noise *pm_extras_noise(pm_extras *extras, uint64_t seed);

#endif

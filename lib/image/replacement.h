/* What takes the place of pixels that an evaluation takes away, as a tensor of the input's shape.
 * Nothing here depends on CPU, libc, thread or order. */
#ifndef PM_IMAGE_REPLACEMENT_H
#define PM_IMAGE_REPLACEMENT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/replacement.h"

/* in, out: [3][side][side], normalised; not the same. blur: pm_image_blur_tensor with
 * PM_BASELINE_BLUR_SIGMA. noise: normals of stream (seed, image, PM_DRAW_REPLACE, 0) in order of
 * memory; `image` is the SHA-256 of the photograph's file. PM_E_MEMORY. */
pm_status pm_image_replacement(pm_replacement how, uint64_t seed, const pm_sha256 *image,
                               const float *in, size_t side, float *out);

#endif

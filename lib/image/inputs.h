/* What is done to the crop before the network sees it, and the blurred baseline of integrated
 * gradients. Nothing here depends on CPU, libc, thread or order. */
#ifndef PM_IMAGE_INPUTS_H
#define PM_IMAGE_INPUTS_H

#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/input.h"
#include "lib/image/image.h"

/* In place, on the resized and cropped picture, before mean and standard deviation. `image`: the
 * SHA-256 of the photograph's file; with `seed` it keys the randomness (lib/base/draw.h,
 * PM_DRAW_INPUT, draw 0).
 * - jigsaw: tiles of floor(width / grid) x floor(height / grid) pixels from the upper left corner;
 *   what remains right and below stays. Each swap draws a = below(n), b = below(n - 1), n tiles;
 *   b at or behind a is one more; tiles at a and b, counted by rows, change places. PM_E_USAGE
 *   where a tile would have no pixel.
 * - blur: each color by pm_gauss_filter, rounded, halves up.
 * - noise: v + 255 sigma z, z a normal for each sample in order of memory, clamped to 0 .. 255 and
 *   rounded, halves up.
 * PM_E_MEMORY; the picture is as it was then. */
pm_status pm_image_input(const pm_input *how, uint64_t seed, const pm_sha256 *image,
                         pm_image *picture);

/* From a photograph to the tensor: pm_image_crop, pm_image_input, pm_image_normalise.
 * out: [3][crop][crop]. What these three give. */
pm_status pm_image_input_tensor(const pm_image *photograph, const pm_preprocessing *how,
                                const pm_input *input, uint64_t seed, const pm_sha256 *image,
                                float *out, pm_geometry *geometry);

/* The blurred baseline of integrated gradients: pixels at the network's input. Wide enough that no
 * shape of an object is left at 224 pixels. */
#define PM_BASELINE_BLUR_SIGMA 10.0

/* in, out: [3][side][side], normalised; may be the same. The Gaussian filter of standard deviation
 * `sigma` pixels, > 0, computed in double, rounded to float. PM_E_MEMORY. */
pm_status pm_image_blur_tensor(const float *in, size_t side, double sigma, float *out);

#endif

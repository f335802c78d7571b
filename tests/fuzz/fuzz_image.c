/* Fuzzes the decoder and the crop behind it. */
#include <stdlib.h>

#include "lib/image/image.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    /* Small limits: the fuzzer's time is for parsers, not for filling pixels. */
    const pm_image_limits limits = {.side_max = 512, .pixels_max = 100000};
    const pm_preprocessing how = {
        .resize = 24, .crop = 20, .filter = PM_FILTER_BICUBIC, .std = {1, 1, 1}};
    float tensor[3 * 20 * 20];
    pm_image image = {0};
    if (pm_image_setup("fuzz_image")) abort();
    if (pm_image_decode("fuzz", bytes, size, &limits, &image) == PM_OK) {
        if (!image.rgb || !image.width || image.width > limits.side_max) abort();
        (void)pm_image_tensor(&image, &how, tensor, NULL);
    } else if (image.rgb || !pm_error_text()[0]) {
        abort();
    }
    pm_image_fini(&image);
    return 0;
}

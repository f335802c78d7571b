/* Prints what the decoder and the preprocessing make of files, as SHA-256s, for comparison with
 * Pillow and torchvision by compare_pillow.py: path, decoded RGB, bilinear tensor 256/224, bicubic
 * resize to 97 x 61; tabs between. A file that is refused gives its error line on stderr. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/image/image.h"

static void print_hash(const void *bytes, size_t size) {
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256 hash = pm_sha256_of(bytes, size);
    pm_sha256_hex(&hash, hex);
    printf("\t%s", hex);
}

static pm_status digest(const char *path, float *tensor) {
    const pm_preprocessing how = {.resize = 256,
                                  .crop = 224,
                                  .filter = PM_FILTER_BILINEAR,
                                  .mean = {0.485f, 0.456f, 0.406f},
                                  .std = {0.229f, 0.224f, 0.225f}};
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_image image = {0}, small = {0};
    pm_status status = pm_file_read(path, 1u << 30, &bytes, &size);
    if (!status) status = pm_image_decode(path, bytes, size, NULL, &image);
    if (!status) status = pm_image_tensor(&image, &how, tensor, NULL);
    if (!status) status = pm_image_resize(&image, 97, 61, PM_FILTER_BICUBIC, &small);
    if (!status) {
        printf("%s", path);
        print_hash(image.rgb, image.width * image.height * 3);
        print_hash(tensor, 3 * 224 * 224 * sizeof *tensor);
        print_hash(small.rgb, 97 * 61 * 3);
        printf("\n");
    }
    free(bytes);
    pm_image_fini(&image);
    pm_image_fini(&small);
    return status;
}

int main(int argc, char **argv) {
    float *tensor = malloc(3 * 224 * 224 * sizeof *tensor);
    int refused = tensor == NULL || pm_image_setup(argv[0]) != PM_OK;
    for (int i = 1; i < argc && tensor; i++) {
        if (digest(argv[i], tensor)) {
            fprintf(stderr, "%s\n", pm_error_text());
            refused = 1;
        }
    }
    free(tensor);
    return refused;
}

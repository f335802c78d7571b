/* Owns pictures out: PNG bytes and files. Knows nothing of where heat maps come from. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "lib/base/file.h"
#include "lib/image/image.h"

pm_status pm_image_encode_png(const pm_image *image, uint8_t **out, size_t *size) {
    void *encoded = NULL;
    size_t length = 0;
    if (!image->rgb || image->width == 0 || image->height == 0 || image->width > INT_MAX / 4 ||
        image->height > INT_MAX / 4)
        return pm_fail(PM_E_USAGE, "a PNG of %zu x %zu pixels cannot be written", image->width,
                       image->height);
    VipsImage *wrapped =
        vips_image_new_from_memory(image->rgb, image->width * image->height * 3, (int)image->width,
                                   (int)image->height, 3, VIPS_FORMAT_UCHAR);
    if (!wrapped) return pm_fail(PM_E_MEMORY, "no memory for a PNG");
    VipsImage *coloured = NULL;
    int failed = vips_copy(wrapped, &coloured, "interpretation", VIPS_INTERPRETATION_sRGB, NULL);
    if (!failed) {
        failed = vips_pngsave_buffer(coloured, &encoded, &length, "compression", 6, NULL);
        g_object_unref(coloured);
    }
    g_object_unref(wrapped);
    if (failed) {
        vips_error_clear();
        return pm_fail(PM_E_MEMORY, "a PNG of %zu x %zu pixels could not be encoded", image->width,
                       image->height);
    }
    uint8_t *bytes = malloc(length);
    if (bytes) memcpy(bytes, encoded, length);
    g_free(encoded);
    if (!bytes) return pm_fail(PM_E_MEMORY, "no memory for a PNG of %zu bytes", length);
    *out = bytes;
    *size = length;
    return PM_OK;
}

pm_status pm_image_write_png(const char *path, const pm_image *image) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_status status = pm_image_encode_png(image, &bytes, &size);
    if (status) return pm_fail_in(status, "%s", path);
    status = pm_file_write(path, bytes, size);
    free(bytes);
    return status;
}

/* Owns pictures out: PNG and JPEG bytes, and files. Knows nothing of where heat maps come from. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "lib/base/file.h"
#include "lib/image/image.h"

typedef enum form { FORM_PNG, FORM_JPEG } form;

/* `bands` bytes a pixel: 3 for colours, 1 for grey. */
static int save(VipsImage *image, size_t bands, form as, int quality, void **out, size_t *size) {
    VipsImage *named = NULL;
    VipsInterpretation what = bands == 3 ? VIPS_INTERPRETATION_sRGB : VIPS_INTERPRETATION_B_W;
    int failed = vips_copy(image, &named, "interpretation", what, NULL);
    if (failed) return failed;
    failed = as == FORM_PNG ? vips_pngsave_buffer(named, out, size, "compression", 6, NULL)
                            : vips_jpegsave_buffer(named, out, size, "Q", quality, "strip", TRUE,
                                                   "optimize_coding", TRUE, NULL);
    g_object_unref(named);
    return failed;
}

static pm_status encode(const uint8_t *pixels, size_t width, size_t height, size_t bands, form as,
                        int quality, uint8_t **out, size_t *size) {
    void *encoded = NULL;
    size_t length = 0;
    if (!pixels || width == 0 || height == 0 || width > INT_MAX / 4 || height > INT_MAX / 4)
        return pm_fail(PM_E_USAGE, "a picture of %zu x %zu pixels cannot be written", width,
                       height);
    VipsImage *wrapped = vips_image_new_from_memory(pixels, width * height * bands, (int)width,
                                                    (int)height, (int)bands, VIPS_FORMAT_UCHAR);
    if (!wrapped) return pm_fail(PM_E_MEMORY, "no memory for a picture");
    int failed = save(wrapped, bands, as, quality, &encoded, &length);
    g_object_unref(wrapped);
    if (failed) {
        vips_error_clear();
        return pm_fail(PM_E_MEMORY, "a picture of %zu x %zu pixels could not be encoded", width,
                       height);
    }
    uint8_t *bytes = malloc(length);
    if (bytes) memcpy(bytes, encoded, length);
    g_free(encoded);
    if (!bytes) return pm_fail(PM_E_MEMORY, "no memory for a picture of %zu bytes", length);
    *out = bytes;
    *size = length;
    return PM_OK;
}

pm_status pm_image_encode_png(const pm_image *image, uint8_t **out, size_t *size) {
    return encode(image->rgb, image->width, image->height, 3, FORM_PNG, 0, out, size);
}

pm_status pm_image_encode_grey_png(const uint8_t *grey, size_t width, size_t height, uint8_t **out,
                                   size_t *size) {
    return encode(grey, width, height, 1, FORM_PNG, 0, out, size);
}

pm_status pm_image_encode_jpeg(const pm_image *image, int quality, uint8_t **out, size_t *size) {
    return encode(image->rgb, image->width, image->height, 3, FORM_JPEG, quality, out, size);
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

/* Owns animations out. Knows nothing of what the frames show. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "lib/image/image.h"

enum { FRAMES_MAX = 1000 };

static pm_status check(const pm_image *frames, size_t count, int delay_ms) {
    const size_t width = count ? frames[0].width : 0, height = count ? frames[0].height : 0;
    if (count == 0 || count > FRAMES_MAX || delay_ms < 10)
        return pm_fail(PM_E_USAGE, "an animation of %zu frames of %d ms cannot be written", count,
                       delay_ms);
    if (width == 0 || height == 0 || width > INT_MAX / 4 || height > INT_MAX / 4 / count)
        return pm_fail(PM_E_USAGE, "frames of %zu x %zu pixels cannot be written", width, height);
    for (size_t i = 0; i < count; i++)
        if (frames[i].width != width || frames[i].height != height || !frames[i].rgb)
            return pm_fail(PM_E_USAGE, "the frames of an animation are not of one size");
    return PM_OK;
}

/* libvips takes an animation as one tall picture that knows how high a page is. */
static VipsImage *stack(const uint8_t *pixels, const pm_image *first, size_t count, int delay_ms) {
    VipsImage *coloured = NULL;
    int delays[FRAMES_MAX];
    VipsImage *wrapped = vips_image_new_from_memory(
        pixels, first->width * first->height * count * 3, (int)first->width,
        (int)(first->height * count), 3, VIPS_FORMAT_UCHAR);
    if (!wrapped) return NULL;
    /* A copy of our own: metadata may not be put on what others may share. */
    int failed = vips_copy(wrapped, &coloured, "interpretation", VIPS_INTERPRETATION_sRGB, NULL);
    g_object_unref(wrapped);
    if (failed) return NULL;
    for (size_t i = 0; i < count; i++) delays[i] = delay_ms;
    vips_image_set_int(coloured, VIPS_META_PAGE_HEIGHT, (int)first->height);
    vips_image_set_array_int(coloured, "delay", delays, (int)count);
    vips_image_set_int(coloured, "loop", 0);
    return coloured;
}

static int save(pm_animation format, VipsImage *image, void **out, size_t *size) {
    switch (format) {
    case PM_ANIMATION_GIF: return vips_gifsave_buffer(image, out, size, "dither", 0.0, NULL);
    case PM_ANIMATION_WEBP:
        return vips_webpsave_buffer(image, out, size, "lossless", TRUE, "effort", 4, NULL);
    }
    return -1;
}

pm_status pm_image_encode_animation(pm_animation format, const pm_image *frames, size_t count,
                                    int delay_ms, uint8_t **out, size_t *size) {
    void *encoded = NULL;
    size_t length = 0;
    pm_status status = check(frames, count, delay_ms);
    if (status) return status;
    const size_t frame_bytes = frames[0].width * frames[0].height * 3;
    uint8_t *pixels = malloc(frame_bytes * count);
    if (!pixels) return pm_fail(PM_E_MEMORY, "no memory for an animation of %zu frames", count);
    for (size_t i = 0; i < count; i++) memcpy(pixels + i * frame_bytes, frames[i].rgb, frame_bytes);
    VipsImage *image = stack(pixels, &frames[0], count, delay_ms);
    const int failed = !image || save(format, image, &encoded, &length);
    if (image) g_object_unref(image);
    free(pixels);
    if (failed) {
        vips_error_clear();
        return pm_fail(PM_E_MEMORY, "an animation of %zu frames could not be encoded", count);
    }
    uint8_t *bytes = malloc(length);
    if (bytes) memcpy(bytes, encoded, length);
    g_free(encoded);
    if (!bytes) return pm_fail(PM_E_MEMORY, "no memory for an animation of %zu bytes", length);
    *out = bytes;
    *size = length;
    return PM_OK;
}

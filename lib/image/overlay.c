/* Owns the overlay: a heat map in colour over the photograph in grey, a box outlined. Knows
 * nothing of attribution but that larger is more. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/colormap.h"
#include "lib/image/image.h"

enum {
    SMALL_SIDE = 112, /* below this pixels are drawn as squares, or nobody sees anything */
    DRAWN_SIDE = 224
};

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float finite_or_zero(float v) { return isfinite(v) ? v : 0.0f; }

/* Lowest value and 99th percentile: a single pixel must not darken all the rest. */
static pm_status find_range(const float *map, size_t count, float *low, float *high) {
    float *sorted = malloc(count * sizeof *sorted);
    if (!sorted) return pm_fail(PM_E_MEMORY, "no memory for an overlay");
    for (size_t i = 0; i < count; i++) sorted[i] = finite_or_zero(map[i]);
    qsort(sorted, count, sizeof *sorted, compare_floats);
    *low = sorted[0];
    *high = sorted[count - 1 - (count - 1) / 100];
    if (!(*high > *low)) *high = sorted[count - 1];
    free(sorted);
    return PM_OK;
}

/* The photograph's grey (Rec. 601) under the colour; more heat, more colour. */
static void blend(const uint8_t *photo, const uint8_t *colour, float heat, uint8_t *out) {
    float grey = 0.299f * photo[0] + 0.587f * photo[1] + 0.114f * photo[2];
    float share = 0.45f + 0.45f * heat;
    for (size_t c = 0; c < 3; c++)
        out[c] = (uint8_t)lroundf((1.0f - share) * grey + share * colour[c]);
}

static void set_pixel(pm_image *image, size_t x, size_t y, uint8_t value) {
    if (x < image->width && y < image->height)
        memset(image->rgb + (y * image->width + x) * 3, value, 3);
}

/* The rectangle [x0, x1) x [y0, y1), one pixel thick. */
static void outline(pm_image *image, size_t x0, size_t y0, size_t x1, size_t y1, uint8_t value) {
    if (x0 >= x1 || y0 >= y1) return;
    for (size_t x = x0; x < x1; x++) {
        set_pixel(image, x, y0, value);
        set_pixel(image, x, y1 - 1, value);
    }
    for (size_t y = y0; y < y1; y++) {
        set_pixel(image, x0, y, value);
        set_pixel(image, x1 - 1, y, value);
    }
}

static void draw_box(pm_image *image, const pm_crop_box *box, size_t scale) {
    size_t x0 = box->xmin * scale, y0 = box->ymin * scale;
    size_t x1 = box->xmax * scale, y1 = box->ymax * scale;
    outline(image, x0, y0, x1, y1, 255);
    if (x1 < x0 + 4 || y1 < y0 + 4) return;
    outline(image, x0 + 1, y0 + 1, x1 - 1, y1 - 1, 0);
}

pm_status pm_image_overlay(const pm_image *photograph, const float *heat_map,
                           const pm_crop_box *box, pm_image *out) {
    size_t side = photograph->width;
    float low = 0, high = 0;
    if (side == 0 || side != photograph->height || !photograph->rgb ||
        side > SIZE_MAX / side / 1024)
        return pm_fail(PM_E_USAGE, "an overlay needs a square photograph, not %zu x %zu pixels",
                       photograph->width, photograph->height);
    pm_status status = find_range(heat_map, side * side, &low, &high);
    if (status) return status;
    size_t scale = side < SMALL_SIDE ? DRAWN_SIDE / side : 1;
    pm_image image = {side * scale, side * scale, malloc(side * scale * side * scale * 3)};
    if (!image.rgb) return pm_fail(PM_E_MEMORY, "no memory for an overlay");
    uint8_t colours[PM_COLORMAP_STEPS][3];
    pm_colormap_even(colours);
    float span = high > low ? high - low : 1.0f;
    for (size_t y = 0; y < image.height; y++) {
        for (size_t x = 0; x < image.width; x++) {
            size_t at = y / scale * side + x / scale;
            float heat = (finite_or_zero(heat_map[at]) - low) / span;
            heat = fminf(fmaxf(heat, 0.0f), 1.0f);
            blend(photograph->rgb + at * 3, colours[lroundf(heat * (PM_COLORMAP_STEPS - 1))], heat,
                  image.rgb + (y * image.width + x) * 3);
        }
    }
    if (box) draw_box(&image, box, scale);
    *out = image;
    return PM_OK;
}

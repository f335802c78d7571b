/* Owns DESIGN 6's preprocessing: sizes, offsets, boxes, the crop and the tensor. Knows no libvips
 * and no file format. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/image.h"
#include "lib/image/resample.h"

/* More than any network; keeps every product below far inside a size_t. */
enum { SIDE_LIMIT = 65536 };

static long half_to_even(size_t n, size_t crop) {
    long twice = (long)n - (long)crop;
    long down = (twice - (((twice % 2) + 2) % 2)) / 2; /* floor of twice / 2 */
    if (twice == 2 * down) return down;
    return down % 2 == 0 ? down : down + 1;
}

pm_geometry pm_geometry_of(const pm_preprocessing *how, size_t width, size_t height) {
    pm_geometry g = {.source_width = width, .source_height = height, .crop = how->crop};
    g.resized_width = width;
    g.resized_height = height;
    if (how->resize != 0 && width != 0 && height != 0) {
        /* Python's int(size * long / short): one correctly rounded division, then truncation. */
        if (width <= height) {
            g.resized_width = how->resize;
            g.resized_height = (size_t)((double)(how->resize * height) / (double)width);
        } else {
            g.resized_height = how->resize;
            g.resized_width = (size_t)((double)(how->resize * width) / (double)height);
        }
    }
    g.left = half_to_even(g.resized_width, how->crop);
    g.top = half_to_even(g.resized_height, how->crop);
    return g;
}

static size_t map_edge(double v, size_t resized, size_t source, long offset, size_t crop) {
    double mapped = trunc(v * (double)resized / (double)source - (double)offset);
    if (!(mapped > 0)) return 0;
    return mapped < (double)crop ? (size_t)mapped : crop;
}

pm_crop_box pm_geometry_box(const pm_geometry *g, const pm_box *box) {
    return (pm_crop_box){
        .xmin = map_edge(box->xmin, g->resized_width, g->source_width, g->left, g->crop),
        .ymin = map_edge(box->ymin, g->resized_height, g->source_height, g->top, g->crop),
        .xmax = map_edge(box->xmax, g->resized_width, g->source_width, g->left, g->crop),
        .ymax = map_edge(box->ymax, g->resized_height, g->source_height, g->top, g->crop),
    };
}

static pm_status check_sides(const pm_image *in, size_t width, size_t height) {
    if (in->width == 0 || in->height == 0 || !in->rgb)
        return pm_fail(PM_E_USAGE, "an image without pixels cannot be resized");
    if (width == 0 || height == 0 || width > SIDE_LIMIT || height > SIDE_LIMIT)
        return pm_fail(PM_E_LIMIT, "a resize to %zu x %zu: sides are 1 to %d pixels", width, height,
                       SIDE_LIMIT);
    return PM_OK;
}

pm_status pm_image_resize(const pm_image *in, size_t width, size_t height, pm_filter filter,
                          pm_image *out) {
    pm_status status = check_sides(in, width, height);
    if (status) return status;
    pm_region all = {width, height, 0, 0, width, height};
    return pm_resample(in, &all, filter, out);
}

/* The crop's overlap with the resized image, along one axis: `at` in the crop, `from` in the
 * image, `count` pixels. */
typedef struct overlap {
    size_t at, from, count;
} overlap;

static overlap overlap_of(long offset, size_t crop, size_t size) {
    overlap o = {.at = offset < 0 ? (size_t)-offset : 0, .from = offset < 0 ? 0 : (size_t)offset};
    size_t room = crop > o.at ? crop - o.at : 0, left = size > o.from ? size - o.from : 0;
    o.count = room < left ? room : left;
    return o;
}

pm_status pm_image_crop(const pm_image *in, const pm_preprocessing *how, pm_image *out,
                        pm_geometry *geometry) {
    if (how->crop == 0 || how->crop > SIDE_LIMIT || how->resize > SIDE_LIMIT)
        return pm_fail(PM_E_LIMIT, "resize %zu, crop %zu: the crop is 1 to %d pixels", how->resize,
                       how->crop, SIDE_LIMIT);
    pm_geometry g = pm_geometry_of(how, in->width, in->height);
    pm_status status = check_sides(in, g.resized_width, g.resized_height);
    if (status) return status;
    overlap x = overlap_of(g.left, g.crop, g.resized_width);
    overlap y = overlap_of(g.top, g.crop, g.resized_height);
    pm_region region = {g.resized_width, g.resized_height, x.from, y.from, x.count, y.count};
    pm_image part = {0};
    status = pm_resample(in, &region, how->filter, &part);
    if (status) return status;
    if (x.count == g.crop && y.count == g.crop) {
        *out = part;
    } else {
        uint8_t *rgb = calloc(g.crop * g.crop, 3);
        if (!rgb) {
            pm_image_fini(&part);
            return pm_fail(PM_E_MEMORY, "no memory for a crop of %zu pixels", g.crop);
        }
        for (size_t row = 0; row < y.count; row++)
            memcpy(rgb + ((y.at + row) * g.crop + x.at) * 3, part.rgb + row * x.count * 3,
                   x.count * 3);
        pm_image_fini(&part);
        *out = (pm_image){g.crop, g.crop, rgb};
    }
    if (geometry) *geometry = g;
    return PM_OK;
}

void pm_image_normalise(const pm_image *crop, const pm_preprocessing *how, float *out) {
    size_t pixels = crop->width * crop->height;
    for (size_t c = 0; c < 3; c++) {
        /* Every step in float, as torch does: 256 values are all there can be. */
        float values[256];
        for (int v = 0; v < 256; v++) {
            float unit = (float)v / 255.0f;
            float centred = unit - how->mean[c];
            values[v] = centred / how->std[c];
        }
        float *plane = out + c * pixels;
        const uint8_t *sample = crop->rgb + c;
        for (size_t i = 0; i < pixels; i++) plane[i] = values[sample[i * 3]];
    }
}

pm_status pm_image_tensor(const pm_image *in, const pm_preprocessing *how, float *out,
                          pm_geometry *geometry) {
    pm_image crop = {0};
    pm_status status = pm_image_crop(in, how, &crop, geometry);
    if (status) return status;
    pm_image_normalise(&crop, how, out);
    pm_image_fini(&crop);
    return PM_OK;
}

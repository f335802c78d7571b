/* Owns what is done to pictures on purpose. Must not know why, nor any network. */
#include "lib/image/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/draw.h"
#include "lib/image/gauss.h"

static void swap_tiles(pm_draw *draw, size_t swaps, size_t *tiles, size_t count) {
    for (size_t i = 0; i < count; i++) tiles[i] = i;
    for (size_t s = 0; s < swaps; s++) {
        size_t a = (size_t)pm_draw_below(draw, count), b = (size_t)pm_draw_below(draw, count - 1);
        if (b >= a) b++;
        size_t tile = tiles[a];
        tiles[a] = tiles[b];
        tiles[b] = tile;
    }
}

static pm_status jigsaw(const pm_input *how, pm_draw *draw, pm_image *picture) {
    size_t grid = how->grid, count = grid * grid, bytes = picture->width * picture->height * 3;
    size_t width = picture->width / grid, height = picture->height / grid;
    if (width == 0 || height == 0)
        return pm_fail(PM_E_USAGE, "input jigsaw: %zu x %zu tiles of %zu x %zu pixels are empty",
                       grid, grid, picture->width, picture->height);
    size_t *tiles = malloc(count * sizeof *tiles);
    uint8_t *whole = malloc(bytes);
    if (!tiles || !whole) {
        free(tiles);
        free(whole);
        return pm_fail(PM_E_MEMORY, "no memory for a jigsaw of %zu x %zu tiles", grid, grid);
    }
    memcpy(whole, picture->rgb, bytes);
    swap_tiles(draw, how->swaps, tiles, count);
    for (size_t place = 0; place < count; place++) {
        size_t to_x = place % grid * width, to_y = place / grid * height;
        size_t from_x = tiles[place] % grid * width, from_y = tiles[place] / grid * height;
        for (size_t y = 0; y < height; y++)
            memcpy(picture->rgb + ((to_y + y) * picture->width + to_x) * 3,
                   whole + ((from_y + y) * picture->width + from_x) * 3, width * 3);
    }
    free(tiles);
    free(whole);
    return PM_OK;
}

static uint8_t to_sample(double value) {
    if (!(value > 0)) return 0;
    return value < 255.0 ? (uint8_t)lround(value) : 255;
}

static pm_status blur(const pm_input *how, pm_image *picture) {
    size_t pixels = picture->width * picture->height;
    double *planes = malloc(3 * pixels * sizeof *planes);
    if (!planes) return pm_fail(PM_E_MEMORY, "no memory for a blur of %zu pixels", pixels);
    pm_status status = PM_OK;
    for (size_t c = 0; c < 3 && !status; c++) {
        double *plane = planes + c * pixels;
        for (size_t i = 0; i < pixels; i++) plane[i] = picture->rgb[i * 3 + c];
        status = pm_gauss_filter(plane, picture->width, picture->height, how->radius);
    }
    for (size_t i = 0; i < 3 * pixels && !status; i++)
        picture->rgb[i] = to_sample(planes[i % 3 * pixels + i / 3]);
    free(planes);
    return status;
}

static void add_noise(const pm_input *how, pm_draw *draw, pm_image *picture) {
    enum { CHUNK = 768 };
    float z[CHUNK];
    size_t count = picture->width * picture->height * 3;
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t left = count - at < CHUNK ? count - at : CHUNK;
        pm_draw_normal(draw, z, left);
        for (size_t i = 0; i < left; i++)
            picture->rgb[at + i] =
                to_sample(picture->rgb[at + i] + 255.0 * how->sigma * (double)z[i]);
    }
}

pm_status pm_image_input(const pm_input *how, uint64_t seed, const pm_sha256 *image,
                         pm_image *picture) {
    pm_draw draw;
    pm_draw_begin(&draw, seed, image, PM_DRAW_INPUT, 0);
    switch (how->kind) {
    case PM_INPUT_JIGSAW: return jigsaw(how, &draw, picture);
    case PM_INPUT_BLUR: return blur(how, picture);
    case PM_INPUT_NOISE: add_noise(how, &draw, picture); return PM_OK;
    case PM_INPUT_NONE:
    case PM_INPUT_COUNT: break;
    }
    return PM_OK;
}

pm_status pm_image_input_tensor(const pm_image *photograph, const pm_preprocessing *how,
                                const pm_input *input, uint64_t seed, const pm_sha256 *image,
                                float *out, pm_geometry *geometry) {
    pm_image crop = {0};
    pm_status status = pm_image_crop(photograph, how, &crop, geometry);
    if (!status) status = pm_image_input(input, seed, image, &crop);
    if (!status) pm_image_normalise(&crop, how, out);
    pm_image_fini(&crop);
    return status;
}

pm_status pm_image_blur_tensor(const float *in, size_t side, double sigma, float *out) {
    size_t pixels = side * side;
    double *planes = malloc(3 * pixels * sizeof *planes);
    if (!planes) return pm_fail(PM_E_MEMORY, "no memory for a blur of %zu pixels", pixels);
    pm_status status = PM_OK;
    for (size_t i = 0; i < 3 * pixels; i++) planes[i] = (double)in[i];
    for (size_t c = 0; c < 3 && !status; c++)
        status = pm_gauss_filter(planes + c * pixels, side, side, sigma);
    for (size_t i = 0; i < 3 * pixels && !status; i++) out[i] = (float)planes[i];
    free(planes);
    return status;
}

/* Photographs: decode, resize as Pillow does, crop, normalise; pictures out. The only room that
 * calls libvips. Decoding is from memory: who reads the file (or the network) is not known here. */
#ifndef PM_IMAGE_H
#define PM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/attribution.h"
#include "lib/base/status.h"

/* 8-bit RGB, interleaved, rows without padding. */
typedef struct pm_image {
    size_t width, height;
    uint8_t *rgb; /* [height][width][3] from malloc */
} pm_image;

/* Call once a process, before threads; blocks libvips' untrusted loaders, sets its concurrency
 * to 1 and its caches to none. */
pm_status pm_image_setup(const char *program);
/* libvips', "8.14.1". */
const char *pm_image_library_version(void);

typedef struct pm_image_limits {
    size_t side_max;   /* pixels a side */
    size_t pixels_max; /* width x height */
} pm_image_limits;
extern const pm_image_limits pm_image_default_limits; /* 16,384 a side, 100 megapixels */

/* Decode JPEG, PNG or WebP bytes to the RGB that Pillow's Image.open(f).convert("RGB") gives.
 * The header's dimensions are checked against `limits` before any pixel is touched. PM_E_FORMAT
 * (not an image, truncated), PM_E_LIMIT, PM_E_UNSUPPORTED, PM_E_MEMORY. `name` is for the text. */
pm_status pm_image_decode(const char *name, const void *bytes, size_t size,
                          const pm_image_limits *limits, pm_image *out);
void pm_image_fini(pm_image *image);

/* How a photograph becomes a network's input. */
typedef struct pm_preprocessing {
    size_t resize; /* short side, pixels; 0: as it is */
    size_t crop;   /* centre crop, square, pixels; the result's side */
    pm_filter filter;
    float mean[3], std[3];
} pm_preprocessing;

/* Where the crop lies in the resized photograph: what maps a box. */
typedef struct pm_geometry {
    size_t source_width, source_height;
    size_t resized_width, resized_height;
    long left, top; /* offset of the crop; negative where the crop is larger: Pillow pads with 0 */
    size_t crop;
} pm_geometry;

/* Sizes and offsets by DESIGN's rule: long side = int(size * long / short); offset = round half
 * to even of (n - crop) / 2. */
pm_geometry pm_geometry_of(const pm_preprocessing *how, size_t width, size_t height);

typedef struct pm_box {
    double xmin, ymin, xmax, ymax; /* pixels of the source; xmax and ymax exclusive */
} pm_box;

typedef struct pm_crop_box {
    size_t xmin, ymin, xmax, ymax; /* pixels of the crop, clamped; may be empty */
} pm_crop_box;

pm_crop_box pm_geometry_box(const pm_geometry *geometry, const pm_box *box);

/* Pillow's resize to the last bit: antialiased, 8-bit fixed point, horizontal then vertical. */
pm_status pm_image_resize(const pm_image *in, size_t width, size_t height, pm_filter filter,
                          pm_image *out);

/* Resize and crop to 8-bit, before mean and std: [crop][crop][3]. */
pm_status pm_image_crop(const pm_image *in, const pm_preprocessing *how, pm_image *out,
                        pm_geometry *geometry);

/* The tensor of a crop: out [3][height][width], ((v / 255) - mean) / std in float as torchvision
 * computes it. */
void pm_image_normalise(const pm_image *crop, const pm_preprocessing *how, float *out);

/* Both, one after the other: out [3][crop][crop]. */
pm_status pm_image_tensor(const pm_image *in, const pm_preprocessing *how, float *out,
                          pm_geometry *geometry);

/* Pictures out, all written whole or not at all. */
pm_status pm_image_write_png(const char *path, const pm_image *image);
pm_status pm_image_encode_png(const pm_image *image, uint8_t **out, size_t *size);
/* The pictures one after the other, each for `delay_ms`, again and again; all of one size.
 * PM_E_USAGE, PM_E_MEMORY. */
typedef enum pm_animation { PM_ANIMATION_GIF, PM_ANIMATION_WEBP } pm_animation;
pm_status pm_image_encode_animation(pm_animation format, const pm_image *frames, size_t count,
                                    int delay_ms, uint8_t **out, size_t *size);

/* A line of text in black on what is there, its upper left corner at (x, y): capitals, digits and
 * . , - + = / % ( ) : _ in cells of 6 x 8 pixels times `scale`; small letters as capitals, other
 * bytes as blanks; what lies outside is cut. The same pixels everywhere: no font is asked for. */
void pm_image_write_text(pm_image *image, size_t x, size_t y, size_t scale, const char *text);

/* grey [height][width]. */
pm_status pm_image_encode_grey_png(const uint8_t *grey, size_t width, size_t height, uint8_t **out,
                                   size_t *size);
/* quality 1 .. 100. */
pm_status pm_image_encode_jpeg(const pm_image *image, int quality, uint8_t **out, size_t *size);
/* The heat map [side][side] in a colour-blind-safe colour map, scaled from its least value to its
 * 99th percentile, over the (cropped, square) photograph in grey; box may be NULL. Sides below 112
 * are drawn with enlarged pixels: `out` has a side of side * (224 / side) then. */
pm_status pm_image_overlay(const pm_image *photograph, const float *heat_map,
                           const pm_crop_box *box, pm_image *out);

#endif

/* Owns libvips' set-up and the way from a file's bytes to Pillow's RGB. Knows no path, no size of a
 * network and no colour management: profiles and EXIF orientation are ignored, as Pillow does. */
#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "lib/image/decode.h"

const pm_image_limits pm_image_default_limits = {.side_max = 16384, .pixels_max = 100000000};

enum { STRIP_ROWS = 64 };

typedef enum image_kind { KIND_JPEG, KIND_PNG, KIND_WEBP } image_kind;

typedef struct source {
    const char *name;
    const uint8_t *bytes;
    size_t size;
    const pm_image_limits *limits;
    image_kind kind;
    uint8_t *room; /* for the pixels; NULL: from malloc */
    size_t room_bytes;
} source;

/* libvips has one error buffer for the process: decoders share the lock, and whoever fails takes
 * it alone and decodes once more, so that the text is of this image and no other. */
static pthread_rwlock_t error_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t setup_lock = PTHREAD_MUTEX_INITIALIZER;
static bool setup_done;

static void log_nothing(const char *domain, GLogLevelFlags level, const char *text, void *data) {
    (void)domain;
    (void)level;
    (void)text;
    (void)data;
}

/* libvips looks for its optional loaders (ImageMagick, Poppler, OpenSlide ...) below VIPSHOME. They
 * are never used here: a hundred libraries less in every worker, and a tenth of the start. */
static int start_without_modules(const char *program) {
    const char *set = getenv("VIPSHOME");
    char *kept = set ? strdup(set) : NULL;
    if ((set && !kept) || setenv("VIPSHOME", "/nonexistent", 1) != 0) return -1;
    int failed = vips_init(program);
    if (kept)
        setenv("VIPSHOME", kept, 1);
    else
        unsetenv("VIPSHOME");
    free(kept);
    return failed;
}

const char *pm_image_library_version(void) { return vips_version_string(); }

pm_status pm_image_setup(const char *program) {
    pm_status status = PM_OK;
    pthread_mutex_lock(&setup_lock);
    if (!setup_done) {
        if (start_without_modules(program) != 0) {
            status = pm_fail(PM_E_INTERNAL, "libvips does not start: check its installation");
        } else {
            vips_block_untrusted_set(TRUE);
            vips_concurrency_set(1);
            vips_cache_set_max(0);
            vips_cache_set_max_mem(0);
            vips_cache_set_max_files(0);
            /* What matters comes back as an error; stderr belongs to pm_log. */
            g_log_set_handler("VIPS", G_LOG_LEVEL_MASK, log_nothing, NULL);
            setup_done = true;
        }
    }
    pthread_mutex_unlock(&setup_lock);
    return status;
}

void pm_image_fini(pm_image *image) {
    if (!image) return;
    free(image->rgb);
    *image = (pm_image){0};
}

static bool starts(const source *in, size_t at, const char *magic, size_t size) {
    return in->size >= at + size && memcmp(in->bytes + at, magic, size) == 0;
}

/* By the first bytes, never by the name. */
static pm_status find_kind(source *in) {
    static const struct {
        const char *name, *magic;
        size_t at, size;
    } refused[] = {
        {"GIF", "GIF8", 0, 4}, {"TIFF", "II*\0", 0, 4}, {"TIFF", "MM\0*", 0, 4},
        {"BMP", "BM", 0, 2},   {"HEIF", "ftyp", 4, 4},  {"JPEG 2000", "\0\0\0\x0cjP", 0, 6},
        {"PDF", "%PDF", 0, 4}, {"SVG", "<svg", 0, 4},   {"JPEG XL", "\xff\x0a", 0, 2},
    };
    if (in->size == 0) return pm_fail(PM_E_FORMAT, "%s: an empty file, not an image", in->name);
    if (starts(in, 0, "\xff\xd8\xff", 3)) {
        in->kind = KIND_JPEG;
        return PM_OK;
    }
    if (starts(in, 0, "\x89PNG\r\n\x1a\n", 8)) {
        in->kind = KIND_PNG;
        return PM_OK;
    }
    if (starts(in, 0, "RIFF", 4) && starts(in, 8, "WEBP", 4)) {
        in->kind = KIND_WEBP;
        return PM_OK;
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (starts(in, refused[i].at, refused[i].magic, refused[i].size))
            return pm_fail(PM_E_UNSUPPORTED, "%s: %s is not read here; convert it to PNG or JPEG",
                           in->name, refused[i].name);
    }
    return pm_fail(PM_E_FORMAT, "%s: not a JPEG, PNG or WebP image", in->name);
}

static const char *kind_name(image_kind kind) {
    switch (kind) {
    case KIND_JPEG: return "JPEG";
    case KIND_PNG: return "PNG";
    case KIND_WEBP: return "WebP";
    }
    return "?";
}

static VipsImage *open_image(const source *in) {
    VipsImage *image = NULL;
    /* libvips only reads through this pointer. */
    void *bytes = (void *)(uintptr_t)in->bytes;
    int failed = -1;
    switch (in->kind) {
    case KIND_JPEG:
        failed = vips_jpegload_buffer(bytes, in->size, &image, "access", VIPS_ACCESS_SEQUENTIAL,
                                      "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
        break;
    case KIND_PNG:
        failed = vips_pngload_buffer(bytes, in->size, &image, "access", VIPS_ACCESS_SEQUENTIAL,
                                     "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
        break;
    case KIND_WEBP:
        failed = vips_webpload_buffer(bytes, in->size, &image, "access", VIPS_ACCESS_SEQUENTIAL,
                                      "fail_on", VIPS_FAIL_ON_TRUNCATED, NULL);
        break;
    }
    return failed ? NULL : image;
}

/* How one row of libvips' pixels becomes RGB. */
typedef struct row_form {
    size_t bands;
    size_t step; /* bytes a sample: 1 or 2 */
    bool cmyk;   /* amounts of ink: libvips has taken the complement of what a JPEG stores */
} row_form;

static pm_status find_form(const source *in, const VipsImage *image, row_form *out) {
    size_t bands = (size_t)vips_image_get_bands(image);
    VipsBandFormat format = vips_image_get_format(image);
    bool cmyk = in->kind == KIND_JPEG && bands == 4;
    if (bands < 1 || bands > 4 || (format != VIPS_FORMAT_UCHAR && format != VIPS_FORMAT_USHORT))
        return pm_fail(PM_E_UNSUPPORTED, "%s: a %s with %zu bands of %s; 8 and 16 bits are read",
                       in->name, kind_name(in->kind), bands,
                       vips_enum_nick(VIPS_TYPE_BAND_FORMAT, (int)format));
    *out = (row_form){.bands = bands, .step = format == VIPS_FORMAT_UCHAR ? 1 : 2, .cmyk = cmyk};
    return PM_OK;
}

/* Pillow's CMYK to RGB: (255 - k)(255 - c) / 255, rounded (libImaging, Convert.c, cmyk2rgb). */
static uint8_t ink_to_light(unsigned ink, unsigned light) {
    unsigned product = ink * light + 128;
    return (uint8_t)(light - (((product >> 8) + product) >> 8));
}

static void convert_row(const uint8_t *in, const row_form *form, size_t width, uint8_t *rgb) {
    if (form->cmyk) {
        for (size_t x = 0; x < width; x++, in += 4, rgb += 3) {
            unsigned light = 255u - in[3];
            for (size_t c = 0; c < 3; c++) rgb[c] = ink_to_light(in[c], light);
        }
        return;
    }
    if (form->step == 1 && form->bands == 3) {
        memcpy(rgb, in, width * 3);
        return;
    }
    bool grey = form->bands < 3;
    for (size_t x = 0; x < width; x++, rgb += 3) {
        for (size_t c = 0; c < 3; c++) {
            size_t at = x * form->bands + (grey ? 0 : c);
            if (form->step == 1) {
                rgb[c] = in[at];
            } else {
                uint16_t wide;
                memcpy(&wide, in + at * 2, 2);
                rgb[c] = (uint8_t)(wide >> 8);
            }
        }
    }
}

static pm_status check_size(const source *in, size_t width, size_t height) {
    const pm_image_limits *limits = in->limits;
    if (width <= limits->side_max && height <= limits->side_max &&
        width <= limits->pixels_max / height)
        return PM_OK;
    return pm_fail(PM_E_LIMIT, "%s: %zu x %zu pixels; the limit is %zu a side and %zu in all",
                   in->name, width, height, limits->side_max, limits->pixels_max);
}

static pm_status vips_failure(const source *in) {
    const char *text = vips_error_buffer();
    int length = (int)strcspn(text, "\r\n");
    if (length > 200) length = 200;
    pm_status status = length ? pm_fail(PM_E_FORMAT, "%s: a damaged or truncated %s (%.*s)",
                                        in->name, kind_name(in->kind), length, text)
                              : pm_fail(PM_E_FORMAT, "%s: a damaged or truncated %s", in->name,
                                        kind_name(in->kind));
    vips_error_clear();
    return status;
}

/* Strip by strip, so that a wide format never stands in memory whole. */
static pm_status read_rows(const source *in, VipsImage *image, const row_form *form,
                           pm_image *into) {
    VipsRegion *region = vips_region_new(image);
    pm_status status = PM_OK;
    for (size_t y = 0; y < into->height; y += STRIP_ROWS) {
        size_t rows = into->height - y < STRIP_ROWS ? into->height - y : STRIP_ROWS;
        VipsRect strip = {0, (int)y, (int)into->width, (int)rows};
        if (vips_region_prepare(region, &strip) != 0) {
            status = vips_failure(in);
            break;
        }
        /* VIPS_REGION_ADDR without its mixed signs; a prepared region starts in column 0 here. */
        const uint8_t *data =
            region->data + ((size_t)y - (size_t)region->valid.top) * (size_t)region->bpl;
        for (size_t i = 0; i < rows; i++)
            convert_row(data + i * (size_t)region->bpl, form, into->width,
                        into->rgb + (y + i) * into->width * 3);
    }
    g_object_unref(region);
    return status;
}

static pm_status make_room(const source *in, pm_image *image) {
    const size_t bytes = image->width * image->height * 3;
    if (in->room && bytes > in->room_bytes)
        return pm_fail(PM_E_LIMIT, "%s: %zu x %zu pixels; there is room for %zu bytes", in->name,
                       image->width, image->height, in->room_bytes);
    image->rgb = in->room ? in->room : malloc(bytes);
    if (image->rgb) return PM_OK;
    return pm_fail(PM_E_MEMORY, "%s: no memory for %zu x %zu pixels", in->name, image->width,
                   image->height);
}

static pm_status decode(const source *in, pm_image *out) {
    pm_image image = {0};
    row_form form = {0};
    pm_status status;
    VipsImage *opened = open_image(in);
    if (!opened) return vips_failure(in);
    image.width = (size_t)vips_image_get_width(opened);
    image.height = (size_t)vips_image_get_height(opened);
    status = check_size(in, image.width, image.height);
    if (!status) status = find_form(in, opened, &form);
    if (!status) status = make_room(in, &image);
    if (status) goto fail;
    status = read_rows(in, opened, &form, &image);
    if (status) goto fail;
    g_object_unref(opened);
    *out = image;
    return PM_OK;
fail:
    g_object_unref(opened);
    if (!in->room) free(image.rgb);
    return status;
}

pm_status pm_image_decode(const char *name, const void *bytes, size_t size,
                          const pm_image_limits *limits, pm_image *out) {
    source in = {.name = name,
                 .bytes = bytes,
                 .size = size,
                 .limits = limits ? limits : &pm_image_default_limits};
    pm_status status = find_kind(&in);
    if (status) return status;
    pthread_rwlock_rdlock(&error_lock);
    status = decode(&in, out);
    pthread_rwlock_unlock(&error_lock);
    if (status != PM_E_FORMAT) return status;
    pthread_rwlock_wrlock(&error_lock);
    vips_error_clear();
    status = decode(&in, out);
    pthread_rwlock_unlock(&error_lock);
    return status;
}

pm_status pm_decode_into(const char *name, const void *bytes, size_t size,
                         const pm_image_limits *limits, uint8_t *room, size_t room_bytes,
                         pm_image *out) {
    source in = {.name = name,
                 .bytes = bytes,
                 .size = size,
                 .limits = limits,
                 .room = room,
                 .room_bytes = room_bytes};
    pm_status status = find_kind(&in);
    return status ? status : decode(&in, out);
}

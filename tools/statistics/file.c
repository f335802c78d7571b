/* Owns the bytes of a statistics file: header, places, and the way to its name. */
#include "tools/statistics/file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are written as memory has them");

static const char *const part_names[PM_STATS_PART_COUNT] = {"mean", "std", "shapiro", "student",
                                                            "welch"};

struct pm_stats_file {
    const pm_stats_shape *shape;
    char *folder, *path; /* `path`: of the temporary, or where it was kept */
    int fd;
    bool kept;
    uint64_t size_bytes;
    uint64_t (*places)[PM_STATS_PART_COUNT]; /* [conv_count] byte of each tensor */
    pm_sha256 sha256;
};

/* ---- shape ---- */

void pm_stats_shape_fini(pm_stats_shape *shape) {
    free(shape->classes);
    free(shape->convs);
    *shape = (pm_stats_shape){0};
}

pm_status pm_stats_shape_add(pm_stats_shape *shape, const char *name, size_t channels) {
    pm_stats_conv *convs = realloc(shape->convs, (shape->conv_count + 1) * sizeof *convs);
    if (!convs) return pm_fail(PM_E_MEMORY, "no memory for a convolution");
    shape->convs = convs;
    pm_stats_conv *conv = &convs[shape->conv_count];
    *conv = (pm_stats_conv){.channels = channels, .first = shape->channels};
    if (snprintf(conv->name, sizeof conv->name, "%s", name) >= (int)sizeof conv->name)
        return pm_fail(PM_E_LIMIT, "convolution %.80s...: its name is too long", name);
    shape->conv_count++;
    shape->channels += channels;
    return PM_OK;
}

pm_status pm_stats_shape_of_model(const pm_model *model, pm_stats_shape *out) {
    pm_stats_shape shape = {0};
    pm_status status = PM_OK;
    snprintf(shape.arch, sizeof shape.arch, "%s", pm_model_arch(model)->name);
    for (size_t i = 0; i < pm_model_conv_count(model) && !status; i++)
        status = pm_stats_shape_add(&shape, pm_model_conv(model, i)->name,
                                    pm_model_conv(model, i)->channels);
    if (status)
        pm_stats_shape_fini(&shape);
    else
        *out = shape;
    return status;
}

size_t pm_stats_columns(const pm_stats_shape *shape, pm_stats_part part) {
    return part == PM_STATS_STUDENT || part == PM_STATS_WELCH ? shape->class_count : 1;
}

/* ---- header ---- */

static json_t *tensor(uint64_t begin, uint64_t size_bytes, size_t rows, size_t columns) {
    json_t *shape = json_array();
    const json_int_t ends[2] = {(json_int_t)begin, (json_int_t)begin + (json_int_t)size_bytes};
    json_array_append_new(shape, json_integer((json_int_t)rows));
    if (columns) json_array_append_new(shape, json_integer((json_int_t)columns));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                     ends[0], ends[1]);
}

static json_t *metadata(const pm_stats_shape *shape) {
    char images[32];
    json_t *root = json_pack("{s:s}", "arch", shape->arch);
    snprintf(images, sizeof images, "%llu", (unsigned long long)shape->images);
    if (shape->images) json_object_set_new(root, "images", json_string(images));
    return root;
}

/* The header as JSON, and the place of each tensor behind it; NULL without memory. */
static json_t *lay_out(pm_stats_file *f) {
    const pm_stats_shape *shape = f->shape;
    json_t *root = json_object();
    uint64_t at = 0;
    int failed = json_object_set_new(root, "__metadata__", metadata(shape));
    if (shape->class_count) {
        at = shape->class_count * sizeof(float);
        failed |= json_object_set_new(root, "classes", tensor(0, at, shape->class_count, 0));
    }
    for (size_t i = 0; i < shape->conv_count; i++) {
        for (int part = 0; part < PM_STATS_PART_COUNT; part++) {
            char name[128];
            if (!shape->has[part]) continue;
            const bool classes = part == PM_STATS_STUDENT || part == PM_STATS_WELCH;
            const size_t columns = pm_stats_columns(shape, (pm_stats_part)part);
            const uint64_t size = shape->convs[i].channels * columns * sizeof(float);
            snprintf(name, sizeof name, "%s/%s", part_names[part], shape->convs[i].name);
            json_object_set_new(root, name,
                                tensor(at, size, shape->convs[i].channels, classes ? columns : 0));
            f->places[i][part] = at;
            at += size;
        }
    }
    f->size_bytes = at;
    if (!failed) return root;
    json_decref(root);
    return NULL;
}

/* ---- bytes ---- */

static pm_status write_at(pm_stats_file *f, uint64_t at, const void *bytes, size_t size) {
    const uint8_t *from = bytes;
    while (size) {
        ssize_t n = pwrite(f->fd, from, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_file_fail(f->path, errno);
        from += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return PM_OK;
}

static pm_status write_classes(pm_stats_file *f, uint64_t at) {
    pm_status status = PM_OK;
    for (size_t k = 0; k < f->shape->class_count && !status; k++) {
        const float class = (float)f->shape->classes[k];
        status = write_at(f, at + k * sizeof class, &class, sizeof class);
    }
    return status;
}

static pm_status write_header(pm_stats_file *f) {
    json_t *root = lay_out(f);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) return pm_fail(PM_E_MEMORY, "no memory for a statistics file");
    const size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    const uint64_t begin = 8 + padded, size = padded;
    static const char blanks[8] = "        ";
    pm_status status = write_at(f, 0, &size, sizeof size);
    if (!status) status = write_at(f, 8, text, length);
    if (!status) status = write_at(f, 8 + length, blanks, padded - length);
    free(text);
    for (size_t i = 0; i < f->shape->conv_count; i++)
        for (int part = 0; part < PM_STATS_PART_COUNT; part++) f->places[i][part] += begin;
    f->size_bytes += begin;
    if (!status) status = write_classes(f, begin);
    if (!status && ftruncate(f->fd, (off_t)f->size_bytes) != 0)
        status = pm_file_fail(f->path, errno);
    return status;
}

/* mkostemp makes a file that only its owner may read; the broker's may be another. */
static pm_status make_temporary(pm_stats_file *f, const char *folder) {
    pm_status status = pm_dir_make(folder);
    if (status) return status;
    if (asprintf(&f->path, "%s/.statistics-XXXXXX", folder) < 0) {
        f->path = NULL;
        return pm_fail(PM_E_MEMORY, "no memory for a statistics file");
    }
    f->folder = strdup(folder);
    f->fd = mkostemp(f->path, O_CLOEXEC);
    if (f->fd < 0) {
        status = pm_file_fail(f->path, errno);
        free(f->path);
        f->path = NULL;
        return status;
    }
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(f->fd, 0666 & ~mask) != 0) return pm_file_fail(f->path, errno);
    return f->folder ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for a statistics file");
}

pm_status pm_stats_file_new(const pm_stats_shape *shape, const char *folder, pm_stats_file **out) {
    pm_stats_file *f = calloc(1, sizeof *f);
    if (!f) return pm_fail(PM_E_MEMORY, "no memory for a statistics file");
    f->fd = -1;
    f->shape = shape;
    f->places = calloc(shape->conv_count + 1, sizeof *f->places);
    pm_status status = f->places ? make_temporary(f, folder)
                                 : pm_fail(PM_E_MEMORY, "no memory for a statistics file");
    if (!status) status = write_header(f);
    if (status)
        pm_stats_file_free(&f);
    else
        *out = f;
    return status;
}

void pm_stats_file_free(pm_stats_file **file) {
    pm_stats_file *f = *file;
    *file = NULL;
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    if (f->path && !f->kept) unlink(f->path);
    free(f->path);
    free(f->folder);
    free(f->places);
    free(f);
}

/* The convolution that has this channel. */
static size_t conv_of(const pm_stats_shape *shape, size_t channel) {
    size_t low = 0, high = shape->conv_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (shape->convs[middle].first <= channel)
            low = middle;
        else
            high = middle;
    }
    return low;
}

pm_status pm_stats_file_put(pm_stats_file *f, pm_stats_part part, size_t channel, size_t count,
                            const float *values) {
    const pm_stats_shape *shape = f->shape;
    const size_t columns = pm_stats_columns(shape, part);
    if (!shape->has[part] || channel > shape->channels || count > shape->channels - channel)
        return pm_fail(PM_E_INTERNAL, "statistics: no %s of channels %zu on", part_names[part],
                       channel);
    pm_status status = PM_OK;
    while (count && !status) {
        const size_t conv = conv_of(shape, channel), in = channel - shape->convs[conv].first;
        const size_t left = shape->convs[conv].channels - in, some = count < left ? count : left;
        status = write_at(f, f->places[conv][part] + in * columns * sizeof *values, values,
                          some * columns * sizeof *values);
        values += some * columns;
        channel += some;
        count -= some;
    }
    return status;
}

pm_status pm_stats_file_get(pm_stats_file *f, pm_stats_part part, size_t conv, float *values) {
    size_t size =
        f->shape->convs[conv].channels * pm_stats_columns(f->shape, part) * sizeof *values;
    uint64_t at = f->places[conv][part];
    uint8_t *to = (uint8_t *)values;
    while (size) {
        ssize_t n = pread(f->fd, to, size, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return n < 0 ? pm_file_fail(f->path, errno)
                         : pm_fail(PM_E_IO, "%s: cut short", f->path);
        to += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return PM_OK;
}

pm_status pm_stats_file_seal(pm_stats_file *f, pm_sha256 *sha256, uint64_t *size_bytes) {
    if (fsync(f->fd) != 0) return pm_file_fail(f->path, errno);
    pm_status status = pm_sha256_file(f->path, &f->sha256);
    if (status) return status;
    *sha256 = f->sha256;
    *size_bytes = f->size_bytes;
    return PM_OK;
}

pm_status pm_stats_file_keep(pm_stats_file *f, const char *path) {
    char *named = NULL, hex[PM_SHA256_HEX_BYTES];
    pm_sha256_hex(&f->sha256, hex);
    int length =
        path ? asprintf(&named, "%s", path) : asprintf(&named, "%s/%s.safetensors", f->folder, hex);
    if (length < 0) return pm_fail(PM_E_MEMORY, "no memory for a path");
    if (rename(f->path, named) != 0) {
        pm_status status = pm_file_fail(named, errno);
        free(named);
        return status;
    }
    free(f->path);
    f->path = named;
    f->kept = true;
    pm_file_sync_name(f->path);
    return PM_OK;
}

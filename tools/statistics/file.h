/* Statistics as a .safetensors file, written piece by piece in any order. The same numbers give the
 * same bytes, so that the file's SHA-256 names them.
 *
 * Tensors, float32: classes [K], then for each convolution in registration order those of
 * mean/CONV, std/CONV, shapiro/CONV [C], student/CONV, welch/CONV [C, K] that there are.
 *
 * Use: pm_stats_file_new -> _put until everything is there -> _seal -> _keep; _free drops what was
 * not kept. PM_E_FULL, PM_E_IO, PM_E_MEMORY. */
#ifndef PM_TOOLS_STATISTICS_FILE_H
#define PM_TOOLS_STATISTICS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "parchgrad.h"

typedef enum pm_stats_part {
    PM_STATS_MEAN,
    PM_STATS_STD,
    PM_STATS_SHAPIRO,
    PM_STATS_STUDENT,
    PM_STATS_WELCH,
    PM_STATS_PART_COUNT
} pm_stats_part;

typedef struct pm_stats_conv {
    char name[96];
    size_t channels, first; /* `first`: of its channels among all */
} pm_stats_conv;

/* What there is, without the numbers. */
typedef struct pm_stats_shape {
    char arch[64];
    uint64_t images; /* 0: not known */
    bool has[PM_STATS_PART_COUNT];
    size_t class_count;
    uint32_t *classes; /* [class_count] ascending class indices */
    size_t conv_count, channels;
    pm_stats_conv *convs; /* [conv_count] in registration order */
} pm_stats_shape;

void pm_stats_shape_fini(pm_stats_shape *shape);
/* Append a convolution. */
pm_status pm_stats_shape_add(pm_stats_shape *shape, const char *name, size_t channels);
/* All convolutions of the model; no part, no class. PM_E_MEMORY. */
pm_status pm_stats_shape_of_model(const pm_model *model, pm_stats_shape *out);
/* Columns of a part: 1, or class_count. */
size_t pm_stats_columns(const pm_stats_shape *shape, pm_stats_part part);

typedef struct pm_stats_file pm_stats_file;

/* In `folder`, which is made if need be. `shape` must outlive the file. */
pm_status pm_stats_file_new(const pm_stats_shape *shape, const char *folder, pm_stats_file **out);
void pm_stats_file_free(pm_stats_file **file);

/* Channels channel .. channel + count - 1 among those of all convolutions. values:
 * [count][columns]. */
pm_status pm_stats_file_put(pm_stats_file *file, pm_stats_part part, size_t channel, size_t count,
                            const float *values);
/* One convolution back: values [channels][columns]. */
pm_status pm_stats_file_get(pm_stats_file *file, pm_stats_part part, size_t conv, float *values);

/* On disk, and its name; nothing can be put any more. */
pm_status pm_stats_file_seal(pm_stats_file *file, pm_sha256 *sha256, uint64_t *size_bytes);
/* Give the sealed file its path: `path`, or with NULL FOLDER/SHA256.safetensors. */
pm_status pm_stats_file_keep(pm_stats_file *file, const char *path);

#endif

/* Owns what the research code's pickles mean. Knows neither opcodes nor the database. */
#include "tools/statistics/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One list of tensors, open. */
typedef struct pickle_list {
    char path[4096];
    pm_weights *tensors; /* NULL: there is no such file */
} pickle_list;

typedef struct import {
    const char *pickles;
    pm_stats_made *made;
    size_t model_classes;
    pickle_list shapiro, mean, std, classes;
    float *values; /* [most numbers of a tensor] */
} import;

/* ---- opening ---- */

static pm_status open_list(const import *m, const char *file, pickle_list *out) {
    for (int named = 0; named < 2; named++) {
        int length = named ? snprintf(out->path, sizeof out->path, "%s/%s_%s", m->pickles,
                                      m->made->shape.arch, file)
                           : snprintf(out->path, sizeof out->path, "%s/%s", m->pickles, file);
        if (length >= (int)sizeof out->path)
            return pm_fail(PM_E_LIMIT, "%.200s: the path is too long", m->pickles);
        if (access(out->path, F_OK) != 0) continue;
        pm_status status = pm_weights_open(out->path, &out->tensors);
        if (!status && strcmp(pm_weights_format(out->tensors), "pickle") != 0)
            return pm_fail(PM_E_FORMAT, "%s: a %s file, not a pickled list of tensors", out->path,
                           pm_weights_format(out->tensors));
        return status;
    }
    return PM_OK;
}

/* The tensor of a convolution; its shape is [channels] or, with `columns`, [channels, *columns]. */
static pm_status tensor_of(const import *m, const pickle_list *list, size_t conv,
                           const size_t *columns, const pm_tensor_info **out) {
    const pm_stats_conv *info = &m->made->shape.convs[conv];
    char name[24], want[64], got[PM_RANK_MAX * 24] = "";
    snprintf(name, sizeof name, "%zu", conv);
    const pm_tensor_info *tensor = pm_weights_find(list->tensors, name);
    if (!tensor) return pm_fail(PM_E_FORMAT, "%s: not a list of tensors", list->path);
    if (tensor->rank == (columns ? 2 : 1) && tensor->shape[0] == info->channels &&
        (!columns || tensor->shape[1] == *columns)) {
        *out = tensor;
        return PM_OK;
    }
    for (size_t i = 0; i < tensor->rank; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%zu", i ? ", " : "",
                 tensor->shape[i]);
    if (columns)
        snprintf(want, sizeof want, "[%zu, %zu]", info->channels, *columns);
    else
        snprintf(want, sizeof want, "[%zu]", info->channels);
    return pm_fail(PM_E_MISMATCH, "%s: tensor %zu is [%s]; %s of %s wants %s", list->path, conv,
                   got, info->name, m->made->shape.arch, want);
}

static pm_status check_list(const import *m, const pickle_list *list, const size_t *columns) {
    const size_t count = pm_weights_count(list->tensors), convs = m->made->shape.conv_count;
    if (count != convs)
        return pm_fail(PM_E_MISMATCH, "%s: %zu tensors; %s has %zu convolutions", list->path, count,
                       m->made->shape.arch, convs);
    pm_status status = PM_OK;
    for (size_t i = 0; i < convs && !status; i++) {
        const pm_tensor_info *tensor;
        status = tensor_of(m, list, i, columns, &tensor);
    }
    return status;
}

/* The columns of the class p-values are the labels, from 0. */
static pm_status read_classes(import *m) {
    pm_stats_shape *shape = &m->made->shape;
    const pm_tensor_info *first = pm_weights_find(m->classes.tensors, "0");
    if (!first || first->rank != 2)
        return pm_fail(PM_E_MISMATCH, "%s: tensor 0 is not of channels by classes",
                       m->classes.path);
    const size_t count = first->shape[1];
    if (count < 1 || count > m->model_classes)
        return pm_fail(PM_E_MISMATCH, "%s: %zu classes; the model has %zu", m->classes.path, count,
                       m->model_classes);
    shape->classes = malloc(count * sizeof *shape->classes);
    if (!shape->classes) return pm_fail(PM_E_MEMORY, "no memory for %zu classes", count);
    for (size_t k = 0; k < count; k++) shape->classes[k] = (uint32_t)k;
    shape->class_count = count;
    return check_list(m, &m->classes, &count);
}

static pm_status open_all(import *m) {
    pm_stats_shape *shape = &m->made->shape;
    pm_status status = open_list(m, "shapiro_p_values.pkl", &m->shapiro);
    if (!status) status = open_list(m, "gap_mean.pkl", &m->mean);
    if (!status) status = open_list(m, "gap_std.pkl", &m->std);
    if (!status) status = open_list(m, "cls_p_values.pkl", &m->classes);
    if (status) return status;
    if (!m->shapiro.tensors)
        return pm_fail(PM_E_NOT_FOUND,
                       "%.200s holds neither shapiro_p_values.pkl nor %s_shapiro_p_values.pkl",
                       m->pickles, shape->arch);
    if (!m->mean.tensors != !m->std.tensors)
        return pm_fail(PM_E_NOT_FOUND, "%.200s: gap_mean.pkl and gap_std.pkl belong together",
                       m->pickles);
    status = check_list(m, &m->shapiro, NULL);
    if (!status && m->mean.tensors) status = check_list(m, &m->mean, NULL);
    if (!status && m->std.tensors) status = check_list(m, &m->std, NULL);
    if (!status && m->classes.tensors) status = read_classes(m);
    shape->has[PM_STATS_SHAPIRO] = true;
    shape->has[PM_STATS_MEAN] = shape->has[PM_STATS_STD] = m->mean.tensors != NULL;
    shape->has[PM_STATS_STUDENT] = m->classes.tensors != NULL;
    return status;
}

/* ---- values ---- */

static pm_status bad_value(const pickle_list *list, size_t conv, float value, const char *what) {
    return pm_fail(PM_E_FORMAT, "%s: tensor %zu holds %g, which is no %s", list->path, conv,
                   (double)value, what);
}

/* A tensor's numbers, [count]; p: p-values, where NaN (a constant channel) is 1. */
static pm_status read_values(const import *m, const pickle_list *list, size_t conv,
                             const size_t *columns, bool p, size_t *count) {
    const pm_tensor_info *tensor;
    pm_status status = tensor_of(m, list, conv, columns, &tensor);
    if (!status) status = pm_weights_read(list->tensors, tensor, m->values);
    if (status) return status;
    *count = tensor->count;
    for (size_t i = 0; i < tensor->count; i++) {
        float *value = &m->values[i];
        if (p && isnan(*value)) *value = 1;
        if (p && !(*value >= 0 && *value <= 1)) return bad_value(list, conv, *value, "p-value");
        if (!isfinite(*value)) return bad_value(list, conv, *value, "finite number");
        *value += 0.0f; /* -0 is 0 */
    }
    return PM_OK;
}

static pm_status import_part(import *m, const pickle_list *list, size_t conv, pm_stats_part part) {
    const pm_stats_conv *info = &m->made->shape.convs[conv];
    pm_channel_summary *channels = m->made->channels + info->first;
    size_t count = 0;
    if (!list->tensors) return PM_OK;
    pm_status status = read_values(m, list, conv, NULL, part == PM_STATS_SHAPIRO, &count);
    for (size_t c = 0; c < count && !status; c++) {
        const float value = m->values[c];
        if (part == PM_STATS_MEAN) channels[c].mean = (double)value;
        if (part == PM_STATS_STD) channels[c].std = (double)value;
        if (part == PM_STATS_SHAPIRO) channels[c].p = (double)value;
        if (part == PM_STATS_STD && value < 0)
            status = bad_value(list, conv, value, "standard deviation");
    }
    if (!status)
        status = pm_stats_file_put(m->made->file, part, info->first, info->channels, m->values);
    return status;
}

static pm_status import_conv(import *m, size_t conv) {
    const pm_stats_conv *info = &m->made->shape.convs[conv];
    size_t count = 0;
    for (size_t c = 0; c < info->channels; c++)
        m->made->channels[info->first + c] =
            (pm_channel_summary){.mean = NAN, .std = NAN, .w = NAN, .p = 1};
    m->made->density[conv] = NAN;
    pm_status status = import_part(m, &m->mean, conv, PM_STATS_MEAN);
    if (!status) status = import_part(m, &m->std, conv, PM_STATS_STD);
    if (!status) status = import_part(m, &m->shapiro, conv, PM_STATS_SHAPIRO);
    if (status || !m->classes.tensors) return status;
    status = read_values(m, &m->classes, conv, &m->made->shape.class_count, true, &count);
    if (!status)
        status = pm_stats_file_put(m->made->file, PM_STATS_STUDENT, info->first, info->channels,
                                   m->values);
    return status;
}

static pm_status make_room(import *m) {
    const pm_stats_shape *shape = &m->made->shape;
    size_t most = 1;
    for (size_t i = 0; i < shape->conv_count; i++)
        if (shape->convs[i].channels > most) most = shape->convs[i].channels;
    m->values = malloc(most * (shape->class_count + 1) * sizeof *m->values);
    m->made->channels = calloc(shape->channels + 1, sizeof *m->made->channels);
    m->made->density = calloc(shape->conv_count + 1, sizeof *m->made->density);
    return m->values && m->made->channels && m->made->density
               ? PM_OK
               : pm_fail(PM_E_MEMORY, "no memory for the statistics");
}

pm_status pm_stats_import(const char *pickles, const pm_model *model, const char *folder,
                          pm_stats_made **out) {
import m = {.pickles = pickles, .made = pm_stats_made_new(), .model_classes = pm_model_classes(model) };
    if (!m.made) return pm_fail(PM_E_MEMORY, "no memory for the statistics");
    pm_status status = pm_stats_shape_of_model(model, &m.made->shape);
    if (!status) status = open_all(&m);
    if (!status) status = make_room(&m);
    if (!status) status = pm_stats_file_new(&m.made->shape, folder, &m.made->file);
    for (size_t i = 0; i < m.made->shape.conv_count && !status; i++) status = import_conv(&m, i);
    if (!status) status = pm_stats_file_seal(m.made->file, &m.made->sha256, &m.made->size_bytes);
    pm_weights_free(&m.shapiro.tensors);
    pm_weights_free(&m.mean.tensors);
    pm_weights_free(&m.std.tensors);
    pm_weights_free(&m.classes.tensors);
    free(m.values);
    if (status)
        pm_stats_made_free(&m.made);
    else
        *out = m.made;
    return status;
}

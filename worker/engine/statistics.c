/* Owns the p-values and moments that decide H: read from tensors or set from memory, checked once,
 * then immutable. */
#include "worker/engine/statistics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/model.h"
#include "worker/engine/partition.h"

typedef struct conv_values {
    float *p_class[PM_TEST_COUNT]; /* [columns][channels] */
    float *shapiro, *mean, *std;   /* [channels] */
} conv_values;

struct pm_statistics {
    const pm_model *model;
    conv_values *convs; /* [conv_count] */
    size_t columns;
    int *column_of; /* [classes] column of each class, or -1 */
};

pm_status pm_statistics_new_empty(const pm_model *model, pm_statistics **out) {
    const pm_graph *graph = model->graph;
    pm_statistics *s = calloc(1, sizeof *s);
    if (!s) return pm_fail(PM_E_MEMORY, "no memory for statistics");
    s->model = model;
    s->columns = graph->classes;
    s->convs = calloc(graph->conv_count, sizeof *s->convs);
    s->column_of = calloc(graph->classes, sizeof *s->column_of);
    if (!s->convs || !s->column_of) {
        pm_statistics_free(&s);
        return pm_fail(PM_E_MEMORY, "no memory for statistics");
    }
    for (size_t k = 0; k < graph->classes; k++) s->column_of[k] = (int)k;
    *out = s;
    return PM_OK;
}

void pm_statistics_free(pm_statistics **statistics) {
    pm_statistics *s = statistics ? *statistics : NULL;
    if (!s) return;
    for (size_t i = 0; s->convs && i < s->model->graph->conv_count; i++) {
        for (size_t t = 0; t < PM_TEST_COUNT; t++) free(s->convs[i].p_class[t]);
        free(s->convs[i].shapiro);
        free(s->convs[i].mean);
        free(s->convs[i].std);
    }
    free(s->convs);
    free(s->column_of);
    free(s);
    *statistics = NULL;
}

/* NaN (constant channels, too few images) is 1, -0 is +0. values: [count], changed in place. */
static pm_status clean(float *values, size_t count, const char *what, const char *conv) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) values[i] = 1;
        if (!(values[i] >= 0 && values[i] <= 1))
            return pm_fail(PM_E_FORMAT, "%s p-value of %s is %g, outside 0..1", what, conv,
                           (double)values[i]);
        values[i] += 0.0f;
    }
    return PM_OK;
}

/* Put `values` in the place of *slot. */
static void take(float **slot, float *values) {
    free(*slot);
    *slot = values;
}

static pm_status no_memory(const pm_conv_info *info) {
    return pm_fail(PM_E_MEMORY, "no memory for statistics of %s", info->name);
}

static float *copy_of(const float *values, size_t count) {
    float *copy = malloc(count * sizeof *copy);
    if (copy) memcpy(copy, values, count * sizeof *copy);
    return copy;
}

/* p_class: [channels][columns] is kept as one row of channels a class. */
static pm_status keep_classes(pm_statistics *s, size_t conv, pm_test test, const float *p_class) {
    const pm_conv_info *info = &s->model->graph->convs[conv];
    size_t channels = info->channels, columns = s->columns;
    float *rows = malloc(channels * columns * sizeof *rows);
    if (!rows) return no_memory(info);
    for (size_t c = 0; c < channels; c++)
        for (size_t k = 0; k < columns; k++) rows[k * channels + c] = p_class[c * columns + k];
    pm_status status = clean(rows, channels * columns, pm_test_name(test), info->name);
    if (status)
        free(rows);
    else
        take(&s->convs[conv].p_class[test], rows);
    return status;
}

/* shapiro: [channels] */
static pm_status keep_shapiro(pm_statistics *s, size_t conv, const float *shapiro) {
    const pm_conv_info *info = &s->model->graph->convs[conv];
    float *copy = copy_of(shapiro, info->channels);
    if (!copy) return no_memory(info);
    pm_status status = clean(copy, info->channels, "shapiro", info->name);
    if (status)
        free(copy);
    else
        take(&s->convs[conv].shapiro, copy);
    return status;
}

pm_status pm_statistics_set(pm_statistics *s, size_t conv, pm_test test, const float *p_class,
                            const float *p_shapiro) {
    assert(conv < s->model->graph->conv_count && test < PM_TEST_COUNT);
    pm_status status = keep_shapiro(s, conv, p_shapiro);
    if (!status && p_class) status = keep_classes(s, conv, test, p_class);
    return status;
}

/* A NaN std (one image) is 0: it says nothing. */
static pm_status check_moments(const float *mean, float *std, const pm_conv_info *info) {
    for (size_t c = 0; c < info->channels; c++) {
        if (isnan(std[c])) std[c] = 0;
        if (!isfinite(mean[c]) || !(std[c] >= 0) || isinf(std[c]))
            return pm_fail(PM_E_FORMAT, "activation of %s, channel %zu: mean %g, std %g",
                           info->name, c, (double)mean[c], (double)std[c]);
    }
    return PM_OK;
}

pm_status pm_statistics_set_moments(pm_statistics *s, size_t conv, const float *mean,
                                    const float *std) {
    assert(conv < s->model->graph->conv_count);
    const pm_conv_info *info = &s->model->graph->convs[conv];
    float *m = copy_of(mean, info->channels), *d = copy_of(std, info->channels);
    pm_status status = m && d ? check_moments(m, d, info) : no_memory(info);
    if (status) {
        free(m);
        free(d);
        return status;
    }
    take(&s->convs[conv].mean, m);
    take(&s->convs[conv].std, d);
    return PM_OK;
}

static pm_status read_whole(const pm_weights *tensors, const pm_tensor_info *info, float **out) {
    float *values = malloc((info->count ? info->count : 1) * sizeof *values);
    if (!values) return pm_fail(PM_E_MEMORY, "no memory for tensor %s", info->name);
    pm_status status = pm_weights_read(tensors, info, values);
    if (status)
        free(values);
    else
        *out = values;
    return status;
}

/* `classes` [K] -> columns and column_of. */
static pm_status read_classes(pm_statistics *s, const pm_weights *tensors) {
    const pm_tensor_info *info = pm_weights_find(tensors, "classes");
    size_t classes = s->model->graph->classes;
    if (!info) return PM_OK;
    if (info->rank != 1 || info->count == 0 || info->count > classes)
        return pm_fail(PM_E_MISMATCH, "%s: tensor 'classes' should list 1 to %zu classes",
                       pm_weights_path(tensors), classes);
    float *values = NULL;
    pm_status status = read_whole(tensors, info, &values);
    if (status) return status;
    for (size_t k = 0; k < classes; k++) s->column_of[k] = -1;
    for (size_t k = 0; k < info->count && !status; k++) {
        float v = values[k];
        if (!(v >= 0 && v < (float)classes && v == floorf(v)))
            status = pm_fail(PM_E_MISMATCH, "%s: 'classes' names class %g; the model has %zu",
                             pm_weights_path(tensors), (double)v, classes);
        else if (s->column_of[(size_t)v] >= 0)
            status = pm_fail(PM_E_FORMAT, "%s: 'classes' names class %g twice",
                             pm_weights_path(tensors), (double)v);
        else
            s->column_of[(size_t)v] = (int)k;
    }
    s->columns = info->count;
    free(values);
    return status;
}

/* columns 0: a vector of channels. */
static pm_status check_shape(const pm_weights *tensors, const pm_tensor_info *info, size_t channels,
                             size_t columns) {
    size_t rank = columns ? 2 : 1;
    if (info->rank == rank && info->shape[0] == channels && (!columns || info->shape[1] == columns))
        return PM_OK;
    char want[64];
    if (columns)
        snprintf(want, sizeof want, "[%zu, %zu]", channels, columns);
    else
        snprintf(want, sizeof want, "[%zu]", channels);
    return pm_fail(PM_E_MISMATCH, "%s: tensor '%s' is not of shape %s", pm_weights_path(tensors),
                   info->name, want);
}

/* Tensor KIND/CONV, its shape checked: *out is NULL where there is none. */
static pm_status find_kind(const pm_statistics *s, const pm_weights *tensors, const char *kind,
                           size_t conv, size_t columns, const pm_tensor_info **out) {
    const pm_conv_info *info = &s->model->graph->convs[conv];
    char name[256];
    snprintf(name, sizeof name, "%s/%s", kind, info->name);
    *out = pm_weights_find(tensors, name);
    return *out ? check_shape(tensors, *out, info->channels, columns) : PM_OK;
}

/* The values of a vector of channels: *out is NULL where there is none, else from malloc. */
static pm_status read_kind(const pm_statistics *s, const pm_weights *tensors, const char *kind,
                           size_t conv, float **out) {
    const pm_tensor_info *tensor;
    *out = NULL;
    pm_status status = find_kind(s, tensors, kind, conv, 0, &tensor);
    return status || !tensor ? status : read_whole(tensors, tensor, out);
}

static pm_status missing(const pm_statistics *s, const pm_weights *tensors, const char *kind,
                         size_t conv, const char *beside) {
    const char *name = s->model->graph->convs[conv].name;
    return pm_fail(PM_E_MISMATCH, "%s: tensor '%s/%s' is missing beside '%s/%s'",
                   pm_weights_path(tensors), kind, name, beside, name);
}

/* Not `wanted`: only checked to be in order. *found where the file has them. */
static pm_status read_test(pm_statistics *s, const pm_weights *tensors, size_t conv, pm_test test,
                           bool wanted, bool *found) {
    const pm_tensor_info *tensor;
    float *p_class = NULL;
    pm_status status = find_kind(s, tensors, pm_test_name(test), conv, s->columns, &tensor);
    if (status || !tensor) return status;
    *found = true;
    if (!s->convs[conv].shapiro) return missing(s, tensors, "shapiro", conv, pm_test_name(test));
    if (!wanted) return PM_OK;
    status = read_whole(tensors, tensor, &p_class);
    if (!status) status = keep_classes(s, conv, test, p_class);
    free(p_class);
    return status;
}

static pm_status read_moments(pm_statistics *s, const pm_weights *tensors, size_t conv) {
    float *mean = NULL, *std = NULL;
    pm_status status = read_kind(s, tensors, "mean", conv, &mean);
    if (!status) status = read_kind(s, tensors, "std", conv, &std);
    if (status || (!mean && !std)) goto done;
    if (!mean || !std)
        status = missing(s, tensors, mean ? "std" : "mean", conv, mean ? "mean" : "std");
    else if (!s->convs[conv].shapiro)
        status = missing(s, tensors, "shapiro", conv, "mean");
    else
        status = pm_statistics_set_moments(s, conv, mean, std);
done:
    free(mean);
    free(std);
    return status;
}

/* wanted: a bit for each test. *found where the file has what decides for some mask. */
static pm_status read_conv(pm_statistics *s, const pm_weights *tensors, size_t conv,
                           unsigned wanted, bool *found) {
    float *shapiro;
    pm_status status = read_kind(s, tensors, "shapiro", conv, &shapiro);
    if (!status && shapiro) status = keep_shapiro(s, conv, shapiro);
    free(shapiro);
    for (int t = 0; t < PM_TEST_COUNT && !status; t++)
        status = read_test(s, tensors, conv, (pm_test)t, wanted >> t & 1, found);
    if (!status) status = read_moments(s, tensors, conv);
    *found = *found || s->convs[conv].mean;
    return status;
}

/* wanted: [conv_count] */
static pm_status read_all(const pm_model *model, const pm_weights *tensors, const uint8_t *wanted,
                          pm_statistics **out) {
    const pm_graph *graph = model->graph;
    const char *conv = graph->convs[0].name;
    pm_statistics *s;
    bool found = false;
    pm_status status = pm_statistics_new_empty(model, &s);
    if (status) return status;
    status = read_classes(s, tensors);
    for (size_t i = 0; i < graph->conv_count && !status; i++)
        status = read_conv(s, tensors, i, wanted[i], &found);
    if (!status && !found)
        status = pm_fail(PM_E_MISMATCH,
                         "%s holds no statistics of %s: expected tensors such as "
                         "welch/%s, mean/%s and shapiro/%s",
                         pm_weights_path(tensors), graph->arch->name, conv, conv, conv);
    if (status)
        pm_statistics_free(&s);
    else
        *out = s;
    return status;
}

/* Adds to wanted [conv_count] what `a` compares. Layers that do not hold are for
 * pm_configuration_new to refuse. hooked: [conv_count], room to work in. */
static void want(const pm_model *model, const pm_attribution *a, bool *hooked, uint8_t *wanted) {
    if (a->mask != PM_MASK_CLS || a->test >= PM_TEST_COUNT) return;
    if (pm_layers_select(model, a->layers, hooked)) return;
    for (size_t i = 0; i < model->graph->conv_count; i++)
        wanted[i] |= (uint8_t)(hooked[i] << a->test);
}

pm_status pm_statistics_new_for(const pm_model *model, const pm_weights *tensors,
                                const pm_attribution *const *attributions, size_t count,
                                pm_statistics **out) {
    const size_t convs = model->graph->conv_count;
    bool *hooked = calloc(convs, sizeof *hooked);
    uint8_t *wanted = calloc(convs, sizeof *wanted);
    pm_status status = hooked && wanted ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for statistics");
    for (size_t i = 0; i < count && !status; i++) want(model, attributions[i], hooked, wanted);
    if (!status) status = read_all(model, tensors, wanted, out);
    free(wanted);
    free(hooked);
    return status;
}

pm_status pm_statistics_new(const pm_model *model, const pm_weights *tensors, pm_statistics **out) {
    const size_t convs = model->graph->conv_count;
    uint8_t *wanted = malloc(convs * sizeof *wanted);
    if (!wanted) return pm_fail(PM_E_MEMORY, "no memory for statistics");
    memset(wanted, UINT8_MAX, convs * sizeof *wanted);
    pm_status status = read_all(model, tensors, wanted, out);
    free(wanted);
    return status;
}

const float *pm_statistics_shapiro(const pm_statistics *s, size_t conv) {
    return s->convs[conv].shapiro;
}

const float *pm_statistics_mean(const pm_statistics *s, size_t conv) { return s->convs[conv].mean; }
const float *pm_statistics_std(const pm_statistics *s, size_t conv) { return s->convs[conv].std; }

bool pm_statistics_has(const pm_statistics *s, size_t conv, pm_test test) {
    return s->convs[conv].p_class[test] != NULL;
}

pm_status pm_statistics_class(const pm_statistics *s, size_t conv, pm_test test, size_t target,
                              const float **out) {
    const pm_conv_info *info = &s->model->graph->convs[conv];
    int column = target < s->model->graph->classes ? s->column_of[target] : -1;
    if (column < 0 || !pm_statistics_has(s, conv, test))
        return pm_fail(PM_E_NOT_FOUND, "the statistics have no %s p-values of class %zu for %s",
                       pm_test_name(test), target, info->name);
    *out = s->convs[conv].p_class[test] + (size_t)column * info->channels;
    return PM_OK;
}

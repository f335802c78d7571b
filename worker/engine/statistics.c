/* Owns the p-values that decide H: read from tensors or set from memory, checked once, then
 * immutable. */
#include "worker/engine/statistics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/model.h"

typedef struct conv_values {
    float *p_class[PM_TEST_COUNT]; /* [columns][channels] */
    float *shapiro;                /* [channels] */
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

/* Take over two arrays: p_class [channels][columns], shapiro [channels]; both are checked, the
 * first transposed. */
static pm_status adopt(pm_statistics *s, size_t conv, pm_test test, const float *p_class,
                       float *shapiro) {
    const pm_conv_info *info = &s->model->graph->convs[conv];
    size_t channels = info->channels, columns = s->columns;
    pm_status status;
    float *rows = malloc(channels * columns * sizeof *rows);
    if (!rows) {
        status = pm_fail(PM_E_MEMORY, "no memory for statistics of %s", info->name);
        goto fail;
    }
    for (size_t c = 0; c < channels; c++)
        for (size_t k = 0; k < columns; k++) rows[k * channels + c] = p_class[c * columns + k];
    status = clean(rows, channels * columns, pm_test_name(test), info->name);
    if (!status) status = clean(shapiro, channels, "shapiro", info->name);
    if (status) goto fail;
    free(s->convs[conv].p_class[test]);
    free(s->convs[conv].shapiro);
    s->convs[conv].p_class[test] = rows;
    s->convs[conv].shapiro = shapiro;
    return PM_OK;
fail:
    free(rows);
    free(shapiro);
    return status;
}

pm_status pm_statistics_set(pm_statistics *s, size_t conv, pm_test test, const float *p_class,
                            const float *p_shapiro) {
    assert(conv < s->model->graph->conv_count && test < PM_TEST_COUNT);
    size_t size = s->model->graph->convs[conv].channels * sizeof(float);
    float *shapiro = malloc(size);
    if (!shapiro) return pm_fail(PM_E_MEMORY, "no memory for statistics");
    memcpy(shapiro, p_shapiro, size);
    return adopt(s, conv, test, p_class, shapiro);
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

static pm_status read_conv(pm_statistics *s, const pm_weights *tensors, size_t conv, pm_test test) {
    const pm_conv_info *info = &s->model->graph->convs[conv];
    char name[256];
    snprintf(name, sizeof name, "%s/%s", pm_test_name(test), info->name);
    const pm_tensor_info *p = pm_weights_find(tensors, name);
    if (!p) return PM_OK;
    snprintf(name, sizeof name, "shapiro/%s", info->name);
    const pm_tensor_info *w = pm_weights_find(tensors, name);
    if (!w)
        return pm_fail(PM_E_MISMATCH, "%s: tensor '%s' is missing beside '%s'",
                       pm_weights_path(tensors), name, p->name);
    pm_status status = check_shape(tensors, p, info->channels, s->columns);
    if (!status) status = check_shape(tensors, w, info->channels, 0);
    if (status) return status;
    float *p_class = NULL, *shapiro = NULL;
    status = read_whole(tensors, p, &p_class);
    if (status) return status;
    status = read_whole(tensors, w, &shapiro);
    if (!status) status = adopt(s, conv, test, p_class, shapiro);
    free(p_class);
    return status;
}

pm_status pm_statistics_new(const pm_model *model, const pm_weights *tensors, pm_statistics **out) {
    pm_statistics *s;
    pm_status status = pm_statistics_new_empty(model, &s);
    if (status) return status;
    status = read_classes(s, tensors);
    bool any = false;
    for (size_t i = 0; i < model->graph->conv_count && !status; i++)
        for (int t = 0; t < PM_TEST_COUNT && !status; t++) {
            status = read_conv(s, tensors, i, (pm_test)t);
            any = any || pm_statistics_has(s, i, (pm_test)t);
        }
    if (!status && !any)
        status = pm_fail(PM_E_MISMATCH,
                         "%s holds no statistics of %s: expected tensors such as "
                         "welch/%s and shapiro/%s",
                         pm_weights_path(tensors), model->graph->arch->name,
                         model->graph->convs[0].name, model->graph->convs[0].name);
    if (status)
        pm_statistics_free(&s);
    else
        *out = s;
    return status;
}

const float *pm_statistics_shapiro(const pm_statistics *s, size_t conv) {
    return s->convs[conv].shapiro;
}

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

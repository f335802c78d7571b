/* Owns the one operation that writes statistics. */
#include "tools/statistics/keep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/store.h"

char *pm_stats_folder(const char *db) {
    char *folder = NULL;
    return asprintf(&folder, "%s.statistics", db) < 0 ? NULL : folder;
}

pm_status pm_stats_check_name(const char *name) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    enum { LONGEST = 100 };
    const size_t length = strlen(name);
    if (length >= 1 && length <= LONGEST && name[0] != '.' && name[0] != '-' &&
        strspn(name, allowed) == length)
        return PM_OK;
    return pm_fail(PM_E_USAGE,
                   "'%.80s' cannot name statistics: 1 to %d letters, digits, '.', '_' and '-' can",
                   name, LONGEST);
}

/* One convolution in memory, as the store asks for it. */
typedef struct layer_source {
    const pm_stats_made *made;
    double *mean, *std, *w, *p;      /* [most channels of a convolution] */
    float *tensor, *welch, *student; /* [most channels][class_count], the latter two transposed */
} layer_source;

static pm_status give_classes(layer_source *from, pm_stats_part part, size_t conv, float *rows) {
    const pm_stats_shape *shape = &from->made->shape;
    const size_t channels = shape->convs[conv].channels, classes = shape->class_count;
    pm_status status = pm_stats_file_get(from->made->file, part, conv, from->tensor);
    for (size_t c = 0; c < channels && !status; c++)
        for (size_t k = 0; k < classes; k++) rows[k * channels + c] = from->tensor[c * classes + k];
    return status;
}

static pm_status give_layer(void *user, size_t conv, pm_statistics_layer *out) {
    layer_source *from = user;
    const pm_stats_shape *shape = &from->made->shape;
    const pm_stats_conv *info = &shape->convs[conv];
    const bool welch = shape->has[PM_STATS_WELCH], student = shape->has[PM_STATS_STUDENT];
    for (size_t c = 0; c < info->channels; c++) {
        const pm_channel_summary *s = &from->made->channels[info->first + c];
        from->mean[c] = s->mean;
        from->std[c] = s->std;
        from->w[c] = s->w;
        from->p[c] = s->p;
    }
    pm_status status = PM_OK;
    if (welch) status = give_classes(from, PM_STATS_WELCH, conv, from->welch);
    if (!status && student) status = give_classes(from, PM_STATS_STUDENT, conv, from->student);
    if (status) return status;
    *out = (pm_statistics_layer){.name = info->name,
                                 .channels = info->channels,
                                 .density = from->made->density[conv],
                                 .mean = from->mean,
                                 .std = from->std,
                                 .w = from->w,
                                 .p = from->p,
                                 .welch_p = welch ? from->welch : NULL,
                                 .student_p = student ? from->student : NULL};
    return PM_OK;
}

static void source_fini(layer_source *from) {
    free(from->mean);
    free(from->std);
    free(from->w);
    free(from->p);
    free(from->tensor);
    free(from->welch);
    free(from->student);
}

static pm_status source_init(layer_source *from, const pm_stats_made *made) {
    size_t most = 1;
    for (size_t i = 0; i < made->shape.conv_count; i++)
        if (made->shape.convs[i].channels > most) most = made->shape.convs[i].channels;
    const size_t numbers = most * (made->shape.class_count + 1);
    *from = (layer_source){.made = made};
    from->mean = malloc(most * sizeof *from->mean);
    from->std = malloc(most * sizeof *from->std);
    from->w = malloc(most * sizeof *from->w);
    from->p = malloc(most * sizeof *from->p);
    from->tensor = malloc(numbers * sizeof *from->tensor);
    from->welch = malloc(numbers * sizeof *from->welch);
    from->student = malloc(numbers * sizeof *from->student);
    if (from->mean && from->std && from->w && from->p && from->tensor && from->welch &&
        from->student)
        return PM_OK;
    return pm_fail(PM_E_MEMORY, "no memory for %zu channels", most);
}

static pm_status apply(pm_store *store, const pm_stats_made *made, const pm_stats_label *label,
                       layer_source *from, bool *existed) {
    pm_op *op = pm_op_new(PM_OP_STATISTICS);
    if (!op) return pm_fail(PM_E_MEMORY, "no memory for the statistics");
    pm_op_statistics *s = &op->statistics;
    snprintf(s->name, sizeof s->name, "%s", label->name);
    snprintf(s->note, sizeof s->note, "%s", label->note);
    s->force = label->force;
    s->sha256 = made->sha256;
    s->size_bytes = made->size_bytes;
    s->spec = label->spec;
    s->run_id = label->run_id;
    s->images = made->shape.images;
    s->class_count = made->shape.class_count;
    s->classes = made->shape.classes;
    s->class_images = made->class_images;
    s->layer_count = made->shape.conv_count;
    s->layer = give_layer;
    s->user = from;
    pm_status status = pm_store_apply(store, &op, 1);
    if (!status && op->status) status = pm_fail(op->status, "%s", op->text);
    if (!status) *existed = s->existed;
    pm_op_free(&op);
    return status;
}

pm_status pm_stats_keep(const char *db, const pm_stats_made *made, const pm_stats_label *label,
                        bool *existed) {
    layer_source from;
    pm_store *store = NULL;
    pm_status status = source_init(&from, made);
    if (!status) status = pm_store_open(db, &store);
    if (!status) status = apply(store, made, label, &from, existed);
    if (store) status = pm_store_end(&store, status);
    if (!status) status = pm_stats_file_keep(made->file, NULL);
    source_fini(&from);
    return status;
}

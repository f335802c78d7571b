/* Owns the comparison of a weights file with an architecture, by names and shapes alone: no
 * parameter is read here. */
#include "worker/engine/arch/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void shape_text(char *out, size_t size, const size_t *shape, size_t rank) {
    size_t used = (size_t)snprintf(out, size, "[");
    for (size_t i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%zu", i ? ", " : "", shape[i]);
    if (used < size) snprintf(out + used, size - used, "]");
}

const pm_tensor_info *pm_arch_tensor(const pm_arch_info *arch, const pm_weights *weights,
                                     const char *key) {
    const pm_family *family = pm_arch_of(arch)->family;
    const pm_tensor_info *info = pm_weights_find(weights, key);
    char old[256];
    if (info || !family->old_key || !family->old_key(key, old, sizeof old)) return info;
    return pm_weights_find(weights, old);
}

pm_status pm_arch_classes(const pm_arch_info *arch, const pm_weights *weights, size_t *classes) {
    char name[64];
    const bool conv = pm_arch_of(arch)->family->head_is_conv;
    const char *want = conv ? "[classes, features, 1, 1]" : "[classes, features]";
    snprintf(name, sizeof name, "%s.weight", pm_arch_of(arch)->family->head);
    const pm_tensor_info *info = pm_weights_find(weights, name);
    if (!info)
        return pm_fail(PM_E_MISMATCH, "%s is not %s: tensor '%s', %s, is missing",
                       pm_weights_path(weights), arch->name, name, want);
    /* The classes become ints, and 2^20 of them is far beyond any data set. */
    if (info->rank != (conv ? 4 : 2) || info->shape[0] < 1 || info->shape[0] > (size_t)1 << 20) {
        char got[160];
        shape_text(got, sizeof got, info->shape, info->rank);
        return pm_fail(PM_E_MISMATCH, "%s is not %s: tensor '%s' is %s, expected %s",
                       pm_weights_path(weights), arch->name, name, got, want);
    }
    *classes = info->shape[0];
    return PM_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int name_to_entry(const void *key, const void *entry) {
    return strcmp(key, *(char *const *)entry);
}

static bool is_counter(const char *name, const char **sorted, size_t count) {
    static const char leaf[] = ".num_batches_tracked";
    char twin[256];
    size_t length = strlen(name), end = sizeof leaf - 1;
    if (length < end || length >= sizeof twin || strcmp(name + length - end, leaf) != 0)
        return false;
    snprintf(twin, sizeof twin, "%.*s.running_var", (int)(length - end), name);
    return bsearch(twin, sorted, count, sizeof *sorted, name_to_entry) != NULL;
}

/* Text of the first tensor that is wrong goes to `first`; returns how many are. names: under which
 * each wanted tensor stands in the file, or would. */
static size_t count_wanted(const pm_builder *b, const pm_weights *weights, const char **names,
                           char *first, size_t size) {
    size_t wrong = 0;
    for (size_t i = 0; i < b->parameter_count; i++) {
        const pm_parameter *want = &b->parameters[i];
        const pm_tensor_info *info = pm_arch_tensor(b->graph->arch, weights, want->name);
        names[i] = info ? info->name : want->name;
        bool fits = info && info->rank == want->rank &&
                    memcmp(info->shape, want->shape, want->rank * sizeof want->shape[0]) == 0;
        if (fits) continue;
        if (wrong++ > 0) continue;
        char expected[160], got[160];
        shape_text(expected, sizeof expected, want->shape, want->rank);
        if (!info) {
            snprintf(first, size, "tensor '%s' %s is missing", want->name, expected);
        } else {
            shape_text(got, sizeof got, info->shape, info->rank);
            snprintf(first, size, "tensor '%s' is %s, expected %s", want->name, got, expected);
        }
    }
    return wrong;
}

static bool is_ignored(const pm_arch_info *arch, const char *name) {
    const char *const *prefix = pm_arch_of(arch)->family->ignored;
    for (; prefix && *prefix; prefix++)
        if (strncmp(name, *prefix, strlen(*prefix)) == 0) return true;
    return false;
}

static size_t count_extra(const pm_builder *b, const char **sorted, const pm_weights *weights,
                          char *first, size_t size) {
    size_t wrong = 0;
    for (size_t i = 0; i < pm_weights_count(weights); i++) {
        const char *name = pm_weights_at(weights, i)->name;
        if (bsearch(name, sorted, b->parameter_count, sizeof *sorted, name_to_entry)) continue;
        if (is_ignored(b->graph->arch, name)) continue;
        if (is_counter(name, sorted, b->parameter_count)) continue;
        if (wrong++ == 0) snprintf(first, size, "tensor '%.200s' is not part of it", name);
    }
    return wrong;
}

/* Both comparisons; the texts of the first of each go to `wanted` and `extra`, TEXT_BYTES each. */
enum { TEXT_BYTES = 600 };

static pm_status compare(const pm_arch_info *arch, const pm_weights *weights, size_t classes,
                         pm_arch_fit *out, char *wanted, char *extra) {
    pm_builder b;
    pm_status status = pm_builder_init(&b, arch, classes);
    if (status) return status;
    const char **sorted = malloc(b.parameter_count * sizeof *sorted);
    if (!sorted) {
        status = pm_fail(PM_E_MEMORY, "no memory to check weights against %s", arch->name);
        goto done;
    }
    out->wrong = count_wanted(&b, weights, sorted, wanted, TEXT_BYTES);
    qsort(sorted, b.parameter_count, sizeof *sorted, by_name);
    out->extra = count_extra(&b, sorted, weights, extra, TEXT_BYTES);
    out->same = b.parameter_count - out->wrong;
done:
    free(sorted);
    pm_builder_fini(&b);
    return status;
}

pm_status pm_arch_compare(const pm_arch_info *arch, const pm_weights *weights, pm_arch_fit *out) {
    char wanted[TEXT_BYTES], extra[TEXT_BYTES];
    pm_arch_fit fit = {0};
    bool has_head = pm_arch_classes(arch, weights, &fit.classes) == PM_OK;
    if (!has_head) fit.classes = 0;
    pm_status status = compare(arch, weights, has_head ? fit.classes : 1, &fit, wanted, extra);
    if (!status) *out = fit;
    return status;
}

pm_status pm_arch_check(const pm_arch_info *arch, const pm_weights *weights) {
    char wanted[TEXT_BYTES], extra[TEXT_BYTES], more[64] = "";
    pm_arch_fit fit = {0};
    pm_status status = pm_arch_classes(arch, weights, &fit.classes);
    if (!status) status = compare(arch, weights, fit.classes, &fit, wanted, extra);
    if (status || fit.wrong + fit.extra == 0) return status;
    if (fit.wrong + fit.extra > 1)
        snprintf(more, sizeof more, " (and %zu more)", fit.wrong + fit.extra - 1);
    return pm_fail(PM_E_MISMATCH, "%.200s is not %s: %s%s", pm_weights_path(weights), arch->name,
                   fit.wrong ? wanted : extra, more);
}

/* Owns the choice of hooked convolutions: default by family, ratio:R, names and globs. */
#include <fnmatch.h>
#include <string.h>

#include "lib/base/text.h"
#include "worker/engine/arch/arch.h"
#include "worker/engine/model.h"
#include "worker/engine/partition.h"

/* The last floor(ratio * n) in registration order; auxiliary heads are no part of our graphs. */
static size_t select_ratio(const pm_graph *graph, double ratio, bool *hooked) {
    size_t n = graph->conv_count, count = (size_t)(ratio * (double)n);
    for (size_t i = 0; i < n; i++) hooked[i] = i >= n - count;
    return count;
}

static void select_default(const pm_graph *graph, bool *hooked) {
    const pm_arch *arch = pm_arch_of(graph->arch);
    if (!arch->family->hooks) {
        select_ratio(graph, 0.5, hooked);
        return;
    }
    for (size_t i = 0; i < graph->conv_count; i++)
        hooked[i] = arch->family->hooks(arch, graph->convs[i].name);
}

/* One name or glob of `length` bytes, blanks around it dropped. */
static pm_status add_pattern(const pm_graph *graph, const char *text, size_t length, bool *hooked) {
    char pattern[PM_LAYERS_BYTES];
    while (length && *text == ' ') text++, length--;
    while (length && text[length - 1] == ' ') length--;
    memcpy(pattern, text, length);
    pattern[length] = '\0';
    bool hit = false;
    for (size_t i = 0; i < graph->conv_count; i++) {
        if (fnmatch(pattern, graph->convs[i].name, 0) != 0) continue;
        hooked[i] = hit = true;
    }
    if (hit) return PM_OK;
    return pm_fail(PM_E_USAGE, "layers: '%.200s' names no convolution of %s; they go from %s to %s",
                   pattern, graph->arch->name, graph->convs[0].name,
                   graph->convs[graph->conv_count - 1].name);
}

pm_status pm_layers_select(const pm_model *model, const char *layers, bool *hooked) {
    const pm_graph *graph = model->graph;
    if (strnlen(layers, PM_LAYERS_BYTES) == PM_LAYERS_BYTES)
        return pm_fail(PM_E_USAGE, "layers: longer than %d bytes", PM_LAYERS_BYTES - 1);
    memset(hooked, 0, graph->conv_count * sizeof *hooked);
    if (strcmp(layers, "default") == 0) {
        select_default(graph, hooked);
        return PM_OK;
    }
    if (strncmp(layers, "ratio:", 6) == 0) {
        double ratio;
        pm_status status = pm_parse_double("layers ratio", layers + 6, &ratio);
        if (status) return status;
        if (!(ratio > 0 && ratio <= 1))
            return pm_fail(PM_E_USAGE, "layers: ratio %g is not in (0, 1]", ratio);
        if (select_ratio(graph, ratio, hooked) == 0)
            return pm_fail(PM_E_USAGE, "layers: ratio %g of %zu convolutions is none", ratio,
                           graph->conv_count);
        return PM_OK;
    }
    for (const char *at = layers;;) {
        size_t length = strcspn(at, ",");
        pm_status status = add_pattern(graph, at, length, hooked);
        if (status) return status;
        if (at[length] == '\0') return PM_OK;
        at += length + 1;
    }
}

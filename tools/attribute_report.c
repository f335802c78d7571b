/* Owns the words and the JSON about one attribution. Computes nothing of it. */
#include "tools/attribute_report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/spec/json.h"

enum { TOP = 5 };

pm_status pm_attribute_report_take(pm_attribute_report *report, const pm_attribution_result *from) {
    size_t classes = report->order->spec.classes, pixels = from->height * from->width;
    report->logits = malloc(classes * sizeof(float));
    report->heat_map = malloc(pixels * sizeof(float));
    report->layers = calloc(from->layer_count ? from->layer_count : 1, sizeof *report->layers);
    if (!report->logits || !report->heat_map || !report->layers)
        return pm_fail(PM_E_MEMORY, "%s: no memory for the heat map", report->photograph);
    memcpy(report->logits, from->logits, classes * sizeof(float));
    memcpy(report->heat_map, from->heat_map, pixels * sizeof(float));
    for (size_t i = 0; i < from->layer_count; i++) {
        report->layers[i] = from->layers[i];
        report->layers[i].channel_variance = NULL;
        report->layers[i].in_h = NULL;
    }
    report->layer_count = from->layer_count;
    report->side = from->height;
    report->target = from->target;
    report->predicted = from->predicted;
    report->p_target = (double)from->p_target;
    report->p_predicted = (double)from->p_predicted;
    report->ig_sum = from->ig_sum;
    report->ig_expected = from->ig_expected;
    return PM_OK;
}

void pm_attribute_report_fini(pm_attribute_report *report) {
    free(report->logits);
    free(report->heat_map);
    free(report->layers);
    pm_attribute_score_fini(&report->score);
    pm_randomization_fini(&report->randomization);
    report->logits = NULL;
    report->heat_map = NULL;
    report->layers = NULL;
}

static const char *class_name(const pm_attribute_report *report, size_t class_index) {
    if (class_index >= report->class_name_count || !report->class_names[class_index]) return NULL;
    return report->class_names[class_index];
}

/* The classes with the largest logits, largest first; ties by index. Returns how many. */
static size_t top_classes(const pm_attribute_report *report, size_t out[TOP]) {
    size_t count = 0, classes = report->order->spec.classes;
    for (size_t c = 0; c < classes; c++) {
        size_t at = count;
        while (at > 0 && report->logits[c] > report->logits[out[at - 1]]) at--;
        if (at == TOP) continue;
        if (count < TOP) count++;
        memmove(&out[at + 1], &out[at], (count - at - 1) * sizeof *out);
        out[at] = c;
    }
    return count;
}

static double probability(const pm_attribute_report *report, size_t class_index) {
    double most = -INFINITY, sum = 0;
    for (size_t c = 0; c < report->order->spec.classes; c++)
        most = fmax(most, (double)report->logits[c]);
    for (size_t c = 0; c < report->order->spec.classes; c++)
        sum += exp((double)report->logits[c] - most);
    return exp((double)report->logits[class_index] - most) / sum;
}

typedef struct heat_summary {
    double least, most, mean;
    size_t peak_x, peak_y;
} heat_summary;

static heat_summary summarise(const pm_attribute_report *report) {
    size_t pixels = report->side * report->side, peak = 0;
    heat_summary s = {.least = INFINITY, .most = -INFINITY};
    for (size_t i = 0; i < pixels; i++) {
        double v = (double)report->heat_map[i];
        s.mean += v / (double)pixels;
        s.least = fmin(s.least, v);
        if (v > s.most) {
            s.most = v;
            peak = i;
        }
    }
    s.peak_x = peak % report->side;
    s.peak_y = peak / report->side;
    return s;
}

static void print_layers(const pm_attribute_report *report, FILE *out) {
    fprintf(out, "\n%-28s %11s %10s %10s %8s %10s %10s\n", "layer", "|H|/C", "M", "N", "beta",
            "var before", "var after");
    for (size_t i = 0; i < report->layer_count; i++) {
        const pm_layer_gradient *g = &report->layers[i];
        char share[32], m[16] = "-", n[16] = "-", beta[16] = "-";
        snprintf(share, sizeof share, "%zu/%zu", g->selected, g->channels);
        if (g->partitioned) {
            snprintf(m, sizeof m, "%.3g", g->m);
            snprintf(n, sizeof n, "%.3g", g->n);
            snprintf(beta, sizeof beta, "%.4g", g->beta);
        }
        fprintf(out, "%-28s %11s %10s %10s %8s %10.3g %10.3g\n",
                pm_model_conv(report->order->model, g->conv)->name, share, m, n, beta,
                g->variance_before, g->variance_after);
    }
}

void pm_attribute_report_print(const pm_attribute_report *report, FILE *out) {
    const pm_config *config = &report->order->spec.configs[0];
    const pm_geometry *g = &report->geometry;
    char label[256];
    size_t top[TOP], count = top_classes(report, top);
    heat_summary heat = summarise(report);
    pm_config_label(config, label, sizeof label);
    fprintf(out, "%s: %zux%zu, input %zux%zu; %s, %s\n\n", report->photograph, g->source_width,
            g->source_height, g->crop, g->crop, config->arch, label);
    for (size_t i = 0; i < count; i++) {
        const char *name = class_name(report, top[i]);
        fprintf(out, "%c %5zu  p %.4f  logit %8.4f  %s\n",
                (int)top[i] == report->target ? '*' : ' ', top[i], probability(report, top[i]),
                (double)report->logits[top[i]], name ? name : "");
    }
    fprintf(out, "\ntarget %d%s, p %.4f; heat map %.3g to %.3g, mean %.3g, peak at (%zu, %zu)\n",
            report->target, report->target == report->predicted ? " (the top class)" : "",
            report->p_target, heat.least, heat.most, heat.mean, heat.peak_x, heat.peak_y);
    print_layers(report, out);
    if (isfinite(report->ig_sum - report->ig_expected))
        fprintf(out,
                "\ncompleteness: the attribution sums to %.6g, the path says %.6g (gap %.2g)\n",
                report->ig_sum, report->ig_expected, report->ig_sum - report->ig_expected);
    pm_attribute_score_print(&report->score, out);
    pm_randomization_print(&report->randomization, report->order->model, out);
    fprintf(out, "\n%.0f ms to decode and resize, %.0f ms to attribute (%s)\n", report->prepare_ms,
            report->compute_ms, pm_model_isa(report->order->model));
}

static json_t *real_or_null(bool given, double value) {
    return given && isfinite(value) ? json_real(value) : json_null();
}

static json_t *name_or_null(const char *name) {
    json_t *text = name ? json_string(name) : NULL; /* NULL for bytes that are not UTF-8 */
    return text ? text : json_null();
}

static json_t *layers_json(const pm_attribute_report *report) {
    json_t *list = json_array();
    for (size_t i = 0; i < report->layer_count; i++) {
        const pm_layer_gradient *g = &report->layers[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "layer",
                      pm_model_conv(report->order->model, g->conv)->name, "channels",
                      (json_int_t)g->channels, "selected", (json_int_t)g->selected, "m",
                      real_or_null(g->partitioned, g->m), "n", real_or_null(g->partitioned, g->n),
                      "beta", real_or_null(g->partitioned, g->beta), "scale_h",
                      real_or_null(true, g->scale_h), "scale_l", real_or_null(true, g->scale_l),
                      "variance_before", real_or_null(true, g->variance_before), "variance_after",
                      real_or_null(true, g->variance_after)));
    }
    return list;
}

static json_t *top_json(const pm_attribute_report *report) {
    json_t *list = json_array();
    size_t top[TOP], count = top_classes(report, top);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:I, s:o, s:f, s:o}", "class", (json_int_t)top[i],
                                              "name", name_or_null(class_name(report, top[i])), "p",
                                              probability(report, top[i]), "logit",
                                              real_or_null(true, (double)report->logits[top[i]])));
    return list;
}

pm_status pm_attribute_report_json(const pm_attribute_report *report, char **out) {
    const pm_geometry *g = &report->geometry;
    heat_summary heat = summarise(report);
    char *text = NULL, *dumped = NULL, *made = NULL;
    pm_sha256 hash;
    pm_status status = pm_config_format(&report->order->spec.configs[0], &text, &hash);
    if (status) return status;
    json_t *root = json_pack(
        "{s:o, s:[I,I], s:I, s:I, s:o, s:I, s:f, s:I, s:f, s:o, s:{s:f, s:f, s:f, s:[I,I]}, s:o, "
        "s:f, s:f, s:s, s:s}",
        "photograph", name_or_null(report->photograph), "size", (json_int_t)g->source_width,
        (json_int_t)g->source_height, "side", (json_int_t)report->side, "target",
        (json_int_t)report->target, "target_name",
        name_or_null(class_name(report, (size_t)report->target)), "predicted",
        (json_int_t)report->predicted, "p_target", report->p_target, "hooked",
        (json_int_t)report->layer_count, "p_predicted", report->p_predicted, "top",
        top_json(report), "heat_map", "min", heat.least, "max", heat.most, "mean", heat.mean,
        "peak", (json_int_t)heat.peak_x, (json_int_t)heat.peak_y, "layers", layers_json(report),
        "prepare_ms", report->prepare_ms, "compute_ms", report->compute_ms, "isa",
        pm_model_isa(report->order->model), "engine_version", PM_ENGINE_VERSION);
    json_error_t error;
    json_t *configuration = NULL;
    if (pm_json_load(text, strlen(text), 0, &configuration, &error)) {
        json_decref(root);
        root = NULL;
    }
    json_object_set_new(root, "configuration", configuration); /* takes it in any case */
    if (root)
        json_object_set_new(root, "completeness_gap",
                            real_or_null(true, report->ig_sum - report->ig_expected));
    if (root && !pm_attribute_score_json(&report->score, root) &&
        !pm_randomization_json(&report->randomization, report->order->model, root))
        dumped = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (dumped) {
        size_t length = strlen(dumped);
        made = realloc(dumped, length + 2);
        if (made) memcpy(made + length, "\n", 2);
        if (!made) free(dumped);
    }
    json_decref(root);
    free(text);
    if (!made) return pm_fail(PM_E_MEMORY, "no memory for the JSON");
    *out = made;
    return PM_OK;
}

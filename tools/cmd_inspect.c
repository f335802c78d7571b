/* parchmill inspect FILE: the tensors of a weights file, its SHA-256, and the architectures that it
 * fits, or the nearest one and where it differs first. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/hash.h"
#include "parchgrad.h"
#include "tools/command.h"

typedef struct verdict {
    size_t *fits; /* indices into the architectures; room for all */
    size_t fit_count, classes;
    const pm_arch_info *nearest; /* where none fits and something is shared */
    pm_arch_fit nearest_fit;
    char difference[600];
} verdict;

typedef struct report {
    const pm_weights *weights;
    char sha256[PM_SHA256_HEX_BYTES];
    long long size_bytes;
    size_t elements, of_dtype[4]; /* tensors of each pm_dtype */
    verdict verdict;
} report;

static pm_status judge(const pm_weights *weights, verdict *out) {
    size_t count = pm_arch_count();
    out->fits = calloc(count + 1, sizeof *out->fits);
    if (!out->fits) return pm_fail(PM_E_MEMORY, "no memory for the list of models");
    for (size_t i = 0; i < count; i++) {
        pm_arch_fit fit = {0};
        pm_status status = pm_arch_compare(pm_arch_at(i), weights, &fit);
        if (status) return status;
        if (fit.wrong + fit.extra == 0) {
            out->fits[out->fit_count++] = i;
            out->classes = fit.classes;
        }
        bool nearer = !out->nearest ||
                      fit.wrong + fit.extra < out->nearest_fit.wrong + out->nearest_fit.extra;
        if (fit.same && nearer) {
            out->nearest = pm_arch_at(i);
            out->nearest_fit = fit;
        }
    }
    if (out->fit_count) out->nearest = NULL;
    if (out->nearest && pm_arch_check(out->nearest, weights) == PM_E_MISMATCH) {
        const char *text = pm_error_text(), *start = strstr(text, ": tensor ");
        snprintf(out->difference, sizeof out->difference, "%s", start ? start + 2 : text);
    }
    return PM_OK;
}

static pm_status make_report(const char *path, const pm_weights *weights, report *out) {
    pm_sha256 hash;
    struct stat info;
    pm_status status = pm_sha256_file(path, &hash);
    if (status) return status;
    pm_sha256_hex(&hash, out->sha256);
    out->size_bytes = stat(path, &info) == 0 ? (long long)info.st_size : 0;
    out->weights = weights;
    for (size_t i = 0; i < pm_weights_count(weights); i++) {
        const pm_tensor_info *tensor = pm_weights_at(weights, i);
        out->elements += tensor->count;
        out->of_dtype[tensor->dtype]++;
    }
    return judge(weights, &out->verdict);
}

/* ---- text ---- */

static void shape_text(const pm_tensor_info *tensor, char *out, size_t size) {
    size_t used = (size_t)snprintf(out, size, "[");
    for (size_t i = 0; i < tensor->rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%zu", i ? ", " : "", tensor->shape[i]);
    if (used < size) snprintf(out + used, size - used, "]");
}

static void print_verdict(const verdict *v) {
    if (v->fit_count) {
        printf("fits      ");
        for (size_t i = 0; i < v->fit_count; i++)
            printf("%s%s", i ? ", " : "", pm_arch_at(v->fits[i])->name);
        printf(" (%zu classes)\n", v->classes);
        return;
    }
    printf("fits      none of the %zu models that this version knows (parchmill models)\n",
           pm_arch_count());
    if (!v->nearest) {
        printf("nearest   none: no tensor in common with any of them\n");
        return;
    }
    printf("nearest   %s: %zu of its %zu tensors fit, %zu of the file are not part of it\n"
           "          %s\n",
           v->nearest->name, v->nearest_fit.same, v->nearest_fit.same + v->nearest_fit.wrong,
           v->nearest_fit.extra, v->difference);
}

static void print_text(const report *r) {
    size_t count = pm_weights_count(r->weights), width = 4, shape_width = 5;
    char shape[200];
    const char *separator = "";
    for (size_t i = 0; i < count; i++) {
        const pm_tensor_info *tensor = pm_weights_at(r->weights, i);
        shape_text(tensor, shape, sizeof shape);
        if (strlen(tensor->name) > width) width = strlen(tensor->name);
        if (strlen(shape) > shape_width) shape_width = strlen(shape);
    }
    printf("%-*s  %-5s  %-*s  %s\n", (int)width, "NAME", "DTYPE", (int)shape_width, "SHAPE",
           "COUNT");
    for (size_t i = 0; i < count; i++) {
        const pm_tensor_info *tensor = pm_weights_at(r->weights, i);
        shape_text(tensor, shape, sizeof shape);
        printf("%-*s  %-5s  %-*s  %zu\n", (int)width, tensor->name, pm_dtype_name(tensor->dtype),
               (int)shape_width, shape, tensor->count);
    }
    printf("\nfile      %s\nformat    %s, %lld bytes\nsha256    %s\ntensors   %zu (",
           pm_weights_path(r->weights), pm_weights_format(r->weights), r->size_bytes, r->sha256,
           count);
    for (size_t d = 0; d < 4; d++) {
        if (!r->of_dtype[d]) continue;
        printf("%s%zu %s", separator, r->of_dtype[d], pm_dtype_name((pm_dtype)d));
        separator = ", ";
    }
    printf("%s), %zu elements\n", count ? "" : "none", r->elements);
    print_verdict(&r->verdict);
}

/* ---- JSON ---- */

static json_t *tensors_json(const pm_weights *weights) {
    json_t *list = json_array();
    for (size_t i = 0; i < pm_weights_count(weights); i++) {
        const pm_tensor_info *tensor = pm_weights_at(weights, i);
        json_t *shape = json_array();
        for (size_t d = 0; d < tensor->rank; d++)
            json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I}", "name", tensor->name, "dtype",
                                              pm_dtype_name(tensor->dtype), "shape", shape, "count",
                                              (json_int_t)tensor->count));
    }
    return list;
}

static json_t *verdict_json(const verdict *v) {
    json_t *fits = json_array(), *nearest = json_null();
    for (size_t i = 0; i < v->fit_count; i++)
        json_array_append_new(fits, json_string(pm_arch_at(v->fits[i])->name));
    if (v->nearest)
        nearest =
            json_pack("{s:s, s:I, s:I, s:I, s:s}", "model", v->nearest->name, "same",
                      (json_int_t)v->nearest_fit.same, "wrong", (json_int_t)v->nearest_fit.wrong,
                      "extra", (json_int_t)v->nearest_fit.extra, "difference", v->difference);
    return json_pack("{s:o, s:o, s:o}", "fits", fits, "classes",
                     v->fit_count ? json_integer((json_int_t)v->classes) : json_null(), "nearest",
                     nearest);
}

static pm_status print_json(const report *r) {
    json_t *root = json_pack("{s:s*, s:s, s:I, s:s, s:I, s:o}", "file", pm_weights_path(r->weights),
                             "format", pm_weights_format(r->weights), "size_bytes",
                             (json_int_t)r->size_bytes, "sha256", r->sha256, "elements",
                             (json_int_t)r->elements, "tensors", tensors_json(r->weights));
    json_t *judged = verdict_json(&r->verdict);
    pm_status status = PM_OK;
    if (!root || !judged || json_object_update(root, judged) != 0 ||
        json_dumpf(root, stdout, JSON_INDENT(1)) != 0)
        status = pm_fail(PM_E_MEMORY, "the JSON object could not be made");
    else
        fputc('\n', stdout);
    json_decref(root);
    json_decref(judged);
    return status;
}

int pm_cmd_inspect(const pm_options *options) {
    pm_weights *weights = NULL;
    report r = {0};
    pm_status status = pm_options_operands(options, "FILE", 1, 1);
    const char *path = status ? NULL : pm_options_operand(options, 0);
    if (!status) status = pm_weights_open(path, &weights);
    if (!status) status = make_report(path, weights, &r);
    if (!status && pm_options_flag(options, PM_OPT_JSON))
        status = print_json(&r);
    else if (!status)
        print_text(&r);
    int code = status ? pm_command_failed("inspect", status) : PM_EXIT_OK;
    free(r.verdict.fits);
    pm_weights_free(&weights);
    return code;
}

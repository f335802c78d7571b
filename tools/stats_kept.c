/* Owns the words about statistics in a database. */
#include "tools/stats_kept.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/query.h"
#include "tools/order.h"
#include "tools/source.h"
#include "tools/statistics/import.h"
#include "tools/statistics/named.h"
#include "tools/table.h"

pm_status pm_stats_name(const pm_options *options, const char **out) {
    if (!pm_options_given(options, PM_OPT_NAME))
        return pm_fail(PM_E_USAGE, "--name TEXT is missing: what --stats will call the statistics");
    const char *name = pm_options_text(options, PM_OPT_NAME);
    pm_status status = pm_stats_check_name(name);
    if (status) return pm_fail_in(status, "--name");
    *out = name;
    return PM_OK;
}

/* ---- list, export ---- */

pm_status pm_stats_list(const pm_options *options) {
    pm_source *source = NULL;
    pm_table *table = NULL;
    const bool json = pm_options_flag(options, PM_OPT_JSON);
    pm_status status = pm_options_operands(options, "list", 1, 1);
    if (!status) status = pm_source_open(options, &source);
    if (!status) status = pm_table_new(json ? PM_TABLE_JSON : PM_TABLE_TEXT, stdout, &table);
    if (!status) {
        const pm_query_sink sink = pm_table_sink(table);
        status = pm_source_ask(source,
                               "SELECT name, model, data_set, images, classes, layers, channels,"
                               " note FROM statistics_named ORDER BY name",
                               NULL, 0, &sink, NULL);
    }
    if (!status) status = pm_table_end(table);
    pm_table_free(&table);
    pm_source_close(&source);
    return status;
}

pm_status pm_stats_export(const pm_options *options) {
    const char *out = pm_options_text(options, PM_OPT_OUT);
    pm_status status = pm_options_operands(options, "export NAME", 2, 2);
    if (!status) status = pm_options_need(options, PM_OPT_OUT);
    if (status) return status;
    const char *dot = strrchr(out, '.');
    if (!dot || strcmp(dot, ".safetensors") != 0)
        return pm_fail(PM_E_USAGE, "--out %.200s: its name must end in .safetensors", out);
    pm_source *source = NULL;
    status = pm_source_open(options, &source);
    if (!status) {
        const pm_asker from = pm_source_asker(source);
        status = pm_stats_named_export_from(&from, pm_source_name(source),
                                            pm_options_operand(options, 1), out);
    }
    pm_source_close(&source);
    if (!status && !pm_options_flag(options, PM_OPT_QUIET)) printf("wrote %s\n", out);
    return status;
}

/* ---- the words at the end ---- */

static pm_status print_json(const pm_options *options, const pm_stats_made *made, bool existed) {
    char hex[PM_SHA256_HEX_BYTES];
    const pm_stats_shape *shape = &made->shape;
    pm_sha256_hex(&made->sha256, hex);
    json_t *root =
        json_pack("{s:s, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
                  pm_options_text(options, PM_OPT_NAME), "model", shape->arch, "existed",
                  (int)existed, "sha256", hex, "images", (json_int_t)shape->images, "images_failed",
                  (json_int_t)made->failed, "images_without_label", (json_int_t)made->unlabelled,
                  "classes", (json_int_t)shape->class_count, "layers",
                  (json_int_t)shape->conv_count, "channels", (json_int_t)shape->channels);
    if (!root) return pm_fail(PM_E_MEMORY, "no memory for the JSON");
    json_dumpf(root, stdout, JSON_INDENT(1));
    fputc('\n', stdout);
    json_decref(root);
    return PM_OK;
}

static void print_text(const pm_options *options, const pm_stats_made *made, const char *note,
                       bool existed) {
    const pm_stats_shape *shape = &made->shape;
    const char *name = pm_options_text(options, PM_OPT_NAME);
    printf("statistics '%s'%s: %zu channels of %zu convolutions, %zu classes\n  %s\n", name,
           existed ? " were there, the same to the bit" : "", shape->channels, shape->conv_count,
           shape->class_count, note);
    if (made->failed)
        printf("  %" PRIu64 " image%s failed and %s left out: `parchmill sql --db %s 'SELECT * "
               "FROM failure'`\n",
               made->failed, made->failed == 1 ? "" : "s", made->failed == 1 ? "is" : "are",
               pm_options_text(options, PM_OPT_DB));
    if (made->unlabelled)
        printf("  %" PRIu64 " image%s without label %s left out of the class tests\n",
               made->unlabelled, made->unlabelled == 1 ? "" : "s",
               made->unlabelled == 1 ? "is" : "are");
    printf("  use them with --stats %s --db %s\n", name, pm_options_text(options, PM_OPT_DB));
}

pm_status pm_stats_finish(const pm_options *options, const pm_stats_made *made,
                          const pm_run_spec *spec, uint64_t run_id, const char *note) {
    bool existed = false;
    const pm_stats_label label = {.name = pm_options_text(options, PM_OPT_NAME),
                                  .note = note,
                                  .force = pm_options_flag(options, PM_OPT_FORCE),
                                  .spec = spec,
                                  .run_id = run_id};
    pm_status status = pm_stats_keep(pm_options_text(options, PM_OPT_DB), made, &label, &existed);
    if (status) return status;
    if (pm_options_flag(options, PM_OPT_JSON)) return print_json(options, made, existed);
    if (!pm_options_flag(options, PM_OPT_QUIET)) print_text(options, made, note, existed);
    return PM_OK;
}

/* ---- import ---- */

typedef struct known_model {
    char path[4096];
    size_t count;
} known_model;

static pm_status take_path(void *user, size_t count, const pm_value *values) {
    known_model *known = user;
    (void)count;
    snprintf(known->path, sizeof known->path, "%s", values[0].text);
    known->count++;
    return PM_OK;
}

/* --weights, or those of the one model of that architecture that the database knows. */
static pm_status find_weights(const pm_options *options, known_model *out) {
    const char *arch = pm_options_text(options, PM_OPT_MODEL);
    const char *given = pm_options_text(options, PM_OPT_WEIGHTS);
    const char *db = pm_options_text(options, PM_OPT_DB);
    const pm_value name = {.kind = PM_VALUE_TEXT, .text = arch, .size = strlen(arch)};
    const pm_query_sink sink = {.user = out, .row = take_path};
    pm_query *query = NULL;
    *out = (known_model){0};
    if (given) {
        snprintf(out->path, sizeof out->path, "%s", given);
        return PM_OK;
    }
    pm_status status = pm_query_open(db, &pm_query_default_limits, &query);
    if (!status)
        status =
            pm_query_run(query, "SELECT path FROM model WHERE arch = ?1", &name, 1, &sink, NULL);
    pm_query_close(&query);
    if (status == PM_E_NOT_FOUND || (!status && out->count != 1))
        status =
            pm_fail(PM_E_USAGE,
                    "--weights FILE is missing: statistics belong to a model with its weights, "
                    "and %.200s knows %zu of %.60s",
                    db, out->count, arch);
    return status;
}

static void note_of(const pm_stats_made *made, const char *folder, char *out, size_t size) {
    snprintf(out, size, "imported from %.200s: Shapiro-Wilk p%s%s", folder,
             made->shape.has[PM_STATS_MEAN] ? ", mean, std" : "",
             made->shape.has[PM_STATS_STUDENT] ? ", class p (Student's, of the last layer's "
                                                 "activations in every layer)"
                                               : "");
}

/* What the research code calls Welch's test is none: docs/ARCHITECTURE.md. */
static void warn_of_test(const pm_options *options, const pm_stats_made *made) {
    if (!made->shape.has[PM_STATS_STUDENT] || pm_options_flag(options, PM_OPT_QUIET)) return;
    fputs("note: the research code's class p-values are Student's pooled test, made of the last "
          "layer's activations for every layer; they are kept as 'student': use --test student\n",
          stderr);
}

pm_status pm_stats_import_folder(const pm_options *options) {
    const char *pickles = pm_options_operand(options, 1), *name;
    const char *db = pm_options_text(options, PM_OPT_DB);
    known_model weights;
    pm_order order = {0};
    pm_stats_made *made = NULL;
    char note[512], *folder = pm_stats_folder(db);
    pm_status status = pm_options_operands(options, "import DIR", 2, 2);
    if (!status && !folder) status = pm_fail(PM_E_MEMORY, "no memory");
    if (!status) status = pm_options_need(options, PM_OPT_MODEL);
    if (!status) status = pm_stats_name(options, &name);
    if (!status) status = find_weights(options, &weights);
    if (!status) status = pm_order_model(options, weights.path, &order);
    if (!status) status = pm_order_gather(&order); /* only its model is read */
    if (!status) status = pm_stats_import(pickles, order.model, folder, &made);
    if (!status) {
        note_of(made, pickles, note, sizeof note);
        status = pm_stats_finish(options, made, &order.spec, 0, note);
    }
    if (!status) warn_of_test(options, made);
    pm_stats_made_free(&made);
    pm_order_fini(&order);
    free(folder);
    return status;
}

/* parchmill prune: lets go of what is no longer wanted, by name; without a name it lists. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "lib/base/text.h"
#include "lib/store/keep.h"
#include "lib/store/query.h"
#include "tools/command.h"

/* ---- the list: read-only, so also beside a broker ---- */

static const struct {
    const char *option, *key, *what, *sql;
} kinds[] = {
    {"activations", "activations", "activations of images; of those whose statistics are made",
     "SELECT count(*), ifnull(sum(length(activations) + length(density)), 0) FROM activation"},
    {"heat-maps", "heat_maps", "heat maps",
     "SELECT count(*), ifnull(sum(length(zstd)), 0) FROM heat_map"},
    {"channel-items", "channel_items", "layers of images with each channel's own",
     "SELECT count(*), ifnull(sum(length(variances) + length(in_h)), 0)"
     " FROM channel_gradient_item"},
    {"orphans", "orphans", "data sets without a run",
     "SELECT count(*), 0 FROM data_set WHERE data_set_id NOT IN (SELECT data_set_id FROM run)"
     " AND data_set_id NOT IN (SELECT data_set_id FROM statistics WHERE data_set_id IS NOT NULL)"},
};

static const char runs_sql[] =
    "SELECT run.run_id, run.name, run.state, count(*),"
    " sum(NOT EXISTS (SELECT 1 FROM run_configuration AS oc JOIN run AS o ON o.run_id = oc.run_id"
    "  JOIN data_set_item AS oi ON oi.data_set_id = o.data_set_id AND oi.image_id = r.image_id"
    "  WHERE oc.configuration_id = r.configuration_id AND o.run_id <> run.run_id))"
    " FROM run JOIN run_configuration AS rc ON rc.run_id = run.run_id"
    " JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
    " JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
    " WHERE run.state IN ('done', 'cancelled') GROUP BY run.run_id ORDER BY run.run_id";

typedef struct listing {
    json_t *json; /* NULL: text */
    size_t kind;
} listing;

static pm_status put(json_t *json, const char *key, json_t *value) {
    if (value && json_object_set_new(json, key, value) == 0) return PM_OK;
    return pm_fail(PM_E_MEMORY, "no memory for a list");
}

static pm_status take_kind(void *user, size_t count, const pm_value *v) {
    const listing *l = user;
    (void)count;
    if (l->json)
        return put(l->json, kinds[l->kind].key,
                   json_pack("{s:I, s:I}", "rows", (json_int_t)v[0].integer, "bytes",
                             (json_int_t)v[1].integer));
    if (v[0].integer)
        printf("--%-14s %9.2f MB  %" PRId64 " %s\n", kinds[l->kind].option,
               (double)v[1].integer / 1e6, v[0].integer, kinds[l->kind].what);
    return PM_OK;
}

static pm_status take_run(void *user, size_t count, const pm_value *v) {
    const listing *l = user;
    const char *name = v[1].kind == PM_VALUE_TEXT ? v[1].text : "";
    char key[32];
    (void)count;
    snprintf(key, sizeof key, "%s%" PRId64, l->json ? "" : "--run ", v[0].integer);
    if (l->json)
        return put(json_object_get(l->json, "runs"), key,
                   json_pack("{s:I, s:I}", "results", (json_int_t)v[3].integer, "of_it_alone",
                             (json_int_t)v[4].integer));
    printf("%-16s %12s  %s%s%s: %" PRId64 " results, %" PRId64 " of them no other run's\n", key, "",
           name, name[0] ? ", " : "", v[2].text, v[3].integer, v[4].integer);
    return PM_OK;
}

static pm_status list(const char *db, json_t *json) {
    const pm_query_limits limits = {0};
    pm_query *query = NULL;
    listing l = {.json = json};
    pm_status status = json ? put(json, "runs", json_object()) : PM_OK;
    if (!status) status = pm_query_open(db, &limits, &query);
    const pm_query_sink each = {.user = &l, .row = take_kind}, run = {.user = &l, .row = take_run};
    for (; l.kind < sizeof kinds / sizeof *kinds && !status; l.kind++)
        status = pm_query_run(query, kinds[l.kind].sql, NULL, 0, &each, NULL);
    if (!status) status = pm_query_run(query, runs_sql, NULL, 0, &run, NULL);
    pm_query_close(&query);
    return status;
}

static int say_list(const char *db, bool as_json) {
    json_t *json = as_json ? json_object() : NULL;
    pm_status status =
        as_json && !json ? pm_fail(PM_E_MEMORY, "no memory for a list") : list(db, json);
    if (!status && json) {
        json_dumpf(json, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        fputc('\n', stdout);
    } else if (!status) {
        puts("nothing was changed: name what is to go");
    }
    json_decref(json);
    return status ? pm_command_failed("prune", status) : PM_EXIT_OK;
}

/* ---- the deed ---- */

static pm_status read_plan(const pm_options *options, pm_prune_plan *plan) {
    *plan = (pm_prune_plan){
        .activations = pm_options_flag(options, PM_OPT_PRUNE_ACTIVATIONS),
        .heat_maps = pm_options_flag(options, PM_OPT_PRUNE_HEAT_MAPS),
        .channel_items = pm_options_flag(options, PM_OPT_PRUNE_CHANNEL_ITEMS),
        .orphans = pm_options_flag(options, PM_OPT_PRUNE_ORPHANS),
        .drop_channel_sums = pm_options_flag(options, PM_OPT_DROP_CHANNEL_SUMS),
        .dry = pm_options_flag(options, PM_OPT_PRUNE_DRY_RUN),
    };
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status) status = pm_options_run(options, 0, &plan->of_run);
    if (!status && plan->of_run && !plan->heat_maps && !plan->channel_items)
        status = pm_fail(PM_E_USAGE,
                         "what of run %s: --heat-maps, --channel-items? The run "
                         "itself is --run %s",
                         pm_options_operand(options, 0), pm_options_operand(options, 0));
    if (!status && pm_options_given(options, PM_OPT_PRUNE_RUN))
        status = pm_run_parse("--run", pm_options_text(options, PM_OPT_PRUNE_RUN), &plan->run);
    return status;
}

static void say_kind(const char *what, const pm_prune_kind *kind) {
    if (kind->rows)
        printf("  %" PRIu64 " %s, %.2f MB\n", kind->rows, what, (double)kind->bytes / 1e6);
}

static void say_count(const char *one, const char *many, uint64_t count) {
    if (count) printf("  %" PRIu64 " %s\n", count, count == 1 ? one : many);
}

static void say(const char *db, bool dry, const pm_prune_counts *n) {
    const uint64_t orphans =
        n->data_sets + n->images + n->configurations + n->statistics + n->models + n->workers;
    if (n->activations.rows + n->heat_maps.rows + n->channel_items.rows + n->results.rows +
            n->runs + orphans ==
        0) {
        puts("nothing of that is there");
        return;
    }
    puts(dry ? "would go:" : "gone:");
    say_kind("activations of images", &n->activations);
    say_kind("heat maps", &n->heat_maps);
    say_kind("layers of images with each channel's own", &n->channel_items);
    say_count("run", "runs", n->runs);
    say_kind("results", &n->results);
    say_count("data set", "data sets", n->data_sets);
    say_count("image", "images", n->images);
    say_count("configuration", "configurations", n->configurations);
    say_count("set of statistics", "sets of statistics", n->statistics);
    say_count("model", "models", n->models);
    say_count("worker", "workers", n->workers);
    say_count("configuration without channel sums", "configurations without channel sums",
              n->sums_dropped);
    if (!dry)
        printf("the file keeps its room for what comes; `parchmill compact --db %s` gives "
               "it back\n",
               db);
}

static void say_json(const pm_prune_counts *n) {
    json_t *root = json_pack(
        "{s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I,"
        " s:I, s:I}",
        "activations", "rows", (json_int_t)n->activations.rows, "bytes",
        (json_int_t)n->activations.bytes, "heat_maps", "rows", (json_int_t)n->heat_maps.rows,
        "bytes", (json_int_t)n->heat_maps.bytes, "channel_items", "rows",
        (json_int_t)n->channel_items.rows, "bytes", (json_int_t)n->channel_items.bytes, "results",
        "rows", (json_int_t)n->results.rows, "bytes", (json_int_t)n->results.bytes, "runs",
        (json_int_t)n->runs, "data_sets", (json_int_t)n->data_sets, "images", (json_int_t)n->images,
        "configurations", (json_int_t)n->configurations, "statistics", (json_int_t)n->statistics,
        "models", (json_int_t)n->models, "workers", (json_int_t)n->workers, "sums_dropped",
        (json_int_t)n->sums_dropped);
    json_dumpf(root, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
    json_decref(root);
}

int pm_cmd_prune(const pm_options *options) {
    pm_prune_plan plan;
    pm_prune_counts counts = {0};
    const char *db = pm_options_text(options, PM_OPT_DB);
    const bool json = pm_options_flag(options, PM_OPT_JSON);
    pm_status status = read_plan(options, &plan);
    if (status) return pm_command_failed("prune", status);
    if (!plan.activations && !plan.heat_maps && !plan.channel_items && !plan.orphans && !plan.run)
        return say_list(db, json);
    status = pm_store_prune(db, &plan, &counts);
    if (status) return pm_command_failed("prune", status);
    if (json)
        say_json(&counts);
    else
        say(db, plan.dry, &counts);
    return PM_EXIT_OK;
}

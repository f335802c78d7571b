/* parchmill status: the runs, from a broker or straight from the database. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/store/query.h"
#include "tools/command.h"
#include "tools/place.h"
#include "tools/progress.h"

enum { CALL_MS = 5000, WATCH_MS = 500 };

typedef struct run_line {
    uint64_t run, items, done, failed, configurations;
    pm_run_terms terms;
    char state[16], name[128], model[64], data_set[128];
} run_line;

typedef struct run_list {
    run_line *lines;
    size_t count;
    char paused[256];
    size_t workers;
    bool from_broker;
} run_list;

static void list_fini(run_list *list) {
    free(list->lines);
    *list = (run_list){0};
}

static pm_status list_add(run_list *list, run_line **out) {
    run_line *lines = realloc(list->lines, (list->count + 1) * sizeof *lines);
    if (!lines) return pm_fail(PM_E_MEMORY, "no memory for the list of runs");
    list->lines = lines;
    *out = &lines[list->count++];
    **out = (run_line){0};
    return PM_OK;
}

static void copy(char *out, size_t size, const char *text) {
    pm_text_clean(text ? text : "", out, size); /* a broker may say anything */
}

/* ---- from a broker ---- */

static pm_status from_broker(pm_client *client, uint64_t run, run_list *list) {
    pm_message answer;
    pm_status status = pm_client_status(client, run, CALL_MS, &answer);
    if (status) return status;
    const Pm__Wire__Status *all = answer.body->status;
    copy(list->paused, sizeof list->paused, all->paused);
    list->workers = all->n_workers;
    list->from_broker = true;
    for (size_t i = 0; i < all->n_runs && !status; i++) {
        const Pm__Wire__RunStatus *r = all->runs[i];
        run_line *line = NULL;
        status = list_add(list, &line);
        if (status) break;
        line->run = r->run;
        line->items = r->items;
        line->done = r->items_done;
        line->failed = r->items_failed;
        line->configurations = r->configurations;
        line->terms = (pm_run_terms){r->priority, r->paused != 0, r->max_workers};
        copy(line->state, sizeof line->state, r->state);
        copy(line->name, sizeof line->name, r->name);
        copy(line->model, sizeof line->model, r->model);
        copy(line->data_set, sizeof line->data_set, r->data_set);
    }
    pm_message_fini(&answer);
    return status;
}

/* ---- from the database ---- */

static const char runs_sql[] =
    "SELECT run, items, items_done, items_failed, configurations, state, name, model, data_set,"
    " priority, paused, max_workers FROM run_progress WHERE ?1 = 0 OR run = ?1 ORDER BY run";

static pm_status take_row(void *user, size_t count, const pm_value *v) {
    run_line *line = NULL;
    (void)count;
    pm_status status = list_add(user, &line);
    if (status) return status;
    line->run = (uint64_t)v[0].integer;
    line->items = (uint64_t)v[1].integer;
    line->done = (uint64_t)v[2].integer;
    line->failed = (uint64_t)v[3].integer;
    line->configurations = (uint64_t)v[4].integer;
    copy(line->state, sizeof line->state, v[5].text);
    copy(line->name, sizeof line->name, v[6].text);
    copy(line->model, sizeof line->model, v[7].text);
    copy(line->data_set, sizeof line->data_set, v[8].text);
    line->terms = (pm_run_terms){.priority = (int)v[9].integer,
                                 .paused = v[10].integer != 0,
                                 .max_workers = (uint32_t)v[11].integer};
    return PM_OK;
}

static pm_status from_database(const char *db, uint64_t run, run_list *list) {
    pm_query *query = NULL;
    pm_value value = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)run};
    pm_query_sink sink = {.user = list, .row = take_row};
    pm_status status = pm_query_open(db, &pm_query_default_limits, &query);
    if (!status) status = pm_query_run(query, runs_sql, &value, 1, &sink, NULL);
    pm_query_close(&query);
    return status;
}

/* client NULL: the database. */
static pm_status fetch(const pm_options *options, pm_client *client, uint64_t run, run_list *list) {
    *list = (run_list){0};
    const char *db = pm_options_text(options, PM_OPT_DB);
    pm_status status = client ? from_broker(client, run, list) : from_database(db, run, list);
    if (!status && run && !list->count)
        status = pm_fail(PM_E_NOT_FOUND, "there is no run %" PRIu64 "%s%s", run,
                         client ? "" : " in ", client ? "" : db);
    if (status) list_fini(list);
    return status;
}

/* ---- showing ---- */

static void print_json(const run_list *list) {
    json_t *runs = json_array();
    for (size_t i = 0; i < list->count; i++) {
        const run_line *l = &list->lines[i];
        json_array_append_new(
            runs,
            json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:b, s:I}", "run",
                      (json_int_t)l->run, "state", l->state, "name", l->name, "model", l->model,
                      "data_set", l->data_set, "images", (json_int_t)l->items, "images_done",
                      (json_int_t)l->done, "images_failed", (json_int_t)l->failed, "configurations",
                      (json_int_t)l->configurations, "priority", l->terms.priority, "paused",
                      (int)l->terms.paused, "max_workers", (json_int_t)l->terms.max_workers));
    }
    json_t *root =
        json_pack("{s:o, s:o, s:o}", "runs", runs, "paused",
                  list->paused[0] ? json_string(list->paused) : json_null(), "workers",
                  list->from_broker ? json_integer((json_int_t)list->workers) : json_null());
    json_dumpf(root, stdout, JSON_INDENT(1));
    fputc('\n', stdout);
    json_decref(root);
}

static void print_table(const run_list *list) {
    if (!list->count) puts("no runs");
    if (list->count)
        printf("%5s  %-9s %4s %13s %7s %8s  %-16s %-16s %s\n", "RUN", "STATE", "PRIO", "IMAGES",
               "FAILED", "CONFIGS", "MODEL", "DATA SET", "NAME");
    for (size_t i = 0; i < list->count; i++) {
        const run_line *l = &list->lines[i];
        char images[48];
        snprintf(images, sizeof images, "%" PRIu64 "/%" PRIu64, l->done, l->items);
        printf("%5" PRIu64 "  %-9s %4d %13s %7" PRIu64 " %8" PRIu64 "  %-16s %-16s %s\n", l->run,
               l->terms.paused ? "paused" : l->state, l->terms.priority, images, l->failed,
               l->configurations, l->model, l->data_set, l->name);
    }
    if (list->from_broker) printf("%zu worker%s\n", list->workers, list->workers == 1 ? "" : "s");
    if (list->paused[0]) printf("paused: %s\n", list->paused);
}

static bool ended(const run_line *line) {
    return strcmp(line->state, "done") == 0 || strcmp(line->state, "cancelled") == 0;
}

/* The run to watch: the one asked for, else the newest. */
static pm_status watch(const pm_options *options, pm_place *place, uint64_t run) {
    pm_progress progress;
    pm_status status;
    pm_progress_init(&progress, stderr, false);
    for (bool done = false; !done;) {
        run_list list;
        status = fetch(options, place->client, run, &list);
        if (status) break;
        if (!list.count) {
            status = pm_fail(PM_E_NOT_FOUND, "there is no run to watch");
            list_fini(&list);
            break;
        }
        const run_line *line = &list.lines[list.count - 1];
        pm_progress_state state = {.items = line->items,
                                   .items_done = line->done,
                                   .items_failed = line->failed,
                                   .workers = list.workers,
                                   .priority = line->terms.priority,
                                   .held = line->terms.paused,
                                   .paused = list.paused[0] ? list.paused : NULL};
        pm_progress_show(&progress, &state, pm_clock_ms());
        done = ended(line) || pm_stop_asked;
        list_fini(&list);
        if (!done) status = pm_place_rest(place, WATCH_MS);
        if (status) break;
    }
    pm_progress_end(&progress);
    return status;
}

int pm_cmd_status(const pm_options *options) {
    uint64_t run = 0;
    pm_place place = {0};
    run_list list = {0};
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status) status = pm_options_run(options, 0, &run);
    if (!status && pm_options_given(options, PM_OPT_BROKER))
        status = pm_place_open(options, 0, 1, NULL, &place);
    if (!status && pm_options_flag(options, PM_OPT_WATCH)) {
        pm_stop_catch();
        status = watch(options, &place, run);
    }
    if (!status) status = fetch(options, place.client, run, &list);
    int code = status ? pm_command_failed("status", status) : PM_EXIT_OK;
    if (!status && pm_options_flag(options, PM_OPT_JSON))
        print_json(&list);
    else if (!status)
        print_table(&list);
    list_fini(&list);
    pm_place_close(&place, NULL);
    return code;
}

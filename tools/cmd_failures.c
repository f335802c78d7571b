/* parchmill failures: the dead letters of a run, or of all. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/text.h"
#include "tools/command.h"
#include "tools/source.h"

static const char failures_sql[] =
    "SELECT run, item, image, configurations, stage, reason, text, worker, at_ms, hint FROM "
    "dead_letter"
    " WHERE (?1 = 0 OR run = ?1) AND (?2 IS NULL OR stage = ?2) AND (?3 IS NULL OR reason = ?3)"
    " AND (?4 IS NULL OR image GLOB ?4) ORDER BY run, item";

enum { RUN, ITEM, IMAGE, CONFIGURATIONS, STAGE, REASON, TEXT, WORKER, AT_MS, HINT };

typedef struct listing {
    json_t *json; /* NULL: text */
    size_t count;
} listing;

static const char *text_of(const pm_value *value) {
    return value->kind == PM_VALUE_TEXT ? value->text : "";
}

static void time_of(int64_t wall_ms, char out[32]) {
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    out[0] = 0;
    if (gmtime_r(&seconds, &parts)) strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

static json_t *json_of(const pm_value *value) {
    return value->kind == PM_VALUE_TEXT ? json_string(value->text) : json_null();
}

static pm_status put_json(listing *list, const pm_value *v, const char *when) {
    json_t *row =
        json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "run",
                  (json_int_t)v[RUN].integer, "item", (json_int_t)v[ITEM].integer, "image",
                  json_of(&v[IMAGE]), "configurations", json_of(&v[CONFIGURATIONS]), "stage",
                  json_of(&v[STAGE]), "reason", json_of(&v[REASON]), "text", json_of(&v[TEXT]),
                  "hint", json_of(&v[HINT]), "worker", json_of(&v[WORKER]), "at", when);
    if (row && json_array_append_new(list->json, row) == 0) return PM_OK;
    /* A path or text that is no UTF-8 has no JSON: that row cannot be told. */
    return pm_fail(PM_E_FORMAT, "item %" PRId64 " of run %" PRId64 " has no JSON form",
                   v[ITEM].integer, v[RUN].integer);
}

static pm_status take_row(void *user, size_t count, const pm_value *v) {
    listing *list = user;
    char when[32];
    (void)count;
    list->count++;
    time_of(v[AT_MS].integer, when);
    if (list->json) return put_json(list, v, when);
    printf("run %" PRId64 " item %" PRId64 " %s: %s/%s, configurations %s: %s (%s%s%s)\n",
           v[RUN].integer, v[ITEM].integer, text_of(&v[IMAGE]), text_of(&v[STAGE]),
           text_of(&v[REASON]), text_of(&v[CONFIGURATIONS]), text_of(&v[TEXT]), when,
           v[WORKER].kind == PM_VALUE_TEXT ? " at " : "", text_of(&v[WORKER]));
    if (v[HINT].kind == PM_VALUE_TEXT) printf("  %s\n", v[HINT].text);
    return PM_OK;
}

static pm_value text_or_null(const char *text) {
    if (!text) return (pm_value){.kind = PM_VALUE_NULL};
    return (pm_value){.kind = PM_VALUE_TEXT, .text = text, .size = strlen(text)};
}

static pm_status find(const pm_options *options, uint64_t run, listing *list) {
    pm_source *source = NULL;
    const pm_query_sink sink = {.user = list, .row = take_row};
    const pm_value values[] = {{.kind = PM_VALUE_INTEGER, .integer = (int64_t)run},
                               text_or_null(pm_options_text(options, PM_OPT_STAGE)),
                               text_or_null(pm_options_text(options, PM_OPT_REASON)),
                               text_or_null(pm_options_text(options, PM_OPT_IMAGE))};
    pm_status status = pm_source_open(options, &source);
    if (!status)
        status = pm_source_ask(source, failures_sql, values, sizeof values / sizeof *values, &sink,
                               NULL);
    pm_source_close(&source);
    return status;
}

int pm_cmd_failures(const pm_options *options) {
    uint64_t run = 0;
    listing list = {0};
    pm_status status = pm_options_operands(options, "[RUN]", 0, 1);
    if (!status) status = pm_options_run(options, 0, &run);
    bool json = pm_options_flag(options, PM_OPT_JSON);
    if (!status && json && !(list.json = json_array()))
        status = pm_fail(PM_E_MEMORY, "no memory for a list");
    if (!status) status = find(options, run, &list);
    if (!status && json) {
        json_t *root = json_pack("{s:O}", "failures", list.json);
        json_dumpf(root, stdout, JSON_INDENT(1));
        fputc('\n', stdout);
        json_decref(root);
    } else if (!status && !list.count) {
        puts("no failures");
    }
    json_decref(list.json);
    return status ? pm_command_failed("failures", status) : PM_EXIT_OK;
}

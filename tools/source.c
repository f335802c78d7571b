/* Owns the choice between a file and a broker. Knows no command. */
#include "tools/source.h"

#include <stdlib.h>

#include "tools/place.h"

struct pm_source {
    const char *name;
    pm_query *query; /* NULL: a broker's */
    pm_place place;
    pm_query_limits limits;
};

pm_status pm_source_open(const pm_options *options, pm_source **out) {
    return pm_source_open_within(options, &pm_query_default_limits, out);
}

pm_status pm_source_open_within(const pm_options *options, const pm_query_limits *limits,
                                pm_source **out) {
    pm_source *source = calloc(1, sizeof *source);
    if (!source) return pm_fail(PM_E_MEMORY, "no memory to open the database");
    source->limits = *limits;
    const char *url = pm_options_text(options, PM_OPT_BROKER);
    source->name = url ? url : pm_options_text(options, PM_OPT_DB);
    pm_status status = url ? pm_place_open(options, 0, 1, NULL, &source->place)
                           : pm_query_open(source->name, limits, &source->query);
    if (status)
        pm_source_close(&source);
    else
        *out = source;
    return status;
}

void pm_source_close(pm_source **source) {
    if (!*source) return;
    pm_query_close(&(*source)->query);
    pm_place_close(&(*source)->place, NULL);
    free(*source);
    *source = NULL;
}

void pm_source_interrupt(pm_source *source) {
    if (source->query) pm_query_interrupt(source->query);
}

const char *pm_source_name(const pm_source *source) { return source->name; }

pm_status pm_source_current(const pm_source *source) {
    return source->query ? pm_query_current(source->query, source->name) : PM_OK;
}

static pm_status ask(pm_source *source, const pm_client_question *question,
                     const pm_query_sink *sink, bool *cut) {
    return source->query ? pm_query_run(source->query, question->sql, question->parameters,
                                        question->parameter_count, sink, cut)
                         : pm_client_query(source->place.client, question, sink, cut);
}

pm_status pm_source_ask(pm_source *source, const char *sql, const pm_value *parameters,
                        size_t count, const pm_query_sink *sink, bool *cut) {
    const pm_client_question question = {.sql = sql,
                                         .parameters = parameters,
                                         .parameter_count = count,
                                         .schema_version = PM_SCHEMA_VERSION};
    return ask(source, &question, sink, cut);
}

pm_status pm_source_ask_typed(pm_source *source, const char *sql, const pm_query_sink *sink,
                              bool *cut) {
    const pm_client_question question = {.sql = sql,
                                         .rows_max = source->limits.rows_max,
                                         .time_ms = (uint32_t)source->limits.time_ms};
    return ask(source, &question, sink, cut);
}

static pm_status ask_source(void *user, const char *sql, const pm_value *parameters, size_t count,
                            const pm_query_sink *sink) {
    return pm_source_ask(user, sql, parameters, count, sink, NULL);
}

pm_asker pm_source_asker(pm_source *source) { return (pm_asker){source, ask_source}; }

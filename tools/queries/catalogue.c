/* Owns the heads of the ready-made queries, and where values that are not given come from. */
#include "tools/queries/catalogue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"
#include "tools/options.h"

/* ---- heads ---- */

static pm_status malformed(const char *name) {
    return pm_fail(PM_E_INTERNAL, "schema/queries/%s.sql does not begin as catalogue.h says", name);
}

/* A line without its "-- " into `out`; *rest behind it. False: no such line, or too long. */
static bool take_line(const char *text, char *out, size_t size, const char **rest) {
    if (strncmp(text, "-- ", 3) != 0) return false;
    const char *end = strchr(text, '\n');
    const size_t length = end ? (size_t)(end - text) - 3 : 0;
    if (!end || length == 0 || length >= size) return false;
    memcpy(out, text + 3, length);
    out[length] = 0;
    *rest = end + 1;
    return true;
}

pm_status pm_ready_at(size_t index, pm_ready *out) {
    pm_ready ready = {.name = pm_ready_texts[index].name};
    char line[PM_READY_LINE];
    const char *at = pm_ready_texts[index].text;
    if (!take_line(at, ready.question, sizeof ready.question, &at)) return malformed(ready.name);
    if (!take_line(at, line, sizeof line, &at) || sscanf(line, "view %31s", ready.view) != 1)
        return malformed(ready.name);
    while (take_line(at, line, sizeof line, &at)) {
        size_t number;
        if ((ready.varies = ready.varies || strcmp(line, "answers vary") == 0)) continue;
        char word[PM_READY_WORD];
        if (ready.parameter_count == PM_READY_PARAMETERS ||
            sscanf(line, "?%zu %31s", &number, word) != 2 || number != ready.parameter_count + 1)
            return malformed(ready.name);
        memcpy(ready.parameters[ready.parameter_count++], word, sizeof word);
    }
    if (strncmp(at, "SELECT ", 7) != 0 && strncmp(at, "WITH ", 5) != 0)
        return malformed(ready.name);
    ready.sql = at;
    *out = ready;
    return PM_OK;
}

pm_status pm_ready_find(const char *name, pm_ready *out) {
    const char *names[64] = {NULL};
    size_t count = 0;
    for (size_t i = 0; i < pm_ready_count; i++) {
        if (strcmp(pm_ready_texts[i].name, name) == 0) return pm_ready_at(i, out);
        if (count < sizeof names / sizeof *names) names[count++] = pm_ready_texts[i].name;
    }
    const char *near = pm_near_name(name, names, count);
    if (near) return pm_fail(PM_E_USAGE, "no query '%.80s'; did you mean '%s'?", name, near);
    return pm_fail(PM_E_USAGE, "no query '%.80s'; `parchmill queries` lists them", name);
}

/* ---- values ---- */

typedef struct finding {
    bool found;
    int64_t integer;
    char *text; /* [PM_READY_LINE], or NULL: an integer is wanted */
} finding;

static pm_status take(void *user, size_t count, const pm_value *values) {
    finding *f = user;
    (void)count;
    if (values[0].kind == PM_VALUE_NULL) return PM_OK;
    f->found = true;
    f->integer = values[0].integer;
    if (f->text) snprintf(f->text, PM_READY_LINE, "%s", values[0].text);
    return PM_OK;
}

static pm_status look(const pm_asker *asker, const char *sql, const pm_value *values, size_t count,
                      finding *out) {
    const pm_query_sink sink = {.user = out, .row = take};
    return asker->ask(asker->user, sql, values, count, &sink);
}

static pm_value integer(int64_t value) {
    return (pm_value){.kind = PM_VALUE_INTEGER, .integer = value};
}

pm_status pm_newest_run(const pm_asker *asker, int64_t *out) {
    finding f = {0};
    pm_status status =
        look(asker,
             "SELECT max(run_id) FROM run WHERE NOT EXISTS (SELECT 1 FROM run_configuration AS rc"
             " JOIN configuration AS c USING (configuration_id)"
             " WHERE rc.run_id = run.run_id AND c.method = 'gather')",
             NULL, 0, &f);
    if (!status && !f.found) status = pm_fail(PM_E_NOT_FOUND, "there is no run yet");
    if (!status) *out = f.integer;
    return status;
}

static pm_status find_run(const pm_asker *asker, const char *word, pm_value *out) {
    uint64_t run = 0;
    int64_t newest = 0;
    finding f = {0};
    if (!word) {
        pm_status status = pm_newest_run(asker, &newest);
        if (!status) *out = integer(newest);
        return status;
    }
    pm_status status = pm_run_parse("RUN", word, &run);
    const pm_value wanted = integer((int64_t)run);
    if (!status) status = look(asker, "SELECT run_id FROM run WHERE run_id = ?1", &wanted, 1, &f);
    if (status) return status;
    if (!f.found) return pm_fail(PM_E_NOT_FOUND, "there is no run %" PRIu64, run);
    *out = wanted;
    return PM_OK;
}

/* `ordinal`: which of the run's configurations, where the word names none; the last where there
 * are fewer. */
static pm_status find_configuration(const pm_asker *asker, const char *word, int64_t run,
                                    int64_t ordinal, pm_value *out) {
    size_t id = 0;
    finding f = {0};
    pm_status status = word ? pm_parse_size("CONFIGURATION", word, &id) : PM_OK;
    if (!status && word) {
        const pm_value values[] = {integer(run), integer((int64_t)id)};
        status = look(asker,
                      "SELECT configuration_id FROM run_configuration"
                      " WHERE run_id = ?1 AND configuration_id = ?2",
                      values, 2, &f);
        if (!status && !f.found)
            status = pm_fail(PM_E_USAGE,
                             "run %lld has no configuration %zu; query 'scores' lists "
                             "them",
                             (long long)run, id);
    } else if (!status) {
        const pm_value values[] = {integer(run), integer(ordinal)};
        status = look(asker,
                      "SELECT configuration_id FROM run_configuration"
                      " WHERE run_id = ?1 AND ordinal <= ?2 ORDER BY ordinal DESC LIMIT 1",
                      values, 2, &f);
        if (!status && !f.found)
            status = pm_fail(PM_E_INTERNAL, "run %lld has no configuration", (long long)run);
    }
    if (!status) *out = integer(f.integer);
    return status;
}

static pm_status find_statistics(const pm_asker *asker, const char *word, char *name,
                                 pm_value *out) {
    finding f = {.text = name};
    if (word) {
        *out = (pm_value){.kind = PM_VALUE_TEXT, .text = word, .size = strlen(word)};
        return PM_OK;
    }
    pm_status status = look(asker, "SELECT min(name) FROM statistics", NULL, 0, &f);
    if (!status && !f.found)
        status = pm_fail(PM_E_NOT_FOUND, "there are no statistics with a name; `parchmill stats` "
                                         "makes them");
    if (!status) *out = (pm_value){.kind = PM_VALUE_TEXT, .text = name, .size = strlen(name)};
    return status;
}

/* Two configurations that are one have no difference. */
static pm_status check_pair(const pm_ready *query, const pm_value *values) {
    if (query->parameter_count < 3 || strcmp(query->parameters[1], "a") != 0 ||
        strcmp(query->parameters[2], "b") != 0 || values[1].integer != values[2].integer)
        return PM_OK;
    return pm_fail(PM_E_USAGE,
                   "query '%s' compares two configurations, and a and b are both %lld; query "
                   "'scores' lists those of the run",
                   query->name, (long long)values[1].integer);
}

pm_status pm_ready_values(const pm_ready *query, const pm_asker *asker, const char *const *words,
                          size_t count, char name[PM_READY_LINE], pm_value *values) {
    pm_status status = PM_OK;
    if (count > query->parameter_count)
        return pm_fail(PM_E_USAGE, "query '%s' takes %zu values, not %zu", query->name,
                       query->parameter_count, count);
    for (size_t i = 0; i < query->parameter_count && !status; i++) {
        const char *parameter = query->parameters[i], *word = i < count ? words[i] : NULL;
        if (strcmp(parameter, "run") == 0)
            status = find_run(asker, word, &values[i]);
        else if (strcmp(parameter, "a") == 0)
            status = find_configuration(asker, word, values[0].integer, 0, &values[i]);
        else if (strcmp(parameter, "b") == 0)
            status = find_configuration(asker, word, values[0].integer, 1, &values[i]);
        else if (strcmp(parameter, "statistics") == 0)
            status = find_statistics(asker, word, name, &values[i]);
        else
            status = malformed(query->name);
    }
    if (!status) status = check_pair(query, values);
    return status;
}

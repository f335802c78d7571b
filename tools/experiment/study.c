/* Owns where a study lies and how its run is ordered. Knows nothing of what it asks. */
#include "tools/experiment/study.h"

#include <stdio.h>
#include <string.h>

#include "tools/cmd_run.h"

pm_status pm_study_open(const pm_options *options, const char *name, const char *dir,
                        pm_study *out) {
    *out = (pm_study){.options = options, .name = name};
    if (strlen(dir) >= PM_STUDY_PATH)
        return pm_fail(PM_E_USAGE, "--out %.200s: path too long", dir);
    strcpy(out->dir, dir);
    if (!pm_options_given(options, PM_OPT_DB))
        return pm_experiment_path(dir, "experiment.db", out->db);
    const char *db = pm_options_text(options, PM_OPT_DB);
    if (strlen(db) >= sizeof out->db) return pm_fail(PM_E_USAGE, "--db: the path is too long");
    strcpy(out->db, db);
    return PM_OK;
}

void pm_study_close(pm_study *study) { pm_query_close(&study->query); }

static pm_status stopped(void) {
    return pm_fail(PM_E_CANCELLED, "stopped; the same command goes on from there");
}

/* Of the first N images they are other statistics than of all. */
static pm_status name_them(pm_study *study, bool all) {
    const char *name = pm_options_text(study->options, PM_OPT_NAME);
    const char *limit = pm_options_text(study->options, PM_OPT_LIMIT);
    int n = name[0]         ? snprintf(study->stats, sizeof study->stats, "%s", name)
            : limit && !all ? snprintf(study->stats, sizeof study->stats, "first-%s", limit)
                            : snprintf(study->stats, sizeof study->stats, "experiment");
    if (n < 0 || (size_t)n >= sizeof study->stats)
        return pm_fail(PM_E_USAGE, "--name: it is too long");
    return PM_OK;
}

static pm_status make_statistics(const pm_study *study, bool all) {
    pm_options *options = NULL;
    char most[24];
    const pm_option_id needed[] = {PM_OPT_MODEL, PM_OPT_WEIGHTS, PM_OPT_IMAGES};
    snprintf(most, sizeof most, "%zu", (size_t)1 << 31);
    const char *const argv[] = {"--db", study->db, "--name", study->stats, all ? "--limit" : NULL,
                                most,   NULL};
    pm_status status = PM_OK;
    for (size_t i = 0; i < 3 && !status; i++) status = pm_options_need(study->options, needed[i]);
    if (!status) status = pm_options_derive(study->options, PM_CMD_STATS, "stats", argv, &options);
    if (!status) status = pm_stats_whole(options);
    pm_options_free(&options);
    return status == PM_E_CANCELLED ? stopped() : status;
}

pm_status pm_study_statistics(pm_study *study, bool all) {
    const char *given = pm_options_text(study->options, PM_OPT_STATS);
    if (!given) {
        pm_status status = name_them(study, all);
        return status ? status : make_statistics(study, all);
    }
    if (strlen(given) >= sizeof study->stats)
        return pm_fail(PM_E_USAGE, "--stats: the path is too long");
    strcpy(study->stats, given);
    return PM_OK;
}

/* The option's id by its name, where an experiment takes it. */
static bool was_given(const pm_options *options, const char *name) {
    for (int i = 0; i < PM_OPT_COUNT; i++) {
        const pm_option *option = pm_option_at((pm_option_id)i);
        if ((option->commands & PM_CMD_EXPERIMENT) && strcmp(option->name, name + 2) == 0)
            return pm_options_given(options, (pm_option_id)i);
    }
    return false;
}

pm_status pm_study_run(pm_study *study, const char *const *words, size_t count,
                       const char *const *forced, size_t forced_count) {
    const char *argv[PM_STUDY_WORDS] = {"--db", study->db};
    size_t argc = 2;
    pm_options *options = NULL;
    if (count + forced_count + 7 > PM_STUDY_WORDS)
        return pm_fail(PM_E_INTERNAL, "an experiment has more options than there is room for");
    if (study->stats[0]) {
        argv[argc++] = "--stats";
        argv[argc++] = study->stats;
    }
    if (pm_options_given(study->options, PM_OPT_EXPERIMENT_SEED)) {
        argv[argc++] = "--seed";
        argv[argc++] = pm_options_text(study->options, PM_OPT_EXPERIMENT_SEED);
    }
    for (size_t i = 0; i + 1 < count; i += 2) {
        if (was_given(study->options, words[i])) continue;
        argv[argc++] = words[i];
        argv[argc++] = words[i + 1];
    }
    for (size_t i = 0; i < forced_count; i++) argv[argc++] = forced[i];
    argv[argc] = NULL;
    pm_status status = pm_options_derive(study->options, PM_CMD_RUN, "run", argv, &options);
    if (!status) status = pm_run_whole(options, &study->summary);
    pm_options_free(&options);
    if (status == PM_E_CANCELLED) return stopped();
    if (!status && study->summary.cancelled)
        status = pm_fail(PM_E_STALE, "run %llu was cancelled; the same command goes on with it",
                         (unsigned long long)study->summary.run);
    study->summary.db = study->db;
    if (!status) status = pm_query_open(study->db, &pm_query_default_limits, &study->query);
    return status;
}

pm_status pm_study_ask(pm_study *study, const char *sql,
                       pm_status (*row)(void *user, size_t count, const pm_value *values),
                       void *user) {
    const pm_value run = {.kind = PM_VALUE_INTEGER, .integer = (int64_t)study->summary.run};
    const pm_query_sink sink = {.user = user, .row = row};
    return pm_query_run(study->query, sql, &run, 1, &sink, NULL);
}

static bool says(const pm_study *study) { return !pm_options_flag(study->options, PM_OPT_QUIET); }

pm_status pm_study_write(const pm_study *study, const char *name, const void *bytes, size_t size) {
    return pm_experiment_write(study->dir, name, bytes, size, says(study));
}

pm_status pm_study_picture(const pm_study *study, const char *name, const pm_image *picture) {
    return pm_experiment_picture(study->dir, name, picture, says(study));
}

pm_status pm_study_chart(const pm_study *study, const char *name, const pm_buffer *svg) {
    return pm_experiment_chart(study->dir, name, svg, says(study));
}

pm_status pm_study_reading(const pm_study *study, const pm_buffer *text) {
    char name[64];
    snprintf(name, sizeof name, "%s.md", study->name);
    return pm_study_write(study, name, text->bytes, text->size);
}

/* What the experiments on data share: a folder, a database, statistics, one run.
 *
 * Use: pm_study_open -> pm_study_statistics where channels are set apart -> pm_study_run -> ask ->
 * pm_study_close, also after a failure. All of it goes through `parchmill stats` and the ordinary
 * run, so the same command after an interruption goes on. The caller tells failures. */
#ifndef PM_TOOLS_STUDY_H
#define PM_TOOLS_STUDY_H

#include "lib/store/query.h"
#include "tools/experiment/files.h"
#include "tools/options.h"
#include "tools/run_summary.h"

enum { PM_STUDY_PATH = PM_EXPERIMENT_PATH, PM_STUDY_WORDS = 40 };

typedef struct pm_study {
    const pm_options *options;
    const char *name; /* of the experiment */
    char dir[PM_STUDY_PATH], db[PM_STUDY_PATH];
    char stats[PM_STUDY_PATH]; /* a file or a name in db; "" before there are any */
    pm_run_summary summary;    /* of the run */
    pm_query *query;           /* of db, after the run */
} pm_study;

/* `dir` is there; the database is --db, else experiment.db in it. */
pm_status pm_study_open(const pm_options *options, const char *name, const char *dir,
                        pm_study *out);
void pm_study_close(pm_study *study);

/* --stats, else those of the same images, kept in the database by the name --name (experiment; with
 * --limit N first-N).
 * `all`: of all images, whatever --limit and --image say. PM_E_CANCELLED. */
pm_status pm_study_statistics(pm_study *study, bool all);

/* The run: `words` [count], pairs of an option's name and its value unless it was given. `forced`
 * [forced_count]: pairs that stand whatever was given; of these --stats is added here. Then `query`
 * is open. PM_E_CANCELLED: stopped; PM_E_STALE: the run was cancelled. */
pm_status pm_study_run(pm_study *study, const char *const *words, size_t count,
                       const char *const *forced, size_t forced_count);

/* Ask about the run: ?1 is its number. */
pm_status pm_study_ask(pm_study *study, const char *sql,
                       pm_status (*row)(void *user, size_t count, const pm_value *values),
                       void *user);

/* As tools/experiment/files.h, into the study's folder, said without --quiet. */
pm_status pm_study_write(const pm_study *study, const char *name, const void *bytes, size_t size);
pm_status pm_study_picture(const pm_study *study, const char *name, const pm_image *picture);
pm_status pm_study_chart(const pm_study *study, const char *name, const pm_buffer *svg);
/* The reading, as DIR/EXPERIMENT.md. */
pm_status pm_study_reading(const pm_study *study, const pm_buffer *text);

#endif

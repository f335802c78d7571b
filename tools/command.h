/* A subcommand of `parchmill`: one file each, tools/cmd_NAME.c. To add one: a PM_CMD bit and its
 * options in tools/options.h and tools/options_table.c, a function here, a row in tools/main.c. */
#ifndef PM_TOOLS_COMMAND_H
#define PM_TOOLS_COMMAND_H

#include "lib/base/status.h"
#include "tools/options.h"

/* Exit codes of every command. */
enum { PM_EXIT_OK = 0, PM_EXIT_FAILED = 1, PM_EXIT_USAGE = 2, PM_EXIT_INTERRUPTED = 130 };

/* Does the work, prints, returns an exit code. Never exits itself. */
typedef int (*pm_command_fn)(const pm_options *options);

typedef struct pm_command {
    const char *name;
    unsigned bit;
    const char *operands; /* "PHOTO", "[RUN]", "" */
    const char *summary;  /* one line */
    pm_command_fn run;
    const char *example; /* lines for --help; may be "" */
} pm_command;

/* Print "parchmill NAME: text of the last pm_fail" to stderr; the exit code for that status. */
int pm_command_failed(const char *name, pm_status status);

int pm_cmd_models(const pm_options *options);
int pm_cmd_inspect(const pm_options *options);
int pm_cmd_attribute(const pm_options *options);
int pm_cmd_run(const pm_options *options);
int pm_cmd_submit(const pm_options *options);
int pm_cmd_status(const pm_options *options);
int pm_cmd_cancel(const pm_options *options);
int pm_cmd_retry(const pm_options *options);
int pm_cmd_export(const pm_options *options);
int pm_cmd_sql(const pm_options *options);
int pm_cmd_queries(const pm_options *options);
int pm_cmd_pause(const pm_options *options);
int pm_cmd_resume(const pm_options *options);
int pm_cmd_priority(const pm_options *options);
int pm_cmd_max_workers(const pm_options *options);
int pm_cmd_failures(const pm_options *options);
int pm_cmd_workers(const pm_options *options);
int pm_cmd_drain(const pm_options *options);
int pm_cmd_doctor(const pm_options *options);
int pm_cmd_refresh(const pm_options *options);
int pm_cmd_demo(const pm_options *options);
int pm_cmd_stats(const pm_options *options);
int pm_cmd_merge(const pm_options *options);
int pm_cmd_prune(const pm_options *options);
int pm_cmd_compact(const pm_options *options);
int pm_cmd_report(const pm_options *options);
int pm_cmd_experiment(const pm_options *options);
int pm_cmd_keygen(const pm_options *options);

#endif

/* parchmill experiment: the research's experiments by name. Owns the choice and the folder. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tools/command.h"
#include "tools/experiment/experiment.h"

enum { NAMES_MAX = 64 };

static int list(void) {
    for (const pm_experiment *e = pm_experiments; e->name; e++)
        printf("%-22s %s\n", e->name, e->summary);
    return PM_EXIT_OK;
}

static pm_status find(const char *name, const pm_experiment **out) {
    const char *names[NAMES_MAX];
    size_t count = 0;
    *out = pm_experiment_find(name);
    if (*out) return PM_OK;
    for (const pm_experiment *e = pm_experiments; e->name && count < NAMES_MAX; e++)
        names[count++] = e->name;
    const char *near = pm_near_name(name, names, count);
    if (near) return pm_fail(PM_E_USAGE, "no experiment '%.80s'; did you mean '%s'?", name, near);
    return pm_fail(PM_E_USAGE, "no experiment '%.80s'; `parchmill experiment list` names them",
                   name);
}

static bool heeds(const pm_experiment *e, pm_option_id id) {
    if (!e->heeds) return id != PM_OPT_DISTRIBUTION;
    for (const pm_option_id *at = e->heeds; *at != PM_OPT_COUNT; at++)
        if (*at == id) return true;
    return false;
}

/* What would be left aside is refused. */
static pm_status check_heeded(const pm_options *options, const pm_experiment *e) {
    for (pm_option_id id = 0; id < PM_OPT_COUNT; id++)
        if (pm_options_given(options, id) && !heeds(e, id))
            return pm_fail(PM_E_USAGE, "--%s does not go with %s", pm_option_at(id)->name, e->name);
    return PM_OK;
}

/* A folder that was made for nothing goes again. */
static pm_status run_in(const pm_experiment *e, const pm_options *options, const char *dir) {
    const bool there = access(dir, F_OK) == 0;
    pm_status status = pm_dir_make(dir);
    if (status) return status;
    status = e->run(options, dir);
    if (status && !there) (void)rmdir(dir); /* fails where something is in it */
    return status;
}

int pm_cmd_experiment(const pm_options *options) {
    const pm_experiment *experiment = NULL;
    pm_status status = pm_options_operands(options, "[NAME]", 0, 1);
    if (status) return pm_command_failed("experiment", status);
    const char *name = pm_options_operand_count(options) ? pm_options_operand(options, 0) : "list";
    if (strcmp(name, "list") == 0) return list();
    status = find(name, &experiment);
    if (!status) status = check_heeded(options, experiment);
    if (status) return pm_command_failed("experiment", status);
    const char *dir = pm_options_text(options, PM_OPT_EXPERIMENT_OUT);
    if (!dir) dir = experiment->name;
    status = run_in(experiment, options, dir);
    int code = status ? pm_command_failed("experiment", status) : PM_EXIT_OK;
    return status == PM_E_CANCELLED ? PM_EXIT_INTERRUPTED : code;
}

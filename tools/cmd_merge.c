/* parchmill merge: shards of a study into one database, or another database's results into ours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/store/keep.h"
#include "tools/command.h"

static pm_status read_plan(const pm_options *options, pm_merge_plan *plan) {
    const bool into = pm_options_given(options, PM_OPT_MERGE_INTO);
    const bool out = pm_options_given(options, PM_OPT_MERGE_OUT);
    pm_status status = pm_options_operands(options, "DB...", 1, into ? 1 : SIZE_MAX);
    if (status) return status;
    if (into == out)
        return pm_fail(PM_E_USAGE, "--out FILE makes a new database, --into FILE adds to one that "
                                   "is there: give one of the two");
    *plan = (pm_merge_plan){
        .out = pm_options_text(options, PM_OPT_MERGE_OUT),
        .into = pm_options_text(options, PM_OPT_MERGE_INTO),
        .drop_channel_sums = pm_options_flag(options, PM_OPT_DROP_CHANNEL_SUMS),
    };
    return PM_OK;
}

static void say_json(const pm_merge_counts *n) {
    printf("{\"runs\": %" PRIu64 ", \"runs_both\": %" PRIu64 ", \"images\": %" PRIu64
           ", \"results\": %" PRIu64 ", \"same\": %" PRIu64 ", \"completed\": %" PRIu64
           ", \"replaced\": %" PRIu64 ", \"items_open\": %" PRIu64 ", \"sums_dropped\": %" PRIu64
           "}\n",
           n->runs, n->runs_both, n->images, n->results, n->same, n->completed, n->replaced,
           n->items_open, n->sums_dropped);
}

static const char *s(uint64_t count) { return count == 1 ? "" : "s"; }

static void say(const char *db, const pm_merge_counts *n) {
    printf("%s: %" PRIu64 " run%s, %" PRIu64 " image%s, %" PRIu64 " result%s new\n", db, n->runs,
           s(n->runs), n->images, s(n->images), n->results, s(n->results));
    if (n->runs_both)
        printf("  %" PRIu64 " run%s there before\n", n->runs_both,
               n->runs_both == 1 ? " was" : "s were");
    if (n->same)
        printf("  %" PRIu64 " result%s there already, and the same%s\n", n->same,
               n->same == 1 ? " was" : "s were",
               n->completed ? "; what they lacked was added" : "");
    if (n->replaced) printf("  %" PRIu64 " of the new took the place of an error\n", n->replaced);
    if (n->sums_dropped)
        printf("  channel sums of %" PRIu64 " configuration%s were left out\n", n->sums_dropped,
               s(n->sums_dropped));
    if (n->items_open)
        printf("  %" PRIu64 " image%s left to do; the same `parchmill run` commands go on\n",
               n->items_open, n->items_open == 1 ? " is" : "s are");
}

int pm_cmd_merge(const pm_options *options) {
    pm_merge_plan plan;
    pm_merge_counts counts = {0};
    const char **sources = NULL;
    pm_status status = read_plan(options, &plan);
    if (status) return pm_command_failed("merge", status);
    const size_t count = pm_options_operand_count(options);
    sources = calloc(count, sizeof *sources);
    if (!sources) status = pm_fail(PM_E_MEMORY, "no memory for %zu names", count);
    for (size_t i = 0; i < count && !status; i++) sources[i] = pm_options_operand(options, i);
    plan.sources = sources;
    plan.source_count = count;
    if (!status) status = pm_store_merge(&plan, &counts);
    free(sources);
    if (status) return pm_command_failed("merge", status);
    if (pm_options_flag(options, PM_OPT_JSON))
        say_json(&counts);
    else
        say(plan.out ? plan.out : plan.into, &counts);
    return PM_EXIT_OK;
}

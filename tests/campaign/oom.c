/* Want of memory: `oom`. In readers, scheduler and store the n-th allocation fails, for n = 1, 2,
 * ... until the operation meets it no more, once and for good: each time PM_E_MEMORY with one line
 * and nothing leaked; afterwards the same call succeeds and gives the same. */
#include "tests/campaign/oom.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"

typedef struct options {
    uint64_t stride;
    const char *only;
} options;

typedef struct figures {
    uint64_t points, passed, failed;
} figures;

static void say(const char *name, bool for_good, uint64_t points, pm_status status) {
    printf("%s%s: points=%llu%s%s\n", name, for_good ? "+" : "", (unsigned long long)points,
           status ? " FAILED: " : "", status ? pm_error_text() : "");
    if (status) printf("replay: oom --only %s\n", name);
}

/* One allocation of one reader. *met: it came so far. */
static pm_status point(const oom_case *c, uint64_t n, bool for_good, uint64_t right, bool *met,
                       uint64_t *passed) {
    uint64_t digest = 1, again = 1;
    int64_t before = oom_live();
    (void)pm_fail(PM_OK, "%s", "");
    oom_arm(n, for_good);
    pm_status status = c->run(&digest);
    *met = oom_disarm();
    int64_t leaked = oom_live() - before;
    const char *text = pm_error_text();
    if (status && (status != PM_E_MEMORY || !*met))
        return pm_fail(status, "allocation %llu: it said %s: %s", (unsigned long long)n,
                       pm_status_name(status), text);
    if (status && (!text[0] || strchr(text, '\n')))
        return pm_fail(PM_E_INTERNAL, "allocation %llu: not one line", (unsigned long long)n);
    if (!status && digest != right)
        return pm_fail(PM_E_MISMATCH, "allocation %llu: other results", (unsigned long long)n);
    if (leaked && !c->library_leaks)
        return pm_fail(PM_E_INTERNAL, "allocation %llu: leaks", (unsigned long long)n);
    *passed += *met && !status; /* a library went on without it */
    status = c->run(&again);
    if (!status && again != right) status = pm_fail(PM_E_MISMATCH, "other results afterwards");
    return status;
}

static void reader(const oom_case *c, figures *sum) {
    uint64_t right = 1, warm = 1;
    pm_status status = c->run(&warm); /* whatever libraries keep for good */
    if (!status) status = c->run(&right);
    for (int for_good = 0; for_good < 2; for_good++) {
        uint64_t points = 0;
        bool met = true;
        for (uint64_t n = 1; met && !status; n++) {
            status = point(c, n, for_good, right, &met, &sum->passed);
            points += met;
        }
        say(c->name, for_good, points, status);
        sum->points += points;
        sum->failed += status != PM_OK;
        if (status) return;
    }
}

static void run(const options *o, figures *sum) {
    for (size_t i = 0; i < oom_parser_count; i++)
        if (!o->only || strcmp(o->only, oom_parsers[i].name) == 0) reader(&oom_parsers[i], sum);
    for (int for_good = 0; for_good < 2; for_good++)
        for (int which = 0; which < 3; which++) {
            static const char *const names[] = {"scheduler", "store", "store-cold"};
            uint64_t points = 0;
            if (o->only && strcmp(o->only, names[which]) != 0) continue;
            pm_status status = which == 0   ? oom_scheduler(for_good, &points)
                               : which == 1 ? oom_store(for_good, &points)
                                            : oom_store_cold(for_good, o->stride, &points);
            say(names[which], for_good, points, status);
            sum->points += points;
            sum->failed += status != PM_OK;
        }
}

static error_t parse(int key, char *text, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'k': o->stride = strtoull(text, NULL, 10); return o->stride ? 0 : EINVAL;
    case 'o': o->only = text; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"stride", 'k', "K", 0, "Of a new store only every 61 K-th allocation (1)", 0},
        {"only", 'o', "CASE", 0, "One case", 0},
        {0}};
    const struct argp argp = {
        .options = table, .parser = parse, .doc = "The n-th allocation fails, for every n."};
    options o = {.stride = 1};
    figures sum = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    setenv("TZ", "UTC0", 1); /* else the C library keeps its own copy of a name */
    int64_t begin_ms = pm_clock_ms();
    run(&o, &sum);
    printf("oom: points=%llu went_on=%llu failed=%llu s=%.1f\n", (unsigned long long)sum.points,
           (unsigned long long)sum.passed, (unsigned long long)sum.failed,
           (double)(pm_clock_ms() - begin_ms) / 1000);
    return sum.failed || !sum.points ? 1 : 0;
}

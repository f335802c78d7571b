/* One broker's scheduler and N workers' sessions in simulated time: what they say to each other,
 * what the broker does for it, and what it keeps. The constants of docs/SCALE.md.
 *
 *     fleet --workers 10000 --threads 16 --seconds 20 --configurations 48 --minutes 2 */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "broker/scheduler_state.h"
#include "tests/sim/sim.h"

extern int pm_scheduler_plant, pm_work_plant;
int pm_scheduler_plant, pm_work_plant;

enum { MALLOC_BYTES = 16 }; /* beside each allocation, about */

typedef struct options {
    sim_scale scale;
    double seconds, minutes, warm_minutes;
} options;

static error_t parse(int key, char *text, struct argp_state *state) {
    options *out = state->input;
    switch (key) {
    case 'w': out->scale.workers = strtoull(text, NULL, 10); return 0;
    case 't': out->scale.threads = strtoull(text, NULL, 10); return 0;
    case 's': out->seconds = atof(text); return 0;
    case 'c': out->scale.configurations = strtoull(text, NULL, 10); return 0;
    case 'l': out->scale.layers = strtoull(text, NULL, 10); return 0;
    case 'i': out->scale.task_items = strtoull(text, NULL, 10); return 0;
    case 'm': out->minutes = atof(text); return 0;
    case 'u': out->warm_minutes = atof(text); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_traffic(const sim_traffic *from, const sim_traffic *to, double seconds) {
    static const char *const ways[] = {"to the broker", "to workers"};
    for (size_t way = 0; way < 2; way++) {
        double messages = 0, bytes = 0;
        for (size_t verb = 0; verb < SIM_VERBS; verb++) {
            double m = (double)(to->messages[way][verb] - from->messages[way][verb]) / seconds;
            double b = (double)(to->bytes[way][verb] - from->bytes[way][verb]) / seconds;
            messages += m;
            bytes += b;
            if (m > 0)
                printf("  %-14s %-14s %12.1f messages/s %14.0f bytes/s %10.0f bytes each\n",
                       ways[way], pm_wire_name((Pm__Wire__Message__BodyCase)verb), m, b, b / m);
        }
        printf("  %-14s %-14s %12.1f messages/s %14.0f bytes/s\n", ways[way], "all", messages,
               bytes);
    }
}

static void print_scheduler(const sim *w, const sim_traffic *from, double seconds) {
    const sim_traffic *to = &w->traffic;
    pm_scheduler_counts counts;
    pm_scheduler_count(w->scheduler, &counts);
    const double events = (double)(to->events - from->events);
    const double busy = (double)(to->step_ns - from->step_ns);
    const size_t bytes =
        sizeof *w->scheduler + counts.tasks * (sizeof(pm_sched_task) + MALLOC_BYTES) +
        counts.leased * (sizeof(pm_sched_lease) + MALLOC_BYTES) +
        counts.workers * (sizeof(pm_sched_worker) + MALLOC_BYTES) +
        8 * (w->scheduler->tasks.bucket_count + w->scheduler->workers.bucket_count);
    printf("scheduler: %.1f events/s, %.2f us each (worst %.0f us), %.2f %% of a core\n",
           events / seconds, busy / events / 1e3, (double)to->step_ns_most / 1e3,
           busy / seconds / 1e7);
    printf("scheduler: %zu tasks, %zu leased, %zu workers: %.1f MiB\n", counts.tasks, counts.leased,
           counts.workers, (double)bytes / (1 << 20));
    printf("store: %.1f items/s, %.1f result rows/s, %.1f transactions/s\n",
           (double)(to->rows - from->rows) / seconds / (double)w->scale.configurations,
           (double)(to->rows - from->rows) / seconds,
           (double)(to->commits - from->commits) / seconds);
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"workers", 'w', "N", 0, "Workers (10000)", 0},
        {"threads", 't', "N", 0, "Compute threads of each (16)", 0},
        {"seconds", 's', "S", 0, "Of a thread for an item with all its configurations (20)", 0},
        {"configurations", 'c', "N", 0, "Results of an item (48)", 0},
        {"layers", 'l', "N", 0, "Layer gradients of a result (20)", 0},
        {"task-items", 'i', "N", 0, "Items of a task (1)", 0},
        {"minutes", 'm', "M", 0, "Measured, simulated (1)", 0},
        {"warm-up", 'u', "M", 0, "Before that (2)", 0},
        {0}};
    const struct argp argp = {.options = table, .parser = parse};
    options o = {.scale = {.workers = 10000,
                           .threads = 16,
                           .configurations = 48,
                           .layers = 20,
                           .task_items = 1,
                           .together = 1,
                           .lease_ms = 30000},
                 .seconds = 20,
                 .minutes = 1,
                 .warm_minutes = 2};
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0) return 2;
    if (o.scale.workers < 1 || o.scale.workers > PM_WORKERS_MAX || o.scale.threads < 1 ||
        o.scale.configurations < 1 || o.scale.task_items < 1 || o.scale.task_items > 256 ||
        !(o.seconds > 0) || !(o.minutes > 0)) {
        fprintf(stderr, "fleet: at most %d workers, and all numbers above 0\n", PM_WORKERS_MAX);
        return 2;
    }
    const double needed =
        (double)(o.scale.workers * o.scale.threads) / o.seconds * 60 * (o.minutes + o.warm_minutes);
    o.scale.items =
        (uint64_t)(needed * 1.5) + o.scale.workers * o.scale.threads * o.scale.task_items * 4;
    o.scale.item_ms = (int64_t)(o.seconds * 1000);
    sim *w = sim_fleet_new(1, &o.scale);
    sim_run_until(w, (int64_t)(o.warm_minutes * 60000));
    const sim_traffic before = w->traffic;
    w->traffic.step_ns_most = 0;
    sim_run_until(w, (int64_t)((o.warm_minutes + o.minutes) * 60000));
    printf("%zu workers, %zu threads each, %.3g s an item, %zu configurations, %zu layers, "
           "%llu items a task\n",
           o.scale.workers, o.scale.threads, o.seconds, o.scale.configurations, o.scale.layers,
           (unsigned long long)o.scale.task_items);
    print_traffic(&before, &w->traffic, o.minutes * 60);
    print_scheduler(w, &before, o.minutes * 60);
    if (w->failure[0]) printf("failed: %s\n", w->failure);
    const bool failed = w->failure[0];
    sim_free(&w);
    return failed;
}

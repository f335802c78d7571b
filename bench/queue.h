/* Shared by the parts of bench_queue: clocks, samples, processes, and the workers that a broker is
 * driven by. */
#ifndef PM_BENCH_QUEUE_H
#define PM_BENCH_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/net/net.h"

/* Ends the benchmark with one line. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);
double seconds(void);

/* ---- latencies ---- */

typedef struct samples {
    double *values; /* [capacity] seconds */
    size_t count, capacity;
} samples;

void samples_add(samples *s, double value);
/* Sorts. q in 0..1; 0 where there are none. */
double samples_quantile(samples *s, double q);
void samples_fini(samples *s);

/* ---- processes ---- */

/* Starts argv[0] with its stderr and stdout in `log`. */
pid_t process_start(char *const *argv, const char *log);
void process_end(pid_t pid, int signal_number);
/* Resident memory, MiB. */
double process_mib(pid_t pid);

/* ---- a broker of ours ---- */

typedef struct broker {
    char folder[512], db[600], url[600], log[600];
    const char *task_items; /* NULL: as the broker chooses */
    pid_t pid;
    pm_client *client;
} broker;

/* In a new folder below `where`. */
void broker_make(broker *b, const char *where);
void broker_start(broker *b); /* and wait until it answers */
void broker_stop(broker *b, int signal_number);
void broker_remove(broker *b); /* the folder */
/* One configuration, `items` items; the same `name` and count are the same run. */
pm_accepted broker_submit(broker *b, size_t items, const char *name);

/* ---- a worker of ours, which computes nothing ---- */

typedef struct bench_worker {
    pm_link *link;
    uint64_t task, items, first; /* the last task taken */
    uint8_t token[PM_TOKEN_BYTES];
} bench_worker;

void worker_join(bench_worker *w, const char *url, uint32_t threads);
/* False: refused or silent for timeout_ms (a broker that is not there yet). */
bool worker_try_join(bench_worker *w, const char *url, uint32_t threads, int timeout_ms);
void worker_leave(bench_worker *w);
void worker_credit(bench_worker *w, uint32_t tasks);
/* Waits for a task. */
void worker_take(bench_worker *w);
void worker_return(bench_worker *w);
void worker_goodbye(bench_worker *w);

typedef struct work_done {
    double seconds; /* from the first credit to the last acknowledgement */
    size_t items;
    samples claims; /* credit to task, under this load */
} work_done;

/* `workers` of one thread each take and finish tasks, `window` tasks in hand each, until `items`
 * are recorded. */
void work_through(const char *url, size_t workers, uint32_t window, size_t items, work_done *out);

/* ---- others: put `jobs`, then reserve and delete each, durably, over `connections` ---- */

typedef struct other_figures {
    double put_s, done_s;
} other_figures;

void beanstalkd_run(const char *where, size_t jobs, size_t connections, other_figures *out);
void gearmand_run(const char *where, size_t jobs, size_t connections, other_figures *out);

#endif

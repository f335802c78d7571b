/* The queue under load, as a broker process with real sockets and a real disk:
 *
 *   depth    [--items 1000000]  submit, claim and finish in a long queue and in a short one;
 *                               recovery from kill -9
 *   commit   [--items 20000]    group commit against one finish a transaction, on the same disk
 *   compare  [--items 20000]    put, reserve and delete, durably: parchmill, beanstalkd -f0,
 *                               gearmand with SQLite
 *
 * --folder DIR is where databases and binlogs are (/var/tmp); it must be a disk, not a tmpfs.
 * The workers here compute nothing and give a result with one layer. */
#include <argp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/queue.h"
#include "lib/base/text.h"
#include "tests/store/fixture.h"

enum { WORKERS = 8, WINDOW = 4, CLAIMS = 2000 };

typedef struct options {
    const char *what, *folder;
    size_t items, repeats;
} options;

static double ms(double s) { return 1000 * s; }

/* ---- depth ---- */

/* Claims by a worker that holds nothing, one after another; each task is given back. */
static void claim_alone(const broker *b, samples *out) {
    bench_worker w;
    worker_join(&w, b->url, 1);
    for (size_t i = 0; i < CLAIMS; i++) {
        const double begin = seconds();
        worker_credit(&w, 1);
        worker_take(&w);
        samples_add(out, seconds() - begin);
        worker_return(&w);
    }
    worker_goodbye(&w);
}

static void print_stage(const broker *b, const char *what, size_t finishes) {
    samples claims = {.values = NULL};
    work_done work;
    claim_alone(b, &claims);
    work_through(b->url, WORKERS, WINDOW, finishes, &work);
    printf("%-34s claim p50 %.2f ms, p99 %.2f ms, most %.2f ms; %.0f finishes/s, "
           "claims meanwhile p99 %.1f ms; broker %.0f MiB\n",
           what, ms(samples_quantile(&claims, 0.5)), ms(samples_quantile(&claims, 0.99)),
           ms(samples_quantile(&claims, 1)), (double)work.items / work.seconds,
           ms(samples_quantile(&work.claims, 0.99)), process_mib(b->pid));
    samples_fini(&claims);
    samples_fini(&work.claims);
    fflush(stdout);
}

/* Killed in the middle of work: how long until a task is handed out again. */
static void print_recovery(broker *b) {
    bench_worker w = {.link = NULL};
    broker_stop(b, SIGKILL);
    const double begin = seconds();
    const char *folder = getenv("PARCHMILL_BIN_DIR");
    char program[4096];
    snprintf(program, sizeof program, "%s/parchmill-broker", folder ? folder : "build/bench/bin");
    char *argv[] = {program, "--db", b->db, "--listen", b->url, NULL};
    b->pid = process_start(argv, b->log);
    while (!worker_try_join(&w, b->url, 1, 20)) continue;
    worker_credit(&w, 1);
    worker_take(&w);
    printf("%-34s first task %.2f s after the start\n", "recovery from kill -9", seconds() - begin);
    worker_return(&w);
    worker_goodbye(&w);
    fflush(stdout);
}

static void depth(const options *o) {
    broker b = {.pid = 0};
    char text[64];
    broker_make(&b, o->folder);
    broker_start(&b);
    const double short_begin = seconds();
    broker_submit(&b, 20000, "short");
    printf("%-34s %.2f s\n", "submit of 20000 items", seconds() - short_begin);
    print_stage(&b, "20000 open", 15000);
    double begin = seconds();
    broker_submit(&b, o->items, "long");
    snprintf(text, sizeof text, "submit of %zu items", o->items);
    printf("%-34s %.2f s\n", text, seconds() - begin);
    begin = seconds();
    broker_submit(&b, 20000, "behind");
    printf("%-34s %.2f s\n", "submit of 20000 behind it", seconds() - begin);
    snprintf(text, sizeof text, "%zu open", o->items);
    print_stage(&b, text, o->items / 10);
    print_stage(&b, "a tenth done", o->items / 10);
    print_recovery(&b);
    print_stage(&b, "two tenths done, restarted", o->items / 10);
    broker_stop(&b, SIGTERM);
    broker_remove(&b);
}

/* ---- commit ---- */

static pm_store *open_with_run(const scratch *s, const plan *p, pm_task_list *tasks) {
    pm_store *store = NULL;
    uint8_t epoch[8];
    pm_op *op = submit_op(p);
    if (pm_store_open(s->path, &store) || pm_store_epoch(store, epoch) ||
        pm_store_apply(store, &op, 1) || op->status)
        die("%s", pm_error_text());
    *tasks = op->submit.made;
    op->submit.made = (pm_task_list){.rows = NULL};
    pm_op_free(&op);
    return store;
}

/* Each finish is a transaction of its own. Finishes a second. */
static double one_at_a_time(const scratch *s, const plan *p) {
    pm_task_list tasks;
    size_t done = 0;
    pm_store *store = open_with_run(s, p, &tasks);
    const double begin = seconds();
    for (size_t t = 0; t < tasks.count; t++) {
        for (uint64_t item = tasks.rows[t].next_item; item < tasks.rows[t].end_item; item++) {
            pm_op *op = record_op(p, &tasks.rows[t], item);
            if (pm_store_apply(store, &op, 1) || op->status) die("%s", pm_error_text());
            pm_op_free(&op);
            done++;
        }
    }
    const double took = seconds() - begin;
    pm_task_list_fini(&tasks);
    close_store(&store);
    return (double)done / took;
}

static size_t take_all(pm_writer *writer) {
    size_t taken = 0;
    pm_op *op;
    while ((op = pm_writer_take(writer))) {
        if (op->status) die("%s", op->text);
        pm_op_free(&op);
        taken++;
    }
    return taken;
}

/* By the broker's writer thread. */
static double grouped(const scratch *s, const plan *p) {
    pm_task_list tasks;
    pm_writer *writer = NULL;
    size_t put = 0, taken = 0;
    pm_store *store = open_with_run(s, p, &tasks);
    if (pm_writer_new(&store, &pm_writer_default_limits, &writer)) die("%s", pm_error_text());
    const double begin = seconds();
    for (size_t t = 0; t < tasks.count; t++) {
        for (uint64_t item = tasks.rows[t].next_item; item < tasks.rows[t].end_item; item++) {
            pm_op *op = record_op(p, &tasks.rows[t], item);
            while (!pm_writer_has_room(writer)) taken += take_all(writer);
            if (pm_writer_put(writer, &op)) die("%s", pm_error_text());
            put++;
        }
    }
    while (taken < put) {
        struct pollfd ready = {.fd = pm_writer_fd(writer), .events = POLLIN};
        poll(&ready, 1, 1000);
        taken += take_all(writer);
    }
    const double took = seconds() - begin;
    if (pm_writer_stop(&writer, &store)) die("%s", pm_error_text());
    pm_task_list_fini(&tasks);
    close_store(&store);
    return (double)put / took;
}

static void in_folder(const options *o, scratch *s) {
    if (strlen(o->folder) > sizeof s->folder - 24) die("%s: too long", o->folder);
    snprintf(s->folder, sizeof s->folder, "%s/pm_commit_XXXXXX", o->folder);
    if (!mkdtemp(s->folder)) die("%s: cannot make a folder", o->folder);
    snprintf(s->path, sizeof s->path, "%s/r.db", s->folder);
}

static void remove_folder(const scratch *s) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", s->folder);
    if (system(command) != 0) die("cannot remove %s", s->folder);
}

static void commit(const options *o) {
    const plan one = {.items = 400, .configs = 1, .task_items = 16};
    const plan many = {.items = o->items, .configs = 1, .task_items = 16};
    samples ratios = {.values = NULL};
    for (size_t i = 0; i < o->repeats; i++) {
        scratch s;
        in_folder(o, &s);
        const double alone = one_at_a_time(&s, &one);
        remove_folder(&s);
        in_folder(o, &s);
        const double together = grouped(&s, &many);
        remove_folder(&s);
        printf("one a transaction %.0f/s, group commit %.0f/s: %.0f times\n", alone, together,
               together / alone);
        samples_add(&ratios, together / alone);
        fflush(stdout);
    }
    printf("median: %.0f times\n", samples_quantile(&ratios, 0.5));
    samples_fini(&ratios);
}

/* ---- compare ---- */

static void print_other(const char *name, size_t jobs, const other_figures *f) {
    printf("%-34s put %.0f/s, reserve and delete %.0f/s\n", name, (double)jobs / f->put_s,
           (double)jobs / f->done_s);
    fflush(stdout);
}

static void ours(const options *o, other_figures *out) {
    broker b = {.pid = 0};
    work_done work;
    broker_make(&b, o->folder);
    broker_start(&b);
    const double begin = seconds();
    broker_submit(&b, o->items, "compare");
    out->put_s = seconds() - begin;
    work_through(b.url, WORKERS, WINDOW, o->items, &work);
    out->done_s = work.seconds;
    samples_fini(&work.claims);
    broker_stop(&b, SIGTERM);
    broker_remove(&b);
}

static void compare(const options *o) {
    printf("%zu jobs, %d connections, each durable\n", o->items, WORKERS);
    for (size_t i = 0; i < o->repeats; i++) {
        other_figures f;
        ours(o, &f);
        print_other("parchmill (results recorded too)", o->items, &f);
        beanstalkd_run(o->folder, o->items, WORKERS, &f);
        print_other("beanstalkd -f0", o->items, &f);
        gearmand_run(o->folder, o->items, WORKERS, &f);
        print_other("gearmand, libsqlite3", o->items, &f);
    }
}

static error_t parse(int key, char *text, struct argp_state *state) {
    options *o = state->input;
    size_t *number = key == 'n' ? &o->items : &o->repeats;
    switch (key) {
    case 'f': o->folder = text; return 0;
    case 'n':
    case 'r':
        if (pm_parse_size("number", text, number) || !*number) argp_error(state, "a number");
        return 0;
    case ARGP_KEY_ARG:
        if (o->what) argp_error(state, "one of depth, commit, compare");
        o->what = text;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv) {
    static const struct argp_option table[] = {
        {"folder", 'f', "DIR", 0, "Where databases and binlogs are (/var/tmp)", 0},
        {"items", 'n', "N", 0, "depth: 1000000; commit: 20000; compare: 4000", 0},
        {"repeats", 'r', "N", 0, "Rounds of commit and compare (3)", 0},
        {0}};
    const struct argp argp = {
        .options = table, .parser = parse, .args_doc = "depth|commit|compare"};
    static const struct {
        const char *name;
        void (*run)(const options *);
        size_t items;
    } parts[] = {{"depth", depth, 1000000}, {"commit", commit, 20000}, {"compare", compare, 4000}};
    options o = {.folder = "/var/tmp", .repeats = 3};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!o.what || strcmp(o.what, parts[i].name) != 0) continue;
        if (!o.items) o.items = parts[i].items;
        parts[i].run(&o);
        return 0;
    }
    fputs("bench_queue: which of depth, commit and compare?\n", stderr);
    return 2;
}

/* Real processes under load, killed at random: `kill9 --cycles N`. A broker, workers and a client
 * that submits run after run; each cycle kills -9 the broker, a worker's parent, a worker's child,
 * a process below it, or several at once, starts again what was ours to start, and goes on when a
 * new result is recorded. Now and then somebody stands still for a while (SIGSTOP). A chapter ends
 * when its runs are done: every run that was answered is there and done, the results are to the
 * byte those of an undisturbed chapter, no image has an error, the file is sound. */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/campaign/kill9_town.h"

enum {
    STANDSTILL_MS = 60000, /* no new result for so long: something is lost */
    PAUSE_MS = 250,
    SILENCE_MS = 5600, /* standing still so long, a worker is given up */
    OPT_WORKERS = 256,
    OPT_IMAGES,
    OPT_SAMPLES,
    OPT_RUNS,
    OPT_KEEP
};

typedef enum blow {
    BLOW_BROKER,
    BLOW_CHILD,
    BLOW_GRANDCHILD,
    BLOW_PARENT,
    BLOW_BROKER_AND_CHILD,
    BLOW_ALL,
    BLOWS
} blow;
static const char *const blow_names[BLOWS] = {"broker", "child",        "grandchild",
                                              "parent", "broker+child", "all"};

typedef struct options {
    uint64_t cycles, seed;
    size_t workers, images, samples, runs;
    bool keep;
} options;

typedef struct figures {
    uint64_t cycles, chapters, lost, twice, different, failures, stops, blows[BLOWS];
    uint64_t results, runs, submits_again;
    size_t recoveries, cycle_count;
    int64_t *recovery_ms, *cycle_ms; /* [cycles + 1] */
} figures;

/* ---- blows ---- */

static void recover_broker(town *t, figures *sum, pm_status *status) {
    int64_t ms = 0, present = -1;
    char sql[80];
    town_start_broker(t);
    *status = town_await_broker(t, &ms);
    if (*status) return;
    sum->recovery_ms[sum->recoveries++] = ms;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM run");
    *status = campaign_ask(t->db, sql, &present);
    if (!*status && present < (int64_t)t->runs_asked) {
        sum->lost++;
        *status = pm_fail(PM_E_NOT_FOUND, "%zu runs were answered, %" PRId64 " are there",
                          t->runs_asked, present);
    }
}

/* A process below worker i: its child, or one below that (there may be none: then its child). */
static pid_t below(const town *t, size_t i, bool deep, luck *l) {
    pid_t family[16];
    size_t count = town_family(t, i, family, 16);
    if (!count) return 0;
    if (!deep || count == 1) return family[0];
    return family[1 + luck_below(l, count - 1)];
}

static void hit_parent(town *t, size_t i) {
    town_kill_worker(t, i);
    town_start_worker(t, i);
}

/* A worker between two lives has no child: then its parent is hit. */
static void hit_below(town *t, size_t i, bool deep, luck *l) {
    pid_t pid = below(t, i, deep, l);
    if (pid <= 0 || kill(pid, SIGKILL) != 0) hit_parent(t, i);
}

static blow choose(luck *l) {
    static const uint8_t weights[BLOWS] = {40, 12, 12, 18, 10, 8};
    uint64_t dice = luck_below(l, 100);
    for (int b = 0; b < BLOWS; b++) {
        if (dice < weights[b]) return (blow)b;
        dice -= weights[b];
    }
    return BLOW_BROKER;
}

static pm_status strike(town *t, blow b, luck *l, figures *sum) {
    size_t i = luck_below(l, t->worker_count);
    pm_status status = PM_OK;
    sum->blows[b]++;
    switch (b) {
    case BLOW_BROKER: town_kill_broker(t); break;
    case BLOW_CHILD: hit_below(t, i, false, l); break;
    case BLOW_GRANDCHILD: hit_below(t, i, true, l); break;
    case BLOW_PARENT: hit_parent(t, i); break;
    case BLOW_BROKER_AND_CHILD:
        town_kill_broker(t);
        hit_below(t, i, false, l);
        break;
    case BLOW_ALL:
        town_kill_broker(t);
        for (size_t w = 0; w < t->worker_count; w++) hit_parent(t, w);
        break;
    case BLOWS: break;
    }
    if (!t->broker) recover_broker(t, sum, &status);
    return status;
}

static void stand_still(town *t, luck *l, figures *sum) {
    if (!luck_one_in(l, 10)) return;
    size_t i = luck_below(l, t->worker_count);
    int64_t for_ms = luck_one_in(l, 4) ? SILENCE_MS : (int64_t)luck_below(l, 1500);
    pid_t pid = luck_one_in(l, 3) ? t->broker : below(t, i, false, l);
    if (pid == t->broker && for_ms > 1500) for_ms = 1500;
    if (pid > 0) town_stop(t, pid, for_ms);
    sum->stops += pid > 0;
}

/* ---- a chapter ---- */

/* Until a new result is there, all is done, or nothing moves. */
static pm_status until_progress(town *t, int64_t before, bool *done) {
    int64_t until_ms = pm_clock_ms() + STANDSTILL_MS;
    pm_status status = PM_OK;
    *done = false;
    while (!status) {
        town_wake(t, false);
        status = town_look_at_submissions(t);
        if (!status) status = town_look_at_workers(t);
        if (town_results(t) > before) break;
        *done = town_is_done(t);
        if (*done) break;
        if (pm_clock_ms() > until_ms) status = pm_fail(PM_E_TIMEOUT, "no new result for 60 s");
        for (int i = 0; i < 5; i++) town_tick();
    }
    return status;
}

static void pause_a_while(town *t, int64_t for_ms) {
    int64_t until_ms = pm_clock_ms() + for_ms;
    while (pm_clock_ms() < until_ms) {
        town_wake(t, false);
        town_tick();
    }
}

static pm_status begin(town *t, const options *o, const char *work, const pm_fixture *data) {
    *t = (town){
        .data = data, .worker_count = o->workers, .samples = o->samples, .runs_wanted = o->runs};
    snprintf(t->folder, sizeof t->folder, "%s", work);
    snprintf(t->db, sizeof t->db, "%s/r.db", work);
    snprintf(t->url, sizeof t->url, "ipc://%s/s", work);
    snprintf(t->log, sizeof t->log, "%s/log", work);
    campaign_empty(work);
    int64_t ms;
    town_start_broker(t);
    pm_status status = town_await_broker(t, &ms);
    for (size_t i = 0; i < o->workers; i++) town_start_worker(t, i);
    return status;
}

static pm_status want(const town *t, const char *sql, int64_t value, const char *what,
                      uint64_t *counter) {
    int64_t got = -1;
    pm_status status = campaign_ask(t->db, sql, &got);
    if (status || got == value) return status;
    (*counter)++;
    return pm_fail(PM_E_MISMATCH, "%s: %" PRId64 ", not %" PRId64, what, got, value);
}

static pm_status check(const town *t, const picture *whole, figures *sum) {
    picture got = {0};
    char wal[CAMPAIGN_PATH + 32];
    pm_status status = campaign_sound(t->db);
    for (size_t i = 0; i < t->runs_asked && !status; i++) {
        char sql[120];
        snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM run WHERE run_id = %" PRIu64 " AND state = 'done'",
                 t->run_ids[i]);
        status = want(t, sql, 1, "an answered run is done", &sum->lost);
    }
    if (!status)
        status = want(t, "SELECT count(*) FROM run", (int64_t)t->runs_wanted, "runs", &sum->twice);
    if (!status) status = want(t, "SELECT count(*) FROM task", 0, "tasks at the end", &sum->lost);
    if (!status)
        status = want(t, "SELECT count(*) FROM result WHERE stage IS NOT NULL", 0,
                      "error rows of good images", &sum->failures);
    if (!status)
        status =
            want(t, "SELECT count(*) FROM failure", 0, "failures of good images", &sum->failures);
    if (!status) status = picture_take(t->db, &got);
    if (!status && whole) {
        status = picture_same(whole, &got);
        sum->different += status != PM_OK;
    }
    snprintf(wal, sizeof wal, "%s-wal", t->db);
    if (!status && access(wal, F_OK) == 0)
        status = pm_fail(PM_E_INTERNAL, "a clean stop left the -wal file");
    picture_fini(&got);
    return status;
}

/* `l` NULL: undisturbed. Ends when its runs are done; no more blows once sum->cycles is `most`. */
static pm_status chapter(town *t, luck *l, uint64_t most, figures *sum) {
    bool done = false;
    pm_status status = PM_OK;
    while (!status && !done) {
        int64_t before = town_results(t), begin_ms = pm_clock_ms();
        bool strikes = l && sum->cycles < most && before > 0;
        if (strikes) {
            status = strike(t, choose(l), l, sum);
            stand_still(t, l, sum);
        }
        if (!status) status = until_progress(t, before, &done);
        if (strikes && !status) {
            sum->cycle_ms[sum->cycles++] = pm_clock_ms() - begin_ms;
            pause_a_while(t, (int64_t)luck_below(l, PAUSE_MS));
        }
    }
    return status;
}

static pm_status tell(const options *o, const char *work, const pm_fixture *data, luck *l,
                      const picture *whole, figures *sum, picture *out) {
    town t;
    pm_status status = begin(&t, o, work, data);
    if (!status) status = chapter(&t, l, o->cycles, sum);
    if (!status) status = town_end(&t);
    char text[400];
    snprintf(text, sizeof text, "%s", pm_error_text());
    town_raze(&t);
    if (status) return pm_fail(status, "%s", text);
    status = check(&t, whole, sum);
    sum->runs += t.runs_asked;
    sum->submits_again += t.submits_again;
    sum->results += (uint64_t)town_results(&t);
    return !status && out ? picture_take(t.db, out) : status;
}

static void say(figures *f, int64_t ms) {
    for (int b = 0; b < BLOWS; b++) printf("%s=%" PRIu64 " ", blow_names[b], f->blows[b]);
    printf("stops=%" PRIu64 "\n", f->stops);
    printf("kill9: cycles=%" PRIu64 " chapters=%" PRIu64 " runs=%" PRIu64 " results=%" PRIu64
           " lost=%" PRIu64 " double=%" PRIu64 " different=%" PRIu64 " failures=%" PRIu64
           " submits_again=%" PRIu64,
           f->cycles, f->chapters, f->runs, f->results, f->lost, f->twice, f->different,
           f->failures, f->submits_again);
    printf(" broker_back_ms_p50=%" PRId64 " p99=%" PRId64 " max=%" PRId64,
           campaign_percentile(f->recovery_ms, f->recoveries, 0.5),
           campaign_percentile(f->recovery_ms, f->recoveries, 0.99),
           campaign_percentile(f->recovery_ms, f->recoveries, 1));
    printf(" next_result_ms_p50=%" PRId64 " p99=%" PRId64 " max=%" PRId64 " s=%.0f\n",
           campaign_percentile(f->cycle_ms, f->cycles, 0.5),
           campaign_percentile(f->cycle_ms, f->cycles, 0.99),
           campaign_percentile(f->cycle_ms, f->cycles, 1), (double)ms / 1000);
}

static bool run(const options *o, const char *work, const pm_fixture *data, figures *sum) {
    picture whole = {0};
    figures calm = {0};
    int64_t begin_ms = pm_clock_ms();
    pm_status status = tell(o, work, data, NULL, NULL, &calm, &whole);
    printf("undisturbed: runs=%" PRIu64 " results=%" PRIu64 " s=%.1f\n", calm.runs, calm.results,
           (double)(pm_clock_ms() - begin_ms) / 1000);
    for (uint64_t seed = o->seed; !status && sum->cycles < o->cycles; seed++) {
        luck l = {.seed = seed};
        uint64_t from = sum->cycles;
        int64_t chapter_ms = pm_clock_ms();
        status = tell(o, work, data, &l, &whole, sum, NULL);
        sum->chapters++;
        printf("chapter %" PRIu64 ": cycles=%" PRIu64 " s=%.1f%s%s\n", seed, sum->cycles - from,
               (double)(pm_clock_ms() - chapter_ms) / 1000, status ? ": " : "",
               status ? pm_error_text() : "");
        if (status)
            printf("replay: kill9 --seed %" PRIu64 " --cycles %" PRIu64
                   " --workers %zu --images %zu"
                   " --samples %zu --runs %zu --keep\n",
                   seed, sum->cycles - from + 1, o->workers, o->images, o->samples, o->runs);
    }
    if (status && !sum->chapters) printf("%s\n", pm_error_text());
    picture_fini(&whole);
    return !status;
}

static error_t parse(int key, char *text, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 'n': o->cycles = strtoull(text, NULL, 10); return 0;
    case 's': o->seed = strtoull(text, NULL, 10); return 0;
    case OPT_WORKERS: o->workers = strtoul(text, NULL, 10); break;
    case OPT_IMAGES: o->images = strtoul(text, NULL, 10); break;
    case OPT_SAMPLES: o->samples = strtoul(text, NULL, 10); break;
    case OPT_RUNS: o->runs = strtoul(text, NULL, 10); break;
    case OPT_KEEP: o->keep = true; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    bool good = o->workers >= 1 && o->workers <= TOWN_WORKERS_MAX && o->images >= 1 &&
                o->runs >= 1 && o->runs <= TOWN_RUNS_MAX;
    return good ? 0 : EINVAL;
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"cycles", 'n', "N", 0, "Kills, each with its recovery (2000)", 0},
        {"seed", 's', "S", 0, "Of the first chapter (1)", 0},
        {"workers", OPT_WORKERS, "N", 0, "Worker processes of one thread (3)", 0},
        {"images", OPT_IMAGES, "N", 0, "Photographs of a run (40)", 0},
        {"samples", OPT_SAMPLES, "N", 0, "smoothgrad's: how long an image takes (60)", 0},
        {"runs", OPT_RUNS, "N", 0, "Runs of a chapter (12)", 0},
        {"keep", OPT_KEEP, NULL, 0, "Leave the files of a failure", 0},
        {0}};
    const struct argp argp = {.options = table,
                              .parser = parse,
                              .doc = "Kill -9 of broker and workers under load, compared with an "
                                     "undisturbed run."};
    options o = {.cycles = 2000, .seed = 1, .workers = 3, .images = 40, .samples = 60, .runs = 12};
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    figures sum = {.recovery_ms = calloc(o.cycles + 1, sizeof(int64_t)),
                   .cycle_ms = calloc(o.cycles + 1, sizeof(int64_t))};
    char work[CAMPAIGN_PATH] = "";
    pm_fixture data;
    int64_t begin_ms = pm_clock_ms();
    pm_status status = sum.recovery_ms && sum.cycle_ms ? campaign_folder(false, work)
                                                       : pm_fail(PM_E_MEMORY, "no memory");
    bool good = false;
    if (!status) {
        pm_fixture_make(&data, o.images);
        good = run(&o, work, &data, &sum);
        pm_fixture_remove(&data);
    }
    if (status) printf("kill9: %s\n", pm_error_text());
    say(&sum, pm_clock_ms() - begin_ms);
    if (o.keep && !good)
        printf("its files: %s\n", work);
    else
        campaign_remove(work);
    free(sum.recovery_ms);
    free(sum.cycle_ms);
    return good ? 0 : 1;
}

/* Power cuts under the real store: `power-loss --cycles N`. Each cycle cuts the power at a random
 * point of a history, keeps of what was not synced a random part, opens what is left, looks for all
 * that had been answered, goes on to the end and compares with an undisturbed history.
 *
 * As many cuts again are made of a history with synchronous=NORMAL, by a hook between the store and
 * sqlite3_exec: of these some must have lost acknowledged work, or the disk that is played would
 * forgive everything. */
#include <argp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/campaign/trace_vfs.h"

enum { CUTS_A_HISTORY = 20, OPT_SYNCHRONOUS = 256, OPT_KEEP, OPT_LYING_DISK };

typedef struct options {
    uint64_t seed, cycles;
    const char *synchronous; /* NULL: FULL, then NORMAL as the control */
    bool keep, lies;
} options;

typedef struct figures {
    uint64_t images, lost, corrupt, different, dropped;
} figures;

/* ---- the hook: what the store asks for, or less ---- */

static const char *level = "FULL";

int __real_sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **),
                        void *user, char **error);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **),
                        void *user, char **error);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql, int (*row)(void *, int, char **, char **),
                        void *user, char **error) {
    int code = __real_sqlite3_exec(db, sql, row, user, error);
    char pragma[64];
    if (code != SQLITE_OK || !strstr(sql, "PRAGMA synchronous=FULL")) return code;
    snprintf(pragma, sizeof pragma, "PRAGMA synchronous=%s", level);
    return __real_sqlite3_exec(db, pragma, NULL, NULL, NULL);
}

/* ---- a history ---- */

static void told(void *user, const facts *now) { trace_tell(user, now); }

/* Told to the end, closed cleanly, in part twice: a second life is opened in the middle. */
static pm_status tell(uint64_t seed, const char *db, trace *t) {
    history h = {.luck = {.seed = seed}, .told = told, .user = t};
    pm_store *store = NULL;
    pm_status status = pm_store_open(db, &store);
    if (!status) status = history_run(&h, store);
    if (!status) status = pm_store_close(&store);
    if (!status) status = pm_store_open(db, &store);
    if (!status) {
        h.straight = true;
        status = history_run(&h, store);
    }
    if (status) {
        pm_status why = pm_fail_in(status, "history %llu", (unsigned long long)seed);
        pm_store_close(&store);
        return why;
    }
    return pm_store_close(&store);
}

static pm_status undisturbed(const char *db, picture *out) {
    history h = {.straight = true};
    pm_store *store = NULL;
    pm_status status = pm_store_open(db, &store);
    if (!status) status = history_run(&h, store);
    if (!status) status = pm_store_close(&store);
    return status ? status : picture_take(db, out);
}

/* ---- an image ---- */

/* What came out of it counts once, the worst of it. */
static pm_status look(const char *db, const facts *f, const picture *want, figures *sum) {
    pm_store *store = NULL;
    history h = {.straight = true};
    picture got = {0};
    bool lost = false;
    pm_status status = pm_store_open(db, &store);
    if (!status) status = campaign_sound(db);
    if (status) {
        sum->corrupt++;
        pm_store_close(&store);
        return status;
    }
    status = history_check(f, db);
    lost = status == PM_E_NOT_FOUND;
    sum->lost += lost;
    char text[300];
    snprintf(text, sizeof text, "%s", pm_error_text());
    if (!status || lost) {
        pm_status end = history_run(&h, store);
        if (!end) end = pm_store_close(&store);
        if (!end) end = picture_take(db, &got);
        if (!end) end = picture_same(want, &got);
        sum->different += end != PM_OK;
        if (end && !lost) status = end;
    }
    pm_store_close(&store);
    picture_fini(&got);
    return lost ? pm_fail(PM_E_NOT_FOUND, "%s", text) : status;
}

/* Half of the cuts come right after an answer, where what it promised is youngest. */
static size_t place_of(const trace *t, luck *l) {
    if (luck_one_in(l, 2)) return luck_below(l, trace_length(t) + 1);
    return trace_answer(t, luck_below(l, trace_answers(t)));
}

static pm_status image(const trace *t, uint64_t number, const char *folder, const picture *want,
                       figures *sum) {
    char db[CAMPAIGN_PATH + 16];
    luck l = {.seed = number};
    uint64_t dropped = 0;
    size_t place = place_of(t, &l);
    cut_kind kind = (cut_kind)(luck_one_in(&l, 8) ? CUT_NONE : 1 + luck_below(&l, CUT_KINDS - 1));
    campaign_empty(folder);
    pm_status status = trace_cut(t, place, kind, &l, folder, &dropped);
    if (status) return status;
    sum->images++;
    sum->dropped += dropped;
    snprintf(db, sizeof db, "%s/r.db", folder);
    status = look(db, trace_facts(t, place), want, sum);
    return status ? pm_fail_in(status, "image %llu (event %zu of %zu, cut %d)",
                               (unsigned long long)number, place, trace_length(t), (int)kind)
                  : PM_OK;
}

/* Images of numbers first .. first + count - 1, which are the seeds of their histories by tens. */
static pm_status campaign(const options *o, bool control, const char *work, const picture *want,
                          figures *sum) {
    char folder[CAMPAIGN_PATH + 8], db[CAMPAIGN_PATH + 16];
    trace *t = NULL;
    uint64_t told_seed = UINT64_MAX;
    pm_status worst = PM_OK;
    snprintf(folder, sizeof folder, "%s/image", work);
    for (uint64_t n = o->seed; n < o->seed + o->cycles; n++) {
        if (told_seed != n / CUTS_A_HISTORY) {
            trace_free(&t);
            told_seed = n / CUTS_A_HISTORY;
            campaign_empty(folder);
            snprintf(db, sizeof db, "%s/r.db", folder);
            pm_status status = trace_begin(o->lies, &t);
            if (status) return status;
            status = tell(told_seed, db, t);
            trace_end(t);
            if (status) return status;
        }
        pm_status status = image(t, n, folder, want, sum);
        if (!status || control) continue;
        printf("%s\nreplay: power-loss --seed %llu --cycles 1 --synchronous %s --keep\n",
               pm_error_text(), (unsigned long long)n, level);
        worst = status;
        if (o->keep) break;
    }
    trace_free(&t);
    return worst;
}

static bool say(const char *name, const figures *f, int64_t ms) {
    printf("power-loss: synchronous=%s images=%llu lost=%llu corrupt=%llu different=%llu"
           " unsynced_parts_lost=%llu s=%.1f\n",
           name, (unsigned long long)f->images, (unsigned long long)f->lost,
           (unsigned long long)f->corrupt, (unsigned long long)f->different,
           (unsigned long long)f->dropped, (double)ms / 1000);
    return f->lost == 0 && f->corrupt == 0 && f->different == 0 && f->images > 0;
}

static error_t parse(int key, char *text, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 's': o->seed = strtoull(text, NULL, 10); return 0;
    case 'n': o->cycles = strtoull(text, NULL, 10); return 0;
    case OPT_SYNCHRONOUS: o->synchronous = text; return 0;
    case OPT_LYING_DISK: o->lies = true; return 0;
    case OPT_KEEP: o->keep = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool run(const options *o, const char *work, const picture *want) {
    figures full = {0}, normal = {0};
    int64_t begin_ms = pm_clock_ms();
    level = o->synchronous ? o->synchronous : "FULL";
    pm_status status = campaign(o, false, work, want, &full);
    bool good = say(level, &full, pm_clock_ms() - begin_ms) && !status;
    if (status && !full.images) printf("%s\n", pm_error_text());
    if (o->synchronous) return good;
    begin_ms = pm_clock_ms();
    level = "NORMAL";
    status = campaign(o, true, work, want, &normal);
    say(level, &normal, pm_clock_ms() - begin_ms);
    if (status) printf("%s\n", pm_error_text());
    if (!normal.lost) printf("the control lost nothing: this disk forgives too much\n");
    if (normal.corrupt || normal.different) printf("the control is not even whole\n");
    return good && !status && normal.lost > 0 && !normal.corrupt && !normal.different;
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"cycles", 'n', "N", 0, "Images, of each of FULL and the control NORMAL (500)", 0},
        {"seed", 's', "S", 0, "Number of the first image (1)", 0},
        {"synchronous", OPT_SYNCHRONOUS, "LEVEL", 0,
         "Only this one: FULL, NORMAL, OFF; losses are failures", 0},
        {"lying-disk", OPT_LYING_DISK, NULL, 0, "A disk that only says it synced; must fail", 0},
        {"keep", OPT_KEEP, NULL, 0, "Stop at the first failure and leave its files", 0},
        {0}};
    const struct argp argp = {.options = table,
                              .parser = parse,
                              .doc = "Power cuts under the store: what was answered is there."};
    options o = {.seed = 1, .cycles = 500};
    char work[CAMPAIGN_PATH] = "", path[CAMPAIGN_PATH + 16];
    picture want = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    pm_status status = campaign_folder(true, work);
    if (!status) {
        snprintf(path, sizeof path, "%s/whole.db", work);
        status = undisturbed(path, &want);
    }
    snprintf(path, sizeof path, "%s/image", work);
    if (!status) status = pm_dir_make(path);
    if (status) printf("power-loss: %s\n", pm_error_text());
    bool good = !status && run(&o, work, &want);
    picture_fini(&want);
    if (o.keep && !good)
        printf("its files: %s\n", work);
    else
        campaign_remove(work);
    return good ? 0 : 1;
}

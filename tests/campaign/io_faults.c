/* I/O errors under the real store: `io-errors`. For each kind of error, once and for good, at the
 * n-th call for n = 1, 2, ... until the history comes to its end without meeting it: what the store
 * says must be "full" or "I/O error" and nothing else, a full disk must only be waited for, and
 * after the end of the process that an I/O error is, all that had been answered must be there and
 * the history go on to the same end. The broker under the same errors: syscall-sweep --fault. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "tests/campaign/history.h"
#include "tests/campaign/shim_vfs.h"

enum { REFUSALS = 3, KINDS = SHIM_DELETE + 1, OPT_POINTS = 256, OPT_ONLY, OPT_AT, OPT_SMALL };

/* What SQLite's own VFS tells of it, and errno as it leaves it. */
typedef struct fault {
    const char *name;
    shim_kind kind;
    int code, error;
    bool half;      /* of a write is done */
    bool also_lock; /* of shared memory */
    bool may_pass;  /* nothing depends on it */
    pm_status says;
} fault;

/* A checkpoint on a full disk only leaves in the log what is there already. A log that could not be
 * removed at the end is in the database already, and read again at most. */
static const fault faults[] = {
    {"write-enospc", SHIM_WRITE, SQLITE_FULL, ENOSPC, false, false, true, PM_E_FULL},
    {"write-short", SHIM_WRITE, SQLITE_FULL, 0, true, false, true, PM_E_FULL},
    {"write-edquot", SHIM_WRITE, SQLITE_IOERR_WRITE, EDQUOT, false, false, true, PM_E_FULL},
    {"write-eio", SHIM_WRITE, SQLITE_IOERR_WRITE, EIO, true, false, false, PM_E_IO},
    {"sync-eio", SHIM_SYNC, SQLITE_IOERR_FSYNC, EIO, false, false, false, PM_E_IO},
    {"sync-enospc", SHIM_SYNC, SQLITE_IOERR_FSYNC, ENOSPC, false, false, false, PM_E_IO},
    {"truncate-eio", SHIM_TRUNCATE, SQLITE_IOERR_TRUNCATE, EIO, false, false, false, PM_E_IO},
    {"read-eio", SHIM_READ, SQLITE_IOERR_READ, EIO, false, false, false, PM_E_IO},
    {"open-emfile", SHIM_OPEN, SQLITE_CANTOPEN, EMFILE, false, false, false, PM_E_IO},
    {"delete-eio", SHIM_DELETE, SQLITE_IOERR_DELETE, EIO, false, false, true, PM_E_IO},
    {"shm-enospc", SHIM_SHM_MAP, SQLITE_IOERR_SHMSIZE, ENOSPC, false, false, true, PM_E_FULL},
    {"shm-eio", SHIM_SHM_MAP, SQLITE_IOERR_SHMMAP, EIO, false, false, false, PM_E_IO},
    {"lock-eio", SHIM_LOCK, SQLITE_IOERR_LOCK, EIO, false, true, false, PM_E_IO},
};

typedef struct armed {
    const fault *fault; /* NULL: nothing fails */
    bool for_good;
    uint64_t at, seen, met;
    uint64_t refusals;
    uint64_t calls[KINDS];
} armed;

typedef struct options {
    uint64_t seed, points, at;
    const char *only;
    bool small;
} options;

typedef struct figures {
    uint64_t points, full, fatal, unnoticed, failed;
} figures;

static int before(void *user, shim_call *call) {
    armed *a = user;
    const fault *f = a->fault;
    a->calls[call->kind]++;
    if (!f || !(call->kind == f->kind || (f->also_lock && call->kind == SHIM_SHM_LOCK)))
        return SQLITE_OK;
    a->seen++;
    if (a->for_good ? a->seen < a->at : a->seen != a->at) return SQLITE_OK;
    a->met++;
    if (f->half) call->size /= 2;
    errno = f->error;
    return f->code;
}

/* Somebody makes room after a while. */
static bool room(void *user) {
    armed *a = user;
    if (++a->refusals >= REFUSALS) a->fault = NULL;
    return true;
}

/* As far as it goes, and the end of the process. */
static pm_status live(const char *db, history *h) {
    pm_store *store = NULL;
    pm_status status = pm_store_open(db, &store);
    if (status) return status;
    status = history_run(h, store);
    char text[300];
    snprintf(text, sizeof text, "%s", pm_error_text());
    pm_status closed = pm_store_close(&store);
    return status ? pm_fail(status, "%s", text) : closed;
}

static bool says_right(const fault *f, pm_status status) {
    const char *text = pm_error_text();
    return status == f->says && text[0] && !strchr(text, '\n');
}

/* With the error, then without: all there, the same end. */
static pm_status point(const options *o, armed *a, const char *db, const picture *want,
                       figures *sum) {
    const fault *f = a->fault;
    history h = {.luck = {.seed = o->seed}, .small = o->small, .room = room, .user = a};
    pm_status status = live(db, &h);
    a->fault = NULL;
    if (!a->met) return PM_OK;
    sum->points++;
    if (status && !says_right(f, status))
        return pm_fail(status, "it said %s: %s", pm_status_name(status), pm_error_text());
    sum->full += a->refusals > 0 || status == PM_E_FULL;
    sum->fatal += status == PM_E_IO;
    if (!status && !a->refusals) {
        sum->unnoticed++;
        if (!f->may_pass) return pm_fail(PM_E_INTERNAL, "nobody noticed");
    }
    history rest = {.straight = true, .small = o->small};
    picture got = {0};
    pm_store *store = NULL;
    status = pm_store_open(db, &store);
    if (!status) status = campaign_sound(db);
    if (!status) status = history_check(&h.facts, db);
    if (!status) status = history_run(&rest, store);
    if (!status) status = pm_store_close(&store);
    if (!status) status = picture_take(db, &got);
    if (!status) status = picture_same(want, &got);
    char text[300];
    snprintf(text, sizeof text, "%s", pm_error_text());
    pm_store_close(&store);
    picture_fini(&got);
    return status ? pm_fail(status, "afterwards: %s", text) : PM_OK;
}

/* How far apart `points` calls are of those that a history makes. */
static uint64_t stride_of(const options *o, const fault *f, const char *db) {
    armed a = {.fault = NULL};
    history h = {.luck = {.seed = o->seed}, .small = o->small};
    const shim_hooks hooks = {.user = &a, .before = before};
    if (!o->points) return 1;
    shim_begin(&hooks);
    pm_status status = live(db, &h);
    shim_end();
    uint64_t calls = a.calls[f->kind] + (f->also_lock ? a.calls[SHIM_SHM_LOCK] : 0);
    return status || calls <= o->points ? 1 : calls / o->points;
}

/* One kind of error at every call, or so many. */
static void sweep(const options *o, const fault *f, bool for_good, const char *folder,
                  const picture *want, figures *sum) {
    char db[CAMPAIGN_PATH + 16];
    armed a = {.met = 1};
    snprintf(db, sizeof db, "%s/r.db", folder);
    campaign_empty(folder);
    uint64_t stride = stride_of(o, f, db);
    for (uint64_t n = o->at ? o->at : (stride + 1) / 2; a.met; n += stride) {
        campaign_empty(folder);
        a = (armed){.fault = f, .for_good = for_good, .at = n};
        const shim_hooks hooks = {.user = &a, .before = before};
        shim_begin(&hooks);
        pm_status status = point(o, &a, db, want, sum);
        shim_end();
        if (status) {
            sum->failed++;
            printf("%s%s at call %llu: %s\nreplay: io-errors --only %s%s --at %llu --seed %llu%s\n",
                   f->name, for_good ? " for good" : "", (unsigned long long)n, pm_error_text(),
                   f->name, for_good ? "+" : "", (unsigned long long)n, (unsigned long long)o->seed,
                   o->small ? " --small" : "");
            fflush(stdout);
        }
        if (o->at) return;
    }
}

/* "NAME" or "NAME+", for good; NULL: all. */
static bool wanted(const char *only, const fault *f, bool for_good) {
    size_t size = strlen(f->name);
    return !only ||
           (strncmp(only, f->name, size) == 0 && strcmp(only + size, for_good ? "+" : "") == 0);
}

static void run(const options *o, const char *folder, const picture *want, figures *all) {
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (int for_good = 0; for_good < 2; for_good++) {
            figures sum = {0};
            if (!wanted(o->only, &faults[i], for_good)) continue;
            sweep(o, &faults[i], for_good, folder, want, &sum);
            printf("%s%s: points=%llu waited=%llu fatal=%llu unnoticed=%llu failed=%llu\n",
                   faults[i].name, for_good ? "+" : "", (unsigned long long)sum.points,
                   (unsigned long long)sum.full, (unsigned long long)sum.fatal,
                   (unsigned long long)sum.unnoticed, (unsigned long long)sum.failed);
            all->points += sum.points;
            all->full += sum.full;
            all->fatal += sum.fatal;
            all->unnoticed += sum.unnoticed;
            all->failed += sum.failed;
        }
}

static pm_status undisturbed(const options *o, const char *db, picture *out) {
    history h = {.straight = true, .small = o->small};
    pm_status status = live(db, &h);
    return status ? status : picture_take(db, out);
}

static error_t parse(int key, char *text, struct argp_state *state) {
    options *o = state->input;
    switch (key) {
    case 's': o->seed = strtoull(text, NULL, 10); return 0;
    case OPT_POINTS: o->points = strtoull(text, NULL, 10); return 0;
    case OPT_ONLY: o->only = text; return 0;
    case OPT_AT: o->at = strtoull(text, NULL, 10); return 0;
    case OPT_SMALL: o->small = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv) {
    const struct argp_option table[] = {
        {"seed", 's', "S", 0, "Of the history (1)", 0},
        {"points", OPT_POINTS, "N", 0, "Only so many calls of each, evenly apart (all)", 0},
        {"only", OPT_ONLY, "FAULT", 0, "One kind of error; FAULT+: for good", 0},
        {"at", OPT_AT, "N", 0, "Only the N-th call", 0},
        {"small", OPT_SMALL, NULL, 0, "A history without checkpoints in the middle", 0},
        {0}};
    const struct argp argp = {.options = table,
                              .parser = parse,
                              .doc = "I/O errors under the store, at every call in turn."};
    options o = {.seed = 1};
    figures all = {0};
    char folder[CAMPAIGN_PATH] = "", db[CAMPAIGN_PATH + 16];
    picture want = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0) return 2;
    int64_t begin_ms = pm_clock_ms();
    pm_status status = campaign_folder(true, folder);
    snprintf(db, sizeof db, "%s/whole.db", folder);
    if (!status) status = undisturbed(&o, db, &want);
    if (status)
        printf("io-errors: %s\n", pm_error_text());
    else
        run(&o, folder, &want, &all);
    picture_fini(&want);
    campaign_remove(folder);
    printf("io-errors: points=%llu waited=%llu fatal=%llu unnoticed=%llu failed=%llu s=%.1f\n",
           (unsigned long long)all.points, (unsigned long long)all.full,
           (unsigned long long)all.fatal, (unsigned long long)all.unnoticed,
           (unsigned long long)all.failed, (double)(pm_clock_ms() - begin_ms) / 1000);
    return status || all.failed || !all.points ? 1 : 0;
}

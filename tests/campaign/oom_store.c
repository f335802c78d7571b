/* Owns the store's cases. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/campaign/history.h"
#include "tests/campaign/oom.h"
#include "tests/store/fixture.h"

/* A new database takes some 100,000 allocations, most of them the parsing of its schema. */
enum { COLD_STRIDE = 61 };

typedef struct want {
    bool for_good;
    uint64_t *points;
} want;

/* history's way to commit: each group at the n-th allocation for n = 1, 2, ... until it goes
 * through. An op that is refused for memory is asked again, like a group that is. */
static pm_status commit(void *user, pm_store *store, pm_op *const *ops, size_t count) {
    const want *w = user;
    for (uint64_t n = 1;; n++) {
        oom_arm(n, w->for_good);
        pm_status status = pm_store_apply(store, ops, count);
        bool met = oom_disarm();
        *w->points += met;
        size_t refused = 0;
        for (size_t i = 0; !status && i < count; i++) {
            if (ops[i]->status == PM_OK) continue;
            /* The next item of a task cannot be in where the one in front is not. */
            if (ops[i]->status != PM_E_MEMORY && !(refused && ops[i]->status == PM_E_STALE))
                return pm_fail(ops[i]->status, "an op at allocation %llu: %s",
                               (unsigned long long)n, ops[i]->text);
            refused++;
        }
        if (!status && !refused) return PM_OK;
        if (!met || (status && status != PM_E_MEMORY))
            return pm_fail(status ? status : PM_E_INTERNAL, "allocation %llu: %s",
                           (unsigned long long)n, pm_error_text());
        /* Of a group some may be in: the rest is asked for alone. */
        if (!status && count > 1) {
            for (size_t i = 0; i < count; i++) {
                if (ops[i]->status == PM_OK) continue;
                status = commit(user, store, &ops[i], 1);
                if (status) return status;
            }
            return PM_OK;
        }
    }
}

static pm_status whole(const char *db, want *w, picture *out) {
    history h = {.luck = {.seed = 1}, .small = true, .commit = w ? commit : NULL, .user = w};
    pm_store *store = NULL;
    pm_status status = pm_store_open(db, &store);
    if (!status) status = history_run(&h, store);
    char text[300];
    snprintf(text, sizeof text, "%s", pm_error_text());
    pm_status closed = store ? pm_store_close(&store) : PM_OK;
    if (status) return pm_fail(status, "%s", text);
    if (!closed) closed = campaign_sound(db);
    return closed ? closed : picture_take(db, out);
}

pm_status oom_store(bool for_good, uint64_t *points) {
    char folder[CAMPAIGN_PATH] = "", db[CAMPAIGN_PATH + 16];
    picture calm = {0}, got = {0};
    want w = {.for_good = for_good, .points = points};
    pm_status status = campaign_folder(true, folder);
    snprintf(db, sizeof db, "%s/calm.db", folder);
    if (!status) status = whole(db, NULL, &calm);
    snprintf(db, sizeof db, "%s/short.db", folder);
    if (!status) status = whole(db, &w, &got);
    if (!status) status = picture_same(&calm, &got);
    picture_fini(&calm);
    picture_fini(&got);
    campaign_remove(folder);
    return status;
}

/* A close that finds no memory leaves the -wal file, as it says; nothing is lost. */
static pm_status once(const char *db, bool *met, uint64_t n, bool for_good) {
    static const plan p = {.items = 3, .configs = 1, .name = "cold"};
    pm_store *store = NULL;
    pm_op *op = submit_op(&p);
    if (n) oom_arm(n, for_good);
    pm_status status = pm_store_open(db, &store);
    if (!status) status = pm_store_apply(store, &op, 1);
    if (!status) status = op->status;
    char text[300];
    snprintf(text, sizeof text, "%s", status && op->status ? op->text : pm_error_text());
    pm_status closed = store ? pm_store_close(&store) : PM_OK;
    *met = oom_disarm();
    pm_op_free(&op);
    return status ? pm_fail(status, "%s", text) : closed;
}

pm_status oom_store_cold(bool for_good, uint64_t stride, uint64_t *points) {
    char folder[CAMPAIGN_PATH] = "", db[CAMPAIGN_PATH + 16];
    bool met = true, none;
    pm_status status = campaign_folder(true, folder);
    snprintf(db, sizeof db, "%s/r.db", folder);
    for (uint64_t n = 1; met && !status; n += COLD_STRIDE * stride) {
        campaign_empty(folder);
        status = once(db, &met, n, for_good);
        *points += met;
        if (status && status != PM_E_MEMORY)
            return pm_fail_in(status, "allocation %llu", (unsigned long long)n);
        status = once(db, &none, 0, false);
        if (!status) status = campaign_sound(db);
        if (status) return pm_fail_in(status, "after allocation %llu", (unsigned long long)n);
    }
    campaign_remove(folder);
    return status;
}

/* Owns the story that is told to a store; see history.h. */
#include "tests/campaign/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "tests/store/fixture.h"

enum { GROUP_MAX = 4, FLAWED = 1, CANCELLED = 2, BAD_ITEM = 2, POISON_ITEM = 4, LIVES = 3 };

static const plan plans[HISTORY_RUNS] = {
    {.items = HISTORY_ITEMS,
     .configs = 2,
     .channels = PM_CHANNELS_FULL,
     .heat_maps = PM_HEAT_MAPS_F16,
     .task_items = 6,
     .name = "plain",
     .evaluation = "zero:0,0.5"},
    {.items = 8,
     .configs = 2,
     .channels = PM_CHANNELS_SUMMARY,
     .task_items = 3,
     .first_image = 100,
     .name = "flawed"},
    {.items = 9,
     .configs = 1,
     .channels = PM_CHANNELS_SUMMARY,
     .task_items = 9,
     .first_image = 200,
     .name = "cancelled"},
};

typedef struct group {
    pm_op *ops[GROUP_MAX];
    size_t count;
} group;

static void group_fini(group *g) {
    for (size_t i = 0; i < g->count; i++) pm_op_free(&g->ops[i]);
    g->count = 0;
}

static void tell(history *h) {
    if (h->told) h->told(h->user, &h->facts);
}

static size_t run_of(const pm_op *op) { return (size_t)(uintptr_t)op->cookie; }

/* Asked, not answered: either way is right from here on. */
static void begin(history *h, const pm_op *op) {
    size_t r = run_of(op);
    facts *f = &h->facts;
    switch (op->kind) {
    case PM_OP_SUBMIT:
    case PM_OP_FINISH: f->runs[r] = f->runs[r] ? RUN_THERE : RUN_UNKNOWN; break;
    case PM_OP_CANCEL:
        f->runs[r] = RUN_THERE;
        f->crashes[r] = 0;
        break;
    case PM_OP_RETRY:
        f->runs[r] = RUN_THERE;
        for (size_t i = 0; i < HISTORY_ITEMS; i++)
            if (f->items[r][i] == ITEM_ERROR) f->items[r][i] = ITEM_UNKNOWN;
        break;
    case PM_OP_RECORD:
    case PM_OP_POISON: f->crashes[r] = 0; break;
    case PM_OP_SET_ASIDE:
    case PM_OP_CRASHED:
    case PM_OP_TERMS:
    case PM_OP_REFRESH:
    case PM_OP_SUMMARISE:
    case PM_OP_WORKER_SEEN:
    case PM_OP_STATISTICS: break;
    }
}

static run_fact fact_of(pm_run_state state) {
    switch (state) {
    case PM_RUN_QUEUED:
    case PM_RUN_RUNNING: return RUN_OPEN;
    case PM_RUN_DONE: return RUN_IS_DONE;
    case PM_RUN_CANCELLED: return RUN_IS_CANCELLED;
    }
    return RUN_THERE;
}

static void answered(history *h, const pm_op *op) {
    size_t r = run_of(op);
    facts *f = &h->facts;
    switch (op->kind) {
    case PM_OP_SUBMIT: f->runs[r] = fact_of(op->submit.state); break;
    case PM_OP_RECORD:
        f->items[r][op->record.item] = op->record.results[0].stage ? ITEM_ERROR : ITEM_GOOD;
        break;
    case PM_OP_SET_ASIDE:
    case PM_OP_CRASHED: f->crashes[r]++; break;
    case PM_OP_POISON: f->items[r][op->crash.item] = ITEM_ERROR; break;
    case PM_OP_CANCEL:
    case PM_OP_FINISH: f->runs[r] = fact_of(op->run.state); break;
    case PM_OP_RETRY:
    case PM_OP_TERMS:
    case PM_OP_REFRESH:
    case PM_OP_SUMMARISE:
    case PM_OP_WORKER_SEEN:
    case PM_OP_STATISTICS: break;
    }
}

static pm_status commit(history *h, pm_store *store, group *g) {
    pm_status status;
    for (size_t i = 0; i < g->count; i++) begin(h, g->ops[i]);
    tell(h);
    do
        status = h->commit ? h->commit(h->user, store, g->ops, g->count)
                           : pm_store_apply(store, g->ops, g->count);
    while (status == PM_E_FULL && h->room && h->room(h->user));
    if (status) return status;
    for (size_t i = 0; i < g->count; i++) {
        pm_op *op = g->ops[i];
        if (op->status) return pm_fail(op->status, "op %d: %s", (int)op->kind, op->text);
        answered(h, op);
    }
    tell(h);
    return PM_OK;
}

static pm_status do_one(history *h, pm_store *store, size_t run, pm_op **op) {
    group g = {.ops = {*op}, .count = 1};
    (*op)->cookie = (void *)(uintptr_t)run;
    return commit(h, store, &g);
}

static pm_status do_run_op(history *h, pm_store *store, size_t run, pm_op_kind kind, uint64_t id) {
    pm_op *op = run_op(kind, id);
    pm_status status = do_one(h, store, run, &op);
    pm_op_free(&op);
    return status;
}

static pm_status submit(history *h, pm_store *store, size_t run, uint64_t *id) {
    pm_op *op = submit_op(&plans[run]);
    pm_status status = do_one(h, store, run, &op);
    if (!status) *id = op->submit.run_id;
    pm_op_free(&op);
    return status;
}

static pm_status seen(history *h, pm_store *store) {
    pm_op *op = pm_op_new(PM_OP_WORKER_SEEN);
    uint64_t which = luck_below(&h->luck, 3);
    memcpy(op->worker.instance, &which, sizeof which);
    strcpy(op->worker.host, "here");
    strcpy(op->worker.isa, "avx2");
    strcpy(op->worker.engine_version, "0.1.0");
    op->worker.threads = 1;
    pm_status status = do_one(h, store, 0, &op);
    pm_op_free(&op);
    return status;
}

/* Heat maps of many pages, so that the log grows to its checkpoint more than once. */
static void fatten(pm_op *op) {
    for (size_t i = 0; i < op->record.result_count; i++) {
        pm_record_result *r = &op->record.results[i];
        if (!r->heat_map) continue;
        uint8_t *more = realloc(r->heat_map, 60000);
        if (!more) continue;
        r->heat_map = more;
        r->heat_map_size = 60000;
        for (size_t at = 0; at < r->heat_map_size; at += sizeof(uint64_t)) {
            uint64_t word = pm_splitmix64(op->record.item * 7919 + r->configuration * 104729 + at);
            memcpy(&r->heat_map[at], &word, sizeof word);
        }
    }
}

/* Items of open tasks in order, a few a commit; at most `most`. */
static pm_status record(history *h, pm_store *store, size_t run, uint64_t id, size_t most,
                        bool flawed) {
    pm_run_row row;
    group g = {.count = 0};
    pm_status status = pm_store_load_run(store, id, &row);
    if (status) return status;
    size_t want = 1 + (size_t)luck_below(&h->luck, GROUP_MAX);
    for (size_t t = 0; t < row.tasks.count && !status; t++) {
        const pm_task_row *task = &row.tasks.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item && most && !status; item++) {
            bool bad = flawed && item == BAD_ITEM;
            pm_op *op = (bad ? record_error_op : record_op)(&plans[run], task, item);
            op->cookie = (void *)(uintptr_t)run;
            if (!h->small) fatten(op);
            g.ops[g.count++] = op;
            most--;
            if (g.count < want && most) continue;
            status = commit(h, store, &g);
            group_fini(&g);
            want = 1 + (size_t)luck_below(&h->luck, GROUP_MAX);
        }
    }
    if (g.count && !status) status = commit(h, store, &g);
    group_fini(&g);
    pm_run_row_fini(&row);
    return status;
}

/* Set aside, three crashes alone, an error row. */
static pm_status poison(history *h, pm_store *store, uint64_t id) {
    pm_run_row row;
    pm_status status = pm_store_load_run(store, id, &row);
    if (status) return status;
    uint64_t task = row.tasks.count ? row.tasks.rows[0].task_id : 0;
    bool open = row.tasks.count && row.tasks.rows[0].next_item <= POISON_ITEM;
    pm_run_row_fini(&row);
    for (int life = 0; open && !status && life <= LIVES; life++) {
        pm_op_kind kind = life == 0 ? PM_OP_SET_ASIDE : life < LIVES ? PM_OP_CRASHED : PM_OP_POISON;
        pm_op *op = crash_op(kind, task, POISON_ITEM, "SIGSEGV");
        status = do_one(h, store, CANCELLED, &op);
        if (!status && kind == PM_OP_SET_ASIDE) task = op->crash.changed.rows[1].task_id;
        pm_op_free(&op);
    }
    return status;
}

static pm_status any_failed(pm_store *store, uint64_t id, bool *out) {
    pm_run_row row;
    pm_status status = pm_store_load_run(store, id, &row);
    if (status) return status;
    *out = row.items_failed > 0;
    pm_run_row_fini(&row);
    return PM_OK;
}

/* From wherever it stands until it is done and every result is good. */
static pm_status complete(history *h, pm_store *store, size_t run) {
    uint64_t id = 0;
    bool failed = false;
    pm_status status = submit(h, store, run, &id);
    if (!status) status = record(h, store, run, id, SIZE_MAX, false);
    if (!status) status = any_failed(store, id, &failed);
    if (!status && failed) status = do_run_op(h, store, run, PM_OP_RETRY, id);
    if (!status && failed) status = record(h, store, run, id, SIZE_MAX, false);
    if (!status) status = do_run_op(h, store, run, PM_OP_FINISH, id);
    return status;
}

static pm_status go_wrong(history *h, pm_store *store) {
    uint64_t id = 0;
    pm_status status = submit(h, store, FLAWED, &id);
    if (!status) status = record(h, store, FLAWED, id, SIZE_MAX, true);
    if (!status) status = do_run_op(h, store, FLAWED, PM_OP_FINISH, id);
    if (!status) status = seen(h, store);
    if (!status) status = submit(h, store, CANCELLED, &id);
    if (!status) status = record(h, store, CANCELLED, id, 2, false);
    if (!status) status = poison(h, store, id);
    if (!status) status = do_run_op(h, store, CANCELLED, PM_OP_CANCEL, id);
    return status ? status : seen(h, store);
}

pm_status history_run(history *h, pm_store *store) {
    pm_status status = h->straight ? PM_OK : go_wrong(h, store);
    for (size_t run = 0; run < HISTORY_RUNS && !status; run++) status = complete(h, store, run);
    return status;
}

/* ---- what must be there ---- */

static pm_status lost(const char *format, ...) __attribute__((format(printf, 1, 2)));
static pm_status lost(const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return pm_fail(PM_E_NOT_FOUND, "lost: %s", text);
}

static pm_status check_run(const facts *f, size_t r, pm_query *db) {
    static const char *const where[] = {
        [RUN_THERE] = "1",
        [RUN_OPEN] = "state IN ('queued', 'running')",
        [RUN_IS_DONE] = "state = 'done'",
        [RUN_IS_CANCELLED] = "state = 'cancelled'",
    };
    char sql[300];
    int64_t count = 0;
    if (f->runs[r] == RUN_UNKNOWN) return PM_OK;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM run WHERE name = '%s' AND %s", plans[r].name,
             where[f->runs[r]]);
    pm_status status = campaign_ask_in(db, sql, &count);
    if (status) return status;
    if (count != 1) return lost("run '%s' with %s", plans[r].name, where[f->runs[r]]);
    if (!f->crashes[r]) return PM_OK;
    snprintf(sql, sizeof sql,
             "SELECT crashes FROM task JOIN run USING (run_id) WHERE name = '%s' AND alone",
             plans[r].name);
    status = campaign_ask_in(db, sql, &count);
    if (!status && count < (int64_t)f->crashes[r])
        return lost("%u crashes of '%s'", f->crashes[r], plans[r].name);
    return status;
}

static pm_status check_items(const facts *f, size_t r, pm_query *db) {
    for (size_t i = 0; i < plans[r].items; i++) {
        char sql[400];
        int64_t count = 0;
        if (f->items[r][i] == ITEM_UNKNOWN) continue;
        snprintf(sql, sizeof sql,
                 "SELECT count(*) FROM run JOIN data_set_item USING (data_set_id)"
                 " JOIN result USING (image_id) WHERE name = '%s' AND item = %zu"
                 " AND stage IS %s NULL",
                 plans[r].name, i, f->items[r][i] == ITEM_GOOD ? "" : "NOT");
        pm_status status = campaign_ask_in(db, sql, &count);
        if (status) return status;
        if (count != (int64_t)plans[r].configs)
            return lost("item %zu of '%s' (%s)", i, plans[r].name,
                        f->items[r][i] == ITEM_GOOD ? "a result" : "an error row");
    }
    return PM_OK;
}

pm_status history_check(const facts *f, const char *db) {
    const pm_query_limits limits = {0};
    pm_query *query = NULL;
    pm_status status = pm_query_open(db, &limits, &query);
    for (size_t r = 0; r < HISTORY_RUNS && !status; r++) {
        status = check_run(f, r, query);
        if (!status) status = check_items(f, r, query);
    }
    pm_query_close(&query);
    return status;
}

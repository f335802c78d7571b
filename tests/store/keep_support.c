/* Owns what the tests of merge, prune and compact share. */
#include "tests/store/keep_support.h"

#include <math.h>
#include <sqlite3.h>

#include "lib/base/file.h"

scratch beside(const scratch *s, const char *name) {
    scratch other = *s;
    if ((size_t)snprintf(other.path, sizeof other.path, "%.60s/%.30s", s->folder, name) >=
        sizeof other.path)
        fail_msg("a name is too long");
    return other;
}

void make_db(const scratch *s, const plan *const *plans, size_t count) {
    pm_store *store = open_store(s);
    for (size_t i = 0; i < count; i++) {
        pm_op *op = submit_op(plans[i]);
        apply(store, op, PM_OK);
        const bool known = op->submit.existed;
        const uint64_t open = op->submit.items_open;
        pm_op_free(&op);
        if (!known && !open) continue;
        close_store(&store);
        complete(s, plans[i]);
        store = open_store(s);
    }
    close_store(&store);
}

/* Tasks of the run of a plan, as they stand. */
static uint64_t load_run(pm_store *store, const plan *p, pm_run_row *out) {
    pm_op *op = submit_op(p);
    apply(store, op, PM_OK);
    const uint64_t run = op->submit.run_id;
    pm_op_free(&op);
    if (pm_store_load_run(store, run, out)) fail_msg("%s", pm_error_text());
    return run;
}

void record_range(const scratch *s, const plan *p, uint64_t first, uint64_t end) {
    pm_store *store = open_store(s);
    pm_run_row run;
    load_run(store, p, &run);
    for (size_t t = 0; t < run.tasks.count; t++)
        for (uint64_t i = run.tasks.rows[t].next_item; i < run.tasks.rows[t].end_item; i++) {
            if (i < first || i >= end) continue;
            pm_op *op = record_op(p, &run.tasks.rows[t], i);
            apply(store, op, PM_OK);
            pm_op_free(&op);
        }
    pm_run_row_fini(&run);
    close_store(&store);
}

uint64_t complete(const scratch *s, const plan *p) {
    pm_store *store = open_store(s);
    pm_run_row run;
    const uint64_t id = load_run(store, p, &run);
    const uint64_t open = run.items_open;
    pm_run_row_fini(&run);
    close_store(&store);
    record_range(s, p, 0, UINT64_MAX);
    store = open_store(s);
    pm_op *op = run_op(PM_OP_FINISH, id);
    apply(store, op, PM_OK);
    pm_op_free(&op);
    close_store(&store);
    return open;
}

void execute(const scratch *s, const char *sql) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL)) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static int count_row(void *user, int count, char **values, char **names) {
    (void)names;
    if (count != 1 || strcmp(values[0], "ok") != 0) ++*(int *)user;
    return 0;
}

void assert_whole(const scratch *s) {
    sqlite3 *db = NULL;
    int bad = 0;
    pm_store *store = open_store(s);
    close_store(&store);
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "PRAGMA integrity_check; PRAGMA foreign_key_check", count_row, &bad, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(bad, 0);
}

/* The first line that differs, rather than two texts. */
void assert_same_dump(const scratch *a, const scratch *b) {
    char *one = dump_of(a->path), *other = dump_of(b->path);
    if (strcmp(one, other) != 0) {
        size_t at = 0;
        while (one[at] == other[at]) at++;
        while (at && one[at - 1] != '\n') at--;
        fail_msg("%s and %s differ:\n%.300s\n----\n%.300s", a->path, b->path, one + at, other + at);
    }
    free(one);
    free(other);
}

void copy_db(const scratch *from, const scratch *to) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (pm_file_read(from->path, (size_t)1 << 30, &bytes, &size) ||
        pm_file_write(to->path, bytes, size))
        fail_msg("%s", pm_error_text());
    free(bytes);
}

pm_sha256 hash_of_file(const char *path) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (pm_file_read(path, (size_t)1 << 30, &bytes, &size)) fail_msg("%s", pm_error_text());
    pm_sha256 hash = pm_sha256_of(bytes, size);
    free(bytes);
    return hash;
}

double mean_variance(size_t config, size_t channel, size_t first, size_t end) {
    double sum = 0;
    for (size_t i = first; i < end; i++) sum += (double)variance_of(i, config, channel);
    return sum / (double)(end - first);
}

void assert_sums(const scratch *s, size_t ordinal, size_t first, size_t end) {
    char sql[400];
    for (size_t c = 0; c < CHANNELS; c++) {
        const size_t layer = c >= CHANNELS_0, channel = layer ? c - CHANNELS_0 : c;
        int64_t selected = 0;
        for (size_t i = first; i < end; i++) selected += in_h_of(i, ordinal, c);
        snprintf(sql, sizeof sql,
                 "SELECT %%s FROM channel_gradient AS g JOIN layer USING (layer_id)"
                 " JOIN run_configuration AS rc USING (configuration_id)"
                 " WHERE run_id = (SELECT min(run_id) FROM run) AND ordinal = %zu AND conv = %zu"
                 " AND channel = %zu",
                 ordinal, 10 + layer, channel);
        char count[420], mean[420], chosen[420];
        const char *rest = strchr(sql, '%') + 2;
        snprintf(count, sizeof count, "SELECT count%s", rest);
        snprintf(mean, sizeof mean, "SELECT mean%s", rest);
        snprintf(chosen, sizeof chosen, "SELECT selected%s", rest);
        assert_int_equal(ask(s, count), end - first);
        assert_int_equal(ask(s, chosen), selected);
        const double want = mean_variance(ordinal, c, first, end);
        if (fabs(ask_real(s, mean) - want) > 1e-12 * fabs(want))
            fail_msg("channel %zu: %.17g, not %.17g", c, ask_real(s, mean), want);
    }
}

/* Checkpoints after a commit: the log stays short, and an I/O error of theirs is not passed over.
 */
#include <errno.h>
#include <sys/stat.h>

#include "tests/campaign/shim_vfs.h"
#include "tests/store/fixture.h"

enum { HEAT_MAP_BYTES = 200000, LOG_PAGES = 1000, PAGE_BYTES = 4096 };

static const plan fat = {
    .items = 60, .configs = 1, .heat_maps = PM_HEAT_MAPS_F32, .task_items = 60};

/* Syncs of the database itself, which only checkpoints make while the log is there. */
typedef struct bad_disk {
    int code; /* SQLITE_OK: good */
    int error;
    size_t syncs;
} bad_disk;

static int before(void *user, shim_call *call) {
    bad_disk *disk = user;
    if (call->kind == SHIM_OPEN) *call->file = call->flags & SQLITE_OPEN_MAIN_DB ? 1 : 0;
    if (call->kind != SHIM_SYNC || *call->file != 1) return SQLITE_OK;
    disk->syncs++;
    errno = disk->error;
    return disk->code;
}

static pm_op *fat_record(const pm_task_row *task, uint64_t item) {
    pm_op *op = record_op(&fat, task, item);
    pm_record_result *r = &op->record.results[0];
    r->heat_map = realloc(r->heat_map, HEAT_MAP_BYTES);
    assert_non_null(r->heat_map);
    r->heat_map_size = HEAT_MAP_BYTES;
    memset(r->heat_map, (int)item, HEAT_MAP_BYTES);
    return op;
}

/* Items one by one until one is not committed; how many were. */
static uint64_t record_all(pm_store *store, const pm_task_row *task, pm_status *status) {
    for (uint64_t item = 0; item < fat.items; item++) {
        pm_op *op = fat_record(task, item);
        *status = pm_store_apply(store, &op, 1);
        pm_op_free(&op);
        if (*status) return item;
    }
    return fat.items;
}

static off_t log_bytes(const scratch *s) {
    char path[128];
    struct stat info;
    snprintf(path, sizeof path, "%s-wal", s->path);
    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

/* What the store says of an error; how many items it had committed. */
static uint64_t with(const scratch *s, bad_disk *disk, pm_status *status, pm_status *closed) {
    const shim_hooks hooks = {.user = disk, .before = before};
    bad_disk bad = *disk;
    *disk = (bad_disk){.code = SQLITE_OK};
    shim_begin(&hooks);
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&fat);
    apply(store, op, PM_OK);
    *disk = bad;
    uint64_t done = record_all(store, &op->submit.made.rows[0], status);
    pm_op_free(&op);
    assert_true(log_bytes(s) < 2 * LOG_PAGES * PAGE_BYTES || bad.code);
    if (!*status) assert_true(disk->syncs > 0);
    disk->code = SQLITE_OK;
    *closed = pm_store_close(&store);
    shim_end();
    return done;
}

static void the_log_stays_short(void **state) {
    bad_disk disk = {.code = SQLITE_OK};
    pm_status status, closed;
    assert_int_equal(with(*state, &disk, &status, &closed), fat.items);
    assert_int_equal(closed, PM_OK);
}

static void an_error_of_a_checkpoint_ends_the_store_and_loses_nothing(void **state) {
    bad_disk disk = {.code = SQLITE_IOERR_FSYNC, .error = EIO};
    pm_status status, closed;
    uint64_t done = with(*state, &disk, &status, &closed);
    assert_int_equal(status, PM_E_IO);
    assert_int_equal(closed, PM_E_IO);
    assert_in_range(done, 1, fat.items - 1);
    assert_int_equal(ask(*state, "SELECT count(*) FROM result"), done);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(the_log_stays_short),
        STORE_TEST(an_error_of_a_checkpoint_ends_the_store_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

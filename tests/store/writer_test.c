/* The writer thread: what it hands back is on disk, also after kill -9; a full disk only pauses. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "tests/store/fixture.h"

enum { PATIENCE_MS = 60000 };

static pm_writer *start(const scratch *s, const pm_writer_limits *limits) {
    pm_store *store = open_store(s);
    pm_writer *writer = NULL;
    assert_int_equal(pm_writer_new(&store, limits, &writer), PM_OK);
    assert_null(store);
    return writer;
}

static void stop(pm_writer **writer) {
    pm_store *store = NULL;
    if (pm_writer_stop(writer, &store)) fail_msg("stop: %s", pm_error_text());
    close_store(&store);
}

static void put(pm_writer *writer, pm_op *op) {
    if (pm_writer_put(writer, &op)) fail_msg("put: %s", pm_error_text());
    assert_null(op);
}

/* The next op that comes back, by way of the descriptor. */
static pm_op *next(pm_writer *writer) {
    int64_t until = pm_clock_ms() + PATIENCE_MS;
    for (;;) {
        pm_op *op = pm_writer_take(writer);
        if (op) return op;
        struct pollfd fd = {.fd = pm_writer_fd(writer), .events = POLLIN};
        if (pm_clock_ms() > until) fail_msg("nothing came back");
        poll(&fd, 1, 1000);
    }
}

static void until_state(pm_writer *writer, pm_writer_state want) {
    char text[256] = "";
    int64_t until = pm_clock_ms() + PATIENCE_MS;
    while (pm_writer_look(writer, text, sizeof text) != want) {
        struct pollfd fd = {.fd = pm_writer_fd(writer), .events = POLLIN};
        if (pm_clock_ms() > until) fail_msg("state never came; '%s'", text);
        poll(&fd, 1, 100);
    }
    if (want == PM_WRITER_PAUSED) assert_non_null(strstr(text, "no space left"));
}

static pm_op *submitted(pm_writer *writer, const plan *p) {
    put(writer, submit_op(p));
    pm_op *op = next(writer);
    if (op->status) fail_msg("submit: %s", op->text);
    return op;
}

static void ops_come_back_in_order_and_committed(void **state) {
    scratch *s = *state;
    const plan p = {.items = 64, .configs = 2, .channels = PM_CHANNELS_SUMMARY, .task_items = 8};
    pm_writer *writer = start(s, &pm_writer_default_limits);
    pm_op *op = submitted(writer, &p);
    static int cookies[128];
    size_t count = 0;
    for (uint64_t item = 0; item < 8; item++) {
        for (size_t t = 0; t < op->submit.made.count; t++) {
            const pm_task_row *task = &op->submit.made.rows[t];
            pm_op *record = record_op(&p, task, task->next_item + item);
            record->cookie = &cookies[count++];
            put(writer, record);
        }
    }
    for (size_t i = 0; i < count; i++) {
        pm_op *record = next(writer);
        assert_int_equal(record->status, PM_OK);
        assert_ptr_equal(record->cookie, &cookies[i]);
        pm_op_free(&record);
    }
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 128); /* while the writer lives */
    put(writer, run_op(PM_OP_FINISH, op->submit.run_id));
    stop(&writer); /* what was put is committed before it ends */
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT count(*) FROM run WHERE state = 'done'"), 1);
}

static void queue_is_bounded_by_count_and_bytes(void **state) {
    scratch *s = *state;
    pm_writer_limits limits = pm_writer_default_limits;
    limits.ops_max = 3;
    pm_writer *writer = start(s, &limits);
    for (size_t i = 0; i < 3; i++) {
        assert_true(pm_writer_has_room(writer));
        put(writer, run_op(PM_OP_CANCEL, 1));
    }
    assert_false(pm_writer_has_room(writer));
    pm_op *fourth = run_op(PM_OP_CANCEL, 1);
    assert_int_equal(pm_writer_put(writer, &fourth), PM_E_LIMIT);
    assert_non_null(fourth); /* still ours */
    pm_op *first = next(writer);
    assert_int_equal(first->status, PM_E_NOT_FOUND);
    put(writer, fourth);
    pm_op_free(&first);
    stop(&writer);
    limits = pm_writer_default_limits;
    limits.bytes_max = 1;
    writer = start(s, &limits);
    put(writer, run_op(PM_OP_CANCEL, 1)); /* alone it is let in, however large */
    fourth = run_op(PM_OP_CANCEL, 1);
    assert_int_equal(pm_writer_put(writer, &fourth), PM_E_LIMIT);
    pm_op_free(&fourth);
    stop(&writer);
}

/* ---- kill -9 ---- */

enum { KILL_ITEMS = 300, KILL_CONFIGS = 2 };
static const plan killed = {.items = KILL_ITEMS,
                            .configs = KILL_CONFIGS,
                            .channels = PM_CHANNELS_SUMMARY,
                            .task_items = 10};

/* Goes on where the database stands; tells each item that came back through `acknowledged`. */
static void work(const scratch *s, int acknowledged) {
    pm_writer_limits limits = pm_writer_default_limits;
    limits.group_max = 7; /* many commits */
    limits.group_us = 200;
    pm_writer *writer = start(s, &limits);
    pm_op *op = submitted(writer, &killed);
    uint64_t run_id = op->submit.run_id;
    pm_op_free(&op);
    pm_store *store = NULL;
    assert_int_equal(pm_writer_stop(&writer, &store), PM_OK);
    pm_run_row run;
    assert_int_equal(pm_store_load_run(store, run_id, &run), PM_OK);
    assert_int_equal(pm_writer_new(&store, &limits, &writer), PM_OK);
    size_t under_way = 0;
    for (size_t t = 0; t < run.tasks.count; t++) {
        const pm_task_row *task = &run.tasks.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            put(writer, record_op(&killed, task, item));
            if (++under_way < 20) continue;
            pm_op *back = next(writer);
            uint32_t number = (uint32_t)back->record.item;
            if (back->status || write(acknowledged, &number, sizeof number) != sizeof number)
                _exit(3);
            pm_op_free(&back);
            under_way--;
        }
    }
    for (; under_way; under_way--) {
        pm_op *back = next(writer);
        uint32_t number = (uint32_t)back->record.item;
        if (back->status || write(acknowledged, &number, sizeof number) != sizeof number) _exit(3);
        pm_op_free(&back);
    }
    put(writer, run_op(PM_OP_FINISH, run_id));
    stop(&writer);
    pm_run_row_fini(&run);
}

/* Runs work() in a child that is killed after `after` acknowledgements; marks them. True: it came
 * to its end before. */
static bool work_until_killed(const scratch *s, size_t after, bool *acknowledged) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        work(s, fds[1]);
        _exit(0);
    }
    close(fds[1]);
    uint32_t number;
    for (size_t seen = 0; read(fds[0], &number, sizeof number) == sizeof number; seen++) {
        acknowledged[number] = true;
        if (seen == after) kill(child, SIGKILL);
    }
    close(fds[0]);
    int how = 0;
    waitpid(child, &how, 0);
    if (!WIFSIGNALED(how)) assert_int_equal(how, 0);
    return !WIFSIGNALED(how);
}

static void what_was_acknowledged_survives_kill_9(void **state) {
    scratch *s = *state, whole = *s;
    bool acknowledged[KILL_ITEMS] = {false};
    size_t kills = 0;
    /* A fixed walk of kill points; each life goes on where the one before was cut off. */
    for (uint32_t seed = 12345;; kills++) {
        seed = seed * 1664525u + 1013904223u;
        bool ended = work_until_killed(s, seed >> 27, acknowledged);
        for (size_t i = 0; i < KILL_ITEMS; i++) {
            if (!acknowledged[i]) continue;
            char sql[200];
            snprintf(sql, sizeof sql,
                     "SELECT count(*) FROM result JOIN data_set_item USING (image_id)"
                     " WHERE item = %zu",
                     i);
            if (ask(s, sql) != KILL_CONFIGS) fail_msg("item %zu was lost", i);
        }
        if (ended) break;
    }
    assert_true(kills > 5);
    snprintf(whole.path, sizeof whole.path, "%s/whole.db", s->folder);
    pm_store *store = open_store(&whole);
    whole_run(store, &killed);
    close_store(&store);
    char *one = dump_of(s->path), *two = dump_of(whole.path);
    assert_string_equal(one, two);
    free(one);
    free(two);
    assert_int_equal(ask(s, "SELECT count(*) FROM channel_gradient WHERE count = 300"),
                     KILL_CONFIGS * CHANNELS);
    assert_int_equal(ask(s, "SELECT count(*) FROM task"), 0);
}

/* ---- disk full ---- */

static void fill_disk(const char *folder) {
    char path[128];
    snprintf(path, sizeof path, "%s/ballast", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    setvbuf(file, NULL, _IONBF, 0);
    static const char block[4096];
    while (fwrite(block, sizeof block, 1, file) == 1) continue;
    fclose(file);
}

static void empty_disk(const char *folder) {
    char path[128];
    snprintf(path, sizeof path, "%s/ballast", folder);
    assert_int_equal(unlink(path), 0);
}

static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void forbid_growth(const char *folder) {
    (void)folder;
    limit_files(1 << 16);
}

static void allow_growth(const char *folder) {
    (void)folder;
    limit_files(RLIM_INFINITY);
}

/* `fill` takes the room away in the middle of a run, `empty` gives it back. */
static void pause_and_go_on(const scratch *s, void (*fill)(const char *),
                            void (*empty)(const char *)) {
    const plan p = {.items = 40, .configs = 2, .channels = PM_CHANNELS_FULL, .task_items = 40};
    plan other = p;
    other.name = "refused";
    pm_writer_limits limits = pm_writer_default_limits;
    limits.retry_ms = 20;
    pm_writer *writer = start(s, &limits);
    pm_op *op = submitted(writer, &p);
    const pm_task_row *task = &op->submit.made.rows[0];
    put(writer, record_op(&p, task, 0));
    pm_op *back = next(writer);
    assert_int_equal(back->status, PM_OK);
    pm_op_free(&back);
    fill(s->folder);
    for (uint64_t item = 1; item < 40; item++) put(writer, record_op(&p, task, item));
    put(writer, submit_op(&other));
    until_state(writer, PM_WRITER_PAUSED);
    assert_in_range(ask(s, "SELECT count(*) FROM result"), 2, 79); /* queries go on */
    bool refused = false;
    while (!refused) { /* some records may have found room before */
        back = next(writer);
        refused = back->kind == PM_OP_SUBMIT;
        assert_int_equal(back->status, refused ? PM_E_FULL : PM_OK);
        pm_op_free(&back);
    }
    put(writer, submit_op(&other)); /* comes back at once */
    back = next(writer);
    assert_int_equal(back->status, PM_E_FULL);
    pm_op_free(&back);
    empty(s->folder);
    for (uint64_t last = 0; last < 39;) {
        back = next(writer);
        assert_int_equal(back->status, PM_OK);
        last = back->record.item;
        pm_op_free(&back);
    }
    until_state(writer, PM_WRITER_RUNNING);
    put(writer, run_op(PM_OP_FINISH, op->submit.run_id));
    stop(&writer);
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 80);
    assert_int_equal(ask(s, "SELECT min(count) FROM channel_gradient"), 40);
    assert_int_equal(ask(s, "SELECT max(count) FROM channel_gradient"), 40);
}

static void full_disk_pauses_and_goes_on(void **state) {
    scratch *s = *state;
    if (mount("tmpfs", s->folder, "tmpfs", 0, "size=4m") != 0) {
        print_message("no mount here (%s): only the size limit is tested\n", strerror(errno));
        skip();
    }
    pause_and_go_on(s, fill_disk, empty_disk);
    assert_int_equal(umount(s->folder), 0);
}

static void file_size_limit_pauses_and_goes_on(void **state) {
    signal(SIGXFSZ, SIG_IGN);
    pause_and_go_on(*state, forbid_growth, allow_growth);
}

static void stopping_on_a_full_disk_says_so(void **state) {
    scratch *s = *state;
    if (mount("tmpfs", s->folder, "tmpfs", 0, "size=4m") != 0) skip();
    const plan p = {.items = 40, .configs = 2, .channels = PM_CHANNELS_FULL, .task_items = 40};
    pm_writer *writer = start(s, &pm_writer_default_limits);
    pm_op *op = submitted(writer, &p);
    fill_disk(s->folder);
    for (uint64_t item = 0; item < 40; item++)
        put(writer, record_op(&p, &op->submit.made.rows[0], item));
    until_state(writer, PM_WRITER_PAUSED);
    pm_store *store = NULL;
    assert_int_equal(pm_writer_stop(&writer, &store), PM_E_FULL);
    pm_store_close(&store); /* may or may not find room to tidy up; nothing is lost */
    pm_op_free(&op);
    assert_int_equal(ask(s, "SELECT count(*) FROM task"), 1);
    assert_int_equal(umount(s->folder), 0);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(ops_come_back_in_order_and_committed),
        STORE_TEST(queue_is_bounded_by_count_and_bytes),
        STORE_TEST(what_was_acknowledged_survives_kill_9),
        STORE_TEST(full_disk_pauses_and_goes_on),
        STORE_TEST(file_size_limit_pauses_and_goes_on),
        STORE_TEST(stopping_on_a_full_disk_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

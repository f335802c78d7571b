/* A database written anew; and kill -9 at any moment of prune, compact and merge: before or after,
 * nothing in between. */
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tests/store/keep_support.h"

static const plan large = {.items = 120,
                           .configs = 3,
                           .channels = PM_CHANNELS_FULL,
                           .heat_maps = PM_HEAT_MAPS_F32,
                           .evaluation = "zero:0,0.1,0.2,0.5"};
static const plan other = {.items = 100,
                           .configs = 3,
                           .channels = PM_CHANNELS_FULL,
                           .heat_maps = PM_HEAT_MAPS_F32,
                           .first_image = 60,
                           .name = "other"};

static void room_is_given_back(void **state) {
    scratch *s = *state;
    scratch before = beside(s, "before.db");
    uint64_t old_bytes = 0, new_bytes = 0;
    struct stat info;
    pm_prune_counts counts;
    make_db(s, (const plan *const[]){&large}, 1);
    pm_prune_plan p = {.heat_maps = true, .channel_items = true};
    assert_int_equal(pm_store_prune(s->path, &p, &counts), PM_OK);
    copy_db(s, &before);
    assert_int_equal(chmod(s->path, 0640), 0);
    if (pm_store_compact(s->path, &old_bytes, &new_bytes)) fail_msg("%s", pm_error_text());
    assert_int_equal(stat(s->path, &info), 0);
    assert_int_equal(info.st_size, new_bytes);
    assert_int_equal(info.st_mode & 07777, 0640);
    assert_true(new_bytes < old_bytes);
    assert_int_equal(stat(before.path, &info), 0);
    assert_int_equal(info.st_size, old_bytes);
    assert_int_equal(ask(s, "SELECT count(*) FROM pragma_freelist_count WHERE freelist_count"), 0);
    assert_true(ask(s, "SELECT count(*) FROM sqlite_stat1") > 0);
    assert_whole(s);
    assert_same_dump(s, &before);
    assert_int_equal(complete(s, &large), 120); /* ids go on where they were */
}

static void file_that_others_have_is_let_be(void **state) {
    scratch *s = *state;
    uint64_t a, b;
    struct stat was, is;
    sqlite3 *reader = NULL;
    assert_int_equal(pm_store_compact(s->path, &a, &b), PM_E_NOT_FOUND);
    make_db(s, (const plan *const[]){&other}, 1);
    assert_int_equal(stat(s->path, &was), 0);
    pm_store *held = open_store(s);
    assert_int_equal(pm_store_compact(s->path, &a, &b), PM_E_BUSY);
    close_store(&held);
    assert_int_equal(sqlite3_open_v2(s->path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM run", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(pm_store_compact(s->path, &a, &b), PM_E_BUSY);
    sqlite3_close(reader);
    assert_int_equal(stat(s->path, &is), 0);
    assert_int_equal(is.st_ino, was.st_ino);
    assert_whole(s);
    char copy[128];
    snprintf(copy, sizeof copy, "%s.compact", s->path);
    assert_int_not_equal(access(copy, F_OK), 0);
}

/* What is not a compaction's own stays, and says so; what one left behind goes. */
static void file_in_the_way_is_let_be(void **state) {
    static const char header[100] = "SQLite format 3";
    static const struct {
        const char *bytes;
        size_t size;
    } foreign[] = {{"x\n", 2}, {header, sizeof header}}, left_over[] = {{"", 0}, {&header[20], 80}};
    scratch *s = *state;
    scratch copy = beside(s, "x"), whole = beside(s, "whole.db");
    uint64_t a, b;
    uint8_t *bytes = NULL;
    size_t size = 0;
    make_db(s, (const plan *const[]){&other}, 1);
    copy_db(s, &whole);
    assert_true((size_t)snprintf(copy.path, sizeof copy.path, "%s.compact", s->path) <
                sizeof copy.path);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pm_file_write(copy.path, foreign[i].bytes, foreign[i].size), PM_OK);
        assert_int_equal(pm_store_compact(s->path, &a, &b), PM_E_MISMATCH);
        assert_non_null(strstr(pm_error_text(), copy.path));
        assert_non_null(strstr(pm_error_text(), "move it"));
        assert_int_equal(pm_file_read(copy.path, 1000, &bytes, &size), PM_OK);
        assert_int_equal(size, foreign[i].size);
        assert_memory_equal(bytes, foreign[i].bytes, size);
        free(bytes);
    }
    for (size_t i = 0; i < 3; i++) {
        if (i < 2)
            assert_int_equal(pm_file_write(copy.path, left_over[i].bytes, left_over[i].size),
                             PM_OK);
        else
            copy_db(&whole, &copy);
        if (pm_store_compact(s->path, &a, &b)) fail_msg("%zu: %s", i, pm_error_text());
        assert_int_not_equal(access(copy.path, F_OK), 0);
    }
    assert_same_dump(s, &whole);
}

/* ---- kill -9 ---- */

typedef pm_status (*deed)(const scratch *s, const scratch *more);

static pm_status prune(const scratch *s, const scratch *more) {
    pm_prune_counts counts;
    const pm_prune_plan p = {.heat_maps = true,
                             .channel_items = true,
                             .run = 1,
                             .orphans = true,
                             .drop_channel_sums = true};
    (void)more;
    return pm_store_prune(s->path, &p, &counts);
}

static pm_status compact(const scratch *s, const scratch *more) {
    uint64_t a, b;
    (void)more;
    return pm_store_compact(s->path, &a, &b);
}

static pm_status merge(const scratch *s, const scratch *more) {
    pm_merge_counts counts;
    const char *const paths[] = {more->path};
    const pm_merge_plan p = {.sources = paths, .source_count = 1, .into = s->path};
    return pm_store_merge(&p, &counts);
}

static int64_t now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

/* A child does it; it is killed after `us`, or ends. True: it was killed. */
static bool killed_after(deed what, const scratch *s, const scratch *more, int64_t us) {
    int how = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(what(s, more) == PM_OK ? 0 : 1);
    const int64_t end = now_us() + us;
    while (now_us() < end)
        if (waitpid(child, &how, WNOHANG) == child) return false; /* the number is free again */
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &how, 0), child);
    return WIFSIGNALED(how);
}

/* It can be done (again), whatever the killed one left lying; what was done already may be refused,
 * but stays. */
static void is_done_then(deed what, const scratch *s, const scratch *more, bool done,
                         const char *after) {
    if (what(s, more) && !done) fail_msg("not done after a kill: %s", pm_error_text());
    assert_whole(s);
    char *text = dump_of(s->path);
    if (strcmp(text, after) != 0) fail_msg("after a kill it is not done as without one");
    free(text);
}

static void is_before_or_after(deed what, scratch *s, const scratch *whole, const scratch *more) {
    enum { TIMES = 20 };
    copy_db(whole, s);
    int64_t start = now_us();
    if (what(s, more)) fail_msg("%s", pm_error_text());
    const int64_t took = now_us() - start;
    char *before = dump_of(whole->path), *after = dump_of(s->path);
    size_t killed = 0, begun_again = 0;
    srand(5);
    for (int i = 0; i < TIMES; i++) {
        copy_db(whole, s);
        const bool ended_so =
            killed_after(what, s, more, took * (i * 100 + rand() % 100) / (TIMES * 100));
        killed += ended_so;
        assert_whole(s);
        char *text = dump_of(s->path);
        const bool is_before = strcmp(text, before) == 0;
        if (!is_before && strcmp(text, after) != 0)
            fail_msg("neither before nor after, on try %d", i);
        free(text);
        if (i % 5 != 4) continue;
        is_done_then(what, s, more, !is_before, after);
        begun_again += ended_so && is_before;
    }
    assert_true(killed > TIMES / 3);
    assert_true(begun_again > 0);
    free(before);
    free(after);
}

static void prune_that_is_killed_is_done_or_not(void **state) {
    scratch *s = *state;
    scratch whole = beside(s, "whole.db");
    make_db(&whole, (const plan *const[]){&large, &other}, 2);
    is_before_or_after(prune, s, &whole, NULL);
}

static void compact_that_is_killed_loses_nothing(void **state) {
    scratch *s = *state;
    scratch whole = beside(s, "whole.db");
    make_db(&whole, (const plan *const[]){&large, &other}, 2);
    is_before_or_after(compact, s, &whole, NULL);
}

static void merge_that_is_killed_is_done_or_not(void **state) {
    scratch *s = *state;
    scratch whole = beside(s, "whole.db"), more = beside(s, "more.db");
    make_db(&whole, (const plan *const[]){&large}, 1);
    make_db(&more, (const plan *const[]){&other}, 1);
    is_before_or_after(merge, s, &whole, &more);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(room_is_given_back, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(file_that_others_have_is_let_be, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(file_in_the_way_is_let_be, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(prune_that_is_killed_is_done_or_not, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(compact_that_is_killed_loses_nothing, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(merge_that_is_killed_is_done_or_not, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a worker asks for: leases, and the bytes of photographs ahead of their turn. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "tests/worker/tasks.h"
#include "worker/ahead.h"

enum { PATIENCE_MS = 60000 };

/* As if it had taken so long. */
static void compute(pm_work *work, int64_t us) {
    pm_lease *lease = pm_work_take(work);
    lease->taken_us -= us;
    pm_work_end(work, lease, true);
}

static void credit_is_for_two_seconds_of_work(void **state) {
    (void)state;
    pm_slots *slots = calloc(1, sizeof *slots);
    pm_work work;
    assert_non_null(slots);
    assert_int_equal(pm_work_init(&work, slots), PM_OK);
    pm_work_expect(&work, 2);
    tasks_announce(&work, "");
    assert_int_equal(pm_work_take_credit(&work), 3);
    assert_int_equal(pm_work_take_credit(&work), 0);
    for (uint64_t task = 1; task <= 3; task++) tasks_give(&work, task, 1);
    assert_int_equal(pm_work_take_credit(&work), 0);
    /* Tasks of nearly half a second: one in reserve, and four more for each thread. */
    compute(&work, 450000);
    assert_int_equal(pm_work_take_credit(&work), 8);
    pm_work_recorded(&work, 1, 0);
    assert_int_equal(pm_work_take_credit(&work), 1);
    /* Now they are slow: nothing is taken back, but no more is asked for. */
    compute(&work, 60000000);
    pm_work_recorded(&work, 2, 0);
    assert_int_equal(pm_work_take_credit(&work), 0);
    /* A new connection knows of no credit. */
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    pm_work_settle(&work, &welcome);
    assert_int_equal(pm_work_take_credit(&work), 3);
    pm_work_drain(&work);
    assert_int_equal(pm_work_take_credit(&work), 0);
    pm_work_fini(&work);
    free(slots);
}

static uint64_t beat_of(pm_work *work, uint64_t task) {
    Pm__Wire__Beat *beats = NULL;
    size_t count = 0;
    uint64_t progress = 0;
    assert_int_equal(pm_work_beats(work, &beats, &count), PM_OK);
    for (size_t i = 0; i < count; i++)
        if (beats[i].task == task) progress = beats[i].progress;
    free(beats);
    return progress;
}

/* A beat that fell behind what was said before would be taken for a hang. */
static void beats_of_a_lease_never_go_back(void **state) {
    (void)state;
    pm_slots *slots = calloc(1, sizeof *slots);
    pm_work work;
    assert_non_null(slots);
    assert_int_equal(pm_work_init(&work, slots), PM_OK);
    pm_work_expect(&work, 1);
    tasks_announce(&work, "");
    tasks_give(&work, 1, 1);
    tasks_give(&work, 2, 1);
    pm_lease *first = pm_work_try_take(&work);
    for (int i = 0; i < 1000; i++) pm_work_beat(&work, first);
    uint64_t waiting = beat_of(&work, 2);
    assert_true(waiting >= 1000);
    pm_work_end(&work, first, true);
    uint64_t computed = beat_of(&work, 1);
    assert_true(beat_of(&work, 1) > computed); /* it waits for the broker, that is no hang */
    pm_lease *second = pm_work_try_take(&work);
    assert_null(pm_work_try_take(&work));
    uint64_t taken = beat_of(&work, 2);
    assert_true(taken >= waiting);
    assert_int_equal(beat_of(&work, 2), taken); /* only the compute loop raises it */
    assert_true(pm_work_is_stuck(&work, 2));
    pm_work_beat(&work, second);
    assert_true(beat_of(&work, 2) > taken);
    assert_false(pm_work_is_stuck(&work, 1));
    pm_work_end(&work, second, true);
    pm_work_fini(&work);
    free(slots);
}

typedef struct fetching {
    pm_work *work;
    pm_lease *lease;
    pm_status status;
} fetching;

static void *fetch(void *user) {
    fetching *f = user;
    pm_sha256 hash = pm_sha256_of("xxx", 3);
    uint8_t *bytes = NULL;
    size_t size = 0;
    f->status = pm_work_fetch(f->work, f->lease, NULL, &hash, 3, &bytes, &size);
    return NULL;
}

static pm_status count_request(void *user, const Pm__Wire__Message *body, const pm_bytes *frames,
                               size_t frame_count) {
    (void)frames;
    (void)frame_count;
    *(size_t *)user += body->body_case == PM__WIRE__MESSAGE__BODY_FETCH;
    return PM_OK;
}

/* Its disk may stand still: no thread hangs for that, and no image is to blame. */
static void a_broker_that_sends_nothing_makes_no_error(void **state) {
    (void)state;
    pm_slots *slots = calloc(1, sizeof *slots);
    pm_work work;
    pthread_t thread;
    size_t requests = 0;
    assert_non_null(slots);
    assert_int_equal(pm_work_init(&work, slots), PM_OK);
    tasks_announce(&work, "/nonexistent");
    tasks_give(&work, 1, 1);
    fetching f = {.work = &work, .lease = pm_work_take(&work), .status = PM_OK};
    assert_int_equal(pthread_create(&thread, NULL, fetch, &f), 0);
    int64_t now_ms = pm_clock_ms();
    for (int round = 0; round < 6; round++) {
        const size_t asked = requests;
        while (requests == asked)
            assert_int_equal(pm_work_flush(&work, count_request, &requests), PM_OK);
        const uint64_t before = beat_of(&work, 1);
        pm_work_fetch_tick(&work, now_ms += 11000);
        assert_true(beat_of(&work, 1) > before);
    }
    pthread_join(thread, NULL);
    assert_int_equal(f.status, PM_E_CANCELLED);
    pm_work_end(&work, f.lease, false);
    pm_work_fini(&work);
    free(slots);
}

/* The files of `give`; that of item `without` is not there, that of item `other` is another. */
static void write_files(const char *folder, size_t without, size_t other) {
    char path[256], letters[TASKS_ITEMS_MAX];
    memset(letters, 'x', sizeof letters);
    for (size_t i = 0; i < TASKS_ITEMS_MAX; i++) {
        snprintf(path, sizeof path, "%s/i%zu.png", folder, i);
        FILE *file = i == without ? NULL : fopen(path, "w");
        if (!file) continue;
        fwrite(letters, 1, i == other ? i + 2 : i + 1, file);
        fclose(file);
    }
}

static void remove_files(const char *folder) {
    char path[256];
    for (size_t i = 0; i < TASKS_ITEMS_MAX; i++) {
        snprintf(path, sizeof path, "%s/i%zu.png", folder, i);
        unlink(path);
    }
    rmdir(folder);
}

static void take_letters(pm_ahead *ahead, size_t index) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_int_equal(pm_ahead_take(ahead, index, &bytes, &size), PM_OK);
    assert_int_equal(size, index + 1);
    for (size_t i = 0; i < size; i++) assert_int_equal(bytes[i], 'x');
    free(bytes);
}

/* What the reading thread asks the broker for, if anything. */
static bool asks_for(pm_work *work, pm_sha256 *hash) {
    pthread_mutex_lock(&work->lock);
    const bool asks = work->wanted && !work->wanted->done;
    if (asks) *hash = *pm_fetch_hash(work->wanted->fetch);
    pthread_mutex_unlock(&work->lock);
    return asks;
}

/* Nor has anybody an answer still to take. */
static bool nobody_asks(pm_work *work) {
    pthread_mutex_lock(&work->lock);
    const bool nobody = !work->wanted;
    pthread_mutex_unlock(&work->lock);
    return nobody;
}

/* Of item i, or -1. */
static int asked_item(pm_work *work) {
    char letters[TASKS_ITEMS_MAX];
    pm_sha256 asked, hash;
    memset(letters, 'x', sizeof letters);
    if (!asks_for(work, &asked)) return -1;
    for (int i = 0; i < TASKS_ITEMS_MAX; i++) {
        hash = pm_sha256_of(letters, (size_t)i + 1);
        if (pm_sha256_equal(&hash, &asked)) return i;
    }
    fail_msg("something else is asked for");
    return -1;
}

static void wait_until_asked(pm_work *work, int item) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (asked_item(work) != item) {
        if (pm_clock_ms() > until_ms) fail_msg("item %d is not read", item);
        sched_yield();
    }
}

static pm_status swallow(void *user, const Pm__Wire__Message *body, const pm_bytes *frames,
                         size_t frame_count) {
    (void)user;
    (void)body;
    (void)frames;
    (void)frame_count;
    return PM_OK;
}

static void say_missing(pm_work *work) {
    pm_sha256 hash;
    assert_true(asks_for(work, &hash));
    assert_int_equal(pm_work_flush(work, swallow, NULL), PM_OK); /* the question goes out first */
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    chunk.sha256 = (ProtobufCBinaryData){sizeof hash.bytes, hash.bytes};
    chunk.missing = "gone";
    Pm__Wire__Message body = pm_wire_chunk(&chunk);
    pm_message message = tasks_message(&body);
    pm_work_chunk(work, &message);
    pm_message_fini(&message);
}

/* All other threads of this process wait. */
static bool readers_sleep(void) {
    bool sleep = true;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[300], how = 'S';
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == (int)getpid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%*d (%*[^)]) %c", &how) == 1) sleep = sleep && how == 'S';
        if (file) fclose(file);
    }
    closedir(folder);
    return sleep;
}

/* Nothing was taken, and the last that may be read is read all the same; the next one is not before
 * one was taken. What is read shows by what the broker is asked for: these two are on no disk. */
static void reading_is_ahead_and_bounded(void **state) {
    (void)state;
    char folder[] = "/tmp/parchmill-ahead-XXXXXX", path[256];
    const pm_supply supply = {.cache = NULL};
    pm_slots *slots = calloc(1, sizeof *slots);
    pm_ahead *ahead = NULL;
    pm_work work;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    assert_non_null(slots);
    assert_non_null(mkdtemp(folder));
    write_files(folder, PM_AHEAD_ITEMS - 1, TASKS_ITEMS_MAX);
    snprintf(path, sizeof path, "%s/i%d.png", folder, PM_AHEAD_ITEMS);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(pm_work_init(&work, slots), PM_OK);
    tasks_announce(&work, folder);
    tasks_give(&work, 1, TASKS_ITEMS_MAX);
    assert_int_equal(pm_ahead_new(&work, &supply, &ahead), PM_OK);
    pm_lease *lease = pm_work_take(&work);
    pm_ahead_begin(ahead, lease);
    wait_until_asked(&work, PM_AHEAD_ITEMS - 1);
    say_missing(&work);
    while (!nobody_asks(&work) || !readers_sleep()) {
        assert_int_not_equal(asked_item(&work), PM_AHEAD_ITEMS);
        assert_true(pm_clock_ms() < until_ms);
    }
    assert_int_equal(asked_item(&work), -1);
    take_letters(ahead, 0);
    wait_until_asked(&work, PM_AHEAD_ITEMS);
    say_missing(&work);
    for (size_t i = 1; i < TASKS_ITEMS_MAX; i++) {
        if (i == PM_AHEAD_ITEMS - 1 || i == PM_AHEAD_ITEMS)
            assert_int_equal(pm_ahead_take(ahead, i, &bytes, &size), PM_E_NOT_FOUND);
        else
            take_letters(ahead, i);
    }
    pm_ahead_end(ahead);
    pm_ahead_free(&ahead, NULL);
    pm_work_fini(&work);
    remove_files(folder);
    free(slots);
}

static void photographs_come_in_order(void **state) {
    (void)state;
    char folder[] = "/tmp/parchmill-ahead-XXXXXX";
    pm_slots *slots = calloc(1, sizeof *slots);
    pm_ahead *ahead = NULL;
    const pm_supply supply = {.cache = NULL};
    pm_work work;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int64_t spent_us = -1;
    assert_non_null(slots);
    assert_non_null(mkdtemp(folder));
    write_files(folder, 3, 5);
    assert_int_equal(pm_work_init(&work, slots), PM_OK);
    tasks_announce(&work, folder);
    tasks_give(&work, 1, TASKS_ITEMS_MAX);
    tasks_give(&work, 2, TASKS_ITEMS_MAX);
    assert_int_equal(pm_ahead_new(&work, &supply, &ahead), PM_OK);
    /* Once the broker, which has them not, is not asked any more. */
    pm_lease *lease = pm_work_take(&work), *next = pm_work_take(&work);
    pm_work_drain(&work);
    pm_ahead_begin(ahead, lease);
    for (size_t i = 0; i < TASKS_ITEMS_MAX; i++) {
        if (i != 3 && i != 5)
            take_letters(ahead, i);
        else
            assert_int_equal(pm_ahead_take(ahead, i, &bytes, &size), PM_E_CANCELLED);
    }
    assert_null(bytes);
    pm_ahead_end(ahead);
    /* A task that is left in the middle. */
    pm_ahead_begin(ahead, next);
    take_letters(ahead, 0);
    take_letters(ahead, 1);
    pm_ahead_end(ahead);
    pm_ahead_begin(ahead, lease);
    take_letters(ahead, 0);
    pm_ahead_end(ahead);
    pm_ahead_free(&ahead, &spent_us);
    assert_true(spent_us >= 0);
    pm_work_fini(&work);
    remove_files(folder);
    free(slots);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_that_sends_nothing_makes_no_error),
        cmocka_unit_test(beats_of_a_lease_never_go_back),
        cmocka_unit_test(credit_is_for_two_seconds_of_work),
        cmocka_unit_test(photographs_come_in_order),
        cmocka_unit_test(reading_is_ahead_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Files for workers: only what was submitted, as it was submitted, and without holding up the
 * queue.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/blobs.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/broker/fixture.h"

/* More than the broker reads through to see whether it is what was submitted; a hole. */
#define SLOW_BYTES (PM_IMAGE_BYTES_MAX + 1)

/* A run whose weights are this file. */
static void submit_weights(scene *s, const char *name, const pm_sha256 *hash, uint64_t size) {
    pm_config config = {.arch = "resnet18", .resize = 256, .crop = 224, .weights = *hash};
    pm_run_spec spec = {
        .classes = 1000, .config_count = 1, .configs = &config, .weights_size = size};
    pm_item item = {.path = (char *)"a.png", .size_bytes = 5, .label = -1};
    pm_data_set set = {.root = s->folder, .name = (char *)"set", .count = 1, .items = &item};
    pm_accepted accepted;
    snprintf(spec.name, sizeof spec.name, "%s", name);
    snprintf(spec.weights_path, sizeof spec.weights_path, "%s/%s", s->folder, name);
    config.std[0] = config.std[1] = config.std[2] = 1;
    config.target_rule = PM_TARGET_RULE_TOP;
    pm_attribution_defaults(&config.attribution);
    assert_int_equal(pm_client_submit(s->client, &spec, &set, NULL, false, WAIT_MS, &accepted),
                     PM_OK);
}

static void expect_missing(worker *w, const pm_sha256 *hash, uint32_t size, const char *why) {
    pm_message chunk;
    worker_fetch(w, hash, 0, size);
    worker_await(w, PM__WIRE__MESSAGE__BODY_CHUNK, &chunk);
    assert_string_equal(chunk.body->chunk->missing, why);
    assert_int_equal(chunk.frame_count, 0);
    pm_message_fini(&chunk);
}

static void file_that_is_not_as_submitted_is_not_served(void **state) {
    scene *s = *state;
    worker w = {0};
    char path[128];
    pm_sha256 hash = pm_sha256_of("0123456789", 10);
    snprintf(path, sizeof path, "%s/weights", s->folder);
    submit(s, 2, "changing");
    worker_join(s, &w, NULL);
    expect_missing(&w, &hash, 10, "the file cannot be opened");
    assert_int_equal(pm_file_write(path, "longer than it was", 18), PM_OK);
    expect_missing(&w, &hash, 10, "changed since the run was submitted");
    unlink(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    expect_missing(&w, &hash, 10, "changed since the run was submitted");
    unlink(path);
    assert_int_equal(pm_file_write(path, "0123456789", 10), PM_OK);
    pm_message chunk;
    worker_fetch(&w, &hash, 0, 10);
    worker_await(&w, PM__WIRE__MESSAGE__BODY_CHUNK, &chunk);
    assert_memory_equal(chunk.frames[0].bytes, "0123456789", 10);
    pm_message_fini(&chunk);
    /* Cut while it is open. */
    assert_int_equal(truncate(path, 4), 0);
    expect_missing(&w, &hash, 10, "changed since the run was submitted");
    worker_leave(&w);
}

static void nobody_fetches_without_a_hello(void **state) {
    scene *s = *state;
    worker w = {0};
    pm_message message;
    pm_sha256 hash = {{0}};
    assert_int_equal(pm_link_new(s->url, PM_ROLE_WORKER, NULL, &w.link), PM_OK);
    assert_int_equal(pm_link_connect(w.link), PM_OK);
    worker_fetch(&w, &hash, 0, 1);
    worker_await(&w, PM__WIRE__MESSAGE__BODY_REFUSED, &message);
    assert_string_equal(message.body->refused->reason, "hello");
    pm_message_fini(&message);
    worker_leave(&w);
}

static size_t count_chunks(worker *w) {
    pm_message message;
    size_t count = 0;
    while (pm_link_receive(w->link, 0, &message) == PM_OK) {
        count += message.body->body_case == PM__WIRE__MESSAGE__BODY_CHUNK;
        pm_message_fini(&message);
    }
    return count;
}

/* Ten workers want large weights from a disk that needs 200 ms for each piece. What a run takes
 * beside them is told in pieces: were they read between messages, each of the run's messages would
 * wait for some of them. */
static void slow_disk_holds_up_only_who_waits_for_it(void **state) {
    enum { HUNGRY = 10, PIECES_BESIDE = 25 };
    scene *s = *state;
    static worker hungry[HUNGRY];
    worker w = {0};
    char path[128];
    pm_message message;
    pm_sha256 hash = {{7}};
    size_t chunks = 0;
    snprintf(path, sizeof path, "%s/slow-weights", s->folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SLOW_BYTES), 0);
    close(fd);
    submit_weights(s, "slow-weights", &hash, SLOW_BYTES);
    for (size_t i = 0; i < HUNGRY; i++) {
        hungry[i] = (worker){0};
        worker_join(s, &hungry[i], NULL);
        for (uint64_t k = 0; k < PM_FETCH_WINDOW; k++)
            worker_fetch(&hungry[i], &hash, k * PM_CHUNK_BYTES, PM_CHUNK_BYTES);
    }
    worker_await(&hungry[0], PM__WIRE__MESSAGE__BODY_CHUNK, &message); /* it has begun */
    pm_message_fini(&message);
    pm_accepted accepted = submit(s, 4, "beside");
    worker_join(s, &w, NULL);
    worker_credit(&w, 2);
    do {
        worker_take(&w);
    } while (w.run != accepted.run);
    for (uint64_t i = 0; i < 4; i++) worker_result(&w, i, w.token);
    Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
    Pm__Wire__Message m = pm_wire_heartbeat(&beat);
    worker_send(&w, &m);
    worker_await(&w, PM__WIRE__MESSAGE__BODY_HEARTBEAT, &message);
    pm_message_fini(&message);
    await_state(s, accepted.run, "done");
    for (size_t i = 0; i < HUNGRY; i++) chunks += count_chunks(&hungry[i]);
    if (chunks > PIECES_BESIDE) fail_msg("%zu pieces were read beside the run", chunks);
    for (size_t i = 0; i < HUNGRY; i++) worker_leave(&hungry[i]);
    worker_leave(&w);
}

/* ---- the thread alone ---- */

enum { SMALL_FILES = PM_BLOBS_OPEN + 4, SMALL_BYTES = 1 << 18, PART_BYTES = 1 << 12, ROUNDS = 4 };

typedef struct small_file {
    char path[128];
    pm_sha256 hash;
} small_file;

/* [SMALL_FILES] files of SMALL_BYTES in `folder`, more than there are descriptors kept. */
static void make_small_files(const char *folder, small_file *out) {
    uint8_t *bytes = calloc(1, SMALL_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < SMALL_FILES; i++) {
        bytes[0] = (uint8_t)i;
        snprintf(out[i].path, sizeof out[i].path, "%s/small-%zu", folder, i);
        assert_int_equal(pm_file_write(out[i].path, bytes, SMALL_BYTES), PM_OK);
        out[i].hash = pm_sha256_of(bytes, SMALL_BYTES);
    }
    free(bytes);
}

/* What is changed at this moment may be changed again under the same time. */
static void await_settled(const small_file *file) {
    struct stat info;
    int64_t changed_ms;
    do {
        poll(NULL, 0, 20);
        assert_int_equal(stat(file->path, &info), 0);
        changed_ms = (int64_t)info.st_ctim.tv_sec * 1000 + info.st_ctim.tv_nsec / 1000000;
    } while (pm_clock_wall_ms() - changed_ms < 1100);
}

/* A part of the file, or why there is none. */
static const char *read_part(pm_blobs *blobs, const small_file *file, uint64_t offset) {
    pm_piece *piece = NULL;
    struct pollfd ready = {.fd = pm_blobs_fd(blobs), .events = POLLIN};
    assert_int_equal(pm_piece_new(file->path, &piece), PM_OK);
    piece->hash = file->hash;
    piece->offset = offset;
    piece->size_bytes = PART_BYTES;
    piece->file_bytes = SMALL_BYTES;
    assert_int_equal(pm_blobs_ask(blobs, &piece), PM_OK);
    while (!(piece = pm_blobs_take(blobs))) assert_true(poll(&ready, 1, WAIT_MS) == 1);
    const char *missing = piece->missing;
    pm_piece_free(&piece);
    return missing;
}

/* Bytes that this process has read, from whatever. */
static uint64_t bytes_read(void) {
    unsigned long long count = 0;
    FILE *file = fopen("/proc/self/io", "re");
    if (!file) return 0;
    assert_int_equal(fscanf(file, "rchar: %llu", &count), 1);
    fclose(file);
    return count;
}

static void read_all_in_turns(pm_blobs *blobs, const small_file *files) {
    for (uint64_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < SMALL_FILES; i++)
            assert_null(read_part(blobs, &files[i], round * PART_BYTES));
}

static void file_is_read_through_once_and_not_for_each_piece(void **state) {
    scene *s = *state;
    small_file files[SMALL_FILES];
    pm_blobs *blobs = NULL;
    if (!bytes_read()) skip(); /* this kernel does not count them */
    make_small_files(s->folder, files);
    await_settled(&files[SMALL_FILES - 1]);
    assert_int_equal(pm_blobs_new(&blobs), PM_OK);
    const uint64_t before = bytes_read();
    read_all_in_turns(blobs, files);
    const uint64_t read = bytes_read() - before;
    print_message("%d files of %d bytes in %d pieces each: %llu bytes read\n", SMALL_FILES,
                  SMALL_BYTES, ROUNDS, (unsigned long long)read);
    assert_true(read >= (uint64_t)SMALL_FILES * SMALL_BYTES);
    assert_true(read < (uint64_t)SMALL_FILES * SMALL_BYTES * 3 / 2);
    pm_blobs_free(&blobs);
}

/* Other bytes, the same size, and the old time of modification, which anybody can set. */
static void write_over(const small_file *file) {
    struct stat info;
    int fd = open(file->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &info), 0);
    assert_int_equal(pwrite(fd, "changed", 7, 100), 7);
    const struct timespec times[2] = {info.st_atim, info.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void file_that_was_read_through_and_then_changed_is_not_served(void **state) {
    scene *s = *state;
    small_file files[SMALL_FILES];
    pm_blobs *blobs = NULL;
    make_small_files(s->folder, files);
    await_settled(&files[SMALL_FILES - 1]);
    assert_int_equal(pm_blobs_new(&blobs), PM_OK);
    read_all_in_turns(blobs, files); /* the descriptor of the first is not among the last */
    write_over(&files[0]);
    assert_string_equal(read_part(blobs, &files[0], 0), "changed since the run was submitted");
    pm_blobs_free(&blobs);
}

/* Times are counted in ticks of some milliseconds: two changes may come within one. */
static void file_changed_within_a_tick_is_not_served(void **state) {
    enum { TRIES = 40 };
    scene *s = *state;
    small_file files[SMALL_FILES];
    for (int i = 0; i < TRIES; i++) {
        pm_blobs *blobs = NULL;
        make_small_files(s->folder, files);
        assert_int_equal(pm_blobs_new(&blobs), PM_OK);
        assert_null(read_part(blobs, &files[SMALL_FILES - 1], 0));
        write_over(&files[SMALL_FILES - 1]);
        for (size_t k = 0; k < PM_BLOBS_OPEN; k++) assert_null(read_part(blobs, &files[k], 0));
        assert_non_null(read_part(blobs, &files[SMALL_FILES - 1], 0));
        pm_blobs_free(&blobs);
    }
}

static int set_up_slow(void **state) {
    char path[600];
    snprintf(path, sizeof path, "%s", getenv("PARCHMILL_SLOW_DISK"));
    setenv("LD_PRELOAD", path, 1);
    int failed = scene_set_up(state);
    unsetenv("LD_PRELOAD");
    return failed;
}

int main(void) {
#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene_set_up, scene_tear_down)
    const struct CMUnitTest tests[] = {
        SCENE(file_that_is_not_as_submitted_is_not_served),
        SCENE(nobody_fetches_without_a_hello),
        SCENE(file_is_read_through_once_and_not_for_each_piece),
        SCENE(file_that_was_read_through_and_then_changed_is_not_served),
        SCENE(file_changed_within_a_tick_is_not_served),
        cmocka_unit_test_setup_teardown(slow_disk_holds_up_only_who_waits_for_it, set_up_slow,
                                        scene_tear_down),
    };
    /* A sanitizer's runtime wants to be first. */
    size_t count = sizeof tests / sizeof *tests - (getenv("PARCHMILL_SLOW_DISK") ? 0 : 1);
    return _cmocka_run_group_tests("broker_blobs", tests, count, NULL, NULL);
}

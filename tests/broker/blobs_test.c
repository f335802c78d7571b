/* Files for workers: only what was submitted, as it was submitted, and without holding up the
 * queue.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        cmocka_unit_test_setup_teardown(slow_disk_holds_up_only_who_waits_for_it, set_up_slow,
                                        scene_tear_down),
    };
    /* A sanitizer's runtime wants to be first. */
    size_t count = sizeof tests / sizeof *tests - (getenv("PARCHMILL_SLOW_DISK") ? 0 : 1);
    return _cmocka_run_group_tests("broker_blobs", tests, count, NULL, NULL);
}

/* Where a worker's bytes come from: a real parchmill-worker that may not open what the broker
 * names, and the broker that this test plays: cached, verified, gone on with, refused. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/worker/fixture.h"

enum { CHUNKS_BEFORE_THE_BREAK = 2, ASKED_MAX = 64 };

/* What a worker asked for. */
typedef struct asked {
    size_t count;
    uint64_t bytes, offsets[ASKED_MAX];
    pm_sha256 hashes[ASKED_MAX];
} asked;

static void cache_path(const fixture *f, char out[128]) { path_in(f, "cache", out); }

/* `cache` NULL: in the fixture's folder. What it says goes to the file "err". */
static void start(fixture *f, const char *cache, bool shared) {
    char program[4096], folder[128], err[128];
    snprintf(program, sizeof program, "%s/parchmill-worker", getenv("PARCHMILL_BIN_DIR"));
    cache_path(f, folder);
    path_in(f, "err", err);
    f->worker = fork();
    assert_true(f->worker >= 0);
    if (f->worker > 0) return;
    int fd = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0) dup2(fd, STDERR_FILENO);
    execl(program, program, "--broker", f->url, "--threads", "1", "--cache", cache ? cache : folder,
          "--log-level", "warn", shared ? NULL : "--no-shared-paths", (char *)NULL);
    _exit(127);
}

/* Also the cache, which the fixture's tear down does not look into. */
static int tear_down_cache(void **state) {
    fixture *f = *state;
    char command[256], folder[128];
    if (f->worker > 0) {
        kill(f->worker, SIGKILL);
        waitpid(f->worker, NULL, 0);
        f->worker = 0;
    }
    cache_path(f, folder);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) || tear_down(state);
}

static void stop(fixture *f) {
    kill(f->worker, SIGKILL);
    waitpid(f->worker, NULL, 0);
    f->worker = 0;
    pm_router_free(&f->router);
    open_router(f);
}

static void read_bytes_of(const fixture *f, const uint8_t *hash, uint8_t **bytes, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s", f->weights);
    for (size_t i = 0; i < IMAGES; i++)
        if (memcmp(hash, f->hashes[i].bytes, PM_SHA256_BYTES) == 0) path_in(f, f->names[i], path);
    assert_int_equal(pm_file_read(path, 1 << 26, bytes, size), PM_OK);
}

static void note(asked *a, const Pm__Wire__Fetch *fetch) {
    assert_true(a->count < ASKED_MAX);
    a->offsets[a->count] = fetch->offset;
    memcpy(a->hashes[a->count++].bytes, fetch->sha256.data, PM_SHA256_BYTES);
    a->bytes += fetch->size_bytes;
}

static void answer_fetch(fixture *f, const Pm__Wire__Fetch *fetch) {
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    uint8_t *bytes = NULL;
    size_t size = 0;
    read_bytes_of(f, fetch->sha256.data, &bytes, &size);
    assert_true(fetch->offset + fetch->size_bytes <= size);
    const pm_bytes frame = {bytes + fetch->offset, fetch->size_bytes};
    chunk.sha256 = fetch->sha256;
    chunk.offset = fetch->offset;
    Pm__Wire__Message message = pm_wire_chunk(&chunk);
    assert_int_equal(pm_router_send(f->router, &f->peer, &message, &frame, 1), PM_OK);
    free(bytes);
}

/* The next result; what is asked for on the way is noted and given. */
static void await_result(fixture *f, asked *a, pm_message *out) {
    const int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    for (;;) {
        bool any;
        pm_peer peer;
        assert_true(pm_clock_ms() < until_ms);
        if (pm_router_receive(f->router, &peer, out) != PM_OK) {
            assert_int_equal(pm_router_wait(f->router, NULL, 0, 200, &any), PM_OK);
            continue;
        }
        if (out->body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RESULT) return;
        if (out->body->body_case == PM__WIRE__MESSAGE__BODY_FETCH) {
            note(a, out->body->fetch);
            answer_fetch(f, out->body->fetch);
        }
        pm_message_fini(out);
    }
}

static void do_task(fixture *f, asked *a) {
    *a = (asked){.count = 0};
    welcome_worker(f);
    send_run(f);
    send_task(f, 1, 0, IMAGES);
    for (size_t i = 0; i < IMAGES; i++) {
        pm_message message;
        await_result(f, a, &message);
        assert_true(message.body->item_result->ordinal == i);
        expect_as_direct(f, i, &message);
        pm_message_fini(&message);
    }
}

static uint64_t all_bytes(const fixture *f) {
    uint64_t bytes = f->weights_size;
    for (size_t i = 0; i < IMAGES; i++) bytes += f->sizes[i];
    return bytes;
}

static void damage(const fixture *f, const pm_sha256 *hash) {
    char folder[128], path[PM_CACHE_PATH_BYTES];
    cache_path(f, folder);
    assert_int_equal(pm_cache_path(folder, hash, path), PM_OK);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\xa5\x5a", 2, 40), 2);
    close(fd);
}

static bool said(const fixture *f, const char *text) {
    char path[128];
    uint8_t *bytes = NULL;
    size_t size;
    path_in(f, "err", path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    bool found = memmem(bytes, size, text, strlen(text)) != NULL;
    if (!found) print_error("%.*s\n", (int)size, (const char *)bytes);
    free(bytes);
    return found;
}

static void what_came_by_wire_is_kept_for_the_next_worker(void **state) {
    fixture *f = *state;
    asked a;
    start(f, NULL, false);
    do_task(f, &a);
    assert_int_equal(a.bytes, all_bytes(f)); /* though every path could have been opened */
    stop(f);
    start(f, NULL, false);
    do_task(f, &a);
    assert_int_equal(a.count, 0);
    stop(f);
    damage(f, &f->hashes[2]);
    damage(f, &f->weights_hash);
    start(f, NULL, false);
    do_task(f, &a);
    assert_int_equal(a.bytes, f->weights_size + f->sizes[2]);
    assert_true(said(f, "worker.cache.damaged"));
    stop(f);
    start(f, NULL, false);
    do_task(f, &a);
    assert_int_equal(a.count, 0);
}

static void shared_paths_are_read_where_they_may_be(void **state) {
    fixture *f = *state;
    asked a;
    start(f, NULL, true);
    do_task(f, &a);
    assert_int_equal(a.count, 0);
}

static void without_a_cache_bytes_stay_in_memory(void **state) {
    fixture *f = *state;
    asked a;
    start(f, "/proc/parchmill", false);
    do_task(f, &a);
    assert_int_equal(a.bytes, all_bytes(f));
    assert_true(said(f, "worker.cache.off"));
}

/* A folder that is there, on a file system that takes nothing. */
static void cache_that_takes_nothing_is_no_failure(void **state) {
    fixture *f = *state;
    asked a;
    start(f, "/proc/self/task", false);
    do_task(f, &a);
    assert_int_equal(a.bytes, all_bytes(f));
    assert_true(said(f, "worker.cache.off"));
}

static void fetch_goes_on_where_a_lost_connection_left_it(void **state) {
    fixture *f = *state;
    pm_message message;
    asked a = {.count = 0};
    assert_true(f->weights_size > (CHUNKS_BEFORE_THE_BREAK + 1) * PM_CHUNK_BYTES);
    start(f, NULL, false);
    welcome_worker(f);
    send_run(f);
    send_task(f, 1, 0, 1);
    for (uint64_t i = 0; i < CHUNKS_BEFORE_THE_BREAK; i++) {
        expect(f, PM__WIRE__MESSAGE__BODY_FETCH, &message);
        assert_int_equal(message.body->fetch->offset, i * PM_CHUNK_BYTES);
        answer_fetch(f, message.body->fetch);
        pm_message_fini(&message);
    }
    /* A task of a run that was not announced: the worker gives it back and connects anew. Its word
     * on it says that the chunks before it were taken. */
    f->run = 99;
    send_task(f, 2, 0, 1);
    f->run = 7;
    expect(f, PM__WIRE__MESSAGE__BODY_TASK_RETURNED, &message);
    pm_message_fini(&message);
    welcome_worker(f);
    await_result(f, &a, &message);
    expect_as_direct(f, 0, &message);
    pm_message_fini(&message);
    for (size_t i = 0; i < a.count; i++)
        if (pm_sha256_equal(&a.hashes[i], &f->weights_hash))
            assert_true(a.offsets[i] >= CHUNKS_BEFORE_THE_BREAK * PM_CHUNK_BYTES);
    assert_int_equal(a.bytes,
                     f->weights_size - CHUNKS_BEFORE_THE_BREAK * PM_CHUNK_BYTES + f->sizes[0]);
}

static void photographs_are_asked_for_side_by_side(void **state) {
    fixture *f = *state;
    pm_message message[3];
    asked a;
    start(f, NULL, false);
    do_task(f, &a);
    stop(f);
    for (size_t i = 0; i < IMAGES; i++) damage(f, &f->hashes[i]); /* the weights are there */
    start(f, NULL, false);
    welcome_worker(f);
    send_run(f);
    send_task(f, 2, 0, IMAGES);
    /* None of them is answered yet. */
    for (size_t i = 0; i < 3; i++) {
        expect(f, PM__WIRE__MESSAGE__BODY_FETCH, &message[i]);
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(message[k].body->fetch->sha256.data,
                                    message[i].body->fetch->sha256.data, PM_SHA256_BYTES);
    }
    for (size_t i = 0; i < 3; i++) {
        answer_fetch(f, message[2 - i].body->fetch);
        pm_message_fini(&message[2 - i]);
    }
    for (size_t i = 0; i < IMAGES; i++) {
        await_result(f, &a, &message[0]);
        assert_true(message[0].body->item_result->ordinal == i);
        expect_as_direct(f, i, &message[0]);
        pm_message_fini(&message[0]);
    }
}

/* Another file of the same size, in the same place. */
static void changed_photograph_is_an_error_row_that_says_so(void **state) {
    fixture *f = *state;
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_message message;
    asked a = {.count = 0};
    path_in(f, f->names[0], path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    bytes[size / 2] ^= 1;
    assert_int_equal(pm_file_write(path, bytes, size), PM_OK);
    free(bytes);
    start(f, NULL, false);
    welcome_worker(f);
    send_run(f);
    send_task(f, 1, 0, 2);
    await_result(f, &a, &message);
    const Pm__Wire__Failure *failure = message.body->item_result->results[0]->failure;
    assert_non_null(failure);
    assert_string_equal(failure->stage, "fetch");
    assert_string_equal(failure->reason, "changed");
    assert_non_null(strstr(failure->text, "changed since the run was submitted"));
    pm_message_fini(&message);
    await_result(f, &a, &message);
    expect_as_direct(f, 1, &message);
    pm_message_fini(&message);
}

static void expect_failure(fixture *f) {
    int how = 0;
    const int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (waitpid(f->worker, &how, WNOHANG) == 0) {
        assert_true(pm_clock_ms() < until_ms);
        usleep(5000);
    }
    f->worker = 0;
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 1);
}

static void cache_that_others_may_write_ends_the_worker_with_one_line(void **state) {
    fixture *f = *state;
    char folder[128];
    cache_path(f, folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    start(f, NULL, false);
    expect_failure(f);
    assert_true(said(f, "--cache"));
    assert_true(said(f, "chmod go-w"));
}

static void broker_of_another_protocol_ends_the_worker_with_one_line(void **state) {
    fixture *f = *state;
    uint8_t epoch[PM_EPOCH_BYTES] = {1};
    char text[96];
    start(f, NULL, false);
    expect(f, PM__WIRE__MESSAGE__BODY_HELLO, &f->hello);
    assert_int_equal(f->hello.body->hello->protocol, PM_PROTOCOL_VERSION);
    assert_int_equal(f->hello.body->hello->schema_version, PM_SCHEMA_VERSION);
    assert_string_equal(f->hello.body->hello->engine_version, PM_ENGINE_VERSION);
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    welcome.protocol = PM_PROTOCOL_VERSION + 1;
    welcome.epoch = (ProtobufCBinaryData){sizeof epoch, epoch};
    welcome.heartbeat_ms = 200;
    welcome.silence_ms = 20000;
    welcome.lease_ms = 60000;
    Pm__Wire__Message message = pm_wire_welcome(&welcome);
    send_to_worker(f, &message);
    expect_failure(f);
    snprintf(text, sizeof text, "the broker speaks protocol %d, this worker %d",
             PM_PROTOCOL_VERSION + 1, PM_PROTOCOL_VERSION);
    assert_true(said(f, text));
}

static void worker_that_is_refused_for_its_version_says_why(void **state) {
    fixture *f = *state;
    start(f, NULL, false);
    expect(f, PM__WIRE__MESSAGE__BODY_HELLO, &f->hello);
    Pm__Wire__Refused refused = PM__WIRE__REFUSED__INIT;
    refused.reason = (char *)"version";
    refused.text = (char *)"this broker works with engine 9.9.9, not yours";
    Pm__Wire__Message message = pm_wire_refused(&refused);
    send_to_worker(f, &message);
    expect_failure(f);
    assert_true(said(f, "engine 9.9.9"));
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down_cache)
    const struct CMUnitTest tests[] = {
        WITH(what_came_by_wire_is_kept_for_the_next_worker),
        WITH(shared_paths_are_read_where_they_may_be),
        WITH(without_a_cache_bytes_stay_in_memory),
        WITH(cache_that_takes_nothing_is_no_failure),
        WITH(fetch_goes_on_where_a_lost_connection_left_it),
        WITH(photographs_are_asked_for_side_by_side),
        WITH(changed_photograph_is_an_error_row_that_says_so),
        WITH(cache_that_others_may_write_ends_the_worker_with_one_line),
        WITH(broker_of_another_protocol_ends_the_worker_with_one_line),
        WITH(worker_that_is_refused_for_its_version_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A real parchmill-worker against a broker that breaks every rule: it does not crash, opens nothing
 * outside the data set's folder, and works on for a broker that behaves. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "tests/net/raw.h"
#include "tests/worker/fixture.h"

enum { ROUNDS = 12, SEED_MAX = 1 << 20 };

/* ---- a broker by hand ---- */

static int listen_raw(const fixture *f) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.64s/s.w", f->folder);
    unlink(address.sun_path);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

/* An end that is no crash is allowed: it may have been told to go. */
static void keep_worker(fixture *f) {
    int state;
    if (f->worker > 0 && waitpid(f->worker, &state, WNOHANG) == f->worker) {
        if (!WIFEXITED(state)) fail_msg("the worker died by signal %d", WTERMSIG(state));
        f->worker = 0;
    }
    if (f->worker == 0) start_worker(f, NULL);
}

/* Its Hello must not tell of a crash. */
static void check_hello(const uint8_t *bytes, size_t size) {
    Pm__Wire__Message *body = NULL;
    assert_int_equal(pm_wire_unpack(bytes, size, &body), PM_OK);
    if (body->body_case == PM__WIRE__MESSAGE__BODY_HELLO && body->hello->has_crashed_instance)
        fail_msg("the worker crashed: %s",
                 body->hello->crash_reason ? body->hello->crash_reason : "?");
    pm_wire_free(&body);
}

static Pm__Wire__Welcome a_welcome(void) {
    static uint8_t epoch[PM_EPOCH_BYTES] = {1};
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    welcome.protocol = PM_PROTOCOL_VERSION;
    welcome.epoch = (ProtobufCBinaryData){sizeof epoch, epoch};
    welcome.heartbeat_ms = 1000;
    welcome.silence_ms = 20000;
    welcome.lease_ms = 60000;
    return welcome;
}

/* The next connection, greeted and welcomed. */
static int take_worker(fixture *f, int listener) {
    static uint8_t bytes[1 << 16];
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (pm_clock_ms() < until_ms) {
        struct pollfd wait = {.fd = listener, .events = POLLIN};
        int flags;
        keep_worker(f);
        if (poll(&wait, 1, 100) <= 0) continue;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        if (raw_handshake(fd, 5000)) {
            long size = raw_read(fd, &flags, bytes, sizeof bytes, NULL, 5000);
            if (size > 0 && flags == 0) {
                check_hello(bytes, (size_t)size);
                Pm__Wire__Welcome welcome = a_welcome();
                Pm__Wire__Message message = pm_wire_welcome(&welcome);
                if (raw_say(fd, &message)) return fd;
            }
        }
        close(fd);
    }
    fail_msg("the worker does not come");
    return -1;
}

static bool say_seed(int fd, const uint8_t *bytes, size_t size, uint64_t flips) {
    size_t frames = bytes[0] & 7, control_at = 1 + 2 * frames;
    if (control_at > size) return true;
    for (size_t i = 0; i < frames; i++) control_at += bytes[1 + 2 * i];
    if (control_at >= size) return true;
    uint8_t *copy = malloc(size - control_at);
    assert_non_null(copy);
    memcpy(copy, bytes + control_at, size - control_at);
    for (int i = 0; flips && i < 3; i++) {
        flips = flips * 6364136223846793005u + 1442695040888963407u;
        copy[(flips >> 33) % (size - control_at)] ^= (uint8_t)(1u << (flips >> 61));
    }
    bool said = raw_frame(fd, frames ? RAW_MORE : 0, copy, size - control_at) &&
                (!frames || raw_frame(fd, 0, bytes, size));
    free(copy);
    return said;
}

/* A Hello, at last, and its Welcome. */
static void await_hello(fixture *f) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    for (bool any; pm_clock_ms() < until_ms;) {
        pm_message message;
        keep_worker(f);
        assert_int_equal(pm_router_wait(f->router, NULL, 0, 100, &any), PM_OK);
        if (!any || pm_router_receive(f->router, &f->peer, &message) != PM_OK) continue;
        bool hello = message.body->body_case == PM__WIRE__MESSAGE__BODY_HELLO;
        if (hello) assert_false(message.body->hello->has_crashed_instance);
        pm_message_fini(&message);
        if (!hello) continue;
        Pm__Wire__Welcome welcome = a_welcome();
        Pm__Wire__Message answer = pm_wire_welcome(&welcome);
        send_to_worker(f, &answer);
        return;
    }
    fail_msg("the worker does not say hello");
}

static void work_goes_on(fixture *f) {
    pm_message message;
    /* It may be on its way out still, with a last word: something told it to go. */
    open_router(f);
    await_hello(f);
    send_run(f);
    send_task(f, 1000, 0, 1);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_null(message.body->item_result->results[0]->failure);
    pm_message_fini(&message);
}

static void garbage_of_every_kind_does_not_kill_a_worker(void **state) {
    fixture *f = *state;
    char folder[512], path[1024];
    const char *source = getenv("PARCHMILL_SOURCE_DIR");
    uint64_t sent = 0;
    pm_router_free(&f->router);
    int listener = listen_raw(f), fd = take_worker(f, listener);
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/wire", source ? source : ".");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        uint8_t *bytes = NULL;
        size_t size;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_int_equal(pm_file_read(path, SEED_MAX, &bytes, &size), PM_OK);
        for (int i = 0; size > 0 && i < ROUNDS; i++) {
            if (say_seed(fd, bytes, size, i ? ++sent : 0)) continue;
            close(fd);
            fd = take_worker(f, listener);
        }
        free(bytes);
    }
    closedir(dir);
    close(fd);
    close(listener);
    snprintf(path, sizeof path, "%s/s.w", f->folder);
    unlink(path);
    work_goes_on(f);
}

/* ---- paths ---- */

typedef struct lies {
    const char *root, *item;
    const char *weights; /* a path */
    uint64_t weights_size;
    size_t baseline_bytes; /* of its hash; 0: no baseline */
} lies;

static void send_lies(fixture *f, const lies *l) {
    static uint8_t zeros[PM_SHA256_BYTES];
    Pm__Wire__Blob weights = PM__WIRE__BLOB__INIT, baseline = PM__WIRE__BLOB__INIT;
    Pm__Wire__RunInfo info = PM__WIRE__RUN_INFO__INIT;
    uint8_t *hash = malloc(l->baseline_bytes + 1); /* of its own: what lies behind is seen */
    assert_non_null(hash);
    memset(hash, 7, l->baseline_bytes + 1);
    weights.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->weights_hash.bytes};
    weights.size_bytes = l->weights ? l->weights_size : f->weights_size;
    weights.path = l->weights ? (char *)l->weights : f->weights;
    if (l->weights) weights.sha256.data = zeros;
    info.run = ++f->run;
    info.arch = f->config.arch;
    info.weights = &weights;
    baseline.sha256 = (ProtobufCBinaryData){l->baseline_bytes, hash};
    baseline.size_bytes = 10;
    if (l->baseline_bytes) info.baseline = &baseline;
    info.n_configurations = 1;
    info.configurations = &f->config_text;
    info.data_root = (char *)(l->root ? l->root : f->folder);
    info.channels = (char *)"none";
    info.heat_maps = (char *)"none";
    Pm__Wire__Message message = pm_wire_run_info(&info);
    send_to_worker(f, &message);
    free(hash);
    Pm__Wire__Item item = PM__WIRE__ITEM__INIT, *items[] = {&item};
    Pm__Wire__Task task = PM__WIRE__TASK__INIT;
    uint32_t ordinal = 0;
    item.path = (char *)l->item;
    item.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->hashes[0].bytes};
    item.size_bytes = f->sizes[0];
    task.task = 100 + f->run;
    task.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, f->token};
    task.run = f->run;
    task.configurations = &ordinal;
    task.n_configurations = task.n_items = 1;
    task.items = items;
    message = pm_wire_task(&task);
    send_to_worker(f, &message);
}

static void expect_failure(fixture *f, const char *text) {
    pm_message message;
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    const Pm__Wire__Failure *failure = message.body->item_result->results[0]->failure;
    assert_non_null(failure);
    if (!strstr(failure->text, text)) fail_msg("'%s' has no '%s'", failure->text, text);
    pm_message_fini(&message);
    acknowledge(f, 100 + f->run, 0);
}

static void paths_lead_nowhere_else(void **state) {
    fixture *f = *state;
    char fifo[128], up[256];
    f->missing = "not here";
    path_in(f, "fifo", fifo);
    snprintf(up, sizeof up, "../%s/%s", strrchr(f->folder, '/') + 1, f->names[0]);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    start_worker(f, NULL);
    welcome_worker(f);
    /* The right image, by a way that leaves the folder. */
    send_lies(f, &(lies){.item = up});
    expect_failure(f, "leads out");
    send_lies(f, &(lies){.root = "/", .item = "/etc/passwd"});
    expect_failure(f, "leads out");
    /* A file whose hash is not the one announced is not used, and nothing of it is told. */
    send_lies(f, &(lies){.root = "/", .item = "etc/passwd"});
    expect_failure(f, "not here");
    /* What is no file is not opened: these never end. */
    send_lies(f, &(lies){.item = f->names[0], .weights = fifo});
    expect_failure(f, "empty");
    send_lies(f, &(lies){.item = f->names[0], .weights = "/dev/zero"});
    expect_failure(f, "empty");
    send_lies(f, &(lies){.root = f->folder, .item = "fifo"});
    expect_failure(f, "not here");
    /* A run whose hash is malformed is no run, its task is of no run: the worker says Hello anew.
     */
    send_lies(f, &(lies){.item = f->names[0], .baseline_bytes = 5});
    welcome_worker(f);
    send_run(f);
    send_task(f, 1000, 0, 1);
    pm_message message;
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_true(message.body->item_result->task == 1000);
    assert_null(message.body->item_result->results[0]->failure);
    pm_message_fini(&message);
}

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(garbage_of_every_kind_does_not_kill_a_worker, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(paths_lead_nowhere_else, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

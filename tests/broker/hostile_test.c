/* Peers that break every rule, against a real broker: it stays small, quick and there for others.
 */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "tests/broker/fixture.h"
#include "tests/net/raw.h"

enum { FLOOD = 100000, MIB = 1 << 20, CROWD = 200 };

/* ---- what /proc says of the broker ---- */

static long proc_kib(const scene *s, const char *key) {
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->broker);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) value = strtol(line + strlen(key) + 1, NULL, 10);
    fclose(file);
    return value;
}

static long resident_mib(const scene *s) { return proc_kib(s, "VmRSS") / 1024; }

/* Processor time so far, in ticks of a hundredth of a second. */
static long processor_ticks(const scene *s) {
    char path[64], text[1024];
    long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)s->broker);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    text[n] = 0;
    fclose(file);
    const char *behind = strrchr(text, ')');
    assert_non_null(behind);
    assert_int_equal(
        sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system),
        2);
    return user + system;
}

static size_t descriptors(const scene *s) {
    char path[64];
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)s->broker);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir)) count++;
    closedir(dir);
    return count - 2;
}

/* ---- peers ---- */

static const char *at(const scene *s, pm_port port) {
    static char path[128];
    snprintf(path, sizeof path, "%s/s%s", s->folder, port == PM_PORT_WORKER ? ".w" : "");
    return path;
}

static int come(const scene *s, pm_port port) {
    int fd = raw_open(at(s, port), WAIT_MS);
    assert_true(fd >= 0);
    return fd;
}

static void say_hello(int fd, pm_port port, const char *host) {
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    uint8_t instance[PM_INSTANCE_BYTES];
    pm_random_bytes(instance, sizeof instance);
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)PM_ENGINE_VERSION;
    hello.role = (char *)(port == PM_PORT_WORKER ? "worker" : "client");
    hello.instance = (ProtobufCBinaryData){sizeof instance, instance};
    hello.host = (char *)host;
    hello.isa = (char *)host;
    hello.has_schema_version = true;
    hello.schema_version = PM_SCHEMA_VERSION;
    Pm__Wire__Message message = pm_wire_hello(&hello);
    assert_true(raw_say(fd, &message));
}

static int64_t ask_status_ms(scene *s) {
    pm_message answer;
    int64_t begin_ms = pm_clock_ms();
    assert_int_equal(pm_client_status(s->client, 0, WAIT_MS, &answer), PM_OK);
    pm_message_fini(&answer);
    return pm_clock_ms() - begin_ms;
}

/* Memory is given back just behind the answer. */
static void await_resident(const scene *s, long mib) {
    int64_t until_ms = pm_clock_ms() + WAIT_MS;
    while (resident_mib(s) >= mib) {
        if (pm_clock_ms() > until_ms) fail_msg("%ld MiB are resident", resident_mib(s));
        poll(NULL, 0, 20);
    }
}

/* What is still on its way from peers that have left may yet cancel or pause a run. */
static void await_idle(const scene *s) {
    int64_t until_ms = pm_clock_ms() + 6 * WAIT_MS, quiet_ms = pm_clock_ms();
    for (long ticks = processor_ticks(s); pm_clock_ms() - quiet_ms < 500;) {
        poll(NULL, 0, 20);
        const long now = processor_ticks(s);
        if (now > ticks + 1) quiet_ms = pm_clock_ms();
        if (now > ticks + 1) ticks = now;
        assert_true(pm_clock_ms() < until_ms);
    }
}

/* Whoever left without a Goodbye, or with one that got lost, is found out by silence. */
static void await_no_workers(scene *s) {
    int64_t until_ms = pm_clock_ms() + 2 * WAIT_MS;
    for (bool any = true; any;) {
        pm_message answer;
        assert_int_equal(pm_client_status(s->client, 0, WAIT_MS, &answer), PM_OK);
        any = answer.body->status->n_workers > 0;
        pm_message_fini(&answer);
        assert_true(pm_clock_ms() < until_ms);
        if (any) poll(NULL, 0, 50);
    }
}

/* The run gets done by a worker that behaves. */
static void work_goes_on(scene *s, uint64_t run, size_t items) {
    worker w = {0};
    worker_join(s, &w, NULL);
    worker_credit(&w, 64);
    for (size_t done = 0; done < items; done += w.items) {
        worker_take(&w);
        for (uint64_t i = 0; i < w.items; i++) {
            worker_started(&w, w.first + i);
            worker_result(&w, w.first + i, w.token);
        }
    }
    await_state(s, run, "done");
    worker_leave(&w);
}

/* ---- tests ---- */

/* All at once, since most of it is waiting: each of these is set before the first bind. */
static void limits_hold_for_every_connection(void **state) {
    scene *s = *state;
    uint8_t greeting[RAW_GREETING_BYTES], noise[4096], aside[64];
    int flags, pings = 0;
    raw_greeting(greeting);
    pm_random_bytes(noise, sizeof noise);
    int half = raw_connect(at(s, PM_PORT_WORKER)), mute = raw_connect(at(s, PM_PORT_CLIENT));
    int garbage = raw_connect(at(s, PM_PORT_CLIENT)), slow = raw_connect(at(s, PM_PORT_CLIENT));
    int deaf = come(s, PM_PORT_WORKER), large = come(s, PM_PORT_WORKER);
    int larger = come(s, PM_PORT_CLIENT), fits = come(s, PM_PORT_WORKER);
    assert_true(raw_write(half, greeting, 32));
    (void)raw_write(garbage, noise, sizeof noise);
    /* MAXMSGSIZE: refused by its head, before any memory is taken for it */
    assert_true(raw_head(large, 0, PM_WORKER_FRAME_MAX + 1));
    assert_true(raw_head(larger, 0, PM_ITEM_LIST_BYTES_MAX + 1));
    assert_true(raw_head(fits, 0, PM_WORKER_FRAME_MAX));
    assert_true(raw_closed(large, 4000));
    assert_true(raw_closed(larger, 4000));
    assert_false(raw_closed(fits, 100));
    assert_true(raw_closed(garbage, WAIT_MS));
    /* heartbeats */
    assert_true(raw_read(deaf, &flags, aside, sizeof aside, &pings, 3000) == -1 && pings > 0);
    /* handshake: half a greeting, none, and one byte at a time */
    int64_t until_ms = pm_clock_ms() + WAIT_MS;
    for (size_t i = 0; raw_write(slow, greeting + i % RAW_GREETING_BYTES, 1); i++) {
        assert_true(pm_clock_ms() < until_ms && i < RAW_GREETING_BYTES);
        poll(NULL, 0, 500);
    }
    assert_true(raw_closed(half, WAIT_MS));
    assert_true(raw_closed(mute, WAIT_MS));
    /* and who does not answer a heartbeat is gone */
    assert_true(raw_closed(deaf, WAIT_MS));
    const int all[] = {half, mute, garbage, slow, deaf, large, larger, fits};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) close(all[i]);
    assert_true(ask_status_ms(s) < WAIT_MS);
}

/* A seed of the fuzz target `wire` as frames; some bits of it changed. */
static void send_seed(int fd, const uint8_t *bytes, size_t size, uint64_t flips) {
    size_t count = size ? bytes[0] & 7 : 0, frame_at = 1 + 2 * count, used = 0;
    uint8_t *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    for (uint64_t i = 0; flips && size && i < 3; i++) {
        flips = flips * 6364136223846793005u + 1442695040888963407u;
        copy[(flips >> 33) % size] ^= (uint8_t)(1u << (flips >> 61));
    }
    for (size_t i = 0; i < count && 2 + 2 * i < size; i++) used += bytes[1 + 2 * i];
    size_t control_at = frame_at + used < size ? frame_at + used : size;
    bool last = count == 0;
    if (!raw_frame(fd, last ? 0 : RAW_MORE, copy + control_at, size - control_at)) goto done;
    for (size_t i = 0; i < count; i++) {
        size_t length = 1 + 2 * i < size ? bytes[1 + 2 * i] : 0;
        if (frame_at + length > size) length = 0;
        if (!raw_frame(fd, i + 1 < count ? RAW_MORE : 0, copy + frame_at, length)) break;
        frame_at += length;
    }
done:
    free(copy);
}

static void send_seeds(scene *s, pm_port port, bool hello, uint64_t rounds) {
    char folder[512];
    const char *source = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(folder, sizeof folder, "%s/tests/fuzz/corpus/wire", source ? source : ".");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    size_t sent = 0;
    Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message bye = pm_wire_goodbye(&goodbye);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[1024];
        uint8_t *bytes = NULL;
        size_t size;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_int_equal(pm_file_read(path, MIB, &bytes, &size), PM_OK);
        int fd = come(s, port);
        if (hello) say_hello(fd, port, "host");
        for (uint64_t i = 0; i < rounds; i++, sent++) send_seed(fd, bytes, size, i ? sent + 1 : 0);
        (void)raw_say(fd, &bye);
        close(fd);
        free(bytes);
    }
    closedir(dir);
    assert_true(sent > 20 * rounds);
}

static void every_message_in_every_state_leaves_others_alone(void **state) {
    scene *s = *state;
    /* Clients first: they may cancel. */
    send_seeds(s, PM_PORT_CLIENT, false, 30);
    send_seeds(s, PM_PORT_CLIENT, true, 30);
    await_idle(s);
    pm_accepted accepted = submit(s, 4, "others");
    send_seeds(s, PM_PORT_WORKER, false, 30);
    send_seeds(s, PM_PORT_WORKER, true, 30);
    assert_true(ask_status_ms(s) < WAIT_MS);
    await_idle(s);
    await_no_workers(s); /* some of them hold leases */
    work_goes_on(s, accepted.run, 4);
    assert_true(resident_mib(s) < 200);
}

static void frames_without_end_are_refused(void **state) {
    scene *s = *state;
    int fd = come(s, PM_PORT_WORKER);
    say_hello(fd, PM_PORT_WORKER, "host");
    for (size_t i = 0; i < PM_FRAMES_MAX + 10; i++) assert_true(raw_frame(fd, RAW_MORE, "", 0));
    assert_true(raw_frame(fd, 0, "", 0));
    assert_true(raw_refused(fd, "limit", WAIT_MS));
    close(fd);
    assert_true(resident_mib(s) < 200);
}

/* ZeroMQ shows a message when its last frame is there, and this one never comes. */
static void message_without_end_is_broken_off(void **state) {
    scene *s = *state;
    uint8_t *zeros = calloc(MIB, 1);
    pm_accepted accepted = submit(s, 2, "beside it");
    assert_non_null(zeros);
    int fd = come(s, PM_PORT_WORKER);
    say_hello(fd, PM_PORT_WORKER, "host");
    long sent_mib = 0;
    while (sent_mib < 2048 && raw_frame(fd, RAW_MORE, zeros, MIB)) sent_mib++;
    assert_true(sent_mib < 400);
    await_log(s, "connections.broken");
    free(zeros);
    close(fd);
    assert_true(proc_kib(s, "VmHWM") / 1024 < 500);
    await_resident(s, 200);
    /* One that ends its messages may bring as much as it likes. */
    fd = come(s, PM_PORT_WORKER);
    say_hello(fd, PM_PORT_WORKER, "host");
    uint8_t *large = calloc(8, MIB);
    assert_non_null(large);
    for (int i = 0; i < 80; i++) assert_true(raw_frame(fd, 0, large, 8 * MIB));
    free(large);
    assert_true(raw_refused(fd, "format", WAIT_MS));
    close(fd);
    await_no_workers(s);
    work_goes_on(s, accepted.run, 2);
}

/* As large as a submission may be, and nothing in it. */
static void large_submission_of_nothing_is_refused_and_forgotten(void **state) {
    scene *s = *state;
    int fd = come(s, PM_PORT_CLIENT);
    uint8_t *zeros = calloc(MIB, 1), *seed = NULL;
    char path[512];
    size_t size;
    const char *source = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/wire/submit", source ? source : ".");
    assert_non_null(zeros);
    assert_int_equal(pm_file_read(path, MIB, &seed, &size), PM_OK);
    size_t control = 3 + (size_t)(seed[1] | seed[2] << 8);
    say_hello(fd, PM_PORT_CLIENT, "host");
    assert_true(raw_frame(fd, RAW_MORE, seed + control, size - control));
    assert_true(raw_head(fd, 0, PM_ITEM_LIST_BYTES_MAX));
    for (size_t i = 0; i < PM_ITEM_LIST_BYTES_MAX / MIB; i++)
        assert_true(raw_write(fd, zeros, MIB));
    assert_true(raw_refused(fd, "format", WAIT_MS) || raw_refused(fd, "usage", 100));
    close(fd);
    free(zeros);
    free(seed);
    assert_true(proc_kib(s, "VmHWM") / 1024 < 700);
    await_resident(s, 200);
}

static void client_that_never_reads_costs_nothing(void **state) {
    scene *s = *state;
    char name[128];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (int i = 0; i < 4; i++) {
        name[0] = (char)('a' + i);
        submit(s, 1, name);
    }
    int fd = come(s, PM_PORT_CLIENT);
    say_hello(fd, PM_PORT_CLIENT, "host");
    Pm__Wire__StatusRequest request = PM__WIRE__STATUS_REQUEST__INIT;
    Pm__Wire__Message message = pm_wire_status_request(&request);
    long before = resident_mib(s);
    int64_t slowest_ms = 0;
    for (int i = 0; i < FLOOD && raw_say(fd, &message); i++) {
        if (i % (FLOOD / 20) != 0) continue;
        int64_t took_ms = ask_status_ms(s);
        if (took_ms > slowest_ms) slowest_ms = took_ms;
    }
    assert_true(ask_status_ms(s) < 2000 && slowest_ms < 2000);
    assert_true(resident_mib(s) < before + 48);
    close(fd);
}

static void worker_that_never_reads_is_lost_and_costs_little(void **state) {
    scene *s = *state;
    submission job;
    pm_accepted accepted;
    uint8_t *weights = calloc(1, PM_CHUNK_BYTES);
    assert_non_null(weights);
    make_submission(s, 4, "fetched", &job);
    pm_sha256 hash = pm_sha256_of(weights, PM_CHUNK_BYTES);
    job.config.weights = hash;
    job.spec.weights_size = PM_CHUNK_BYTES;
    assert_int_equal(pm_file_write(job.spec.weights_path, weights, PM_CHUNK_BYTES), PM_OK);
    free(weights);
    assert_int_equal(
        pm_client_submit(s->client, &job.spec, &job.set, NULL, false, WAIT_MS, &accepted), PM_OK);
    int fd = come(s, PM_PORT_WORKER);
    say_hello(fd, PM_PORT_WORKER, "deaf");
    await_log(s, "worker.here");
    Pm__Wire__Credit credit = PM__WIRE__CREDIT__INIT;
    credit.tasks = 64;
    Pm__Wire__Message message = pm_wire_credit(&credit);
    assert_true(raw_say(fd, &message));
    Pm__Wire__Fetch fetch = PM__WIRE__FETCH__INIT;
    fetch.sha256 = (ProtobufCBinaryData){sizeof hash.bytes, hash.bytes};
    fetch.size_bytes = PM_CHUNK_BYTES;
    message = pm_wire_fetch(&fetch);
    long before = resident_mib(s);
    /* What is over its share is not served: it goes on asking. */
    const int64_t deadline_ms = pm_clock_ms() + WAIT_MS;
    while (!log_has(s, "worker.deaf")) {
        assert_true(pm_clock_ms() < deadline_ms);
        assert_true(raw_say(fd, &message));
    }
    /* Its task is another's at once, long before its lease or its silence would end it. */
    work_goes_on(s, accepted.run, 4);
    assert_true(resident_mib(s) < before + 64);
    close(fd);
}

static void without_descriptors_it_serves_who_is_there(void **state) {
    scene *s = *state;
    int crowd[CROWD];
    pm_client *late = NULL;
    struct rlimit few = {.rlim_cur = descriptors(s) + 40, .rlim_max = descriptors(s) + 40};
    assert_int_equal(prlimit(s->broker, RLIMIT_NOFILE, &few, NULL), 0);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = raw_connect(at(s, i % 2 ? PM_PORT_WORKER : PM_PORT_CLIENT));
        uint8_t greeting[RAW_GREETING_BYTES];
        raw_greeting(greeting);
        if (crowd[i] >= 0) (void)raw_write(crowd[i], greeting, sizeof greeting);
    }
    await_log(s, "connections.full");
    pm_accepted accepted = submit(s, 1, "in the crowd");
    long ticks = processor_ticks(s);
    int64_t begin_ms = pm_clock_ms();
    poll(NULL, 0, 1000); /* the time over which its processor time is taken */
    double busy = 10.0 * (double)(processor_ticks(s) - ticks) / (double)(pm_clock_ms() - begin_ms);
    if (busy > 0.3) fail_msg("it is busy %.0f %% of the time", 100 * busy);
    for (size_t i = 0; i < CROWD; i++)
        if (crowd[i] >= 0) close(crowd[i]);
    assert_int_equal(pm_client_open(s->url, NULL, WAIT_MS, &late), PM_OK);
    pm_client_free(&late);
    work_goes_on(s, accepted.run, 1);
}

static void names_reach_neither_log_nor_status_raw(void **state) {
    scene *s = *state;
    pm_message answer;
    int fd = come(s, PM_PORT_WORKER);
    say_hello(fd, PM_PORT_WORKER,
              "\x1b[2J\xff\xc2\x9b"
              "evil\nlevel=error");
    await_log(s, "worker.here");
    assert_int_equal(pm_client_status(s->client, 0, WAIT_MS, &answer), PM_OK);
    assert_int_equal(answer.body->status->n_workers, 1);
    assert_true(pm_text_is_plain(answer.body->status->workers[0]->name));
    pm_message_fini(&answer);
    const char escape[] = "\x1b", csi[] = "\xc2\x9b";
    assert_false(log_has(s, escape));
    assert_false(log_has(s, csi));
    assert_int_equal(ask(s, "SELECT count(*) FROM worker WHERE instr(host, char(27))"
                            " OR instr(host, char(10)) OR instr(isa, char(27))"),
                     0);
    assert_int_equal(ask(s, "SELECT count(*) FROM worker"), 1);
    close(fd);
    submission job;
    pm_accepted accepted;
    make_submission(s, 1, "run\x1b[2J", &job);
    assert_int_equal(
        pm_client_submit(s->client, &job.spec, &job.set, NULL, false, WAIT_MS, &accepted),
        PM_E_USAGE);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene_set_up, scene_tear_down)

/* Argument: a pattern of tests to run. */
int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        SCENE(limits_hold_for_every_connection),
        SCENE(every_message_in_every_state_leaves_others_alone),
        SCENE(frames_without_end_are_refused),
        SCENE(message_without_end_is_broken_off),
        SCENE(large_submission_of_nothing_is_refused_and_forgotten),
        SCENE(client_that_never_reads_costs_nothing),
        SCENE(worker_that_never_reads_is_lost_and_costs_little),
        SCENE(without_descriptors_it_serves_who_is_there),
        SCENE(names_reach_neither_log_nor_status_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

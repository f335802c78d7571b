/* Owns the broker that worker tests play, and what there is to compute. */
#include "tests/worker/fixture.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/image/inputs.h"
#include "parchgrad.h"

/* ---- what there is to compute ---- */

void path_in(const fixture *f, const char *name, char out[128]) {
    snprintf(out, 128, "%s/%s", f->folder, name);
}

void hash_image(fixture *f, size_t i) {
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    path_in(f, f->names[i], path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    f->hashes[i] = pm_sha256_of(bytes, size);
    f->sizes[i] = size;
    free(bytes);
}

static void make_images(fixture *f) {
    static uint8_t rgb[SIDE * SIDE * 3];
    for (size_t i = 0; i < IMAGES; i++) {
        char path[128];
        pm_image image = {SIDE, SIDE, rgb};
        snprintf(f->names[i], sizeof f->names[i], "%zu.png", i);
        for (size_t p = 0; p < sizeof rgb; p++)
            rgb[p] = (uint8_t)pm_splitmix64(i * sizeof rgb + p / 48);
        path_in(f, f->names[i], path);
        assert_int_equal(pm_image_write_png(path, &image), PM_OK);
        hash_image(f, i);
    }
}

static void make_configuration(fixture *f) {
    const pm_arch_info *arch = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_sha256 hash;
    const char *source = getenv("PARCHMILL_SOURCE_DIR");
    assert_non_null(source);
    snprintf(f->weights, sizeof f->weights, "%s/tools/demo/demo_resnet20.safetensors", source);
    assert_int_equal(pm_file_read(f->weights, 1 << 26, &bytes, &size), PM_OK);
    f->weights_hash = pm_sha256_of(bytes, size);
    f->weights_size = size;
    free(bytes);
    assert_int_equal(pm_arch_find("cifar_resnet20", &arch), PM_OK);
    snprintf(f->config.arch, sizeof f->config.arch, "%s", arch->name);
    f->config.weights = f->weights_hash;
    f->config.resize = arch->resize;
    f->config.crop = arch->crop;
    f->config.filter = arch->filter;
    memcpy(f->config.mean, arch->mean, sizeof arch->mean);
    memcpy(f->config.std, arch->std, sizeof arch->std);
    f->config.target_rule = PM_TARGET_RULE_LABEL;
    pm_attribution_defaults(&f->config.attribution);
    assert_int_equal(pm_config_format(&f->config, &f->config_text, &hash), PM_OK);
}

void open_router(fixture *f) {
    assert_int_equal(pm_router_new(&f->router), PM_OK);
    assert_int_equal(pm_router_bind(f->router, f->url, NULL), PM_OK);
}

int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-worker-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->url, sizeof f->url, "ipc://%s/s", f->folder);
    assert_int_equal(pm_image_setup("worker_test"), PM_OK);
    make_images(f);
    make_configuration(f);
    open_router(f);
    pm_random_bytes(f->token, sizeof f->token);
    f->run = 7;
    *state = f;
    return 0;
}

int tear_down(void **state) {
    fixture *f = *state;
    char path[400];
    if (f->worker > 0) {
        kill(f->worker, SIGKILL);
        waitpid(f->worker, NULL, 0);
    }
    pm_message_fini(&f->hello);
    pm_router_free(&f->router);
    free(f->config_text);
    DIR *folder = opendir(f->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        snprintf(path, sizeof path, "%s/%s", f->folder, entry->d_name);
        unlink(path);
    }
    if (folder) closedir(folder);
    rmdir(f->folder);
    free(f);
    return 0;
}

/* ---- the broker's part ---- */

void start_worker(fixture *f, const char *fault) {
    char program[4096];
    snprintf(program, sizeof program, "%s/parchmill-worker", getenv("PARCHMILL_BIN_DIR"));
    f->worker = fork();
    assert_true(f->worker >= 0);
    if (f->worker > 0) return;
    if (fault) setenv("PARCHMILL_FAULT", fault, 1);
    execl(program, program, "--broker", f->url, "--threads", "1", "--cache", f->folder,
          "--log-level", "error", (char *)NULL);
    _exit(127);
}

void send_to_worker(fixture *f, const Pm__Wire__Message *message) {
    assert_int_equal(pm_router_send(f->router, &f->peer, message, NULL, 0), PM_OK);
}

static void say_missing(fixture *f, const Pm__Wire__Fetch *fetch) {
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    chunk.sha256 = fetch->sha256;
    chunk.missing = (char *)f->missing;
    Pm__Wire__Message answer = pm_wire_chunk(&chunk);
    f->fetches++;
    send_to_worker(f, &answer);
}

/* The next message of this kind; what else a worker says on its own is passed over. */
void expect(fixture *f, Pm__Wire__Message__BodyCase kind, pm_message *out) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (pm_clock_ms() < until_ms) {
        bool any;
        pm_peer peer;
        pm_status status = pm_router_receive(f->router, &peer, out);
        if (status == PM_E_TIMEOUT) {
            /* A worker that hears nothing for silence_ms would connect anew. */
            Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
            Pm__Wire__Message message = pm_wire_heartbeat(&beat);
            (void)pm_router_send(f->router, &f->peer, &message, NULL, 0);
            assert_int_equal(pm_router_wait(f->router, NULL, 0, 200, &any), PM_OK);
            continue;
        }
        assert_int_equal(status, PM_OK);
        if (out->body->body_case == kind) {
            f->peer = peer;
            return;
        }
        if (f->missing && out->body->body_case == PM__WIRE__MESSAGE__BODY_FETCH)
            say_missing(f, out->body->fetch);
        pm_message_fini(out);
    }
    fail_msg("the worker does not send %s", pm_wire_name(kind));
}

/* Hello, kept in f->hello, and Welcome; every lease that is offered is adopted with f->token. */
void welcome_worker(fixture *f) {
    uint8_t epoch[PM_EPOCH_BYTES] = {1};
    Pm__Wire__LeaseVerdict verdicts[8], *pointers[8];
    pm_message_fini(&f->hello);
    expect(f, PM__WIRE__MESSAGE__BODY_HELLO, &f->hello);
    const Pm__Wire__Hello *hello = f->hello.body->hello;
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    welcome.protocol = PM_PROTOCOL_VERSION;
    welcome.epoch = (ProtobufCBinaryData){sizeof epoch, epoch};
    welcome.heartbeat_ms = 200;
    welcome.silence_ms = 20000;
    welcome.lease_ms = 60000;
    assert_true(hello->n_leases <= 8);
    for (size_t i = 0; i < hello->n_leases; i++) {
        pm__wire__lease_verdict__init(&verdicts[i]);
        verdicts[i].task = hello->leases[i]->task;
        verdicts[i].has_token = true;
        verdicts[i].token = (ProtobufCBinaryData){PM_TOKEN_BYTES, f->token};
        pointers[i] = &verdicts[i];
    }
    welcome.n_leases = hello->n_leases;
    welcome.leases = pointers;
    Pm__Wire__Message message = pm_wire_welcome(&welcome);
    send_to_worker(f, &message);
}

void send_run(fixture *f) {
    Pm__Wire__Blob weights = PM__WIRE__BLOB__INIT;
    Pm__Wire__RunInfo info = PM__WIRE__RUN_INFO__INIT;
    weights.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->weights_hash.bytes};
    weights.size_bytes = f->weights_size;
    weights.path = f->weights;
    info.run = f->run;
    info.arch = f->config.arch;
    info.weights = &weights;
    info.n_configurations = 1;
    info.configurations = &f->config_text;
    info.data_root = f->folder;
    info.channels = (char *)"full";
    info.heat_maps = (char *)"f32";
    char start_path[128];
    Pm__Wire__Blob start = PM__WIRE__BLOB__INIT;
    if (f->has_start) {
        path_in(f, f->names[IMAGES - 1], start_path);
        start.sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->hashes[IMAGES - 1].bytes};
        start.size_bytes = f->sizes[IMAGES - 1];
        start.path = start_path;
        info.baseline = &start;
    }
    Pm__Wire__Message message = pm_wire_run_info(&info);
    send_to_worker(f, &message);
}

/* One outside of the crop between two that overlap; the crop is the middle 32 of 40 pixels. */
static void put_boxes(Pm__Wire__Item *item) {
    static double corners[8] = {0, 0, 3, 3, 15, 15, 30, 25};
    item->has_xmin = item->has_ymin = item->has_xmax = item->has_ymax = true;
    item->xmin = 10;
    item->ymin = 12;
    item->xmax = 20;
    item->ymax = 22;
    item->n_corners = 8;
    item->corners = corners;
}

void send_task(fixture *f, uint64_t id, size_t first, size_t count) {
    uint32_t configuration = 0;
    Pm__Wire__Item items[IMAGES], *pointers[IMAGES];
    Pm__Wire__Task task = PM__WIRE__TASK__INIT;
    for (size_t i = 0; i < count; i++) {
        size_t image = first + i;
        pm__wire__item__init(&items[i]);
        items[i].ordinal = image;
        items[i].path = f->names[image];
        items[i].sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->hashes[image].bytes};
        items[i].size_bytes = f->sizes[image];
        items[i].has_label = image == 1;
        items[i].label = 3;
        if (f->boxed) put_boxes(&items[i]);
        pointers[i] = &items[i];
    }
    task.task = id;
    task.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, f->token};
    task.run = f->run;
    task.n_configurations = 1;
    task.configurations = &configuration;
    task.n_items = count;
    task.items = pointers;
    Pm__Wire__Message message = pm_wire_task(&task);
    send_to_worker(f, &message);
}

void acknowledge(fixture *f, uint64_t task, uint64_t ordinal) {
    Pm__Wire__ItemRecorded recorded = PM__WIRE__ITEM_RECORDED__INIT;
    recorded.task = task;
    recorded.ordinal = ordinal;
    Pm__Wire__Message message = pm_wire_item_recorded(&recorded);
    send_to_worker(f, &message);
}

void begin(fixture *f, const char *fault) {
    start_worker(f, fault);
    welcome_worker(f);
    send_run(f);
}

void expect_clean_end(fixture *f) {
    int how = 0;
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (waitpid(f->worker, &how, WNOHANG) == 0) {
        assert_true(pm_clock_ms() < until_ms);
        usleep(10000);
    }
    f->worker = 0;
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

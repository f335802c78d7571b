/* worker/compute with several items in hand, in this process, with a real decoder: the test plays
 * the link thread and the broker. A network with wide layers, as only of such several go together.
 */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/image/decoder.h"
#include "tests/engine/cases.h"
#include "tests/worker/tasks.h"
#include "worker/attribute.h"
#include "worker/compute.h"
#include "worker/reply.h"

enum { SIDE = 64, PICTURE = 72, CLASSES = 12, ITEMS = 6, PATIENCE_MS = 60000, SEEN_MAX = 64 };

typedef struct seen {
    uint64_t task, ordinal;
    char stage[16], reason[16];
    pm_sha256 values; /* of all frames */
    double p_target;
} seen;

typedef struct fixture {
    char folder[64];
    pm_sha256 hashes[ITEMS];
    uint64_t sizes[ITEMS];
    pm_models models;
    pm_loaded *loaded;
    pm_slots *slots;
    pm_work work;
    pm_compute *compute;
    /* what came out */
    seen results[SEEN_MAX];
    size_t result_count, returned, fetches;
} fixture;

/* ---- photographs ---- */

static void path_of(const fixture *f, size_t item, char out[128]) {
    snprintf(out, 128, "%s/%zu.png", f->folder, item);
}

static void hash_file(fixture *f, size_t item) {
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    path_of(f, item, path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    f->hashes[item] = pm_sha256_of(bytes, size);
    f->sizes[item] = size;
    free(bytes);
}

static void make_file(fixture *f, size_t item) {
    static uint8_t rgb[PICTURE * PICTURE * 3];
    char path[128];
    pm_image image = {PICTURE, PICTURE, rgb};
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)pm_splitmix64(item * sizeof rgb + i / 48);
    path_of(f, item, path);
    assert_int_equal(pm_image_write_png(path, &image), PM_OK);
    hash_file(f, item);
}

/* The first `keep` in 256 of its bytes, and behind them `more`. */
static void change_file(fixture *f, size_t item, size_t keep, const char *more) {
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    path_of(f, item, path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    size = size * keep / 256;
    bytes = realloc(bytes, size + strlen(more) + 1);
    assert_non_null(bytes);
    memcpy(bytes + size, more, strlen(more));
    assert_int_equal(pm_file_write(path, bytes, size + strlen(more)), PM_OK);
    free(bytes);
    hash_file(f, item);
}

/* ---- the run ---- */

/* As pm_run_prepare leaves it: its weights are no file. */
static pm_run_ready *make_ready(fixture *f) {
    pm_run_ready *ready = calloc(1, sizeof *ready);
    assert_non_null(ready);
    ready->configurations = calloc(1, sizeof *ready->configurations);
    assert_non_null(ready->configurations);
    pm_loaded_hold(f->loaded);
    ready->loaded = f->loaded;
    ready->count = 1;
    ready->channels = PM_CHANNELS_NONE;
    ready->heat_maps = PM_HEAT_MAPS_F32;
    pm_ready_configuration *c = &ready->configurations[0];
    c->config = (pm_config){.resize = SIDE,
                            .crop = SIDE,
                            .filter = PM_FILTER_BILINEAR,
                            .std = {0.25F, 0.25F, 0.25F},
                            .target_rule = PM_TARGET_RULE_TOP};
    pm_attribution_defaults(&c->config.attribution);
    assert_int_equal(
        pm_configuration_new(f->loaded->model, &c->config.attribution, NULL, &c->engine), PM_OK);
    return ready;
}

static void announce(fixture *f) {
    tasks_announce(&f->work, f->folder);
    f->work.runs->ready = make_ready(f);
}

static void give(fixture *f, uint64_t id, size_t first, size_t count) {
    uint8_t token[PM_TOKEN_BYTES] = {(uint8_t)id};
    uint32_t configuration = 0;
    char names[ITEMS][16];
    Pm__Wire__Item items[ITEMS], *pointers[ITEMS];
    Pm__Wire__Task task = PM__WIRE__TASK__INIT;
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "%zu.png", first + i);
        pm__wire__item__init(&items[i]);
        items[i].ordinal = first + i;
        items[i].path = names[i];
        items[i].size_bytes = f->sizes[first + i];
        items[i].sha256 = (ProtobufCBinaryData){PM_SHA256_BYTES, f->hashes[first + i].bytes};
        pointers[i] = &items[i];
    }
    task.task = id;
    task.run = 1;
    task.token = (ProtobufCBinaryData){sizeof token, token};
    task.n_configurations = 1;
    task.configurations = &configuration;
    task.n_items = count;
    task.items = pointers;
    Pm__Wire__Message body = pm_wire_task(&task);
    pm_message message = tasks_message(&body);
    assert_int_equal(pm_work_add_task(&f->work, &message), PM_OK);
}

/* ---- what comes out ---- */

static void take_result(fixture *f, const Pm__Wire__ItemResult *from, const pm_bytes *frames,
                        size_t count) {
    assert_true(f->result_count < SEEN_MAX);
    seen *s = &f->results[f->result_count++];
    const Pm__Wire__Failure *failure = from->results[0]->failure;
    memset(s, 0, sizeof *s);
    s->task = from->task;
    s->ordinal = from->ordinal;
    s->p_target = from->results[0]->p_target;
    if (failure) {
        snprintf(s->stage, sizeof s->stage, "%s", failure->stage);
        snprintf(s->reason, sizeof s->reason, "%s", failure->reason);
    }
    for (size_t i = 0; i < count; i++) s->values = pm_sha256_of(frames[i].bytes, frames[i].size);
}

static pm_status take(void *user, const Pm__Wire__Message *body, const pm_bytes *frames,
                      size_t frame_count) {
    fixture *f = user;
    if (body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RESULT)
        take_result(f, body->item_result, frames, frame_count);
    f->returned += body->body_case == PM__WIRE__MESSAGE__BODY_TASK_RETURNED;
    f->fetches += body->body_case == PM__WIRE__MESSAGE__BODY_FETCH;
    return PM_OK;
}

/* What there is to send goes out, and is recorded at once. */
static void pump(fixture *f) {
    struct pollfd fd = {.fd = f->work.wake_fd, .events = POLLIN};
    const size_t before = f->result_count;
    (void)poll(&fd, 1, 20);
    assert_int_equal(pm_work_flush(&f->work, take, f), PM_OK);
    for (size_t i = before; i < f->result_count; i++)
        pm_work_recorded(&f->work, f->results[i].task, f->results[i].ordinal);
}

static void pump_until_all_is_done(fixture *f) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    while (pm_work_lease_count(&f->work) > 0) {
        if (pm_clock_ms() > until_ms) fail_msg("no progress");
        pump(f);
    }
}

/* Item `ordinal` is the last that was started; others before it are in hand, too. */
static void pump_until_in_hand(fixture *f, uint64_t ordinal) {
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    for (bool there = false; !there;) {
        if (pm_clock_ms() > until_ms) fail_msg("item %d never starts", (int)ordinal);
        pump(f);
        pthread_mutex_lock(&f->work.lock);
        const pm_lease *lease = f->work.leases;
        there = lease && lease->in_hand && lease->in_hand_ordinal == ordinal;
        pthread_mutex_unlock(&f->work.lock);
    }
}

/* ---- set up ---- */

/* No pauses to speak of, for the test whose decoders are killed all the time. */
static const pm_decoder_limits decoding = {
    .memory_bytes = (size_t)2560 << 20, .cpu_s = 30, .wall_ms = 120000, .pause_ms = 1};
static const pm_supply no_cache = {.cache = NULL, .decoding = &decoding};

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->folder, "/tmp/parchmill-hand-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    for (size_t i = 0; i < ITEMS; i++) make_file(f, i);
    f->slots = calloc(1, sizeof *f->slots);
    assert_non_null(f->slots);
    pm_models_init(&f->models);
    f->loaded = calloc(1, sizeof *f->loaded);
    assert_non_null(f->loaded);
    f->loaded->models = &f->models;
    f->loaded->users = 1;
    f->models.first = f->loaded;
    assert_int_equal(pm_case_model_new("resnet18", CLASSES, &f->loaded->model), PM_OK);
    assert_int_equal(pm_work_init(&f->work, f->slots), PM_OK);
    pm_work_expect(&f->work, 1);
    announce(f);
    assert_int_equal(pm_attribute_together(f->work.runs->ready,
                                           &(Pm__Wire__Task){.n_configurations = 1,
                                                             .configurations = &(uint32_t){0}}),
                     4);
    assert_int_equal(pm_compute_start(&f->work, &f->models, &no_cache, 0, &f->compute), PM_OK);
    assert_int_equal(pm_compute_ready(f->compute), PM_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    char path[128];
    pm_work_stop(&f->work);
    pm_compute_join(&f->compute);
    pm_work_fini(&f->work);
    pm_loaded_release(&f->loaded);
    pm_models_fini(&f->models);
    for (size_t i = 0; i < ITEMS; i++) {
        path_of(f, i, path);
        unlink(path);
    }
    rmdir(f->folder);
    free(f->slots);
    free(f);
    return 0;
}

/* ---- tests ---- */

static void failures_in_the_middle_of_a_hand_cost_nobody_else(void **state) {
    fixture *f = *state;
    for (size_t i = 0; i < ITEMS; i++) {
        give(f, 10 + i, i, 1);
        pump_until_all_is_done(f);
    }
    assert_int_equal(f->result_count, ITEMS);
#ifdef PARCHMILL_FAULTS
    change_file(f, 1, 256, "parchmill-deed:crash");
#else
    change_file(f, 1, 128, "");
#endif
    change_file(f, 4, 128, "");
    give(f, 1, 0, ITEMS);
    pump_until_all_is_done(f);
    assert_int_equal(f->result_count, 2 * ITEMS);
    for (size_t i = 0; i < ITEMS; i++) {
        const seen *alone = &f->results[i], *s = &f->results[ITEMS + i];
        assert_int_equal(s->task, 1);
        assert_int_equal(s->ordinal, i); /* in order, each once */
        if (i == 1 || i == 4) {
            assert_string_equal(s->stage, "decode");
            continue;
        }
        assert_string_equal(s->stage, "");
        assert_true(pm_sha256_equal(&s->values, &alone->values));
        assert_true(s->p_target == alone->p_target && s->p_target > 0);
    }
#ifdef PARCHMILL_FAULTS
    assert_string_equal(f->results[ITEMS + 1].reason, "crash");
#endif
    assert_string_equal(f->results[ITEMS + 4].reason, "format");
    assert_int_equal(f->returned, 0);
}

/* Item 2 is with the broker, which does not answer: 0 and 1 are decoded and wait for it. */
static void hold_at_two(fixture *f, uint64_t task) {
    char path[128];
    path_of(f, 2, path);
    assert_int_equal(unlink(path), 0);
    give(f, task, 0, ITEMS);
    pump_until_in_hand(f, 2);
    assert_int_equal(f->result_count, 0);
}

static void a_drain_inside_a_hand_gives_what_is_done_and_returns_the_rest(void **state) {
    fixture *f = *state;
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    hold_at_two(f, 1);
    assert_int_equal(f->returned, 0);
    pm_work_drain(&f->work);
    while (!f->returned && pm_clock_ms() < until_ms) pump(f);
    assert_int_equal(f->returned, 1);
    /* The one that was lost has no result, and nothing behind it has. */
    assert_int_equal(f->result_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(f->results[i].ordinal, i);
        assert_string_equal(f->results[i].stage, "");
    }
    assert_int_equal(pm_work_lease_count(&f->work), 0);
}

/* ---- a result that is lost ---- */

static size_t finishes_until_lost; /* 0: none is; set while no thread computes */

pm_status __real_pm_reply_finish(pm_reply **reply, double compute_ms_each, pm_outgoing **out);
pm_status __wrap_pm_reply_finish(pm_reply **reply, double compute_ms_each, pm_outgoing **out);

/* Linked in place of pm_reply_finish: where memory runs out. */
pm_status __wrap_pm_reply_finish(pm_reply **reply, double compute_ms_each, pm_outgoing **out) {
    if (finishes_until_lost && --finishes_until_lost == 0)
        return pm_fail(PM_E_MEMORY, "result: no memory");
    return __real_pm_reply_finish(reply, compute_ms_each, out);
}

/* The broker takes results in order: one behind a gap would be refused, and its lease wait for an
 * acknowledgement for ever. */
static void behind_a_lost_result_nothing_is_handed_in(void **state) {
    fixture *f = *state;
    finishes_until_lost = 2; /* of a hand of four */
    give(f, 1, 0, ITEMS);
    pump_until_all_is_done(f);
    assert_int_equal(finishes_until_lost, 0);
    assert_int_equal(f->result_count, 1);
    assert_int_equal(f->results[0].ordinal, 0);
    assert_int_equal(f->returned, 1);
    /* Leased anew from there on. */
    give(f, 2, 1, ITEMS - 1);
    pump_until_all_is_done(f);
    assert_int_equal(f->result_count, ITEMS);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(f->results[i].ordinal, i);
        assert_string_equal(f->results[i].stage, "");
    }
    assert_int_equal(f->returned, 1);
}

static void a_lease_revoked_inside_a_hand_sends_nothing_more(void **state) {
    fixture *f = *state;
    uint8_t token[PM_TOKEN_BYTES] = {1};
    hold_at_two(f, 1);
    pm_work_revoke(&f->work, 1, token);
    pump_until_all_is_done(f);
    assert_int_equal(f->result_count, 0);
    assert_int_equal(f->returned, 0);
    /* The thread goes on with what it is given next. */
    give(f, 2, 3, 3);
    pump_until_all_is_done(f);
    assert_int_equal(f->result_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f->results[i].task, 2);
        assert_int_equal(f->results[i].ordinal, 3 + i);
        assert_string_equal(f->results[i].stage, "");
    }
}

static size_t lost_starts; /* runs whose decoder is killed as they are made ready */

pm_status __real_pm_run_prepare(pm_models *models, pm_work *work, pm_lease *lease,
                                const pm_supply *supply, pm_run_ready **out, const char **stage);
pm_status __wrap_pm_run_prepare(pm_models *models, pm_work *work, pm_lease *lease,
                                const pm_supply *supply, pm_run_ready **out, const char **stage);

/* Linked in place of pm_run_prepare: what it says where pm_decoder_decode_one gives PM_E_IO. */
pm_status __wrap_pm_run_prepare(pm_models *models, pm_work *work, pm_lease *lease,
                                const pm_supply *supply, pm_run_ready **out, const char **stage) {
    if (!lost_starts) return __real_pm_run_prepare(models, work, lease, supply, out, stage);
    lost_starts--;
    *stage = "decode";
    return pm_fail(PM_E_IO, "baseline: a decoder dies as it starts");
}

/* Of the photograph that ig starts from: no image of the task is to blame for it. */
static void decoders_killed_as_a_run_is_made_ready_blame_nobody(void **state) {
    fixture *f = *state;
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(pm_work_verdict(&f->work), PM_OK);
        lost_starts = 1;
        give(f, i, 0, ITEMS);
        pump_until_all_is_done(f);
        assert_int_equal(lost_starts, 0);
        assert_int_equal(f->returned, i);
        assert_int_equal(f->result_count, 0);
    }
    assert_int_equal(pm_work_verdict(&f->work), PM_E_IO);
}

/* Of this process; 0: none just now. */
static pid_t find_decoder(void) {
    pid_t found = 0;
    DIR *folder = opendir("/proc");
    assert_non_null(folder);
    for (struct dirent *entry; !found && (entry = readdir(folder));) {
        char path[300], name[32];
        int pid = atoi(entry->d_name), parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = pid > 0 ? fopen(path, "r") : NULL;
        if (!file) continue;
        if (fscanf(file, "%*d (%31[^)]) %*c %d", name, &parent) == 2 && parent == (int)getpid() &&
            strcmp(name, "parchmill-decod") == 0)
            found = pid;
        fclose(file);
    }
    closedir(folder);
    return found;
}

static void a_decoder_killed_at_any_moment_costs_no_item(void **state) {
    enum { KILLS = 6 };
    fixture *f = *state;
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    size_t kills = 0, given = 0;
    while (kills < KILLS) {
        pid_t decoder = find_decoder();
        if (decoder && kill(decoder, SIGKILL) == 0) kills++;
        if (f->result_count == given) {
            give(f, 1 + given, 0, ITEMS);
            given += ITEMS;
            assert_true(given <= SEEN_MAX - ITEMS);
        }
        /* Not again before something was computed: seven in a row would give the task back. */
        for (size_t before = f->result_count; f->result_count == before;) {
            if (pm_clock_ms() > until_ms) fail_msg("no progress");
            pump(f);
        }
    }
    pump_until_all_is_done(f);
    assert_int_equal(f->result_count, given);
    for (size_t i = 0; i < given; i++) {
        assert_int_equal(f->results[i].ordinal, i % ITEMS);
        assert_string_equal(f->results[i].stage, "");
        assert_true(pm_sha256_equal(&f->results[i].values, &f->results[i % ITEMS].values));
    }
    assert_int_equal(f->returned, 0);
}

#ifdef PARCHMILL_FAULTS
/* As by an out-of-memory killer that wakes at one photograph, 1, which is never decoded. The task
 * goes back, and comes again; then the worker gives up: no image is to blame, and no worker turns
 * round for ever. */
static void decoders_that_are_always_killed_end_the_worker_and_blame_nobody(void **state) {
    fixture *f = *state;
    int64_t until_ms = pm_clock_ms() + PATIENCE_MS;
    size_t given = 0;
    change_file(f, 1, 256, "parchmill-deed:sleep");
    while (pm_work_verdict(&f->work) == PM_OK && pm_clock_ms() < until_ms) {
        pid_t decoder = find_decoder();
        if (decoder) (void)kill(decoder, SIGKILL);
        if (pm_work_lease_count(&f->work) == 0) give(f, ++given, 0, ITEMS);
        pump(f);
    }
    assert_int_equal(pm_work_verdict(&f->work), PM_E_IO);
    assert_non_null(strstr(pm_error_text(), "no image is to blame"));
    assert_int_equal(given, 3);
    pump_until_all_is_done(f);
    assert_int_equal(f->returned, 3);
    for (size_t i = 0; i < f->result_count; i++) {
        assert_int_equal(f->results[i].ordinal, 0);
        assert_string_equal(f->results[i].stage, "");
    }
}
#endif

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv) {
    pm_decoder_main(argc, argv);
    const struct CMUnitTest tests[] = {
        WITH(failures_in_the_middle_of_a_hand_cost_nobody_else),
        WITH(a_drain_inside_a_hand_gives_what_is_done_and_returns_the_rest),
        WITH(behind_a_lost_result_nothing_is_handed_in),
        WITH(a_lease_revoked_inside_a_hand_sends_nothing_more),
        WITH(decoders_killed_as_a_run_is_made_ready_blame_nobody),
        WITH(a_decoder_killed_at_any_moment_costs_no_item),
#ifdef PARCHMILL_FAULTS
        WITH(decoders_that_are_always_killed_end_the_worker_and_blame_nobody),
#endif
    };
    if (pm_image_setup("hand_test")) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

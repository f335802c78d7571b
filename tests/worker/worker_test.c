/* A real parchmill-worker process against a broker that this test plays: results equal to the
 * engine called directly, failures as rows, leases across a broker restart, drain, crash. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/draw.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/image/inputs.h"
#include "lib/net/net.h"
#include "lib/spec/heat_map.h"
#include "lib/spec/spec.h"
#include "parchgrad.h"
#include "tests/engine/tensor_file.h"
#include "worker/engine/builder.h"

enum { PATIENCE_MS = 60000, IMAGES = 4, SIDE = 40, URL_BYTES = 128 };

typedef struct fixture {
    char folder[64], url[URL_BYTES], weights[4096];
    pm_router *router;
    pid_t worker;
    pm_peer peer;
    pm_message hello; /* the last one */
    uint8_t token[PM_TOKEN_BYTES];
    char names[IMAGES][16];
    pm_sha256 hashes[IMAGES];
    uint64_t sizes[IMAGES];
    pm_sha256 weights_hash;
    uint64_t weights_size;
    pm_config config;
    char *config_text;
    uint64_t run;
    bool boxed;     /* items carry three boxes */
    bool has_start; /* the last image is what ig may start from */
} fixture;

/* ---- what there is to compute ---- */

static void path_in(const fixture *f, const char *name, char out[128]) {
    snprintf(out, 128, "%s/%s", f->folder, name);
}

static void hash_image(fixture *f, size_t i) {
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

static void open_router(fixture *f) {
    assert_int_equal(pm_router_new(&f->router), PM_OK);
    assert_int_equal(pm_router_bind(f->router, f->url, false), PM_OK);
}

static int set_up(void **state) {
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

static int tear_down(void **state) {
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

static void start_worker(fixture *f, const char *fault) {
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

static void send_to_worker(fixture *f, const Pm__Wire__Message *message) {
    assert_int_equal(pm_router_send(f->router, &f->peer, message, NULL, 0), PM_OK);
}

/* The next message of this kind; what else a worker says on its own is passed over. */
static void expect(fixture *f, Pm__Wire__Message__BodyCase kind, pm_message *out) {
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
        pm_message_fini(out);
    }
    fail_msg("the worker does not send %s", pm_wire_name(kind));
}

/* Hello, kept in f->hello, and Welcome; every lease that is offered is adopted with f->token. */
static void welcome_worker(fixture *f) {
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

static void send_run(fixture *f) {
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

static void send_task(fixture *f, uint64_t id, size_t first, size_t count) {
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

static void acknowledge(fixture *f, uint64_t task, uint64_t ordinal) {
    Pm__Wire__ItemRecorded recorded = PM__WIRE__ITEM_RECORDED__INIT;
    recorded.task = task;
    recorded.ordinal = ordinal;
    Pm__Wire__Message message = pm_wire_item_recorded(&recorded);
    send_to_worker(f, &message);
}

static void begin(fixture *f, const char *fault) {
    start_worker(f, fault);
    welcome_worker(f);
    send_run(f);
}

static void expect_clean_end(fixture *f) {
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

/* ---- the same by a direct call of the engine ---- */

typedef struct direct {
    const fixture *f;
    const pm_message *message;
} direct;

static pm_status compare(void *user, const pm_attribution_result *expected) {
    const direct *d = user;
    const Pm__Wire__Result *got = d->message->body->item_result->results[0];
    size_t at = 0;
    float *map = malloc(expected->height * expected->width * sizeof *map);
    assert_non_null(map);
    assert_null(got->failure);
    assert_int_equal(got->target, expected->target);
    assert_int_equal(got->predicted, expected->predicted);
    assert_true(got->p_target == (double)expected->p_target);
    assert_int_equal(got->n_layers, expected->layer_count);
    assert_int_equal(d->message->frame_count, 3);
    for (size_t i = 0; i < expected->layer_count; i++) {
        const pm_layer_gradient *layer = &expected->layers[i];
        assert_true(got->layers[i]->variance_before == layer->variance_before);
        assert_memory_equal((const float *)d->message->frames[0].bytes + at,
                            layer->channel_variance, layer->channels * sizeof(float));
        assert_memory_equal((const uint8_t *)d->message->frames[1].bytes + at, layer->in_h,
                            layer->channels);
        at += layer->channels;
    }
    assert_int_equal(d->message->frames[0].size, at * sizeof(float));
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, d->message->frames[2].bytes,
                                        d->message->frames[2].size, expected->width, map),
                     PM_OK);
    assert_memory_equal(map, expected->heat_map, expected->height * expected->width * sizeof *map);
    free(map);
    return PM_OK;
}

static void decode_image(const fixture *f, size_t image, pm_image *out) {
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    path_in(f, f->names[image], path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_int_equal(pm_image_decode(path, bytes, size, &pm_image_default_limits, out), PM_OK);
    free(bytes);
}

typedef struct direct_noise {
    const fixture *f;
    size_t image;
} direct_noise;

static void draw_noise(void *user, size_t draw, float *out) {
    const direct_noise *n = user;
    size_t side = n->f->config.crop;
    pm_normal_draw(n->f->config.attribution.seed, &n->f->hashes[n->image], draw, out,
                   3 * side * side);
}

/* Where ig starts, [3][side][side]. */
static void make_start(const fixture *f, const pm_preprocessing *how, const float *input,
                       float *out) {
    pm_image picture = {0};
    if (f->config.attribution.baseline == PM_BASELINE_BLUR) {
        assert_int_equal(pm_image_blur_tensor(input, how->crop, 10.0, out), PM_OK);
        return;
    }
    decode_image(f, IMAGES - 1, &picture);
    assert_int_equal(pm_image_tensor(&picture, how, out, NULL), PM_OK);
    pm_image_fini(&picture);
}

static void expect_as_direct(const fixture *f, size_t image, const pm_message *message) {
    size_t side = f->config.crop;
    pm_image picture = {0}, crop = {0};
    pm_weights *weights = NULL;
    pm_model *model = NULL;
    pm_configuration *configuration = NULL;
    pm_context *context = NULL;
    pm_preprocessing how = {.resize = f->config.resize, .crop = side, .filter = f->config.filter};
    memcpy(how.mean, f->config.mean, sizeof how.mean);
    memcpy(how.std, f->config.std, sizeof how.std);
    decode_image(f, image, &picture);
    float *input = malloc(3 * side * side * sizeof *input);
    assert_non_null(input);
    assert_int_equal(pm_image_crop(&picture, &how, &crop, NULL), PM_OK);
    assert_int_equal(
        pm_image_input(&f->config.input, f->config.attribution.seed, &f->hashes[image], &crop),
        PM_OK);
    pm_image_normalise(&crop, &how, input);
    assert_int_equal(pm_weights_open(f->weights, &weights), PM_OK);
    assert_int_equal(pm_model_new(f->config.arch, weights, &model), PM_OK);
    assert_int_equal(pm_configuration_new(model, &f->config.attribution, NULL, &configuration),
                     PM_OK);
    assert_int_equal(pm_context_new(model, side, side, 1, &context), PM_OK);
    if (f->config.transform_input) {
        float scale[3], shift[3];
        assert_int_equal(pm_arch_transform_input(pm_model_arch(model), scale, shift), PM_OK);
        pm_context_set_input_transform(context, scale, shift);
    }
    float *start = malloc(3 * side * side * sizeof *start);
    assert_non_null(start);
    direct_noise noise = {f, image};
    pm_request request = {.configuration = configuration,
                          .target = image == 1 ? 3 : PM_TARGET_TOP,
                          .noise = draw_noise,
                          .noise_user = &noise};
    if (f->config.attribution.baseline != PM_BASELINE_ZERO) {
        make_start(f, &how, input, start);
        request.baseline = start;
    }
    direct d = {f, message};
    assert_int_equal(pm_context_attribute(context, input, &request, 1, compare, &d), PM_OK);
    pm_context_free(&context);
    pm_configuration_free(&configuration);
    pm_model_free(&model);
    pm_weights_free(&weights);
    pm_image_fini(&picture);
    pm_image_fini(&crop);
    free(input);
    free(start);
}

/* ---- tests ---- */

static void items_are_answered_in_order_as_the_engine_says(void **state) {
    fixture *f = *state;
    begin(f, NULL);
    send_task(f, 1, 0, IMAGES);
    for (size_t i = 0; i < IMAGES; i++) {
        pm_message message;
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        assert_true(message.body->item_result->ordinal == i);
        assert_int_equal(message.body->item_result->width, SIDE);
        assert_memory_equal(message.body->item_result->token.data, f->token, PM_TOKEN_BYTES);
        expect_as_direct(f, i, &message);
        pm_message_fini(&message);
        acknowledge(f, 1, i);
    }
}

/* The next run of the worker, with another configuration. */
static void change_run(fixture *f) {
    pm_sha256 hash;
    f->run++;
    free(f->config_text);
    assert_int_equal(pm_config_format(&f->config, &f->config_text, &hash), PM_OK);
    send_run(f);
}

static void expect_run_as_direct(fixture *f) {
    send_task(f, f->run, 0, 2);
    for (size_t i = 0; i < 2; i++) {
        pm_message message;
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        expect_as_direct(f, i, &message);
        pm_message_fini(&message);
        acknowledge(f, f->run, i);
    }
}

static void inputs_change_the_photograph_by_its_hash_and_the_seed(void **state) {
    fixture *f = *state;
    begin(f, NULL);
    assert_int_equal(pm_input_parse("noise:sigma=0.3", &f->config.input), PM_OK);
    f->config.attribution.seed = 9;
    change_run(f);
    expect_run_as_direct(f);
}

/* Baselines and noise are those of the engine called by hand with PM_BASELINE_BLUR's tensor, the
 * photograph's tensor, and pm_normal_draw by seed, image and number. */
static void methods_of_many_passes_get_what_they_need(void **state) {
    fixture *f = *state;
    pm_attribution *a = &f->config.attribution;
    f->has_start = true;
    begin(f, NULL);
    a->steps = 3;
    a->samples = 3;
    a->seed = 11;
    a->method = PM_METHOD_IG;
    f->config.baseline_image = f->hashes[IMAGES - 1];
    for (int baseline = 0; baseline < PM_BASELINE_COUNT; baseline++) {
        a->baseline = (pm_baseline)baseline;
        change_run(f);
        expect_run_as_direct(f);
    }
    a->baseline = PM_BASELINE_ZERO;
    static const pm_method methods[] = {PM_METHOD_SMOOTHGRAD, PM_METHOD_VARGRAD, PM_METHOD_GRADCAM};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        a->method = methods[i];
        change_run(f);
        expect_run_as_direct(f);
    }
}

/* GoogLeNet from the counter hash, for ten classes. */
static void make_googlenet(fixture *f) {
    const pm_arch_info *arch;
    pm_builder b;
    uint8_t *bytes = NULL;
    size_t size;
    assert_int_equal(pm_arch_find("googlenet", &arch), PM_OK);
    assert_int_equal(pm_builder_init(&b, arch, 10), PM_OK);
    pm_file_tensor *tensors = calloc(b.parameter_count, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < b.parameter_count; i++) {
        const pm_parameter *p = &b.parameters[i];
        float *values = malloc(p->count * sizeof *values);
        assert_non_null(values);
        pm_synth(p->name, 0, values, p->count);
        const float fan = (float)sqrt(6.0 * (double)p->shape[0] / (double)p->count);
        for (size_t k = 0; k < p->count; k++)
            values[k] = p->rank > 1                 ? values[k] * fan
                        : p->slot == PM_SLOT_VAR    ? 1 + 0.5F * values[k]
                        : p->slot == PM_SLOT_WEIGHT ? 1 + 0.2F * values[k]
                                                    : 0.1F * values[k];
        tensors[i] = (pm_file_tensor){.rank = p->rank, .values = values};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", p->name);
        memcpy(tensors[i].shape, p->shape, sizeof tensors[i].shape);
    }
    path_in(f, "googlenet.safetensors", f->weights);
    pm_tensor_file_write(f->weights, tensors, b.parameter_count);
    for (size_t i = 0; i < b.parameter_count; i++) free((void *)(uintptr_t)tensors[i].values);
    free(tensors);
    pm_builder_fini(&b);
    assert_int_equal(pm_file_read(f->weights, (size_t)1 << 26, &bytes, &size), PM_OK);
    f->config.weights = f->weights_hash = pm_sha256_of(bytes, size);
    f->weights_size = size;
    free(bytes);
    strcpy(f->config.arch, "googlenet");
}

/* One run with the transform, one without: the same warm context serves both. */
static void input_transforms_come_and_go_with_the_run(void **state) {
    fixture *f = *state;
    pm_sha256 hash;
    make_googlenet(f);
    start_worker(f, NULL);
    welcome_worker(f);
    for (int on = 1; on >= 0; on--) {
        pm_message message;
        f->config.transform_input = on;
        free(f->config_text);
        assert_int_equal(pm_config_format(&f->config, &f->config_text, &hash), PM_OK);
        send_run(f);
        send_task(f, f->run, 0, 1);
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        expect_as_direct(f, 0, &message);
        pm_message_fini(&message);
        acknowledge(f, f->run, 0);
        f->run++;
    }
}

/* Share of the map in the boxes of put_boxes, moved by the crop's offset of 4. */
static double share_inside(const pm_message *message, bool all) {
    enum { CROP = 32 };
    static float map[CROP * CROP];
    double inside = 0, total = 0;
    assert_int_equal(pm_heat_map_decode(PM_HEAT_MAPS_F32, message->frames[2].bytes,
                                        message->frames[2].size, CROP, map),
                     PM_OK);
    for (size_t y = 0; y < CROP; y++)
        for (size_t x = 0; x < CROP; x++) {
            bool first = x >= 6 && x < 16 && y >= 8 && y < 18;
            bool second = x >= 11 && x < 26 && y >= 11 && y < 21;
            total += (double)map[y * CROP + x];
            if (first || (all && second)) inside += (double)map[y * CROP + x];
        }
    return inside / total;
}

static void all_boxes_or_the_first_score_the_map(void **state) {
    fixture *f = *state;
    f->boxed = true;
    begin(f, NULL);
    for (int all = 0; all < 2; all++) {
        pm_message message;
        send_task(f, f->run, 0, 1);
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        const Pm__Wire__Result *got = message.body->item_result->results[0];
        assert_true(got->has_mu_in);
        assert_true(fabs(got->mu_in - share_inside(&message, all)) < 1e-12);
        pm_message_fini(&message);
        acknowledge(f, f->run, 0);
        f->config.all_boxes = true;
        change_run(f);
    }
}

static void bad_images_are_failures_and_the_rest_goes_on(void **state) {
    fixture *f = *state;
    char path[128];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_message message;
    path_in(f, f->names[0], path);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_int_equal(pm_file_write(path, bytes, size / 2), PM_OK);
    free(bytes);
    hash_image(f, 0);           /* truncated, and submitted so */
    f->hashes[1].bytes[0] ^= 1; /* changed since it was submitted */
    begin(f, NULL);
    send_task(f, 1, 0, 3);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_string_equal(message.body->item_result->results[0]->failure->stage, "decode");
    pm_message_fini(&message);
    /* The worker asks the broker for the bytes that it does not find. */
    expect(f, PM__WIRE__MESSAGE__BODY_FETCH, &message);
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    chunk.sha256 = message.body->fetch->sha256;
    chunk.missing = (char *)"not here either";
    Pm__Wire__Message answer = pm_wire_chunk(&chunk);
    send_to_worker(f, &answer);
    pm_message_fini(&message);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_true(message.body->item_result->ordinal == 1);
    assert_string_equal(message.body->item_result->results[0]->failure->stage, "fetch");
    assert_non_null(strstr(message.body->item_result->results[0]->failure->text, "not here"));
    pm_message_fini(&message);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_true(message.body->item_result->ordinal == 2);
    expect_as_direct(f, 2, &message);
    pm_message_fini(&message);
}

static void leases_are_offered_to_a_broker_that_restarted(void **state) {
    fixture *f = *state;
    pm_message message;
    begin(f, NULL);
    send_task(f, 9, 0, 2);
    for (size_t i = 0; i < 2; i++) {
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
        pm_message_fini(&message);
    }
    acknowledge(f, 9, 0);
    /* Lost with the broker: the second result was sent, and never acknowledged. */
    expect(f, PM__WIRE__MESSAGE__BODY_HEARTBEAT, &message);
    pm_message_fini(&message);
    pm_router_free(&f->router);
    pm_random_bytes(f->token, sizeof f->token);
    open_router(f);
    welcome_worker(f);
    const Pm__Wire__Hello *hello = f->hello.body->hello;
    assert_int_equal(hello->n_leases, 1);
    assert_true(hello->leases[0]->task == 9);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    while (message.body->item_result->ordinal != 1) {
        pm_message_fini(&message);
        expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    }
    assert_memory_equal(message.body->item_result->token.data, f->token, PM_TOKEN_BYTES);
    expect_as_direct(f, 1, &message);
    pm_message_fini(&message);
}

static void sigterm_gives_tasks_back_and_ends_with_zero(void **state) {
    fixture *f = *state;
    pm_message message;
    begin(f, NULL);
    /* Before it has read Welcome there is nobody to say goodbye to. */
    expect(f, PM__WIRE__MESSAGE__BODY_CREDIT, &message);
    pm_message_fini(&message);
    kill(f->worker, SIGTERM);
    expect(f, PM__WIRE__MESSAGE__BODY_GOODBYE, &message);
    pm_message_fini(&message);
    expect_clean_end(f);
}

static void unannounced_run_is_given_back(void **state) {
    fixture *f = *state;
    pm_message message;
    start_worker(f, NULL);
    welcome_worker(f);
    send_task(f, 5, 0, 1);
    expect(f, PM__WIRE__MESSAGE__BODY_TASK_RETURNED, &message);
    assert_true(message.body->task_returned->task == 5);
    pm_message_fini(&message);
}

#ifdef PARCHMILL_FAULTS
static void crash_is_reported_with_the_item_in_hand(void **state) {
    fixture *f = *state;
    uint8_t instance[PM_INSTANCE_BYTES];
    begin(f, "crash:1.png");
    memcpy(instance, f->hello.body->hello->instance.data, sizeof instance);
    assert_false(f->hello.body->hello->has_crashed_instance);
    send_task(f, 3, 0, 2);
    welcome_worker(f);
    const Pm__Wire__Hello *hello = f->hello.body->hello;
    assert_true(hello->has_crashed_instance);
    assert_memory_equal(hello->crashed_instance.data, instance, sizeof instance);
    assert_string_equal(hello->crash_reason, "SIGSEGV");
    assert_int_equal(hello->n_in_hand, 1);
    assert_true(hello->in_hand[0]->task == 3);
    assert_true(hello->in_hand[0]->ordinal == 1);
    assert_memory_not_equal(hello->instance.data, instance, sizeof instance);
}

static void hang_is_replaced_when_the_lease_ends(void **state) {
    fixture *f = *state;
    pm_message message;
    begin(f, "hang:0.png");
    send_task(f, 3, 0, 1);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_STARTED, &message);
    pm_message_fini(&message);
    Pm__Wire__LeaseRevoked revoked = PM__WIRE__LEASE_REVOKED__INIT;
    revoked.task = 3;
    revoked.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, f->token};
    revoked.reason = (char *)"hang";
    Pm__Wire__Message out = pm_wire_lease_revoked(&revoked);
    send_to_worker(f, &out);
    welcome_worker(f);
    assert_false(f->hello.body->hello->has_crashed_instance);
    assert_int_equal(f->hello.body->hello->n_leases, 0);
}
#endif

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(items_are_answered_in_order_as_the_engine_says),
        WITH(inputs_change_the_photograph_by_its_hash_and_the_seed),
        WITH(input_transforms_come_and_go_with_the_run),
        WITH(methods_of_many_passes_get_what_they_need),
        WITH(all_boxes_or_the_first_score_the_map),
        WITH(bad_images_are_failures_and_the_rest_goes_on),
        WITH(leases_are_offered_to_a_broker_that_restarted),
        WITH(sigterm_gives_tasks_back_and_ends_with_zero),
        WITH(unannounced_run_is_given_back),
#ifdef PARCHMILL_FAULTS
        WITH(crash_is_reported_with_the_item_in_hand),
        WITH(hang_is_replaced_when_the_lease_ends),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Owns the made-up runs that the store's tests record. */
#include "tests/store/fixture.h"

#include <dirent.h>
#include <math.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/random.h"

int scratch_set_up(void **state) {
    scratch *s = calloc(1, sizeof *s);
    if (!s) return -1;
    strcpy(s->folder, "/tmp/pm_store_XXXXXX");
    if (!mkdtemp(s->folder)) return -1;
    snprintf(s->path, sizeof s->path, "%s/r.db", s->folder);
    *state = s;
    return 0;
}

int scratch_tear_down(void **state) {
    scratch *s = *state;
    umount2(s->folder, MNT_DETACH); /* where a test that failed had mounted a small disk */
    DIR *folder = opendir(s->folder);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", s->folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    if (folder) closedir(folder);
    rmdir(s->folder);
    free(s);
    return 0;
}

static pm_config config_of(size_t ordinal) {
    pm_config c = {.arch = "resnet18",
                   .resize = 256,
                   .crop = 224,
                   .mean = {0, 0, 0},
                   .std = {1, 1, 1},
                   .has_statistics = ordinal > 0};
    c.weights = pm_sha256_of("weights", 7);
    c.statistics = pm_sha256_of("statistics", 10);
    pm_attribution_defaults(&c.attribution);
    c.attribution.mask = ordinal ? PM_MASK_CLS : PM_MASK_OFF;
    if (ordinal) c.attribution.threshold = 0.01 * (double)ordinal;
    return c;
}

static pm_data_set *make_set(const plan *p) {
    pm_data_set *set = calloc(1, sizeof *set);
    assert_non_null(set);
    set->root = strdup("/pictures");
    set->name = strdup("pictures");
    set->count = p->items;
    set->items = calloc(p->items + 1, sizeof *set->items);
    set->class_name_count = 3;
    set->class_names = calloc(3, sizeof *set->class_names);
    set->class_names[1] = strdup("tench");
    for (size_t i = 0; i < p->items; i++) {
        size_t image = p->first_image + i;
        char path[64];
        snprintf(path, sizeof path, "c%zu/%05zu.jpg", image % 3, image);
        pm_item *item = &set->items[i];
        item->path = strdup(path);
        item->sha256 = pm_sha256_of(&image, sizeof image);
        item->size_bytes = 1000 + image;
        item->label = image % 4 == 3 ? -1 : (int)(image % 3);
        item->box_count = image % 2;
        if (item->box_count) {
            item->boxes = calloc(1, sizeof *item->boxes);
            item->boxes[0] = (pm_spec_box){1, 2, 30 + (double)image, 40.5};
        }
    }
    return set;
}

pm_op *submit_op(const plan *p) {
    pm_op *op = pm_op_new(PM_OP_SUBMIT);
    assert_non_null(op);
    pm_run_spec *spec = calloc(1, sizeof *spec);
    assert_non_null(spec);
    snprintf(spec->name, sizeof spec->name, "%s", p->name ? p->name : "test");
    strcpy(spec->weights_path, "/models/resnet18.pth");
    strcpy(spec->statistics_path, "/models/statistics.safetensors");
    spec->weights_size = 46830571;
    spec->statistics_size = 777;
    strcpy(spec->baseline_path, "/pictures/grey.png");
    spec->baseline_size = 4321;
    spec->classes = 1000;
    spec->channels = p->channels;
    spec->heat_maps = p->heat_maps;
    if (p->evaluation && pm_evaluation_parse(p->evaluation, &spec->evaluation))
        fail_msg("%s", pm_error_text());
    spec->config_count = p->configs;
    spec->configs = calloc(p->configs, sizeof *spec->configs);
    for (size_t i = 0; i < p->configs; i++) {
        spec->configs[i] = config_of(i);
        if (p->gather) spec->configs[i].attribution.method = PM_METHOD_GATHER;
    }
    op->submit.spec = spec;
    op->submit.data_set = make_set(p);
    op->submit.request_id = pm_run_request_id(spec, op->submit.data_set);
    strcpy(op->submit.engine_version, "0.1.0");
    op->submit.task_items = p->task_items;
    return op;
}

float variance_of(size_t image, size_t config, size_t channel) {
    char name[64];
    float value;
    snprintf(name, sizeof name, "variance/%zu/%zu", image, config);
    pm_synth(name, channel, &value, 1);
    return value * value + 1e-3f;
}

bool in_h_of(size_t image, size_t config, size_t channel) {
    return config > 0 && (image * 7 + config * 3 + channel) % 5 == 0;
}

static void fill_channels(pm_record_result *r, size_t image) {
    r->channel_count = CHANNELS;
    r->channel_variance = calloc(CHANNELS, sizeof *r->channel_variance);
    r->in_h = calloc(CHANNELS, 1);
    for (size_t c = 0; c < CHANNELS; c++) {
        r->channel_variance[c] = variance_of(image, r->configuration, c);
        r->in_h[c] = in_h_of(image, r->configuration, c);
    }
}

float activation_of(size_t image, size_t channel) {
    char name[64];
    float value;
    snprintf(name, sizeof name, "activation/%zu", image);
    pm_synth(name, channel, &value, 1);
    return value * value;
}

float density_of(size_t image, size_t conv) {
    return 0.25f + 0.5f * activation_of(image + 1000, conv);
}

static void fill_activations(pm_record_result *r, size_t image) {
    r->activation_count = CHANNELS;
    r->activations = calloc(CHANNELS, sizeof *r->activations);
    for (size_t c = 0; c < CHANNELS; c++) r->activations[c] = activation_of(image, c);
    r->density_count = LAYERS;
    r->density = calloc(LAYERS, sizeof *r->density);
    for (size_t l = 0; l < LAYERS; l++) r->density[l] = density_of(image, l);
}

pm_perturbation perturbation_of(size_t image, size_t config, pm_curve curve, double ratio) {
    char name[80];
    float v[4];
    snprintf(name, sizeof name, "curve/%zu/%zu/%d/%.17g", image, config, (int)curve, ratio);
    pm_synth(name, 0, v, 4);
    return (pm_perturbation){.curve = curve,
                             .ratio = ratio,
                             .p_target = 0.5 + 0.4 * (double)v[0],
                             .aopc = (double)v[1],
                             .has_lodds = image % 5 != 0,
                             .lodds = 3 * (double)v[2],
                             .fracdiff = (double)v[3],
                             .correct = v[0] > 0};
}

static void fill_curves(const plan *p, pm_record_result *r, size_t image) {
    pm_evaluation e;
    assert_int_equal(pm_evaluation_parse(p->evaluation, &e), PM_OK);
    r->perturbation_count = PM_CURVE_COUNT * e.ratio_count;
    r->perturbations = calloc(r->perturbation_count, sizeof *r->perturbations);
    for (size_t i = 0; i < r->perturbation_count; i++)
        r->perturbations[i] = perturbation_of(
            image, r->configuration, (pm_curve)(i / e.ratio_count), e.ratios[i % e.ratio_count]);
    r->has_auc = e.ratio_count > 1;
    r->deletion_auc = 0.25 + (double)image;
    r->insertion_auc = 0.5 + (double)image;
}

static void fill(const plan *p, pm_record_result *r, size_t image) {
    char name[64];
    float v[8];
    snprintf(name, sizeof name, "result/%zu/%u", image, r->configuration);
    pm_synth(name, 0, v, 8);
    r->target = (int32_t)(image % 3);
    r->predicted = (int32_t)(image % 1000);
    r->p_target = 0.5 + 0.25 * (double)v[0];
    r->p_predicted = 0.75;
    r->mu_in = (double)v[1];
    r->mu_in_w = (double)v[2];
    r->mu_out = (double)v[3];
    r->mu_out_w = (double)v[4];
    if (image % 2 == 0) strcpy(r->box_reason, "no-box");
    r->has_pointing = image % 2 != 0;
    r->pointing = image % 4 == 1;
    r->has_gap = image % 3 == 1;
    r->completeness_gap = (double)v[5] / 1000;
    r->compute_ms = 12.5;
    if (p->gather) {
        fill_activations(r, image);
        return;
    }
    r->layer_count = LAYERS;
    r->layers = calloc(LAYERS, sizeof *r->layers);
    for (uint32_t l = 0; l < LAYERS; l++)
        r->layers[l] = (pm_record_layer){.conv = 10 + l,
                                         .channels = l ? CHANNELS_1 : CHANNELS_0,
                                         .selected = 2,
                                         .partitioned = r->configuration > 0,
                                         .m = (double)v[5],
                                         .n = (double)v[6],
                                         .beta = 1.5,
                                         .scale_h = 1.5,
                                         .scale_l = 0,
                                         .variance_before = (double)v[7],
                                         .variance_after = 2};
    strcpy(r->layers[0].name, "layer4.0.conv1");
    strcpy(r->layers[1].name, "layer4.0.conv2");
    if (p->channels != PM_CHANNELS_NONE) fill_channels(r, image);
    if (p->evaluation) fill_curves(p, r, image);
    if (p->heat_maps != PM_HEAT_MAPS_NONE) {
        r->heat_map_side = 224;
        r->heat_map_scale = ldexp(1, -(int)(image % 5));
        r->heat_map_size = 64 + image % 7;
        r->heat_map = malloc(r->heat_map_size);
        memset(r->heat_map, (int)(image + r->configuration) & 0xff, r->heat_map_size);
    }
}

static pm_op *empty_record(const pm_task_row *task, uint64_t item) {
    pm_op *op = pm_op_new(PM_OP_RECORD);
    assert_non_null(op);
    op->record.task_id = task->task_id;
    op->record.item = item;
    op->record.width = 227;
    op->record.height = 227;
    op->record.result_count = task->config_count;
    op->record.results = calloc(task->config_count + 1, sizeof *op->record.results);
    for (size_t i = 0; i < task->config_count; i++)
        op->record.results[i].configuration = task->configs[i];
    return op;
}

pm_op *record_op(const plan *p, const pm_task_row *task, uint64_t item) {
    pm_op *op = empty_record(task, item);
    for (size_t i = 0; i < task->config_count; i++)
        fill(p, &op->record.results[i], p->first_image + (size_t)item);
    return op;
}

pm_op *record_error_op(const plan *p, const pm_task_row *task, uint64_t item) {
    (void)p;
    pm_op *op = empty_record(task, item);
    for (size_t i = 0; i < task->config_count; i++) {
        op->record.results[i].stage = strdup("decode");
        op->record.results[i].reason = strdup("truncated");
        op->record.results[i].text = strdup("photo.jpg: the file ends early");
    }
    return op;
}

pm_op *crash_op(pm_op_kind kind, uint64_t task_id, uint64_t item, const char *reason) {
    pm_op *op = pm_op_new(kind);
    assert_non_null(op);
    op->crash.task_id = task_id;
    op->crash.item = item;
    snprintf(op->crash.reason, sizeof op->crash.reason, "%s", reason);
    return op;
}

pm_op *run_op(pm_op_kind kind, uint64_t run_id) {
    pm_op *op = pm_op_new(kind);
    assert_non_null(op);
    op->run.run_id = run_id;
    return op;
}

void apply(pm_store *store, pm_op *op, pm_status want) {
    pm_status status = pm_store_apply(store, &op, 1);
    if (status) fail_msg("commit: %s", pm_error_text());
    if (op->status != want)
        fail_msg("op %d: %s (%s), not %s", (int)op->kind, pm_status_name(op->status), op->text,
                 pm_status_name(want));
}

uint64_t whole_run(pm_store *store, const plan *p) {
    pm_op *submit = submit_op(p);
    apply(store, submit, PM_OK);
    uint64_t run_id = submit->submit.run_id;
    for (size_t t = 0; t < submit->submit.made.count; t++) {
        const pm_task_row *task = &submit->submit.made.rows[t];
        for (uint64_t item = task->next_item; item < task->end_item; item++) {
            pm_op *record = record_op(p, task, item);
            apply(store, record, PM_OK);
            assert_int_equal(record->record.task_done, item + 1 == task->end_item);
            pm_op_free(&record);
        }
    }
    pm_op_free(&submit);
    pm_op *finish = run_op(PM_OP_FINISH, run_id);
    apply(store, finish, PM_OK);
    assert_int_equal(finish->run.state, PM_RUN_DONE);
    pm_op_free(&finish);
    return run_id;
}

pm_store *open_store(const scratch *s) {
    pm_store *store = NULL;
    pm_status status = pm_store_open(s->path, &store);
    if (status) fail_msg("open: %s", pm_error_text());
    return store;
}

void close_store(pm_store **store) {
    if (pm_store_close(store)) fail_msg("close: %s", pm_error_text());
}

static pm_status take_value(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(pm_value *)user = values[0];
    return PM_OK;
}

static pm_value ask_value(const scratch *s, const char *sql) {
    pm_query *query = NULL;
    pm_value value = {0};
    const pm_query_sink sink = {.user = &value, .row = take_value};
    if (pm_query_open(s->path, &pm_query_default_limits, &query) ||
        pm_query_run(query, sql, NULL, 0, &sink, NULL))
        fail_msg("%s: %s", sql, pm_error_text());
    pm_query_close(&query);
    return value;
}

int64_t ask(const scratch *s, const char *sql) {
    pm_value value = ask_value(s, sql);
    if (value.kind != PM_VALUE_INTEGER) fail_msg("%s: not an integer", sql);
    return value.integer;
}

double ask_real(const scratch *s, const char *sql) {
    pm_value value = ask_value(s, sql);
    if (value.kind != PM_VALUE_REAL) fail_msg("%s: not a real number", sql);
    return value.real;
}

char *dump_of(const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (pm_store_dump(path, out)) fail_msg("dump: %s", pm_error_text());
    fclose(out);
    return text;
}

/* worker/attribute: items that go through the engine together get what each gets alone, and what
 * fails of one stays its own. A network with wide layers, as only of such several go together. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "tests/engine/cases.h"
#include "tests/engine/tensor_file.h"
#include "worker/attribute.h"

enum { SIDE = 64, PICTURE = 80, CLASSES = 12, ITEMS = 4, WAYS = 2 };

typedef struct fixture {
    pm_models models;
    pm_loaded *loaded;
    pm_ready_configuration configurations[WAYS];
    pm_run_ready ready;
    uint32_t ordinals[WAYS];
    Pm__Wire__Task task;
    Pm__Wire__Item items[ITEMS];
    uint8_t hashes[ITEMS][32];
    pm_contexts contexts;
    pm_stages stages;
} fixture;

static void set_configuration(fixture *f, size_t way) {
    pm_ready_configuration *c = &f->configurations[way];
    c->config = (pm_config){.resize = SIDE,
                            .crop = SIDE,
                            .filter = PM_FILTER_BILINEAR,
                            .mean = {0.5F, 0.5F, 0.5F},
                            .std = {0.25F, 0.25F, 0.25F},
                            .target_rule = PM_TARGET_RULE_LABEL};
    pm_attribution_defaults(&c->config.attribution);
    c->config.attribution.method = way == 0 ? PM_METHOD_GRAD : PM_METHOD_INPUTGRAD;
    assert_int_equal(
        pm_configuration_new(f->loaded->model, &c->config.attribution, NULL, &c->engine), PM_OK);
}

static int set_up(void **state) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pm_models_init(&f->models);
    f->loaded = calloc(1, sizeof *f->loaded);
    assert_non_null(f->loaded);
    f->loaded->models = &f->models;
    f->loaded->users = 1;
    f->models.first = f->loaded;
    assert_int_equal(pm_case_model_new("resnet18", CLASSES, &f->loaded->model), PM_OK);
    for (size_t i = 0; i < WAYS; i++) set_configuration(f, i);
    f->ready = (pm_run_ready){.loaded = f->loaded,
                              .channels = PM_CHANNELS_FULL,
                              .heat_maps = PM_HEAT_MAPS_F32,
                              .count = WAYS,
                              .configurations = f->configurations};
    pm__wire__task__init(&f->task);
    f->task.n_configurations = WAYS;
    f->task.configurations = f->ordinals;
    for (size_t i = 0; i < WAYS; i++) f->ordinals[i] = (uint32_t)i;
    for (size_t i = 0; i < ITEMS; i++) {
        memset(f->hashes[i], (int)i + 1, sizeof f->hashes[i]);
        pm__wire__item__init(&f->items[i]);
        f->items[i].ordinal = i;
        f->items[i].path = "picture";
        f->items[i].sha256 = (ProtobufCBinaryData){sizeof f->hashes[i], f->hashes[i]};
        f->items[i].has_label = 1;
        f->items[i].label = (int)i;
    }
    pm_stages_start(&f->stages);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    pm_contexts_fini(&f->contexts);
    for (size_t i = 0; i < WAYS; i++) pm_configuration_free(&f->configurations[i].engine);
    pm_loaded_release(&f->loaded);
    pm_models_fini(&f->models);
    free(f);
    return 0;
}

static pm_in_work open_picture(fixture *f, size_t item) {
    pm_in_work w = {.ready = &f->ready, .task = &f->task, .item = &f->items[item]};
    w.image = (pm_image){PICTURE, PICTURE, malloc(3 * PICTURE * PICTURE)};
    assert_non_null(w.image.rgb);
    char name[16];
    float values[3 * PICTURE];
    for (size_t y = 0; y < PICTURE; y++) {
        snprintf(name, sizeof name, "%zu/%zu", item, y);
        pm_synth(name, 0, values, 3 * PICTURE);
        for (size_t i = 0; i < 3 * PICTURE; i++)
            w.image.rgb[y * 3 * PICTURE + i] = (uint8_t)(127.5F + 100 * values[i]);
    }
    assert_int_equal(pm_reply_new(&f->task, &f->items[item], &w.reply), PM_OK);
    return w;
}

/* Items first .. first + count - 1 in one call; out: [count] what would be sent. */
static void attribute(fixture *f, size_t first, size_t count, pm_outgoing **out) {
    pm_in_work items[ITEMS];
    for (size_t i = 0; i < count; i++) items[i] = open_picture(f, first + i);
    assert_int_equal(pm_attribute_items(&f->contexts, &f->stages, items, count), PM_OK);
    for (size_t i = 0; i < count; i++) {
        pm_image_fini(&items[i].image);
        assert_int_equal(pm_reply_finish(&items[i].reply, 1, &out[i]), PM_OK);
    }
}

static void assert_same(const pm_outgoing *a, const pm_outgoing *b) {
    size_t size = pm__wire__item_result__get_packed_size(a->result);
    assert_int_equal(size, pm__wire__item_result__get_packed_size(b->result));
    uint8_t *x = malloc(size), *y = malloc(size);
    assert_true(x && y);
    pm__wire__item_result__pack(a->result, x);
    pm__wire__item_result__pack(b->result, y);
    assert_memory_equal(x, y, size);
    free(x);
    free(y);
    assert_int_equal(a->frame_count, b->frame_count);
    for (size_t i = 0; i < a->frame_count; i++) {
        assert_int_equal(a->frames[i].size, b->frames[i].size);
        assert_memory_equal(a->frames[i].bytes, b->frames[i].bytes, a->frames[i].size);
    }
}

static void items_together_get_what_each_gets_alone(void **state) {
    fixture *f = *state;
    pm_outgoing *together[ITEMS], *alone;
    assert_int_equal(pm_attribute_together(&f->ready, &f->task), ITEMS);
    attribute(f, 0, ITEMS, together);
    for (size_t i = 0; i < ITEMS; i++) {
        attribute(f, i, 1, &alone);
        assert_null(alone->result->results[0]->failure);
        assert_int_equal(alone->result->results[0]->target, i);
        assert_same(together[i], alone);
        if (i > 0) /* or else the comparison says nothing */
            assert_memory_not_equal(together[i]->frames[2].bytes, together[0]->frames[2].bytes, 64);
        pm_outgoing_free(&alone);
    }
    for (size_t i = 0; i < ITEMS; i++) pm_outgoing_free(&together[i]);
}

static void what_fails_of_one_item_stays_its_own(void **state) {
    fixture *f = *state;
    pm_outgoing *together[ITEMS], *alone;
    f->items[1].label = CLASSES; /* none of the model's */
    attribute(f, 0, ITEMS, together);
    for (size_t i = 0; i < ITEMS; i++) {
        attribute(f, i, 1, &alone);
        assert_int_equal(alone->result->results[0]->failure != NULL, i == 1);
        assert_same(together[i], alone);
        pm_outgoing_free(&alone);
        pm_outgoing_free(&together[i]);
    }
    f->items[1].label = 1;
}

/* One class has p-values: the engine refuses the group, and no item pays for another's class. */
static void an_item_without_statistics_fails_alone(void **state) {
    enum { CHANNELS = 512 };
    fixture *f = *state;
    pm_ready_configuration *c = &f->configurations[1];
    const pm_ready_configuration before = *c;
    float p[CHANNELS], shapiro[CHANNELS] = {0}, classes[1] = {2};
    for (size_t i = 0; i < CHANNELS; i++) p[i] = (float)i / CHANNELS;
    const pm_file_tensor tensors[] = {{"welch/layer4.1.conv2", 2, {CHANNELS, 1}, p},
                                      {"shapiro/layer4.1.conv2", 1, {CHANNELS}, shapiro},
                                      {"classes", 1, {1}, classes}};
    pm_weights *file = pm_tensor_file(tensors, 3);
    pm_statistics *statistics;
    assert_int_equal(pm_statistics_new(f->loaded->model, file, &statistics), PM_OK);
    c->config.attribution.mask = PM_MASK_CLS;
    strcpy(c->config.attribution.layers, "layer4.1.conv2");
    assert_int_equal(
        pm_configuration_new(f->loaded->model, &c->config.attribution, statistics, &c->engine),
        PM_OK);
    pm_outgoing *together[ITEMS], *alone;
    attribute(f, 0, ITEMS, together);
    for (size_t i = 0; i < ITEMS; i++) {
        attribute(f, i, 1, &alone);
        assert_null(together[i]->result->results[0]->failure);
        assert_int_equal(together[i]->result->results[1]->failure == NULL, i == 2);
        assert_same(together[i], alone);
        pm_outgoing_free(&alone);
        pm_outgoing_free(&together[i]);
    }
    pm_configuration_free(&c->engine);
    *c = before;
    pm_statistics_free(&statistics);
    pm_weights_free(&file);
}

static void evaluated_items_together_get_what_each_gets_alone(void **state) {
    fixture *f = *state;
    pm_evaluation_defaults(&f->ready.evaluation);
    f->ready.evaluation.ratio_count = 4;
    assert_int_equal(pm_attribute_together(&f->ready, &f->task), ITEMS);
    f->items[2].label = CLASSES; /* none of the model's: no curves */
    pm_outgoing *together[ITEMS], *alone;
    attribute(f, 0, ITEMS, together);
    for (size_t i = 0; i < ITEMS; i++) {
        attribute(f, i, 1, &alone);
        for (size_t way = 0; way < WAYS; way++) {
            const Pm__Wire__Result *result = alone->result->results[way];
            assert_int_equal(result->failure != NULL, i == 2);
            assert_int_equal(result->n_perturbations, i == 2 ? 0 : 8);
        }
        assert_same(together[i], alone);
        pm_outgoing_free(&alone);
        pm_outgoing_free(&together[i]);
    }
    f->items[2].label = 2;
    f->ready.evaluation.on = false;
}

static void items_of_many_passes_go_alone(void **state) {
    fixture *f = *state;
    pm_attribution *a = &f->configurations[1].config.attribution;
    a->method = PM_METHOD_IG;
    assert_int_equal(pm_attribute_together(&f->ready, &f->task), 1);
    a->method = PM_METHOD_INPUTGRAD;
    pm_evaluation_defaults(&f->ready.evaluation);
    f->ready.evaluation.ratio_count = PM_RATIOS_MAX;
    assert_int_equal(pm_attribute_together(&f->ready, &f->task), 1);
    f->ready.evaluation.on = false;
}

int main(void) {
    assert(pm_image_setup("worker_attribute") == PM_OK);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_together_get_what_each_gets_alone),
        cmocka_unit_test(what_fails_of_one_item_stays_its_own),
        cmocka_unit_test(an_item_without_statistics_fails_alone),
        cmocka_unit_test(evaluated_items_together_get_what_each_gets_alone),
        cmocka_unit_test(items_of_many_passes_go_alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* From the wire to the store's operation: activations of method gather, and what does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/records.h"

enum { CHANNELS = 5, CONVS = 2 };

static const float activations[CHANNELS] = {0, 1.5f, 2, 3, 4}, density[CONVS] = {0.25f, 0.5f};

typedef struct sent {
    Pm__Wire__ItemResult item;
    Pm__Wire__Result result, *results[1];
    pm_bytes frames[3];
    size_t frame_count;
    pm_config config;
    pm_run_spec spec;
} sent;

static void set_up(sent *s) {
    memset(s, 0, sizeof *s);
    pm__wire__item_result__init(&s->item);
    pm__wire__result__init(&s->result);
    s->results[0] = &s->result;
    s->item.results = s->results;
    s->item.n_results = 1;
    s->result.has_target = s->result.has_predicted = true;
    s->result.has_p_target = s->result.has_p_predicted = true;
    s->result.box_reason = (char *)"no-map";
    s->result.has_activation_channels = s->result.has_activation_convs = true;
    s->result.activation_channels = CHANNELS;
    s->result.activation_convs = CONVS;
    s->frames[0] = (pm_bytes){(const uint8_t *)activations, sizeof activations};
    s->frames[1] = (pm_bytes){(const uint8_t *)density, sizeof density};
    s->frames[2] = s->frames[1];
    s->frame_count = 2;
    pm_attribution_defaults(&s->config.attribution);
    s->config.attribution.method = PM_METHOD_GATHER;
    s->spec.configs = &s->config;
    s->spec.config_count = 1;
}

static void check(const sent *s, pm_status want) {
    pm_op *op = NULL;
    pm_status status = pm_record_make(&s->item, s->frames, s->frame_count, &s->spec, &op);
    if (status != want) fail_msg("%s: %s", pm_status_name(status), pm_error_text());
    assert_true((op == NULL) == (want != PM_OK));
    pm_op_free(&op);
}

static void activations_come_in_two_frames(void **state) {
    (void)state;
    sent s;
    pm_op *op = NULL;
    set_up(&s);
    assert_int_equal(pm_record_make(&s.item, s.frames, 2, &s.spec, &op), PM_OK);
    const pm_record_result *r = &op->record.results[0];
    assert_int_equal(r->activation_count, CHANNELS);
    assert_memory_equal(r->activations, activations, sizeof activations);
    assert_int_equal(r->density_count, CONVS);
    assert_memory_equal(r->density, density, sizeof density);
    assert_int_equal(r->channel_count, 0);
    assert_string_equal(r->box_reason, "no-map");
    pm_op_free(&op);
}

static void frames_that_do_not_fit_are_refused(void **state) {
    (void)state;
    sent s;
    set_up(&s);
    for (s.frame_count = 0; s.frame_count < 2; s.frame_count++) check(&s, PM_E_PROTOCOL);
    s.frame_count = 3;
    check(&s, PM_E_PROTOCOL);
    set_up(&s);
    s.result.activation_channels = CHANNELS + 1;
    check(&s, PM_E_PROTOCOL);
    s.result.activation_channels = 1u << 30;
    check(&s, PM_E_PROTOCOL);
    s.result.activation_channels = 0;
    check(&s, PM_E_PROTOCOL);
    set_up(&s);
    s.frames[1].size--;
    check(&s, PM_E_PROTOCOL);
    set_up(&s);
    s.result.has_activation_convs = false;
    check(&s, PM_E_PROTOCOL);
    set_up(&s);
    s.result.configuration = 1;
    check(&s, PM_E_PROTOCOL);
}

static void other_methods_bring_no_activations(void **state) {
    (void)state;
    sent s;
    set_up(&s);
    s.config.attribution.method = PM_METHOD_GRAD;
    check(&s, PM_E_PROTOCOL);
    s.frame_count = 0; /* the words alone do no harm: nothing announces frames to other methods */
    check(&s, PM_OK);
}

static void an_error_needs_no_frames(void **state) {
    (void)state;
    sent s;
    set_up(&s);
    Pm__Wire__Failure failure = PM__WIRE__FAILURE__INIT;
    failure.stage = (char *)"decode";
    failure.reason = (char *)"format";
    failure.text = (char *)"x.jpg: not a photograph";
    s.result.failure = &failure;
    s.frame_count = 0;
    check(&s, PM_OK);
    s.frame_count = 1;
    check(&s, PM_E_PROTOCOL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_come_in_two_frames),
        cmocka_unit_test(frames_that_do_not_fit_are_refused),
        cmocka_unit_test(other_methods_bring_no_activations),
        cmocka_unit_test(an_error_needs_no_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

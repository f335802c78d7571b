/* Credit: how many leases a worker wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/work.h"

/* As it would come off the wire. */
static pm_message message_of(const Pm__Wire__Message *from) {
    uint8_t bytes[1024];
    size_t size = pm__wire__message__get_packed_size(from);
    assert_true(size <= sizeof bytes);
    pm__wire__message__pack(from, bytes);
    pm_message out = {.body = pm__wire__message__unpack(NULL, size, bytes)};
    assert_non_null(out.body);
    return out;
}

static void announce(pm_work *work) {
    uint8_t hash[PM_SHA256_BYTES] = {0};
    char *configuration = "{}";
    Pm__Wire__Blob weights = PM__WIRE__BLOB__INIT;
    weights.sha256 = (ProtobufCBinaryData){sizeof hash, hash};
    Pm__Wire__RunInfo info = PM__WIRE__RUN_INFO__INIT;
    info.run = 1;
    info.arch = info.data_root = info.channels = info.heat_maps = "";
    info.weights = &weights;
    info.n_configurations = 1;
    info.configurations = &configuration;
    Pm__Wire__Message body = pm_wire_run_info(&info);
    pm_message message = message_of(&body);
    assert_int_equal(pm_work_add_run(work, &message), PM_OK);
}

static void give(pm_work *work, uint64_t task) {
    uint8_t hash[PM_SHA256_BYTES] = {0}, token[PM_TOKEN_BYTES] = {(uint8_t)task};
    uint32_t configuration = 0;
    Pm__Wire__Item item = PM__WIRE__ITEM__INIT, *items = &item;
    item.path = "a.png";
    item.sha256 = (ProtobufCBinaryData){sizeof hash, hash};
    Pm__Wire__Task out = PM__WIRE__TASK__INIT;
    out.task = task;
    out.run = 1;
    out.token = (ProtobufCBinaryData){sizeof token, token};
    out.n_configurations = out.n_items = 1;
    out.configurations = &configuration;
    out.items = &items;
    Pm__Wire__Message body = pm_wire_task(&out);
    pm_message message = message_of(&body);
    assert_int_equal(pm_work_add_task(work, &message), PM_OK);
}

/* As if it had taken so long. */
static void compute(pm_work *work, int64_t us) {
    pm_lease *lease = pm_work_take(work);
    lease->taken_us -= us;
    pm_work_end(work, lease, true);
}

static void credit_is_for_two_seconds_of_work(void **state) {
    (void)state;
    pm_slots *slots = calloc(1, sizeof *slots);
    pm_work work;
    assert_non_null(slots);
    assert_int_equal(pm_work_init(&work, slots), PM_OK);
    pm_work_expect(&work, 2);
    announce(&work);
    assert_int_equal(pm_work_take_credit(&work), 3);
    assert_int_equal(pm_work_take_credit(&work), 0);
    for (uint64_t task = 1; task <= 3; task++) give(&work, task);
    assert_int_equal(pm_work_take_credit(&work), 0);
    /* Tasks of nearly half a second: one in reserve, and four more for each thread. */
    compute(&work, 450000);
    assert_int_equal(pm_work_take_credit(&work), 8);
    pm_work_recorded(&work, 1, 0);
    assert_int_equal(pm_work_take_credit(&work), 1);
    /* Now they are slow: nothing is taken back, but no more is asked for. */
    compute(&work, 60000000);
    pm_work_recorded(&work, 2, 0);
    assert_int_equal(pm_work_take_credit(&work), 0);
    /* A new connection knows of no credit. */
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    pm_work_settle(&work, &welcome);
    assert_int_equal(pm_work_take_credit(&work), 3);
    pm_work_drain(&work);
    assert_int_equal(pm_work_take_credit(&work), 0);
    pm_work_fini(&work);
    free(slots);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(credit_is_for_two_seconds_of_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

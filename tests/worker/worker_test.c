/* A real parchmill-worker process against a broker that this test plays: failures as rows, leases
 * across a broker restart, drain, crash, hang. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "tests/worker/fixture.h"

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
    /* The worker asks the broker for the bytes that it does not find, in time or ahead of it. */
    f->missing = "not here either";
    begin(f, NULL);
    send_task(f, 1, 0, 3);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_string_equal(message.body->item_result->results[0]->failure->stage, "decode");
    pm_message_fini(&message);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_int_equal(f->fetches, 1);
    assert_true(message.body->item_result->ordinal == 1);
    assert_string_equal(message.body->item_result->results[0]->failure->stage, "fetch");
    assert_non_null(strstr(message.body->item_result->results[0]->failure->text, "not here"));
    pm_message_fini(&message);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    assert_true(message.body->item_result->ordinal == 2);
    expect_as_direct(f, 2, &message);
    pm_message_fini(&message);
}

/* The photograph that ig starts from is neither at its path nor with the broker. */
static void no_start_is_a_failure_of_every_item(void **state) {
    fixture *f = *state;
    pm_message message;
    f->has_start = true;
    f->hashes[IMAGES - 1].bytes[0] ^= 1;
    begin(f, NULL);
    send_task(f, 1, 0, 1);
    expect(f, PM__WIRE__MESSAGE__BODY_FETCH, &message);
    assert_memory_equal(message.body->fetch->sha256.data, f->hashes[IMAGES - 1].bytes,
                        PM_SHA256_BYTES);
    Pm__Wire__Chunk chunk = PM__WIRE__CHUNK__INIT;
    chunk.sha256 = message.body->fetch->sha256;
    chunk.missing = (char *)"gone";
    Pm__Wire__Message answer = pm_wire_chunk(&chunk);
    send_to_worker(f, &answer);
    pm_message_fini(&message);
    expect(f, PM__WIRE__MESSAGE__BODY_ITEM_RESULT, &message);
    const Pm__Wire__Failure *failure = message.body->item_result->results[0]->failure;
    assert_non_null(failure);
    assert_string_equal(failure->stage, "fetch");
    assert_non_null(strstr(failure->text, "baseline"));
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
        WITH(bad_images_are_failures_and_the_rest_goes_on),
        WITH(no_start_is_a_failure_of_every_item),
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

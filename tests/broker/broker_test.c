/* The broker as a process: what it promises to clients and workers, and what it does not fall
 * for. */
#include "tests/broker/fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/roles.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

static void roles_say_only_their_verbs(void **state) {
    (void)state;
    static const Pm__Wire__Message__BodyCase workers[] = {
        PM__WIRE__MESSAGE__BODY_CREDIT, PM__WIRE__MESSAGE__BODY_ITEM_STARTED,
        PM__WIRE__MESSAGE__BODY_ITEM_RESULT, PM__WIRE__MESSAGE__BODY_TASK_RETURNED,
        PM__WIRE__MESSAGE__BODY_FETCH};
    static const Pm__Wire__Message__BodyCase clients[] = {
        PM__WIRE__MESSAGE__BODY_SUBMIT, PM__WIRE__MESSAGE__BODY_STATUS_REQUEST,
        PM__WIRE__MESSAGE__BODY_CANCEL, PM__WIRE__MESSAGE__BODY_RETRY,
        PM__WIRE__MESSAGE__BODY_QUERY,  PM__WIRE__MESSAGE__BODY_QUERY_MORE,
        PM__WIRE__MESSAGE__BODY_PAUSE,  PM__WIRE__MESSAGE__BODY_LIMIT,
        PM__WIRE__MESSAGE__BODY_REFRESH};
    static const Pm__Wire__Message__BodyCase admins[] = {PM__WIRE__MESSAGE__BODY_PRIORITIZE,
                                                         PM__WIRE__MESSAGE__BODY_DRAIN_WORKERS};
    static const Pm__Wire__Message__BodyCase brokers[] = {
        PM__WIRE__MESSAGE__BODY_WELCOME,       PM__WIRE__MESSAGE__BODY_TASK,
        PM__WIRE__MESSAGE__BODY_RUN_INFO,      PM__WIRE__MESSAGE__BODY_ITEM_RECORDED,
        PM__WIRE__MESSAGE__BODY_LEASE_REVOKED, PM__WIRE__MESSAGE__BODY_CHUNK,
        PM__WIRE__MESSAGE__BODY_DRAIN,         PM__WIRE__MESSAGE__BODY_ACCEPTED,
        PM__WIRE__MESSAGE__BODY_STATUS,        PM__WIRE__MESSAGE__BODY_DONE,
        PM__WIRE__MESSAGE__BODY_REFUSED,       PM__WIRE__MESSAGE__BODY_QUERY_COLUMNS,
        PM__WIRE__MESSAGE__BODY_QUERY_ROWS,    PM__WIRE__MESSAGE__BODY__NOT_SET};
    for (size_t i = 0; i < sizeof workers / sizeof *workers; i++) {
        assert_true(pm_role_may(PM_ROLE_WORKER, workers[i]));
        assert_false(pm_role_may(PM_ROLE_CLIENT, workers[i]));
        assert_false(pm_role_may(PM_ROLE_ADMIN, workers[i]));
    }
    for (size_t i = 0; i < sizeof clients / sizeof *clients; i++) {
        assert_true(pm_role_may(PM_ROLE_CLIENT, clients[i]));
        assert_true(pm_role_may(PM_ROLE_ADMIN, clients[i]));
        assert_false(pm_role_may(PM_ROLE_WORKER, clients[i]));
    }
    for (size_t i = 0; i < sizeof admins / sizeof *admins; i++) {
        assert_true(pm_role_may(PM_ROLE_ADMIN, admins[i]));
        assert_false(pm_role_may(PM_ROLE_CLIENT, admins[i]));
        assert_false(pm_role_may(PM_ROLE_WORKER, admins[i]));
    }
    for (size_t i = 0; i < sizeof brokers / sizeof *brokers; i++)
        for (pm_role role = 0; role < PM_ROLE_COUNT; role++)
            assert_false(pm_role_may(role, brokers[i]));
    for (pm_role role = 0; role < PM_ROLE_COUNT; role++)
        assert_true(pm_role_may(role, PM__WIRE__MESSAGE__BODY_HELLO));
    for (Pm__Wire__Message__BodyCase verb = 0; verb < 256; verb++)
        assert_false(pm_role_may(PM_ROLE_NONE, verb));
}

static void await_recorded(worker *w, uint64_t ordinal) {
    pm_message message;
    worker_await(w, PM__WIRE__MESSAGE__BODY_ITEM_RECORDED, &message);
    assert_int_equal(message.body->item_recorded->ordinal, ordinal);
    pm_message_fini(&message);
}

static void do_task(worker *w) {
    worker_take(w);
    for (uint64_t i = 0; i < w->items; i++) {
        worker_started(w, w->first + i);
        worker_result(w, w->first + i, w->token);
        await_recorded(w, w->first + i);
    }
}

static void run_is_done_when_its_last_item_is_recorded(void **state) {
    scene *s = *state;
    worker w = {0};
    pm_accepted accepted = submit(s, 6, "six");
    assert_false(accepted.existed);
    assert_int_equal(accepted.items_open, 6);
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    do_task(&w);
    worker_credit(&w, 1);
    do_task(&w);
    await_state(s, accepted.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 6);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE worker_id IS NULL"), 0);
    assert_int_equal(ask(s, "SELECT sum(predicted) FROM result"), 0 + 1 + 2 + 3 + 4 + 5);
    assert_int_equal(ask(s, "SELECT count(*) FROM task"), 0);
    assert_true(submit(s, 6, "six").existed);
    worker_leave(&w);
}

static void curves_go_from_submit_to_rows(void **state) {
    scene *s = *state;
    worker w = {0};
    s->evaluation = "noise@7:0,0.5,1";
    pm_accepted accepted = submit(s, 2, "curves");
    kill_broker(s);
    start_broker(s); /* so what is announced came from the database */
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    do_task(&w);
    await_state(s, accepted.run, "done");
    assert_string_equal(w.evaluation, s->evaluation);
    assert_int_equal(ask(s, "SELECT count(*) FROM run WHERE evaluation = 'noise@7:0,0.5,1'"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE pointing = 1 AND deletion_auc = 0.5"
                            " AND insertion_auc = 0.625 AND completeness_gap = -0.0625"),
                     2);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation"), 2 * 6);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation WHERE p_target = 0.25"
                            " AND fracdiff = 0.75 AND aopc = CASE curve WHEN 'morf' THEN 0 ELSE"
                            " 0.375 END + 0.25 * ratio AND correct = (aopc = 0.125)"),
                     2 * 6);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation WHERE lodds = -0.5"), 2 * 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation WHERE lodds IS NULL"), 2 * 3);
    worker_leave(&w);
}

static void acknowledged_submit_survives_kill_9(void **state) {
    scene *s = *state;
    uint64_t done, failed;
    pm_accepted first = submit(s, 5, "kept");
    kill_broker(s);
    start_broker(s);
    pm_accepted again = submit(s, 5, "kept");
    assert_true(again.existed);
    assert_int_equal(again.run, first.run);
    assert_int_equal(again.items_open, 5);
    progress(s, first.run, &done, &failed);
    assert_int_equal(done, 0);
}

static void recorded_items_survive_kill_9_and_are_not_given_again(void **state) {
    scene *s = *state;
    worker w = {0}, next = {0};
    pm_accepted accepted = submit(s, 4, "part");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    worker_result(&w, 0, w.token);
    await_recorded(&w, 0);
    kill_broker(s);
    worker_leave(&w);
    start_broker(s);
    worker_join(s, &next, NULL);
    worker_credit(&next, 1);
    do_task(&next);
    assert_int_equal(next.first, 1);
    assert_int_equal(next.items, 3);
    await_state(s, accepted.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 4);
    worker_leave(&next);
}

static void wrong_token_is_refused_and_revoked(void **state) {
    static const uint8_t wrong[16] = {1, 2, 3};
    scene *s = *state;
    worker w = {0};
    pm_message message;
    submit(s, 2, "token");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    worker_result(&w, 0, wrong);
    worker_await(&w, PM__WIRE__MESSAGE__BODY_LEASE_REVOKED, &message);
    assert_memory_equal(message.body->lease_revoked->token.data, wrong, 16);
    pm_message_fini(&message);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 0);
    assert_true(log_has(s, "result.refused"));
    worker_result(&w, 0, w.token); /* the right one still holds */
    await_recorded(&w, 0);
    worker_leave(&w);
}

/* Set aside once, then three crashes alone. */
static void item_that_kills_workers_becomes_one_error_row(void **state) {
    scene *s = *state;
    worker w = {0}, next;
    pm_accepted accepted = submit(s, 3, "poison");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    worker_started(&w, 0); /* and dies of it */
    next = (worker){0};
    worker_join(s, &next, &w);
    worker_leave(&w);
    worker_credit(&next, 1);
    do_task(&next); /* the innocent rest */
    assert_int_equal(next.first, 1);
    for (int crash = 0; crash < 3; crash++) {
        worker_credit(&next, 1);
        worker_take(&next);
        assert_int_equal(next.first, 0);
        assert_int_equal(next.items, 1);
        worker_started(&next, 0);
        w = next;
        next = (worker){0};
        worker_join(s, &next, &w);
        worker_leave(&w);
    }
    await_state(s, accepted.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NOT NULL"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 2);
    uint64_t done, failed, count = 0;
    progress(s, accepted.run, &done, &failed);
    assert_int_equal(done, 3);
    assert_int_equal(failed, 1);
    assert_int_equal(pm_client_retry(s->client, accepted.run, NULL, WAIT_MS, &count), PM_OK);
    assert_int_equal(count, 1);
    worker_credit(&next, 1);
    do_task(&next);
    await_state(s, accepted.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 3);
    worker_leave(&next);
}

static void give_bad_rows(worker *w, uint64_t ordinal) {
    pm_message message;
    w->gives_bad_rows = true;
    worker_started(w, ordinal);
    worker_result(w, ordinal, w->token);
    w->gives_bad_rows = false;
    worker_await(w, PM__WIRE__MESSAGE__BODY_LEASE_REVOKED, &message);
    assert_string_equal(message.body->lease_revoked->reason, "record");
    pm_message_fini(&message);
}

/* It would go round for ever: set aside, then three times alone. The others are not touched. */
static void item_whose_rows_do_not_hold_becomes_one_error_row(void **state) {
    scene *s = *state;
    worker w = {0};
    pm_accepted accepted = submit(s, 4, "unfit");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    worker_started(&w, 0);
    worker_result(&w, 0, w.token);
    await_recorded(&w, 0);
    worker_started(&w, 2); /* in hand, as it may be, and sent behind the one that is refused */
    give_bad_rows(&w, 1);
    worker_credit(&w, 1);
    do_task(&w);
    assert_int_equal(w.first, 2);
    assert_int_equal(w.items, 2);
    for (int again = 0; again < 3; again++) {
        worker_credit(&w, 1);
        worker_take(&w);
        assert_int_equal(w.first, 1);
        assert_int_equal(w.items, 1);
        give_bad_rows(&w, 1);
    }
    await_state(s, accepted.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"), 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM dead_letter WHERE reason = 'record'"), 1);
    worker_leave(&w);
}

static void cancel_revokes_and_submit_goes_on(void **state) {
    scene *s = *state;
    worker w = {0};
    pm_message message;
    uint64_t count = 0;
    pm_accepted accepted = submit(s, 4, "cancel");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    worker_result(&w, 0, w.token);
    await_recorded(&w, 0);
    assert_int_equal(pm_client_cancel(s->client, accepted.run, WAIT_MS, &count), PM_OK);
    assert_int_equal(count, 1);
    worker_await(&w, PM__WIRE__MESSAGE__BODY_LEASE_REVOKED, &message);
    assert_string_equal(message.body->lease_revoked->reason, "cancelled");
    pm_message_fini(&message);
    await_state(s, accepted.run, "cancelled");
    accepted = submit(s, 4, "cancel");
    assert_int_equal(accepted.items_open, 3);
    worker_credit(&w, 1);
    do_task(&w);
    await_state(s, accepted.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 4);
    worker_leave(&w);
}

static void fetch(worker *w, const pm_sha256 *hash, uint64_t offset, uint32_t size,
                  pm_message *out) {
    worker_fetch(w, hash, offset, size);
    worker_await(w, PM__WIRE__MESSAGE__BODY_CHUNK, out);
}

static void only_registered_files_are_served(void **state) {
    scene *s = *state;
    worker w = {0};
    char path[128];
    pm_message chunk;
    pm_sha256 weights = pm_sha256_of("0123456789", 10), other = pm_sha256_of("x", 1);
    snprintf(path, sizeof path, "%s/weights", s->folder);
    assert_int_equal(pm_file_write(path, "0123456789", 10), PM_OK);
    submit(s, 2, "fetch");
    worker_join(s, &w, NULL);
    fetch(&w, &weights, 3, 4, &chunk);
    assert_null(chunk.body->chunk->missing);
    assert_int_equal(chunk.frame_count, 1);
    assert_int_equal(chunk.frames[0].size, 4);
    assert_memory_equal(chunk.frames[0].bytes, "3456", 4);
    pm_message_fini(&chunk);
    fetch(&w, &weights, 8, 3, &chunk); /* over the end */
    assert_non_null(chunk.body->chunk->missing);
    pm_message_fini(&chunk);
    fetch(&w, &other, 0, 1, &chunk);
    assert_non_null(chunk.body->chunk->missing);
    pm_message_fini(&chunk);
    worker_leave(&w);
}

static void the_photograph_that_ig_starts_from_is_announced_and_served(void **state) {
    scene *s = *state;
    worker w = {0};
    pm_message chunk;
    s->baseline = "grey on grey";
    submit(s, 2, "baseline");
    kill_broker(s);
    start_broker(s);
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    pm_sha256 hash = pm_sha256_of(s->baseline, 12);
    assert_true(pm_sha256_equal(&w.baseline, &hash));
    assert_int_equal(w.baseline_size, 12);
    fetch(&w, &hash, 0, 12, &chunk);
    assert_null(chunk.body->chunk->missing);
    assert_memory_equal(chunk.frames[0].bytes, "grey on grey", 12);
    pm_message_fini(&chunk);
    worker_leave(&w);
}

/* Or a client and a worker together could read any file of the broker's of which they know the
 * size.
 */
static void only_the_bytes_of_the_hash_are_served(void **state) {
    scene *s = *state;
    worker w = {0};
    char path[128];
    pm_message chunk;
    pm_sha256 hash = pm_sha256_of("0.png", 5); /* as submit() has it */
    submit(s, 1, "a secret's path");
    worker_join(s, &w, NULL);
    snprintf(path, sizeof path, "%s/0.png", s->folder);
    assert_int_equal(pm_file_write(path, "s3cr!", 5), PM_OK);
    fetch(&w, &hash, 0, 5, &chunk);
    assert_non_null(chunk.body->chunk->missing);
    assert_int_equal(chunk.frame_count, 0);
    pm_message_fini(&chunk);
    assert_int_equal(pm_file_write(path, "0.png", 5), PM_OK);
    fetch(&w, &hash, 0, 5, &chunk);
    assert_null(chunk.body->chunk->missing);
    assert_memory_equal(chunk.frames[0].bytes, "0.png", 5);
    pm_message_fini(&chunk);
    worker_leave(&w);
}

static void await_refusal(worker *w, const char *reason) {
    pm_message message;
    worker_await(w, PM__WIRE__MESSAGE__BODY_REFUSED, &message);
    assert_string_equal(message.body->refused->reason, reason);
    pm_message_fini(&message);
}

static void abuse_leaves_the_broker_alive(void **state) {
    scene *s = *state;
    worker w = {0};
    pm_accepted accepted = submit(s, 2, "abuse");
    assert_int_equal(pm_link_new(s->url, PM_ROLE_WORKER, NULL, &w.link), PM_OK);
    assert_int_equal(pm_link_connect(w.link), PM_OK);
    worker_credit(&w, 1); /* before hello */
    await_refusal(&w, "hello");
    Pm__Wire__StatusRequest status = PM__WIRE__STATUS_REQUEST__INIT;
    Pm__Wire__Message m = pm_wire_status_request(&status);
    worker_send(&w, &m); /* a client's verb */
    await_refusal(&w, "role");
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    m = pm_wire_drain(&drain);
    worker_send(&w, &m); /* the broker's own verb */
    await_refusal(&w, "role");
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    hello.protocol = 99;
    hello.engine_version = (char *)PM_ENGINE_VERSION;
    hello.role = (char *)"worker";
    hello.instance = (ProtobufCBinaryData){3, (uint8_t *)"abc"};
    m = pm_wire_hello(&hello);
    worker_send(&w, &m);
    await_refusal(&w, "version");
    hello.protocol = PM_PROTOCOL_VERSION;
    worker_send(&w, &m); /* an instance of three bytes */
    await_refusal(&w, "usage");
    hello.engine_version = (char *)"0.0.0";
    worker_send(&w, &m);
    await_refusal(&w, "version");
    pm_link_free(&w.link);
    worker_join(s, &w, NULL);
    worker_credit(&w, UINT32_MAX);
    do_task(&w);
    await_state(s, accepted.run, "done");
    worker_leave(&w);
}

static void result_that_does_not_fit_is_not_recorded(void **state) {
    scene *s = *state;
    worker w = {0}, good = {0};
    pm_accepted accepted = submit(s, 2, "misfit");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    Pm__Wire__ItemResult out = PM__WIRE__ITEM_RESULT__INIT;
    pm_bytes frame = {"surplus", 7};
    out.task = w.task;
    out.token = (ProtobufCBinaryData){16, w.token};
    Pm__Wire__Message m = pm_wire_item_result(&out);
    assert_int_equal(pm_link_send(w.link, &m, &frame, 1), PM_OK);
    await_refusal(&w, "usage");
    worker_join(s, &good, NULL);
    worker_credit(&good, 1);
    do_task(&good);
    await_state(s, accepted.run, "done");
    worker_leave(&w);
    worker_leave(&good);
}

static void second_broker_exits_at_once_with_one_line(void **state) {
    scene *s = *state;
    scene other = *s;
    int64_t begin_ms = pm_clock_ms();
    snprintf(other.log, sizeof other.log, "%s/log2", s->folder);
    spawn_broker(&other);
    assert_int_equal(await_broker(&other), 3);
    assert_true(pm_clock_ms() - begin_ms < 5000);
    assert_true(log_has(&other, "another broker"));
    submit(s, 1, "alive");
}

static void lifeline_stops_cleanly_and_leaves_one_file(void **state) {
    scene *s = *state;
    char path[128];
    struct stat info;
    submit(s, 2, "file");
    close(s->lifeline);
    s->lifeline = -1;
    assert_int_equal(await_broker(s), 0);
    snprintf(path, sizeof path, "%s-wal", s->db);
    assert_int_equal(stat(path, &info), -1);
    snprintf(path, sizeof path, "%s-shm", s->db);
    assert_int_equal(stat(path, &info), -1);
    assert_int_equal(ask(s, "SELECT count(*) FROM run"), 1);
    assert_int_equal(ask(s, "SELECT count(*) FROM pragma_journal_mode WHERE "
                            "journal_mode = 'delete'"),
                     1);
}

int main(void) {
#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene_set_up, scene_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_say_only_their_verbs),
        SCENE(run_is_done_when_its_last_item_is_recorded),
        SCENE(curves_go_from_submit_to_rows),
        SCENE(acknowledged_submit_survives_kill_9),
        SCENE(recorded_items_survive_kill_9_and_are_not_given_again),
        SCENE(wrong_token_is_refused_and_revoked),
        SCENE(item_that_kills_workers_becomes_one_error_row),
        SCENE(item_whose_rows_do_not_hold_becomes_one_error_row),
        SCENE(cancel_revokes_and_submit_goes_on),
        SCENE(only_registered_files_are_served),
        SCENE(the_photograph_that_ig_starts_from_is_announced_and_served),
        SCENE(only_the_bytes_of_the_hash_are_served),
        SCENE(abuse_leaves_the_broker_alive),
        SCENE(result_that_does_not_fit_is_not_recorded),
        SCENE(second_broker_exits_at_once_with_one_line),
        SCENE(lifeline_stops_cleanly_and_leaves_one_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A worker's conversation in time that the test makes: what a drain waits for, and who gives up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/worker/tasks.h"
#include "worker/session.h"

typedef struct site {
    pm_slots *slots;
    pm_work work;
    pm_session session;
} site;

static pm_status do_connect(void *user) {
    (void)user;
    return PM_OK;
}

static void do_disconnect(void *user) { (void)user; }

static pm_status do_send(void *user, const Pm__Wire__Message *message, const pm_bytes *bulk,
                         size_t count) {
    (void)user, (void)message, (void)bulk, (void)count;
    return PM_OK;
}

static uint32_t do_dice(void *user) {
    (void)user;
    return 0;
}

static void hear(site *s, Pm__Wire__Message body, int64_t now_ms) {
    pm_message message = tasks_message(&body);
    pm_session_hear(&s->session, &message, now_ms);
}

static void begin_site(site *s) {
    static const pm_session_host host = {
        .connect = do_connect, .disconnect = do_disconnect, .send = do_send, .dice = do_dice};
    static const pm_session_self self = {
        .broker = "ipc://x", .host_name = "h", .isa = "", .pid = 1, .threads = 1};
    s->slots = calloc(1, sizeof *s->slots);
    assert_non_null(s->slots);
    assert_int_equal(pm_work_init(&s->work, s->slots), PM_OK);
    pm_session_init(&s->session, &s->work, &self, &host);
}

/* A worker that computes one image and has another one in reserve. */
static pm_lease *open_site(site *s) {
    Pm__Wire__Welcome welcome = PM__WIRE__WELCOME__INIT;
    welcome.protocol = PM_PROTOCOL_VERSION;
    welcome.silence_ms = welcome.lease_ms = 15000;
    begin_site(s);
    pm_work_expect(&s->work, 1);
    pm_session_turn(&s->session, 0);
    hear(s, pm_wire_welcome(&welcome), 1);
    assert_int_equal(s->session.state, PM_SESSION_LIVE);
    tasks_announce(&s->work, "");
    tasks_give(&s->work, 1, 1);
    tasks_give(&s->work, 2, 1);
    return pm_work_take(&s->work);
}

static void close_site(site *s) {
    pm_work_fini(&s->work);
    free(s->slots);
}

/* Talks for so long with a broker that is there. */
static int64_t pass(site *s, int64_t now_ms, int64_t ms) {
    Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
    for (int64_t end_ms = now_ms + ms; now_ms < end_ms; now_ms += 1000) {
        hear(s, pm_wire_heartbeat(&beat), now_ms);
        pm_session_turn(&s->session, now_ms);
        assert_int_equal(s->session.state, PM_SESSION_LIVE);
    }
    return now_ms;
}

static void drain_by_the_broker_waits_for_the_image_in_hand(void **state) {
    (void)state;
    site s;
    pm_lease *lease = open_site(&s);
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    hear(&s, pm_wire_drain(&drain), 1000);
    int64_t now_ms = pass(&s, 1000, 300000);
    assert_false(pm_session_is_done(&s.session, now_ms));
    assert_true(pm_session_wait_ms(&s.session, now_ms) <= 1000);
    assert_int_equal(pm_work_lease_count(&s.work), 1); /* the other went back at once */
    pm_work_end(&s.work, lease, true);
    now_ms = pass(&s, now_ms, 1000);
    pm_work_recorded(&s.work, 1, 0);
    assert_true(pm_session_is_done(&s.session, now_ms));
    close_site(&s);
}

static void sigterm_waits_no_more_than_eight_seconds(void **state) {
    (void)state;
    for (int drained = 0; drained < 2; drained++) { /* by the broker before, or not */
        site s;
        pm_lease *lease = open_site(&s);
        Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
        if (drained) hear(&s, pm_wire_drain(&drain), 1000);
        int64_t now_ms = pass(&s, 1000, 20000);
        pm_session_drain(&s.session, now_ms);
        now_ms = pass(&s, now_ms, 7000);
        assert_false(pm_session_is_done(&s.session, now_ms));
        hear(&s, pm_wire_drain(&drain), now_ms); /* and no longer for being told again */
        now_ms = pass(&s, now_ms, 2000);
        assert_true(pm_session_is_done(&s.session, now_ms));
        pm_work_end(&s.work, lease, false);
        close_site(&s);
    }
}

/* What is in hand is finished, the rest goes back, and the end says why. */
static void a_thread_that_gives_up_drains_the_worker(void **state) {
    (void)state;
    site s;
    begin_site(&s);
    pm_session_turn(&s.session, 1);
    assert_false(pm_session_is_done(&s.session, 1));
    assert_int_equal(pm_work_verdict(&s.work), PM_OK);
    pm_work_give_up(&s.work, "first");
    pm_work_give_up(&s.work, "second");
    pm_session_turn(&s.session, 2);
    assert_int_equal(pm_work_take_credit(&s.work), 0);
    assert_true(pm_session_is_done(&s.session, 2));
    assert_int_equal(pm_work_verdict(&s.work), PM_E_IO);
    assert_non_null(strstr(pm_error_text(), "first"));
    close_site(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drain_by_the_broker_waits_for_the_image_in_hand),
        cmocka_unit_test(a_thread_that_gives_up_drains_the_worker),
        cmocka_unit_test(sigterm_waits_no_more_than_eight_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

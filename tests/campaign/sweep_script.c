/* Owns the story that the sweep tells to a broker; see sweep_script.h. */
#include "tests/campaign/sweep_script.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PLAIN_ITEMS = 6, POISON_ITEMS = 3, CANCELLED_ITEMS = 4, LIVES = 3 };

__attribute__((format(printf, 2, 3))) static void say(int out, const char *format, ...) {
    char line[400];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    line[size++] = '\n';
    if (out >= 0) assert_int_equal(write(out, line, (size_t)size), size);
}

static void say_run(int out, const char *name, const char *where) {
    say(out, "+run:%s SELECT count(*) FROM run WHERE name = '%s' AND %s", name, name, where);
}

static void say_item(int out, const char *name, uint64_t item, bool good) {
    say(out,
        "+item:%s:%llu SELECT count(*) FROM run JOIN data_set_item USING (data_set_id)"
        " JOIN result USING (image_id) WHERE name = '%s' AND item = %llu AND stage IS %s NULL",
        name, (unsigned long long)item, name, (unsigned long long)item, good ? "" : "NOT");
}

static uint64_t begin(scene *s, int out, size_t items, const char *name) {
    say(out, "-run:%s", name);
    s->first_image = (size_t)(name[0] - 'a') * 100; /* no run has an image of another */
    uint64_t run = submit(s, items, name).run;
    say_run(out, name, "state IN ('queued', 'running', 'done')");
    return run;
}

static void until_recorded(worker *w, uint64_t ordinal) {
    pm_message message;
    uint64_t got;
    do {
        worker_await(w, PM__WIRE__MESSAGE__BODY_ITEM_RECORDED, &message);
        got = message.body->item_recorded->ordinal;
        pm_message_fini(&message);
    } while (got != ordinal);
}

static void do_item(worker *w, int out, const char *name, uint64_t ordinal) {
    worker_started(w, ordinal);
    worker_result(w, ordinal, w->token);
    until_recorded(w, ordinal);
    say_item(out, name, ordinal, true);
}

static void do_task(worker *w, int out, const char *name) {
    worker_credit(w, 1);
    worker_take(w);
    for (uint64_t i = 0; i < w->items; i++) do_item(w, out, name, w->first + i);
}

static void crash(scene *s, worker *w) {
    worker old = *w;
    worker_started(w, w->first);
    *w = (worker){.link = NULL};
    worker_join(s, w, &old);
    worker_leave(&old);
}

static void tell_plain(scene *s, int out, worker *w) {
    uint64_t run = begin(s, out, PLAIN_ITEMS, "simple");
    do_task(w, out, "simple");
    do_task(w, out, "simple");
    await_state(s, run, "done");
}

/* Set aside, the rest done, three crashes alone; then a retry. */
static void tell_poison(scene *s, int out, worker *w) {
    uint64_t count, run = begin(s, out, POISON_ITEMS, "poison");
    worker_credit(w, 1);
    worker_take(w);
    crash(s, w);
    do_task(w, out, "poison");
    for (int life = 0; life < LIVES; life++) {
        worker_credit(w, 1);
        worker_take(w);
        crash(s, w);
    }
    await_state(s, run, "done");
    say_item(out, "poison", 0, false);
    say(out, "-item:poison:0");
    assert_int_equal(pm_client_retry(s->client, run, NULL, WAIT_MS, &count), PM_OK);
    assert_int_equal(count, 1);
    say(out, "+retried SELECT count(*) = 0 FROM result WHERE stage IS NOT NULL");
    do_task(w, out, "poison");
    await_state(s, run, "done");
}

static void tell_cancelled(scene *s, int out, worker *w) {
    uint64_t count, run = begin(s, out, CANCELLED_ITEMS, "cancelled");
    worker_credit(w, 1);
    worker_take(w);
    do_item(w, out, "cancelled", w->first);
    say(out, "-run:cancelled");
    assert_int_equal(pm_client_cancel(s->client, run, WAIT_MS, &count), PM_OK);
    say_run(out, "cancelled", "state = 'cancelled'");
    begin(s, out, CANCELLED_ITEMS, "cancelled");
    do_task(w, out, "cancelled");
    await_state(s, run, "done");
}

void sweep_script(scene *s, int out) {
    worker w = {.link = NULL};
    assert_int_equal(pm_client_open(s->url, false, WAIT_MS, &s->client), PM_OK);
    worker_join(s, &w, NULL);
    tell_plain(s, out, &w);
    tell_poison(s, out, &w);
    tell_cancelled(s, out, &w);
    worker_leave(&w);
    pm_client_free(&s->client);
    say(out, "end");
}

static bool is_done(scene *s, uint64_t run, uint64_t *failed) {
    pm_message answer;
    assert_int_equal(pm_client_status(s->client, run, WAIT_MS, &answer), PM_OK);
    bool done = strcmp(answer.body->status->runs[0]->state, "done") == 0;
    *failed = answer.body->status->runs[0]->items_failed;
    pm_message_fini(&answer);
    return done;
}

static void finish(scene *s, worker *w, size_t items, const char *name) {
    uint64_t count, failed, run = begin(s, -1, items, name);
    while (ask(s, "SELECT count(*) FROM task") > 0) do_task(w, -1, name);
    while (!is_done(s, run, &failed)) continue;
    if (!failed) return;
    assert_int_equal(pm_client_retry(s->client, run, NULL, WAIT_MS, &count), PM_OK);
    do_task(w, -1, name);
    while (!is_done(s, run, &failed)) continue;
}

void sweep_finish(scene *s) {
    worker w = {.link = NULL};
    assert_int_equal(pm_client_open(s->url, false, WAIT_MS, &s->client), PM_OK);
    worker_join(s, &w, NULL);
    finish(s, &w, PLAIN_ITEMS, "simple");
    finish(s, &w, POISON_ITEMS, "poison");
    finish(s, &w, CANCELLED_ITEMS, "cancelled");
    worker_leave(&w);
    pm_client_free(&s->client);
}

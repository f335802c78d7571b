/* Owns the workers that drive a broker: they take tasks and give results, and compute nothing. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bench/queue.h"
#include "lib/base/attribution.h"
#include "lib/base/random.h"

enum { PATIENCE_MS = 20000 };

static void send_now(bench_worker *w, const Pm__Wire__Message *message) {
    bool any;
    pm_status status;
    while ((status = pm_link_send(w->link, message, NULL, 0)) == PM_E_BUSY)
        (void)pm_link_wait(w->link, NULL, 0, 1, &any);
    if (status) die("worker: %s", pm_error_text());
}

/* The next message; false after timeout_ms. */
static bool receive(bench_worker *w, int timeout_ms, pm_message *out) {
    pm_status status = pm_link_receive(w->link, timeout_ms, out);
    if (status && status != PM_E_TIMEOUT) die("worker: %s", pm_error_text());
    if (status == PM_E_TIMEOUT && pm_link_lost(w->link)) return false;
    if (!status && out->body->body_case == PM__WIRE__MESSAGE__BODY_REFUSED)
        die("worker: refused: %s", out->body->refused->text);
    return status == PM_OK;
}

bool worker_try_join(bench_worker *w, const char *url, uint32_t threads, int timeout_ms) {
    uint8_t instance[PM_INSTANCE_BYTES];
    pm_message message;
    *w = (bench_worker){.link = NULL};
    pm_random_bytes(instance, sizeof instance);
    if (pm_link_new(url, PM_ROLE_WORKER, false, &w->link) || pm_link_connect(w->link))
        die("worker: %s", pm_error_text());
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)PM_ENGINE_VERSION;
    hello.role = (char *)"worker";
    hello.host = (char *)"bench";
    hello.has_threads = true;
    hello.threads = threads;
    hello.instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, instance};
    Pm__Wire__Message greeting = pm_wire_hello(&hello);
    send_now(w, &greeting);
    bool welcome = receive(w, timeout_ms, &message);
    if (welcome) {
        welcome = message.body->body_case == PM__WIRE__MESSAGE__BODY_WELCOME;
        pm_message_fini(&message);
    }
    if (!welcome) worker_leave(w);
    return welcome;
}

void worker_join(bench_worker *w, const char *url, uint32_t threads) {
    if (!worker_try_join(w, url, threads, PATIENCE_MS)) die("worker: the broker does not answer");
}

void worker_leave(bench_worker *w) { pm_link_free(&w->link); }

void worker_credit(bench_worker *w, uint32_t tasks) {
    Pm__Wire__Credit credit = PM__WIRE__CREDIT__INIT;
    credit.tasks = tasks;
    Pm__Wire__Message message = pm_wire_credit(&credit);
    send_now(w, &message);
}

static void note_task(bench_worker *w, const Pm__Wire__Task *task) {
    w->task = task->task;
    w->items = task->n_items;
    w->first = task->items[0]->ordinal;
    memcpy(w->token, task->token.data, sizeof w->token);
}

void worker_take(bench_worker *w) {
    pm_message message;
    for (bool task = false; !task;) {
        if (!receive(w, PATIENCE_MS, &message)) die("worker: no task came");
        task = message.body->body_case == PM__WIRE__MESSAGE__BODY_TASK;
        if (task) note_task(w, message.body->task);
        pm_message_fini(&message);
    }
}

void worker_return(bench_worker *w) {
    Pm__Wire__TaskReturned returned = PM__WIRE__TASK_RETURNED__INIT;
    returned.task = w->task;
    returned.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, w->token};
    Pm__Wire__Message message = pm_wire_task_returned(&returned);
    send_now(w, &message);
}

void worker_goodbye(bench_worker *w) {
    Pm__Wire__Goodbye goodbye = PM__WIRE__GOODBYE__INIT;
    Pm__Wire__Message message = pm_wire_goodbye(&goodbye);
    send_now(w, &message);
    pm_link_finish(&w->link, 1000);
}

/* ---- many of them ---- */

typedef struct crew {
    const char *url;
    uint32_t window;
    size_t items;
    atomic_size_t recorded;
    pthread_mutex_t lock;
    samples *claims; /* under the lock */
} crew;

static void give_result(bench_worker *w, uint64_t ordinal) {
    Pm__Wire__Result result = PM__WIRE__RESULT__INIT, *results[] = {&result};
    Pm__Wire__LayerGradient layer = PM__WIRE__LAYER_GRADIENT__INIT, *layers[] = {&layer};
    Pm__Wire__ItemStarted started = PM__WIRE__ITEM_STARTED__INIT;
    Pm__Wire__ItemResult out = PM__WIRE__ITEM_RESULT__INIT;
    started.task = out.task = w->task;
    started.token = out.token = (ProtobufCBinaryData){PM_TOKEN_BYTES, w->token};
    started.ordinal = out.ordinal = ordinal;
    layer.conv = 3;
    layer.name = (char *)"layer4.0.conv1";
    layer.channels = layer.selected = 2;
    layer.scale_h = layer.scale_l = 1;
    result.has_target = result.has_predicted = true;
    result.has_p_target = result.has_p_predicted = true;
    result.p_target = result.p_predicted = 0.5;
    result.box_reason = (char *)"no-box";
    result.n_layers = 1;
    result.layers = layers;
    out.n_results = 1;
    out.results = results;
    Pm__Wire__Message message = pm_wire_item_started(&started);
    send_now(w, &message);
    message = pm_wire_item_result(&out);
    send_now(w, &message);
}

static void *work(void *user) {
    enum { WINDOW_MAX = 64 };
    crew *c = user;
    bench_worker w;
    samples claims = {.values = NULL};
    double asked[WINDOW_MAX];
    size_t first = 0, waiting = c->window < WINDOW_MAX ? c->window : WINDOW_MAX;
    worker_join(&w, c->url, 1);
    for (size_t i = 0; i < waiting; i++) asked[i] = seconds();
    worker_credit(&w, (uint32_t)waiting);
    const size_t size = waiting;
    while (atomic_load(&c->recorded) < c->items) {
        pm_message message;
        if (!receive(&w, 100, &message)) continue;
        if (message.body->body_case == PM__WIRE__MESSAGE__BODY_TASK) {
            samples_add(&claims, seconds() - asked[first % size]);
            note_task(&w, message.body->task);
            for (uint64_t i = 0; i < w.items; i++) give_result(&w, w.first + i);
            asked[first++ % size] = seconds();
            worker_credit(&w, 1);
        } else if (message.body->body_case == PM__WIRE__MESSAGE__BODY_ITEM_RECORDED) {
            atomic_fetch_add(&c->recorded, 1);
        }
        pm_message_fini(&message);
    }
    worker_goodbye(&w);
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < claims.count; i++) samples_add(c->claims, claims.values[i]);
    pthread_mutex_unlock(&c->lock);
    samples_fini(&claims);
    return NULL;
}

void work_through(const char *url, size_t workers, uint32_t window, size_t items, work_done *out) {
    pthread_t threads[64];
    *out = (work_done){.items = items};
    crew c = {.url = url, .window = window, .items = items, .claims = &out->claims};
    pthread_mutex_init(&c.lock, NULL);
    if (workers > 64) workers = 64;
    const double begin = seconds();
    for (size_t i = 0; i < workers; i++)
        if (pthread_create(&threads[i], NULL, work, &c)) die("no thread");
    for (size_t i = 0; i < workers; i++) pthread_join(threads[i], NULL);
    out->seconds = seconds() - begin;
    pthread_mutex_destroy(&c.lock);
}

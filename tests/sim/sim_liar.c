/* Owns the liars: peers on the workers' socket that say what they must not. A thing they do not do,
 * for nobody could tell: a wrong value under a lease of their own. Where there are no keys, nor a
 * crash of an instance that was real: there an instance is a secret between a worker and the
 * broker. */
#include <string.h>

#include "tests/sim/sim.h"

enum { LIE_MS = 400, FLOOD = 100000, MADE_UP_LEASES = 24 };

static size_t owner_of(const sim *w, size_t index) { return w->worker_count + index; }

void sim_snoop_task(sim *w, const pm_action *a) {
    if (sim_conn_owner(a->worker) >= w->worker_count) return; /* nobody lies about liars */
    sim_snooped *s = &w->snooped[w->snooped_count++ % SIM_SNOOPED];
    s->task = a->task;
    s->first = a->first;
    s->end = a->end;
    s->token = a->token;
}

void sim_snoop_instance(sim *w, const pm_instance *instance) {
    w->snooped[sim_below(w, SIM_SNOOPED)].instance = *instance;
}

static const sim_snooped *any(sim *w) {
    uint64_t known = w->snooped_count < SIM_SNOOPED ? w->snooped_count : SIM_SNOOPED;
    return known ? &w->snooped[sim_below(w, known)] : NULL;
}

static ProtobufCBinaryData token_bytes(const pm_token *token) {
    return (ProtobufCBinaryData){PM_TOKEN_BYTES, (uint8_t *)token->bytes};
}

static void say(sim *w, sim_liar *liar, Pm__Wire__Message message) {
    sim_send(w, SIM_TO_BROKER, liar->conn, &message);
}

static void say_result(sim *w, sim_liar *liar, uint64_t task, const pm_token *token, uint64_t item,
                       uint64_t value) {
    Pm__Wire__ItemResult out = PM__WIRE__ITEM_RESULT__INIT;
    Pm__Wire__Result result = PM__WIRE__RESULT__INIT, *results[] = {&result};
    result.has_p_target = true;
    result.p_target = (double)value;
    out.task = task;
    out.token = token_bytes(token);
    out.ordinal = item;
    out.n_results = 1;
    out.results = results;
    say(w, liar, pm_wire_item_result(&out));
}

static void say_started(sim *w, sim_liar *liar, const sim_snooped *s) {
    Pm__Wire__ItemStarted out = PM__WIRE__ITEM_STARTED__INIT;
    out.task = s->task;
    out.token = token_bytes(&s->token);
    out.ordinal = s->end - 1;
    say(w, liar, pm_wire_item_started(&out));
}

static void say_returned(sim *w, sim_liar *liar, const sim_snooped *s) {
    Pm__Wire__TaskReturned out = PM__WIRE__TASK_RETURNED__INIT;
    out.task = s->task;
    out.token = token_bytes(&s->token);
    say(w, liar, pm_wire_task_returned(&out));
}

static void say_credit(sim *w, sim_liar *liar, uint32_t tasks) {
    Pm__Wire__Credit out = PM__WIRE__CREDIT__INIT;
    out.tasks = tasks;
    say(w, liar, pm_wire_credit(&out));
}

/* `lies`: leases that it does not have; the first is another's where there are keys. */
static void say_hello(sim *w, sim_liar *liar, const pm_instance *instance, size_t lies,
                      bool crash) {
    Pm__Wire__Hello hello = PM__WIRE__HELLO__INIT;
    Pm__Wire__HeldLease held[MADE_UP_LEASES], *pointers[MADE_UP_LEASES];
    Pm__Wire__InHand in_hand = PM__WIRE__IN_HAND__INIT, *in_hands[] = {&in_hand};
    const sim_snooped *s = any(w);
    const pm_instance nobody = sim_instance(sim_random(w) | ((uint64_t)1 << 63));
    const pm_instance *dead = w->keyed && s ? &s->instance : &nobody;
    pm_token token = {{1}};
    hello.protocol = PM_PROTOCOL_VERSION;
    hello.engine_version = (char *)"";
    hello.role = (char *)"worker";
    hello.instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, (uint8_t *)instance->bytes};
    hello.has_threads = true;
    hello.threads = sim_chance(w, 100) ? UINT32_MAX : 1;
    for (size_t i = 0; i < lies; i++) {
        pm__wire__held_lease__init(&held[i]);
        held[i].task = 1 + sim_below(w, w->store.task_count + 3);
        held[i].next = sim_below(w, SIM_ITEMS);
        held[i].token = token_bytes(&token);
        pointers[i] = &held[i];
    }
    if (lies && w->keyed && s) {
        sim_count(w, SIM_N_LIE_REAL_LEASE);
        held[0].task = s->task;
        held[0].next = s->first;
        held[0].token = token_bytes(&s->token);
    }
    hello.n_leases = lies;
    hello.leases = pointers;
    if (crash && s) {
        if (dead == &s->instance) sim_count(w, SIM_N_LIE_REAL_CRASH);
        hello.has_crashed_instance = true;
        hello.crashed_instance = (ProtobufCBinaryData){PM_INSTANCE_BYTES, (uint8_t *)dead->bytes};
        hello.crash_reason = (char *)"SIGSEGV";
        in_hand.task = s->task;
        in_hand.ordinal = s->end - 1;
        in_hand.token = token_bytes(&s->token);
        hello.n_in_hand = 1;
        hello.in_hand = in_hands;
    }
    liar->count = 0;
    say(w, liar, pm_wire_hello(&hello));
}

/* Of its own leases the progress is always good: it would be blamed for a hang, rightly. */
static void say_beats(sim *w, sim_liar *liar, const sim_snooped *s) {
    Pm__Wire__Heartbeat out = PM__WIRE__HEARTBEAT__INIT;
    Pm__Wire__Beat beats[SIM_SNOOPED + 1], *pointers[SIM_SNOOPED + 1];
    size_t count = 0;
    for (; count < liar->count; count++) {
        pm__wire__beat__init(&beats[count]);
        beats[count].task = liar->given[count].task;
        beats[count].token = token_bytes(&liar->given[count].token);
        beats[count].progress = (uint64_t)w->now_ms;
        pointers[count] = &beats[count];
    }
    if (s) {
        pm__wire__beat__init(&beats[count]);
        beats[count].task = s->task;
        beats[count].token = token_bytes(&s->token);
        pointers[count] = &beats[count];
        count++;
    }
    out.n_beats = count;
    out.beats = pointers;
    say(w, liar, pm_wire_heartbeat(&out));
}

static void reconnect(sim *w, sim_liar *liar, size_t index) {
    liar->conn = sim_conn(owner_of(w, index), ++liar->connections);
    liar->instance = sim_instance(++w->next_instance);
    say_hello(w, liar, &liar->instance, 0, false);
}

/* A result of a task of its own: the next one twice, or any. */
static void work_a_little(sim *w, sim_liar *liar) {
    if (!liar->count) return;
    size_t k = sim_below(w, liar->count);
    const uint64_t run = liar->given[k].run, task = liar->given[k].task;
    uint64_t item = liar->given[k].next;
    bool in_order = sim_chance(w, 700);
    if (!in_order) item = sim_below(w, SIM_ITEMS + 2);
    sim_count(w, in_order ? SIM_N_LIE_TWICE : SIM_N_LIE_NOT_STARTED);
    uint64_t value = sim_value(run, item);
    for (int i = 0; i < 2; i++) say_result(w, liar, task, &liar->given[k].token, item, value);
    if (in_order && ++liar->given[k].next >= liar->given[k].end)
        liar->given[k] = liar->given[--liar->count];
}

static void lie_about_others(sim *w, sim_liar *liar, const sim_snooped *s) {
    const pm_token made_up = {{(uint8_t)sim_random(w), (uint8_t)sim_random(w)}};
    const uint64_t item = s->first + sim_below(w, s->end - s->first + 1), garbage = 12345;
    switch (sim_below(w, 5)) {
    case 0: {
        bool old = s != &w->snooped[(w->snooped_count - 1) % SIM_SNOOPED];
        sim_count(w, old ? SIM_N_LIE_OLD_TOKEN : SIM_N_LIE_OTHERS_TOKEN);
        say_result(w, liar, s->task, &s->token, item, garbage);
        break;
    }
    case 1:
        sim_count(w, SIM_N_LIE_MADE_UP_TOKEN);
        say_result(w, liar, s->task, &made_up, item, garbage);
        break;
    case 2:
        sim_count(w, SIM_N_LIE_STARTED);
        say_started(w, liar, s);
        break;
    case 3:
        sim_count(w, SIM_N_LIE_RETURNED);
        say_returned(w, liar, s);
        break;
    case 4:
        sim_count(w, SIM_N_LIE_BEATS);
        say_beats(w, liar, s);
        break;
    }
}

static void lie_about_itself(sim *w, sim_liar *liar, const sim_snooped *s) {
    Pm__Wire__Drain drain = PM__WIRE__DRAIN__INIT;
    switch (sim_below(w, 5)) {
    case 0:
        sim_count(w, SIM_N_LIE_INSTANCE);
        say_hello(w, liar, &s->instance, 0, false);
        break;
    case 1:
        sim_count(w, SIM_N_LIE_CRASH);
        say_hello(w, liar, &liar->instance, 0, true);
        break;
    case 2:
        sim_count(w, SIM_N_LIE_LEASES);
        say_hello(w, liar, &liar->instance, 1 + sim_below(w, MADE_UP_LEASES), false);
        break;
    case 3:
        sim_count(w, SIM_N_LIE_CREDIT);
        for (int i = 0; i < 5; i++) say_credit(w, liar, FLOOD);
        break;
    case 4:
        sim_count(w, SIM_N_LIE_NOISE);
        say(w, liar, pm_wire_drain(&drain));
        break;
    }
}

void sim_liar_lie(sim *w, size_t index) {
    sim_liar *liar = &w->liars[index];
    const sim_snooped *s = any(w);
    if (!w->faults) return;
    if (!liar->conn || sim_chance(w, 30)) reconnect(w, liar, index);
    if (sim_chance(w, 200)) say_credit(w, liar, 1 + (uint32_t)sim_below(w, 3));
    if (sim_chance(w, 500)) work_a_little(w, liar);
    if (sim_chance(w, 300)) say_beats(w, liar, NULL);
    if (s && sim_chance(w, 600)) lie_about_others(w, liar, s);
    if (s && sim_chance(w, 150)) lie_about_itself(w, liar, s);
    sim_timer(w, SIM_LIE, index, 10 + (int64_t)sim_below(w, LIE_MS));
}

static void take(sim_liar *liar, const Pm__Wire__Task *task) {
    if (liar->count == SIM_SNOOPED || task->token.len != PM_TOKEN_BYTES) return;
    liar->given[liar->count].task = task->task;
    liar->given[liar->count].run = task->run;
    liar->given[liar->count].next = task->items[0]->ordinal;
    liar->given[liar->count].end = task->items[0]->ordinal + task->n_items;
    memcpy(liar->given[liar->count++].token.bytes, task->token.data, PM_TOKEN_BYTES);
}

/* It only remembers what it was given; leases that a lie got it adopted time out. */
void sim_liar_hear(sim *w, const sim_event *event) {
    sim_liar *liar = &w->liars[sim_conn_owner(event->conn) - w->worker_count];
    Pm__Wire__Message *body = NULL;
    if (liar->conn != event->conn) return;
    if (pm_wire_unpack(event->bytes, event->size, &body) != PM_OK) return;
    if (body->body_case == PM__WIRE__MESSAGE__BODY_TASK) take(liar, body->task);
    pm_wire_free(&body);
}

/* Fuzzes the broker with what its peers say, in any order: three workers and a client, a queue of
 * one run, a clock that the input turns, and a store that keeps what it is told. Sockets, store,
 * log and clock are stood in for by the linker (--wrap); all of broker/ is real.
 *
 * Input: steps. A byte of kind: 0 .. 4 a message (a byte for the peer, two for the size of the
 * control frame, the frame, a byte for the number of bulk frames, for each a byte of size and the
 * frame); 5 the clock goes on by the next byte, in tenths of a second; 6 the store answers.
 * A token of sixteen 0xAA stands for the last one that the peer was given: it cannot be guessed.
 * Protocol 0 and engine "=" in a Hello stand for ours, so that seeds outlive versions. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/roles.h"
#include "lib/base/log.h"
#include "tests/fuzz/fuzz.h"

enum { WORKERS = 3, ITEMS = 6, FRAMES_MAX = 3, QUEUE = 512, TASKS = 32, STEPS_MAX = 256 };

typedef struct stored_task {
    uint64_t id, next, end;
} stored_task;

static struct world {
    pm_broker broker;
    int64_t now_ms;
    uint8_t tokens[WORKERS + 1][PM_TOKEN_BYTES];
    pm_op *ops[QUEUE]; /* ring */
    size_t head, tail;
    stored_task tasks[TASKS];
    size_t task_count;
    uint64_t ids;
} * world;

/* ---- stand-ins ---- */

int64_t __wrap_pm_clock_ms(void);
void __wrap_pm_log(pm_log_level level, const char *event, const char *fields, ...);
void __wrap_pm_log_seldom(pm_log_budget *gate, pm_log_level level, const char *event,
                          const char *fields, ...);
pm_status __wrap_pm_router_send(pm_router *router, const pm_peer *peer,
                                const Pm__Wire__Message *body, const pm_bytes *frames,
                                size_t frame_count);
pm_status __wrap_pm_writer_put(pm_writer *writer, pm_op **op);
pm_op *__wrap_pm_writer_take(pm_writer *writer);
bool __wrap_pm_writer_has_room(pm_writer *writer);
pm_writer_state __wrap_pm_writer_look(pm_writer *writer, char *text, size_t size);

int64_t __wrap_pm_clock_ms(void) { return world->now_ms; }

void __wrap_pm_log(pm_log_level level, const char *event, const char *fields, ...) {
    char line[512];
    va_list args;
    (void)level;
    (void)event;
    va_start(args, fields);
    vsnprintf(line, sizeof line, fields, args);
    va_end(args);
}

void __wrap_pm_log_seldom(pm_log_budget *gate, pm_log_level level, const char *event,
                          const char *fields, ...) {
    char line[512];
    va_list args;
    (void)gate;
    (void)level;
    (void)event;
    va_start(args, fields);
    vsnprintf(line, sizeof line, fields, args);
    va_end(args);
}

static void note_token(const pm_peer *peer, const ProtobufCBinaryData *token) {
    size_t who = peer->port == PM_PORT_WORKER ? peer->id[1] : WORKERS;
    if (who <= WORKERS && token->len == PM_TOKEN_BYTES)
        memcpy(world->tokens[who], token->data, PM_TOKEN_BYTES);
}

pm_status __wrap_pm_router_send(pm_router *router, const pm_peer *peer,
                                const Pm__Wire__Message *body, const pm_bytes *frames,
                                size_t frame_count) {
    pm_buffer bytes = {0};
    (void)router;
    /* What goes out can be packed; touch every byte. */
    pm_status status = pm_wire_pack(body, &bytes);
    if (status) return status;
    pm_buffer_fini(&bytes);
    for (size_t i = 0; i < frame_count; i++)
        if (frames[i].size && !frames[i].bytes) abort();
    if (body->body_case == PM__WIRE__MESSAGE__BODY_TASK) note_token(peer, &body->task->token);
    for (size_t i = 0;
         body->body_case == PM__WIRE__MESSAGE__BODY_WELCOME && i < body->welcome->n_leases; i++)
        if (body->welcome->leases[i]->has_token) note_token(peer, &body->welcome->leases[i]->token);
    return PM_OK;
}

bool __wrap_pm_writer_has_room(pm_writer *writer) {
    (void)writer;
    return world->tail - world->head < QUEUE;
}

pm_status __wrap_pm_writer_put(pm_writer *writer, pm_op **op) {
    if (!__wrap_pm_writer_has_room(writer)) return pm_fail(PM_E_LIMIT, "full");
    world->ops[world->tail++ % QUEUE] = *op;
    *op = NULL;
    return PM_OK;
}

pm_writer_state __wrap_pm_writer_look(pm_writer *writer, char *text, size_t size) {
    (void)writer;
    (void)text;
    (void)size;
    return PM_WRITER_RUNNING;
}

static stored_task *find_task(uint64_t id) {
    for (size_t i = 0; i < world->task_count; i++)
        if (world->tasks[i].id == id && world->tasks[i].next < world->tasks[i].end)
            return &world->tasks[i];
    return NULL;
}

static void make_task(uint64_t run, uint64_t first, uint64_t end, bool alone, uint32_t crashes,
                      pm_task_list *out) {
    if (world->task_count == TASKS) return;
    out->rows = calloc(1, sizeof *out->rows);
    if (!out->rows) abort();
    out->count = 1;
    pm_task_row *row = &out->rows[0];
    row->task_id = ++world->ids;
    row->run_id = run;
    row->next_item = first;
    row->end_item = end;
    row->alone = alone;
    row->crashes = crashes;
    row->config_count = 1;
    row->configs = calloc(1, sizeof *row->configs);
    if (!row->configs) abort();
    world->tasks[world->task_count++] = (stored_task){row->task_id, first, end};
}

static void store_record(pm_op *op) {
    stored_task *task = find_task(op->record.task_id);
    if (!task || task->next != op->record.item) {
        op->status = PM_E_STALE;
        return;
    }
    op->record.task_done = ++task->next == task->end;
}

/* The front of a task, as the scheduler asks it. */
static void store_blame(pm_op *op) {
    stored_task *task = find_task(op->crash.task_id);
    if (!task || task->next != op->crash.item) {
        op->status = PM_E_STALE;
        return;
    }
    if (op->kind == PM_OP_POISON) op->crash.task_done = ++task->next == task->end;
    if (op->kind != PM_OP_SET_ASIDE || task->end - task->next < 2) return;
    task->next++;
    make_task(1, op->crash.item, op->crash.item + 1, true, 1, &op->crash.changed);
}

pm_op *__wrap_pm_writer_take(pm_writer *writer) {
    (void)writer;
    if (world->head == world->tail) return NULL;
    pm_op *op = world->ops[world->head++ % QUEUE];
    op->status = PM_OK;
    switch ((int)op->kind) {
    case PM_OP_RECORD: store_record(op); break;
    case PM_OP_SET_ASIDE:
    case PM_OP_CRASHED:
    case PM_OP_POISON: store_blame(op); break;
    case PM_OP_WORKER_SEEN: op->worker.worker_id = ++world->ids; break;
    case PM_OP_SUBMIT:
        op->submit.run_id = ++world->ids;
        op->submit.state = PM_RUN_QUEUED;
        op->submit.items = op->submit.items_open = op->submit.data_set->count;
        if (op->submit.items)
            make_task(op->submit.run_id, 0, op->submit.items, false, 0, &op->submit.made);
        break;
    case PM_OP_CANCEL: op->run.state = PM_RUN_CANCELLED; break;
    case PM_OP_FINISH: break;
    default: op->status = PM_E_NOT_FOUND; break;
    }
    return op;
}

/* ---- the world ---- */

static void add_run(pm_broker *b) {
    pm_run *run;
    pm_run_spec *spec = calloc(1, sizeof *spec);
    pm_data_set *set = calloc(1, sizeof *set);
    pm_task_list made = {0};
    if (!spec || !set) abort();
    spec->config_count = 1;
    spec->configs = calloc(1, sizeof *spec->configs);
    set->root = strdup("/nowhere");
    set->name = strdup("set");
    set->count = ITEMS;
    set->items = calloc(ITEMS, sizeof *set->items);
    if (!spec->configs || !set->root || !set->name || !set->items) abort();
    snprintf(spec->configs[0].arch, sizeof spec->configs[0].arch, "resnet18");
    pm_attribution_defaults(&spec->configs[0].attribution);
    for (size_t i = 0; i < ITEMS; i++) {
        set->items[i].path = strdup("a.jpg");
        set->items[i].sha256.bytes[0] = (uint8_t)i;
        set->items[i].label = -1;
    }
    if (pm_runs_add(&b->runs, ++world->ids, &run) || pm_run_open(run, &spec, &set)) abort();
    run->items_open = ITEMS;
    for (uint64_t first = 0; first < ITEMS; first += 3) {
        pm_task_state state = {.next = first, .end = first + 3};
        make_task(run->id, first, first + 3, false, 0, &made);
        state.task = made.rows[0].task_id;
        pm_event event = {
            .kind = PM_EVENT_RUN_ADDED, .run = run->id, .tasks = &state, .task_count = 1};
        if (pm_run_add_tasks(&b->runs, run, &made)) abort();
        pm_broker_feed(b, &event);
        free(made.rows[0].configs);
        free(made.rows);
    }
}

static void set_up(void) {
    world = calloc(1, sizeof *world);
    if (!world) abort();
    pm_broker *b = &world->broker;
    pm_scheduler_options options = {
        .silence_ms = 5000, .heartbeat_ms = 1000, .lease_ms = 30000, .epoch = 7};
    world->now_ms = 1000;
    b->options.lease_ms = 30000;
    b->deferred_end = &b->deferred;
    pm_list_init(&b->seat_order);
    if (pm_blobs_new(&b->blobs) || pm_map_init(&b->seats) || pm_runs_init(&b->runs) ||
        pm_scheduler_new(&options, &b->scheduler))
        abort();
    add_run(b);
}

static void tear_down(void) {
    pm_broker *b = &world->broker;
    pm_link_node *node;
    pm_broker_take(b);
    if (b->fatal) abort(); /* nothing that a peer says may end the broker */
    while ((node = pm_list_head(&b->seat_order)))
        pm_broker_drop_seat(b, PM_OWNER(node, pm_seat, in_order)->by_id.key);
    pm_map_fini(&b->seats);
    pm_scheduler_free(&b->scheduler);
    pm_runs_fini(&b->runs);
    pm_blobs_free(&b->blobs);
    free(world);
}

/* ---- steps ---- */

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static size_t number(input *in, size_t bytes) {
    size_t value = 0;
    for (size_t i = 0; i < bytes && in->left; i++, in->at++, in->left--)
        value |= (size_t)*in->at << (8 * i);
    return value;
}

static pm_bytes part(input *in, size_t size) {
    if (size > in->left) size = in->left;
    uint8_t *copy = malloc(size + 1); /* its own, to be changed */
    if (!copy) abort();
    if (size) memcpy(copy, in->at, size);
    in->at += size;
    in->left -= size;
    return (pm_bytes){copy, size};
}

static void put_token(uint8_t *bytes, size_t size, const uint8_t *token) {
    static const uint8_t placeholder[PM_TOKEN_BYTES] = {0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
                                                        0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
                                                        0xaa, 0xaa, 0xaa, 0xaa};
    uint8_t *at = bytes;
    while ((at = memmem(at, size - (size_t)(at - bytes), placeholder, sizeof placeholder)))
        memcpy(at, token, sizeof placeholder);
}

static void put_versions(Pm__Wire__Hello *hello) {
    if (hello->protocol == 0) hello->protocol = PM_PROTOCOL_VERSION;
    if (strcmp(hello->engine_version, "=") != 0) return;
    free(hello->engine_version);
    if (!(hello->engine_version = strdup(PM_ENGINE_VERSION))) abort();
}

static void hear(const pm_peer *peer, const pm_message *message) {
    if (message->body->body_case == PM__WIRE__MESSAGE__BODY_HELLO)
        put_versions(message->body->hello);
    if (!pm_role_may(peer->role, message->body->body_case)) return;
    if (message->body->body_case == PM__WIRE__MESSAGE__BODY_QUERY) return; /* starts a process */
    if (peer->port == PM_PORT_WORKER)
        pm_broker_hear_worker(&world->broker, peer, message);
    else
        pm_broker_hear_client(&world->broker, peer, message);
}

static void say(input *in) {
    pm_bytes frames[FRAMES_MAX];
    size_t who = number(in, 1) % (WORKERS + 1);
    pm_peer peer = {.role = who < WORKERS ? PM_ROLE_WORKER : PM_ROLE_ADMIN, .id_size = 5};
    pm_message message = {0};
    peer.port = pm_role_port(peer.role);
    peer.id[1] = (uint8_t)who; /* as ZeroMQ makes them: a zero, then a number */
    pm_bytes control = part(in, number(in, 2));
    put_token((uint8_t *)control.bytes, control.size, world->tokens[who]);
    message.frames = frames;
    message.frame_count = number(in, 1) % (FRAMES_MAX + 1);
    for (size_t i = 0; i < message.frame_count; i++) frames[i] = part(in, number(in, 1));
    if (pm_wire_unpack(control.bytes, control.size, &message.body) == PM_OK) hear(&peer, &message);
    pm_wire_free(&message.body);
    for (size_t i = 0; i < message.frame_count; i++) free((void *)frames[i].bytes);
    free((void *)control.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    input in = {bytes, size};
    pm_event tick = {.kind = PM_EVENT_TICK};
    set_up();
    for (int i = 0; i < STEPS_MAX && in.left && !world->broker.fatal; i++) {
        size_t kind = number(&in, 1) % 7;
        if (kind < 5) {
            say(&in);
        } else if (kind == 5) {
            world->now_ms += 100 * (int64_t)number(&in, 1);
            pm_broker_feed(&world->broker, &tick);
        } else {
            pm_broker_take(&world->broker);
        }
    }
    tear_down();
    return 0;
}

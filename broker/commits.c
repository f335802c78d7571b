/* Owns what comes back from the store: only here is anything acknowledged, because only here is
 * it known to be on disk. Also recovery, which is the same from the other end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker.h"
#include "broker/reasons.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"

static void answer(pm_broker *b, pm_op *op, const Pm__Wire__Message *message) {
    pm_request *request = op->cookie;
    if (request) pm_broker_send(b, &request->peer, message, NULL, 0);
}

static void answer_refused(pm_broker *b, const pm_op *op) {
    const pm_request *request = op->cookie;
    if (request)
        pm_broker_refuse(b, &request->peer, pm_reason_of(op->status), op->text, request->number);
}

/* Tasks of a live run into the table and the scheduler. */
static pm_status add_tasks(pm_broker *b, pm_run *run, const pm_task_list *tasks) {
    pm_status status = pm_run_add_tasks(&b->runs, run, tasks);
    pm_task_state *states = calloc(tasks->count + 1, sizeof *states);
    if (!status && !states) status = pm_fail(PM_E_MEMORY, "out of memory for tasks");
    if (!status) {
        pm_event event = {
            .kind = PM_EVENT_RUN_ADDED, .run = run->id, .tasks = states, .terms = run->terms};
        for (size_t i = 0; i < tasks->count; i++) {
            const pm_task_row *row = &tasks->rows[i];
            states[event.task_count++] = (pm_task_state){.task = row->task_id,
                                                         .next = row->next_item,
                                                         .end = row->end_item,
                                                         .alone = row->alone,
                                                         .crashes = row->crashes};
        }
        pm_broker_feed(b, &event);
    }
    free(states);
    return status;
}

static void log_run(const char *event, const pm_run *run) {
    pm_log(PM_LOG_INFO, event,
           "run=%" PRIu64 " items=%" PRIu64 " open=%" PRIu64 " configurations=%" PRIu64, run->id,
           run->items, run->items_open, run->configurations);
}

/* All of it was computed before: nothing to do, but a line to ask for. */
static void note_ended(pm_run *run, const pm_op_submit *submit) {
    const char *data_name = submit->data_set->name;
    snprintf(run->name, sizeof run->name, "%s", submit->spec->name);
    snprintf(run->model, sizeof run->model, "%s", submit->spec->configs[0].arch);
    snprintf(run->data_name, sizeof run->data_name, "%s", data_name ? data_name : "");
    run->configurations = submit->spec->config_count;
    run->items = submit->items;
    run->items_open = submit->items_open;
    run->state = submit->state;
    if (!run->finished_ms) run->finished_ms = pm_clock_wall_ms();
}

static void submitted(pm_broker *b, pm_op *op) {
    pm_op_submit *submit = &op->submit;
    const pm_request *request = op->cookie;
    pm_run *run;
    pm_status status = pm_runs_add(&b->runs, submit->run_id, &run);
    if (!status && (!run->submitted_ms || submit->made.count)) {
        run->finished_ms = 0;
        if (!run->submitted_ms) run->submitted_ms = pm_clock_wall_ms();
    }
    bool live = submit->state == PM_RUN_QUEUED || submit->state == PM_RUN_RUNNING;
    if (!status) run->terms = submit->terms;
    if (!status && !live && !run->spec) note_ended(run, submit);
    if (!status && live && !run->spec) {
        status = pm_run_open(run, &submit->spec, &submit->data_set);
        run->state = submit->state;
        run->items_open = submit->items_open;
        if (!status) log_run(submit->existed ? "run.resumed" : "run.added", run);
        if (!status) status = add_tasks(b, run, &submit->made);
    }
    if (status) {
        pm_broker_die(b, status);
        return;
    }
    Pm__Wire__Accepted accepted = PM__WIRE__ACCEPTED__INIT;
    accepted.request = request->number;
    accepted.run = submit->run_id;
    accepted.existed = submit->existed;
    accepted.items = submit->items;
    accepted.items_open = submit->items_open;
    accepted.results_reused = submit->results_reused;
    accepted.has_priority = accepted.has_paused = accepted.has_max_workers = true;
    accepted.priority = submit->terms.priority;
    accepted.paused = submit->terms.paused;
    accepted.max_workers = submit->terms.max_workers;
    Pm__Wire__Message message = pm_wire_accepted(&accepted);
    answer(b, op, &message);
}

static bool any_failure(const pm_op_record *record) {
    for (size_t i = 0; i < record->result_count; i++)
        if (record->results[i].stage) return true;
    return false;
}

/* What a broken worker sends, or an image that brings it about; not the disk's or memory's want. */
static bool is_unfit(pm_status status) {
    return status == PM_E_USAGE || status == PM_E_FORMAT || status == PM_E_PROTOCOL ||
           status == PM_E_LIMIT || status == PM_E_MISMATCH || status == PM_E_INTERNAL;
}

static void recorded(pm_broker *b, pm_op *op) {
    pm_op_record *record = &op->record;
    pm_run_task *task = pm_runs_task(&b->runs, record->task_id);
    pm_event event = {.kind = PM_EVENT_RECORDED,
                      .task = record->task_id,
                      .ordinal = record->item,
                      .committed = op->status == PM_OK,
                      .unfit = is_unfit(op->status)};
    static pm_log_budget gate;
    if (op->status)
        pm_log_seldom(&gate, PM_LOG_WARN, "result.refused",
                      "task=%" PRIu64 " item=%" PRIu64 " reason=" PM_QUOTED, record->task_id,
                      record->item, op->text);
    if (!op->status && task) {
        task->run->state = PM_RUN_RUNNING;
        task->run->items_open--;
        task->run->items_failed += any_failure(record);
        if (record->task_done) pm_runs_drop_task(&b->runs, record->task_id);
    }
    pm_broker_feed(b, &event);
}

static void count_item(pm_broker *b, const pm_op *op) {
    for (pm_link_node *node = b->seat_order.next; node != &b->seat_order; node = node->next) {
        pm_seat *seat = PM_OWNER(node, pm_seat, in_order);
        if (!seat->worker_id || seat->worker_id != op->record.worker_id) continue;
        pm_broker_seat_count(seat);
        /* Busy seats come to the front, so that this stays short. */
        pm_list_push_front(&b->seat_order, node);
        return;
    }
}

static void blamed(pm_broker *b, pm_op *op) {
    pm_op_crash *crash = &op->crash;
    pm_run_task *task = pm_runs_task(&b->runs, crash->task_id);
    pm_event event = {.kind = PM_EVENT_BLAMED,
                      .task = crash->task_id,
                      .ordinal = crash->item,
                      .committed = op->status == PM_OK};
    pm_task_state *states = calloc(crash->changed.count + 1, sizeof *states);
    pm_status status = states ? PM_OK : pm_fail(PM_E_MEMORY, "out of memory for tasks");
    if (!status && task && !op->status)
        status = pm_run_add_tasks(&b->runs, task->run, &crash->changed);
    if (status) {
        free(states);
        pm_broker_die(b, status);
        return;
    }
    for (size_t i = 0; i < crash->changed.count; i++) {
        const pm_task_row *row = &crash->changed.rows[i];
        if (row->task_id == crash->task_id) continue;
        states[event.task_count++] = (pm_task_state){.task = row->task_id,
                                                     .next = row->next_item,
                                                     .end = row->end_item,
                                                     .alone = row->alone,
                                                     .crashes = row->crashes};
    }
    event.tasks = states;
    if (op->status)
        pm_log(PM_LOG_WARN, "blame.refused", "task=%" PRIu64 " item=%" PRIu64 " reason=" PM_QUOTED,
               crash->task_id, crash->item, op->text);
    if (!op->status && task && op->kind == PM_OP_POISON) {
        task->run->items_open--;
        task->run->items_failed++;
        if (crash->task_done) pm_runs_drop_task(&b->runs, crash->task_id);
    }
    pm_broker_feed(b, &event);
    free(states);
}

static void answer_done(pm_broker *b, pm_op *op, uint64_t count) {
    const pm_request *request = op->cookie;
    Pm__Wire__Done done = PM__WIRE__DONE__INIT;
    done.request = request->number;
    done.count = count;
    Pm__Wire__Message message = pm_wire_done(&done);
    answer(b, op, &message);
}

static void terms_changed(pm_broker *b, pm_op *op) {
    const pm_run_terms *terms = &op->terms.terms;
    pm_event event = {
        .kind = PM_EVENT_RUN_TERMS, .run = op->terms.run_id, .terms = op->terms.terms};
    pm_run *run = pm_runs_find(&b->runs, op->terms.run_id);
    if (run && op->terms.changed) {
        run->terms = *terms;
        pm_log(PM_LOG_INFO, "run.terms", "run=%" PRIu64 " priority=%d paused=%d max_workers=%u",
               run->id, terms->priority, terms->paused, terms->max_workers);
        pm_broker_feed(b, &event);
    }
    answer_done(b, op, op->terms.changed);
}

static void cancelled(pm_broker *b, pm_op *op) {
    pm_event event = {.kind = PM_EVENT_RUN_CANCELLED, .run = op->run.run_id};
    pm_run *run = pm_runs_find(&b->runs, op->run.run_id);
    if (run && run->spec) {
        run->state = op->run.state;
        run->finished_ms = pm_clock_wall_ms();
        run->terms.paused = false;
        log_run("run.cancelled", run);
        pm_broker_feed(b, &event);
        pm_run_close(&b->runs, run);
    }
    answer_done(b, op, op->run.count);
}

/* Make a run live from its row, which is emptied. */
static pm_status open_row(pm_broker *b, pm_run_row *row) {
    pm_run *run;
    pm_run_spec *spec = malloc(sizeof *spec);
    pm_data_set *data_set = malloc(sizeof *data_set);
    pm_status status = spec && data_set ? PM_OK : pm_fail(PM_E_MEMORY, "out of memory for a run");
    if (!status) status = pm_runs_add(&b->runs, row->run_id, &run);
    if (status) {
        free(spec);
        free(data_set);
        return status;
    }
    run->state = row->state;
    run->terms = row->terms;
    run->items_open = row->items_open;
    run->items_failed = row->items_failed;
    run->submitted_ms = row->submitted_ms;
    run->finished_ms = 0;
    if (!run->spec) {
        *spec = row->spec;
        *data_set = row->data_set;
        row->spec = (pm_run_spec){.config_count = 0};
        row->data_set = (pm_data_set){.count = 0};
        status = pm_run_open(run, &spec, &data_set);
    }
    if (spec) {
        if (status) {
            pm_run_spec_fini(spec);
            pm_data_set_fini(data_set);
        }
        free(spec);
        free(data_set);
    }
    return status ? status : add_tasks(b, run, &row->tasks);
}

static void retried(pm_broker *b, pm_op *op) {
    if (op->run.run) {
        pm_status status = open_row(b, op->run.run);
        if (status) {
            pm_broker_die(b, status);
            return;
        }
        log_run("run.retried", pm_runs_find(&b->runs, op->run.run_id));
    }
    answer_done(b, op, op->run.count);
}

/* The summary of a large run is finished behind the answer. */
static void refreshed(pm_broker *b, pm_op *op) {
    if (op->run.unfinished) pm_broker_summarise(b, op->run.run_id);
    answer_done(b, op, 1);
}

static void finished(pm_broker *b, const pm_op *op) {
    pm_run *run = pm_runs_find(&b->runs, op->run.run_id);
    /* The scheduler has let go of the run: only recovery would try again. */
    if (op->status && op->status != PM_E_STALE) {
        pm_broker_die(b, pm_fail(op->status, "run %" PRIu64 " cannot be ended: %s", op->run.run_id,
                                 op->text));
        return;
    }
    if (!op->status && op->run.unfinished) pm_broker_summarise(b, op->run.run_id);
    /* New tasks may have come meanwhile; then the run is done another time. */
    if (!run || op->status || pm_scheduler_has_run(b->scheduler, run->id)) return;
    run->state = PM_RUN_DONE;
    run->terms.paused = false;
    run->finished_ms = pm_clock_wall_ms();
    log_run("run.done", run);
    pm_run_close(&b->runs, run);
}

static void take(pm_broker *b, pm_op *op) {
    switch (op->kind) {
    case PM_OP_RECORD:
        if (!op->status) count_item(b, op);
        recorded(b, op);
        break;
    case PM_OP_SET_ASIDE:
    case PM_OP_CRASHED:
    case PM_OP_POISON: blamed(b, op); break;
    case PM_OP_WORKER_SEEN: pm_broker_greet(b, op); break;
    case PM_OP_FINISH: finished(b, op); break;
    case PM_OP_SUMMARISE: break;  /* views compute what is not there */
    case PM_OP_STATISTICS: break; /* a tool's, where no broker runs */
    case PM_OP_REFRESH:
        if (op->status)
            answer_refused(b, op);
        else
            refreshed(b, op);
        break;
    case PM_OP_SUBMIT:
        if (op->status)
            answer_refused(b, op);
        else
            submitted(b, op);
        break;
    case PM_OP_CANCEL:
        if (op->status)
            answer_refused(b, op);
        else
            cancelled(b, op);
        break;
    case PM_OP_TERMS:
        if (op->status)
            answer_refused(b, op);
        else
            terms_changed(b, op);
        break;
    case PM_OP_RETRY:
        if (op->status)
            answer_refused(b, op);
        else
            retried(b, op);
        break;
    }
}

static void look(pm_broker *b) {
    char text[sizeof b->paused] = "";
    pm_writer_state state = pm_writer_look(b->writer, text, sizeof text);
    if (state == PM_WRITER_FAILED) {
        pm_log(PM_LOG_ERROR, "store.failed", "reason=" PM_QUOTED, text);
        pm_broker_die(b, pm_fail(PM_E_IO, "%s", text));
        return;
    }
    bool paused = state == PM_WRITER_PAUSED;
    if (paused == (b->paused[0] != 0)) return;
    snprintf(b->paused, sizeof b->paused, "%s", paused ? text[0] ? text : "disk full" : "");
    if (paused)
        pm_log(PM_LOG_ERROR, "store.paused", "reason=" PM_QUOTED, b->paused);
    else
        pm_log(PM_LOG_INFO, "store.resumed", "db=" PM_QUOTED, b->options.db);
    pm_event event = {.kind = paused ? PM_EVENT_PAUSED : PM_EVENT_RESUMED};
    pm_broker_feed(b, &event);
}

void pm_broker_take(pm_broker *b) {
    pm_op *op;
    look(b);
    while (!b->fatal && (op = pm_writer_take(b->writer))) {
        /* The writer failed after the look: nothing may be acknowledged any more. */
        if (op->status == PM_E_IO)
            pm_broker_die(b, pm_fail(PM_E_IO, "%s", op->text));
        else
            take(b, op);
        pm_broker_free_op(op);
    }
    if (!b->fatal) look(b);
}

/* Summaries that a stop cut short, or that an older file does not have. */
static pm_status go_on_summarising(pm_broker *b, uint64_t *runs, size_t count) {
    for (size_t i = 0; i < count && pm_writer_has_room(b->writer); i++)
        pm_broker_summarise(b, runs[i]);
    free(runs);
    return b->fatal;
}

pm_status pm_broker_recover(pm_broker *b) {
    pm_run_row *rows = NULL;
    uint64_t *due = NULL;
    size_t count = 0, due_count = 0;
    pm_status status = pm_runs_read(&b->runs, b->options.db);
    if (!status) status = pm_store_load_queue(b->store, &rows, &count);
    if (!status) status = pm_store_summaries_due(b->store, &due, &due_count);
    if (!status) status = pm_writer_new(&b->store, &pm_writer_default_limits, &b->writer);
    for (size_t i = 0; i < count; i++) {
        if (!status) status = open_row(b, &rows[i]);
        if (!status) status = b->fatal;
        pm_run_row_fini(&rows[i]);
    }
    free(rows);
    if (!status) return go_on_summarising(b, due, due_count);
    free(due);
    return status;
}

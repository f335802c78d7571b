/* Owns the clients: they submit until it is acknowledged, sometimes cancel, retry or change terms.
 */
#include "tests/sim/sim.h"

enum { EVERY_MS = 500 };

/* Some runs are left alone; the others are paused, moved and capped while faults are on. */
static void choose_terms(sim *w, sim_run *run) {
    if (!run->terms_ms || run->terms_ms > w->now_ms) return;
    run->terms_ms = w->now_ms + 500 + (int64_t)sim_below(w, 12000);
    run->terms_asked++;
    switch (sim_below(w, 3)) {
    case 0: run->wanted.paused = !run->wanted.paused; break;
    case 1: run->wanted.priority = (int)sim_below(w, 3) - 1; break;
    case 2: run->wanted.max_workers = (uint32_t)sim_below(w, 4); break;
    }
}

static void ask_terms(sim *w, uint64_t id) {
    sim_run *run = &w->runs[id];
    if (w->faults) choose_terms(w, run);
    if (!run->acknowledged || run->terms_asked == run->terms_had) return;
    const sim_event message = {
        .kind = SIM_TERMS, .run = id, .value = run->terms_asked, .terms = run->wanted};
    sim_send_client(w, &message);
}

void sim_clients(sim *w) {
    for (size_t i = 1; i <= w->run_count; i++) {
        sim_run *run = &w->runs[i];
        sim_event message = {.run = i};
        if (run->submit_ms > w->now_ms) continue;
        ask_terms(w, i);
        if (run->cancel_asked && run->cancel_ms <= w->now_ms && run->acknowledged) {
            message.kind = SIM_CANCEL;
            if (!run->answered) sim_send_client(w, &message);
        } else if (!run->acknowledged) {
            message.kind = SIM_SUBMIT;
            sim_send_client(w, &message);
        } else if (run->retry_asked && run->state == SIM_RUN_DONE) {
            message.kind = SIM_RETRY;
            message.value = sim_below(w, 3); /* all errors, or those of every second item */
            run->retry_asked = false;
            sim_send_client(w, &message);
        }
    }
    sim_timer(w, SIM_CLIENT, 0, EVERY_MS);
}

void sim_clients_answer(sim *w, const sim_event *event) {
    sim_run *run = &w->runs[event->run];
    if (event->first == SIM_SUBMIT) {
        if (!run->acknowledged) sim_count(w, SIM_N_SUBMITS);
        run->acknowledged = true;
        if (run->state == SIM_RUN_NONE)
            sim_fail(w, "invariant 3: submit of run %llu acknowledged, not committed",
                     (unsigned long long)event->run);
    } else if (event->first == SIM_CANCEL) {
        run->answered = true;
    } else if (event->first == SIM_TERMS && event->value > run->terms_had) {
        run->terms_had = event->value;
    }
}

/* Owns the session's sockets, clock and signals. See link.h; the conversation is in session.c. */
#include "worker/link.h"

#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "parchgrad.h"
#include "worker/session.h"

enum { GOODBYE_MS = 1000, MESSAGES_A_TURN = 64 };

typedef struct wire {
    pm_link *link;
    pm_status unmet; /* why the two sides did not come together, as the log has it */
} wire;

static pm_status do_connect(void *user) { return pm_link_connect(((wire *)user)->link); }

/* A key that is not in the broker's list may be put into it any moment: say so, and come again. */
static void do_disconnect(void *user) {
    wire *w = user;
    pm_status unmet = pm_link_handshake(w->link);
    if (unmet && unmet != w->unmet)
        pm_log(PM_LOG_ERROR, "worker.link.unmet", "reason=" PM_QUOTED, pm_error_text());
    w->unmet = unmet;
    pm_link_disconnect(w->link);
}

static pm_status do_send(void *user, const Pm__Wire__Message *body, const pm_bytes *frames,
                         size_t frame_count) {
    return pm_link_send(((wire *)user)->link, body, frames, frame_count);
}

static uint32_t do_dice(void *user) {
    uint32_t dice;
    (void)user;
    pm_random_bytes(&dice, sizeof dice);
    return dice;
}

static void receive(pm_session *s, pm_link *link) {
    for (int i = 0; i < MESSAGES_A_TURN && s->state != PM_SESSION_DOWN && !s->over; i++) {
        pm_message message;
        pm_status status = pm_link_receive(link, 0, &message);
        if (status == PM_E_TIMEOUT) return;
        if (status)
            pm_session_hear_noise(s, pm_clock_ms());
        else
            pm_session_hear(s, &message, pm_clock_ms());
    }
}

/* One turn: what is due, wait, what arrived. */
static pm_status turn(pm_session *s, pm_link *link, int signal_fd) {
    bool messages = false;
    pm_wait_fd fds[] = {{.fd = signal_fd}, {.fd = s->work->wake_fd}};
    if (s->state != PM_SESSION_DOWN && pm_link_lost(link)) pm_session_lose(s, pm_clock_ms());
    pm_session_turn(s, pm_clock_ms());
    /* While down, what compute threads have to say waits for the next connection. */
    size_t count = s->state == PM_SESSION_LIVE && !s->busy ? 2 : 1;
    int wait_ms = (int)pm_session_wait_ms(s, pm_clock_ms());
    pm_status status = pm_link_wait(link, fds, count, wait_ms, &messages);
    if (status) return status;
    if (fds[0].readable) {
        struct signalfd_siginfo info;
        if (read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
            pm_session_drain(s, pm_clock_ms());
    }
    if (messages) receive(s, link);
    return PM_OK;
}

pm_status pm_worker_link_run(const pm_worker_options *options, pm_work *work, int signal_fd,
                             bool *left_computing) {
    char host_name[256] = "";
    const char *isa = ""; /* a wrong PARCHMILL_ISA is said with each model that is not made */
    pm_session s;
    wire w = {.link = NULL};
    pm_status status = pm_link_new(options->url, PM_ROLE_WORKER, &options->credentials, &w.link);
    if (status) return status;
    gethostname(host_name, sizeof host_name - 1);
    (void)pm_isa_of_host(&isa);
    const pm_session_self self = {.broker = options->url,
                                  .host_name = host_name,
                                  .isa = isa,
                                  .pid = (uint32_t)getpid(),
                                  .threads = (uint32_t)options->threads};
    const pm_session_host host = {.user = &w,
                                  .connect = do_connect,
                                  .disconnect = do_disconnect,
                                  .send = do_send,
                                  .dice = do_dice};
    pm_session_init(&s, work, &self, &host);
    while (!status && !pm_session_is_done(&s, pm_clock_ms())) status = turn(&s, w.link, signal_fd);
    pm_session_farewell(&s);
    *left_computing = pm_work_is_computing(work);
    pm_link_finish(&w.link, GOODBYE_MS);
    if (!status) status = s.over;
    return status ? status : pm_work_verdict(work);
}

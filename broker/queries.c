/* Owns the processes that answer questions: their start, what comes out of them, their end. Never
 * waits for one: the loop goes on. */
#include "broker/queries.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/reasons.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/net/rows.h"

enum {
    GRACE_MS = 1000, /* the process ends itself at its limit, unless it waits for a reader */
    PROBE_MS = 1000,
    PIPE_BYTES = 1 << 20,
    RECORDS_A_TURN = 8
};

extern char **environ;

/* ---- start ---- */

/* The question as a record in a memory file, so that nothing has to be fed in. */
static pm_status write_question(const Pm__Wire__Message *message, const pm_bytes *parameters,
                                int *out) {
    pm_buffer record = {0}, control = {0};
    pm_status status = pm_wire_pack(message, &control);
    const pm_answer_head head = {(uint32_t)control.size, (uint32_t)parameters->size};
    if (!status) status = pm_buffer_append(&record, &head, sizeof head);
    if (!status) status = pm_buffer_append(&record, control.bytes, control.size);
    if (!status) status = pm_buffer_append(&record, parameters->bytes, parameters->size);
    int fd = status ? -1 : memfd_create("question", MFD_CLOEXEC);
    if (!status && (fd < 0 || write(fd, record.bytes, record.size) != (ssize_t)record.size)) {
        status = pm_fail(PM_E_BUSY, "query: no room to ask: %s", strerror(errno));
        if (fd >= 0) close(fd);
    }
    pm_buffer_fini(&control);
    pm_buffer_fini(&record);
    if (!status) *out = fd;
    return status;
}

static int spawn(const char *db, int question_fd, int pipe_fd, pid_t *pid) {
    char *const argv[] = {(char *)"parchmill-broker", (char *)"--answer", (char *)"--db",
                          (char *)db, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_adddup2(&actions, question_fd, PM_ANSWER_QUESTION_FD);
    posix_spawn_file_actions_adddup2(&actions, pipe_fd, PM_ANSWER_PIPE_FD);
    int error = posix_spawn(pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Above the numbers that the process will know its own by. */
static int move_up(int fd) {
    int up = fcntl(fd, F_DUPFD_CLOEXEC, PM_ANSWER_PIPE_FD + 1);
    close(fd);
    return up;
}

static pm_status start(const char *db, pm_question *q, int question_fd) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        int error = errno;
        close(question_fd);
        return pm_fail(PM_E_BUSY, "query: no pipe: %s", strerror(error));
    }
    ends[1] = move_up(ends[1]);
    question_fd = move_up(question_fd);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    int error = ends[1] < 0 || question_fd < 0 ? EMFILE : spawn(db, question_fd, ends[1], &q->pid);
    if (ends[1] >= 0) close(ends[1]);
    if (question_fd >= 0) close(question_fd);
    q->fd = ends[0];
    if (!error) return PM_OK;
    close(ends[0]);
    q->pid = 0;
    return pm_fail(PM_E_BUSY, "query: cannot start: %s", strerror(error));
}

/* ---- end ---- */

static void reap(pm_queries *queries) {
    for (size_t i = 0; i < sizeof queries->ended / sizeof *queries->ended; i++)
        if (queries->ended[i] && waitpid(queries->ended[i], NULL, WNOHANG) != 0)
            queries->ended[i] = 0;
}

static void drop(pm_queries *queries, pm_question *q) {
    kill(q->pid, SIGKILL);
    close(q->fd);
    free(q->record);
    for (size_t i = 0; i < sizeof queries->ended / sizeof *queries->ended; i++) {
        if (queries->ended[i]) continue;
        queries->ended[i] = q->pid;
        break;
    }
    *q = (pm_question){0};
    reap(queries);
}

static void end_with(pm_broker *b, pm_question *q, const char *reason, const char *text) {
    pm_broker_refuse(b, &q->peer, reason, text, q->request);
    drop(&b->queries, q);
}

void pm_queries_forget(pm_broker *b, const pm_peer *peer) {
    for (size_t i = 0; i < PM_QUERIES_MAX; i++)
        if (b->queries.at[i].pid && pm_peer_equal(&b->queries.at[i].peer, peer))
            drop(&b->queries, &b->queries.at[i]);
}

void pm_queries_fini(pm_queries *queries) {
    for (size_t i = 0; i < PM_QUERIES_MAX; i++)
        if (queries->at[i].pid) drop(queries, &queries->at[i]);
    for (size_t i = 0; i < sizeof queries->ended / sizeof *queries->ended; i++)
        if (queries->ended[i]) waitpid(queries->ended[i], NULL, 0);
}

/* ---- clients ---- */

static pm_status check(const pm_broker *b, const Pm__Wire__Query *query,
                       const pm_message *message) {
    if (query->has_schema_version && query->schema_version != PM_SCHEMA_VERSION)
        return pm_fail(PM_E_MISMATCH,
                       "this broker's database has schema %d, the command was written for %u; use "
                       "the same version of parchmill on both sides",
                       PM_SCHEMA_VERSION, query->schema_version);
    if (strlen(query->sql) > PM_QUERY_SQL_BYTES_MAX)
        return pm_fail(PM_E_LIMIT, "SQL: longer than %d bytes", PM_QUERY_SQL_BYTES_MAX);
    if (message->frame_count > 1 ||
        (message->frame_count == 1 && message->frames[0].size > PM_QUERY_SQL_BYTES_MAX))
        return pm_fail(PM_E_LIMIT, "SQL: parameters of more than %d bytes", PM_QUERY_SQL_BYTES_MAX);
    for (size_t i = 0; i < sizeof b->queries.ended / sizeof *b->queries.ended; i++)
        if (!b->queries.ended[i]) return PM_OK;
    return pm_fail(PM_E_BUSY, "query: too many are ending; ask again");
}

static void give_credit(pm_question *q, uint32_t bytes) {
    q->credit_bytes += bytes;
    if (q->credit_bytes > PM_QUERY_CREDIT_BYTES_MAX) q->credit_bytes = PM_QUERY_CREDIT_BYTES_MAX;
}

static void hear_query(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    Pm__Wire__Query *query = message->body->query;
    const pm_bytes none = {"", 0};
    pm_question *q = NULL;
    int fd = -1;
    reap(&b->queries);
    pm_status status = check(b, query, message);
    for (size_t i = 0; i < PM_QUERIES_MAX && !q; i++)
        if (!b->queries.at[i].pid) q = &b->queries.at[i];
    if (!status && !q)
        status = pm_fail(PM_E_BUSY, "%d questions are being answered; ask again", PM_QUERIES_MAX);
    if (!status) {
        *q =
            (pm_question){.peer = *peer, .request = query->request, .time_ms = b->options.query_ms};
        if (query->has_time_ms && query->time_ms < q->time_ms) q->time_ms = query->time_ms;
        query->has_time_ms = true;
        query->time_ms = (uint32_t)q->time_ms;
        status = write_question(message->body, message->frame_count ? message->frames : &none, &fd);
    }
    if (!status) status = start(b->options.db, q, fd);
    if (status) {
        const char *reason = status == PM_E_MISMATCH ? "version" : pm_reason_of(status);
        pm_broker_refuse(b, peer, reason, pm_error_text(), query->request);
        return;
    }
    q->probe_ms = pm_clock_ms() + PROBE_MS;
    q->deadline_ms = pm_clock_ms() + q->time_ms + GRACE_MS;
    give_credit(q, query->credit_bytes);
}

static void hear_more(pm_broker *b, const pm_peer *peer, const Pm__Wire__QueryMore *more) {
    for (size_t i = 0; i < PM_QUERIES_MAX; i++) {
        pm_question *q = &b->queries.at[i];
        if (!q->pid || q->request != more->request || !pm_peer_equal(&q->peer, peer)) continue;
        if (more->stop)
            drop(&b->queries, q);
        else
            give_credit(q, more->credit_bytes);
    }
}

void pm_queries_hear(pm_broker *b, const pm_peer *peer, const pm_message *message) {
    if (message->body->body_case == PM__WIRE__MESSAGE__BODY_QUERY)
        hear_query(b, peer, message);
    else
        hear_more(b, peer, message->body->query_more);
}

/* ---- what comes out ---- */

size_t pm_queries_fds(const pm_queries *queries, pm_wait_fd *out) {
    size_t count = 0;
    for (size_t i = 0; i < PM_QUERIES_MAX; i++)
        if (queries->at[i].pid && queries->at[i].credit_bytes > 0 && !queries->at[i].waits)
            out[count++] = (pm_wait_fd){.fd = queries->at[i].fd};
    return count;
}

/* Of one record, as much as is there. PM_E_TIMEOUT: not whole yet; PM_E_NOT_FOUND: the end. */
static pm_status read_record(pm_question *q) {
    const size_t head = sizeof q->head;
    for (;;) {
        size_t whole =
            q->have < head ? head : head + q->head.control_bytes + (size_t)q->head.bulk_bytes;
        if (q->have >= head && !q->record) {
            if (q->head.control_bytes > PM_ANSWER_CONTROL_BYTES_MAX ||
                q->head.bulk_bytes > PM_ANSWER_BULK_BYTES_MAX || whole == head)
                return pm_fail(PM_E_PROTOCOL, "query: its process wrote nonsense");
            q->record = malloc(whole - head);
            if (!q->record) return pm_fail(PM_E_MEMORY, "query: no memory for the answer");
        }
        if (q->have >= head && q->have == whole) return PM_OK;
        uint8_t *to = q->have < head ? (uint8_t *)&q->head + q->have : q->record + (q->have - head);
        ssize_t n = read(q->fd, to, whole - q->have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN ? PM_E_TIMEOUT : pm_fail(PM_E_IO, "query: no answer");
        if (n == 0) return pm_fail(PM_E_NOT_FOUND, "query: its process ended without an answer");
        q->have += (size_t)n;
    }
}

static bool is_over(const Pm__Wire__Message *message) {
    return message->body_case == PM__WIRE__MESSAGE__BODY_REFUSED ||
           (message->body_case == PM__WIRE__MESSAGE__BODY_QUERY_ROWS && message->query_rows->last);
}

/* Pass the record on; *over: it was the last, or nobody is there to take it. PM_E_TIMEOUT: later.
 */
static pm_status pass_on(pm_broker *b, pm_question *q, bool *over) {
    Pm__Wire__Message *message = NULL;
    const pm_bytes bulk = {q->record + q->head.control_bytes, q->head.bulk_bytes};
    pm_status status = pm_wire_unpack(q->record, q->head.control_bytes, &message);
    if (status) return status;
    pm_status sent = pm_router_send(b->router, &q->peer, message, &bulk, bulk.size ? 1 : 0);
    *over = is_over(message) || sent != PM_OK;
    pm_wire_free(&message);
    q->waits = sent == PM_E_BUSY;
    if (q->waits) return PM_E_TIMEOUT;
    q->credit_bytes -= q->head.bulk_bytes;
    free(q->record);
    q->record = NULL;
    q->have = 0;
    return PM_OK;
}

static void serve(pm_broker *b, pm_question *q) {
    for (int i = 0; i < RECORDS_A_TURN && q->pid && q->credit_bytes > 0; i++) {
        bool over = false;
        pm_status status = read_record(q);
        if (status == PM_E_TIMEOUT) return;
        if (!status) status = pass_on(b, q, &over);
        if (status)
            end_with(b, q, "internal", pm_error_text());
        else if (over)
            drop(&b->queries, q);
    }
}

/* A client that has gone says nothing; a word to it finds out. */
static bool is_there(pm_broker *b, pm_question *q) {
    Pm__Wire__Heartbeat beat = PM__WIRE__HEARTBEAT__INIT;
    Pm__Wire__Message message = pm_wire_heartbeat(&beat);
    q->probe_ms += PROBE_MS;
    return pm_router_send(b->router, &q->peer, &message, NULL, 0) != PM_E_NOT_FOUND;
}

void pm_queries_serve(pm_broker *b) {
    const int64_t now_ms = pm_clock_ms();
    for (size_t i = 0; i < PM_QUERIES_MAX; i++) {
        pm_question *q = &b->queries.at[i];
        char text[96];
        if (q->pid) serve(b, q);
        if (q->pid && now_ms >= q->deadline_ms) {
            snprintf(text, sizeof text, "SQL: stopped after %" PRId64 " ms", q->time_ms);
            end_with(b, q, "limit", text);
        }
        if (q->pid && now_ms >= q->probe_ms && !is_there(b, q)) drop(&b->queries, q);
    }
    reap(&b->queries);
}

/* Owns the answering process: limits on itself, the question, rows into records. Must not know the
 * broker's state; it has none of it. */
#include "broker/answer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/reasons.h"
#include "lib/base/clock.h"
#include "lib/net/net.h"
#include "lib/net/rows.h"
#include "lib/store/query.h"

enum {
    NICE = 10, /* the queue goes first */
    FLUSH_MS = 200
};
#define MEMORY_BYTES ((size_t)512 << 20)  /* of SQLite */
#define TEMPORARY_BYTES ((size_t)1 << 30) /* of the files that sorting spills into, and of each */

typedef struct answer {
    uint32_t request;
    pm_buffer rows;
    uint32_t count; /* rows in it */
    int64_t flushed_ms;
} answer;

static pm_status write_all(const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t n = write(PM_ANSWER_PIPE_FD, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_fail(PM_E_CANCELLED, "nobody wants the answer any more");
        at += n;
        size -= (size_t)n;
    }
    return PM_OK;
}

static pm_status say(const Pm__Wire__Message *message, const pm_buffer *bulk) {
    pm_buffer control = {0};
    pm_status status = pm_wire_pack(message, &control);
    if (status) return status;
    if (control.size > PM_ANSWER_CONTROL_BYTES_MAX)
        status = pm_fail(PM_E_LIMIT, "SQL: the columns' names are too long");
    const pm_answer_head head = {(uint32_t)control.size, bulk ? (uint32_t)bulk->size : 0};
    if (!status) status = write_all(&head, sizeof head);
    if (!status) status = write_all(control.bytes, control.size);
    if (!status && bulk) status = write_all(bulk->bytes, bulk->size);
    pm_buffer_fini(&control);
    return status;
}

static pm_status say_columns(void *user, size_t count, const char *const *names,
                             const char *const *types) {
    const answer *a = user;
    Pm__Wire__QueryColumns columns = PM__WIRE__QUERY_COLUMNS__INIT;
    columns.request = a->request;
    columns.n_names = columns.n_types = count;
    columns.names = (char **)names;
    columns.types = (char **)types;
    Pm__Wire__Message message = pm_wire_query_columns(&columns);
    return say(&message, NULL);
}

static pm_status flush(answer *a, bool last, bool cut) {
    Pm__Wire__QueryRows rows = PM__WIRE__QUERY_ROWS__INIT;
    rows.request = a->request;
    rows.rows = a->count;
    rows.has_last = rows.last = last;
    rows.has_cut = rows.cut = cut;
    Pm__Wire__Message message = pm_wire_query_rows(&rows);
    pm_status status = say(&message, &a->rows);
    a->rows.size = 0;
    a->count = 0;
    a->flushed_ms = pm_clock_ms();
    return status;
}

/* Full frames, but rows that come slowly do not wait for one. */
static pm_status add_row(void *user, size_t count, const pm_value *values) {
    answer *a = user;
    pm_status status = pm_rows_add(&a->rows, count, values);
    if (status) return status;
    a->count++;
    if (a->rows.size < PM_ROWS_FRAME_BYTES && pm_clock_ms() - a->flushed_ms < FLUSH_MS)
        return PM_OK;
    return flush(a, false, false);
}

static pm_status read_all(uint8_t **out, size_t *size) {
    struct stat info;
    if (fstat(PM_ANSWER_QUESTION_FD, &info) != 0 || info.st_size <= 0)
        return pm_fail(PM_E_IO, "answer: there is no question");
    size_t want = (size_t)info.st_size, done = 0;
    uint8_t *bytes = malloc(want);
    if (!bytes) return pm_fail(PM_E_MEMORY, "answer: no memory");
    while (done < want) {
        ssize_t n = pread(PM_ANSWER_QUESTION_FD, bytes + done, want - done, (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            free(bytes);
            return pm_fail(PM_E_IO, "answer: the question cannot be read");
        }
        done += (size_t)n;
    }
    *out = bytes;
    *size = want;
    return PM_OK;
}

static pm_status run(const char *db, const Pm__Wire__Query *query, const void *parameters,
                     size_t size, answer *a, bool *cut) {
    pm_value *values = calloc(PM_ROWS_COLUMNS_MAX, sizeof *values);
    size_t count = 0;
    pm_query *open = NULL;
    pm_query_limits limits = pm_query_default_limits;
    const pm_query_sink sink = {.user = a, .columns = say_columns, .row = add_row};
    limits.rows_max = query->rows_max;
    limits.time_ms = query->time_ms;
    limits.memory_bytes = MEMORY_BYTES;
    limits.temporary_bytes = TEMPORARY_BYTES;
    pm_status status = values ? PM_OK : pm_fail(PM_E_MEMORY, "answer: no memory");
    if (!status) status = pm_rows_read_one(parameters, size, values, &count);
    if (!status) status = pm_query_open(db, &limits, &open);
    if (!status) status = pm_query_run(open, query->sql, values, count, &sink, cut);
    pm_query_close(&open);
    free(values);
    return status;
}

static void refuse(uint32_t request, pm_status status) {
    Pm__Wire__Refused refused = PM__WIRE__REFUSED__INIT;
    /* What a question needs beyond its share is the question's fault. */
    if (status == PM_E_MEMORY)
        status = pm_fail(PM_E_LIMIT, "SQL: the answer needs more than %zu MiB of memory",
                         MEMORY_BYTES >> 20);
    refused.reason = (char *)pm_reason_of(status);
    refused.text = (char *)pm_error_text();
    refused.has_request = true;
    refused.request = request;
    Pm__Wire__Message message = pm_wire_refused(&refused);
    (void)say(&message, NULL);
}

/* Dies with the broker, yields to it, and fills no disk. */
static void bound_itself(void) {
    const struct rlimit temporary = {TEMPORARY_BYTES, TEMPORARY_BYTES}, core = {0, 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &temporary);
    setrlimit(RLIMIT_CORE, &core);
    if (nice(NICE) < 0) errno = 0;
}

int pm_answer_run(const char *db) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_answer_head head;
    Pm__Wire__Message *question = NULL;
    bool cut = false;
    bound_itself();
    pm_status status = read_all(&bytes, &size);
    if (!status && size < sizeof head) status = pm_fail(PM_E_PROTOCOL, "answer: no question");
    if (status) goto done;
    memcpy(&head, bytes, sizeof head);
    if (size != sizeof head + head.control_bytes + head.bulk_bytes)
        status = pm_fail(PM_E_PROTOCOL, "answer: a question that does not hold");
    if (!status) status = pm_wire_unpack(bytes + sizeof head, head.control_bytes, &question);
    if (status) goto done;
    answer a = {.request = question->query->request, .flushed_ms = pm_clock_ms()};
    status = run(db, question->query, bytes + sizeof head + head.control_bytes, head.bulk_bytes, &a,
                 &cut);
    if (!status) status = flush(&a, true, cut);
    if (status && status != PM_E_CANCELLED) refuse(a.request, status);
    pm_buffer_fini(&a.rows);
done:
    pm_wire_free(&question);
    free(bytes);
    return status ? EXIT_FAILURE : EXIT_SUCCESS;
}

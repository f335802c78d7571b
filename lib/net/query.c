/* Owns a client's question in SQL: credit, rows as they come, and what a broken answer means. */
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/net/client.h"
#include "lib/net/rows.h"

enum {
    BUSY_RETRY_MS = 250,
    BUSY_MS = 30000,    /* others' questions may take so long */
    FIRST_MS = 30000,   /* columns come before the first row is looked for */
    ANSWER_MS = 3700000 /* the broker ends a question long before; a lost connection is noticed */
};

/* Where rows go. */
typedef struct taking {
    const pm_query_sink *sink;
    size_t columns;
} taking;

static pm_status take_columns(const Pm__Wire__QueryColumns *from, taking *to) {
    if (from->n_names != from->n_types || from->n_names == 0 || from->n_names > PM_ROWS_COLUMNS_MAX)
        return pm_fail(PM_E_PROTOCOL, "query: columns that do not hold");
    to->columns = from->n_names;
    if (!to->sink->columns) return PM_OK;
    return to->sink->columns(to->sink->user, from->n_names, (const char *const *)from->names,
                             (const char *const *)from->types);
}

static pm_status give_credit(pm_client *client, size_t bytes) {
    Pm__Wire__QueryMore more = PM__WIRE__QUERY_MORE__INIT;
    more.has_credit_bytes = true;
    more.credit_bytes = (uint32_t)bytes;
    Pm__Wire__Message message = pm_wire_query_more(&more);
    return pm_client_tell(client, &message);
}

static void stop(pm_client *client) {
    Pm__Wire__QueryMore more = PM__WIRE__QUERY_MORE__INIT;
    more.has_stop = more.stop = true;
    Pm__Wire__Message message = pm_wire_query_more(&more);
    (void)pm_client_tell(client, &message);
}

static pm_status take_rows(pm_client *client, const pm_message *message, const taking *to,
                           bool *last, bool *cut) {
    if (message->body->body_case != PM__WIRE__MESSAGE__BODY_QUERY_ROWS)
        return pm_fail(PM_E_PROTOCOL, "query: the broker answered with %s",
                       pm_wire_name(message->body->body_case));
    const Pm__Wire__QueryRows *rows = message->body->query_rows;
    const pm_bytes none = {NULL, 0};
    const pm_bytes *frame = message->frame_count ? &message->frames[0] : &none;
    pm_status status = pm_rows_read(frame->bytes, frame->size, rows->rows, to->columns, to->sink);
    *last = rows->last;
    *cut = rows->cut;
    if (!status && !*last && frame->size) status = give_credit(client, frame->size);
    return status;
}

/* The first answer; while others ask, again. */
static pm_status ask(pm_client *client, const pm_client_question *question,
                     const pm_buffer *parameters, pm_message *answer) {
    const int64_t deadline_ms = pm_clock_ms() + BUSY_MS;
    const pm_bytes frame = {parameters->bytes, parameters->size};
    Pm__Wire__Query query = PM__WIRE__QUERY__INIT;
    query.sql = (char *)question->sql;
    query.credit_bytes = PM_QUERY_CREDIT_BYTES;
    query.has_rows_max = question->rows_max != 0;
    query.rows_max = question->rows_max;
    query.has_time_ms = question->time_ms != 0;
    query.time_ms = question->time_ms;
    query.has_schema_version = question->schema_version != 0;
    query.schema_version = question->schema_version;
    for (;;) {
        Pm__Wire__Message request = pm_wire_query(&query);
        pm_status status =
            pm_client_call(client, &request, &frame, frame.size ? 1 : 0, FIRST_MS, answer);
        if (status != PM_E_BUSY || pm_clock_ms() >= deadline_ms) return status;
        usleep(BUSY_RETRY_MS * 1000);
    }
}

static pm_status take_all(pm_client *client, pm_message *answer, taking *to, bool *cut) {
    bool last = false;
    pm_status status = answer->body->body_case == PM__WIRE__MESSAGE__BODY_QUERY_COLUMNS
                           ? take_columns(answer->body->query_columns, to)
                           : pm_fail(PM_E_PROTOCOL, "query: rows without columns");
    pm_message_fini(answer);
    while (!status && !last) {
        status = pm_client_next(client, ANSWER_MS, answer);
        if (status == PM_E_STALE)
            return pm_fail(PM_E_STALE,
                           "the broker's connection broke in the middle of the answer; ask again");
        if (status) return status;
        status = take_rows(client, answer, to, &last, cut);
        pm_message_fini(answer);
    }
    if (status) stop(client);
    return status;
}

pm_status pm_client_query(pm_client *client, const pm_client_question *question,
                          const pm_query_sink *sink, bool *cut) {
    pm_buffer parameters = {0};
    pm_message answer;
    taking to = {.sink = sink};
    bool was_cut = false;
    pm_status status = PM_OK;
    if (question->parameter_count)
        status = pm_rows_add(&parameters, question->parameter_count, question->parameters);
    if (!status) status = ask(client, question, &parameters, &answer);
    if (!status) status = take_all(client, &answer, &to, &was_cut);
    pm_buffer_fini(&parameters);
    if (!status && cut) *cut = was_cut;
    return status;
}

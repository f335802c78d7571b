/* Requests from the command line to a broker: submit, status, cancel, retry, query, pause and so
 * on.
 *
 * One thread uses it. A call is sent again when the connection breaks in the middle (a broker that
 * restarts); every request may be repeated: a submission by its request id, the others by what
 * they mean. Errors are one line for people. */
#ifndef PM_NET_CLIENT_H
#define PM_NET_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/rows.h"
#include "lib/base/terms.h"
#include "lib/net/link.h"

typedef struct pm_client pm_client;

/* Connect and say Hello. `credentials` are copied; NULL: none. PM_E_TIMEOUT: nobody answered within
 * timeout_ms; PM_E_MISMATCH: another protocol version, or not the broker's key; PM_E_DENIED: the
 * broker does not know our key, or the URL needs one; PM_E_PROTOCOL (pm_link_handshake);
 * PM_E_USAGE: the URL. */
pm_status pm_client_open(const char *url, const pm_credentials *credentials, int timeout_ms,
                         pm_client **out);
void pm_client_free(pm_client **client);

/* Send a request (Submit, StatusRequest, Cancel, Retry or Query; its `request` number is set here)
 * and wait for its answer (Accepted, Status, Done or QueryColumns); fini *answer. A refusal by the
 * broker is PM_E_USAGE, PM_E_NOT_FOUND, PM_E_FULL, PM_E_DENIED, PM_E_MISMATCH or PM_E_PROTOCOL with
 * its text. PM_E_TIMEOUT. */
pm_status pm_client_call(pm_client *client, Pm__Wire__Message *request, const pm_bytes *frames,
                         size_t frame_count, int timeout_ms, pm_message *answer);

/* What more comes to the request of the last call (Query); fini *answer. PM_E_STALE: the connection
 * broke, and with it the answer. Others as above. */
pm_status pm_client_next(pm_client *client, int timeout_ms, pm_message *answer);
/* Say something that has no answer of its own (QueryMore, its `request` set here) about the last
 * call. */
pm_status pm_client_tell(pm_client *client, Pm__Wire__Message *message);
/* Of the broker's database, as it said when it welcomed this client; 0: it did not. */
uint32_t pm_client_schema_version(const pm_client *client);

/* A read-only statement, answered by the broker within its limits. */
typedef struct pm_client_question {
    const char *sql;
    const pm_value *parameters; /* [parameter_count], bound to ?1, ?2 ... */
    size_t parameter_count;
    uint64_t rows_max;       /* 0: no limit */
    uint32_t time_ms;        /* 0: the broker's limit */
    uint32_t schema_version; /* that the SQL was written for; 0: whatever there is */
} pm_client_question;

/* Columns and rows to the sink as they come, more only when the sink is done with what is here.
 * Errors are those of pm_query_run (a limit is PM_E_LIMIT), and those of the connection: one that
 * breaks behind the first rows is PM_E_STALE, since rows cannot be taken back. */
pm_status pm_client_query(pm_client *client, const pm_client_question *question,
                          const pm_query_sink *sink, bool *cut);

typedef struct pm_accepted {
    uint64_t run;
    bool existed; /* the run was known: it goes on */
    uint64_t items, items_open, results_reused;
    pm_run_terms terms; /* what the run has, new or not */
} pm_accepted;

/* Submit a run. `terms` (NULL: all zero): of a new one; a known one keeps its own. `foreground`:
 * hint that somebody waits. */
pm_status pm_client_submit(pm_client *client, const pm_run_spec *spec, const pm_data_set *data_set,
                           const pm_run_terms *terms, bool foreground, int timeout_ms,
                           pm_accepted *out);
/* run 0: all runs. fini *answer; answer->body->status. */
pm_status pm_client_status(pm_client *client, uint64_t run, int timeout_ms, pm_message *answer);
pm_status pm_client_cancel(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count);

/* Which failed results; NULL: any. */
typedef struct pm_retry_filter {
    const char *stage, *reason;
    const char *image; /* GLOB over the paths */
} pm_retry_filter;

/* *count: results that are to be computed again. `filter` NULL: all that failed. */
pm_status pm_client_retry(pm_client *client, uint64_t run, const pm_retry_filter *filter,
                          int timeout_ms, uint64_t *count);
/* *count: 1 where something changed, 0 where it was so already. */
pm_status pm_client_pause(pm_client *client, uint64_t run, bool paused, int timeout_ms,
                          uint64_t *count);
pm_status pm_client_prioritize(pm_client *client, uint64_t run, int priority, int timeout_ms,
                               uint64_t *count);
/* max_workers 0: any number. */
pm_status pm_client_limit(pm_client *client, uint64_t run, uint32_t max_workers, int timeout_ms,
                          uint64_t *count);
/* The rows of channel_gradient as they stand now. *count: 1. */
pm_status pm_client_refresh(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count);
/* `who`: a worker's name (host:pid), a host, or "all"; *count: those asked to go. */
pm_status pm_client_drain(pm_client *client, const char *who, int timeout_ms, uint64_t *count);

#endif

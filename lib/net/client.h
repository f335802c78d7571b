/* Requests from the command line to a broker: submit, status, cancel, retry.
 *
 * One thread uses it. A call is sent again when the connection breaks in the middle (a broker that
 * restarts); every request may be repeated: a submission by its request id, the others by what
 * they mean. Errors are one line for people. */
#ifndef PM_NET_CLIENT_H
#define PM_NET_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/net/link.h"

typedef struct pm_client pm_client;

/* Connect and say Hello. PM_E_TIMEOUT: nobody answered within timeout_ms; PM_E_MISMATCH: another
 * protocol version; PM_E_USAGE, PM_E_DENIED: the URL. */
pm_status pm_client_open(const char *url, bool insecure, int timeout_ms, pm_client **out);
void pm_client_free(pm_client **client);

/* Send a request (Submit, StatusRequest, Cancel or Retry; its `request` number is set here) and
 * wait for its answer (Accepted, Status or Done); fini *answer. A refusal by the broker is
 * PM_E_USAGE, PM_E_NOT_FOUND, PM_E_FULL, PM_E_DENIED, PM_E_MISMATCH or PM_E_PROTOCOL with its
 * text. PM_E_TIMEOUT. */
pm_status pm_client_call(pm_client *client, Pm__Wire__Message *request, const pm_bytes *frames,
                         size_t frame_count, int timeout_ms, pm_message *answer);

typedef struct pm_accepted {
    uint64_t run;
    bool existed; /* the run was known: it goes on */
    uint64_t items, items_open, results_reused;
} pm_accepted;

/* Submit a run. `foreground`: hint that somebody waits. */
pm_status pm_client_submit(pm_client *client, const pm_run_spec *spec, const pm_data_set *data_set,
                           bool foreground, int timeout_ms, pm_accepted *out);
/* run 0: all runs. fini *answer; answer->body->status. */
pm_status pm_client_status(pm_client *client, uint64_t run, int timeout_ms, pm_message *answer);
pm_status pm_client_cancel(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count);
pm_status pm_client_retry(pm_client *client, uint64_t run, int timeout_ms, uint64_t *count);

#endif

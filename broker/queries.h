/* Questions of clients in SQL that are being answered, each by a process of its own (answer.h).
 *
 * What waits for a client that does not read is one record here, what the pipe holds, and the
 * credit that the client itself gave. */
#ifndef PM_BROKER_QUERIES_H
#define PM_BROKER_QUERIES_H

#include <sys/types.h>

#include "broker/answer.h"
#include "lib/net/router.h"

enum { PM_QUERIES_MAX = 4, PM_QUERY_MS = 60000 };

typedef struct pm_question {
    pid_t pid; /* 0: unused */
    int fd;    /* the pipe's end */
    pm_peer peer;
    uint32_t request;
    int64_t credit_bytes;
    int64_t time_ms, deadline_ms, probe_ms;
    pm_answer_head head; /* of the record that is being read */
    size_t have;         /* bytes of it, the head's too */
    uint8_t *record;     /* [control_bytes + bulk_bytes] */
    bool waits;          /* it is whole, and too much waits for the client already */
} pm_question;

typedef struct pm_queries {
    pm_question at[PM_QUERIES_MAX];
    pid_t ended[PM_QUERIES_MAX * 4]; /* killed, not waited for yet; 0: unused */
} pm_queries;

struct pm_broker;

/* A client's word. */
void pm_queries_hear(struct pm_broker *b, const pm_peer *peer, const pm_message *message);
/* Everything that this client asked is over. */
void pm_queries_forget(struct pm_broker *b, const pm_peer *peer);
/* Descriptors to wait for, at most PM_QUERIES_MAX; how many. */
size_t pm_queries_fds(const pm_queries *queries, pm_wait_fd *out);
/* What has come out, to the clients; time limits, clients that are gone. Call every turn. */
void pm_queries_serve(struct pm_broker *b);
/* End all and wait for their end. */
void pm_queries_fini(pm_queries *queries);

#endif

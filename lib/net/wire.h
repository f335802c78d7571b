/* One message: a control frame (schema/wire.proto) and the bulk frames behind it.
 *
 * Reading never trusts the peer: sizes, frame counts and the memory that unpacking takes are
 * bounded, a message with no body or one that this version does not know is PM_E_PROTOCOL. */
#ifndef PM_NET_WIRE_H
#define PM_NET_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/base/text.h"
#include "lib/spec/spec.h"
#include "schema/wire.pb-c.h"

enum {
    PM_PROTOCOL_VERSION = 4,
    PM_FETCH_WINDOW = 8,                         /* Fetch requests of a worker, unanswered */
    PM_CHUNK_BYTES = 1 << 18,                    /* most that one Fetch may ask for */
    PM_TOKEN_BYTES = 16,                         /* of a lease */
    PM_INSTANCE_BYTES = 16,                      /* of a process, in Hello */
    PM_EPOCH_BYTES = 8,                          /* of a broker's life, in Welcome */
    PM_REQUEST_ID_BYTES = 32,                    /* of a submission */
    PM_CONTROL_BYTES_MAX = 1 << 26,              /* a control frame */
    PM_ITEM_LIST_BYTES_MAX = 1 << 28,            /* the bulk frame of Submit */
    PM_WORKER_FRAME_MAX = 1 << 26,               /* any frame to or from a worker */
    PM_FRAMES_MAX = 1 << 15,                     /* bulk frames of one message */
    PM_MESSAGE_BYTES_MAX = (1 << 28) + (1 << 25) /* all frames of one message */
};

/* The largest blob that a worker fetches, and the largest image that it reads. */
#define PM_BLOB_BYTES_MAX ((uint64_t)8 << 30)
#define PM_IMAGE_BYTES_MAX ((uint64_t)256 << 20)

/* Borrowed bytes. */
typedef struct pm_bytes {
    const void *bytes;
    size_t size;
} pm_bytes;

/* A message received. Everything in it lives until pm_message_fini. */
typedef struct pm_message {
    Pm__Wire__Message *body; /* body->body_case says which */
    size_t frame_count;
    const pm_bytes *frames; /* [frame_count] bulk, in order */
    void *owner;            /* private */
} pm_message;

void pm_message_fini(pm_message *message);

/* The bytes of a control frame. `bytes` is untouched on failure. PM_E_LIMIT, PM_E_MEMORY. */
pm_status pm_wire_pack(const Pm__Wire__Message *body, pm_buffer *bytes);
/* The reverse; the caller frees *out with pm_wire_free. PM_E_PROTOCOL, PM_E_LIMIT, PM_E_MEMORY. */
pm_status pm_wire_unpack(const void *bytes, size_t size, Pm__Wire__Message **out);
void pm_wire_free(Pm__Wire__Message **body);

/* The stable name of a body: "hello", "item_result"; "nothing" for none. */
const char *pm_wire_name(Pm__Wire__Message__BodyCase body_case);

/* Call `use` with a Message that holds `part` as its body; spares the caller the oneof dance:
 *     Pm__Wire__Goodbye bye = PM__WIRE__GOODBYE__INIT;
 *     Pm__Wire__Message m = pm_wire_goodbye(&bye);            */
#define PM_WIRE_MAKER(maker, type, field, tag)                                                     \
    static inline Pm__Wire__Message maker(type *part) {                                            \
        Pm__Wire__Message message = PM__WIRE__MESSAGE__INIT;                                       \
        message.body_case = PM__WIRE__MESSAGE__BODY_##tag;                                         \
        message.field = part;                                                                      \
        return message;                                                                            \
    }
PM_WIRE_MAKER(pm_wire_hello, Pm__Wire__Hello, hello, HELLO)
PM_WIRE_MAKER(pm_wire_heartbeat, Pm__Wire__Heartbeat, heartbeat, HEARTBEAT)
PM_WIRE_MAKER(pm_wire_goodbye, Pm__Wire__Goodbye, goodbye, GOODBYE)
PM_WIRE_MAKER(pm_wire_welcome, Pm__Wire__Welcome, welcome, WELCOME)
PM_WIRE_MAKER(pm_wire_refused, Pm__Wire__Refused, refused, REFUSED)
PM_WIRE_MAKER(pm_wire_credit, Pm__Wire__Credit, credit, CREDIT)
PM_WIRE_MAKER(pm_wire_item_started, Pm__Wire__ItemStarted, item_started, ITEM_STARTED)
PM_WIRE_MAKER(pm_wire_item_result, Pm__Wire__ItemResult, item_result, ITEM_RESULT)
PM_WIRE_MAKER(pm_wire_task_returned, Pm__Wire__TaskReturned, task_returned, TASK_RETURNED)
PM_WIRE_MAKER(pm_wire_fetch, Pm__Wire__Fetch, fetch, FETCH)
PM_WIRE_MAKER(pm_wire_run_info, Pm__Wire__RunInfo, run_info, RUN_INFO)
PM_WIRE_MAKER(pm_wire_task, Pm__Wire__Task, task, TASK)
PM_WIRE_MAKER(pm_wire_item_recorded, Pm__Wire__ItemRecorded, item_recorded, ITEM_RECORDED)
PM_WIRE_MAKER(pm_wire_lease_revoked, Pm__Wire__LeaseRevoked, lease_revoked, LEASE_REVOKED)
PM_WIRE_MAKER(pm_wire_chunk, Pm__Wire__Chunk, chunk, CHUNK)
PM_WIRE_MAKER(pm_wire_drain, Pm__Wire__Drain, drain, DRAIN)
PM_WIRE_MAKER(pm_wire_submit, Pm__Wire__Submit, submit, SUBMIT)
PM_WIRE_MAKER(pm_wire_status_request, Pm__Wire__StatusRequest, status_request, STATUS_REQUEST)
PM_WIRE_MAKER(pm_wire_cancel, Pm__Wire__Cancel, cancel, CANCEL)
PM_WIRE_MAKER(pm_wire_refresh, Pm__Wire__Refresh, refresh, REFRESH)
PM_WIRE_MAKER(pm_wire_retry, Pm__Wire__Retry, retry, RETRY)
PM_WIRE_MAKER(pm_wire_pause, Pm__Wire__Pause, pause, PAUSE)
PM_WIRE_MAKER(pm_wire_prioritize, Pm__Wire__Prioritize, prioritize, PRIORITIZE)
PM_WIRE_MAKER(pm_wire_limit, Pm__Wire__Limit, limit, LIMIT)
PM_WIRE_MAKER(pm_wire_drain_workers, Pm__Wire__DrainWorkers, drain_workers, DRAIN_WORKERS)
PM_WIRE_MAKER(pm_wire_accepted, Pm__Wire__Accepted, accepted, ACCEPTED)
PM_WIRE_MAKER(pm_wire_status, Pm__Wire__Status, status, STATUS)
PM_WIRE_MAKER(pm_wire_done, Pm__Wire__Done, done, DONE)
PM_WIRE_MAKER(pm_wire_query, Pm__Wire__Query, query, QUERY)
PM_WIRE_MAKER(pm_wire_query_more, Pm__Wire__QueryMore, query_more, QUERY_MORE)
PM_WIRE_MAKER(pm_wire_query_columns, Pm__Wire__QueryColumns, query_columns, QUERY_COLUMNS)
PM_WIRE_MAKER(pm_wire_query_rows, Pm__Wire__QueryRows, query_rows, QUERY_ROWS)
#undef PM_WIRE_MAKER

/* The item list of a submission, to and from its bulk frame. Unpacking checks what a peer could
 * get wrong (hash sizes, ordinals 0 .. n-1 in order, boxes in fours): PM_E_PROTOCOL. */
pm_status pm_wire_items_pack(const pm_data_set *data_set, pm_buffer *bytes);
/* Root, name and class names are not in the list: they stay zero. */
pm_status pm_wire_items_unpack(const void *bytes, size_t size, pm_data_set *out);

#endif

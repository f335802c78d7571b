/* The broker's parts and how they meet. main.c calls pm_broker_run; everything else is private to
 * this room. One thread runs all of it; the writer thread is lib/store's. */
#ifndef PM_BROKER_BROKER_H
#define PM_BROKER_BROKER_H

#include "broker/blobs.h"
#include "broker/queries.h"
#include "broker/runs.h"
#include "broker/scheduler.h"
#include "lib/base/log.h"
#include "lib/net/router.h"
#include "lib/store/writer.h"

enum { PM_BROKER_URLS = 8, PM_HEARTBEAT_MS = 1000, PM_SILENCE_MS = 5000, PM_LEASE_MS = 30000 };

typedef struct pm_broker_options {
    const char *db;
    const char *urls[PM_BROKER_URLS];
    size_t url_count;
    pm_credentials credentials;
    const char *allow; /* the list of keys; NULL: none */
    int lifeline_fd;   /* -1: none; its end of file stops the broker */
    size_t task_items;
    int64_t lease_ms;
    int64_t query_ms; /* a question in SQL may take so long */
} pm_broker_options;

/* Own the database and serve until SIGTERM, SIGINT or the end of the lifeline; then commit,
 * checkpoint and leave one file. PM_E_BUSY: another broker has it. */
pm_status pm_broker_run(const pm_broker_options *options);

/* ---- private to broker/ ---- */

/* A worker's connection, from its Hello until the scheduler says LOST. */
typedef struct pm_seat {
    pm_map_node by_id;
    pm_link_node in_order;
    uint64_t identity; /* whose key the Hello came by; only its words are taken */
    char name[80];     /* host:pid */
    char isa[16], engine_version[32];
    uint64_t worker_id; /* in the database; 0: not known yet */
    uint64_t items_done;
    double rate;      /* of items, decaying; pm_broker_seat_rate */
    int64_t rate_ms;  /* when that was so */
    int64_t since_ms; /* its first Hello */
    uint32_t threads;
    uint32_t pieces; /* asked for and not sent */
    bool here;       /* welcomed */
    bool waits;      /* its Hello waits for the store to know it */
    bool deaf;       /* does not read what it is sent: to be sent away */
} pm_seat;

/* A client's request on its way through the store. */
typedef struct pm_request {
    pm_peer peer;
    uint32_t number;
} pm_request;

/* A worker's Hello on its way through the store. */
typedef struct pm_greeting {
    pm_event event;
    char reason[16];
    pm_held_lease held[]; /* leases, then items in hand */
} pm_greeting;

typedef struct pm_deferred {
    struct pm_deferred *next;
    pm_op *op;
} pm_deferred;

typedef struct pm_broker {
    pm_broker_options options;
    pm_store *store; /* before and after the writer */
    pm_writer *writer;
    pm_router *router;
    pm_scheduler *scheduler;
    uint8_t epoch[8];
    pm_runs runs;
    pm_blobs *blobs;
    pm_queries queries;
    pm_map seats;
    pm_list seat_order;
    pm_deferred *deferred, **deferred_end; /* ops that the writer had no room for, in order */
    char paused[256];                      /* "": not */
    pm_op *record;                         /* of the ItemResult at hand, until RECORD takes it */
    Pm__Wire__LeaseVerdict *verdicts[256]; /* collected until WELCOME */
    size_t verdict_count;
    pm_log_budget refusals;
    uint64_t allow_version; /* that all seats have been held against */
    bool deaf;              /* some seat is */
    pm_status fatal;
} pm_broker;

/* loop.c: into the scheduler and the store. A failure there is fatal: kept in b->fatal. */
void pm_broker_feed(pm_broker *b, const pm_event *event);
void pm_broker_put(pm_broker *b, pm_op *op);
/* Have the views' summary of a run written. */
void pm_broker_summarise(pm_broker *b, uint64_t run);
/* For what can be asked for again. False: no room, the op stays the caller's. */
bool pm_broker_put_if_room(pm_broker *b, pm_op **op);
/* An op that is over, and its cookie. */
void pm_broker_free_op(pm_op *op);
void pm_broker_die(pm_broker *b, pm_status status);

/* carry.c: actions, and what goes out */
void pm_broker_carry_out(pm_broker *b, const pm_action *action);
void pm_broker_send(pm_broker *b, const pm_peer *peer, const Pm__Wire__Message *message,
                    const pm_bytes *frames, size_t frame_count);
/* Workers whose queue was full are lost: what they hold goes to others. */
void pm_broker_drop_deaf(pm_broker *b);
/* `request` 0: none. */
void pm_broker_refuse(pm_broker *b, const pm_peer *peer, const char *reason, const char *text,
                      uint32_t request);
/* Refuses a hello in another protocol than this broker's: true. */
bool pm_broker_refuse_protocol(pm_broker *b, const pm_peer *peer, const Pm__Wire__Hello *hello);
void pm_broker_welcome(pm_broker *b, const pm_peer *peer);

/* workers.c */
/* A connection's id as a number; 0 where the peer chose a longer one itself. */
pm_worker_id pm_broker_worker_id(const pm_peer *peer);
pm_peer pm_broker_worker_peer(pm_worker_id id);
pm_seat *pm_broker_seat(const pm_broker *b, pm_worker_id id);
void pm_broker_drop_seat(pm_broker *b, pm_worker_id id);
void pm_broker_seat_count(pm_seat *seat); /* one item more */
/* Items a second over about the last quarter of a minute. */
double pm_broker_seat_rate(const pm_seat *seat);
void pm_broker_hear_worker(pm_broker *b, const pm_peer *peer, const pm_message *message);
/* It may say nothing any more: its leases end as if it had gone. */
void pm_broker_dismiss_worker(pm_broker *b, const pm_peer *peer);
/* Dismiss those whose key has left the list or has another role now. */
void pm_broker_check_seats(pm_broker *b);
void pm_broker_greet(pm_broker *b, const pm_op *op); /* WORKER_SEEN came back */
/* Send pieces of files that were read; a few at a time. */
void pm_broker_send_pieces(pm_broker *b);

/* clients.c */
void pm_broker_hear_client(pm_broker *b, const pm_peer *peer, const pm_message *message);

/* commits.c */
void pm_broker_take(pm_broker *b);
pm_status pm_broker_recover(pm_broker *b);

#endif

/* A broker process in a scratch folder, and a worker of our own making at its other end. */
#ifndef TESTS_BROKER_FIXTURE_H
#define TESTS_BROKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "lib/net/net.h"

enum { WAIT_MS = 10000, ITEMS_MAX = 16 };

typedef struct scene {
    char folder[64], db[96], url[96], log[96];
    pid_t broker;
    int lifeline; /* our end */
    pm_client *client;
    size_t first_image;        /* of what is submitted */
    const char *more[6];       /* arguments of the broker beside the usual, NULL behind the last */
    const pm_credentials *key; /* the client's; NULL: none */
    const char *evaluation;    /* of what is submitted, canonical; NULL: none */
    pm_run_terms terms;        /* likewise */
    const char *baseline;      /* a photograph, kept in the folder as "baseline"; NULL: none */
} scene;

int scene_set_up(void **state);
int scene_tear_down(void **state);
void spawn_broker(scene *s);
/* The same, and wait until it answers. */
void start_broker(scene *s);
void kill_broker(scene *s);
/* Wait for the end; the exit code, or -1 for a signal. */
int await_broker(scene *s);
/* A run of `items` images with one configuration; it points into itself and the scene. */
typedef struct submission {
    pm_config config;
    pm_run_spec spec;
    pm_item items[ITEMS_MAX];
    char paths[ITEMS_MAX][16];
    pm_data_set set;
} submission;
void make_submission(scene *s, size_t items, const char *name, submission *out);
/* Submit a run of `items` images with one configuration. */
pm_accepted submit(scene *s, size_t items, const char *name);
/* Wait until the run is in this state. */
void await_state(scene *s, uint64_t run, const char *state);
/* items_done and items_failed of a run. */
void progress(scene *s, uint64_t run, uint64_t *done, uint64_t *failed);
/* One integer from the database. */
int64_t ask(const scene *s, const char *sql);
bool log_has(const scene *s, const char *text);
void await_log(const scene *s, const char *text);

typedef struct worker {
    pm_link *link;
    const pm_credentials *key; /* NULL: none */
    uint8_t instance[16];
    uint64_t task, run, first, items;
    uint8_t token[16];
    bool knows_run;
    bool gives_bad_rows;
    char evaluation[64]; /* as the broker announced it */
    pm_sha256 baseline;  /* likewise, with its size; 0: none */
    uint64_t baseline_size;
} worker;

/* Send a hello with this instance, and nothing awaited; `crashed` as below, `held` (NULL: none) a
 * worker whose task and token are offered. */
void worker_greet(worker *w, const worker *crashed, const worker *held);
/* Connect and say hello; `crashed` NULL, or the worker that died in front of this one. */
void worker_join(scene *s, worker *w, const worker *crashed);
void worker_leave(worker *w);
void worker_credit(worker *w, uint32_t tasks);
void worker_started(worker *w, uint64_t ordinal);
void worker_result(worker *w, uint64_t ordinal, const uint8_t token[16]);
void worker_fetch(worker *w, const pm_sha256 *hash, uint64_t offset, uint32_t size);
/* The next message of this kind, others passed over; fini it. */
void worker_await(worker *w, Pm__Wire__Message__BodyCase kind, pm_message *out);
/* Wait for a task and take it. */
void worker_take(worker *w);
void worker_send(worker *w, const Pm__Wire__Message *message);

#endif

/* A real parchmill-worker process, the broker that a test plays at its other end, and four small
 * photographs. */
#ifndef TESTS_WORKER_FIXTURE_H
#define TESTS_WORKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "lib/net/net.h"
#include "lib/spec/spec.h"

enum { PATIENCE_MS = 60000, IMAGES = 4, SIDE = 40, URL_BYTES = 128 };

typedef struct fixture {
    char folder[64], url[URL_BYTES], weights[4096];
    pm_router *router;
    pid_t worker;
    pm_peer peer;
    pm_message hello; /* the last one */
    uint8_t token[PM_TOKEN_BYTES];
    char names[IMAGES][16];
    pm_sha256 hashes[IMAGES];
    uint64_t sizes[IMAGES];
    pm_sha256 weights_hash;
    uint64_t weights_size;
    pm_config config;
    char *config_text;
    uint64_t run;
    bool boxed;          /* items carry three boxes */
    bool has_start;      /* the last image is what ig may start from */
    const char *missing; /* what `expect` answers to a Fetch that it passes over; NULL: nothing */
    size_t fetches;      /* answered so */
} fixture;

int set_up(void **state);
int tear_down(void **state);

void open_router(fixture *f);
void path_in(const fixture *f, const char *name, char out[128]);
/* Again, where its file has changed. */
void hash_image(fixture *f, size_t i);

/* `fault`: for PARCHMILL_FAULT, or NULL. */
void start_worker(fixture *f, const char *fault);
void send_to_worker(fixture *f, const Pm__Wire__Message *message);
/* The next message of this kind, others passed over; fini it. */
void expect(fixture *f, Pm__Wire__Message__BodyCase kind, pm_message *out);
/* Hello, kept in f->hello, and Welcome; every lease that is offered is adopted with f->token. */
void welcome_worker(fixture *f);
/* f->run: its one configuration is f->config_text. */
void send_run(fixture *f);
/* A task of f->run. */
void send_task(fixture *f, uint64_t id, size_t first, size_t count);
void acknowledge(fixture *f, uint64_t task, uint64_t ordinal);
/* A worker that knows the run. */
void begin(fixture *f, const char *fault);
void expect_clean_end(fixture *f);

/* The result of f->config for this photograph is what the engine says when called directly. */
void expect_as_direct(const fixture *f, size_t image, const pm_message *message);

#endif

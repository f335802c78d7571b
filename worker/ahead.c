/* Owns the reading threads and the bytes between them and their compute thread. See ahead.h. */
#include "worker/ahead.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "worker/photograph.h"

/* Each waits for one photograph: a round trip to the broker is shared by so many. */
enum { READERS = 4 };

typedef struct cell {
    bool ready;
    pm_status status;
    char text[1024]; /* why it failed */
    uint8_t *bytes;
    size_t size;
} cell;

struct pm_ahead {
    pm_work *work;
    const pm_supply *supply;
    pthread_t threads[READERS];
    size_t thread_count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pm_lease *lease;     /* NULL: nothing to read */
    size_t next, wanted; /* items [wanted, next) are read or being read; wanted is taken next */
    size_t bytes;        /* read and not taken */
    size_t reading;      /* threads that do */
    bool stop;
    int64_t spent_us;
    cell cells[PM_AHEAD_ITEMS];
};

static bool may_read(const pm_ahead *a) {
    if (!a->lease || a->next == a->lease->task->n_items) return false;
    return a->next == a->wanted ||
           (a->next < a->wanted + PM_AHEAD_ITEMS && a->bytes < PM_AHEAD_BYTES);
}

/* Under the lock, which is left while it reads. */
static void read_next(pm_ahead *a) {
    pm_lease *lease = a->lease;
    const Pm__Wire__Item *item = lease->task->items[a->next];
    cell *to = &a->cells[a->next++ % PM_AHEAD_ITEMS], c = {.ready = true};
    a->reading++;
    pthread_mutex_unlock(&a->lock);
    c.status = pm_photograph_read(a->work, a->supply, lease, item, &c.bytes, &c.size);
    if (c.status) {
        c.bytes = NULL;
        c.size = 0;
        snprintf(c.text, sizeof c.text, "%s", pm_error_text());
    }
    pthread_mutex_lock(&a->lock);
    a->reading--;
    *to = c;
    a->bytes += c.size;
    pthread_cond_broadcast(&a->changed);
}

static void *thread_main(void *user) {
    pm_ahead *a = user;
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        if (may_read(a))
            read_next(a);
        else
            pthread_cond_wait(&a->changed, &a->lock);
    }
    a->spent_us += pm_clock_thread_us();
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

pm_status pm_ahead_new(pm_work *work, const pm_supply *supply, pm_ahead **out) {
    pm_ahead *a = calloc(1, sizeof *a);
    if (!a) return pm_fail(PM_E_MEMORY, "reading ahead: no memory");
    a->work = work;
    a->supply = supply;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    int error = 0;
    while (!error && a->thread_count < READERS) {
        error = pthread_create(&a->threads[a->thread_count], NULL, thread_main, a);
        a->thread_count += !error;
    }
    /* Fewer will do. */
    if (a->thread_count == 0) {
        pthread_cond_destroy(&a->changed);
        pthread_mutex_destroy(&a->lock);
        free(a);
        return pm_fail(PM_E_IO, "reading ahead: %s", strerror(error));
    }
    *out = a;
    return PM_OK;
}

void pm_ahead_free(pm_ahead **ahead, int64_t *spent_us) {
    pm_ahead *a = *ahead;
    if (!a) return;
    assert(!a->lease);
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    for (size_t i = 0; i < a->thread_count; i++) pthread_join(a->threads[i], NULL);
    if (spent_us) *spent_us = a->spent_us;
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
    *ahead = NULL;
}

void pm_ahead_begin(pm_ahead *a, pm_lease *lease) {
    pthread_mutex_lock(&a->lock);
    a->lease = lease;
    a->next = a->wanted = a->bytes = 0;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

pm_status pm_ahead_take(pm_ahead *a, size_t index, uint8_t **bytes, size_t *size) {
    cell *c = &a->cells[index % PM_AHEAD_ITEMS];
    pthread_mutex_lock(&a->lock);
    assert(a->lease && index == a->wanted);
    while (!c->ready) pthread_cond_wait(&a->changed, &a->lock);
    pm_status status = c->status ? pm_fail(c->status, "%s", c->text) : PM_OK;
    if (!status) {
        *bytes = c->bytes;
        *size = c->size;
    }
    a->bytes -= c->size;
    c->ready = false;
    a->wanted++;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return status;
}

void pm_ahead_end(pm_ahead *a) {
    pthread_mutex_lock(&a->lock);
    a->lease = NULL;
    while (a->reading) pthread_cond_wait(&a->changed, &a->lock);
    for (; a->wanted < a->next; a->wanted++) {
        cell *c = &a->cells[a->wanted % PM_AHEAD_ITEMS];
        free(c->bytes);
        *c = (cell){.ready = false};
    }
    pthread_mutex_unlock(&a->lock);
}

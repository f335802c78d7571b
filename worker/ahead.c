/* Owns the reading thread and the bytes between it and its compute thread. See ahead.h. */
#include "worker/ahead.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "worker/photograph.h"

typedef struct cell {
    pm_status status;
    char text[1024]; /* why it failed */
    uint8_t *bytes;
    size_t size;
} cell;

struct pm_ahead {
    pm_work *work;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pm_lease *lease;     /* NULL: nothing to read */
    size_t read, wanted; /* items [0, read) are read; the next to be taken */
    size_t bytes;        /* read and not taken */
    bool reading, stop;
    int64_t spent_us;
    cell cells[PM_AHEAD_ITEMS];
};

static bool may_read(const pm_ahead *a) {
    if (!a->lease || a->read == a->lease->task->n_items) return false;
    return a->read == a->wanted ||
           (a->read < a->wanted + PM_AHEAD_ITEMS && a->bytes < PM_AHEAD_BYTES);
}

/* Under the lock, which is left while it reads. */
static void read_next(pm_ahead *a) {
    pm_lease *lease = a->lease;
    const Pm__Wire__Item *item = lease->task->items[a->read];
    cell c = {.status = PM_OK};
    a->reading = true;
    pthread_mutex_unlock(&a->lock);
    c.status = pm_photograph_read(a->work, lease, item, &c.bytes, &c.size);
    if (c.status) {
        c.bytes = NULL;
        c.size = 0;
        snprintf(c.text, sizeof c.text, "%s", pm_error_text());
    }
    pthread_mutex_lock(&a->lock);
    a->reading = false;
    a->cells[a->read++ % PM_AHEAD_ITEMS] = c;
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
    a->spent_us = pm_clock_thread_us();
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

pm_status pm_ahead_new(pm_work *work, pm_ahead **out) {
    pm_ahead *a = calloc(1, sizeof *a);
    if (!a) return pm_fail(PM_E_MEMORY, "reading ahead: no memory");
    a->work = work;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    int error = pthread_create(&a->thread, NULL, thread_main, a);
    if (error) {
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
    pthread_join(a->thread, NULL);
    if (spent_us) *spent_us = a->spent_us;
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
    *ahead = NULL;
}

void pm_ahead_begin(pm_ahead *a, pm_lease *lease) {
    pthread_mutex_lock(&a->lock);
    a->lease = lease;
    a->read = a->wanted = a->bytes = 0;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

pm_status pm_ahead_take(pm_ahead *a, size_t index, uint8_t **bytes, size_t *size) {
    pthread_mutex_lock(&a->lock);
    assert(a->lease && index == a->wanted);
    while (a->read <= index) pthread_cond_wait(&a->changed, &a->lock);
    cell *c = &a->cells[index % PM_AHEAD_ITEMS];
    pm_status status = c->status ? pm_fail(c->status, "%s", c->text) : PM_OK;
    if (!status) {
        *bytes = c->bytes;
        *size = c->size;
    }
    a->bytes -= c->size;
    a->wanted++;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return status;
}

void pm_ahead_end(pm_ahead *a) {
    pthread_mutex_lock(&a->lock);
    a->lease = NULL;
    while (a->reading) pthread_cond_wait(&a->changed, &a->lock);
    for (; a->wanted < a->read; a->wanted++) free(a->cells[a->wanted % PM_AHEAD_ITEMS].bytes);
    pthread_mutex_unlock(&a->lock);
}

/* Owns the writer thread and its two queues; knows no table. State and queues are under one lock;
 * the store and the group in work are the thread's alone. */
#include "lib/store/writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/store/db.h"

const pm_writer_limits pm_writer_default_limits = {
    .ops_max = 8192,
    .bytes_max = (size_t)512 << 20,
    .group_max = 1000,
    .group_us = 5000,
    .retry_ms = 1000,
};

/* A ring of ops_max places: every op put and not yet taken is in one of the rings or the group, so
 * neither can overflow. */
typedef struct op_ring {
    size_t first, count;
    pm_op **ops;
} op_ring;

struct pm_writer {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the thread waits on it */
    pthread_t thread;
    pm_writer_limits limits;
    int event_fd;
    pm_store *store;
    op_ring pending, done;
    size_t under_way, bytes_under_way; /* put and not taken */
    bool stop;
    pm_writer_state state;
    pm_status worst;
    char text[256];
    pm_op **group; /* [group_max] */
    size_t group_count;
};

/* ---- what an op weighs: by what was put in, so that it weighs the same when it is taken ---- */

static size_t data_set_bytes(const pm_data_set *set) {
    size_t bytes = 0;
    for (size_t i = 0; set && i < set->count; i++)
        bytes += sizeof set->items[i] + strlen(set->items[i].path) +
                 set->items[i].box_count * sizeof *set->items[i].boxes;
    return bytes;
}

static size_t op_bytes(const pm_op *op) {
    size_t bytes = sizeof *op;
    if (op->kind == PM_OP_RECORD) {
        for (size_t i = 0; i < op->record.result_count; i++) {
            const pm_record_result *r = &op->record.results[i];
            bytes += sizeof *r + r->layer_count * sizeof *r->layers + r->heat_map_size +
                     r->channel_count * (sizeof *r->channel_variance + 1) +
                     r->perturbation_count * sizeof *r->perturbations +
                     (r->activation_count + r->density_count) * sizeof *r->activations;
        }
    } else if (op->kind == PM_OP_SUBMIT) {
        bytes += data_set_bytes(op->submit.data_set);
        if (op->submit.spec) bytes += op->submit.spec->config_count * sizeof(pm_config);
    }
    return bytes;
}

/* Refused while the disk is full: what would bring new work. */
static bool is_new_work(const pm_op *op) {
    return op->kind == PM_OP_SUBMIT || op->kind == PM_OP_RETRY || op->kind == PM_OP_TERMS;
}

/* ---- rings, under the lock ---- */

static void push(pm_writer *w, op_ring *ring, pm_op *op) {
    ring->ops[(ring->first + ring->count++) % w->limits.ops_max] = op;
}

static pm_op *pop(pm_writer *w, op_ring *ring) {
    if (ring->count == 0) return NULL;
    pm_op *op = ring->ops[ring->first];
    ring->first = (ring->first + 1) % w->limits.ops_max;
    ring->count--;
    return op;
}

static void notify(pm_writer *w) {
    const uint64_t one = 1;
    /* Only fails when the counter is full, and then it is readable already. */
    if (write(w->event_fd, &one, sizeof one) < 0) return;
}

static void give_back(pm_writer *w, pm_op *op) {
    push(w, &w->done, op);
    notify(w);
}

static void refuse(pm_writer *w, pm_op *op, pm_status status) {
    op->status = status;
    snprintf(op->text, sizeof op->text, "%s", w->text);
    give_back(w, op);
}

/* ---- the thread ---- */

static void add_us(struct timespec *at, int64_t us) {
    int64_t ns = at->tv_nsec + us % 1000000 * 1000;
    at->tv_sec += us / 1000000 + ns / 1000000000;
    at->tv_nsec = ns % 1000000000;
}

static bool is_unfinished(const pm_op *op) {
    if (op->status) return false;
    return (op->kind == PM_OP_SUBMIT && op->submit.unfinished) ||
           (op->kind == PM_OP_SUMMARISE && op->run.unfinished);
}

/* Wait for a first op, then a little for others; operations whose next slice is due wait for
 * nothing. False: stop, and nothing is left. */
static bool gather(pm_writer *w) {
    pthread_mutex_lock(&w->lock);
    const bool carried = w->group_count > 0;
    while (!carried && w->pending.count == 0 && !w->stop) pthread_cond_wait(&w->wake, &w->lock);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    add_us(&until, w->limits.group_us);
    while (!carried && w->pending.count < w->limits.group_max && !w->stop)
        if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT) break;
    pm_op *op;
    while (w->group_count < w->limits.group_max && (op = pop(w, &w->pending)))
        w->group[w->group_count++] = op;
    pthread_mutex_unlock(&w->lock);
    return w->group_count > 0;
}

/* All but operations with slices to come. Those a stop cuts short: whoever asked asks again, and
 * what is in is not put in twice. */
static void hand_back_group(pm_writer *w) {
    pthread_mutex_lock(&w->lock);
    size_t kept = 0;
    for (size_t i = 0; i < w->group_count; i++) {
        pm_op *op = w->group[i];
        if (!is_unfinished(op)) {
            give_back(w, op);
        } else if (w->stop) {
            op->status = PM_E_CANCELLED;
            snprintf(op->text, sizeof op->text, "stopped before all of it was in");
            give_back(w, op);
        } else {
            w->group[kept++] = op;
        }
    }
    w->group_count = kept;
    if (w->state == PM_WRITER_PAUSED) {
        w->state = PM_WRITER_RUNNING;
        notify(w);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Disk full or file locked: new work goes back, the rest of the group stays. False: told to stop,
 * so this was the last try. */
static bool pause_a_while(pm_writer *w) {
    pthread_mutex_lock(&w->lock);
    if (w->state != PM_WRITER_PAUSED) {
        w->state = PM_WRITER_PAUSED;
        snprintf(w->text, sizeof w->text, "%s", pm_error_text());
        notify(w);
    }
    size_t kept = 0;
    for (size_t i = 0; i < w->group_count; i++) {
        if (is_new_work(w->group[i]))
            refuse(w, w->group[i], PM_E_FULL);
        else
            w->group[kept++] = w->group[i];
    }
    w->group_count = kept;
    for (size_t i = w->pending.count; i > 0; i--) {
        pm_op *op = pop(w, &w->pending);
        if (is_new_work(op))
            refuse(w, op, PM_E_FULL);
        else
            push(w, &w->pending, op);
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    add_us(&until, w->limits.retry_ms * 1000);
    while (!w->stop)
        if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT) break;
    bool go_on = !w->stop;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

/* Nothing more can be written: everything goes back unacknowledged. */
static void give_up(pm_writer *w, pm_status status, pm_writer_state state) {
    pthread_mutex_lock(&w->lock);
    w->state = state;
    w->worst = status;
    snprintf(w->text, sizeof w->text, "%s", pm_error_text());
    for (size_t i = 0; i < w->group_count; i++) refuse(w, w->group[i], status);
    w->group_count = 0;
    for (pm_op *op; (op = pop(w, &w->pending));) refuse(w, op, status);
    notify(w);
    pthread_mutex_unlock(&w->lock);
}

static void *write_groups(void *user) {
    pm_writer *w = user;
    pthread_setname_np(pthread_self(), "store-writer");
    while (gather(w)) {
        pm_status status;
        bool last_try = false;
        while ((status = pm_store_apply(w->store, w->group, w->group_count)) == PM_E_FULL ||
               status == PM_E_BUSY) {
            if (last_try) break;
            last_try = !pause_a_while(w);
            /* Room in the -wal file may come from moving pages into the database. */
            pm_db_checkpoint(w->store, true);
        }
        if (status == PM_E_FULL || status == PM_E_BUSY) {
            give_up(w, status, PM_WRITER_PAUSED);
        } else if (status) {
            give_up(w, PM_E_IO, PM_WRITER_FAILED);
            break;
        } else {
            hand_back_group(w);
        }
    }
    return NULL;
}

/* ---- for the loop ---- */

static pm_status allocate(pm_writer *w) {
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event_fd < 0) return pm_fail(PM_E_IO, "eventfd: %s", strerror(errno));
    w->pending.ops = calloc(w->limits.ops_max, sizeof(pm_op *));
    w->done.ops = calloc(w->limits.ops_max, sizeof(pm_op *));
    w->group = calloc(w->limits.group_max, sizeof(pm_op *));
    if (!w->pending.ops || !w->done.ops || !w->group)
        return pm_fail(PM_E_MEMORY, "no memory for the writer's queues");
    return PM_OK;
}

static void discard(pm_writer *w) {
    if (w->event_fd >= 0) close(w->event_fd);
    free(w->pending.ops);
    free(w->done.ops);
    free(w->group);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

pm_status pm_writer_new(pm_store **store, const pm_writer_limits *limits, pm_writer **out) {
    pm_writer *w = calloc(1, sizeof *w);
    if (!w) return pm_fail(PM_E_MEMORY, "no memory for the writer");
    w->limits = *limits;
    w->event_fd = -1;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&w->lock, NULL);
    pm_status status = allocate(w);
    w->store = *store;
    int error = status ? 0 : pthread_create(&w->thread, NULL, write_groups, w);
    if (error) status = pm_fail(PM_E_MEMORY, "the writer's thread: %s", strerror(error));
    if (status) {
        discard(w);
        return status;
    }
    *store = NULL;
    *out = w;
    return PM_OK;
}

pm_status pm_writer_put(pm_writer *w, pm_op **op) {
    size_t bytes = op_bytes(*op);
    pm_status status = PM_OK;
    pthread_mutex_lock(&w->lock);
    if (w->under_way == w->limits.ops_max ||
        (w->under_way && w->bytes_under_way + bytes > w->limits.bytes_max)) {
        status = pm_fail(PM_E_LIMIT, "%zu operations are under way", w->under_way);
    } else {
        w->under_way++;
        w->bytes_under_way += bytes;
        if (w->state == PM_WRITER_FAILED) {
            refuse(w, *op, PM_E_IO);
        } else if (w->state == PM_WRITER_PAUSED && is_new_work(*op)) {
            refuse(w, *op, PM_E_FULL);
        } else {
            push(w, &w->pending, *op);
            pthread_cond_signal(&w->wake);
        }
        *op = NULL;
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

bool pm_writer_has_room(pm_writer *w) {
    pthread_mutex_lock(&w->lock);
    bool room = w->under_way < w->limits.ops_max && w->bytes_under_way < w->limits.bytes_max;
    pthread_mutex_unlock(&w->lock);
    return room;
}

int pm_writer_fd(const pm_writer *w) { return w->event_fd; }

pm_op *pm_writer_take(pm_writer *w) {
    uint64_t count;
    pthread_mutex_lock(&w->lock);
    pm_op *op = pop(w, &w->done);
    if (op) {
        w->under_way--;
        w->bytes_under_way -= op_bytes(op);
    } else if (read(w->event_fd, &count, sizeof count) < 0) {
        count = 0; /* nobody had called: not an error */
    }
    pthread_mutex_unlock(&w->lock);
    return op;
}

pm_writer_state pm_writer_look(pm_writer *w, char *text, size_t size) {
    pthread_mutex_lock(&w->lock);
    pm_writer_state state = w->state;
    if (state != PM_WRITER_RUNNING && size) snprintf(text, size, "%s", w->text);
    pthread_mutex_unlock(&w->lock);
    return state;
}

pm_status pm_writer_stop(pm_writer **writer, pm_store **store) {
    pm_writer *w = *writer;
    *writer = NULL;
    if (!w) return PM_OK;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    for (pm_op *op; (op = pop(w, &w->done));) pm_op_free(&op);
    for (pm_op *op; (op = pop(w, &w->pending));) pm_op_free(&op);
    pm_status status = w->worst ? pm_fail(w->worst, "%s", w->text) : PM_OK;
    *store = w->store;
    discard(w);
    return status;
}

/* Owns the thread that reads files for workers, and its descriptors. What the bytes are is for the
 * worker to check: it verifies the hash; of all but the largest files we do too. */
#include "broker/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"

enum {
    WAYS = 4,         /* places that a hash may have among the known */
    SETTLED_MS = 1000 /* a file changed so shortly before may change again under the same times */
};

typedef struct queue {
    pm_piece *first, **end;
    size_t count;
} queue;

/* The thread's alone. */
typedef struct open_file {
    pm_sha256 hash;
    int fd; /* -1: unused */
    uint64_t used;
} open_file;

/* Two of them equal, and settled: nobody has written to the file in between. */
typedef struct identity {
    uint64_t device, inode, size_bytes;
    int64_t changed_ns, modified_ns;
} identity;

/* A file with this identity had these bytes. */
typedef struct known_file {
    pm_sha256 hash;
    identity identity;
    uint64_t used; /* 0: unused */
} known_file;

struct pm_blobs {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int event_fd;
    bool stop;
    queue asked, ready;
    open_file open[PM_BLOBS_OPEN];
    known_file *known; /* [PM_BLOBS_KNOWN], in sets of WAYS by hash */
    uint64_t clock;
};

pm_status pm_piece_new(const char *path, pm_piece **out) {
    const size_t path_bytes = strlen(path) + 1;
    pm_piece *piece = calloc(1, sizeof *piece + path_bytes);
    if (!piece) return pm_fail(PM_E_MEMORY, "fetch: no memory");
    memcpy(piece->path, path, path_bytes);
    *out = piece;
    return PM_OK;
}

void pm_piece_free(pm_piece **piece) {
    if (!*piece) return;
    free((*piece)->bytes);
    free(*piece);
    *piece = NULL;
}

static void push(queue *q, pm_piece *piece) {
    piece->next = NULL;
    *q->end = piece;
    q->end = &piece->next;
    q->count++;
}

static pm_piece *pop(queue *q) {
    pm_piece *piece = q->first;
    if (!piece) return NULL;
    q->first = piece->next;
    if (!q->first) q->end = &q->first;
    q->count--;
    return piece;
}

/* ---- the thread ---- */

/* A submission names paths on this host. Without a look at the bytes, who has a client's key and a
 * worker's could have any file read out of which only the size is known, our secret key among them.
 * The largest files would hold up all others; secrets are small. */
static bool is_what_it_says(int fd, const pm_piece *piece) {
    pm_sha256 found;
    return piece->file_bytes > PM_IMAGE_BYTES_MAX ||
           (pm_sha256_fd(fd, piece->path, piece->file_bytes, &found, NULL) == PM_OK &&
            pm_sha256_equal(&found, &piece->hash));
}

static int64_t ns_of(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static identity identity_of(const struct stat *info) {
    return (identity){.device = info->st_dev,
                      .inode = info->st_ino,
                      .size_bytes = (uint64_t)info->st_size,
                      .changed_ns = ns_of(&info->st_ctim),
                      .modified_ns = ns_of(&info->st_mtim)};
}

static bool same(const identity *a, const identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size_bytes == b->size_bytes &&
           a->changed_ns == b->changed_ns && a->modified_ns == b->modified_ns;
}

/* Where the hash is known or is to be: its own place, or the one of its set used longest ago. */
static known_file *place_of(pm_blobs *b, const pm_sha256 *hash) {
    uint32_t set;
    memcpy(&set, hash->bytes, sizeof set);
    known_file *at = &b->known[(size_t)(set % (PM_BLOBS_KNOWN / WAYS)) * WAYS], *oldest = at;
    for (size_t i = 0; i < WAYS; i++) {
        if (at[i].used && pm_sha256_equal(&at[i].hash, hash)) return &at[i];
        if (at[i].used < oldest->used) oldest = &at[i];
    }
    return oldest;
}

/* Small files by the thousand come and go among the descriptors: each is read through once, not
 * once for each piece of it. */
static bool is_verified(pm_blobs *b, int fd, const struct stat *info, const pm_piece *piece) {
    const identity before = identity_of(info);
    const int64_t began_ms = pm_clock_wall_ms();
    known_file *file = place_of(b, &piece->hash);
    struct stat after;
    bool known = file->used && pm_sha256_equal(&file->hash, &piece->hash);
    if (!known || !same(&file->identity, &before)) {
        if (!is_what_it_says(fd, piece)) return false;
        if (before.changed_ns / 1000000 > began_ms - SETTLED_MS || fstat(fd, &after) != 0)
            return true;
        const identity now = identity_of(&after);
        if (!same(&before, &now)) return true;
        *file = (known_file){.hash = piece->hash, .identity = before};
    }
    file->used = ++b->clock;
    return true;
}

/* A file that is replaced keeps its old bytes under the descriptor; one that is written over does
 * not: its size, or the worker's hash, tells. */
static const char *open_anew(pm_blobs *b, const pm_piece *piece, int *out) {
    struct stat info;
    int fd = open(piece->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return "the file cannot be opened";
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        (uint64_t)info.st_size != piece->file_bytes || !is_verified(b, fd, &info, piece)) {
        close(fd);
        return "changed since the run was submitted";
    }
    *out = fd;
    return NULL;
}

static const char *descriptor_of(pm_blobs *b, const pm_piece *piece, int *out) {
    open_file *oldest = &b->open[0];
    for (size_t i = 0; i < PM_BLOBS_OPEN; i++) {
        open_file *file = &b->open[i];
        if (file->fd >= 0 && pm_sha256_equal(&file->hash, &piece->hash)) {
            file->used = ++b->clock;
            *out = file->fd;
            return NULL;
        }
        if (file->used < oldest->used) oldest = file;
    }
    const char *missing = open_anew(b, piece, out);
    if (missing) return missing;
    if (oldest->fd >= 0) close(oldest->fd);
    *oldest = (open_file){.hash = piece->hash, .fd = *out, .used = ++b->clock};
    return NULL;
}

static const char *read_piece(pm_blobs *b, pm_piece *piece) {
    int fd = -1;
    if (piece->offset > piece->file_bytes || piece->size_bytes > piece->file_bytes - piece->offset)
        return "outside of the file";
    const char *missing = descriptor_of(b, piece, &fd);
    if (missing) return missing;
    piece->bytes = malloc(piece->size_bytes + 1);
    if (!piece->bytes) return "the broker is out of memory";
    for (size_t done = 0; done < piece->size_bytes;) {
        ssize_t n =
            pread(fd, piece->bytes + done, piece->size_bytes - done, (off_t)(piece->offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) return "changed since the run was submitted";
        if (n < 0) return "the file cannot be read";
        done += (size_t)n;
    }
    return NULL;
}

static void *thread_main(void *user) {
    pm_blobs *b = user;
    const uint64_t one = 1;
    pthread_setname_np(pthread_self(), "files");
    pthread_mutex_lock(&b->lock);
    while (!b->stop) {
        pm_piece *piece = b->ready.count < PM_BLOBS_READY ? pop(&b->asked) : NULL;
        if (!piece) {
            pthread_cond_wait(&b->wake, &b->lock);
            continue;
        }
        pthread_mutex_unlock(&b->lock);
        if (!piece->missing) piece->missing = read_piece(b, piece);
        pthread_mutex_lock(&b->lock);
        push(&b->ready, piece);
        ssize_t n = write(b->event_fd, &one, sizeof one);
        (void)n; /* full means that it is readable already */
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* ---- the loop ---- */

pm_status pm_blobs_new(pm_blobs **out) {
    pm_blobs *b = calloc(1, sizeof *b);
    if (b) b->known = calloc(PM_BLOBS_KNOWN, sizeof *b->known); /* pages come as they are used */
    if (!b || !b->known) {
        free(b);
        return pm_fail(PM_E_MEMORY, "no memory to read files");
    }
    b->asked.end = &b->asked.first;
    b->ready.end = &b->ready.first;
    for (size_t i = 0; i < PM_BLOBS_OPEN; i++) b->open[i].fd = -1;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->wake, NULL);
    b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = b->event_fd < 0 ? errno : pthread_create(&b->thread, NULL, thread_main, b);
    if (!error) {
        *out = b;
        return PM_OK;
    }
    if (b->event_fd >= 0) close(b->event_fd);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    free(b->known);
    free(b);
    return pm_fail(PM_E_IO, "the thread that reads files: %s", strerror(error));
}

void pm_blobs_free(pm_blobs **blobs) {
    pm_blobs *b = *blobs;
    pm_piece *piece;
    if (!b) return;
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    while ((piece = pop(&b->asked))) pm_piece_free(&piece);
    while ((piece = pop(&b->ready))) pm_piece_free(&piece);
    for (size_t i = 0; i < PM_BLOBS_OPEN; i++)
        if (b->open[i].fd >= 0) close(b->open[i].fd);
    close(b->event_fd);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    free(b->known);
    free(b);
    *blobs = NULL;
}

int pm_blobs_fd(const pm_blobs *b) { return b->event_fd; }

pm_status pm_blobs_ask(pm_blobs *b, pm_piece **piece) {
    pm_status status = PM_OK;
    pthread_mutex_lock(&b->lock);
    if (b->asked.count + b->ready.count >= PM_BLOBS_ASKED) {
        status = pm_fail(PM_E_BUSY, "fetch: %d pieces are asked for", PM_BLOBS_ASKED);
    } else {
        push(&b->asked, *piece);
        *piece = NULL;
        pthread_cond_signal(&b->wake);
    }
    pthread_mutex_unlock(&b->lock);
    return status;
}

pm_piece *pm_blobs_take(pm_blobs *b) {
    uint64_t count;
    pthread_mutex_lock(&b->lock);
    pm_piece *piece = pop(&b->ready);
    if (piece)
        pthread_cond_signal(&b->wake);
    else if (read(b->event_fd, &count, sizeof count) < 0)
        count = 0; /* nobody had called: not an error */
    pthread_mutex_unlock(&b->lock);
    return piece;
}

/* Owns the cache's folder: what lies in it, how large it is, what goes first. Knows nothing of runs
 * and of the broker. */
#include "worker/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/net/guarded_file.h"

enum {
    NAME_BYTES = PM_SHA256_HEX_BYTES,
    PARTIAL_AGE_S = 3600, /* whoever writes one writes on, or gives up within minutes */
    REFUSED_MS = 60000,   /* a full disk is tried again */
    ENTRY_FLAGS = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
};
#define LIMIT_DEFAULT ((uint64_t)4 << 30)

struct pm_cache {
    char folder[PM_CACHE_PATH_BYTES];
    uint64_t limit_bytes;
    pthread_mutex_t lock;
    uint64_t known_bytes, added_bytes; /* at the last look, and since */
    int64_t refused_until_ms;
    bool refused; /* and it was said */
};

typedef struct entry {
    char name[NAME_BYTES];
    uint64_t bytes;
    struct timespec used;
} entry;

typedef struct listing {
    entry *entries;
    size_t count, room;
    uint64_t bytes;
} listing;

/* ---- what lies there ---- */

/* How many characters of a hash the name begins with. */
static bool is_hash(const char *name) { return strspn(name, "0123456789abcdef") == NAME_BYTES - 1; }

static bool is_blob(const char *name) { return is_hash(name) && !name[NAME_BYTES - 1]; }

static bool is_partial(const char *name) {
    size_t length = strlen(name);
    return is_hash(name) && name[NAME_BYTES - 1] == '.' && strcmp(name + length - 5, ".part") == 0;
}

static bool add_entry(listing *l, const char *name, const struct stat *info) {
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 256;
        entry *entries = realloc(l->entries, room * sizeof *entries);
        if (!entries) return false;
        l->entries = entries;
        l->room = room;
    }
    entry *e = &l->entries[l->count++];
    memcpy(e->name, name, NAME_BYTES);
    e->bytes = (uint64_t)info->st_size;
    e->used = info->st_mtim;
    l->bytes += e->bytes;
    return true;
}

/* Blobs into *l; partial files that are old go. */
static void look(const char *folder, listing *l) {
    DIR *dir = opendir(folder);
    const time_t now = time(NULL);
    for (const struct dirent *d; dir && (d = readdir(dir));) {
        struct stat info;
        bool partial = is_partial(d->d_name);
        if (!partial && !is_blob(d->d_name)) continue;
        if (fstatat(dirfd(dir), d->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(info.st_mode)) continue;
        if (partial && info.st_mtim.tv_sec + PARTIAL_AGE_S < now)
            unlinkat(dirfd(dir), d->d_name, 0);
        if (!partial && !add_entry(l, d->d_name, &info)) break;
    }
    if (dir) closedir(dir);
}

static int by_use(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    return (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* Under the lock. What was used last stays, however large. */
static void tidy(pm_cache *c) {
    listing l = {0};
    char path[PM_CACHE_PATH_BYTES + NAME_BYTES];
    look(c->folder, &l);
    if (l.bytes > c->limit_bytes) {
        qsort(l.entries, l.count, sizeof *l.entries, by_use);
        for (size_t i = 0; i + 1 < l.count && l.bytes > c->limit_bytes - c->limit_bytes / 10; i++) {
            snprintf(path, sizeof path, "%s/%s", c->folder, l.entries[i].name);
            unlink(path); /* another worker may have been first */
            l.bytes -= l.entries[i].bytes;
        }
    }
    c->known_bytes = l.bytes;
    c->added_bytes = 0;
    free(l.entries);
}

/* ---- life ---- */

static uint64_t default_limit(const char *folder) {
    struct statvfs info;
    if (statvfs(folder, &info) != 0) return LIMIT_DEFAULT;
    uint64_t tenth = (uint64_t)info.f_blocks * info.f_frsize / 10;
    return tenth < LIMIT_DEFAULT ? tenth : LIMIT_DEFAULT;
}

pm_status pm_cache_open(const char *folder, uint64_t limit_bytes, pm_cache **out) {
    pm_status status = pm_dir_make_as(folder, 0700);
    if (!status) status = pm_guarded_folder(folder);
    if (status) return status;
    pm_cache *c = calloc(1, sizeof *c);
    if (!c) return pm_fail(PM_E_MEMORY, "cache: no memory");
    snprintf(c->folder, sizeof c->folder, "%s", folder);
    c->limit_bytes = limit_bytes == PM_CACHE_DEFAULT ? default_limit(folder) : limit_bytes;
    pthread_mutex_init(&c->lock, NULL);
    tidy(c);
    *out = c;
    return PM_OK;
}

void pm_cache_close(pm_cache **cache) {
    if (!*cache) return;
    pthread_mutex_destroy(&(*cache)->lock);
    free(*cache);
    *cache = NULL;
}

const char *pm_cache_folder(const pm_cache *cache) { return cache ? cache->folder : NULL; }

/* ---- use ---- */

static void drop_damaged(const char *path) {
    pm_log(PM_LOG_WARN, "worker.cache.damaged", "path=" PM_QUOTED, path);
    unlink(path);
}

static pm_status read_all(int fd, uint8_t *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return PM_E_IO;
        done += (size_t)n;
    }
    return PM_OK;
}

/* Verified bytes of an open file; false: it is damaged. */
static bool read_verified(int fd, const pm_sha256 *hash, size_t size, uint8_t **out) {
    struct stat info;
    if (fstat(fd, &info) != 0 || (uint64_t)info.st_size != size) return false;
    uint8_t *bytes = malloc(size + 1);
    if (!bytes || read_all(fd, bytes, size)) {
        free(bytes);
        return false;
    }
    pm_sha256 found = pm_sha256_of(bytes, size);
    if (!pm_sha256_equal(&found, hash)) {
        free(bytes);
        return false;
    }
    *out = bytes;
    return true;
}

bool pm_cache_get(pm_cache *c, const pm_sha256 *hash, uint64_t size_bytes, uint8_t **bytes) {
    char path[PM_CACHE_PATH_BYTES];
    if (!c || size_bytes > PM_IMAGE_BYTES_MAX || pm_cache_path(c->folder, hash, path)) return false;
    int fd = open(path, ENTRY_FLAGS);
    if (fd < 0) return false;
    bool whole = read_verified(fd, hash, (size_t)size_bytes, bytes);
    if (whole) futimens(fd, NULL);
    close(fd);
    if (!whole) drop_damaged(path);
    return whole;
}

bool pm_cache_is_blob(int fd, const pm_sha256 *hash, uint64_t size_bytes) {
    struct stat info;
    pm_sha256 found;
    /* A pipe or a device of size 0 would be read for ever. */
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || (uint64_t)info.st_size != size_bytes)
        return false;
    return pm_sha256_fd(fd, "blob", size_bytes, &found, NULL) == PM_OK &&
           pm_sha256_equal(&found, hash);
}

bool pm_cache_find(pm_cache *c, const pm_sha256 *hash, uint64_t size_bytes, int *fd) {
    char path[PM_CACHE_PATH_BYTES];
    if (!c || pm_cache_path(c->folder, hash, path)) return false;
    int found = open(path, ENTRY_FLAGS);
    if (found < 0) return false;
    if (!pm_cache_is_blob(found, hash, size_bytes)) {
        close(found);
        drop_damaged(path);
        return false;
    }
    futimens(found, NULL);
    *fd = found;
    return true;
}

void pm_cache_refused(pm_cache *c) {
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    bool said = c->refused;
    c->refused = true;
    c->refused_until_ms = pm_clock_ms() + REFUSED_MS;
    pthread_mutex_unlock(&c->lock);
    if (!said)
        pm_log(PM_LOG_WARN, "worker.cache.off",
               "reason=" PM_QUOTED " what=\"fetched bytes stay in memory\"", pm_error_text());
}

void pm_cache_added(pm_cache *c, uint64_t size_bytes) {
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    c->known_bytes += size_bytes;
    c->added_bytes += size_bytes;
    c->refused = false;
    if (c->known_bytes > c->limit_bytes || c->added_bytes > c->limit_bytes / 20) tidy(c);
    pthread_mutex_unlock(&c->lock);
}

static pm_status write_beside(const char *path, const uint8_t *bytes, size_t size) {
    char partial[PM_CACHE_PATH_BYTES + 32];
    uint32_t unique;
    pm_random_bytes(&unique, sizeof unique);
    snprintf(partial, sizeof partial, "%s.%08x.part", path, (unsigned)unique);
    int fd = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) goto fail;
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) goto fail;
        done += (size_t)n;
    }
    /* Not synced: what a power cut leaves of it does not have the hash. */
    if (close(fd) != 0) {
        fd = -1;
        goto fail;
    }
    fd = -1;
    if (rename(partial, path) == 0) return PM_OK;
fail:;
    int error = errno;
    if (fd >= 0) close(fd);
    unlink(partial);
    return pm_file_fail(partial, error);
}

void pm_cache_put(pm_cache *c, const pm_sha256 *hash, const uint8_t *bytes, size_t size) {
    char path[PM_CACHE_PATH_BYTES];
    if (!c || size > c->limit_bytes / 2 || pm_cache_path(c->folder, hash, path)) return;
    pthread_mutex_lock(&c->lock);
    bool off = pm_clock_ms() < c->refused_until_ms;
    pthread_mutex_unlock(&c->lock);
    if (off) return;
    if (write_beside(path, bytes, size))
        pm_cache_refused(c);
    else
        pm_cache_added(c, size);
}

pm_status pm_cache_parse_size(const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    char digits[24];
    size_t length = strlen(text), value = 0;
    const char *unit = length ? strchr(units, text[length - 1]) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (length >= sizeof digits) return pm_fail(PM_E_USAGE, "--cache-size: '%.40s'", text);
    snprintf(digits, sizeof digits, "%.*s", (int)(length - (unit ? 1 : 0)), text);
    pm_status status = pm_parse_size("--cache-size", digits, &value);
    if (status) return status;
    if (value > UINT64_MAX >> (shift + 1))
        return pm_fail(PM_E_USAGE, "--cache-size: %s is too much", text);
    *out = (uint64_t)value << shift;
    return PM_OK;
}

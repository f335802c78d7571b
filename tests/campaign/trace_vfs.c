/* Owns the recording; what a power cut leaves of it is in trace_cut.c. */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "tests/campaign/trace.h"

typedef struct traced_file {
    sqlite3_file base;
    trace *trace;
    size_t node;
    bool dir_sync; /* its name is not on disk before its first sync */
    sqlite3_file *real;
} traced_file;

static trace *recording;

static sqlite3_file *real(sqlite3_file *file) { return ((traced_file *)file)->real; }

static event *add(trace *t, event_kind kind, size_t node) {
    if (t->event_count == t->event_capacity) {
        size_t capacity = t->event_capacity ? 2 * t->event_capacity : 1024;
        event *more = realloc(t->events, capacity * sizeof *more);
        if (!more) abort();
        t->events = more;
        t->event_capacity = capacity;
    }
    event *e = &t->events[t->event_count++];
    *e = (event){.kind = kind, .node = node};
    return e;
}

static void add_write(trace *t, size_t node, const void *bytes, size_t size, int64_t offset) {
    event *e = add(t, EVENT_WRITE, node);
    e->offset = offset;
    e->size = size;
    e->bytes = malloc(size);
    if (!e->bytes) abort();
    memcpy(e->bytes, bytes, size);
}

static size_t node_of(trace *t, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t n = t->node_count; n-- > 0;)
        if (t->nodes[n].linked && strcmp(t->nodes[n].name, name) == 0) return n;
    return SIZE_MAX;
}

/* ---- files ---- */

static int file_close(sqlite3_file *file) { return real(file)->pMethods->xClose(real(file)); }

static int file_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset) {
    return real(file)->pMethods->xRead(real(file), bytes, size, offset);
}

static int file_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
    traced_file *f = (traced_file *)file;
    add_write(f->trace, f->node, bytes, (size_t)size, offset);
    return real(file)->pMethods->xWrite(real(file), bytes, size, offset);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    traced_file *f = (traced_file *)file;
    add(f->trace, EVENT_TRUNCATE, f->node)->offset = size;
    return real(file)->pMethods->xTruncate(real(file), size);
}

static int file_sync(sqlite3_file *file, int flags) {
    traced_file *f = (traced_file *)file;
    int code = real(file)->pMethods->xSync(real(file), flags);
    if (code != SQLITE_OK || f->trace->lies) return code;
    add(f->trace, EVENT_SYNC, f->node);
    if (f->dir_sync) add(f->trace, EVENT_DIR_SYNC, f->node);
    f->dir_sync = false;
    return code;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    return real(file)->pMethods->xFileSize(real(file), size);
}
static int file_lock(sqlite3_file *file, int level) {
    return real(file)->pMethods->xLock(real(file), level);
}
static int file_unlock(sqlite3_file *file, int level) {
    return real(file)->pMethods->xUnlock(real(file), level);
}
static int file_check(sqlite3_file *file, int *out) {
    return real(file)->pMethods->xCheckReservedLock(real(file), out);
}
static int file_control(sqlite3_file *file, int op, void *arg) {
    return real(file)->pMethods->xFileControl(real(file), op, arg);
}
static int file_sector(sqlite3_file *file) { return real(file)->pMethods->xSectorSize(real(file)); }
static int file_character(sqlite3_file *file) {
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out) {
    return real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
}
static int file_shm_lock(sqlite3_file *file, int offset, int n, int flags) {
    return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}
static void file_shm_barrier(sqlite3_file *file) { real(file)->pMethods->xShmBarrier(real(file)); }
static int file_shm_unmap(sqlite3_file *file, int remove) {
    return real(file)->pMethods->xShmUnmap(real(file), remove);
}

/* Version 2: shared memory for the log, no mapped reads or writes. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_character,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

/* ---- the VFS ---- */

static size_t add_node(trace *t, const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (t->node_count == TRACE_NODES) abort();
    file_node *n = &t->nodes[t->node_count];
    *n = (file_node){.linked = true};
    strncpy(n->name, name, sizeof n->name - 1);
    add(t, EVENT_CREATE, t->node_count);
    return t->node_count++;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                    int *out_flags) {
    trace *t = vfs->pAppData;
    traced_file *f = (traced_file *)file;
    bool is_log = (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) != 0;
    f->base.pMethods = NULL;
    f->real = (sqlite3_file *)(f + 1);
    int code = t->real->xOpen(t->real, path, f->real, flags, out_flags);
    if (code != SQLITE_OK) return code;
    f->trace = t;
    f->node = path ? node_of(t, path) : SIZE_MAX;
    if (f->node == SIZE_MAX) {
        f->node = add_node(t, path ? path : "unnamed");
        f->dir_sync = is_log && (flags & SQLITE_OPEN_CREATE);
    } else {
        f->dir_sync = false;
    }
    f->base.pMethods = &methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_dir) {
    trace *t = vfs->pAppData;
    int code = t->real->xDelete(t->real, path, sync_dir);
    size_t node = node_of(t, path);
    if (code != SQLITE_OK || node == SIZE_MAX) return code;
    t->nodes[node].linked = false;
    add(t, EVENT_UNLINK, node);
    if (sync_dir) add(t, EVENT_DIR_SYNC, node);
    return code;
}

pm_status trace_begin(bool lies, trace **out) {
    trace *t = calloc(1, sizeof *t);
    if (!t || recording) abort();
    t->lies = lies;
    t->real = sqlite3_vfs_find(NULL);
    t->vfs = *t->real;
    t->vfs.zName = "trace";
    t->vfs.pNext = NULL;
    t->vfs.pAppData = t;
    t->vfs.szOsFile = (int)sizeof(traced_file) + t->real->szOsFile;
    t->vfs.xOpen = vfs_open;
    t->vfs.xDelete = vfs_delete;
    if (sqlite3_vfs_register(&t->vfs, 1) != SQLITE_OK) {
        free(t);
        return pm_fail(PM_E_INTERNAL, "sqlite3_vfs_register");
    }
    recording = t;
    const facts none = {.runs = {RUN_UNKNOWN}};
    trace_tell(t, &none);
    *out = t;
    return PM_OK;
}

void trace_end(trace *t) {
    sqlite3_vfs_register(t->real, 1);
    sqlite3_vfs_unregister(&t->vfs);
    recording = NULL;
}

void trace_free(trace **out) {
    trace *t = *out;
    *out = NULL;
    if (!t) return;
    for (size_t i = 0; i < t->event_count; i++) free(t->events[i].bytes);
    free(t->events);
    free(t);
}

void trace_tell(trace *t, const facts *now) {
    event *e = add(t, EVENT_FACTS, SIZE_MAX);
    e->bytes = malloc(sizeof *now);
    if (!e->bytes) abort();
    memcpy(e->bytes, now, sizeof *now);
    t->answer_count++;
}

size_t trace_length(const trace *t) { return t->event_count; }
size_t trace_answers(const trace *t) { return t->answer_count; }

size_t trace_answer(const trace *t, size_t n) {
    for (size_t i = 0; i < t->event_count; i++)
        if (t->events[i].kind == EVENT_FACTS && n-- == 0) return i + 1;
    return t->event_count;
}

const facts *trace_facts(const trace *t, size_t place) {
    while (place-- > 0)
        if (t->events[place].kind == EVENT_FACTS) return (const facts *)t->events[place].bytes;
    return NULL;
}

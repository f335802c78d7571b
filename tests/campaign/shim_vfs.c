/* Owns the pass-through of SQLite's calls; see shim_vfs.h. */
#include "tests/campaign/shim_vfs.h"

#include <stdlib.h>

typedef struct shim_file {
    sqlite3_file base;
    size_t number; /* the hooks' */
    sqlite3_file *real;
} shim_file;

static struct {
    sqlite3_vfs vfs, *real;
    shim_hooks hooks;
    bool on;
} shim;

static sqlite3_file *real(sqlite3_file *file) { return ((shim_file *)file)->real; }
static const sqlite3_io_methods *of(sqlite3_file *file) { return real(file)->pMethods; }

static int before(shim_call *call) {
    return shim.hooks.before ? shim.hooks.before(shim.hooks.user, call) : SQLITE_OK;
}

static int after(const shim_call *call, int code) {
    if (code == SQLITE_OK && shim.hooks.after) shim.hooks.after(shim.hooks.user, call);
    return code;
}

static shim_call call_of(shim_kind kind, sqlite3_file *file) {
    return (shim_call){.kind = kind, .file = &((shim_file *)file)->number};
}

/* ---- files: what is hooked ---- */

static int file_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset) {
    shim_call call = call_of(SHIM_READ, file);
    call.size = (size_t)size;
    call.offset = offset;
    int code = before(&call);
    if (code != SQLITE_OK) return code;
    return after(&call, of(file)->xRead(real(file), bytes, size, offset));
}

static int file_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset) {
    shim_call call = call_of(SHIM_WRITE, file);
    call.bytes = bytes;
    call.size = (size_t)size;
    call.offset = offset;
    int code = before(&call);
    if (code != SQLITE_OK && call.size < (size_t)size)
        of(file)->xWrite(real(file), bytes, (int)call.size, offset);
    if (code != SQLITE_OK) return code;
    return after(&call, of(file)->xWrite(real(file), bytes, size, offset));
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size) {
    shim_call call = call_of(SHIM_TRUNCATE, file);
    call.offset = size;
    int code = before(&call);
    return code ? code : after(&call, of(file)->xTruncate(real(file), size));
}

static int file_sync(sqlite3_file *file, int flags) {
    shim_call call = call_of(SHIM_SYNC, file);
    int code = before(&call);
    return code ? code : after(&call, of(file)->xSync(real(file), flags));
}

static int file_lock(sqlite3_file *file, int level) {
    shim_call call = call_of(SHIM_LOCK, file);
    int code = before(&call);
    return code ? code : after(&call, of(file)->xLock(real(file), level));
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out) {
    shim_call call = call_of(SHIM_SHM_MAP, file);
    int code = before(&call);
    return code ? code : after(&call, of(file)->xShmMap(real(file), page, size, extend, out));
}

static int file_shm_lock(sqlite3_file *file, int offset, int n, int flags) {
    shim_call call = call_of(SHIM_SHM_LOCK, file);
    int code = flags & SQLITE_SHM_UNLOCK ? SQLITE_OK : before(&call);
    return code ? code : after(&call, of(file)->xShmLock(real(file), offset, n, flags));
}

/* ---- and what is not ---- */

static int file_close(sqlite3_file *file) { return of(file)->xClose(real(file)); }
static int file_size(sqlite3_file *file, sqlite3_int64 *size) {
    return of(file)->xFileSize(real(file), size);
}
static int file_unlock(sqlite3_file *file, int level) {
    return of(file)->xUnlock(real(file), level);
}
static int file_check(sqlite3_file *file, int *out) {
    return of(file)->xCheckReservedLock(real(file), out);
}
static int file_control(sqlite3_file *file, int op, void *arg) {
    return of(file)->xFileControl(real(file), op, arg);
}
static int file_sector(sqlite3_file *file) { return of(file)->xSectorSize(real(file)); }
static int file_character(sqlite3_file *file) {
    return of(file)->xDeviceCharacteristics(real(file));
}
static void file_shm_barrier(sqlite3_file *file) { of(file)->xShmBarrier(real(file)); }
static int file_shm_unmap(sqlite3_file *file, int remove) {
    return of(file)->xShmUnmap(real(file), remove);
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

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                    int *out_flags) {
    (void)vfs;
    shim_file *f = (shim_file *)file;
    f->base.pMethods = NULL;
    f->number = SIZE_MAX;
    f->real = (sqlite3_file *)(f + 1);
    shim_call call = {.kind = SHIM_OPEN, .path = path, .flags = flags, .file = &f->number};
    int code = before(&call);
    if (code == SQLITE_OK) code = shim.real->xOpen(shim.real, path, f->real, flags, out_flags);
    if (code == SQLITE_OK) f->base.pMethods = &methods;
    return after(&call, code);
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_dir) {
    (void)vfs;
    shim_call call = {.kind = SHIM_DELETE, .path = path, .flags = sync_dir};
    int code = before(&call);
    return code ? code : after(&call, shim.real->xDelete(shim.real, path, sync_dir));
}

void shim_begin(const shim_hooks *hooks) {
    if (shim.on) abort();
    shim.on = true;
    shim.hooks = *hooks;
    shim.real = sqlite3_vfs_find(NULL);
    shim.vfs = *shim.real;
    shim.vfs.zName = "shim";
    shim.vfs.pNext = NULL;
    shim.vfs.szOsFile = (int)sizeof(shim_file) + shim.real->szOsFile;
    shim.vfs.xOpen = vfs_open;
    shim.vfs.xDelete = vfs_delete;
    if (sqlite3_vfs_register(&shim.vfs, 1) != SQLITE_OK) abort();
}

void shim_end(void) {
    sqlite3_vfs_register(shim.real, 1);
    sqlite3_vfs_unregister(&shim.vfs);
    shim.on = false;
}

/* Owns the opened weights file: finds out what it is, keeps the table of tensors, reads elements.
 * Knows no format; a reader fills the table. Every span is checked against its storage once, in
 * table.c, before it is used here. */
#include "worker/engine/weights/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 16 };

pm_status pm_weights_pread(const pm_weights *weights, uint64_t offset, void *out, size_t size) {
    uint8_t *to = out;
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(weights->fd, to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pm_fail(PM_E_IO, "%s: %s", weights->path, strerror(errno));
        if (n == 0)
            return pm_fail(PM_E_FORMAT, "%s: ends at byte %" PRIu64 ", more was expected",
                           weights->path, offset + done);
        done += (size_t)n;
    }
    return PM_OK;
}

/* ---- open ---- */

static bool ends_with(const char *text, const char *end) {
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && !strcmp(text + size - end_size, end);
}

static pm_status load(pm_weights *weights) {
    static const char lfs[] = "version https://git-lfs";
    uint8_t head[32] = {0};
    size_t head_size =
        weights->size_bytes < sizeof head ? (size_t)weights->size_bytes : sizeof head;
    pm_status status = pm_weights_pread(weights, 0, head, head_size);
    if (status) return status;
    if (head_size < 9)
        return pm_fail(PM_E_FORMAT, "%s: %" PRIu64 " bytes: too short for a weights file",
                       weights->path, weights->size_bytes);
    bool brace = head[8] == '{';
    /* A header length below 4 GiB and a brace: neither a zip nor a pickle can begin so. */
    if (brace && !(head[4] | head[5] | head[6] | head[7]))
        return pm_weights_load_safetensors(weights);
    if (!memcmp(head, "PK\3\4", 4) || !memcmp(head, "PK\5\6", 4))
        return pm_weights_load_zip(weights);
    if (head[0] == 0x80 && head[1] >= 2 && head[1] <= 5) return pm_weights_load_pickle(weights);
    if (brace || ends_with(weights->path, ".safetensors"))
        return pm_weights_load_safetensors(weights);
    if (!memcmp(head, lfs, sizeof lfs - 1))
        return pm_fail(PM_E_FORMAT,
                       "%s: a Git LFS pointer, not the file itself; fetch it with git lfs pull",
                       weights->path);
    return pm_fail(PM_E_FORMAT,
                   "%s: not a weights file: neither safetensors nor a PyTorch checkpoint",
                   weights->path);
}

static pm_status check_file(pm_weights *weights) {
    struct stat info;
    if (fstat(weights->fd, &info) != 0)
        return pm_fail(PM_E_IO, "%s: %s", weights->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return pm_fail(PM_E_FORMAT, "%s: not a regular file", weights->path);
    weights->size_bytes = (uint64_t)info.st_size;
    if (weights->size_bytes > PM_WEIGHTS_FILE_MAX)
        return pm_fail(PM_E_LIMIT, "%s: %" PRIu64 " bytes, the limit is %" PRIu64, weights->path,
                       weights->size_bytes, PM_WEIGHTS_FILE_MAX);
    return PM_OK;
}

/* Takes `fd` over, which may be none, with errno. */
static pm_status open_table(int fd, const char *path, pm_weights **out) {
    const int error = errno;
    pm_weights *weights = NULL;
    pm_status status;
    if (fd < 0)
        return pm_fail(error == ENOENT ? PM_E_NOT_FOUND : PM_E_IO, "%s: %s", path, strerror(error));
    weights = calloc(1, sizeof *weights);
    if (!weights) {
        close(fd);
        return pm_fail(PM_E_MEMORY, "%s: no memory to open it", path);
    }
    weights->fd = fd;
    weights->path = strdup(path);
    if (!weights->path) {
        status = pm_fail(PM_E_MEMORY, "no memory to open a weights file");
        goto fail;
    }
    status = check_file(weights);
    if (!status) status = load(weights);
    if (!status) status = pm_weights_finish(weights);
    if (status) goto fail;
    *out = weights;
    return PM_OK;
fail:
    pm_weights_free(&weights);
    return status;
}

pm_status pm_weights_open(const char *path, pm_weights **out) {
    return open_table(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), path, out);
}

pm_status pm_weights_open_fd(int fd, const char *name, pm_weights **out) {
    return open_table(fcntl(fd, F_DUPFD_CLOEXEC, 0), name, out);
}

void pm_weights_free(pm_weights **weights) {
    if (!weights || !*weights) return;
    pm_weights *w = *weights;
    if (w->zip) zip_discard(w->zip);
    if (w->fd >= 0) close(w->fd);
    for (size_t i = 0; i < w->count; i++) free(w->entries[i].name);
    for (size_t i = 0; i < w->block_count; i++) free(w->blocks[i]);
    free(w->blocks);
    free(w->entries);
    free(w->storages);
    free(w->by_name);
    free(w->path);
    free(w);
    *weights = NULL;
}

/* ---- read ---- */

/* A position in one storage. */
typedef struct cursor {
    const pm_weights *weights;
    const pm_weights_storage *storage;
    zip_file_t *entry;
    uint64_t at;
} cursor;

static pm_status zip_failure(const cursor *c) {
    zip_error_t *error = c->entry ? zip_file_get_error(c->entry) : zip_get_error(c->weights->zip);
    if (zip_error_code_zip(error) == ZIP_ER_MEMORY)
        return pm_fail(PM_E_MEMORY, "%s: no memory to read an entry", c->weights->path);
    return pm_fail(PM_E_FORMAT, "%s: archive entry %s: %s", c->weights->path,
                   zip_get_name(c->weights->zip, c->storage->zip_index, 0),
                   c->entry ? zip_file_strerror(c->entry) : zip_strerror(c->weights->zip));
}

static pm_status cursor_read(cursor *c, uint8_t *out, size_t size) {
    const pm_weights_storage *storage = c->storage;
    zip_int64_t n;
    switch (storage->place) {
    case PM_WEIGHTS_IN_MEMORY: memcpy(out, storage->memory + c->at, size); break;
    case PM_WEIGHTS_IN_FILE: {
        pm_status status = pm_weights_pread(c->weights, storage->offset + c->at, out, size);
        if (status) return status;
        break;
    }
    case PM_WEIGHTS_IN_ZIP:
        for (size_t done = 0; done < size; done += (size_t)n) {
            n = zip_fread(c->entry, out + done, size - done);
            if (n < 0) return zip_failure(c);
            if (n == 0)
                return pm_fail(PM_E_FORMAT, "%s: archive entry %s is shorter than declared",
                               c->weights->path,
                               zip_get_name(c->weights->zip, storage->zip_index, 0));
        }
        break;
    }
    c->at += size;
    return PM_OK;
}

static pm_status cursor_open(const pm_weights *weights, const pm_weights_entry *entry, cursor *c) {
    uint8_t waste[4096];
    uint64_t start = (uint64_t)entry->first * pm_dtype_bytes(entry->info.dtype);
    *c = (cursor){.weights = weights, .storage = &weights->storages[entry->storage]};
    if (c->storage->place != PM_WEIGHTS_IN_ZIP) {
        c->at = start;
        return PM_OK;
    }
    c->entry = zip_fopen_index(weights->zip, c->storage->zip_index, 0);
    if (!c->entry) return zip_failure(c);
    if (start && c->storage->seekable) {
        if (zip_fseek(c->entry, (zip_int64_t)start, SEEK_SET) != 0) return zip_failure(c);
        c->at = start;
    }
    while (c->at < start) {
        uint64_t left = start - c->at;
        pm_status status = cursor_read(c, waste, left < sizeof waste ? (size_t)left : sizeof waste);
        if (status) return status;
    }
    return PM_OK;
}

/* At the end of an archive entry: one more read, which makes libzip compare the CRC. */
static pm_status cursor_check_end(cursor *c) {
    uint8_t byte;
    if (c->storage->place != PM_WEIGHTS_IN_ZIP || c->at != c->storage->size_bytes) return PM_OK;
    zip_int64_t n = zip_fread(c->entry, &byte, 1);
    if (n < 0) return zip_failure(c);
    if (n > 0)
        return pm_fail(PM_E_FORMAT, "%s: archive entry %s is longer than declared",
                       c->weights->path, zip_get_name(c->weights->zip, c->storage->zip_index, 0));
    return PM_OK;
}

static bool is_row_major(const pm_weights_entry *entry) {
    size_t expected = 1;
    for (size_t i = entry->info.rank; i-- > 0;) {
        if (entry->info.shape[i] != 1 && entry->stride[i] != expected) return false;
        expected *= entry->info.shape[i];
    }
    return true;
}

static pm_status read_row_major(cursor *c, const pm_weights_entry *entry, float *out) {
    uint8_t chunk[CHUNK_BYTES];
    size_t size = pm_dtype_bytes(entry->info.dtype), most = sizeof chunk / size;
    for (size_t done = 0; done < entry->info.count;) {
        size_t left = entry->info.count - done, n = left < most ? left : most;
        pm_status status = cursor_read(c, chunk, n * size);
        if (status) return status;
        pm_dtype_convert(entry->info.dtype, chunk, n, out + done);
        done += n;
    }
    return PM_OK;
}

/* Walk the indices in row-major order over the raw elements `bytes` [extent]. */
static void gather(const pm_weights_entry *entry, const uint8_t *bytes, float *out) {
    const pm_tensor_info *info = &entry->info;
    size_t size = pm_dtype_bytes(info->dtype), index[PM_RANK_MAX] = {0}, at = 0;
    for (size_t i = 0; i < info->count; i++) {
        pm_dtype_convert(info->dtype, bytes + at * size, 1, out + i);
        for (size_t d = info->rank; d-- > 0;) {
            at += entry->stride[d];
            if (++index[d] < info->shape[d]) break;
            at -= entry->stride[d] * info->shape[d];
            index[d] = 0;
        }
    }
}

static pm_status read_strided(cursor *c, const pm_weights_entry *entry, float *out) {
    size_t size = entry->extent * pm_dtype_bytes(entry->info.dtype);
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return pm_fail(PM_E_MEMORY, "%s: no memory for %zu bytes of tensor %s", c->weights->path,
                       size, entry->name);
    pm_status status = cursor_read(c, bytes, size);
    if (!status) gather(entry, bytes, out);
    free(bytes);
    return status;
}

pm_status pm_weights_read(const pm_weights *weights, const pm_tensor_info *info, float *out) {
    /* info is the first member of its entry: both came from pm_weights_at or pm_weights_find. */
    const pm_weights_entry *entry = (const pm_weights_entry *)(const void *)info;
    cursor c;
    if (info->count == 0) return PM_OK;
    pm_status status = cursor_open(weights, entry, &c);
    if (!status) {
        status =
            is_row_major(entry) ? read_row_major(&c, entry, out) : read_strided(&c, entry, out);
    }
    if (!status) status = cursor_check_end(&c);
    if (c.entry) zip_fclose(c.entry);
    return status;
}

/* Owns PyTorch's zip archives: TOP/data.pkl, TOP/data/KEY, TOP/byteorder (PyTorch,
 * caffe2/serialize/inline_container.h). Entries stored or deflated; sizes are checked against what
 * the pickle declares and what the archive can hold before anything is unpacked. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/engine/weights/checkpoint.h"

enum { ENTRIES_MAX = 200000, NAME_MAX_BYTES = 512, RATIO_MAX = 1032 /* of deflate */ };

typedef struct archive {
    pm_weights *weights;
    const char *top; /* of the archive's memory; top_size bytes, '/' included */
    size_t top_size;
    zip_uint64_t pickle;
} archive;

static pm_status malformed(const archive *a, const char *name, const char *what) {
    char clean[80];
    pm_weights_clean(name, strlen(name), clean, sizeof clean);
    return pm_fail(PM_E_FORMAT, "%s: archive entry %s: %s", a->weights->path, clean, what);
}

/* libzip's last failure was for want of memory, and says nothing about the file. */
static bool short_of_memory(pm_weights *weights) {
    return errno == ENOMEM || zip_error_code_zip(zip_get_error(weights->zip)) == ZIP_ER_MEMORY;
}

static pm_status no_memory(const pm_weights *weights) {
    return pm_fail(PM_E_MEMORY, "%s: no memory to read the archive", weights->path);
}

static pm_status open_zip(pm_weights *weights) {
    int code = 0;
    zip_error_t error;
    int fd = fcntl(weights->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return pm_fail(PM_E_IO, "%s: %s", weights->path, strerror(errno));
    errno = 0;
    weights->zip = zip_fdopen(fd, 0, &code);
    if (weights->zip) return PM_OK;
    bool memory = code == ZIP_ER_MEMORY || errno == ENOMEM;
    close(fd);
    if (memory) return no_memory(weights);
    zip_error_init_with_code(&error, code);
    pm_status status = pm_fail(
        PM_E_FORMAT, "%s: the zip archive cannot be read (%s): damaged, or the file is cut short",
        weights->path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return status;
}

/* Finds data.pkl, refuses names that are there twice: readers would disagree on which counts. */
static pm_status survey(archive *a) {
    static const char wanted[] = "data.pkl";
    pm_weights *weights = a->weights;
    bool found = false;
    errno = 0;
    zip_int64_t count = zip_get_num_entries(weights->zip, 0);
    if (count > ENTRIES_MAX)
        return pm_fail(PM_E_LIMIT, "%s: more than %d archive entries", weights->path, ENTRIES_MAX);
    for (zip_int64_t i = 0; i < count; i++) {
        const char *name = zip_get_name(weights->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (!name && short_of_memory(weights)) return no_memory(weights);
        if (!name) return pm_fail(PM_E_FORMAT, "%s: archive entry without name", weights->path);
        zip_int64_t at = zip_name_locate(weights->zip, name, ZIP_FL_ENC_RAW);
        if (at < 0 && short_of_memory(weights)) return no_memory(weights);
        if (at != i) return malformed(a, name, "is there twice");
        const char *slash = strchr(name, '/');
        const char *base = slash ? slash + 1 : name;
        if (!strcmp(base, "constants.pkl"))
            return pm_fail(PM_E_UNSUPPORTED,
                           "%s: a TorchScript program, not a checkpoint; save its state_dict()",
                           weights->path);
        if (strcmp(base, wanted) != 0) continue;
        if (found) return malformed(a, name, "a second data.pkl");
        found = true;
        a->top = name;
        a->top_size = (size_t)(base - name);
        a->pickle = (zip_uint64_t)i;
    }
    if (!found)
        return pm_fail(PM_E_FORMAT, "%s: a zip archive without data.pkl: not a PyTorch checkpoint",
                       weights->path);
    return PM_OK;
}

static pm_status check_entry(const archive *a, zip_uint64_t index, zip_stat_t *out) {
    const zip_uint64_t needed =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    zip_stat_init(out);
    if (zip_stat_index(a->weights->zip, index, 0, out) != 0 || (out->valid & needed) != needed)
        return pm_fail(PM_E_FORMAT, "%s: archive entry %" PRIu64 " has no size", a->weights->path,
                       (uint64_t)index);
    if ((out->valid & ZIP_STAT_ENCRYPTION_METHOD) && out->encryption_method != ZIP_EM_NONE)
        return malformed(a, out->name, "is encrypted");
    if (out->comp_method != ZIP_CM_STORE && out->comp_method != ZIP_CM_DEFLATE)
        return malformed(a, out->name, "is neither stored nor deflated");
    if (out->comp_size > a->weights->size_bytes)
        return malformed(a, out->name, "declares more bytes than the file has");
    bool stored = out->comp_method == ZIP_CM_STORE;
    if (stored ? out->size != out->comp_size : out->size > out->comp_size * RATIO_MAX)
        return malformed(a, out->name, "declares more bytes than it can hold");
    return PM_OK;
}

/* A whole entry, kept with the weights. */
static pm_status read_entry(const archive *a, zip_uint64_t index, uint64_t limit, uint8_t **out,
                            size_t *out_size) {
    zip_stat_t info;
    uint8_t byte;
    pm_status status = check_entry(a, index, &info);
    if (status) return status;
    if (info.size > limit)
        return pm_fail(PM_E_LIMIT, "%s: archive entry %s: %" PRIu64 " bytes, the limit is %" PRIu64,
                       a->weights->path, info.name, (uint64_t)info.size, limit);
    size_t size = (size_t)info.size, done = 0;
    uint8_t *bytes = malloc(size + 1);
    if (!bytes) return pm_fail(PM_E_MEMORY, "%s: no memory for data.pkl", a->weights->path);
    errno = 0;
    zip_file_t *file = zip_fopen_index(a->weights->zip, index, 0);
    bool memory = !file && short_of_memory(a->weights);
    while (file && done < size) {
        zip_int64_t n = zip_fread(file, bytes + done, size - done);
        if (n <= 0) break;
        done += (size_t)n;
    }
    /* The read behind the end makes libzip compare the CRC. */
    bool whole = file && done == size && zip_fread(file, &byte, 1) == 0;
    if (file && !whole)
        memory = errno == ENOMEM || zip_error_code_zip(zip_file_get_error(file)) == ZIP_ER_MEMORY;
    if (file) zip_fclose(file);
    if (!whole) {
        free(bytes);
        if (memory) return no_memory(a->weights);
        return malformed(a, info.name, "is damaged or cut short");
    }
    status = pm_weights_keep(a->weights, bytes);
    if (status) return status;
    *out = bytes;
    *out_size = size;
    return PM_OK;
}

/* -1 if there is none. */
static zip_int64_t find_entry(const archive *a, const char *folder, const uint8_t *key,
                              size_t key_size) {
    char name[NAME_MAX_BYTES];
    size_t folder_size = strlen(folder), size = a->top_size + folder_size + key_size;
    if (size >= sizeof name) return -1;
    memcpy(name, a->top, a->top_size);
    memcpy(name + a->top_size, folder, folder_size);
    if (key_size) memcpy(name + a->top_size + folder_size, key, key_size);
    name[size] = 0;
    return zip_name_locate(a->weights->zip, name, ZIP_FL_ENC_RAW);
}

static pm_status check_byte_order(const archive *a) {
    uint8_t *text = NULL;
    size_t size = 0;
    zip_int64_t index = find_entry(a, "byteorder", NULL, 0);
    if (index < 0) return PM_OK; /* older PyTorch: always little-endian */
    pm_status status = read_entry(a, (zip_uint64_t)index, 64, &text, &size);
    if (status) return status;
    if (size != 6 || memcmp(text, "little", 6) != 0)
        return pm_fail(PM_E_UNSUPPORTED, "%s: its byte order is not little-endian",
                       a->weights->path);
    return PM_OK;
}

static pm_status locate(void *user, pm_checkpoint_storage *storage) {
    const archive *a = user;
    zip_stat_t info;
    char key[80];
    pm_weights_clean(storage->key, storage->key_size, key, sizeof key);
    zip_int64_t index = find_entry(a, "data/", storage->key, storage->key_size);
    if (index < 0)
        return pm_fail(PM_E_FORMAT, "%s: archive entry data/%s is missing", a->weights->path, key);
    pm_status status = check_entry(a, (zip_uint64_t)index, &info);
    if (status) return status;
    if (info.size != storage->size_bytes)
        return pm_fail(PM_E_FORMAT,
                       "%s: archive entry data/%s has %" PRIu64 " bytes, %" PRIu64 " were declared",
                       a->weights->path, key, (uint64_t)info.size, storage->size_bytes);
    storage->place = (pm_weights_storage){.place = PM_WEIGHTS_IN_ZIP,
                                          .zip_index = (zip_uint64_t)index,
                                          .seekable = info.comp_method == ZIP_CM_STORE,
                                          .size_bytes = storage->size_bytes};
    return PM_OK;
}

pm_status pm_weights_load_zip(pm_weights *weights) {
    archive a = {.weights = weights};
    pm_checkpoint checkpoint = {0};
    pm_pickle *pickle = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    weights->format = "pytorch-zip";
    pm_status status = open_zip(weights);
    if (!status) status = survey(&a);
    if (!status) status = check_byte_order(&a);
    if (!status) status = read_entry(&a, a.pickle, PM_WEIGHTS_PICKLE_MAX, &bytes, &size);
    if (!status) status = pm_pickle_read(weights->path, bytes, size, &pickle);
    if (status) return status;
    status = pm_checkpoint_begin(&checkpoint, weights, pickle);
    checkpoint.locate = locate;
    checkpoint.user = &a;
    if (!status && pm_pickle_size(pickle) != size)
        status = pm_fail(PM_E_FORMAT, "%s: bytes behind the pickle in data.pkl", weights->path);
    if (!status) status = pm_checkpoint_fill(&checkpoint);
    pm_checkpoint_fini(&checkpoint);
    return status;
}

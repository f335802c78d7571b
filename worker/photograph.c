/* Owns the way to a photograph's bytes. Must not know what is in them. */
#include "worker/photograph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/image/image.h"

enum { PATH_BYTES = 8192 };

static bool path_is_inside(const char *path) {
    if (path[0] == '/' || path[0] == 0) return false;
    for (const char *part = path; part;) {
        const char *slash = strchr(part, '/');
        size_t length = slash ? (size_t)(slash - part) : strlen(part);
        if (length == 2 && part[0] == '.' && part[1] == '.') return false;
        part = slash ? slash + 1 : NULL;
    }
    return true;
}

/* From the data set's folder, where this host has it. PM_E_MISMATCH, PM_E_NOT_FOUND ... */
static pm_status read_shared(const pm_lease *lease, const Pm__Wire__Item *item,
                             const pm_sha256 *wanted, uint8_t **bytes, size_t *size) {
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/%s", lease->run->info->data_root, item->path);
    if (length < 0 || (size_t)length >= sizeof path)
        return pm_fail(PM_E_LIMIT, "%s: the path is too long", item->path);
    pm_status status = pm_file_read(path, PM_IMAGE_BYTES_MAX, bytes, size);
    if (status) return status;
    pm_sha256 found = pm_sha256_of(*bytes, *size);
    if (pm_sha256_equal(&found, wanted)) return PM_OK;
    free(*bytes);
    *bytes = NULL;
    return pm_fail(PM_E_MISMATCH, "%s: changed since the run was submitted", item->path);
}

static pm_status read_broker(pm_work *work, const pm_supply *supply, pm_lease *lease,
                             const Pm__Wire__Item *item, const pm_sha256 *wanted, uint8_t **bytes,
                             size_t *size) {
    if (pm_cache_get(supply->cache, wanted, item->size_bytes, bytes)) {
        *size = (size_t)item->size_bytes;
        return PM_OK;
    }
    pm_status status = pm_work_fetch(work, lease, NULL, wanted, item->size_bytes, bytes, size);
    if (!status) pm_cache_put(supply->cache, wanted, *bytes, *size);
    return status;
}

pm_status pm_photograph_read(pm_work *work, const pm_supply *supply, pm_lease *lease,
                             const Pm__Wire__Item *item, uint8_t **bytes, size_t *size) {
    char why[512] = "", broker[256];
    pm_sha256 wanted;
    memcpy(wanted.bytes, item->sha256.data, sizeof wanted.bytes);
    if (!path_is_inside(item->path))
        return pm_fail(PM_E_DENIED, "%s: leads out of the data set's folder", item->path);
    if (!supply->no_shared_paths) {
        if (read_shared(lease, item, &wanted, bytes, size) == PM_OK) return PM_OK;
        snprintf(why, sizeof why, "%s; ", pm_error_text());
    }
    pm_status status = read_broker(work, supply, lease, item, &wanted, bytes, size);
    if (status == PM_OK || status == PM_E_CANCELLED) return status;
    snprintf(broker, sizeof broker, "%s", pm_error_text());
    return pm_fail(status, "%sfrom the broker: %s", why, broker);
}

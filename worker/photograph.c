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

pm_status pm_photograph_read(pm_work *work, pm_lease *lease, const Pm__Wire__Item *item,
                             uint8_t **bytes, size_t *size) {
    char path[PATH_BYTES];
    pm_sha256 wanted;
    memcpy(wanted.bytes, item->sha256.data, sizeof wanted.bytes);
    const char *root = lease->run->info->data_root;
    if (!path_is_inside(item->path))
        return pm_fail(PM_E_DENIED, "%s: leads out of the data set's folder", item->path);
    int length = snprintf(path, sizeof path, "%s/%s", root, item->path);
    if (length > 0 && (size_t)length < sizeof path &&
        pm_file_read(path, PM_IMAGE_BYTES_MAX, bytes, size) == PM_OK) {
        pm_sha256 found = pm_sha256_of(*bytes, *size);
        if (pm_sha256_equal(&found, &wanted)) return PM_OK;
        free(*bytes);
        *bytes = NULL;
        (void)pm_fail(PM_E_MISMATCH, "%s: changed since the run was submitted", item->path);
    }
    char why[512];
    snprintf(why, sizeof why, "%s", pm_error_text());
    pm_status status = pm_work_fetch(work, lease, NULL, &wanted, item->size_bytes, bytes, size);
    if (status == PM_OK || status == PM_E_CANCELLED) return status;
    char broker[256];
    snprintf(broker, sizeof broker, "%s", pm_error_text());
    return pm_fail(status, "%s; from the broker: %s", why, broker);
}

/* Owns the thread's error line. */
#include "lib/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 1024 };
static _Thread_local char text[TEXT_BYTES];

const char *pm_status_name(pm_status status) {
    switch (status) {
    case PM_OK: return "ok";
    case PM_E_USAGE: return "usage";
    case PM_E_NOT_FOUND: return "not-found";
    case PM_E_FORMAT: return "format";
    case PM_E_UNSUPPORTED: return "unsupported";
    case PM_E_LIMIT: return "limit";
    case PM_E_MISMATCH: return "mismatch";
    case PM_E_IO: return "io";
    case PM_E_FULL: return "disk-full";
    case PM_E_MEMORY: return "memory";
    case PM_E_BUSY: return "busy";
    case PM_E_STALE: return "stale";
    case PM_E_DENIED: return "denied";
    case PM_E_PROTOCOL: return "protocol";
    case PM_E_TIMEOUT: return "timeout";
    case PM_E_CANCELLED: return "cancelled";
    case PM_E_INTERNAL: return "internal";
    }
    return "unknown";
}

pm_status pm_fail(pm_status status, const char *format, ...) {
    /* Arguments may point into `text` itself, so format aside first. */
    char line[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    memcpy(text, line, sizeof text);
    return status;
}

pm_status pm_fail_in(pm_status status, const char *format, ...) {
    char line[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    snprintf(line + used, sizeof line - used, "%s%s", text[0] ? ": " : "", text);
    memcpy(text, line, sizeof text);
    return status;
}

pm_status pm_status_of_errno(int error) {
    return error == ENOSPC || error == EDQUOT ? PM_E_FULL : PM_E_IO;
}

pm_status pm_fail_errno(int error) {
    return pm_fail(pm_status_of_errno(error), "%s",
                   error ? strerror(error) : "could not be written");
}

const char *pm_error_text(void) { return text; }

/* Owns the table from status to refusal. */
#include "broker/reasons.h"

const char *pm_reason_of(pm_status status) {
    switch (status) {
    case PM_E_USAGE: return "usage";
    case PM_E_NOT_FOUND: return "not-found";
    case PM_E_FORMAT:
    case PM_E_PROTOCOL: return "format";
    case PM_E_LIMIT:
    case PM_E_TIMEOUT: return "limit";
    case PM_E_MISMATCH: return "mismatch";
    case PM_E_FULL: return "full";
    case PM_E_BUSY: return "busy";
    case PM_E_DENIED: return "denied";
    case PM_OK:
    case PM_E_UNSUPPORTED:
    case PM_E_IO:
    case PM_E_MEMORY:
    case PM_E_STALE:
    case PM_E_CANCELLED:
    case PM_E_INTERNAL: break;
    }
    return "internal";
}

/* The stable words that a refusal is given with (docs/PROTOCOL.md). */
#ifndef PM_BROKER_REASONS_H
#define PM_BROKER_REASONS_H

#include "lib/base/status.h"

/* "usage", "not-found" ...; "internal" where the asker can do nothing about it. */
const char *pm_reason_of(pm_status status);

#endif

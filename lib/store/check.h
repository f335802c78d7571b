/* What can be told of a database file from outside, for people who wonder whether it is well. Reads
 * only; takes no lock that could be in a broker's way. */
#ifndef PM_STORE_CHECK_H
#define PM_STORE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/status.h"

typedef struct pm_database_facts {
    int application_id, schema, schema_known; /* of the file; that this program knows */
    bool ours;
    /* "wal" while a broker has it, or one died; "delete" after a clean end */
    char journal_mode[16];
    uint64_t size_bytes, wal_bytes;
    bool quick;         /* large: quick_check stood in for integrity_check */
    bool sound;         /* what it said was "ok" */
    char trouble[256];  /* its first line where it was not */
    bool links_checked; /* foreign keys; not where quick */
    uint64_t links_broken;
    int64_t last_write_ms; /* the newest wall time in it; 0: none */
    bool held;             /* by a broker */
    unsigned long holder_pid;
    char holder_host[128];
} pm_database_facts;

/* The library's, "3.40.1". */
const char *pm_store_sqlite_version(void);

/* Above `quick_bytes` only quick_check. What could not be read is the status, with *out as far as
 * it came: PM_E_NOT_FOUND, PM_E_FORMAT, PM_E_IO, PM_E_BUSY. */
pm_status pm_database_check(const char *path, uint64_t quick_bytes, pm_database_facts *out);

#endif

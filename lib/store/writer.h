/* The writer thread: owns the store, commits operations in groups, hands them back.
 *
 * Use: pm_writer_put from the loop; poll pm_writer_fd for reading; when it is readable,
 * pm_writer_take until it gives NULL, then pm_writer_look. An op that comes back with PM_OK is on
 * disk; only then may anything be acknowledged. Ops come back in the order they were put (but for
 * those that a full disk refuses, and submissions in slices, which others pass; one that a stop
 * cuts short comes back with PM_E_CANCELLED).
 *
 * Disk full: the group stays in the writer, which tries again every retry_ms; look() says PAUSED
 * and, later, RUNNING again. Submits and retries come back with PM_E_FULL meanwhile. Any other
 * failure to commit is fatal: every op comes back with PM_E_IO, look() says FAILED and the process
 * must exit without acknowledging. put, take, look and stop are for one thread. */
#ifndef PM_WRITER_H
#define PM_WRITER_H

#include "lib/store/store.h"

typedef struct pm_writer pm_writer;

typedef struct pm_writer_limits {
    size_t ops_max;   /* put and not yet taken back */
    size_t bytes_max; /* the same, in bytes of what they carry */
    size_t group_max; /* ops a transaction */
    int64_t group_us; /* how long the first op of a group waits for others */
    int64_t retry_ms; /* pause between tries on a full disk */
} pm_writer_limits;
extern const pm_writer_limits pm_writer_default_limits; /* 8192, 512 MiB, 1000, 5 ms, 1 s */

/* Takes *store and sets it NULL on success. */
pm_status pm_writer_new(pm_store **store, const pm_writer_limits *limits, pm_writer **out);

/* Hand over *op (set to NULL). PM_E_LIMIT: too much is under way, take some back first; the op
 * stays the caller's. A single op larger than bytes_max is let in when nothing else is. */
pm_status pm_writer_put(pm_writer *writer, pm_op **op);

/* Room for another op. A loop that finds none stops reading from workers. */
bool pm_writer_has_room(pm_writer *writer);

int pm_writer_fd(const pm_writer *writer); /* readable: there is something to take or to look at */
pm_op *pm_writer_take(pm_writer *writer);  /* the next finished op, the caller's; NULL: none */

typedef enum pm_writer_state {
    PM_WRITER_RUNNING,
    PM_WRITER_PAUSED,
    PM_WRITER_FAILED
} pm_writer_state;
/* Where it stands; `text` gets one line unless it is running. */
pm_writer_state pm_writer_look(pm_writer *writer, char *text, size_t size);

/* Commit what was put, end the thread, give the store back in *store. Ops that were not taken are
 * freed. PM_E_FULL or PM_E_IO: some were not committed. The store comes back in any case. */
pm_status pm_writer_stop(pm_writer **writer, pm_store **store);

#endif

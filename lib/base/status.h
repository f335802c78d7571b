/* The one error convention: every fallible function returns a pm_status; 0 is success.
 *
 * Out-pointers are written on success only. The function that finds the error calls pm_fail()
 * with one line that says what, where and what to do; the line is kept per thread and read with
 * pm_error_text() by whoever reports it. Callers pass the status up; they add context with
 * pm_fail_in() or leave the text alone. */
#ifndef PM_BASE_STATUS_H
#define PM_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pm_status {
    PM_OK = 0,
    PM_E_USAGE,       /* asked for something that does not exist or does not combine */
    PM_E_NOT_FOUND,   /* no such file, run, tensor ... */
    PM_E_FORMAT,      /* a file or message is malformed */
    PM_E_UNSUPPORTED, /* well-formed, but not handled here */
    PM_E_LIMIT,       /* over a documented limit */
    PM_E_MISMATCH,    /* two inputs do not belong together (weights and architecture, versions) */
    PM_E_IO,          /* the operating system failed a read or write */
    PM_E_FULL,        /* no space left on a device */
    PM_E_MEMORY,      /* out of memory */
    PM_E_BUSY,        /* held by another process */
    PM_E_STALE,       /* a lease token or task position that is no longer current */
    PM_E_DENIED,      /* the peer's role does not allow it */
    PM_E_PROTOCOL,    /* the peer broke the protocol */
    PM_E_TIMEOUT,
    PM_E_CANCELLED,
    PM_E_INTERNAL /* our bug */
} pm_status;

/* Short name, e.g. "format". Never NULL. */
const char *pm_status_name(pm_status status);

/* Record the error line of this thread and return `status`. Longer than 1023 bytes is cut. */
__attribute__((format(printf, 2, 3))) pm_status pm_fail(pm_status status, const char *format, ...);

/* Put "context: " in front of the recorded line and return `status`. */
__attribute__((format(printf, 2, 3))) pm_status pm_fail_in(pm_status status, const char *format,
                                                           ...);

/* What a system call that failed with `error` (of errno) makes of what was to be done: PM_E_FULL
 * for ENOSPC and EDQUOT, else PM_E_IO. Records nothing. */
pm_status pm_status_of_errno(int error);
/* The system's text of `error` alone, with that status: from who does not know what it was done to,
 * for one who puts that in front (pm_fail_in). 0: the reason is lost, PM_E_IO. */
pm_status pm_fail_errno(int error);

/* The line recorded last on this thread; "" if none. Valid until the next pm_fail on it. */
const char *pm_error_text(void);

#ifdef __cplusplus
}
#endif
#endif

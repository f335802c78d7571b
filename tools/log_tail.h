/* The log file that broker and workers of one command write to. */
#ifndef PM_TOOLS_LOG_TAIL_H
#define PM_TOOLS_LOG_TAIL_H

#include <stddef.h>

/* Bytes; 0 where there is none. */
long pm_log_tail_size(const char *path);
/* Put a log that has grown large aside as PATH.old. */
void pm_log_tail_rotate(const char *path);
/* The line behind `from` that says best why a program ended: the last "PROGRAM: ..." line, else
 * the last line at level error, else the last line; "" where there is none. */
void pm_log_tail_last(const char *path, long from, const char *program, char *out, size_t size);

#endif

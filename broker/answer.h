/* The process that answers one question in SQL, and what it says to the broker.
 *
 * The broker starts itself anew (--answer) with the question in a sealed memory file and a pipe
 * for what comes out: records of a head, a control frame and a bulk frame, which go on to the
 * client as they are. A process of its own, because SQL of strangers may take all the memory or
 * hit a defect of SQLite: neither is the queue's end. */
#ifndef PM_BROKER_ANSWER_H
#define PM_BROKER_ANSWER_H

#include <stdint.h>

enum {
    PM_ANSWER_QUESTION_FD = 3, /* read from its start: a record whose control is the Query */
    PM_ANSWER_PIPE_FD = 4,
    PM_ANSWER_CONTROL_BYTES_MAX = 4 << 20,
    PM_ANSWER_BULK_BYTES_MAX = 70 << 20
};

typedef struct pm_answer_head {
    uint32_t control_bytes, bulk_bytes;
} pm_answer_head;

/* Run the question on the database and write the answer; an exit code. */
int pm_answer_run(const char *db);

#endif

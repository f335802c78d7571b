/* Inside the trace: the tale as it is kept. */
#ifndef TESTS_CAMPAIGN_TRACE_H
#define TESTS_CAMPAIGN_TRACE_H

#include "tests/campaign/shim_vfs.h"
#include "tests/campaign/trace_vfs.h"

enum { TRACE_NODES = 64, TRACE_SECTOR = 512 };

typedef enum event_kind {
    EVENT_CREATE,
    EVENT_UNLINK,
    EVENT_WRITE,
    EVENT_TRUNCATE,
    EVENT_SYNC,
    EVENT_DIR_SYNC,
    EVENT_FACTS
} event_kind;

typedef struct event {
    event_kind kind;
    size_t node;    /* which file */
    int64_t offset; /* WRITE: where; TRUNCATE: the size */
    size_t size;
    uint8_t *bytes; /* WRITE: [size]; FACTS: a facts */
} event;

/* One life of a file: a name made again is another node. */
typedef struct file_node {
    char name[32];
    bool linked;
    bool dir_sync; /* its name is not on disk before its first sync */
} file_node;

struct trace {
    bool lies; /* says that it synced */
    size_t event_count, event_capacity, node_count, answer_count;
    event *events;
    file_node nodes[TRACE_NODES];
};

#endif

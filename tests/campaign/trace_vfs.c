/* Owns the recording; what a power cut leaves of it is in trace_cut.c. */
#include <stdlib.h>
#include <string.h>

#include "tests/campaign/trace.h"

static event *add(trace *t, event_kind kind, size_t node) {
    if (t->event_count == t->event_capacity) {
        size_t capacity = t->event_capacity ? 2 * t->event_capacity : 1024;
        event *more = realloc(t->events, capacity * sizeof *more);
        if (!more) abort();
        t->events = more;
        t->event_capacity = capacity;
    }
    event *e = &t->events[t->event_count++];
    *e = (event){.kind = kind, .node = node};
    return e;
}

static void *copy(const void *bytes, size_t size) {
    void *out = malloc(size);
    if (!out) abort();
    return memcpy(out, bytes, size);
}

static const char *name_of(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "unnamed";
}

static size_t linked_node(const trace *t, const char *path) {
    for (size_t n = t->node_count; n-- > 0;)
        if (t->nodes[n].linked && strcmp(t->nodes[n].name, name_of(path)) == 0) return n;
    return SIZE_MAX;
}

static void opened(trace *t, const shim_call *call) {
    size_t n = linked_node(t, call->path);
    if (n == SIZE_MAX) {
        if (t->node_count == TRACE_NODES) abort();
        n = t->node_count++;
        t->nodes[n] = (file_node){.linked = true};
        strncpy(t->nodes[n].name, name_of(call->path), sizeof t->nodes[n].name - 1);
        t->nodes[n].dir_sync = (call->flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) &&
                               (call->flags & SQLITE_OPEN_CREATE);
        add(t, EVENT_CREATE, n);
    }
    *call->file = n;
}

static void synced(trace *t, size_t n) {
    if (t->lies) return;
    add(t, EVENT_SYNC, n);
    if (t->nodes[n].dir_sync) add(t, EVENT_DIR_SYNC, n);
    t->nodes[n].dir_sync = false;
}

static void removed(trace *t, const shim_call *call) {
    size_t n = linked_node(t, call->path);
    if (n == SIZE_MAX) return;
    t->nodes[n].linked = false;
    add(t, EVENT_UNLINK, n);
    if (call->flags && !t->lies) add(t, EVENT_DIR_SYNC, n);
}

static void after(void *user, const shim_call *call) {
    trace *t = user;
    event *e;
    switch (call->kind) {
    case SHIM_OPEN: opened(t, call); break;
    case SHIM_WRITE:
        e = add(t, EVENT_WRITE, *call->file);
        e->offset = call->offset;
        e->size = call->size;
        e->bytes = copy(call->bytes, call->size);
        break;
    case SHIM_TRUNCATE: add(t, EVENT_TRUNCATE, *call->file)->offset = call->offset; break;
    case SHIM_SYNC: synced(t, *call->file); break;
    case SHIM_DELETE: removed(t, call); break;
    case SHIM_READ:
    case SHIM_LOCK:
    case SHIM_SHM_MAP:
    case SHIM_SHM_LOCK: break;
    }
}

pm_status trace_begin(bool lies, trace **out) {
    trace *t = calloc(1, sizeof *t);
    if (!t) return pm_fail(PM_E_MEMORY, "no memory for a trace");
    t->lies = lies;
    const facts none = {.runs = {RUN_UNKNOWN}};
    trace_tell(t, &none);
    const shim_hooks hooks = {.user = t, .after = after};
    shim_begin(&hooks);
    *out = t;
    return PM_OK;
}

void trace_end(trace *t) {
    (void)t;
    shim_end();
}

void trace_free(trace **out) {
    trace *t = *out;
    *out = NULL;
    if (!t) return;
    for (size_t i = 0; i < t->event_count; i++) free(t->events[i].bytes);
    free(t->events);
    free(t);
}

void trace_tell(trace *t, const facts *now) {
    add(t, EVENT_FACTS, SIZE_MAX)->bytes = copy(now, sizeof *now);
    t->answer_count++;
}

size_t trace_length(const trace *t) { return t->event_count; }
size_t trace_answers(const trace *t) { return t->answer_count; }

size_t trace_answer(const trace *t, size_t n) {
    for (size_t i = 0; i < t->event_count; i++)
        if (t->events[i].kind == EVENT_FACTS && n-- == 0) return i + 1;
    return t->event_count;
}

const facts *trace_facts(const trace *t, size_t place) {
    while (place-- > 0)
        if (t->events[place].kind == EVENT_FACTS) return (const facts *)t->events[place].bytes;
    static const facts none; /* in front of the first answer */
    return &none;
}

/* Owns the watch over jansson's allocations. */
#include "lib/spec/json.h"

#include <pthread.h>
#include <stdbool.h>

static _Thread_local bool failed;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static json_malloc_t next_malloc;
static json_free_t next_free;

static void *watched_malloc(size_t size) {
    void *out = next_malloc(size);
    if (!out) failed = true;
    return out;
}

/* Around whatever this process has put there. */
static void watch(void) {
    json_get_alloc_funcs(&next_malloc, &next_free);
    json_set_alloc_funcs(watched_malloc, next_free);
}

pm_status pm_json_load(const char *text, size_t size, size_t flags, json_t **out,
                       json_error_t *error) {
    pthread_once(&once, watch);
    failed = false;
    json_t *made = json_loadb(text, size, flags, error);
    if (failed) {
        json_decref(made);
        return PM_E_MEMORY;
    }
    if (!made) return PM_E_FORMAT;
    *out = made;
    return PM_OK;
}

/* Owns malloc; see oom_alloc.h. */
#include "tests/campaign/oom_alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static _Thread_local struct {
    bool on, for_good, met;
    uint64_t left;
} armed;
static atomic_long live;

void oom_arm(uint64_t n, bool for_good) {
    armed.left = n;
    armed.for_good = for_good;
    armed.met = false;
    armed.on = true;
}

bool oom_disarm(void) {
    armed.on = false;
    return armed.met;
}

#ifdef OOM_WRAPPED
int64_t oom_live(void) { return 0; }
#else
int64_t oom_live(void) { return atomic_load(&live); }
#endif

static bool fails(void) {
    if (!armed.on) return false;
    if (armed.left > 0) armed.left--;
    if (armed.left > 0 || (armed.met && !armed.for_good)) return false;
    armed.met = true;
    errno = ENOMEM;
    return true;
}

#ifdef OOM_WRAPPED
#define HOOK(name) __wrap_##name
#define REAL(name) __real_##name
#else
#define HOOK(name) name
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *old, size_t size);
void *HOOK(malloc)(size_t size);
void *HOOK(calloc)(size_t count, size_t size);
void *HOOK(realloc)(void *old, size_t size);

void *HOOK(malloc)(size_t size) {
    void *out = fails() ? NULL : REAL(malloc)(size);
    if (out) atomic_fetch_add(&live, 1);
    return out;
}

void *HOOK(calloc)(size_t count, size_t size) {
    void *out = fails() ? NULL : REAL(calloc)(count, size);
    if (out) atomic_fetch_add(&live, 1);
    return out;
}

void *HOOK(realloc)(void *old, size_t size) {
    void *out = fails() ? NULL : REAL(realloc)(old, size);
    if (out && !old) atomic_fetch_add(&live, 1);
    if (old && !out && size == 0) atomic_fetch_sub(&live, 1);
    return out;
}

#ifdef OOM_WRAPPED

/* Their mallocs are the C library's. */
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
char *__wrap_strdup(const char *text) { return fails() ? NULL : __real_strdup(text); }
char *__wrap_strndup(const char *text, size_t size) {
    return fails() ? NULL : __real_strndup(text, size);
}

#else

void __libc_free(void *block);
void *__libc_memalign(size_t alignment, size_t size);
void free(void *block);
void *aligned_alloc(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);

void free(void *block) {
    if (block) atomic_fetch_sub(&live, 1);
    __libc_free(block);
}

void *aligned_alloc(size_t alignment, size_t size) {
    void *out = fails() ? NULL : __libc_memalign(alignment, size);
    if (out) atomic_fetch_add(&live, 1);
    return out;
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    void *block = aligned_alloc(alignment, size);
    if (!block) return ENOMEM;
    *out = block;
    return 0;
}

#endif

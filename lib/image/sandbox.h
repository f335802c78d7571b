/* Inside lib/image: what a decoder's two sides share. The parent makes a socket pair and one piece
 * of shared memory of fixed, sealed size; the child finds them as the descriptors below. The
 * parent writes a file into the first part of the memory and sends a request; the child writes
 * pixels into the second part and sends a reply. One request, one reply, which repeats the
 * request's number. The parent believes no word of the child: numbers and sizes are checked, text
 * is cleaned, pixels may have any value. */
#ifndef PM_IMAGE_SANDBOX_H
#define PM_IMAGE_SANDBOX_H

#include <stdbool.h>

#include "lib/image/decoder.h"

enum {
    PM_SANDBOX_SOCKET = 3,
    PM_SANDBOX_MEMORY = 4,
    PM_SANDBOX_TEXT_BYTES = 400,
    PM_SANDBOX_EXIT_MEMORY = 40 /* an allocation failed where GLib knows no way on */
};

/* argv[0] of a decoder. */
#define PM_SANDBOX_NAME "parchmill-decoder"

/* Pixels: the largest photograph, behind others that were decoded before it. */
#define PM_SANDBOX_PIXELS_AT PM_DECODER_FILE_BYTES_MAX
#define PM_SANDBOX_PIXELS_BYTES (((size_t)65 << 20) + (size_t)300000000)
#define PM_SANDBOX_MEMORY_BYTES (PM_SANDBOX_PIXELS_AT + PM_SANDBOX_PIXELS_BYTES)

typedef struct pm_sandbox_request {
    uint64_t number;     /* from 1, of no other request of this decoder */
    uint64_t size_bytes; /* of the file */
    uint64_t pixels_at;  /* from PM_SANDBOX_PIXELS_AT */
    uint64_t side_max, pixels_max;
    uint32_t cpu_s;
} pm_sandbox_request;

/* Also the child's first word, once it is shut in: number 0, and width tells if it has namespaces.
 */
typedef struct pm_sandbox_reply {
    uint64_t number; /* of the request */
    uint32_t status; /* pm_status */
    uint64_t width, height;
    int64_t cpu_us;
    char text[PM_SANDBOX_TEXT_BYTES]; /* of a failure: ": what" */
} pm_sandbox_reply;

/* The child, from start to end. `memory_bytes` as in pm_decoder_limits. */
_Noreturn void pm_sandbox_child(pid_t parent, size_t memory_bytes);

/* Shut this process in for good, `memory`: how much more it may map. Call before any thread is
 * made (_begin) and after everything was opened and warmed up (_end). *namespaces tells if it is
 * also in namespaces of its own. PM_E_UNSUPPORTED, PM_E_IO. */
void pm_sandbox_begin(bool *namespaces);
pm_status pm_sandbox_end(size_t memory_bytes, bool *namespaces);

#endif

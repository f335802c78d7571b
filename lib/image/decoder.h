/* Decoding in a process of its own, where a photograph can do no harm: no files, no network, no
 * other process, bounded memory, processor and wall time (docs/ARCHITECTURE.md, Security).
 *
 * Use: pm_decoder_main first thing in main; then pm_decoder_new -> pm_decoder_decode as often as
 * wanted, pm_decoder_forget between -> pm_decoder_free, all of one decoder by one thread at a time.
 *
 * What a photograph does to its decoder costs that photograph and nothing else: the process is
 * started anew, the photograph tried once more there, and then it is an error. A SIGKILL that was
 * not ours says nothing about the photograph: it is tried again, with back-off, eight times in all.
 */
#ifndef PM_IMAGE_DECODER_H
#define PM_IMAGE_DECODER_H

#include <sys/types.h>

#include "lib/image/image.h"

typedef struct pm_decoder pm_decoder;

typedef struct pm_decoder_limits {
    size_t memory_bytes; /* on top of what a decoder at rest has mapped */
    unsigned cpu_s;      /* processor time for one photograph */
    unsigned wall_ms;    /* and wall time */
    unsigned pause_ms;   /* before it is started anew: doubled each time, up to 200 times as much */
} pm_decoder_limits;
/* Enough for the largest photographs that pm_image_default_limits lets in. */
extern const pm_decoder_limits pm_decoder_default_limits;

/* The longest file that is decoded. */
#define PM_DECODER_FILE_BYTES_MAX ((size_t)256 << 20)

/* Does not return where this process was started to be a decoder: a decoder is this program anew.
 * Without this call there are no decoders. */
void pm_decoder_main(int argc, char **argv);

/* Starts the process and does not wait for it. `limits` NULL: the default ones. PM_E_IO. */
pm_status pm_decoder_new(const pm_decoder_limits *limits, pm_decoder **out);
void pm_decoder_free(pm_decoder **decoder);
/* `beat`, or NULL: called several times a second by whoever waits for a decoder. */
void pm_decoder_set_beat(pm_decoder *decoder, void (*beat)(void *user), void *user);
/* Wait until the process is ready: PM_E_UNSUPPORTED where it cannot be shut in, PM_E_IO. */
pm_status pm_decoder_ready(pm_decoder *decoder);

/* As pm_image_decode. out->rgb belongs to the decoder and is there until pm_decoder_forget. Also:
 * PM_E_INTERNAL (the decoder crashed on it, twice), PM_E_DENIED (it asked for what is forbidden),
 * PM_E_MEMORY and PM_E_TIMEOUT (it took more than the limits). PM_E_IO says nothing about the
 * photograph: there is no decoder to be had, or it is killed from outside again and again. */
pm_status pm_decoder_decode(pm_decoder *decoder, const char *name, const void *bytes, size_t size,
                            const pm_image_limits *limits, pm_image *out);
/* The pixels of all photographs decoded so far are no longer needed. */
void pm_decoder_forget(pm_decoder *decoder);

/* For one photograph: a decoder, for as long as it takes. out->rgb is from malloc. */
pm_status pm_decoder_decode_one(const char *name, const void *bytes, size_t size,
                                const pm_image_limits *limits, pm_image *out);

/* Processor time of the last photograph that was answered for. */
int64_t pm_decoder_spent_us(const pm_decoder *decoder);
/* The process, for tests; 0: none. */
pid_t pm_decoder_pid(const pm_decoder *decoder);

#endif

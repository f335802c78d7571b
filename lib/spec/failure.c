/* Owns the advice for each failure. See failure.h. */
#include "lib/spec/failure.h"

#include <stddef.h>
#include <string.h>

typedef struct advice {
    const char *stage, *reason; /* NULL: any */
    const char *hint;
} advice;

/* The first that fits; each stage ends with what fits all. */
static const advice table[] = {
    {"fetch", "missing",
     "neither this worker's disk nor the broker has the file: put it back, or submit again"},
    {"fetch", "changed", "the file changed since the run was submitted: submit again"},
    {"fetch", "mismatch", "the file changed since the run was submitted: submit again"},
    {"fetch", "denied",
     "a path must not lead out of the data set's folder: move the file in, and submit again"},
    {"fetch", "limit", "the file is larger than 256 MB: export it smaller"},
    {"fetch", "memory", "the worker's machine was out of memory: fewer --threads, then retry"},
    {"fetch", "timeout", "the broker did not send the file in time: retry"},
    {"fetch", NULL, "the file could not be read: check disk and network, then retry"},
    {"decode", "format",
     "the file is damaged or no photograph: export it again as RGB JPEG or PNG"},
    {"decode", "unsupported", "convert it to JPEG, PNG or WebP with 8 or 16 bits a channel"},
    {"decode", "limit", "scale it to at most 16,384 pixels a side and 100 megapixels"},
    {"decode", "memory",
     "its decoder ran out of memory: export it again, without metadata and not interlaced"},
    {"decode", "time", "decoding took too long: export it again as RGB JPEG"},
    {"decode", "crash", "the file crashes the decoder: do not trust it; export it again"},
    {"decode", "forbidden",
     "the file makes the decoder do what no photograph does: do not trust it; leave it out"},
    {"decode", NULL, "the file cannot be decoded: export it again as RGB JPEG"},
    {"preprocess", "memory", "the worker's machine was out of memory: fewer --threads, then retry"},
    {"preprocess", NULL, "the photograph does not fit --resize, --crop or --input: check them"},
    {"compute", "not-finite",
     "the network overflows on this photograph: check weights, --mean and --std"},
    {"compute", "target-range", "the label is no class of the network: correct labels.csv"},
    {"compute", "no-statistics", "the mask needs statistics: parchmill stats, then --stats"},
    {"compute", "configuration", "the configuration does not fit the network: correct its options"},
    {"compute", "memory", "the worker's machine was out of memory: fewer --threads, then retry"},
    {"compute", "mismatch",
     "weights, statistics and architecture do not belong together: correct the options"},
    {"compute", NULL, "correct what the text says, then retry"},
    {"crash", "hang", "three workers hung on it alone: report it with the file; retry tries again"},
    {"crash", "memory",
     "three workers ran out of memory on it alone: a machine with more memory, then retry"},
    {"crash", "record",
     "what three workers gave for it cannot be recorded; the broker's log says why: report it"},
    {"crash", NULL,
     "three workers crashed on it alone: report it with the file; retry tries again"},
    {NULL, NULL, "parchmill retry computes it again"}};

static int fits(const char *wanted, const char *found) {
    return !wanted || (found && strcmp(wanted, found) == 0);
}

const char *pm_failure_hint(const char *stage, const char *reason) {
    size_t i = 0;
    while (!fits(table[i].stage, stage) || !fits(table[i].reason, reason)) i++;
    return table[i].hint;
}

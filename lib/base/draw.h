/* Random numbers that depend on nothing but what they are for: a seed, an image, a use and a count.
 * Any worker on any machine, at any time, in any order, draws the same.
 *
 * A stream is the ChaCha20 key stream (RFC 8439, by libsodium) read as 64-bit little-endian words.
 * Key: SHA-256 of "parchmill draw 1", the seed as 8 bytes LE, the image's SHA-256. Nonce: the use
 * as 4 bytes LE, the draw's index as 8 bytes LE. The block counter starts at 0. */
#ifndef PM_BASE_DRAW_H
#define PM_BASE_DRAW_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"

/* Part of the stream's definition: never renumber. */
typedef enum pm_draw_use {
    PM_DRAW_METHOD = 0,  /* the noise of smoothgrad and vargrad */
    PM_DRAW_INPUT = 1,   /* what is done to the photograph: jigsaw, noise */
    PM_DRAW_REPLACE = 2, /* the noise in place of pixels that an evaluation takes away */
    PM_DRAW_WEIGHTS = 3  /* a layer's weights anew; for "image" the hash of the tensor's name */
} pm_draw_use;

enum { PM_DRAW_BUFFER_BYTES = 1024 };

/* Fill with pm_draw_begin. At most 2^38 bytes, 2^35 words, come out of one. */
typedef struct pm_draw {
    uint8_t key[32], nonce[12];
    uint32_t block; /* the next to be made, of 64 bytes */
    size_t used;    /* bytes of the buffer that are gone */
    uint8_t buffer[PM_DRAW_BUFFER_BYTES];
} pm_draw;

void pm_draw_begin(pm_draw *stream, uint64_t seed, const pm_sha256 *image, pm_draw_use use,
                   uint64_t draw);

uint64_t pm_draw_word(pm_draw *stream);

/* Uniform in 0 .. n - 1, n > 0, without bias: words from the largest multiple of n that fits 64
 * bits on are passed over; the rest is taken modulo n. */
uint64_t pm_draw_below(pm_draw *stream, uint64_t n);

/* Standard normal: pm_real_normal((w + 1/2) 2^-52) of each word's upper 52 bits w, as float. */
void pm_draw_normal(pm_draw *stream, float *out, size_t count);

/* What draws the noise of smoothgrad and vargrad: shaped so that the engine can call it. */
typedef struct pm_noise {
    uint64_t seed;
    pm_sha256 image;
    size_t count; /* numbers of one draw */
} pm_noise;

/* pm_normal_draw by a pm_noise. */
void pm_noise_draw(void *noise, size_t draw, float *out);

/* The first `count` normals of stream (seed, image, PM_DRAW_METHOD, draw). */
void pm_normal_draw(uint64_t seed, const pm_sha256 *image, uint64_t draw, float *out, size_t count);

#endif

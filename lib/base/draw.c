/* Owns the streams of reproducible random numbers. Knows no method and no picture. */
#include "lib/base/draw.h"

#include <sodium.h>
#include <string.h>

#include "lib/base/real.h"

_Static_assert(sizeof((pm_draw *)0)->key == crypto_stream_chacha20_ietf_KEYBYTES, "key");
_Static_assert(sizeof((pm_draw *)0)->nonce == crypto_stream_chacha20_ietf_NONCEBYTES, "nonce");

static void put_little(uint8_t *out, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) out[i] = (uint8_t)(value >> (8 * i));
}

void pm_draw_begin(pm_draw *stream, uint64_t seed, const pm_sha256 *image, pm_draw_use use,
                   uint64_t draw) {
    static const char name[] = "parchmill draw 1";
    uint8_t number[8];
    pm_sha256_stream hash;
    put_little(number, seed, sizeof number);
    pm_sha256_begin(&hash);
    pm_sha256_update(&hash, name, sizeof name - 1);
    pm_sha256_update(&hash, number, sizeof number);
    pm_sha256_update(&hash, image->bytes, sizeof image->bytes);
    pm_sha256 key = pm_sha256_end(&hash);
    memcpy(stream->key, key.bytes, sizeof stream->key);
    put_little(stream->nonce, (uint64_t)use, 4);
    put_little(stream->nonce + 4, draw, 8);
    stream->block = 0;
    stream->used = sizeof stream->buffer;
}

static void refill(pm_draw *stream) {
    memset(stream->buffer, 0, sizeof stream->buffer);
    crypto_stream_chacha20_ietf_xor_ic(stream->buffer, stream->buffer, sizeof stream->buffer,
                                       stream->nonce, stream->block, stream->key);
    stream->block += PM_DRAW_BUFFER_BYTES / 64;
    stream->used = 0;
}

uint64_t pm_draw_word(pm_draw *stream) {
    if (stream->used == sizeof stream->buffer) refill(stream);
    const uint8_t *p = stream->buffer + stream->used;
    uint64_t word = 0;
    for (size_t i = 0; i < 8; i++) word |= (uint64_t)p[i] << (8 * i);
    stream->used += 8;
    return word;
}

uint64_t pm_draw_below(pm_draw *stream, uint64_t n) {
    uint64_t rest = (UINT64_MAX % n + 1) % n; /* 2^64 modulo n */
    uint64_t word;
    do word = pm_draw_word(stream);
    while (word > UINT64_MAX - rest);
    return word % n;
}

void pm_draw_normal(pm_draw *stream, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t w = pm_draw_word(stream) >> 12;
        out[i] = (float)pm_real_normal(((double)w + 0.5) * 0x1p-52);
    }
}

void pm_normal_draw(uint64_t seed, const pm_sha256 *image, uint64_t draw, float *out,
                    size_t count) {
    pm_draw stream;
    pm_draw_begin(&stream, seed, image, PM_DRAW_METHOD, draw);
    pm_draw_normal(&stream, out, count);
}

void pm_noise_draw(void *noise, size_t draw, float *out) {
    const pm_noise *n = noise;
    pm_normal_draw(n->seed, &n->image, draw, out, n->count);
}

/* lib/image: bad files are refused with one line that names them, whatever they hold. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/random.h"
#include "lib/image/image.h"
#include "tests/image/image_files.h"

static pm_status try_decode(const char *name, const void *data, size_t size) {
    pm_image image = {0};
    /* A copy of exactly this size, so that a read beyond it is seen. */
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size) memcpy(copy, data, size);
    pm_status status = pm_image_decode(name, copy, size, NULL, &image);
    if (status) {
        assert_null(image.rgb);
        assert_null(strchr(pm_error_text(), '\n'));
        assert_int_equal(strncmp(pm_error_text(), name, strlen(name)), 0);
    }
    pm_image_fini(&image);
    free(copy);
    return status;
}

static void truncation_is_an_error_at_every_length(void **state) {
    (void)state;
    /* A PNG may lack its last chunk: the pixels are all there, and Pillow takes it, too. */
    static const struct {
        const char *file;
        size_t spare;
    } cases[] = {{"yuv420.jpg", 0}, {"progressive.jpg", 0}, {"cmyk.jpg", 0},
                 {"rgb.png", 12},   {"interlaced.png", 12}, {"palette4_trns.png", 12},
                 {"lossy.webp", 0}, {"lossless.webp", 0},   {"two_frames.webp", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        file_bytes file = read_vector(cases[i].file);
        for (size_t n = 0; n + cases[i].spare < file.size; n += n < 64 ? 1 : 37)
            if (try_decode(cases[i].file, file.data, n) != PM_E_FORMAT)
                fail_msg("%s cut to %zu bytes is not an error", cases[i].file, n);
        free(file.data);
    }
}

static void damaged_bytes_never_crash(void **state) {
    (void)state;
    static const char *const files[] = {"yuv420.jpg",     "progressive.jpg",  "palette_trns.png",
                                        "interlaced.png", "lossy_alpha.webp", "lossless.webp"};
    uint64_t draw = 1;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        file_bytes file = read_vector(files[i]);
        for (int round = 0; round < 60; round++) {
            uint8_t *copy = malloc(file.size);
            assert_non_null(copy);
            memcpy(copy, file.data, file.size);
            for (int hit = 0; hit < 4; hit++) {
                uint64_t r = pm_splitmix64(draw++);
                copy[r % file.size] = (uint8_t)(r >> 40);
            }
            (void)try_decode(files[i], copy, file.size);
            free(copy);
        }
        free(file.data);
    }
}

static void text_noise_and_nothing_are_not_images(void **state) {
    (void)state;
    uint8_t noise[512];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)pm_splitmix64(i);
    assert_int_equal(try_decode("notes.jpg", "Not a photograph.\n", 18), PM_E_FORMAT);
    assert_string_equal(pm_error_text(), "notes.jpg: not a JPEG, PNG or WebP image");
    assert_int_equal(try_decode("empty.jpg", "", 0), PM_E_FORMAT);
    assert_int_equal(try_decode("noise.png", noise, sizeof noise), PM_E_FORMAT);
    memcpy(noise, "\xff\xd8\xff", 3);
    assert_int_equal(try_decode("noise.jpg", noise, sizeof noise), PM_E_FORMAT);
    memcpy(noise, "\x89PNG\r\n\x1a\n", 8);
    assert_int_equal(try_decode("noise.png", noise, sizeof noise), PM_E_FORMAT);
    memcpy(noise, "RIFF\xf8\x01\x00\x00WEBP", 12);
    assert_int_equal(try_decode("noise.webp", noise, sizeof noise), PM_E_FORMAT);
}

static void other_formats_are_refused_by_name(void **state) {
    (void)state;
    assert_int_equal(try_decode("a.jpg", "GIF89a\1\0\1\0\0\0\0;", 14), PM_E_UNSUPPORTED);
    assert_non_null(strstr(pm_error_text(), "GIF"));
    assert_int_equal(try_decode("a.png", "II*\0\10\0\0\0", 8), PM_E_UNSUPPORTED);
    assert_non_null(strstr(pm_error_text(), "TIFF"));
}

/* The header of a PNG, `side` pixels a side, with a valid checksum (CRC-32, ISO 3309). */
static size_t giant_png(uint32_t side, uint8_t interlace, uint8_t out[64]) {
    uint8_t head[] = {'I', 'H', 'D', 'R', 0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, interlace};
    for (int i = 0; i < 4; i++) head[4 + i] = head[8 + i] = (uint8_t)(side >> (24 - 8 * i));
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < sizeof head; i++) {
        crc ^= head[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
    }
    crc ^= 0xffffffffu;
    memcpy(out, "\x89PNG\r\n\x1a\n\0\0\0\x0d", 12);
    memcpy(out + 12, head, sizeof head);
    for (int i = 0; i < 4; i++) out[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    memcpy(out + 33, "\0\0\x10\0IDAT\x78\x9c\0\0\0\0", 14);
    return 47;
}

static void a_giant_is_refused_by_its_header(void **state) {
    (void)state;
    uint8_t file[64];
    for (uint8_t interlace = 0; interlace < 2; interlace++) {
        size_t size = giant_png(30000, interlace, file);
        assert_int_equal(try_decode("giant.png", file, size), PM_E_LIMIT);
        assert_non_null(strstr(pm_error_text(), "30000 x 30000"));
    }
    size_t size = giant_png(12000, 0, file); /* sides within the limit, the area is not */
    assert_int_equal(try_decode("giant.png", file, size), PM_E_LIMIT);
}

static void put(uint8_t *at, const char *bytes, size_t count) { memcpy(at, bytes, count); }

/* Real files whose headers claim more pixels than are let in; nothing is decoded of them. */
static void a_giant_of_any_kind_is_refused_by_its_header(void **state) {
    (void)state;
    file_bytes jpeg = read_vector("yuv420.jpg"), lossy = read_vector("lossy.webp"),
               lossless = read_vector("lossless.webp"), animated = read_vector("two_frames.webp");
    /* SOF0, ITU T.81 B.2.2: marker, length, precision, height and width of 16 bits each. */
    uint8_t *sof = memmem(jpeg.data, jpeg.size, "\xff\xc0\0\x11\x08", 5);
    assert_non_null(sof);
    put(sof + 5, "\xff\xdc\xff\xdc", 4);
    assert_int_equal(try_decode("jpeg", jpeg.data, jpeg.size), PM_E_LIMIT);
    assert_non_null(strstr(pm_error_text(), "65500 x 65500"));
    /* Two of 14 bits behind the start code (RFC 6386, 9.1), and in VP8L's first bits (RFC 9649). */
    put(lossy.data + 26, "\xff\x3f\xff\x3f", 4);
    assert_int_equal(try_decode("lossy", lossy.data, lossy.size), PM_E_LIMIT);
    assert_non_null(strstr(pm_error_text(), "16383 x 16383"));
    put(lossless.data + 21, "\xfe\xbf\xff\x0f", 4);
    assert_int_equal(try_decode("lossless", lossless.data, lossless.size), PM_E_LIMIT);
    assert_non_null(strstr(pm_error_text(), "16383 x 16383"));
    /* The canvas of VP8X, 24 bits each, less one. */
    put(animated.data + 24, "\xfe\x3f\x00\xfe\x3f\x00", 6);
    assert_int_equal(try_decode("animated", animated.data, animated.size), PM_E_LIMIT);
    assert_non_null(strstr(pm_error_text(), "16383 x 16383"));
    free(jpeg.data);
    free(lossy.data);
    free(lossless.data);
    free(animated.data);
}

static void limits_can_be_set(void **state) {
    (void)state;
    pm_image image = {0};
    file_bytes file = read_vector("rgb.png");
    pm_image_limits limits = {.side_max = 61, .pixels_max = 61 * 43 - 1};
    assert_int_equal(pm_image_decode("a", file.data, file.size, &limits, &image), PM_E_LIMIT);
    limits.pixels_max++;
    assert_int_equal(pm_image_decode("a", file.data, file.size, &limits, &image), PM_OK);
    pm_image_fini(&image);
    limits.side_max--;
    assert_int_equal(pm_image_decode("a", file.data, file.size, &limits, &image), PM_E_LIMIT);
    free(file.data);
}

/* Files of a few kinds, cut short: each thread must read of its own file's damage and no other. */
static const char *const shared_files[] = {"yuv420.jpg", "rgb.png", "lossy.webp"};

typedef struct thread_part {
    file_bytes file;
    const char *name;
    char alone[256];
    int wrong;
} thread_part;

static void *decode_often(void *argument) {
    thread_part *part = argument;
    for (int i = 0; i < 1000; i++) {
        pm_image image = {0};
        pm_status status =
            pm_image_decode(part->name, part->file.data, part->file.size / 2, NULL, &image);
        if (status != PM_E_FORMAT || strcmp(pm_error_text(), part->alone) != 0) part->wrong++;
        if (i % 50) continue;
        status = pm_image_decode(part->name, part->file.data, part->file.size, NULL, &image);
        if (status != PM_OK) part->wrong++;
        pm_image_fini(&image);
    }
    return NULL;
}

static void threads_get_the_errors_of_their_own_image(void **state) {
    (void)state;
    pthread_t threads[3];
    thread_part parts[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        parts[i].name = shared_files[i];
        parts[i].file = read_vector(shared_files[i]);
        assert_int_equal(try_decode(parts[i].name, parts[i].file.data, parts[i].file.size / 2),
                         PM_E_FORMAT);
        snprintf(parts[i].alone, sizeof parts[i].alone, "%s", pm_error_text());
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decode_often, &parts[i]), 0);
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(parts[i].wrong, 0);
        free(parts[i].file.data);
    }
}

static int setup(void **state) {
    (void)state;
    return pm_image_setup("damage_test") == PM_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncation_is_an_error_at_every_length),
        cmocka_unit_test(damaged_bytes_never_crash),
        cmocka_unit_test(text_noise_and_nothing_are_not_images),
        cmocka_unit_test(other_formats_are_refused_by_name),
        cmocka_unit_test(a_giant_is_refused_by_its_header),
        cmocka_unit_test(a_giant_of_any_kind_is_refused_by_its_header),
        cmocka_unit_test(limits_can_be_set),
        cmocka_unit_test(threads_get_the_errors_of_their_own_image),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

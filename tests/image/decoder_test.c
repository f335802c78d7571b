/* lib/image: a decoder in a process of its own gives the same pixels as one that is not, and
 * whatever a photograph does to it costs that photograph and nothing else. */
#include <dirent.h>
#include <errno.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/image/decoder.h"
#include "tests/image/image_files.h"

static const char *const kinds[] = {
    "yuv420.jpg", "progressive.jpg", "cmyk.jpg",        "turned.jpg",        "grey.jpg",
    "rgb.png",    "interlaced.png",  "rgba16.png",      "palette4_trns.png", "bits1.png",
    "lossy.webp", "lossless.webp",   "two_frames.webp", "lossy_alpha.webp",  "rgb_adobe.jpg"};

static int set_up(void **state) {
    pm_decoder *decoder = NULL;
    if (pm_decoder_new(NULL, &decoder)) return -1;
    *state = decoder;
    return 0;
}

static int tear_down(void **state) {
    pm_decoder *decoder = *state;
    pm_decoder_free(&decoder);
    return 0;
}

static void expect_as_here(pm_decoder *decoder, const char *name) {
    file_bytes file = read_vector(name);
    pm_image here = {0}, there = {0};
    assert_int_equal(pm_image_decode(name, file.data, file.size, NULL, &here), PM_OK);
    if (pm_decoder_decode(decoder, name, file.data, file.size, NULL, &there) != PM_OK)
        fail_msg("%s: %s", name, pm_error_text());
    assert_int_equal(there.width, here.width);
    assert_int_equal(there.height, here.height);
    assert_memory_equal(there.rgb, here.rgb, here.width * here.height * 3);
    pm_image_fini(&here);
    free(file.data);
}

static void pixels_are_those_of_a_decoder_in_this_process(void **state) {
    pm_decoder *decoder = *state;
    pm_image first = {0};
    file_bytes file = read_vector(kinds[0]);
    assert_int_equal(pm_decoder_ready(decoder), PM_OK);
    const pid_t pid = pm_decoder_pid(decoder);
    assert_int_equal(pm_decoder_decode(decoder, "first", file.data, file.size, NULL, &first),
                     PM_OK);
    const size_t bytes = first.width * first.height * 3;
    uint8_t *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, first.rgb, bytes);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) expect_as_here(decoder, kinds[i]);
    /* What was decoded before is still there. */
    assert_memory_equal(first.rgb, copy, bytes);
    pm_decoder_forget(decoder);
    expect_as_here(decoder, kinds[1]);
    assert_int_equal(pm_decoder_pid(decoder), pid);
    free(copy);
    free(file.data);
}

static void damage_is_told_as_by_a_decoder_in_this_process(void **state) {
    pm_decoder *decoder = *state;
    char here[1024];
    pm_image image = {0};
    assert_int_equal(pm_decoder_ready(decoder), PM_OK);
    const pid_t pid = pm_decoder_pid(decoder);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        file_bytes file = read_vector(kinds[i]);
        for (size_t part = 0; part < 16; part++) {
            const size_t size = file.size * part / 16;
            pm_status status = pm_image_decode(kinds[i], file.data, size, NULL, &image);
            snprintf(here, sizeof here, "%s", status ? pm_error_text() : "");
            pm_image_fini(&image);
            if (!status) continue;
            assert_int_equal(pm_decoder_decode(decoder, kinds[i], file.data, size, NULL, &image),
                             status);
            assert_string_equal(pm_error_text(), here);
            assert_null(image.rgb);
        }
        free(file.data);
    }
    pm_image_limits limits = {.side_max = 20, .pixels_max = 400};
    file_bytes file = read_vector("rgb.png");
    assert_int_equal(pm_decoder_decode(decoder, "a", file.data, file.size, &limits, &image),
                     PM_E_LIMIT);
    free(file.data);
    /* None of it needed a second process. */
    assert_int_equal(pm_decoder_pid(decoder), pid);
}

static void a_killed_decoder_is_replaced_and_the_photograph_is_not_to_blame(void **state) {
    pm_decoder *decoder = *state;
    for (int i = 0; i < 4; i++) {
        if (i % 2) assert_int_equal(pm_decoder_ready(decoder), PM_OK);
        kill(pm_decoder_pid(decoder), SIGKILL);
        expect_as_here(decoder, kinds[0]);
    }
}

static void one_that_is_killed_as_it_starts_is_replaced(void **state) {
    pm_decoder *decoder = *state;
    for (int i = 0; i < 4; i++) {
        pm_decoder_free(&decoder);
        *state = NULL;
        assert_int_equal(pm_decoder_new(NULL, &decoder), PM_OK);
        *state = decoder;
        kill(pm_decoder_pid(decoder), SIGKILL);
        assert_int_equal(pm_decoder_ready(decoder), PM_OK);
        expect_as_here(decoder, kinds[0]);
    }
}

/* Also those that libvips started before: they share its memory. */
static void every_thread_of_a_decoder_is_shut_in(void **state) {
    pm_decoder *decoder = *state;
    char path[64], line[256];
    size_t threads = 0;
    assert_int_equal(pm_decoder_ready(decoder), PM_OK);
    snprintf(path, sizeof path, "/proc/%d/task", (int)pm_decoder_pid(decoder));
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        char status[400];
        if (task->d_name[0] == '.') continue;
        snprintf(status, sizeof status, "%s/%s/status", path, task->d_name);
        FILE *file = fopen(status, "r");
        if (!file) continue; /* it has just ended */
        int filter = -1, privileges = -1;
        while (fgets(line, sizeof line, file)) {
            sscanf(line, "Seccomp: %d", &filter);
            sscanf(line, "NoNewPrivs: %d", &privileges);
        }
        fclose(file);
        threads++;
        assert_int_equal(filter, 2);
        assert_int_equal(privileges, 1);
    }
    closedir(tasks);
    assert_true(threads >= 1);
}

/* Terminals and service managers send these to a whole group; the worker decides what they mean. */
static void signals_to_all_do_not_end_a_decoder(void **state) {
    pm_decoder *decoder = *state;
    assert_int_equal(pm_decoder_ready(decoder), PM_OK);
    const pid_t pid = pm_decoder_pid(decoder);
    kill(pid, SIGTERM);
    kill(pid, SIGINT);
    expect_as_here(decoder, kinds[0]);
    assert_int_equal(pm_decoder_pid(decoder), pid);
}

#ifdef PARCHMILL_FAULTS
static pm_status decode_with_deed(pm_decoder *decoder, const char *deed, pm_image *image) {
    file_bytes file = read_vector("rgb.png");
    const size_t room = 64;
    char *bytes = malloc(file.size + room);
    assert_non_null(bytes);
    memcpy(bytes, file.data, file.size);
    size_t mark = (size_t)snprintf(bytes + file.size, room, "parchmill-deed:%s", deed);
    pm_status status = pm_decoder_decode(decoder, deed, bytes, file.size + mark, NULL, image);
    free(bytes);
    free(file.data);
    return status;
}

static pm_status do_deed(pm_decoder *decoder, const char *deed) {
    pm_image image = {0};
    pm_status status = decode_with_deed(decoder, deed, &image);
    assert_null(image.rgb);
    return status;
}
#endif

/* As in a container that lets nobody make namespaces: the call is forbidden to this process and all
 * that it starts. */
static pm_status forbid_namespaces(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int error = filter ? 0 : -1;
    if (!error) error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 0);
    if (!error) error = seccomp_load(filter);
    seccomp_release(filter);
    return error ? PM_E_IO : PM_OK;
}

static int decode_without_namespaces(void) {
    pm_decoder *decoder = NULL;
    pm_image image = {0};
    file_bytes file = read_vector("rgb.png");
    if (forbid_namespaces() || pm_decoder_new(NULL, &decoder)) return 1;
    if (pm_decoder_decode(decoder, "rgb.png", file.data, file.size, NULL, &image)) return 2;
    if (image.width != 61) return 3;
#ifdef PARCHMILL_FAULTS
    if (do_deed(decoder, "open") != PM_E_DENIED || do_deed(decoder, "socket") != PM_E_DENIED)
        return 4;
#endif
    pm_decoder_free(&decoder);
    free(file.data);
    return 0;
}

static void it_is_shut_in_where_namespaces_are_forbidden(void **state) {
    (void)state;
    int how = -1;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(decode_without_namespaces());
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

#ifdef PARCHMILL_FAULTS
static void beat(void *user) { ++*(int *)user; }

static void what_is_forbidden_costs_the_photograph_that_does_it(void **state) {
    static const char *const deeds[] = {"open", "socket", "exec",      "fork",
                                        "kill", "trace",  "executable"};
    pm_decoder *decoder = *state;
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        if (do_deed(decoder, deeds[i]) != PM_E_DENIED)
            fail_msg("%s is not forbidden: %s", deeds[i], pm_error_text());
        assert_int_equal(strncmp(pm_error_text(), deeds[i], strlen(deeds[i])), 0);
        expect_as_here(decoder, kinds[i]);
    }
}

static void a_crash_costs_the_photograph_that_does_it(void **state) {
    pm_decoder *decoder = *state;
    assert_int_equal(do_deed(decoder, "crash"), PM_E_INTERNAL);
    assert_int_equal(do_deed(decoder, "abort"), PM_E_INTERNAL);
    assert_int_equal(do_deed(decoder, "exit"), PM_E_INTERNAL);
    expect_as_here(decoder, kinds[0]);
}

/* The reply that nobody waited for lies there when the next photograph is asked about. */
static void an_old_reply_is_never_taken_for_another_photograph(void **state) {
    pm_decoder *decoder = *state;
    assert_int_equal(pm_decoder_ready(decoder), PM_OK);
    pm_image image = {0};
    const pid_t pid = pm_decoder_pid(decoder);
    assert_int_equal(decode_with_deed(decoder, "twice", &image), PM_OK);
    assert_int_equal(pm_decoder_pid(decoder), pid);
    expect_as_here(decoder, kinds[0]);
    assert_int_not_equal(pm_decoder_pid(decoder), pid);
    /* What cannot be decoded must not get the pixels of what was before it, either. */
    assert_int_equal(decode_with_deed(decoder, "twice", &image), PM_OK);
    assert_int_equal(pm_decoder_decode(decoder, "text", "text", 4, NULL, &image), PM_E_FORMAT);
}

#ifndef NO_MEMORY_LIMIT
/* The default limit is 2,560 MB. */
static void memory_is_limited(void **state) {
    pm_decoder *decoder = *state;
    pm_image image = {0};
    assert_int_equal(decode_with_deed(decoder, "below-limit", &image), PM_OK);
    assert_int_equal(do_deed(decoder, "above-limit"), PM_E_MEMORY);
    assert_int_equal(do_deed(decoder, "memory"), PM_E_MEMORY);
    expect_as_here(decoder, kinds[0]);
}
#endif

static void processor_time_is_limited_and_whoever_waits_beats(void **state) {
    (void)state;
    int beats = 0;
    pm_decoder *decoder = NULL;
    pm_decoder_limits limits = pm_decoder_default_limits;
    limits.cpu_s = 0; /* up to a second */
    limits.wall_ms = 30000;
    assert_int_equal(pm_decoder_new(&limits, &decoder), PM_OK);
    pm_decoder_set_beat(decoder, beat, &beats);
    assert_int_equal(do_deed(decoder, "spin"), PM_E_TIMEOUT);
    assert_non_null(strstr(pm_error_text(), "processor time"));
    assert_true(beats > 0);
    expect_as_here(decoder, kinds[0]);
    pm_decoder_free(&decoder);
}

/* Ready within any time that a start takes; only a photograph has no more than this. */
static void wall_time_is_limited(void **state) {
    (void)state;
    pm_decoder *decoder = NULL;
    pm_decoder_limits limits = pm_decoder_default_limits;
    limits.wall_ms = 600;
    assert_int_equal(pm_decoder_new(&limits, &decoder), PM_OK);
    assert_int_equal(do_deed(decoder, "sleep"), PM_E_TIMEOUT);
    assert_null(strstr(pm_error_text(), "processor time"));
    pm_decoder_free(&decoder);
}
#endif

int main(int argc, char **argv) {
    pm_decoder_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pixels_are_those_of_a_decoder_in_this_process, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(damage_is_told_as_by_a_decoder_in_this_process, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_killed_decoder_is_replaced_and_the_photograph_is_not_to_blame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_killed_as_it_starts_is_replaced, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_thread_of_a_decoder_is_shut_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signals_to_all_do_not_end_a_decoder, set_up, tear_down),
        cmocka_unit_test(it_is_shut_in_where_namespaces_are_forbidden),
#ifdef PARCHMILL_FAULTS
        cmocka_unit_test_setup_teardown(what_is_forbidden_costs_the_photograph_that_does_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_crash_costs_the_photograph_that_does_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_old_reply_is_never_taken_for_another_photograph, set_up,
                                        tear_down),
#ifndef NO_MEMORY_LIMIT
        cmocka_unit_test_setup_teardown(memory_is_limited, set_up, tear_down),
#endif
        cmocka_unit_test(processor_time_is_limited_and_whoever_waits_beats),
        cmocka_unit_test(wall_time_is_limited),
#endif
    };
    if (pm_image_setup("decoder_test")) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

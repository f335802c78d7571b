/* Owns a decoder's process: start, warm-up, one photograph after the other. See sandbox.h. Must not
 * know where files come from. */
#include "lib/image/sandbox.h"

#include <errno.h>
#include <glib.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vips/vips.h>

#include "lib/image/decode.h"
#include "lib/image/deeds.h"

typedef struct child {
    uint8_t *memory;
    bool namespaces;
} child;

/* ---- start ---- */

/* GLib knows no way on without memory; everything else that it calls fatal is a crash. */
static void note_fatal(const char *domain, GLogLevelFlags level, const char *text, void *data) {
    (void)domain;
    (void)level;
    (void)data;
    if (text && strstr(text, "failed to allocate")) _exit(PM_SANDBOX_EXIT_MEMORY);
    signal(SIGABRT, SIG_DFL);
    abort();
}

static void set_signals(void) {
    /* Those that a terminal or a service manager sends to all of a group: the parent decides. */
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    /* Those that a sanitizer would handle. */
    static const int plain[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGXCPU};
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) signal(ignored[i], SIG_IGN);
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) signal(plain[i], SIG_DFL);
    g_log_set_handler("GLib", G_LOG_LEVEL_ERROR | G_LOG_FLAG_FATAL, note_fatal, NULL);
}

/* ---- warm-up ---- */

enum { SAMPLES = 6, SAMPLE_SIDE = 16 };

typedef struct samples {
    void *bytes[SAMPLES]; /* from libvips */
    size_t size[SAMPLES];
} samples;

static void free_samples(samples *s) {
    for (size_t i = 0; i < SAMPLES; i++) g_free(s->bytes[i]);
}

/* A small photograph of each kind. */
static pm_status make_samples(samples *s) {
    static uint8_t pixels[SAMPLE_SIDE * SAMPLE_SIDE * 3];
    static const char *const kinds[SAMPLES] = {
        ".jpg", ".jpg[interlace]", ".png", ".png[interlace]", ".webp", ".webp[lossless]"};
    VipsImage *image = vips_image_new_from_memory(pixels, sizeof pixels, SAMPLE_SIDE, SAMPLE_SIDE,
                                                  3, VIPS_FORMAT_UCHAR);
    if (!image) return pm_fail(PM_E_INTERNAL, "a decoder's first image fails");
    image->Type = VIPS_INTERPRETATION_sRGB;
    pm_status status = PM_OK;
    for (size_t i = 0; i < SAMPLES && !status; i++)
        if (vips_image_write_to_buffer(image, kinds[i], &s->bytes[i], &s->size[i], NULL) != 0)
            status =
                pm_fail(PM_E_UNSUPPORTED, "libvips writes no %s: check its installation", kinds[i]);
    g_object_unref(image);
    return status;
}

/* Whole, and cut short. */
static pm_status decode_samples(const samples *s) {
    uint8_t room[SAMPLE_SIDE * SAMPLE_SIDE * 3];
    pm_status status = PM_OK;
    for (size_t i = 0; i < SAMPLES && !status; i++) {
        pm_image out;
        status = pm_decode_into("sample", s->bytes[i], s->size[i], &pm_image_default_limits, room,
                                sizeof room, &out);
        if (!status)
            (void)pm_decode_into("sample", s->bytes[i], s->size[i] / 2, &pm_image_default_limits,
                                 room, sizeof room, &out);
    }
    return status;
}

/* What libraries do at their first file is done before the doors are shut; and a filter that does
 * not fit this machine's libraries kills the decoder here, not at somebody's photograph. */
static pm_status shut_in(child *c, size_t memory_bytes) {
    samples s = {0};
    pm_status status = make_samples(&s);
    if (!status) status = decode_samples(&s);
    set_signals();
    if (!status) status = pm_sandbox_end(memory_bytes, &c->namespaces);
    if (!status) status = decode_samples(&s);
    free_samples(&s);
    return status;
}

static pm_status start(child *c, size_t memory_bytes) {
    pm_sandbox_begin(&c->namespaces);
    /* A second arena would reserve 64 MB of the limit. */
    mallopt(M_ARENA_MAX, 1);
    /* No temporary files, however large. */
    setenv("VIPS_DISC_THRESHOLD", "16g", 1);
    c->memory = mmap(NULL, PM_SANDBOX_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                     PM_SANDBOX_MEMORY, 0);
    if (c->memory == MAP_FAILED)
        return pm_fail(PM_E_MEMORY, "a decoder's memory: %s", strerror(errno));
    close(PM_SANDBOX_MEMORY);
    pm_status status = pm_image_setup(PM_SANDBOX_NAME);
    return status ? status : shut_in(c, memory_bytes);
}

/* ---- photographs ---- */

/* Not by CLOCK_PROCESS_CPUTIME_ID: with a limit set it goes in ticks. */
static int64_t spent_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return ((int64_t)used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
           used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

/* SIGXCPU after so much more: whole seconds, so up to one more than asked for. */
static void allow_seconds(int64_t spent, uint32_t seconds) {
    struct rlimit limit = {(rlim_t)(spent / 1000000) + 1 + seconds, RLIM_INFINITY};
    setrlimit(RLIMIT_CPU, &limit);
}

static void decode(const child *c, const pm_sandbox_request *request, pm_sandbox_reply *reply) {
    const pm_image_limits limits = {(size_t)request->side_max, (size_t)request->pixels_max};
    const int64_t before_us = spent_us();
    pm_image image = {0};
    allow_seconds(before_us, request->cpu_s);
    pm_deed_of_file(c->memory, (size_t)request->size_bytes);
    errno = 0;
    pm_status status = pm_decode_into("", c->memory, (size_t)request->size_bytes, &limits,
                                      c->memory + PM_SANDBOX_PIXELS_AT + request->pixels_at,
                                      PM_SANDBOX_PIXELS_BYTES - (size_t)request->pixels_at, &image);
    /* Libraries say so in many ways, malloc in one. */
    if (status == PM_E_FORMAT && errno == ENOMEM) {
        status = PM_E_MEMORY;
        snprintf(reply->text, sizeof reply->text, ": takes more memory than a decoder may have");
    } else if (status) {
        snprintf(reply->text, sizeof reply->text, "%s", pm_error_text());
    }
    reply->number = request->number;
    reply->status = (uint32_t)status;
    reply->width = image.width;
    reply->height = image.height;
    reply->cpu_us = spent_us() - before_us;
}

_Noreturn void pm_sandbox_child(pid_t parent, size_t memory_bytes) {
    child c = {0};
    pm_sandbox_request request;
    pm_sandbox_reply reply = {0};
    prctl(PR_SET_NAME, "parchmill-decod");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    pm_status status = start(&c, memory_bytes);
    reply.status = (uint32_t)status;
    reply.width = c.namespaces;
    if (status) snprintf(reply.text, sizeof reply.text, "%s", pm_error_text());
    while (send(PM_SANDBOX_SOCKET, &reply, sizeof reply, MSG_NOSIGNAL) == sizeof reply && !status) {
        ssize_t n = recv(PM_SANDBOX_SOCKET, &request, sizeof request, 0);
        if (n != sizeof request) break;
        memset(&reply, 0, sizeof reply);
        decode(&c, &request, &reply);
        if (pm_deed_twice()) (void)send(PM_SANDBOX_SOCKET, &reply, sizeof reply, MSG_NOSIGNAL);
    }
    _exit(0);
}

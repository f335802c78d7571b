/* Owns the decoder as its user sees it: start, wait, verdict on a death, start again. See
 * decoder.h.
 *
 *   NONE -(spawn)-> STARTING -(first word)-> READY -(request)-> ... -(reply)-> READY
 *   any -(end of the socket, or our SIGKILL)-> NONE
 *
 * What a death says. SIGKILL and other signals that processes send: nothing about the photograph,
 * unless the SIGKILL was ours, for time. SIGSYS: it asked for what is forbidden. SIGXCPU: time. The
 * rest, an unexpected exit too: a crash. */
#include "lib/image/decoder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/image/sandbox.h"

const pm_decoder_limits pm_decoder_default_limits = {
    .memory_bytes = (size_t)2560 << 20, .cpu_s = 30, .wall_ms = 120000, .pause_ms = 50};

enum {
    STARTS_MAX = 4,
    SLICE_MS = 250,   /* between two beats */
    START_MS = 60000, /* for the first word */
    DEATHS_MAX = 2,   /* of the photograph's own making, then it is an error */
    FAILURES_MAX = 8, /* in a row that say nothing about it: about 20 s of back-off */
    PAUSES_MAX = 200,
    FIRST_FREE = 10,      /* descriptors from here are in no one's way */
    KEPT_BYTES = 32 << 20 /* of the shared memory, between photographs */
};

typedef enum outcome {
    ANSWERED,
    CRASHED,
    FORBIDDEN,
    TOO_LONG, /* wall time */
    TOO_MUCH, /* processor time */
    NO_MEMORY,
    NOT_ITS_FAULT
} outcome;

struct pm_decoder {
    pm_decoder_limits limits;
    void (*beat)(void *user);
    void *beat_user;
    uint8_t *memory;
    int memory_fd, socket;
    pid_t pid; /* 0: none */
    bool ready;
    unsigned failures; /* in a row: back-off */
    uint64_t number;   /* of the last request */
    size_t used;       /* of the pixels' part */
    size_t dirty_file, dirty_pixels;
    int64_t spent_us;
};

static bool may_start;

/* ---- the process ---- */

void pm_decoder_main(int argc, char **argv) {
    may_start = true;
    if (argc != 3 || strcmp(argv[0], PM_SANDBOX_NAME) != 0) return;
    pm_sandbox_child((pid_t)strtol(argv[1], NULL, 10), (size_t)strtoull(argv[2], NULL, 10));
}

/* Only what the loader, a sanitizer or a test needs; no locale, and so no file of one. */
static void make_environment(char *out[static 8]) {
    static const char *const wanted[] = {
        "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS="};
    size_t count = 0;
    for (char **entry = environ; *entry; entry++)
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && count < 7; i++)
            if (strncmp(*entry, wanted[i], strlen(wanted[i])) == 0) out[count++] = *entry;
    out[count] = NULL;
}

/* posix_spawn never copies this process's memory, and no other thread's lock is held in between. */
static int spawn_with(pm_decoder *d, int theirs, int memory) {
    char parent[24], bytes[24], name[] = PM_SANDBOX_NAME;
    char *argv[] = {name, parent, bytes, NULL}, *environment[8];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, plain;
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    snprintf(bytes, sizeof bytes, "%zu", d->limits.memory_bytes);
    make_environment(environment);
    sigemptyset(&none);
    sigemptyset(&plain);
    sigaddset(&plain, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &plain);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn_file_actions_adddup2(&actions, theirs, PM_SANDBOX_SOCKET);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, memory, PM_SANDBOX_MEMORY);
    if (!error)
        error = posix_spawn(&d->pid, "/proc/self/exe", &actions, &attributes, argv, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static pm_status spawn(pm_decoder *d) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return pm_fail(PM_E_IO, "cannot start a decoder: %s", strerror(errno));
    /* Above the two numbers that the child gets, so that no move covers the next. */
    int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, FIRST_FREE);
    int memory = fcntl(d->memory_fd, F_DUPFD_CLOEXEC, FIRST_FREE);
    int error = theirs < 0 || memory < 0 ? errno : spawn_with(d, theirs, memory);
    if (theirs >= 0) close(theirs);
    if (memory >= 0) close(memory);
    close(pair[1]);
    if (error) {
        d->pid = 0;
        close(pair[0]);
        return pm_fail(PM_E_IO, "cannot start a decoder: %s", strerror(error));
    }
    d->socket = pair[0];
    d->ready = false;
    return PM_OK;
}

/* Dead or not, it is gone afterwards. */
static int bury(pm_decoder *d) {
    int how = 0;
    if (d->socket >= 0) close(d->socket);
    d->socket = -1;
    d->ready = false;
    if (!d->pid) return 0;
    kill(d->pid, SIGKILL);
    while (waitpid(d->pid, &how, 0) < 0 && errno == EINTR) {}
    d->pid = 0;
    return how;
}

static outcome outcome_of(int how) {
    if (WIFEXITED(how)) return WEXITSTATUS(how) == PM_SANDBOX_EXIT_MEMORY ? NO_MEMORY : CRASHED;
    switch (WTERMSIG(how)) {
    case SIGSYS: return FORBIDDEN;
    case SIGXCPU: return TOO_MUCH;
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
    case SIGTRAP: return CRASHED;
    default: return NOT_ITS_FAULT;
    }
}

/* ---- talk ---- */

static void beat(const pm_decoder *d) {
    if (d->beat) d->beat(d->beat_user);
}

static void wait_ms(const pm_decoder *d, int64_t ms) {
    const int64_t until_ms = pm_clock_ms() + ms;
    for (int64_t now_ms; (now_ms = pm_clock_ms()) < until_ms;) {
        int64_t left_ms = until_ms - now_ms;
        (void)poll(NULL, 0, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
        beat(d);
    }
}

/* The next word of the process, within `ms`. What it says is not checked yet. */
static outcome hear(pm_decoder *d, int64_t ms, pm_sandbox_reply *reply) {
    const int64_t until_ms = pm_clock_ms() + ms;
    for (;;) {
        struct pollfd fd = {.fd = d->socket, .events = POLLIN};
        int64_t left_ms = until_ms - pm_clock_ms();
        if (left_ms <= 0) {
            (void)bury(d);
            return TOO_LONG;
        }
        int n = poll(&fd, 1, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
        if (n == 0) beat(d);
        if (n <= 0) continue;
        ssize_t got = recv(d->socket, reply, sizeof *reply, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got == sizeof *reply) return ANSWERED;
        int how = bury(d);
        return got > 0 ? CRASHED : outcome_of(how);
    }
}

static void clean_text(char text[static PM_SANDBOX_TEXT_BYTES]) {
    text[PM_SANDBOX_TEXT_BYTES - 1] = 0;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~') *c = '?';
}

static void say_namespaces(bool got) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (!got && !atomic_flag_test_and_set(&said))
        pm_log(PM_LOG_WARN, "decoder.namespaces",
               "got=no note=\"decoders are shut in by seccomp and limits alone\"");
}

static pm_status hear_ready(pm_decoder *d) {
    pm_sandbox_reply reply;
    if (d->ready) return PM_OK;
    outcome how = hear(d, START_MS, &reply);
    if (how != ANSWERED)
        return pm_fail(PM_E_IO, "a decoder %s as it starts",
                       how == TOO_LONG ? "says nothing" : "dies");
    clean_text(reply.text);
    if (reply.status) {
        (void)bury(d);
        return pm_fail(PM_E_UNSUPPORTED, "%s", reply.text);
    }
    say_namespaces(reply.width != 0);
    d->ready = true;
    return PM_OK;
}

static pm_status start(pm_decoder *d) {
    pm_status status = d->pid ? PM_OK : spawn(d);
    return status ? status : hear_ready(d);
}

/* One that is killed from outside before it is ready is no reason to give up. */
pm_status pm_decoder_ready(pm_decoder *d) {
    const int64_t until_ms = pm_clock_ms() + START_MS;
    pm_status status = start(d);
    for (int i = 1; status == PM_E_IO && i < STARTS_MAX && pm_clock_ms() < until_ms; i++)
        status = start(d);
    return status;
}

/* Ready, after a pause where the last ones failed. */
static pm_status stand_by(pm_decoder *d) {
    if (d->ready) return PM_OK;
    if (d->failures) {
        const int64_t pauses = d->failures < 9 ? INT64_C(1) << (d->failures - 1) : PAUSES_MAX;
        wait_ms(d, d->limits.pause_ms * pauses);
    }
    return start(d);
}

/* ---- photographs ---- */

typedef struct photograph {
    const char *name;
    const void *bytes;
    size_t size;
    const pm_image_limits *limits;
} photograph;

static outcome ask(pm_decoder *d, const photograph *p, pm_sandbox_reply *reply) {
    const pm_sandbox_request request = {.number = ++d->number,
                                        .size_bytes = p->size,
                                        .pixels_at = d->used,
                                        .side_max = p->limits->side_max,
                                        .pixels_max = p->limits->pixels_max,
                                        .cpu_s = d->limits.cpu_s};
    memcpy(d->memory, p->bytes, p->size);
    if (p->size > d->dirty_file) d->dirty_file = p->size;
    if (send(d->socket, &request, sizeof request, MSG_NOSIGNAL) != sizeof request)
        return outcome_of(bury(d));
    return hear(d, d->limits.wall_ms, reply);
}

/* A reply that no honest decoder gives is a crash. */
static outcome take(pm_decoder *d, const photograph *p, pm_sandbox_reply *reply, pm_image *out,
                    pm_status *status) {
    if (reply->number != d->number) {
        /* Of another photograph: it must not pass for this one's. */
        (void)bury(d);
        return CRASHED;
    }
    clean_text(reply->text);
    *status = (pm_status)reply->status;
    if (reply->cpu_us > 0 && reply->cpu_us < INT64_C(1000000) * 3600) d->spent_us = reply->cpu_us;
    switch (*status) {
    case PM_OK: break;
    case PM_E_FORMAT:
    case PM_E_LIMIT:
    case PM_E_UNSUPPORTED:
    case PM_E_MEMORY: (void)pm_fail(*status, "%s%s", p->name, reply->text); return ANSWERED;
    default: (void)bury(d); return CRASHED;
    }
    const uint64_t side = p->limits->side_max, room = (PM_SANDBOX_PIXELS_BYTES - d->used) / 3;
    if (reply->width < 1 || reply->height < 1 || reply->width > side || reply->height > side ||
        reply->width > p->limits->pixels_max / reply->height ||
        reply->width > room / reply->height) {
        (void)bury(d);
        return CRASHED;
    }
    *out = (pm_image){.width = (size_t)reply->width,
                      .height = (size_t)reply->height,
                      .rgb = d->memory + PM_SANDBOX_PIXELS_AT + d->used};
    const size_t line = 64; /* vectors like their rows there */
    d->used += (3 * out->width * out->height + line - 1) / line * line;
    if (d->used > PM_SANDBOX_PIXELS_BYTES) d->used = PM_SANDBOX_PIXELS_BYTES;
    return ANSWERED;
}

static pm_status fail_for(const pm_decoder *d, const char *name, outcome how) {
    switch (how) {
    case CRASHED: return pm_fail(PM_E_INTERNAL, "%s: the decoder crashed on it, twice", name);
    case FORBIDDEN:
        return pm_fail(PM_E_DENIED,
                       "%s: made the decoder ask for what is forbidden to it (a file, a socket, a "
                       "process ...), twice",
                       name);
    case TOO_LONG:
        return pm_fail(PM_E_TIMEOUT, "%s: the decoder was not done with it in %u s", name,
                       d->limits.wall_ms / 1000);
    case TOO_MUCH:
        return pm_fail(PM_E_TIMEOUT,
                       "%s: the decoder was not done with it in %u s of processor time", name,
                       d->limits.cpu_s);
    case NO_MEMORY:
        return pm_fail(PM_E_MEMORY, "%s: takes more memory than a decoder may have", name);
    case ANSWERED:
    case NOT_ITS_FAULT: break;
    }
    return pm_fail(PM_E_INTERNAL, "%s: no verdict", name);
}

static void log_death(const photograph *p, outcome how) {
    static const char *const names[] = {
        [ANSWERED] = "answered",   [CRASHED] = "crash", [FORBIDDEN] = "forbidden",
        [TOO_LONG] = "time",       [TOO_MUCH] = "time", [NO_MEMORY] = "memory",
        [NOT_ITS_FAULT] = "killed"};
    pm_log(PM_LOG_WARN, "decoder.died", "reason=%s image=" PM_QUOTED, names[how], p->name);
}

pm_status pm_decoder_decode(pm_decoder *d, const char *name, const void *bytes, size_t size,
                            const pm_image_limits *limits, pm_image *out) {
    const photograph p = {name, bytes, size, limits ? limits : &pm_image_default_limits};
    unsigned deaths = 0;
    d->spent_us = 0;
    if (size > PM_DECODER_FILE_BYTES_MAX)
        return pm_fail(PM_E_LIMIT, "%s: %zu bytes; the limit is %zu", name, size,
                       PM_DECODER_FILE_BYTES_MAX);
    for (;;) {
        pm_sandbox_reply reply;
        pm_status status = stand_by(d);
        outcome how = status ? NOT_ITS_FAULT : ask(d, &p, &reply);
        if (how == ANSWERED) how = take(d, &p, &reply, out, &status);
        if (how == ANSWERED) {
            d->failures = 0;
            return status;
        }
        if (status)
            pm_log(PM_LOG_ERROR, "decoder.start", "error=" PM_QUOTED, pm_error_text());
        else
            log_death(&p, how);
        if (how != NOT_ITS_FAULT && ++deaths == DEATHS_MAX) return fail_for(d, name, how);
        if (how == NOT_ITS_FAULT && ++d->failures % FAILURES_MAX == 0)
            return status ? pm_fail_in(PM_E_IO, "%s", name)
                          : pm_fail(PM_E_IO, "%s: its decoder is killed again and again", name);
    }
}

/* Pages beyond what is kept go back to the system. */
static void give_back(uint8_t *from, size_t *dirty) {
    if (*dirty <= KEPT_BYTES) return;
    (void)madvise(from + KEPT_BYTES, (*dirty - KEPT_BYTES + 4095) / 4096 * 4096, MADV_REMOVE);
    *dirty = KEPT_BYTES;
}

void pm_decoder_forget(pm_decoder *d) {
    if (d->used > d->dirty_pixels) d->dirty_pixels = d->used;
    d->used = 0;
    give_back(d->memory, &d->dirty_file);
    give_back(d->memory + PM_SANDBOX_PIXELS_AT, &d->dirty_pixels);
}

/* ---- one ---- */

/* Its size is sealed, so that the child cannot take it from under us. */
static pm_status make_memory(pm_decoder *d) {
    d->memory_fd = memfd_create("parchmill-decoder", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (d->memory_fd < 0 || ftruncate(d->memory_fd, (off_t)PM_SANDBOX_MEMORY_BYTES) != 0 ||
        fcntl(d->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return pm_fail(PM_E_IO, "a decoder's memory: %s", strerror(errno));
    void *memory = mmap(NULL, PM_SANDBOX_MEMORY_BYTES, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, d->memory_fd, 0);
    if (memory == MAP_FAILED)
        return pm_fail(PM_E_MEMORY, "a decoder's memory: %s", strerror(errno));
    d->memory = memory;
    return PM_OK;
}

pm_status pm_decoder_new(const pm_decoder_limits *limits, pm_decoder **out) {
    if (!may_start) return pm_fail(PM_E_INTERNAL, "this program did not call pm_decoder_main");
    pm_decoder *d = calloc(1, sizeof *d);
    if (!d) return pm_fail(PM_E_MEMORY, "decoder: no memory");
    d->limits = limits ? *limits : pm_decoder_default_limits;
    d->memory_fd = d->socket = -1;
    pm_status status = make_memory(d);
    if (!status) status = spawn(d);
    if (status) {
        pm_decoder_free(&d);
        return status;
    }
    *out = d;
    return PM_OK;
}

void pm_decoder_free(pm_decoder **decoder) {
    pm_decoder *d = *decoder;
    if (!d) return;
    (void)bury(d);
    if (d->memory) munmap(d->memory, PM_SANDBOX_MEMORY_BYTES);
    if (d->memory_fd >= 0) close(d->memory_fd);
    free(d);
    *decoder = NULL;
}

void pm_decoder_set_beat(pm_decoder *d, void (*beat_fn)(void *user), void *user) {
    d->beat = beat_fn;
    d->beat_user = user;
}

int64_t pm_decoder_spent_us(const pm_decoder *d) { return d->spent_us; }

pid_t pm_decoder_pid(const pm_decoder *d) { return d->pid; }

pm_status pm_decoder_decode_one(const char *name, const void *bytes, size_t size,
                                const pm_image_limits *limits, pm_image *out) {
    pm_decoder *d = NULL;
    pm_image image;
    pm_status status = pm_decoder_new(NULL, &d);
    if (!status) status = pm_decoder_ready(d);
    if (!status) status = pm_decoder_decode(d, name, bytes, size, limits, &image);
    if (!status) {
        const size_t rgb_bytes = image.width * image.height * 3;
        uint8_t *rgb = malloc(rgb_bytes);
        if (rgb) {
            memcpy(rgb, image.rgb, rgb_bytes);
            *out = (pm_image){.width = image.width, .height = image.height, .rgb = rgb};
        } else {
            status = pm_fail(PM_E_MEMORY, "%s: no memory for its pixels", name);
        }
    }
    pm_decoder_free(&d);
    return status;
}

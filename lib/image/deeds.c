/* Owns the forbidden deeds that tests ask for. */
#include "lib/image/deeds.h"

#ifdef PARCHMILL_FAULTS
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static bool twice;

static void open_file(void) { (void)open("/etc/passwd", O_RDONLY); }
static void open_socket(void) { (void)socket(AF_INET, SOCK_STREAM, 0); }
static void execute(void) { execl("/bin/true", "true", (char *)NULL); }
static void new_process(void) { (void)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); }
static void trace(void) { (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static void executable(void) {
    (void)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void kill_parent(void) { (void)kill(getppid(), SIGKILL); }
static void leave(void) { _exit(0); }
static void crash(void) { raise(SIGSEGV); }
static void fill_memory(void) {
    for (;;) memset(g_malloc((size_t)16 << 20), 1, 4096);
}
static void spin(void) {
    for (volatile int i = 0;; i++) i = 0;
}
/* Not for ever, so that a limit that is not there shows. */
static void sleep_long(void) {
    struct timespec left = {.tv_sec = 30};
    while (nanosleep(&left, &left) != 0) {}
}
static void take_megabytes(size_t count) {
    enum { PIECE_MB = 16, PIECES_MAX = 256 };
    void *pieces[PIECES_MAX];
    for (size_t i = 0; i < count / PIECE_MB; i++) {
        pieces[i] = g_malloc((size_t)PIECE_MB << 20);
        memset(pieces[i], 1, 4096);
    }
    for (size_t i = 0; i < count / PIECE_MB; i++) g_free(pieces[i]);
}
static void take_below_limit(void) { take_megabytes(2304); }
static void take_above_limit(void) { take_megabytes(2816); }

static void answer_twice(void) { twice = true; }

static const struct {
    const char *name;
    void (*act)(void);
} deeds[] = {{"open", open_file},
             {"socket", open_socket},
             {"exec", execute},
             {"fork", new_process},
             {"trace", trace},
             {"executable", executable},
             {"kill", kill_parent},
             {"crash", crash},
             {"abort", abort},
             {"exit", leave},
             {"memory", fill_memory},
             {"spin", spin},
             {"sleep", sleep_long},
             {"below-limit", take_below_limit},
             {"above-limit", take_above_limit},
             {"twice", answer_twice}};

void pm_deed_of_file(const uint8_t *bytes, size_t size) {
    char mark[64];
    twice = false;
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        size_t length = (size_t)snprintf(mark, sizeof mark, "parchmill-deed:%s", deeds[i].name);
        if (size >= length && memcmp(bytes + size - length, mark, length) == 0) deeds[i].act();
    }
}

bool pm_deed_twice(void) { return twice; }
#else
/* ISO C wants a declaration in every file. */
typedef int pm_deeds_none;
#endif

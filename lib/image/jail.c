/* Owns how a decoder is shut in: namespaces where the machine allows them, limits, no rights, and
 * a filter of system calls in any case. Knows nothing of images. See sandbox.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/image/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- descriptors, namespaces, rights ---- */

static void close_descriptors(void) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* A sanitizer's report is worth more than a shut mouth; it can be written to, not read. */
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        if (fd < 2 || !SANITIZED) dup2(null, fd);
    close_range(PM_SANDBOX_MEMORY + 1, ~0u, 0);
}

void pm_sandbox_begin(bool *namespaces) {
    close_descriptors();
    prctl(PR_SET_DUMPABLE, 0);
    *namespaces =
        unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
}

/* Nothing but an empty folder that cannot be written. /proc is there, as it started us. */
static bool leave_files(void) {
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                 "size=4k") == 0 &&
           chdir("/proc") == 0 && chroot(".") == 0 && chdir("/") == 0;
}

static pm_status drop_rights(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &head, none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return pm_fail(PM_E_UNSUPPORTED, "a decoder cannot give up its rights: %s",
                       strerror(errno));
    return PM_OK;
}

/* ---- limits ---- */

static pm_status set_limit(__rlimit_resource_t what, size_t value) {
    struct rlimit limit = {value, value};
    if (setrlimit(what, &limit) == 0) return PM_OK;
    return pm_fail(PM_E_UNSUPPORTED, "a decoder's limit %d is refused: %s", (int)what,
                   strerror(errno));
}

/* Pages that this process has mapped, in bytes. */
static size_t mapped_bytes(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    if (fscanf(file, "%lu", &pages) != 1) pages = 0;
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* RLIMIT_NPROC stays: libwebp decodes with two threads, and threads count. */
static pm_status set_limits(size_t mapped, size_t memory_bytes) {
    pm_status status = set_limit(RLIMIT_CORE, 0);
    if (!status) status = set_limit(RLIMIT_NOFILE, 0);
    if (!status) status = set_limit(RLIMIT_FSIZE, 0);
    /* A sanitizer's shadow is terabytes of address space. */
    if (!status && !SANITIZED) status = set_limit(RLIMIT_AS, mapped + memory_bytes);
    return status;
}

/* ---- system calls ---- */

typedef struct rule {
    int call;
    unsigned count;
    struct scmp_arg_cmp args[3];
} rule;

#define ONLY(i, value) SCMP_CMP64(i, SCMP_CMP_EQ, (uint64_t)(value), 0)
#define WITHOUT(i, bits) SCMP_CMP64(i, SCMP_CMP_MASKED_EQ, (uint64_t)(bits), 0)
#define WITH(i, bits) SCMP_CMP64(i, SCMP_CMP_MASKED_EQ, (uint64_t)(bits), (uint64_t)(bits))

static int allow_plain(scmp_filter_ctx filter) {
    static const int calls[] = {SCMP_SYS(munmap),
                                SCMP_SYS(mremap),
                                SCMP_SYS(brk),
                                SCMP_SYS(madvise),
                                SCMP_SYS(futex),
                                SCMP_SYS(clock_gettime),
                                SCMP_SYS(gettimeofday),
                                SCMP_SYS(exit),
                                SCMP_SYS(exit_group),
                                SCMP_SYS(rt_sigreturn),
                                SCMP_SYS(rt_sigprocmask),
                                SCMP_SYS(rt_sigaction),
                                SCMP_SYS(sigaltstack),
                                SCMP_SYS(getpid),
                                SCMP_SYS(gettid),
                                SCMP_SYS(sched_yield),
                                SCMP_SYS(clock_nanosleep),
                                SCMP_SYS(set_robust_list),
                                SCMP_SYS(rseq),
                                SCMP_SYS(getrandom),
                                SCMP_SYS(restart_syscall),
                                SCMP_SYS(getrusage),
                                SCMP_SYS(sysinfo),
                                SCMP_SYS(sched_getaffinity)};
    int error = 0;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0] && !error; i++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return error;
}

static int allow_checked(scmp_filter_ctx filter) {
    const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    const rule rules[] = {
        {SCMP_SYS(recvfrom), 1, {ONLY(0, PM_SANDBOX_SOCKET)}},
        {SCMP_SYS(sendto), 1, {ONLY(0, PM_SANDBOX_SOCKET)}},
        {SCMP_SYS(mmap), 2, {WITHOUT(2, PROT_EXEC), WITH(3, MAP_ANONYMOUS)}},
        {SCMP_SYS(mprotect), 1, {WITHOUT(2, PROT_EXEC)}},
        {SCMP_SYS(clone), 1, {WITH(0, thread)}},
        {SCMP_SYS(prctl), 1, {ONLY(0, PR_SET_NAME)}},
        {SCMP_SYS(prctl), 1, {ONLY(0, PR_SET_VMA)}},
        {SCMP_SYS(prlimit64), 2, {ONLY(0, 0), ONLY(1, RLIMIT_CPU)}},
        /* Deaths of its own; one that looked as from outside would not count against the image. */
        {SCMP_SYS(tgkill), 2, {ONLY(0, getpid()), ONLY(2, SIGABRT)}},
        {SCMP_SYS(tgkill), 2, {ONLY(0, getpid()), ONLY(2, SIGSEGV)}},
        {SCMP_SYS(write), 1, {ONLY(0, STDERR_FILENO)}},
    };
    int error = 0;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && !error; i++)
        error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, rules[i].count,
                                       rules[i].args);
    /* Its flags are in memory, where a filter cannot look: the C library goes back to clone. */
    if (!error) error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return error;
}

static pm_status close_system_calls(void) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int error = filter ? 0 : -ENOMEM;
    if (!error) error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    /* libvips keeps threads of its own. */
    if (!error) error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (!error) error = allow_plain(filter);
    if (!error) error = allow_checked(filter);
    if (!error) error = seccomp_load(filter);
    if (filter) seccomp_release(filter);
    if (!error) return PM_OK;
    return pm_fail(PM_E_UNSUPPORTED,
                   "a decoder cannot filter its system calls (%s): this kernel or container has "
                   "no seccomp",
                   strerror(-error));
}

pm_status pm_sandbox_end(size_t memory_bytes, bool *namespaces) {
    const size_t mapped = mapped_bytes();
    if (!mapped) return pm_fail(PM_E_UNSUPPORTED, "/proc/self/statm cannot be read");
    if (*namespaces) *namespaces = leave_files();
    pm_status status = drop_rights();
    if (!status) status = set_limits(mapped, memory_bytes);
    return status ? status : close_system_calls();
}

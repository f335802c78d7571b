/* Owns the lines about this machine: processor, memory, clock, limits, libraries, photographs. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/image/image.h"
#include "lib/net/probe.h"
#include "lib/net/wire.h"
#include "lib/store/check.h"
#include "parchgrad.h"
#include "tools/doctor.h"

enum { MEMORY_FAIL_MIB = 256, MEMORY_WARN_MIB = 1024, FILES_LEAST = 1024, STEP_MS = 50 };

static void say_processor(pm_doctor *d) {
    cpu_set_t set;
    CPU_ZERO(&set);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    const long ours = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : online;
    const char *isa = NULL;
    if (pm_isa_of_host(&isa))
        pm_doctor_say(d, PM_DOCTOR_FAIL, "processor", "unset PARCHMILL_ISA", "%s", pm_error_text());
    else if (strcmp(isa, "baseline") != 0)
        pm_doctor_say(d, PM_DOCTOR_OK, "processor", NULL, "%s",
                      strcmp(isa, "avx512") == 0 ? "AVX-512" : "AVX2 and FMA");
    else
        pm_doctor_say(d, PM_DOCTOR_WARN, "processor", "workers run, but elsewhere they are faster",
                      "no AVX-512 or AVX2 is used: the baseline kernels are slow");
    pm_doctor_say(d, ours < online ? PM_DOCTOR_WARN : PM_DOCTOR_OK, "cores",
                  ours < online ? "give workers no more --threads than that" : NULL,
                  "%ld of %ld for this process", ours, online);
}

/* -1: not there. */
static long long number_in(const char *path, const char *key) {
    char line[256];
    long long value = -1;
    FILE *file = fopen(path, "re");
    while (file && value < 0 && fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) != 0) continue;
        char *end = NULL;
        long long read = strtoll(line + length, &end, 10);
        if (end != line + length) value = read;
    }
    if (file) fclose(file);
    return value;
}

static void say_memory(pm_doctor *d) {
    long long kib = number_in("/proc/meminfo", "MemAvailable:");
    long long limit = number_in("/sys/fs/cgroup/memory.max", "");
    long long used = number_in("/sys/fs/cgroup/memory.current", "");
    if (kib < 0) return;
    if (limit > 0 && used >= 0 && (limit - used) / 1024 < kib) kib = (limit - used) / 1024;
    pm_doctor_level level = kib < 1024LL * MEMORY_FAIL_MIB   ? PM_DOCTOR_FAIL
                            : kib < 1024LL * MEMORY_WARN_MIB ? PM_DOCTOR_WARN
                                                             : PM_DOCTOR_OK;
    pm_doctor_say(d, level, "memory",
                  level ? "a worker wants 0.2 to 2 GiB, by its network: use fewer threads" : NULL,
                  "%lld MiB to be had", kib / 1024);
}

/* Wall and monotonic time pass alike, and somebody keeps the wall clock right. */
static void say_clock(pm_doctor *d) {
    const int64_t apart = pm_clock_wall_ms() - pm_clock_ms();
    nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    const int64_t moved = pm_clock_wall_ms() - pm_clock_ms() - apart;
    struct timex time = {0};
    const bool alone = adjtimex(&time) == TIME_ERROR || (time.status & STA_UNSYNC);
    if (moved < -STEP_MS || moved > STEP_MS)
        pm_doctor_say(d, PM_DOCTOR_WARN, "clock", "look who sets it; leases go by the steady clock",
                      "the wall clock jumped by %lld ms", (long long)moved);
    else if (alone)
        pm_doctor_say(d, PM_DOCTOR_WARN, "clock",
                      "run an NTP service (chrony, systemd-timesyncd); only the times in the "
                      "database depend on it",
                      "wall and steady clock pass alike, but nobody keeps the wall clock right");
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "clock", NULL,
                      "wall and steady clock pass alike, and the wall clock is kept right");
}

static void say_limits(pm_doctor *d) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    const bool few = files.rlim_cur != RLIM_INFINITY && files.rlim_cur < FILES_LEAST;
    pm_doctor_say(d, few ? PM_DOCTOR_WARN : PM_DOCTOR_OK, "limits",
                  few ? "ulimit -n 4096: a broker has a descriptor for each connection" : NULL,
                  "%llu descriptors a process", (unsigned long long)files.rlim_cur);
}

static void say_libraries(pm_doctor *d) {
    char zmq[16];
    pm_net_zmq_version(zmq);
    pm_doctor_say(d, PM_DOCTOR_OK, "libraries", NULL,
                  "SQLite %s, libzmq %s, libvips %s, jansson %s; engine " PM_ENGINE_VERSION,
                  pm_store_sqlite_version(), zmq, pm_image_library_version(), JANSSON_VERSION);
    pm_doctor_say(d, PM_DOCTOR_OK, "libraries", NULL,
                  "the WAL-reset defect of SQLite 3.40.1 and its like needs two writers; a "
                  "broker's lock lets in one");
}

void pm_doctor_host(pm_doctor *d) {
    say_processor(d);
    say_memory(d);
    say_clock(d);
    say_limits(d);
    say_libraries(d);
}

/* ---- photographs ---- */

static size_t count_entries(DIR *folder) {
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    return count;
}

void pm_doctor_images(pm_doctor *d) {
    const char *path = pm_options_text(d->options, PM_OPT_IMAGES);
    struct stat file;
    if (!path) return;
    if (stat(path, &file) != 0 || access(path, R_OK) != 0) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "images",
                      "give the right --images, readable by who runs workers", "%s: %s", path,
                      strerror(errno));
        return;
    }
    DIR *folder = S_ISDIR(file.st_mode) ? opendir(path) : NULL;
    if (S_ISDIR(file.st_mode) && !folder) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "images", "give x permission on the folder", "%s: %s",
                      path, strerror(errno));
    } else if (folder) {
        size_t count = count_entries(folder);
        pm_doctor_say(d, count ? PM_DOCTOR_OK : PM_DOCTOR_FAIL, "images",
                      count ? NULL : "give the folder that has the photographs",
                      "%s is a folder with %zu entries", path, count);
        closedir(folder);
    } else {
        pm_doctor_say(d, PM_DOCTOR_OK, "images", NULL, "%s is one file", path);
    }
}

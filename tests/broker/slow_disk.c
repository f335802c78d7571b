/* Preloaded into a broker: files named slow-... take 200 ms a read, as on a disk that is busy. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { READ_US = 200000 };

static void slow_down(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    if (strstr(path, "/slow-")) usleep(READ_US);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset) {
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pread");
    slow_down(fd);
    return real(fd, bytes, size, offset);
}

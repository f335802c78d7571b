/* The cache: what was put is had again, damaged files count as none, the limit holds, and several
 * processes at one folder do each other no harm. */
#include "worker/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOB = 1000 };

typedef struct scratch {
    char folder[64];
    pm_cache *cache;
} scratch;

static int set_up(void **state) {
    scratch *s = calloc(1, sizeof *s);
    if (!s) return -1;
    snprintf(s->folder, sizeof s->folder, "/tmp/pm_cache_XXXXXX");
    if (!mkdtemp(s->folder)) return -1;
    *state = s;
    return 0;
}

static int tear_down(void **state) {
    char command[128];
    scratch *s = *state;
    pm_cache_close(&s->cache);
    snprintf(command, sizeof command, "rm -rf %s", s->folder);
    int gone = system(command);
    free(s);
    return gone;
}

static void open_cache(scratch *s, uint64_t limit) {
    pm_cache_close(&s->cache);
    assert_int_equal(pm_cache_open(s->folder, limit, &s->cache), PM_OK);
}

/* Blob number n: BLOB bytes of its own. */
static pm_sha256 fill(unsigned n, uint8_t bytes[BLOB]) {
    for (size_t i = 0; i < BLOB; i++) bytes[i] = (uint8_t)(n * 131 + i * (n + 1) / 7);
    memcpy(bytes, &n, sizeof n);
    return pm_sha256_of(bytes, BLOB);
}

static void put(scratch *s, unsigned n) {
    uint8_t bytes[BLOB];
    pm_sha256 hash = fill(n, bytes);
    pm_cache_put(s->cache, &hash, bytes, BLOB);
}

static bool get(pm_cache *cache, unsigned n) {
    uint8_t bytes[BLOB], *got = NULL;
    pm_sha256 hash = fill(n, bytes);
    if (!pm_cache_get(cache, &hash, BLOB, &got)) return false;
    assert_memory_equal(got, bytes, BLOB);
    free(got);
    return true;
}

static void path_of(const scratch *s, unsigned n, char path[PM_CACHE_PATH_BYTES]) {
    uint8_t bytes[BLOB];
    pm_sha256 hash = fill(n, bytes);
    assert_int_equal(pm_cache_path(s->folder, &hash, path), PM_OK);
}

static bool is_there(const scratch *s, unsigned n) {
    char path[PM_CACHE_PATH_BYTES];
    path_of(s, n, path);
    return access(path, F_OK) == 0;
}

/* As if it had last been used so many seconds ago. */
static void age(const scratch *s, const char *path, time_t seconds) {
    const struct timespec at = {.tv_sec = time(NULL) - seconds};
    const struct timespec both[2] = {at, at};
    (void)s;
    assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
}

static void age_blob(const scratch *s, unsigned n, time_t seconds) {
    char path[PM_CACHE_PATH_BYTES];
    path_of(s, n, path);
    age(s, path, seconds);
}

static uint64_t bytes_in(const char *folder, size_t *files) {
    struct stat info;
    uint64_t bytes = 0;
    *files = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        if (d->d_name[0] == '.' || fstatat(dirfd(dir), d->d_name, &info, 0) != 0) continue;
        bytes += (uint64_t)info.st_size;
        ++*files;
    }
    closedir(dir);
    return bytes;
}

static void what_was_put_is_had_again_by_the_next_worker(void **state) {
    scratch *s = *state;
    int fd = -1;
    uint8_t bytes[BLOB];
    pm_sha256 hash = fill(1, bytes);
    open_cache(s, 100 * BLOB);
    assert_false(get(s->cache, 1));
    put(s, 1);
    open_cache(s, 100 * BLOB);
    assert_true(get(s->cache, 1));
    assert_true(pm_cache_find(s->cache, &hash, BLOB, &fd));
    assert_true(pm_cache_is_blob(fd, &hash, BLOB));
    assert_int_equal(close(fd), 0);
    assert_false(get(NULL, 1)); /* no cache at all */
    pm_cache_put(NULL, &hash, bytes, BLOB);
}

static void damaged_file_counts_as_none_and_goes(void **state) {
    scratch *s = *state;
    char path[PM_CACHE_PATH_BYTES];
    int found = -1;
    uint8_t bytes[BLOB];
    pm_sha256 hash = fill(2, bytes);
    open_cache(s, 100 * BLOB);
    path_of(s, 2, path);
    for (int how = 0; how < 4; how++) {
        put(s, 2);
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        if (how % 2 == 0)
            assert_int_equal(pwrite(fd, "?", 1, BLOB / 2), 1);
        else
            assert_int_equal(ftruncate(fd, BLOB / 2), 0);
        close(fd);
        assert_false(how < 2 ? get(s->cache, 2) : pm_cache_find(s->cache, &hash, BLOB, &found));
        assert_false(is_there(s, 2));
    }
    put(s, 2);
    assert_true(get(s->cache, 2));
}

static void least_recently_used_goes_first(void **state) {
    scratch *s = *state;
    open_cache(s, 10 * BLOB);
    for (unsigned n = 0; n < 10; n++) {
        put(s, n);
        age_blob(s, n, 1000 - 10 * (time_t)n);
    }
    assert_true(get(s->cache, 0)); /* used again */
    put(s, 10);
    assert_true(is_there(s, 0));
    assert_false(is_there(s, 1));
    assert_false(is_there(s, 2)); /* a tenth is made free at a time */
    for (unsigned n = 3; n <= 10; n++) assert_true(is_there(s, n));
}

static void one_that_is_being_read_may_go(void **state) {
    scratch *s = *state;
    int fd = -1;
    uint8_t bytes[BLOB], read_back[BLOB];
    pm_sha256 hash = fill(0, bytes);
    open_cache(s, 4 * BLOB);
    put(s, 0);
    assert_true(pm_cache_find(s->cache, &hash, BLOB, &fd));
    age_blob(s, 0, 1000);
    for (unsigned n = 1; n <= 8; n++) put(s, n);
    assert_false(is_there(s, 0));
    assert_int_equal(pread(fd, read_back, BLOB, 0), BLOB);
    assert_memory_equal(read_back, bytes, BLOB);
    close(fd);
}

static void old_partial_files_go_and_foreign_ones_stay(void **state) {
    scratch *s = *state;
    char blob[PM_CACHE_PATH_BYTES], path[4][PM_CACHE_PATH_BYTES + 32];
    size_t files;
    path_of(s, 0, blob);
    snprintf(path[0], sizeof path[0], "%s.0000abcd.part", blob);
    snprintf(path[1], sizeof path[1], "%s.0000abce.part", blob);
    snprintf(path[2], sizeof path[2], "%s/notes.txt", s->folder);
    snprintf(path[3], sizeof path[3], "%s/x.part", s->folder);
    for (int i = 0; i < 4; i++) {
        int fd = open(path[i], O_CREAT | O_WRONLY, 0600);
        assert_int_equal(write(fd, "x", 1), 1);
        close(fd);
        if (i != 1) age(s, path[i], 2 * 3600);
    }
    open_cache(s, BLOB);
    assert_int_equal(access(path[0], F_OK), -1);
    for (int i = 1; i < 4; i++) assert_int_equal(access(path[i], F_OK), 0);
    for (unsigned n = 0; n < 5; n++) put(s, n);
    assert_int_equal(access(path[2], F_OK), 0);
    bytes_in(s->folder, &files);
    assert_true(files >= 3);
}

/* A worker of many at one folder: puts and gets of the same few blobs. */
static void be_busy(const scratch *s, unsigned seed) {
    pm_cache *cache = NULL;
    scratch mine = *s;
    if (pm_cache_open(s->folder, 20 * BLOB, &cache)) _exit(1);
    mine.cache = cache;
    for (unsigned i = 0; i < 600; i++) {
        unsigned n = (i * 7 + seed * 13 + i / 11) % 50;
        if (!get(cache, n)) put(&mine, n); /* get asserts: never a wrong byte */
    }
    pm_cache_close(&cache);
    _exit(0);
}

static void several_processes_share_a_folder(void **state) {
    enum { WORKERS = 4 };
    scratch *s = *state;
    pid_t pids[WORKERS];
    size_t files;
    for (unsigned w = 0; w < WORKERS; w++) {
        pids[w] = fork();
        assert_true(pids[w] >= 0);
        if (pids[w] == 0) be_busy(s, w);
    }
    for (unsigned w = 0; w < WORKERS; w++) {
        int how = 0;
        assert_int_equal(waitpid(pids[w], &how, 0), pids[w]);
        assert_int_equal(how, 0);
    }
    /* Each knows of its own additions at once and of the others' at its next look. */
    assert_true(bytes_in(s->folder, &files) <= (uint64_t)(20 + WORKERS) * BLOB);
    open_cache(s, 20 * BLOB);
    assert_true(bytes_in(s->folder, &files) <= 20 * BLOB);
    assert_int_equal(bytes_in(s->folder, &files), files * BLOB); /* no partial one is left */
}

static void disk_that_takes_nothing_is_no_failure(void **state) {
    scratch *s = *state;
    const struct rlimit little = {BLOB / 2, RLIM_INFINITY};
    struct rlimit before;
    size_t files;
    open_cache(s, 100 * BLOB);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (unsigned n = 0; n < 10; n++) put(s, n);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(bytes_in(s->folder, &files), 0);
    assert_int_equal(files, 0);
    assert_int_not_equal(pm_cache_open("/proc/parchmill", BLOB, &s->cache), PM_OK);
}

static void expect_refusal(scratch *s, const char *folder, const char *why) {
    assert_int_equal(pm_cache_open(folder, BLOB, &s->cache), PM_E_DENIED);
    assert_null(s->cache);
    assert_non_null(strstr(pm_error_text(), folder));
    assert_non_null(strstr(pm_error_text(), why));
}

static void folder_that_others_may_write_is_refused(void **state) {
    scratch *s = *state;
    static const mode_t bad[] = {0770, 0707, 01777, 0720};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(chmod(s->folder, bad[i]), 0);
        expect_refusal(s, s->folder, "chmod go-w");
    }
    assert_int_equal(chmod(s->folder, 0755), 0);
    open_cache(s, BLOB);
}

/* The folder, and a link to one of ours that another could turn anywhere. */
static void folder_or_link_of_another_user_is_refused(void **state) {
    enum { ANOTHER = 12345 };
    scratch *s = *state;
    char link[96], with_slash[100];
    if (geteuid() != 0) skip(); /* only root can give something away */
    snprintf(link, sizeof link, "%s.link", s->folder);
    snprintf(with_slash, sizeof with_slash, "%s/", link);
    assert_int_equal(symlink(s->folder, link), 0);
    pm_status status = pm_cache_open(link, BLOB, &s->cache);
    pm_cache_close(&s->cache);
    assert_int_equal(lchown(link, ANOTHER, ANOTHER), 0);
    expect_refusal(s, link, "uid 12345");
    expect_refusal(s, with_slash, "uid 12345");
    unlink(link);
    assert_int_equal(status, PM_OK); /* a link of ours is our affair */
    assert_int_equal(chown(s->folder, ANOTHER, ANOTHER), 0);
    expect_refusal(s, s->folder, "name a folder of your own");
}

static void folder_that_is_made_is_for_this_user_alone(void **state) {
    scratch *s = *state;
    struct stat info;
    char folder[96];
    snprintf(folder, sizeof folder, "%s/a/b", s->folder);
    mode_t before = umask(0);
    pm_status status = pm_cache_open(folder, BLOB, &s->cache);
    umask(before);
    assert_int_equal(status, PM_OK);
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
}

static void links_in_the_folder_are_not_followed(void **state) {
    scratch *s = *state;
    char path[PM_CACHE_PATH_BYTES], elsewhere[96];
    uint8_t bytes[BLOB];
    int fd = -1;
    pm_sha256 hash = fill(3, bytes);
    open_cache(s, 100 * BLOB);
    put(s, 3);
    path_of(s, 3, path);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", s->folder);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_false(get(s->cache, 3));
    assert_false(pm_cache_find(s->cache, &hash, BLOB, &fd));
    put(s, 3); /* takes the link's place */
    assert_true(get(s->cache, 3));
    assert_true(pm_cache_find(s->cache, &hash, BLOB, &fd));
    close(fd);
}

static void sizes_are_read_strictly(void **state) {
    (void)state;
    uint64_t size = 0;
    static const char *const bad[] = {"", "G", "4GG", "-1", "1.5G", "4 G", "99999999999T", "4g"};
    assert_int_equal(pm_cache_parse_size("0", &size), PM_OK);
    assert_int_equal(size, 0);
    assert_int_equal(pm_cache_parse_size("123", &size), PM_OK);
    assert_int_equal(size, 123);
    assert_int_equal(pm_cache_parse_size("4G", &size), PM_OK);
    assert_true(size == (uint64_t)4 << 30);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pm_cache_parse_size(bad[i], &size), PM_E_USAGE);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH(what_was_put_is_had_again_by_the_next_worker),
        WITH(damaged_file_counts_as_none_and_goes),
        WITH(least_recently_used_goes_first),
        WITH(one_that_is_being_read_may_go),
        WITH(old_partial_files_go_and_foreign_ones_stay),
        WITH(several_processes_share_a_folder),
        WITH(disk_that_takes_nothing_is_no_failure),
        WITH(folder_that_others_may_write_is_refused),
        WITH(folder_or_link_of_another_user_is_refused),
        WITH(folder_that_is_made_is_for_this_user_alone),
        WITH(links_in_the_folder_are_not_followed),
        cmocka_unit_test(sizes_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

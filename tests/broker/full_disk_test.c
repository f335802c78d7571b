/* The broker on a disk that fills: it refuses new work, answers questions, keeps results that are
 * under way, and goes on when there is room. The disk is a small tmpfs in a mount namespace of this
 * test's own. */
#include "tests/broker/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/base/clock.h"

enum { ITEMS = 16 };
static char disk[] = "/tmp/pm_small_XXXXXX", ballast[64];

static void fill(void) {
    static const char block[4096];
    int fd = open(ballast, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof block) > 0) continue;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static bool is_paused(scene *s) {
    pm_message answer;
    assert_int_equal(pm_client_status(s->client, 0, WAIT_MS, &answer), PM_OK);
    const char *paused = answer.body->status->paused;
    bool is = paused && paused[0];
    pm_message_fini(&answer);
    return is;
}

static void until_paused(scene *s, bool want) {
    int64_t until_ms = pm_clock_ms() + WAIT_MS;
    while (is_paused(s) != want) assert_true(pm_clock_ms() < until_ms);
}

/* As fixture's submit, but what comes of it is told. */
static pm_status try_submit(scene *s, const char *name) {
    pm_config config = {.arch = "resnet18", .resize = 256, .crop = 224, .std = {1, 1, 1}};
    pm_run_spec spec = {.classes = 1000, .config_count = 1, .configs = &config};
    pm_item item = {.path = (char *)"new.png", .size_bytes = 5, .label = -1};
    pm_data_set set = {.root = s->folder, .name = (char *)"new", .count = 1, .items = &item};
    pm_accepted accepted;
    snprintf(spec.name, sizeof spec.name, "%s", name);
    snprintf(spec.weights_path, sizeof spec.weights_path, "%s/weights", s->folder);
    spec.weights_size = 10;
    config.weights = pm_sha256_of("0123456789", 10);
    config.target_rule = PM_TARGET_RULE_TOP;
    pm_attribution_defaults(&config.attribution);
    item.sha256 = pm_sha256_of("new", 3);
    return pm_client_submit(s->client, &spec, &set, NULL, false, WAIT_MS, &accepted);
}

static void until_recorded(worker *w, uint64_t ordinal) {
    uint64_t got;
    do {
        pm_message message;
        worker_await(w, PM__WIRE__MESSAGE__BODY_ITEM_RECORDED, &message);
        got = message.body->item_recorded->ordinal;
        pm_message_fini(&message);
    } while (got < ordinal);
}

static void full_disk_pauses_the_broker_and_loses_nothing(void **state) {
    scene *s = *state;
    worker w = {.link = NULL};
    pm_accepted run = submit(s, ITEMS, "full");
    worker_join(s, &w, NULL);
    worker_credit(&w, 1);
    worker_take(&w);
    worker_result(&w, w.first, w.token);
    until_recorded(&w, w.first);
    fill();
    /* Some may still find room in the log's last page. */
    for (uint64_t i = 1; i < w.items; i++) worker_result(&w, w.first + i, w.token);
    for (int i = 0; i < 200 && !is_paused(s); i++) (void)try_submit(s, "refused");
    until_paused(s, true);
    assert_int_equal(try_submit(s, "refused"), PM_E_FULL);
    int64_t there = ask(s, "SELECT count(*) FROM result"); /* questions are answered */
    assert_in_range(there, 1, w.items);
    assert_int_equal(unlink(ballast), 0);
    until_recorded(&w, w.first + w.items - 1);
    until_paused(s, false);
    assert_int_equal(try_submit(s, "accepted"), PM_OK);
    while (ask(s, "SELECT count(*) FROM task WHERE run_id = (SELECT min(run_id) FROM run)") > 0) {
        worker_credit(&w, 1);
        worker_take(&w);
        for (uint64_t i = 0; i < w.items; i++) worker_result(&w, w.first + i, w.token);
        until_recorded(&w, w.first + w.items - 1);
    }
    await_state(s, run.run, "done");
    assert_int_equal(ask(s, "SELECT count(*) FROM result JOIN data_set_item USING (image_id) JOIN "
                            "run USING (data_set_id) WHERE run.name = 'full' AND stage IS NULL"),
                     ITEMS);
    worker_leave(&w);
}

static int small_disk(void) {
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return -1;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return -1;
    if (!mkdtemp(disk) || mount("tmpfs", disk, "tmpfs", 0, "size=6m") != 0) return -1;
    snprintf(ballast, sizeof ballast, "%s/ballast", disk);
    return setenv("TMPDIR", disk, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(full_disk_pauses_the_broker_and_loses_nothing, scene_set_up,
                                        scene_tear_down),
    };
    if (small_disk() != 0) {
        printf("skipped: no mount namespace here (%s)\n", strerror(errno));
        return 77;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    umount2(disk, MNT_DETACH);
    rmdir(disk);
    return failed;
}

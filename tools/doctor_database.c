/* Owns the lines about a database: what is in the file, who has it, what it lies on. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/store/check.h"
#include "tools/doctor.h"

enum {
    QUICK_MIB = 2048,
    SPACE_FAIL_MIB = 64,
    SPACE_WARN_MIB = 1024,
    SYNC_SLOW_MS = 100,
    AHEAD_S = 5
};

static double mib(uint64_t bytes) { return (double)bytes / (1 << 20); }

/* ---- the file ---- */

static void say_identity(pm_doctor *d, const pm_database_facts *f) {
    if (!f->ours) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "database", "give another --db",
                      "another program's database (application id %#x)",
                      (unsigned)f->application_id);
    } else if (f->schema > f->schema_known) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "schema", "use a newer parchmill",
                      "the file has schema %d, this program knows up to %d", f->schema,
                      f->schema_known);
    } else if (f->schema < f->schema_known) {
        pm_doctor_say(d, PM_DOCTOR_WARN, "schema",
                      "the next broker brings it up to date; keep a copy if older programs are to "
                      "read it",
                      "the file has schema %d, this program %d", f->schema, f->schema_known);
    } else {
        pm_doctor_say(d, PM_DOCTOR_OK, "schema", NULL, "%d, as this program has it", f->schema);
    }
}

static void say_soundness(pm_doctor *d, const pm_database_facts *f) {
    const char *check = f->quick ? "quick_check" : "integrity_check";
    if (!f->sound)
        pm_doctor_say(d, PM_DOCTOR_FAIL, "integrity",
                      "stop the broker, copy the file and its -wal away, then take back a copy or "
                      "`sqlite3 FILE .recover`",
                      "%s: %s", check, f->trouble);
    else if (f->quick)
        pm_doctor_say(d, PM_DOCTOR_OK, "integrity", NULL,
                      "quick_check ok (above %d MiB indices and foreign keys are left out)",
                      QUICK_MIB);
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "integrity", NULL, "integrity_check ok");
    if (f->links_checked && f->links_broken)
        pm_doctor_say(d, PM_DOCTOR_FAIL, "integrity",
                      "something else than a broker wrote to it: take back a copy",
                      "%" PRIu64 " rows refer to rows that are not there", f->links_broken);
    else if (f->links_checked)
        pm_doctor_say(d, PM_DOCTOR_OK, "integrity", NULL, "foreign_key_check ok");
}

static void say_holder(pm_doctor *d, const pm_database_facts *f) {
    const bool wal = strcmp(f->journal_mode, "wal") == 0;
    if (f->held)
        pm_doctor_say(d, PM_DOCTOR_OK, "holder", NULL, "a broker serves it (pid %lu on %s)",
                      f->holder_pid, f->holder_host);
    else if (wal)
        pm_doctor_say(d, PM_DOCTOR_WARN, "holder",
                      "nothing is lost: the next broker recovers it; until then keep FILE-wal "
                      "beside it",
                      "nobody holds it, and it was not closed (journal mode wal)");
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "holder", NULL, "closed cleanly; nobody holds it");
    if (f->wal_bytes)
        pm_doctor_say(d, PM_DOCTOR_OK, "journal", NULL, "%.1f MiB in FILE-wal beside %.1f MiB",
                      mib(f->wal_bytes), mib(f->size_bytes));
}

static void say_clock(pm_doctor *d, const pm_database_facts *f) {
    const double ahead_s = (double)(f->last_write_ms - pm_clock_wall_ms()) / 1e3;
    if (!f->last_write_ms) return;
    if (ahead_s > AHEAD_S)
        pm_doctor_say(d, PM_DOCTOR_WARN, "clock",
                      "set this machine's clock (NTP), or that of who wrote it",
                      "the newest time in the database is %.0f s ahead of this clock", ahead_s);
    else
        pm_doctor_say(d, PM_DOCTOR_OK, "clock", NULL,
                      "the newest time in the database is behind this clock");
}

static void say_file(pm_doctor *d, const char *db) {
    pm_database_facts f;
    pm_status status = pm_database_check(db, (uint64_t)QUICK_MIB << 20, &f);
    if (status == PM_E_NOT_FOUND) {
        pm_doctor_say(d, PM_DOCTOR_WARN, "database", "a run makes it; or give the right --db",
                      "%s is not there", db);
        return;
    }
    if (status == PM_E_FORMAT || (!status && !f.ours)) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "database", "give another --db",
                      "%s is no database of parchmill", db);
        return;
    }
    if (status) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "database",
                      "look at the file's owner and permissions, and at the disk", "%s",
                      pm_error_text());
        say_holder(d, &f);
        return;
    }
    pm_doctor_say(d, PM_DOCTOR_OK, "database", NULL, "%s opens (%.1f MiB)", db, mib(f.size_bytes));
    say_identity(d, &f);
    say_soundness(d, &f);
    say_holder(d, &f);
    say_clock(d, &f);
}

/* ---- the folder ---- */

static const char *network_name(unsigned long magic) {
    static const struct {
        unsigned long magic;
        const char *name;
    } known[] = {{0x6969, "NFS"},        {0x517B, "SMB"},      {0xFF534D42, "CIFS"},
                 {0xFE534D42, "SMB2"},   {0x01021997, "9p"},   {0x00C36400, "Ceph"},
                 {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"}, {0x5346414F, "AFS"},
                 {0x65735546, "FUSE"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].magic == (magic & 0xFFFFFFFF)) return known[i].name;
    return NULL;
}

static void say_disk(pm_doctor *d, const char *folder) {
    enum { TMPFS = 0x01021994 };
    struct statfs fs;
    if (statfs(folder, &fs) != 0) {
        pm_doctor_say(d, PM_DOCTOR_FAIL, "disk", "make the folder, or give another --db", "%s: %s",
                      folder, strerror(errno));
        return;
    }
    const char *network = network_name((unsigned long)fs.f_type);
    const double free_mib = (double)fs.f_bavail * (double)fs.f_bsize / (1 << 20);
    pm_doctor_level level = free_mib < SPACE_FAIL_MIB   ? PM_DOCTOR_FAIL
                            : free_mib < SPACE_WARN_MIB ? PM_DOCTOR_WARN
                                                        : PM_DOCTOR_OK;
    pm_doctor_say(d, level, "disk",
                  level ? "make room: on a full disk a broker refuses new work and waits" : NULL,
                  "%.0f MiB free", free_mib);
    if (network)
        pm_doctor_say(d, PM_DOCTOR_WARN, "disk",
                      "keep the database on a local disk of the broker's machine: locks and fsync "
                      "over a network are not to be trusted",
                      "%s is a network file system (%s)", folder, network);
    else if ((unsigned long)fs.f_type == TMPFS)
        pm_doctor_say(d, PM_DOCTOR_WARN, "disk", "keep the database on a disk",
                      "%s lies in memory (tmpfs): nothing of it survives the power", folder);
}

/* NULL: all of it works; else what did not. */
static const char *try_file(int fd, double *sync_ms) {
    char block[4096] = {0};
    if (write(fd, block, sizeof block) != (ssize_t)sizeof block) return "write";
    int64_t start_us = pm_clock_us();
    if (fsync(fd) != 0) return "fsync";
    *sync_ms = (double)(pm_clock_us() - start_us) / 1e3;
    return flock(fd, LOCK_EX | LOCK_NB) != 0 ? "lock" : NULL;
}

static void say_folder(pm_doctor *d, const char *folder) {
    char path[4200];
    double sync_ms = 0;
    snprintf(path, sizeof path, "%s/.parchmill-doctor-XXXXXX", folder);
    int fd = mkostemp(path, O_CLOEXEC);
    const char *wrong = fd < 0 ? "write" : try_file(fd, &sync_ms);
    int error = errno;
    if (fd >= 0) {
        unlink(path);
        close(fd);
    }
    if (wrong)
        pm_doctor_say(d, PM_DOCTOR_FAIL, "folder",
                      "a broker must be able to: look at owner, permissions and mount options",
                      "cannot %s in %s: %s", wrong, folder, strerror(error));
    else
        pm_doctor_say(d, sync_ms > SYNC_SLOW_MS ? PM_DOCTOR_WARN : PM_DOCTOR_OK, "folder",
                      sync_ms > SYNC_SLOW_MS ? "a slow disk bounds what a broker records" : NULL,
                      "files can be made, locked and synced (fsync %.1f ms)", sync_ms);
}

void pm_doctor_database(pm_doctor *d) {
    const char *db = pm_options_text(d->options, PM_OPT_DB);
    char folder[4096];
    /* With a broker alone the file is on another machine, perhaps. */
    if (!pm_options_given(d->options, PM_OPT_DB) && pm_options_given(d->options, PM_OPT_BROKER))
        return;
    const char *slash = strrchr(db, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - db) + (slash == db) : 1,
             slash ? db : ".");
    say_file(d, db);
    say_disk(d, folder);
    say_folder(d, folder);
}

/* Owns what the campaigns share; see campaign.h. */
#include "tests/campaign/campaign.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/random.h"
#include "lib/store/query.h"

enum { FIRST_ROWS = 64 };

uint64_t luck_below(luck *l, uint64_t n) {
    return pm_splitmix64(pm_splitmix64(l->seed) + l->drawn++) % n;
}

bool luck_one_in(luck *l, uint64_t n) { return luck_below(l, n) == 0; }

pm_status campaign_folder(bool fast, char out[CAMPAIGN_PATH]) {
    const char *root = getenv("TMPDIR");
    if (!root) root = fast && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    char path[CAMPAIGN_PATH];
    if (snprintf(path, sizeof path, "%s/pm_campaign_XXXXXX", root) >= (int)sizeof path)
        return pm_fail(PM_E_LIMIT, "TMPDIR is too long");
    if (!mkdtemp(path)) return pm_fail(PM_E_IO, "%s: %s", path, strerror(errno));
    memcpy(out, path, sizeof path);
    return PM_OK;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void campaign_remove(const char *folder) {
    if (folder[0]) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void campaign_empty(const char *folder) {
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir) closedir(dir);
}

/* ---- questions ---- */

static pm_status ask_each(const char *db, const char *sql, const pm_query_sink *sink) {
    const pm_query_limits limits = {0};
    pm_query *query = NULL;
    pm_status status = pm_query_open(db, &limits, &query);
    if (!status) status = pm_query_run(query, sql, NULL, 0, sink, NULL);
    pm_query_close(&query);
    return status;
}

static pm_status take_first(void *user, size_t count, const pm_value *values) {
    int64_t *out = user;
    if (count && *out == -1) *out = values[0].kind == PM_VALUE_INTEGER ? values[0].integer : -1;
    return PM_OK;
}

pm_status campaign_ask_in(pm_query *query, const char *sql, int64_t *out) {
    int64_t value = -1;
    const pm_query_sink sink = {.user = &value, .row = take_first};
    pm_status status = pm_query_run(query, sql, NULL, 0, &sink, NULL);
    if (!status) *out = value;
    return status;
}

pm_status campaign_ask(const char *db, const char *sql, int64_t *out) {
    const pm_query_limits limits = {0};
    pm_query *query = NULL;
    pm_status status = pm_query_open(db, &limits, &query);
    if (!status) status = campaign_ask_in(query, sql, out);
    pm_query_close(&query);
    return status;
}

/* The queries' connection does not let these pragmas through. */
static pm_status each_pragma(sqlite3 *db, const char *sql, const char *want) {
    sqlite3_stmt *statement = NULL;
    pm_status status = PM_OK;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    while (code == SQLITE_OK && !status && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (!want || !text || strcmp(text, want) != 0)
            status = pm_fail(PM_E_FORMAT, "%s: %s", sql, text ? text : "NULL");
        code = SQLITE_OK;
    }
    if (!status && code != SQLITE_DONE)
        status = pm_fail(PM_E_IO, "%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_finalize(statement);
    return status;
}

pm_status campaign_sound(const char *path) {
    sqlite3 *db = NULL;
    pm_status status = PM_OK;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        status = pm_fail(PM_E_IO, "%s: %s", path, sqlite3_errmsg(db));
    if (!status) sqlite3_busy_timeout(db, 10000);
    if (!status) status = each_pragma(db, "PRAGMA integrity_check", "ok");
    if (!status) status = each_pragma(db, "PRAGMA foreign_key_check", NULL);
    sqlite3_close(db);
    return status;
}

/* ---- pictures ---- */

static pm_status take_channel(void *user, size_t count, const pm_value *values) {
    picture *p = user;
    if (p->channel_count % FIRST_ROWS == 0) {
        size_t capacity = p->channel_count + FIRST_ROWS;
        double(*more)[3] = realloc(p->channels, capacity * sizeof *more);
        if (!more) return pm_fail(PM_E_MEMORY, "no memory for channels");
        p->channels = more;
    }
    for (size_t i = 0; i < 3 && i < count; i++)
        p->channels[p->channel_count][i] =
            values[i].kind == PM_VALUE_INTEGER ? (double)values[i].integer : values[i].real;
    p->channel_count++;
    return PM_OK;
}

pm_status picture_take(const char *db, picture *out) {
    picture p = {0};
    size_t size = 0;
    const pm_query_sink sink = {.user = &p, .row = take_channel};
    FILE *file = open_memstream(&p.dump, &size);
    if (!file) return pm_fail(PM_E_MEMORY, "no memory for a dump");
    pm_status status = pm_store_dump(db, file);
    fclose(file);
    if (!status)
        status = ask_each(db,
                          "SELECT g.count, g.mean, g.std FROM channel_gradient AS g"
                          " JOIN configuration AS c USING (configuration_id)"
                          " JOIN layer AS l USING (layer_id)"
                          " ORDER BY c.sha256, c.engine_version, l.conv, g.channel, g.class",
                          &sink);
    if (status) {
        picture_fini(&p);
        return status;
    }
    *out = p;
    return PM_OK;
}

void picture_fini(picture *p) {
    free(p->dump);
    free(p->channels);
    *p = (picture){0};
}

static pm_status same_channels(const picture *want, const picture *got) {
    if (want->channel_count != got->channel_count)
        return pm_fail(PM_E_MISMATCH, "%zu rows of channel_gradient, not %zu", got->channel_count,
                       want->channel_count);
    for (size_t row = 0; row < want->channel_count; row++)
        for (size_t i = 0; i < 3; i++) {
            double a = want->channels[row][i], b = got->channels[row][i];
            if (!(fabs(a - b) <= (i ? 1e-9 * fmax(fabs(a), fabs(b)) : 0)))
                return pm_fail(PM_E_MISMATCH, "channel_gradient row %zu: %s %.17g, not %.17g", row,
                               i == 0   ? "count"
                               : i == 1 ? "mean"
                                        : "std",
                               b, a);
        }
    return PM_OK;
}

pm_status picture_same(const picture *want, const picture *got) {
    const char *a = want->dump, *b = got->dump;
    size_t at = 0, line = 1;
    while (a[at] && a[at] == b[at]) line += a[at++] == '\n';
    if (!a[at] && !b[at]) return same_channels(want, got);
    while (at > 0 && a[at - 1] != '\n') at--;
    return pm_fail(PM_E_MISMATCH, "the results part at line %zu: \"%.*s\", not \"%.*s\"", line,
                   (int)strcspn(b + at, "\n"), b + at, (int)strcspn(a + at, "\n"), a + at);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t campaign_percentile(int64_t *values, size_t count, double p) {
    if (!count) return 0;
    qsort(values, count, sizeof *values, by_size);
    return values[(size_t)(p * (double)(count - 1) + 0.5)];
}

/* Owns the way from the database's rows back to a statistics file. */
#include "tools/statistics/named.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/store/query.h"
#include "tools/statistics/file.h"
#include "tools/statistics/keep.h"

static const pm_query_limits no_limits = {0};

/* ---- what a name stands for ---- */

typedef struct finding {
    pm_stats_named named;
    int64_t id;
    uint64_t images;
    bool found;
    char names[512]; /* all that there are, for the error */
} finding;

static pm_status take_hash(const pm_value *value, pm_sha256 *out) {
    return pm_sha256_parse(value->kind == PM_VALUE_TEXT ? value->text : "", out);
}

static pm_status take_named(void *user, size_t count, const pm_value *v) {
    finding *f = user;
    (void)count;
    f->found = true;
    f->id = v[0].integer;
    f->images = (uint64_t)v[3].integer;
    f->named.gathered = v[5].kind == PM_VALUE_TEXT;
    snprintf(f->named.arch, sizeof f->named.arch, "%s", v[2].text);
    pm_status status = take_hash(&v[1], &f->named.sha256);
    if (!status) status = take_hash(&v[4], &f->named.weights);
    if (!status && f->named.gathered) status = take_hash(&v[5], &f->named.data_set);
    if (!status && f->named.gathered) status = take_hash(&v[6], &f->named.configuration);
    return status;
}

static pm_status take_name(void *user, size_t count, const pm_value *values) {
    finding *f = user;
    (void)count;
    size_t used = strlen(f->names);
    snprintf(f->names + used, sizeof f->names - used, "%s%s", used ? ", " : "", values[0].text);
    return PM_OK;
}

static pm_status not_found(const pm_asker *from, const char *db, const char *name, finding *f) {
    const pm_query_sink sink = {.user = f, .row = take_name};
    pm_status status =
        from->ask(from->user, "SELECT name FROM statistics WHERE name IS NOT NULL ORDER BY name",
                  NULL, 0, &sink);
    if (status) return status;
    if (!f->names[0])
        return pm_fail(PM_E_NOT_FOUND,
                       "%.200s has no statistics by name, so none called '%.80s'; "
                       "`parchmill stats` makes them",
                       db, name);
    return pm_fail(PM_E_NOT_FOUND, "%.200s has no statistics called '%.80s'; there are: %s", db,
                   name, f->names);
}

static pm_status find(const pm_asker *from, const char *db, const char *name, finding *out) {
    finding f = {0};
    const pm_query_sink sink = {.user = &f, .row = take_named};
    const pm_value value = {.kind = PM_VALUE_TEXT, .text = name, .size = strlen(name)};
    snprintf(f.named.name, sizeof f.named.name, "%s", name);
    pm_status status = from->ask(
        from->user,
        "SELECT s.statistics_id, s.sha256, model.arch, ifnull(s.images, 0), model.weights_sha256,"
        " data_set.sha256, c.sha256 FROM statistics AS s JOIN model USING (model_id)"
        " LEFT JOIN data_set ON data_set.data_set_id = s.data_set_id"
        " LEFT JOIN configuration AS c ON c.configuration_id = s.configuration_id"
        " WHERE s.name = ?1",
        &value, 1, &sink);
    if (!status && !f.found) status = not_found(from, db, name, &f);
    if (!status) *out = f;
    return status;
}

static pm_status ask_file(void *user, const char *sql, const pm_value *parameters, size_t count,
                          const pm_query_sink *sink) {
    return pm_query_run(user, sql, parameters, count, sink, NULL);
}

pm_status pm_stats_named_find(const char *db, const char *name, pm_stats_named *out) {
    pm_query *query = NULL;
    finding f;
    pm_status status = pm_query_open(db, &no_limits, &query);
    const pm_asker from = {query, ask_file};
    if (!status) status = find(&from, db, name, &f);
    pm_query_close(&query);
    if (!status) *out = f.named;
    return status;
}

/* ---- from rows to a file ---- */

typedef struct writing {
    pm_stats_shape shape;
    pm_stats_file *file;
    size_t conv, column;    /* where the next row belongs */
    size_t channel;         /* among all channels */
    float *welch, *student; /* [most channels][class_count] of a convolution */
} writing;

static pm_status bad_rows(void) {
    return pm_fail(PM_E_FORMAT, "database: rows of the statistics are missing or doubled");
}

static pm_status take_layer(void *user, size_t count, const pm_value *v) {
    writing *w = user;
    (void)count;
    if ((size_t)v[0].integer != w->shape.conv_count || v[2].integer < 1) return bad_rows();
    return pm_stats_shape_add(&w->shape, v[1].text, (size_t)v[2].integer);
}

static pm_status take_class(void *user, size_t count, const pm_value *v) {
    writing *w = user;
    (void)count;
    uint32_t *classes = realloc(w->shape.classes, (w->shape.class_count + 1) * sizeof *classes);
    if (!classes) return pm_fail(PM_E_MEMORY, "no memory for the classes");
    w->shape.classes = classes;
    classes[w->shape.class_count++] = (uint32_t)v[0].integer;
    return PM_OK;
}

static pm_status take_parts(void *user, size_t count, const pm_value *v) {
    writing *w = user;
    (void)count;
    w->shape.has[PM_STATS_SHAPIRO] = true;
    w->shape.has[PM_STATS_MEAN] = w->shape.has[PM_STATS_STD] = v[0].integer != 0;
    w->shape.has[PM_STATS_WELCH] = v[1].integer != 0;
    w->shape.has[PM_STATS_STUDENT] = v[2].integer != 0;
    return PM_OK;
}

static pm_status read_shape(const pm_asker *from, const pm_value *id, writing *w) {
    pm_query_sink sink = {.user = w, .row = take_layer};
    pm_status status = from->ask(from->user,
                                 "SELECT conv, name, channels FROM layer_statistics"
                                 " JOIN layer USING (layer_id) WHERE statistics_id = ?1"
                                 " ORDER BY conv",
                                 id, 1, &sink);
    sink.row = take_class;
    if (!status)
        status = from->ask(from->user,
                           "SELECT class FROM class_statistics JOIN layer USING (layer_id)"
                           " WHERE statistics_id = ?1 AND conv = 0 ORDER BY class",
                           id, 1, &sink);
    sink.row = take_parts;
    if (!status)
        status =
            from->ask(from->user,
                      "SELECT EXISTS (SELECT 1 FROM channel_statistics WHERE statistics_id = ?1"
                      " AND mean IS NOT NULL), EXISTS (SELECT 1 FROM class_statistics"
                      " WHERE statistics_id = ?1 AND welch_p IS NOT NULL), EXISTS (SELECT 1"
                      " FROM class_statistics WHERE statistics_id = ?1 AND student_p IS NOT NULL)",
                      id, 1, &sink);
    return status || w->shape.conv_count ? status : bad_rows();
}

/* NULL is 0: a deviation of fewer than two images. */
static pm_status put(writing *w, pm_stats_part part, const pm_value *value) {
    const float number = value->kind == PM_VALUE_REAL ? (float)value->real : 0;
    if (!w->shape.has[part]) return PM_OK;
    return pm_stats_file_put(w->file, part, w->channel, 1, &number);
}

static pm_status take_channel(void *user, size_t count, const pm_value *v) {
    writing *w = user;
    (void)count;
    if (w->conv >= w->shape.conv_count) return bad_rows();
    const pm_stats_conv *conv = &w->shape.convs[w->conv];
    if ((size_t)v[0].integer != w->conv || (size_t)v[1].integer != w->channel - conv->first)
        return bad_rows();
    pm_status status = put(w, PM_STATS_MEAN, &v[2]);
    if (!status) status = put(w, PM_STATS_STD, &v[3]);
    if (!status) status = put(w, PM_STATS_SHAPIRO, &v[4]);
    if (++w->channel == conv->first + conv->channels) w->conv++;
    return status;
}

/* The blob of one class into its column. */
static pm_status put_column(writing *w, const pm_value *blob, bool wanted, float *rows) {
    const size_t channels = w->shape.convs[w->conv].channels;
    if (!wanted) return PM_OK;
    if (blob->kind != PM_VALUE_BLOB || blob->size != channels * sizeof *rows) return bad_rows();
    for (size_t c = 0; c < channels; c++)
        memcpy(&rows[c * w->shape.class_count + w->column], blob->text + c * sizeof *rows,
               sizeof *rows);
    return PM_OK;
}

static pm_status end_conv(writing *w) {
    const pm_stats_conv *conv = &w->shape.convs[w->conv++];
    pm_status status = PM_OK;
    w->column = 0;
    if (w->shape.has[PM_STATS_WELCH])
        status = pm_stats_file_put(w->file, PM_STATS_WELCH, conv->first, conv->channels, w->welch);
    if (!status && w->shape.has[PM_STATS_STUDENT])
        status =
            pm_stats_file_put(w->file, PM_STATS_STUDENT, conv->first, conv->channels, w->student);
    return status;
}

static pm_status take_tests(void *user, size_t count, const pm_value *v) {
    writing *w = user;
    (void)count;
    if (w->conv >= w->shape.conv_count || (size_t)v[0].integer != w->conv ||
        (uint32_t)v[1].integer != w->shape.classes[w->column])
        return bad_rows();
    pm_status status = put_column(w, &v[2], w->shape.has[PM_STATS_WELCH], w->welch);
    if (!status) status = put_column(w, &v[3], w->shape.has[PM_STATS_STUDENT], w->student);
    if (!status && ++w->column == w->shape.class_count) status = end_conv(w);
    return status;
}

static pm_status make_room(writing *w) {
    size_t most = 1;
    for (size_t i = 0; i < w->shape.conv_count; i++)
        if (w->shape.convs[i].channels > most) most = w->shape.convs[i].channels;
    w->welch = malloc(most * (w->shape.class_count + 1) * sizeof *w->welch);
    w->student = malloc(most * (w->shape.class_count + 1) * sizeof *w->student);
    return w->welch && w->student ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for the statistics");
}

static pm_status write_rows(const pm_asker *from, const pm_value *id, writing *w) {
    pm_query_sink sink = {.user = w, .row = take_channel};
    pm_status status = from->ask(from->user,
                                 "SELECT conv, channel, mean, std, shapiro_p"
                                 " FROM channel_statistics JOIN layer USING (layer_id)"
                                 " WHERE statistics_id = ?1 ORDER BY conv, channel",
                                 id, 1, &sink);
    if (!status && w->channel != w->shape.channels) status = bad_rows();
    if (status || !w->shape.class_count) return status;
    w->conv = 0;
    sink.row = take_tests;
    status = from->ask(from->user,
                       "SELECT conv, class, welch_p, student_p FROM class_statistics"
                       " JOIN layer USING (layer_id) WHERE statistics_id = ?1"
                       " ORDER BY conv, class",
                       id, 1, &sink);
    return status || w->conv == w->shape.conv_count ? status : bad_rows();
}

/* `path` NULL: into the folder, by hash. */
static pm_status write_file(const pm_asker *from, const finding *f, const char *folder,
                            const char *path) {
    writing w = {0};
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = f->id};
    pm_sha256 hash;
    uint64_t size;
    pm_status status = read_shape(from, &id, &w);
    snprintf(w.shape.arch, sizeof w.shape.arch, "%s", f->named.arch);
    w.shape.images = f->images;
    if (!status) status = make_room(&w);
    if (!status) status = pm_stats_file_new(&w.shape, folder, &w.file);
    if (!status) status = write_rows(from, &id, &w);
    if (!status) status = pm_stats_file_seal(w.file, &hash, &size);
    /* What a configuration was made with must be what comes back. */
    if (!status && !pm_sha256_equal(&hash, &f->named.sha256))
        status = pm_fail(PM_E_FORMAT, "database: the numbers of statistics '%s' have changed",
                         f->named.name);
    if (!status) status = pm_stats_file_keep(w.file, path);
    pm_stats_file_free(&w.file);
    pm_stats_shape_fini(&w.shape);
    free(w.welch);
    free(w.student);
    return status;
}

/* ---- for the command ---- */

static pm_status check_model(const pm_stats_named *named, const char *arch,
                             const pm_sha256 *weights) {
    if (strcmp(named->arch, arch) == 0 && pm_sha256_equal(&named->weights, weights)) return PM_OK;
    char theirs[PM_SHA256_HEX_BYTES], ours[PM_SHA256_HEX_BYTES];
    pm_sha256_hex(&named->weights, theirs);
    pm_sha256_hex(weights, ours);
    return pm_fail(PM_E_MISMATCH,
                   "statistics '%s' are of %s with weights %.12s..., not of %s with %.12s...",
                   named->name, named->arch, theirs, arch, ours);
}

static bool is_there(const char *path, const pm_sha256 *hash) {
    pm_sha256 found;
    return access(path, R_OK) == 0 && pm_sha256_file(path, &found) == PM_OK &&
           pm_sha256_equal(&found, hash);
}

pm_status pm_stats_named_file(const char *db, const char *name, const char *arch,
                              const pm_sha256 *weights, char path[PM_STATS_PATH_BYTES]) {
    pm_query *query = NULL;
    finding f;
    char hex[PM_SHA256_HEX_BYTES], *folder = pm_stats_folder(db);
    pm_status status =
        folder ? pm_query_open(db, &no_limits, &query) : pm_fail(PM_E_MEMORY, "no memory");
    const pm_asker from = {query, ask_file};
    if (!status) status = find(&from, db, name, &f);
    if (!status) status = check_model(&f.named, arch, weights);
    if (!status) {
        pm_sha256_hex(&f.named.sha256, hex);
        if (snprintf(path, PM_STATS_PATH_BYTES, "%s/%s.safetensors", folder, hex) >=
            PM_STATS_PATH_BYTES)
            status = pm_fail(PM_E_LIMIT, "%.200s: the path is too long", db);
    }
    if (!status && !is_there(path, &f.named.sha256)) status = write_file(&from, &f, folder, NULL);
    pm_query_close(&query);
    free(folder);
    return status;
}

pm_status pm_stats_named_export_from(const pm_asker *from, const char *where, const char *name,
                                     const char *path) {
    finding f;
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    pm_status status = folder ? PM_OK : pm_fail(PM_E_MEMORY, "no memory");
    if (!status) status = find(from, where, name, &f);
    if (!status) status = write_file(from, &f, folder, path);
    free(folder);
    return status;
}

pm_status pm_stats_named_export(const char *db, const char *name, const char *path) {
    pm_query *query = NULL;
    pm_status status = pm_query_open(db, &no_limits, &query);
    const pm_asker from = {query, ask_file};
    if (!status) status = pm_stats_named_export_from(&from, db, name, path);
    pm_query_close(&query);
    return status;
}

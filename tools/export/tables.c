/* Owns the list of tidy tables, their SQL and the words for columns that the schema has none for.
 */
#include "tools/export/tables.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/store/describe.h"

/* Order is by what names a row, so that two exports of one run are the same bytes. */
static const struct table {
    const char *name, *about, *sql;
} tables[] = {
    {"results", "one row for each image and configuration: numbers, or the error",
     "SELECT * FROM result_wide WHERE run = ?1 ORDER BY configuration, image"},
    {"curves", "perturbation curves: one row for each image, configuration, curve and ratio",
     "SELECT rc.run_id AS run, i.path AS image, p.configuration_id AS configuration,"
     " r.evaluation, p.curve, p.ratio, p.p_target, p.aopc, p.lodds, p.fracdiff, p.correct"
     " FROM run_configuration AS rc JOIN run ON run.run_id = rc.run_id"
     " JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
     " JOIN result AS r ON r.configuration_id = rc.configuration_id AND r.image_id = i.image_id"
     " JOIN perturbation AS p ON p.configuration_id = rc.configuration_id"
     " AND p.image_id = i.image_id WHERE rc.run_id = ?1"
     " ORDER BY configuration, image, p.curve, p.ratio"},
    {"layers", "the gradient at each hooked layer: one row for each image, configuration and layer",
     "SELECT * FROM layer_gradient_wide WHERE run = ?1 ORDER BY configuration, image, conv"},
    {"channels",
     "spatial variance of the gradient by channel, over all images that the configuration has "
     "results of (count), also those of other runs",
     "SELECT s.* FROM channel_gradient_summary AS s JOIN run_configuration AS rc"
     " ON rc.configuration_id = s.configuration WHERE rc.run_id = ?1"
     " ORDER BY s.configuration, s.conv, s.class, s.channel"},
    {"configurations", "one row for each configuration of the run, in the order submitted",
     "SELECT rc.ordinal, c.configuration_id AS configuration, c.label, c.sha256, c.engine_version,"
     " m.arch AS model, m.weights_sha256, s.name AS statistics, s.sha256 AS statistics_sha256,"
     " c.method, c.guided, c.steps, c.baseline, c.samples, c.sigma, c.cam_layer, c.mask,"
     " c.quantile, c.alpha, c.p_value_threshold, c.test, c.layers, c.gamma, c.exact,"
     " c.variance_conservation, c.target, c.boxes, c.resize, c.crop, c.filter, c.input,"
     " c.transform_input, c.seed, c.text FROM run_configuration AS rc"
     " JOIN configuration AS c ON c.configuration_id = rc.configuration_id"
     " JOIN model AS m ON m.model_id = c.model_id"
     " LEFT JOIN statistics AS s ON s.statistics_id = c.statistics_id"
     " WHERE rc.run_id = ?1 ORDER BY rc.ordinal"},
    {"images", "one row for each image of the run, in its order; the box is the first one",
     "SELECT i.item, i.path AS image, p.sha256, p.label, n.name AS label_name, p.width, p.height,"
     " p.size_bytes, b.xmin, b.ymin, b.xmax, b.ymax,"
     " (SELECT count(*) FROM box WHERE box.image_id = p.image_id) AS boxes"
     " FROM run JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
     " JOIN image AS p ON p.image_id = i.image_id"
     " LEFT JOIN class_name AS n ON n.data_set_id = run.data_set_id AND n.class = p.label"
     " LEFT JOIN box AS b ON b.image_id = p.image_id AND b.ordinal = 0"
     " WHERE run.run_id = ?1 ORDER BY i.item"},
    {"boxes", "one row for each box of each image, in pixels of the photograph",
     "SELECT i.item, i.path AS image, b.ordinal, b.xmin, b.ymin, b.xmax, b.ymax"
     " FROM run JOIN data_set_item AS i ON i.data_set_id = run.data_set_id"
     " JOIN box AS b ON b.image_id = i.image_id WHERE run.run_id = ?1"
     " ORDER BY i.item, b.ordinal"},
    {"failures", "a diary of what went wrong, also what a later try put right",
     "SELECT f.run_id AS run, f.item, i.path AS image, f.configuration_id AS configuration,"
     " f.stage, f.reason, f.text, f.hint, w.name AS worker, f.at_ms FROM failure AS f"
     " JOIN run ON run.run_id = f.run_id"
     " LEFT JOIN data_set_item AS i ON i.data_set_id = run.data_set_id AND i.item = f.item"
     " LEFT JOIN worker AS w ON w.worker_id = f.worker_id WHERE f.run_id = ?1"
     " ORDER BY f.item, f.failure_id"},
};
enum { TABLES = sizeof tables / sizeof *tables };

/* For expressions, and where the schema's words would be wrong out of their table. */
static const struct {
    const char *table, *column, *text;
} words[] = {
    {NULL, "run", "number of the run"},
    {NULL, "configuration", "number of the configuration, as in the table configurations"},
    {NULL, "selected_share", "selected over count"},
    {NULL, "boxes", "how many boxes the image has"},
    {NULL, "class", "target class; NULL: all"},
    {NULL, "energy_in", "mu_in by its name in Score-CAM's energy-based pointing game"},
    {"configurations", "statistics", "their name; NULL: mask off, or only a file"},
};

static const char *word_for(const char *table, const char *column, bool expression) {
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        bool meant = words[i].table ? strcmp(words[i].table, table) == 0
                                    : expression || i < 2 || strcmp(column, "energy_in") == 0;
        if (meant && strcmp(words[i].column, column) == 0) return words[i].text;
    }
    return NULL;
}

/* ---- describing ---- */

typedef struct describer {
    const char *table;
    json_t *columns;
} describer;

static pm_status take_origin(void *user, const char *name, const char *type, const char *table,
                             const char *column) {
    const describer *d = user;
    char comment[512];
    pm_schema_comment(table, column, comment, sizeof comment);
    const char *word = word_for(d->table, name, !table[0]);
    json_t *row = json_pack("{s:s, s:s, s:s}", "name", name, "type",
                            type[0]                               ? type
                            : strcmp(name, "selected_share") == 0 ? "REAL"
                                                                  : "INTEGER",
                            "description", word ? word : comment);
    if (row && json_array_append_new(d->columns, row) == 0) return PM_OK;
    return pm_fail(PM_E_MEMORY, "no memory for the descriptions");
}

/* Adds {"name", "file", "rows", "description", "columns"} to `list`. */
static pm_status describe(const pm_export_run *run, const struct table *table, const char *file,
                          size_t rows, json_t *list) {
    describer d = {table->name, json_array()};
    pm_status status = d.columns ? pm_query_origins(run->query, table->sql, take_origin, &d)
                                 : pm_fail(PM_E_MEMORY, "no memory for the descriptions");
    json_t *entry =
        status ? NULL
               : json_pack("{s:s, s:s, s:I, s:s, s:O}", "name", table->name, "file", file, "rows",
                           (json_int_t)rows, "description", table->about, "columns", d.columns);
    json_decref(d.columns);
    if (!status && (!entry || json_array_append_new(list, entry) != 0))
        status = pm_fail(PM_E_MEMORY, "no memory for the descriptions");
    return status;
}

static pm_status write_json(const pm_export_run *run, pm_rows_format format, json_t *list,
                            FILE *out) {
    json_t *root =
        json_pack("{s:i, s:s, s:{s:I, s:s*, s:s}, s:O}", PM_OUT_MARK_KEY, 1, "format",
                  format == PM_ROWS_CSV ? "csv" : "jsonl", "run", "number", (json_int_t)run->run,
                  "name", run->name, "state", run->state, "tables", list);
    if (!root) return pm_fail(PM_E_FORMAT, "the name of run %" PRId64 " is no UTF-8", run->run);
    errno = 0;
    int code = json_dumpf(root, out, JSON_INDENT(1));
    if (code == 0) fputc('\n', out);
    json_decref(root);
    return code == 0 ? PM_OK : pm_fail_errno(errno);
}

static pm_status write_readme(const pm_export_run *run, pm_rows_format format, json_t *list,
                              FILE *out) {
    size_t i, k;
    json_t *table, *column;
    char name[256];
    pm_text_clean(run->name, name, sizeof name);
    fprintf(out, "Run %" PRId64 "%s%s of a parchmill database, %s.\n\n", run->run,
            name[0] ? " " : "", name, run->state);
    fputs(
        format == PM_ROWS_CSV
            ? "CSV as in RFC 4180, UTF-8, with a line of names. NULL is an empty field, an empty "
              "text is \"\".\nInfinity is Inf.\n"
            : "JSON Lines: one object a line, UTF-8. NULL is null. Infinity is the text \"Inf\".\n",
        out);
    fputs("Real numbers read back to the bit. Times end in _ms: milliseconds since "
          "1970-01-01T00:00:00Z;\nms alone is a duration. What is said here is in tables.json for "
          "programs.\n",
          out);
    json_array_foreach(list, i, table) {
        fprintf(out, "\n%s (%" JSON_INTEGER_FORMAT " rows): %s\n",
                json_string_value(json_object_get(table, "file")),
                json_integer_value(json_object_get(table, "rows")),
                json_string_value(json_object_get(table, "description")));
        json_array_foreach(json_object_get(table, "columns"), k, column)
            fprintf(out, "  %-22s %-8s %s\n", json_string_value(json_object_get(column, "name")),
                    json_string_value(json_object_get(column, "type")),
                    json_string_value(json_object_get(column, "description")));
    }
    return PM_OK;
}

/* ---- writing ---- */

static pm_status write_table(const pm_export_run *run, pm_rows_format format,
                             const struct table *table, const char *file, pm_out *out,
                             size_t *count) {
    FILE *stream = NULL;
    pm_rows *rows = NULL;
    const pm_value id = {.kind = PM_VALUE_INTEGER, .integer = run->run};
    pm_status status = pm_out_stream(out, file, &stream);
    if (!status) status = pm_rows_new(format, stream, &rows);
    if (!status) {
        const pm_query_sink sink = pm_rows_sink(rows);
        status = pm_query_run(run->query, table->sql, &id, 1, &sink, NULL);
    }
    if (!status) *count = pm_rows_count(rows);
    pm_rows_free(&rows);
    return pm_out_close(out, file, &stream, status);
}

static pm_status write_words(const pm_export_run *run, pm_rows_format format, const char *file,
                             json_t *list, pm_out *out,
                             pm_status (*write)(const pm_export_run *, pm_rows_format, json_t *,
                                                FILE *)) {
    FILE *stream = NULL;
    pm_status status = pm_out_stream(out, file, &stream);
    if (!status) status = write(run, format, list, stream);
    return pm_out_close(out, file, &stream, status);
}

pm_status pm_export_tables(const pm_export_run *run, pm_rows_format format, pm_out *out,
                           size_t *results) {
    json_t *list = json_array();
    pm_status status = list ? PM_OK : pm_fail(PM_E_MEMORY, "no memory for the descriptions");
    for (size_t i = 0; i < TABLES && !status; i++) {
        char file[64];
        size_t rows = 0;
        snprintf(file, sizeof file, "%s.%s", tables[i].name,
                 format == PM_ROWS_CSV ? "csv" : "jsonl");
        status = write_table(run, format, &tables[i], file, out, &rows);
        if (!status) status = describe(run, &tables[i], file, rows, list);
        if (!status && i == 0) *results = rows;
    }
    if (!status) status = write_words(run, format, "README.txt", list, out, write_readme);
    if (!status) status = write_words(run, format, PM_OUT_MARK_FILE, list, out, write_json);
    json_decref(list);
    return status;
}

pm_status pm_export_table(const pm_export_run *run, pm_rows_format format, const char *table,
                          pm_out *out, size_t *rows) {
    for (size_t i = 0; i < TABLES; i++)
        if (strcmp(tables[i].name, table) == 0)
            return write_table(run, format, &tables[i], table, out, rows);
    return pm_fail(PM_E_USAGE,
                   "--table '%.80s' is not known; there are: results, curves, layers, channels, "
                   "configurations, images, boxes, failures",
                   table);
}

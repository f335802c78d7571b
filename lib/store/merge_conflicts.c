/* Owns the look for what does not belong together: the same thing twice, with other numbers. */
#include <stdio.h>
#include <string.h>

#include "lib/store/merge.h"

#define DIFFERS(column) "CASE WHEN s." #column " IS d." #column " THEN '' ELSE ', " #column "' END"
/* Pairs of rows: theirs (s) with ours (d). */
#define PAIRS(table)                                                                               \
    " FROM src." table                                                                             \
    " AS s CROSS JOIN temp.map_configuration AS c ON c.src = s.configuration_id"                   \
    " CROSS JOIN temp.map_image AS i ON i.src = s.image_id CROSS JOIN main." table " AS d"         \
    " ON d.configuration_id = c.dst AND d.image_id = i.dst"
#define AT_LAYER " JOIN temp.map_layer AS l ON l.src = s.layer_id AND l.dst = d.layer_id WHERE true"
#define FIRST(columns, pairs)                                                                      \
    "SELECT * FROM (SELECT c.dst AS configuration_id, i.dst AS image_id, " columns                 \
    " AS columns" pairs ") WHERE columns <> '' LIMIT 1"

static const struct {
    const char *table, *sql;
} looks[] = {
    {"result",
     FIRST(
         DIFFERS(target) "||" DIFFERS(predicted) "||" DIFFERS(p_target) "||" DIFFERS(p_predicted) "||" DIFFERS(mu_in) "||" DIFFERS(mu_in_w) "||" DIFFERS(mu_out) "||" DIFFERS(
             mu_out_w) "||" DIFFERS(box_reason) "||" DIFFERS(pointing) "||" DIFFERS(completeness_gap) "|| CASE WHEN "
                                                                                                      "s.evaluation = "
                                                                                                      "d.evaluation "
                                                                                                      "THEN " DIFFERS(deletion_auc) "||" DIFFERS(
                                                                                                          insertion_auc) " ELSE '' END",
         PAIRS("result") " WHERE s.error IS NULL AND d.error IS NULL")},
    {"layer_gradient",
     FIRST(
         DIFFERS(selected) "||" DIFFERS(m) "||" DIFFERS(n) "||" DIFFERS(beta) "||" DIFFERS(
             scale_h) "||" DIFFERS(scale_l) "||" DIFFERS(variance_before) "||" DIFFERS(variance_after),
         PAIRS("layer_gradient") AT_LAYER)},
    {"perturbation",
     FIRST(DIFFERS(p_target) "||" DIFFERS(aopc) "||" DIFFERS(lodds) "||" DIFFERS(
               fracdiff) "||" DIFFERS(correct),
           PAIRS("perturbation") " AND d.curve = s.curve AND d.ratio = s.ratio"
                                 " JOIN src.result AS x ON x.configuration_id = s.configuration_id"
                                 " AND x.image_id = s.image_id JOIN main.result AS y ON "
                                 "y.configuration_id = c.dst"
                                 " AND y.image_id = i.dst WHERE x.evaluation = y.evaluation")},
    {"channel_gradient_item",
     FIRST(DIFFERS(variances) "||" DIFFERS(in_h), PAIRS("channel_gradient_item") AT_LAYER)},
    {"activation",
     FIRST(DIFFERS(activations) "||" DIFFERS(density), PAIRS("activation") " WHERE true")},
};

static pm_status keep_count(void *user, size_t count, const pm_value *values) {
    (void)count;
    *(int64_t *)user = values[0].integer;
    return PM_OK;
}

static pm_value text_value(const char *text) {
    return (pm_value){.kind = text ? PM_VALUE_TEXT : PM_VALUE_NULL,
                      .text = text,
                      .size = text ? strlen(text) : 0};
}

/* Which file our side came from: the first that has numbers of it. */
static const char *other_file(const pm_merge *merge, const char *configuration, const char *engine,
                              const char *image, const char *boxes, int64_t label) {
    const pm_merge_plan *plan = merge->plan;
    if (plan->into) return plan->into;
    const pm_value keys[] = {text_value(configuration),
                             text_value(engine),
                             text_value(image),
                             text_value(boxes),
                             {.kind = PM_VALUE_INTEGER, .integer = label}};
    for (size_t i = 0; i < merge->source; i++) {
        pm_query *query = NULL;
        int64_t has = 0;
        const pm_query_sink sink = {.user = &has, .row = keep_count};
        if (!pm_query_open(plan->sources[i], &pm_query_default_limits, &query))
            pm_query_run(query,
                         "SELECT count(*) FROM result AS r JOIN configuration AS c"
                         " USING (configuration_id) JOIN image AS i USING (image_id)"
                         " WHERE c.sha256 = ?1 AND c.engine_version = ?2 AND i.sha256 = ?3"
                         " AND i.boxes_sha256 = ?4 AND ifnull(i.label, -1) = ?5"
                         " AND r.error IS NULL",
                         keys, sizeof keys / sizeof *keys, &sink, NULL);
        pm_query_close(&query);
        if (has) return plan->sources[i];
    }
    return plan->sources[0];
}

static pm_status tell(pm_merge *merge, const char *table, int64_t configuration_id,
                      int64_t image_id, const char *columns) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status =
        pm_db_begin(merge->store,
                    "SELECT c.sha256, c.engine_version, c.label, i.sha256, i.boxes_sha256,"
                    " ifnull(i.label, -1), (SELECT path FROM main.data_set_item AS p"
                    "  WHERE p.image_id = i.image_id LIMIT 1)"
                    " FROM main.configuration AS c, main.image AS i"
                    " WHERE c.configuration_id = ?1 AND i.image_id = ?2",
                    PM_BINDS(pm_int(configuration_id), pm_int(image_id)), &statement);
    if (!status) status = pm_db_step(merge->store, statement, &row);
    if (!status && row) {
        const char *texts[7];
        for (int i = 0; i < 7; i++) {
            texts[i] = (const char *)sqlite3_column_text(statement, i);
            if (!texts[i]) texts[i] = "?";
        }
        status =
            pm_fail(PM_E_MISMATCH,
                    "configuration %.12s (%s), image %s (%.12s): %s.%s differ between %s and %s; "
                    "nothing was written",
                    texts[0], texts[2], texts[6], texts[3], table, columns,
                    other_file(merge, texts[0], texts[1], texts[3], texts[4],
                               sqlite3_column_int64(statement, 5)),
                    merge->plan->sources[merge->source]);
    }
    pm_db_end(statement);
    return status;
}

static pm_status look(pm_merge *merge, const char *table, const char *sql) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    char columns[200] = "";
    int64_t ids[2] = {0};
    pm_status status = pm_db_begin(merge->store, sql, NULL, 0, &statement);
    if (status) return status;
    status = pm_db_step(merge->store, statement, &row);
    if (!status && row) {
        ids[0] = sqlite3_column_int64(statement, 0);
        ids[1] = sqlite3_column_int64(statement, 1);
        snprintf(columns, sizeof columns, "%s", (const char *)sqlite3_column_text(statement, 2));
    }
    pm_db_end(statement);
    if (status || !row) return status;
    return tell(merge, table, ids[0], ids[1], columns + strlen(", "));
}

static pm_status look_at_name(pm_merge *merge, const char *what, const char *sql) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    pm_status status = pm_db_begin(merge->store, sql, NULL, 0, &statement);
    if (status) return status;
    status = pm_db_step(merge->store, statement, &row);
    if (!status && row)
        status = pm_fail(PM_E_MISMATCH,
                         "%s '%.100s' of %s has other numbers than the one that is "
                         "there; nothing was written",
                         what, (const char *)sqlite3_column_text(statement, 0),
                         merge->plan->sources[merge->source]);
    pm_db_end(statement);
    return status;
}

pm_status pm_merge_names(pm_merge *merge) {
    pm_status status =
        look_at_name(merge, "the statistics",
                     "SELECT s.name FROM src.statistics AS s JOIN main.statistics AS d USING (name)"
                     " WHERE s.sha256 <> d.sha256 LIMIT 1");
    if (status) return status;
    return look_at_name(merge, "the layer",
                        "SELECT s.name FROM src.layer AS s JOIN src.model AS a USING (model_id)"
                        " JOIN main.model AS b USING (arch, weights_sha256) JOIN main.layer AS d"
                        " ON d.model_id = b.model_id AND d.conv = s.conv"
                        " WHERE s.name <> d.name OR s.channels <> d.channels LIMIT 1");
}

pm_status pm_merge_conflicts(pm_merge *merge) {
    pm_status status = PM_OK;
    for (size_t i = 0; i < sizeof looks / sizeof *looks && !status; i++)
        status = look(merge, looks[i].table, looks[i].sql);
    return status;
}

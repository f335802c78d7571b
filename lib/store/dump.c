/* Owns the comparable text of a database: what two runs over the same work must have in common. */
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/store/query.h"

enum { SHORT_BLOB_BYTES = 32 };

/* Keys are natural ones (hashes, paths, ordinals), order is by them alone. */
static const struct {
    const char *table, *sql;
} tables[] = {
    {"model", "SELECT arch, weights_sha256, size_bytes, classes FROM model ORDER BY 1, 2"},
    {"data_set", "SELECT sha256, name, items FROM data_set ORDER BY 1"},
    {"image", "SELECT sha256, label, boxes_sha256, size_bytes, width, height FROM image"
              " ORDER BY 1, 2, 3"},
    {"box", "SELECT image.sha256, image.label, image.boxes_sha256, ordinal, xmin, ymin, xmax, ymax"
            " FROM box JOIN image USING (image_id) ORDER BY 1, 2, 3, 4"},
    {"data_set_item", "SELECT d.sha256, i.item, i.path, image.sha256, image.label,"
                      " image.boxes_sha256 FROM data_set_item AS i"
                      " JOIN data_set AS d USING (data_set_id) JOIN image USING (image_id)"
                      " ORDER BY 1, 2"},
    {"configuration", "SELECT sha256, engine_version, text, label FROM configuration"
                      " ORDER BY 1, 2"},
    {"run", "SELECT request_id, name, channels, heat_maps, evaluation, state FROM run"
            " ORDER BY 1"},
    {"run_configuration", "SELECT run.request_id, rc.ordinal, c.sha256, c.engine_version"
                          " FROM run_configuration AS rc JOIN run USING (run_id)"
                          " JOIN configuration AS c USING (configuration_id) ORDER BY 1, 2"},
    {"result",
     "SELECT c.sha256, c.engine_version, image.sha256, image.label, image.boxes_sha256,"
     " r.target, r.predicted, r.p_target, r.p_predicted, r.mu_in, r.mu_in_w, r.mu_out,"
     " r.mu_out_w, r.box_reason, r.channels_kept, r.heat_map_kept, r.stage, r.reason,"
     " r.error, r.evaluation, r.deletion_auc, r.insertion_auc, r.pointing,"
     " r.completeness_gap FROM result AS r JOIN configuration AS c USING (configuration_id)"
     " JOIN image USING (image_id) ORDER BY 1, 2, 3, 4, 5"},
    {"perturbation", "SELECT c.sha256, c.engine_version, image.sha256, image.label,"
                     " image.boxes_sha256, p.curve, p.ratio, p.p_target, p.aopc, p.lodds,"
                     " p.fracdiff, p.correct FROM perturbation AS p JOIN configuration AS c"
                     " USING (configuration_id) JOIN image USING (image_id)"
                     " ORDER BY 1, 2, 3, 4, 5, 6, 7"},
    {"layer_gradient", "SELECT c.sha256, c.engine_version, image.sha256, image.label,"
                       " image.boxes_sha256, l.conv, l.name, l.channels, g.selected, g.m, g.n,"
                       " g.beta, g.scale_h, g.scale_l, g.variance_before, g.variance_after"
                       " FROM layer_gradient AS g JOIN configuration AS c USING (configuration_id)"
                       " JOIN image USING (image_id) JOIN layer AS l USING (layer_id)"
                       " ORDER BY 1, 2, 3, 4, 5, 6"},
    {"channel_gradient_item", "SELECT c.sha256, c.engine_version, image.sha256, image.label,"
                              " image.boxes_sha256, l.conv, g.variances, g.in_h"
                              " FROM channel_gradient_item AS g JOIN configuration AS c"
                              " USING (configuration_id) JOIN image USING (image_id)"
                              " JOIN layer AS l USING (layer_id) ORDER BY 1, 2, 3, 4, 5, 6"},
    {"heat_map", "SELECT c.sha256, c.engine_version, image.sha256, image.label,"
                 " image.boxes_sha256, h.side, h.format, h.zstd, h.scale FROM heat_map AS h"
                 " JOIN configuration AS c USING (configuration_id) JOIN image USING (image_id)"
                 " ORDER BY 1, 2, 3, 4, 5"},
    {"activation", "SELECT c.sha256, c.engine_version, image.sha256, image.label,"
                   " image.boxes_sha256, a.activations, a.density FROM activation AS a"
                   " JOIN configuration AS c USING (configuration_id) JOIN image USING (image_id)"
                   " ORDER BY 1, 2, 3, 4, 5"},
    {"statistics", "SELECT name, sha256, size_bytes, images, note FROM statistics"
                   " WHERE name IS NOT NULL ORDER BY 1"},
    {"layer_statistics", "SELECT s.name, l.conv, l.name, d.density FROM layer_statistics AS d"
                         " JOIN statistics AS s USING (statistics_id) JOIN layer AS l"
                         " USING (layer_id) WHERE s.name IS NOT NULL ORDER BY 1, 2"},
    {"channel_statistics", "SELECT s.name, l.conv, c.channel, c.mean, c.std, c.shapiro_w,"
                           " c.shapiro_p FROM channel_statistics AS c JOIN statistics AS s"
                           " USING (statistics_id) JOIN layer AS l USING (layer_id)"
                           " WHERE s.name IS NOT NULL ORDER BY 1, 2, 3"},
    {"class_statistics", "SELECT s.name, l.conv, c.class, c.images, c.welch_p, c.student_p"
                         " FROM class_statistics AS c JOIN statistics AS s USING (statistics_id)"
                         " JOIN layer AS l USING (layer_id)"
                         " WHERE s.name IS NOT NULL ORDER BY 1, 2, 3"},
};

typedef struct printer {
    FILE *out;
    const char *table;
} printer;

static void print_blob(FILE *out, const pm_value *value) {
    if (value->size > SHORT_BLOB_BYTES) {
        char hex[PM_SHA256_HEX_BYTES];
        pm_sha256 hash = pm_sha256_of(value->text, value->size);
        pm_sha256_hex(&hash, hex);
        fprintf(out, "sha256:%s:%zu", hex, value->size);
        return;
    }
    fprintf(out, "x'");
    for (size_t i = 0; i < value->size; i++) fprintf(out, "%02x", (unsigned char)value->text[i]);
    fprintf(out, "'");
}

static pm_status print_row(void *user, size_t count, const pm_value *values) {
    const printer *p = user;
    fputs(p->table, p->out);
    for (size_t c = 0; c < count; c++) {
        fputc('|', p->out);
        switch (values[c].kind) {
        case PM_VALUE_NULL: fputs("NULL", p->out); break;
        case PM_VALUE_INTEGER: fprintf(p->out, "%lld", (long long)values[c].integer); break;
        case PM_VALUE_REAL: fprintf(p->out, "%a", values[c].real); break;
        case PM_VALUE_TEXT: fwrite(values[c].text, 1, values[c].size, p->out); break;
        case PM_VALUE_BLOB: print_blob(p->out, &values[c]); break;
        }
    }
    fputc('\n', p->out);
    return ferror(p->out) ? pm_fail(PM_E_IO, "dump: cannot write") : PM_OK;
}

pm_status pm_store_dump(const char *path, FILE *out) {
    const pm_query_limits limits = {0};
    pm_query *query = NULL;
    pm_status status = pm_query_open(path, &limits, &query);
    for (size_t i = 0; i < sizeof tables / sizeof *tables && !status; i++) {
        printer p = {out, tables[i].table};
        const pm_query_sink sink = {.user = &p, .row = print_row};
        status = pm_query_run(query, tables[i].sql, NULL, 0, &sink, NULL);
    }
    pm_query_close(&query);
    return status;
}

/* Perturbation curves in the database: written, reused, replaced, averaged; and what configurations
 * say in columns, made here or brought up to date. */
#include <math.h>
#include <sqlite3.h>

#include "lib/base/file.h"
#include "tests/store/fixture.h"

static const plan curves = {.items = 10,
                            .configs = 2,
                            .channels = PM_CHANNELS_SUMMARY,
                            .task_items = 4,
                            .evaluation = "zero:0,0.5,1"};

enum { RATIOS = 3 };

/* Each row of each curve is what went in. */
static void check_rows(const scratch *s, size_t items, const double *ratios, size_t ratio_count) {
    for (size_t image = 0; image < items; image++)
        for (size_t config = 0; config < 2; config++)
            for (size_t i = 0; i < PM_CURVE_COUNT * ratio_count; i++) {
                pm_curve curve = (pm_curve)(i / ratio_count);
                double ratio = ratios[i % ratio_count];
                pm_perturbation want = perturbation_of(image, config, curve, ratio);
                char sql[600], lodds[40] = "NULL";
                if (want.has_lodds) snprintf(lodds, sizeof lodds, "%.17g", want.lodds);
                snprintf(sql, sizeof sql,
                         "SELECT p.p_target = %.17g AND p.aopc = %.17g AND p.lodds IS %s AND"
                         " p.fracdiff = %.17g AND p.correct = %d FROM perturbation AS p"
                         " JOIN run_configuration AS rc USING (configuration_id)"
                         " JOIN data_set_item AS i USING (image_id) JOIN run USING (run_id)"
                         " WHERE i.data_set_id = run.data_set_id AND run_id = 1 AND item = %zu"
                         " AND ordinal = %zu AND curve = '%s' AND ratio = %.17g",
                         want.p_target, want.aopc, lodds, want.fracdiff, want.correct, image,
                         config, pm_curve_name(curve), ratio);
                if (ask(s, sql) != 1) fail_msg("%s", sql);
            }
}

static void curves_are_kept_as_they_came(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &curves);
    close_store(&store);
    check_rows(s, 10, (double[]){0, 0.5, 1}, RATIOS);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation"), 10 * 2 * 2 * RATIOS);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation WHERE lodds IS NULL"), 2 * 2 * 6);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE evaluation = 'zero:0,0.5,1'"
                            " AND insertion_auc - deletion_auc = 0.25"),
                     20);
    assert_true(ask_real(s, "SELECT deletion_auc FROM result_wide WHERE image = 'c1/00004.jpg'") ==
                4.25);
    /* Image 1 mod 4 points at its box, 3 does not, the others have none. */
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE pointing = 1"), 2 * 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE pointing = 0"), 2 * 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE completeness_gap IS NOT NULL"),
                     2 * 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE energy_in IS mu_in"), 20);
}

static void what_is_submitted_is_loaded_back(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&curves);
    apply(store, op, PM_OK);
    pm_run_row row;
    assert_int_equal(pm_store_load_run(store, op->submit.run_id, &row), PM_OK);
    assert_true(row.spec.evaluation.on);
    assert_int_equal(row.spec.evaluation.ratio_count, RATIOS);
    pm_sha256 id = pm_run_request_id(&row.spec, &row.data_set);
    assert_true(pm_sha256_equal(&id, &op->submit.request_id));
    pm_run_row_fini(&row);
    pm_op_free(&op);
    close_store(&store);
}

/* Submits, says how much is open; the run stays as it is. */
static uint64_t open_after_submit(pm_store *store, const plan *p) {
    pm_op *op = submit_op(p);
    apply(store, op, PM_OK);
    uint64_t open = op->submit.items_open;
    pm_op_free(&op);
    return open;
}

static void results_without_curves_are_computed_again_and_only_curves_are_new(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan plain = curves, same = curves, smaller = curves;
    plain.evaluation = NULL;
    plain.name = "plain";
    same.name = "same";
    smaller.name = "smaller";
    smaller.evaluation = NULL;
    whole_run(store, &plain);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation"), 0);
    pm_op *op = submit_op(&curves);
    apply(store, op, PM_OK);
    assert_int_equal(op->submit.items_open, 10);
    assert_int_equal(op->submit.results_reused, 0);
    for (size_t t = 0; t < op->submit.made.count; t++)
        for (uint64_t i = op->submit.made.rows[t].next_item; i < op->submit.made.rows[t].end_item;
             i++) {
            pm_op *record = record_op(&curves, &op->submit.made.rows[t], i);
            record->record.results[0].p_target = 0.125; /* the first that came stays */
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    pm_op *finish = run_op(PM_OP_FINISH, op->submit.run_id);
    apply(store, finish, PM_OK);
    pm_op_free(&finish);
    pm_op_free(&op);
    assert_int_equal(open_after_submit(store, &same), 0);
    assert_int_equal(open_after_submit(store, &smaller), 0); /* who wants none is content */
    close_store(&store);
    check_rows(s, 10, (double[]){0, 0.5, 1}, RATIOS);
    assert_int_equal(ask(s, "SELECT count(*) FROM result"), 20);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE p_target = 0.125"), 0);
    assert_int_equal(ask(s, "SELECT max(count) FROM channel_gradient"), 10); /* counted once */
}

static void another_evaluation_replaces_the_rows(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan other = curves;
    other.name = "other";
    other.evaluation = "mean:0,0.25";
    whole_run(store, &curves);
    whole_run(store, &other);
    close_store(&store);
    check_rows(s, 10, (double[]){0, 0.25}, 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation"), 10 * 2 * 2 * 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE evaluation = 'mean:0,0.25'"), 20);
    store = open_store(s);
    assert_int_equal(open_after_submit(store, &other), 0);
    assert_int_equal(open_after_submit(store, &curves), 10); /* the first has lost its rows */
    close_store(&store);
}

/* Two live runs over the same photographs, one with curves: whichever is recorded first. */
static void a_run_without_evaluation_takes_no_curves_away(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan plain = curves;
    plain.evaluation = NULL;
    plain.name = "plain";
    pm_op *first = submit_op(&plain);
    apply(store, first, PM_OK);
    whole_run(store, &curves);
    for (size_t t = 0; t < first->submit.made.count; t++) {
        const pm_task_row *task = &first->submit.made.rows[t];
        for (uint64_t i = task->next_item; i < task->end_item; i++) {
            pm_op *record = record_op(&plain, task, i);
            apply(store, record, PM_OK);
            pm_op_free(&record);
        }
    }
    pm_op_free(&first);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation"), 10 * 2 * 2 * RATIOS);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE evaluation = 'zero:0,0.5,1'"), 20);
}

static void rows_that_were_not_asked_for_are_refused(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    pm_op *op = submit_op(&curves);
    apply(store, op, PM_OK);
    pm_op *record = record_op(&curves, &op->submit.made.rows[0], 0);
    pm_record_result *r = &record->record.results[1];
    r->perturbation_count--;
    apply(store, record, PM_E_PROTOCOL);
    r->perturbation_count++;
    r->perturbations[4].ratio = 0.25;
    apply(store, record, PM_E_PROTOCOL);
    r->perturbations[4].ratio = 0.5;
    r->perturbations[4].curve = PM_CURVE_MORF;
    apply(store, record, PM_E_PROTOCOL);
    r->perturbations[4].curve = PM_CURVE_LERF;
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    plan plain = curves;
    plain.evaluation = NULL;
    plain.name = "plain";
    plain.first_image = 100;
    op = submit_op(&plain);
    apply(store, op, PM_OK);
    record = record_op(&curves, &op->submit.made.rows[0], 0);
    apply(store, record, PM_E_PROTOCOL);
    pm_op_free(&record);
    pm_op_free(&op);
    close_store(&store);
}

static void what_is_not_finite_is_an_error_or_nothing(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = curves;
    p.configs = 3;
    p.evaluation = "blur:0";
    pm_op *op = submit_op(&p);
    apply(store, op, PM_OK);
    pm_op *record = record_op(&p, &op->submit.made.rows[0], 1);
    record->record.item = 0;
    record->record.results[0].perturbations[1].aopc = NAN;
    record->record.results[1].completeness_gap = INFINITY;
    record->record.results[2].has_auc = true; /* as ratios without a range never have */
    record->record.results[2].insertion_auc = NAN;
    apply(store, record, PM_OK);
    pm_op_free(&record);
    pm_op_free(&op);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE reason = 'not-finite'"), 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM result WHERE error IS NULL"
                            " AND completeness_gap IS NULL AND deletion_auc IS NULL"
                            " AND insertion_auc IS NULL AND evaluation = 'blur:0'"),
                     1);
    assert_int_equal(ask(s, "SELECT count(*) FROM perturbation"), 2);
}

static void gather_runs_have_no_evaluation(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = {.items = 2, .configs = 1, .gather = true, .evaluation = "zero:0,1"};
    pm_op *op = submit_op(&p);
    apply(store, op, PM_E_USAGE);
    pm_op_free(&op);
    close_store(&store);
}

/* ---- the view ---- */

typedef struct column {
    const char *name;
    double values[32];
    size_t count;
} column;

static void check_column(const scratch *s, const column *c, const char *where) {
    double mean = 0, squares = 0, n = (double)c->count;
    char sql[300];
    for (size_t i = 0; i < c->count; i++) mean += c->values[i] / n;
    for (size_t i = 0; i < c->count; i++) squares += pow(c->values[i] - mean, 2);
    snprintf(sql, sizeof sql, "SELECT %s FROM curve WHERE %s", c->name, where);
    if (!(fabs(ask_real(s, sql) - mean) <= 1e-12)) fail_msg("%s is not %.17g", sql, mean);
    snprintf(sql, sizeof sql, "SELECT %s_ci95 FROM curve WHERE %s", c->name, where);
    /* Student's t at 0.975 for 9 and 7 degrees of freedom, from tables. */
    assert_true(c->count == 10 || c->count == 8);
    double half = (c->count == 10 ? 2.2621571628 : 2.3646242516) * sqrt(squares / (n - 1) / n);
    if (!(fabs(ask_real(s, sql) - half) <= 1e-9)) fail_msg("%s is not %.17g", sql, half);
}

static void view_has_means_and_intervals_of_all_images(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    whole_run(store, &curves);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE run = 1"), 2 * 2 * RATIOS);
    for (size_t config = 0; config < 2; config++)
        for (int curve = 0; curve < PM_CURVE_COUNT; curve++) {
            column p = {.name = "p_target"}, a = {.name = "aopc"}, l = {.name = "lodds"},
                   f = {.name = "fracdiff"}, t = {.name = "correct"};
            for (size_t image = 0; image < 10; image++) {
                pm_perturbation row = perturbation_of(image, config, (pm_curve)curve, 0.5);
                p.values[p.count++] = row.p_target;
                a.values[a.count++] = row.aopc;
                if (row.has_lodds) l.values[l.count++] = row.lodds;
                f.values[f.count++] = row.fracdiff;
                t.values[t.count++] = row.correct;
            }
            char where[200];
            snprintf(where, sizeof where,
                     "run = 1 AND configuration = %zu AND curve = '%s' AND ratio = 0.5"
                     " AND n = 10 AND lodds_n = 8 AND evaluation = 'zero:0,0.5,1'",
                     config + 1, pm_curve_name((pm_curve)curve));
            check_column(s, &p, where);
            check_column(s, &a, where);
            check_column(s, &l, where);
            check_column(s, &f, where);
            check_column(s, &t, where);
        }
}

static void view_keeps_evaluations_apart(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan other = curves;
    other.items = 4;
    other.name = "other";
    other.evaluation = "mean:0,0.5";
    whole_run(store, &curves);
    whole_run(store, &other);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE run = 1 AND n = 6"
                            " AND evaluation = 'zero:0,0.5,1'"),
                     2 * 2 * 3);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE run = 1 AND n = 4"
                            " AND evaluation = 'mean:0,0.5'"),
                     2 * 2 * 2);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE run = 1"), 2 * 2 * 5);
}

static void one_image_has_no_interval(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    plan p = curves;
    p.items = 1; /* image 0: no lodds */
    whole_run(store, &p);
    close_store(&store);
    assert_int_equal(ask(s, "SELECT count(*) FROM curve WHERE n = 1 AND aopc IS NOT NULL"
                            " AND aopc_ci95 IS NULL AND lodds IS NULL AND lodds_n = 0"),
                     2 * 2 * RATIOS);
}

/* ---- columns of configurations ---- */

/* One of each kind: what it is and what its columns say. */
static const struct {
    pm_method method;
    const char *want;
} kinds[] = {
    {PM_METHOD_GRAD, "steps IS NULL AND baseline IS NULL AND samples IS NULL AND sigma IS NULL"
                     " AND seed = '18446744073709551615' AND guided = 1 AND cam_layer IS NULL"
                     " AND boxes = 'all' AND input = 'noise:sigma=0.5' AND transform_input = 1"},
    {PM_METHOD_IG,
     "steps = 7 AND baseline = 'image:ba7816bf8f01cfea414140de5dae2223b00361a396177a9"
     "cb410ff61f20015ad' AND samples IS NULL AND sigma IS NULL AND seed IS NULL"
     " AND guided = 0 AND boxes = 'first' AND input = 'none' AND transform_input = 0"},
    {PM_METHOD_SMOOTHGRAD, "steps IS NULL AND samples = 9 AND sigma = 2.0 AND seed = '0'"},
    {PM_METHOD_GRADCAM, "cam_layer = 'layer3.0.conv2' AND samples IS NULL AND steps IS NULL"},
    {PM_METHOD_GATHER, "guided IS NULL AND boxes IS NULL AND input = 'none'"},
};

static void make_kind(size_t kind, pm_config *c) {
    pm_attribution *a = &c->attribution;
    a->method = kinds[kind].method;
    a->steps = 7;
    a->samples = 9;
    a->sigma = 2;
    strcpy(a->cam_layer, "layer3.0.conv2");
    if (a->method == PM_METHOD_IG) {
        a->baseline = PM_BASELINE_IMAGE;
        c->baseline_image = pm_sha256_of("abc", 3);
    }
    if (a->method != PM_METHOD_GRAD) return;
    a->seed = UINT64_MAX;
    a->guided = c->all_boxes = c->transform_input = true;
    assert_int_equal(pm_input_parse("noise:sigma=0.5", &c->input), PM_OK);
}

static void check_kind(const scratch *s, size_t kind, const char *from) {
    char sql[600];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM %s WHERE method = '%s' AND %s", from,
             pm_method_name(kinds[kind].method), kinds[kind].want);
    if (ask(s, sql) != 1) fail_msg("%s", sql);
}

static void configurations_say_in_columns_what_means_something(void **state) {
    scratch *s = *state;
    pm_store *store = open_store(s);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        pm_op *op = submit_op(&(plan){.items = 1, .configs = 1});
        make_kind(kind, &op->submit.spec->configs[0]);
        op->submit.request_id = pm_run_request_id(op->submit.spec, op->submit.data_set);
        apply(store, op, PM_OK);
        pm_op_free(&op);
    }
    close_store(&store);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        check_kind(s, kind, "configuration");
}

static char *migration(const char *name) {
    char path[4200];
    uint8_t *bytes = NULL;
    size_t size = 0;
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/schema/sql/%s", root ? root : ".", name);
    if (pm_file_read(path, (size_t)1 << 20, &bytes, &size)) fail_msg("%s", pm_error_text());
    char *text = strndup((const char *)bytes, size);
    free(bytes);
    return text;
}

static void exec(sqlite3 *db, const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL)) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

/* A database of the second schema, with a result in it, opened by this one. */
static void older_files_get_the_columns(void **state) {
    scratch *s = *state;
    sqlite3 *db;
    assert_int_equal(sqlite3_open(s->path, &db), SQLITE_OK);
    char *first = migration("0001_initial.sql"), *second = migration("0002_statistics.sql");
    exec(db, first);
    exec(db, second);
    exec(db, "PRAGMA application_id = 1347242316; PRAGMA user_version = 2;"
             "INSERT INTO model VALUES (1, 'resnet18', 'x', 1, '/w', 1000);"
             "INSERT INTO data_set VALUES (1, 'x', 'set', '/set', 1);"
             "INSERT INTO image VALUES (1, 'x', 1, NULL, '', NULL, NULL);"
             "INSERT INTO data_set_item VALUES (1, 0, 1, 'a.jpg');"
             "INSERT INTO run VALUES (1, 'x', '', 1, 1, NULL, '0.1.0', 'none', 'none', '/set',"
             " '/w', '', 0, 1, 0, 'done', 0, 1, 2);");
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        pm_op *op = submit_op(&(plan){.items = 1, .configs = 1});
        char *text = NULL;
        pm_sha256 hash;
        make_kind(kind, &op->submit.spec->configs[0]);
        assert_int_equal(pm_config_format(&op->submit.spec->configs[0], &text, &hash), PM_OK);
        char *sql = sqlite3_mprintf(
            "INSERT INTO configuration (sha256, engine_version, text, label, model_id, method,"
            " mask, layers, target, resize, crop, filter) VALUES ('%d', '0.1.0', %Q, '', 1, %Q,"
            " 'off', 'default', 'top', 256, 224, 'bilinear');"
            "INSERT INTO run_configuration VALUES (1, %d, last_insert_rowid());",
            (int)kind, text, pm_method_name(kinds[kind].method), (int)kind);
        exec(db, sql);
        sqlite3_free(sql);
        free(text);
        pm_op_free(&op);
    }
    exec(db, "INSERT INTO result (configuration_id, image_id, run_id, target, predicted, p_target,"
             " p_predicted, mu_in, recorded_ms, channels_kept, heat_map_kept)"
             " VALUES (1, 1, 1, 0, 0, 0.5, 0.5, 0.25, 1, 0, 0)");
    sqlite3_close(db);
    free(first);
    free(second);
    pm_store *store = open_store(s);
    close_store(&store);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        check_kind(s, kind, "configuration");
    assert_int_equal(ask(s, "SELECT count(*) FROM result_wide WHERE run = 1 AND p_target = 0.5"
                            " AND energy_in = 0.25 AND evaluation = '' AND pointing IS NULL"),
                     1);
    assert_int_equal(ask(s, "SELECT count(*) FROM run WHERE evaluation = ''"), 1);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_set_up, scratch_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(curves_are_kept_as_they_came),
        STORE_TEST(what_is_submitted_is_loaded_back),
        STORE_TEST(results_without_curves_are_computed_again_and_only_curves_are_new),
        STORE_TEST(another_evaluation_replaces_the_rows),
        STORE_TEST(a_run_without_evaluation_takes_no_curves_away),
        STORE_TEST(rows_that_were_not_asked_for_are_refused),
        STORE_TEST(what_is_not_finite_is_an_error_or_nothing),
        STORE_TEST(gather_runs_have_no_evaluation),
        STORE_TEST(view_has_means_and_intervals_of_all_images),
        STORE_TEST(view_keeps_evaluations_apart),
        STORE_TEST(one_image_has_no_interval),
        STORE_TEST(configurations_say_in_columns_what_means_something),
        STORE_TEST(older_files_get_the_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

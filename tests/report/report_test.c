/* parchmill report: the page is whole, its numbers are those of the database, nothing in a database
 * breaks it, and nothing of others is written over. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/store/query.h"
#include "tests/integration/command.h"
#include "tests/report/page.h"
#include "tests/report/run.h"
#include "tools/report/folder.h"

static pm_run run;

static void read_report(const char *name, const char *sql, const char *more, pm_page *page) {
    char db[PM_FIXTURE_PATH], dir[PM_FIXTURE_PATH];
    pm_run_copy(&run, name, sql, db);
    pm_run_report(&run, db, name, more, dir);
    pm_page_read(dir, page);
    pm_page_check(page);
}

static void a_page_is_well_formed_and_all_it_names_is_there(void **state) {
    pm_page page;
    (void)state;
    read_report("whole", NULL, "", &page);
    assert_int_equal(pm_page_count(&page, "article"), PM_RUN_IMAGES);
    assert_int_equal(pm_page_count(&page, "img"), PM_RUN_IMAGES * (1 + PM_RUN_CONFIGURATIONS));
    assert_int_equal(pm_page_count(&page, "script"), 1);
    assert_int_equal(pm_page_count(&page, "h1"), 1);
    assert_true(pm_page_says(&page, "Most attributed pixels taken first"));
    assert_true(pm_page_says(&page, "Nothing failed."));
    assert_false(pm_page_says(&page, "is not finished"));
    for (size_t i = 0; i < page.count; i++)
        if (strcmp(page.elements[i].name, "table") == 0) {
            assert_string_equal(page.elements[i + 1].name, "caption");
        } else if (strcmp(page.elements[i].name, "th") == 0) {
            assert_non_null(pm_element_attribute(&page.elements[i], "scope"));
        }
    pm_page_fini(&page);
}

/* ---- numbers ---- */

typedef struct aggregate {
    double mean, variance;
    int64_t n;
} aggregate;

static pm_status take_aggregate(void *user, size_t count, const pm_value *v) {
    aggregate *a = user;
    (void)count;
    *a = (aggregate){v[0].real, v[1].real, v[2].integer};
    return PM_OK;
}

static aggregate ask(const char *sql, int64_t configuration) {
    aggregate a = {0};
    pm_query *query = NULL;
    const pm_query_sink sink = {.user = &a, .row = take_aggregate};
    const pm_value value = {.kind = PM_VALUE_INTEGER, .integer = configuration};
    assert_int_equal(pm_query_open(run.db, &pm_query_default_limits, &query), PM_OK);
    assert_int_equal(pm_query_run(query, sql, &value, 1, &sink, NULL), PM_OK);
    pm_query_close(&query);
    return a;
}

/* Student's t at 0.975 for 9 .. 14 degrees of freedom (any printed table). */
static double half_width(const aggregate *a) {
    static const double t[] = {2.262, 2.228, 2.201, 2.179, 2.160, 2.145};
    assert_in_range(a->n, 10, 15);
    return t[a->n - 10] * sqrt(a->variance / (double)a->n);
}

/* "0.123 ± 0.045" against numbers, to what its last digits can say. */
static void says_interval(const char *cell, double mean, double half) {
    char text[64] = "", *digits = text, *end;
    for (const char *at = cell; *at && digits < text + sizeof text - 1;) {
        bool minus = strncmp(at, "−", 3) == 0;
        *digits++ = minus ? '-' : *at;
        at += minus ? 3 : 1;
    }
    double own = strtod(text, &end), place = 1;
    const char *point = memchr(text, '.', (size_t)(end - text));
    for (const char *at = point ? point + 1 : end; at < end; at++) place /= 10;
    if (fabs(own - mean) > 0.51 * place) fail_msg("'%s' is not %g", cell, mean);
    const char *sign = strstr(end, "±");
    assert_non_null(sign);
    double own_half = strtod(sign + strlen("±"), NULL);
    if (fabs(own_half - half) > 0.51 * place + 1e-3 * half) fail_msg("'%s': not ± %g", cell, half);
}

/* The `index`-th cell of a row. */
static char *cell(const pm_page *page, const pm_element *row, size_t index) {
    for (const pm_element *e = row + 1; e < page->elements + page->count; e++)
        if (strcmp(e->name, "td") == 0 && index-- == 0) return pm_page_text_of(page, e);
    fail_msg("no cell");
    return NULL;
}

static void each_score_is_the_mean_of_its_rows(void **state) {
    static const char *const questions[] = {
        "SELECT avg(mu_in_w), (sum(mu_in_w * mu_in_w) - count(mu_in_w) * avg(mu_in_w)"
        " * avg(mu_in_w)) / (count(mu_in_w) - 1), count(mu_in_w) FROM result_wide"
        " WHERE configuration = ?1",
        "SELECT avg(mu_in), (sum(mu_in * mu_in) - count(mu_in) * avg(mu_in) * avg(mu_in))"
        " / (count(mu_in) - 1), count(mu_in) FROM result_wide WHERE configuration = ?1",
        NULL, /* pointing: all may be equal */
        "SELECT avg(deletion_auc), (sum(deletion_auc * deletion_auc) - count(deletion_auc) *"
        " avg(deletion_auc) * avg(deletion_auc)) / (count(deletion_auc) - 1), count(deletion_auc)"
        " FROM result_wide WHERE configuration = ?1",
        "SELECT avg(insertion_auc), (sum(insertion_auc * insertion_auc) - count(insertion_auc) *"
        " avg(insertion_auc) * avg(insertion_auc)) / (count(insertion_auc) - 1),"
        " count(insertion_auc) FROM result_wide WHERE configuration = ?1"};
    static const char *const rows[] = {"scores-A", "scores-B", "scores-C"};
    pm_page page;
    (void)state;
    read_report("scores", NULL, "", &page);
    for (size_t c = 0; c < PM_RUN_CONFIGURATIONS; c++)
        for (size_t q = 0; q < sizeof questions / sizeof *questions; q++) {
            if (!questions[q]) continue;
            char *text = cell(&page, pm_page_find(&page, rows[c]), q + 1);
            aggregate a = ask(questions[q], (int64_t)c + 1);
            says_interval(text, a.mean, half_width(&a));
            free(text);
        }
    pm_page_fini(&page);
}

static void differences_are_of_the_same_images(void **state) {
    pm_page page;
    (void)state;
    read_report("paired", NULL, "", &page);
    aggregate a = ask("SELECT avg(d), (sum(d * d) - count(d) * avg(d) * avg(d)) / (count(d) - 1),"
                      " count(d) FROM (SELECT b.mu_in_w - a.mu_in_w AS d FROM result_wide AS a"
                      " JOIN result_wide AS b USING (run, image) WHERE a.configuration = 1"
                      " AND b.configuration = ?1)",
                      3);
    for (size_t i = 0; i < page.count; i++) {
        if (strcmp(page.elements[i].name, "tr") != 0) continue;
        char *row = pm_page_text_of(&page, &page.elements[i]);
        bool wanted = strncmp(row, "C − Ain box / area", strlen("C − Ain box / area")) == 0;
        free(row);
        if (!wanted) continue;
        char *text = cell(&page, &page.elements[i], 3);
        says_interval(text, a.mean, half_width(&a));
        free(text);
        pm_page_fini(&page);
        return;
    }
    fail_msg("no row of C - A");
}

/* ---- what may be in a database ---- */

#define HOSTILE "\"><script>alert(1)</script>&amp;''x"
#define HOSTILE_SQL "'\"><script>alert(1)</script>&amp;''''x' || char(1, 27)"

/* The least share of the first and last layer's channels whose variances make half, by SQL. */
static void how_few_channels_carry_half_is_said(void **state) {
    static const char sql[] =
        "WITH ranked AS (SELECT layer_id, sum(mean) OVER (PARTITION BY layer_id ORDER BY mean DESC"
        " ROWS UNBOUNDED PRECEDING) AS sums, sum(mean) OVER (PARTITION BY layer_id) AS total,"
        " count(*) OVER (PARTITION BY layer_id) AS c FROM channel_gradient"
        " WHERE configuration_id = ?1 AND class = -1),"
        " halves AS (SELECT conv, (1.0 + sum(sums < 0.5 * total)) / max(c) AS share"
        " FROM ranked JOIN layer USING (layer_id) GROUP BY conv)"
        " SELECT (SELECT share FROM halves ORDER BY conv LIMIT 1),"
        " (SELECT share FROM halves ORDER BY conv DESC LIMIT 1), 0";
    pm_page page;
    char words[100];
    (void)state;
    read_report("shares", NULL, "", &page);
    const aggregate halves = ask(sql, 1);
    assert_true(halves.mean > 0 && halves.mean < 0.5 && halves.variance > 0);
    snprintf(words, sizeof words, "half of the variance lies in %.0f %% of the channels of",
             100 * halves.mean);
    assert_true(pm_page_says(&page, words));
    snprintf(words, sizeof words, "in %.0f %% of those of", 100 * halves.variance);
    assert_true(pm_page_says(&page, words));
    assert_true(pm_page_says(&page, "How few channels carry the variance"));
    pm_page_fini(&page);
}

static void hostile_names_stay_text(void **state) {
    pm_page page;
    (void)state;
    read_report("hostile",
                "UPDATE run SET name = " HOSTILE_SQL ";"
                "UPDATE configuration SET label = configuration_id || " HOSTILE_SQL ";"
                "UPDATE data_set SET name = " HOSTILE_SQL ";"
                "UPDATE data_set_item SET path = path || " HOSTILE_SQL ";"
                "INSERT INTO class_name SELECT data_set_id, 3, " HOSTILE_SQL " FROM data_set;"
                "UPDATE layer SET name = conv || " HOSTILE_SQL ";"
                "UPDATE worker SET name = worker_id || " HOSTILE_SQL ";"
                "UPDATE model SET arch = " HOSTILE_SQL ";"
                "UPDATE result SET error = " HOSTILE_SQL ", stage = " HOSTILE_SQL
                ", reason = " HOSTILE_SQL ", hint = " HOSTILE_SQL
                ", target = NULL, predicted = NULL, p_target ="
                " NULL, p_predicted = NULL, mu_in_w = NULL WHERE configuration_id = 3 AND"
                " image_id = 2;",
                "", &page);
    assert_int_equal(pm_page_count(&page, "script"), 1);
    const pm_element *heading = NULL;
    for (size_t i = 0; i < page.count && !heading; i++)
        if (strcmp(page.elements[i].name, "h1") == 0) heading = &page.elements[i];
    char *text = pm_page_text_of(&page, heading);
    assert_string_equal(text, "Run 1: " HOSTILE "\xEF\xBF\xBD\xEF\xBF\xBD");
    free(text);
    assert_int_equal(pm_page_count(&page, "article"), PM_RUN_IMAGES);
    pm_page_fini(&page);
}

static void a_run_that_is_not_finished_says_so(void **state) {
    pm_page page;
    (void)state;
    read_report(
        "unfinished",
        "UPDATE run SET state = 'running', finished_ms = NULL;"
        "DELETE FROM perturbation WHERE image_id > 9; DELETE FROM heat_map WHERE image_id > 9;"
        "DELETE FROM layer_gradient WHERE image_id > 9; DELETE FROM result WHERE image_id > 9;"
        "INSERT INTO task (run_id, next_item, end_item, configurations, alone, crashes)"
        " VALUES (1, 9, 14, '[0,1,2]', 0, 0);",
        "", &page);
    assert_true(pm_page_says(&page, "This run is not finished (running)"));
    assert_true(pm_page_says(&page, "9 of 14 images done"));
    assert_int_equal(pm_page_count(&page, "article"), 9);
    pm_page_fini(&page);
}

/* As in the views. */
static void a_photograph_that_stands_twice_counts_once(void **state) {
    pm_page page;
    (void)state;
    read_report("repeat",
                "UPDATE data_set_item SET image_id ="
                " (SELECT image_id FROM data_set_item WHERE item = 0) WHERE item IN (5, 13);"
                "UPDATE run SET summarised = 0",
                "", &page);
    assert_int_equal(pm_page_count(&page, "article"), PM_RUN_IMAGES - 2);
    assert_true(pm_page_says(&page, "2 of the images; a photograph counts once"));
    aggregate a = ask("SELECT avg(r.mu_in_w), (sum(r.mu_in_w * r.mu_in_w) - count(r.mu_in_w)"
                      " * avg(r.mu_in_w) * avg(r.mu_in_w)) / (count(r.mu_in_w) - 1),"
                      " count(r.mu_in_w) FROM result AS r JOIN data_set_item AS i USING (image_id)"
                      " WHERE r.configuration_id = ?1 AND i.item NOT IN (5, 13)",
                      2);
    char *text = cell(&page, pm_page_find(&page, "scores-B"), 1);
    says_interval(text, a.mean, half_width(&a));
    free(text);
    pm_page_fini(&page);
}

static void a_run_without_boxes_and_heat_maps_is_told(void **state) {
    pm_page page;
    (void)state;
    read_report("bare",
                "DELETE FROM box; DELETE FROM heat_map; DELETE FROM perturbation;"
                "UPDATE run SET heat_maps = 'none', evaluation = '';"
                "UPDATE result SET mu_in = NULL, mu_in_w = NULL, mu_out = NULL, mu_out_w = NULL,"
                " pointing = NULL, deletion_auc = NULL, insertion_auc = NULL, evaluation = '',"
                " heat_map_kept = 0, box_reason = 'no-box'",
                "", &page);
    assert_true(pm_page_says(&page, "No image has a box that can be scored"));
    assert_true(pm_page_says(&page, "--heatmaps f16"));
    assert_true(pm_page_says(&page, "--evaluate"));
    assert_int_equal(pm_page_count(&page, "img"), PM_RUN_IMAGES);
    pm_page_fini(&page);
}

static void a_run_of_failures_only_is_told(void **state) {
    pm_page page;
    (void)state;
    read_report("failed",
                "DELETE FROM heat_map; DELETE FROM perturbation; DELETE FROM layer_gradient;"
                "DELETE FROM channel_gradient;"
                "UPDATE result SET stage = 'decode', reason = 'format', error = 'no picture',"
                " hint = 'look at the file', target = NULL, predicted = NULL, p_target = NULL,"
                " p_predicted = NULL, mu_in = NULL, mu_in_w = NULL, mu_out = NULL, mu_out_w = NULL,"
                " pointing = NULL, deletion_auc = NULL, insertion_auc = NULL, heat_map_kept = 0",
                "", &page);
    assert_true(pm_page_says(&page, "decode: format 14 images"));
    assert_true(pm_page_says(&page, "look at the file"));
    assert_true(pm_page_says(&page, "and 11 more"));
    assert_true(pm_page_says(&page, "No image has a result with numbers."));
    assert_int_equal(pm_page_count(&page, "img"), 0);
    pm_page_fini(&page);
}

static void a_photograph_that_is_gone_or_changed_is_a_tile(void **state) {
    char gone[PM_FIXTURE_PATH + 16], away[PM_FIXTURE_PATH + 16];
    pm_page page;
    (void)state;
    snprintf(gone, sizeof gone, "%s/p0003.png", run.fixture.images);
    snprintf(away, sizeof away, "%s/away", run.fixture.folder);
    assert_int_equal(rename(gone, away), 0);
    read_report("gone",
                "UPDATE image SET sha256 = 'f' || substr(sha256, 2) WHERE image_id = 5;"
                "UPDATE data_set_item SET path = '../weights.safetensors' WHERE item = 6",
                "", &page);
    assert_int_equal(rename(away, gone), 0);
    assert_true(pm_page_says(&page, "not there any more"));
    assert_true(pm_page_says(&page, "another file by now"));
    assert_true(pm_page_says(&page, "not read: odd path"));
    assert_int_equal(pm_page_count(&page, "img"), PM_RUN_IMAGES * (1 + PM_RUN_CONFIGURATIONS) - 3);
    pm_page_fini(&page);
}

static void more_images_than_asked_for_are_sampled(void **state) {
    pm_page page;
    (void)state;
    read_report("sampled", NULL, "--items 6", &page);
    assert_int_equal(pm_page_count(&page, "article"), 6);
    assert_true(pm_page_says(&page, "6 of 14 images: the 2 best and the 2 worst"));
    pm_page_fini(&page);
}

/* ---- the folder ---- */

static void a_report_is_replaced_and_nothing_else_is(void **state) {
    char dir[PM_FIXTURE_PATH], other[PM_FIXTURE_PATH], file[PM_FIXTURE_PATH + 32], line[1024];
    pm_program program;
    pm_page page;
    (void)state;
    pm_run_report(&run, run.db, "place", "--items 9", dir);
    pm_run_report(&run, run.db, "place", "--items 3", dir);
    pm_page_read(dir, &page);
    assert_int_equal(pm_page_count(&page, "article"), 3);
    pm_page_fini(&page);
    snprintf(file, sizeof file, "%s.tmp", dir);
    assert_int_not_equal(access(file, F_OK), 0);

    pm_fixture_path(&run.fixture, "mine", other);
    assert_int_equal(pm_dir_make(other), PM_OK);
    snprintf(file, sizeof file, "%s/index.html", other);
    assert_int_equal(pm_file_write(file, "mine", 4), PM_OK);
    snprintf(line, sizeof line, "report 1 --db %s --out %s", run.db, other);
    assert_int_equal(pm_program_run(&program, line), 2);
    assert_non_null(strstr(program.err, "something else than a report"));
    assert_int_equal(access(file, F_OK), 0);
}

static void expect_refused(const char *dir) {
    char line[1024];
    pm_program program;
    snprintf(line, sizeof line, "report 1 --db %s --out %s", run.db, dir);
    assert_int_equal(pm_program_run(&program, line), 2);
    assert_non_null(strstr(program.err, "something else than a report"));
}

static void a_file_among_the_pictures_is_kept(void **state) {
    char dir[PM_FIXTURE_PATH], elsewhere[PM_FIXTURE_PATH], path[PM_FIXTURE_PATH + 32],
        file[PM_FIXTURE_PATH + 32];
    (void)state;
    pm_run_report(&run, run.db, "noted", "--items 3", dir);
    snprintf(file, sizeof file, "%s/pictures/note.txt", dir);
    assert_int_equal(pm_file_write(file, "mine", 4), PM_OK);
    expect_refused(dir);
    assert_int_equal(access(file, F_OK), 0);
    /* A folder of the user's, by way of a link. */
    assert_int_equal(unlink(file), 0);
    pm_fixture_path(&run.fixture, "elsewhere", elsewhere);
    snprintf(path, sizeof path, "%s/pictures", dir);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    snprintf(file, sizeof file, "%s/00007.jpg", elsewhere);
    assert_int_equal(pm_file_write(file, "mine", 4), PM_OK);
    expect_refused(dir);
    assert_int_equal(access(file, F_OK), 0);
}

static void two_reports_to_one_place_do_not_mix(void **state) {
    char dir[PM_FIXTURE_PATH], temporary[PM_FIXTURE_PATH + 8];
    (void)state;
    snprintf(dir, sizeof dir, "%s/twice", run.fixture.folder);
    snprintf(temporary, sizeof temporary, "%s.tmp", dir);
    assert_int_equal(mkdir(temporary, 0777), 0);
    int other = open(temporary, O_RDONLY | O_DIRECTORY);
    assert_true(other >= 0 && flock(other, LOCK_EX) == 0); /* as one that is at work */
    pm_report_folder folder;
    assert_int_equal(pm_report_folder_begin(dir, &folder), PM_E_BUSY);
    assert_non_null(strstr(pm_error_text(), "another report"));
    close(other);
    assert_int_equal(pm_report_folder_begin(dir, &folder), PM_OK);
    pm_report_folder again;
    assert_int_equal(pm_report_folder_begin(dir, &again), PM_E_BUSY);
    pm_report_folder_drop(&folder);
    assert_int_equal(pm_report_folder_begin(dir, &again), PM_OK);
    pm_report_folder_drop(&again);
}

static void what_cannot_be_is_refused_in_one_line(void **state) {
    static const struct {
        const char *line, *says;
        int code;
    } cases[] = {
        {"report 7 --db %s --out %s/x", "no run 7", 1},
        {"report 1 --db %s", "--out", 2},
        {"report 1 --db %s --out %s/x --broker ipc:///tmp/none", "use --db FILE", 2},
        {"report 0 --db %s --out %s/x", "runs are numbered from 1", 2},
        {"report one --db %s --out %s/x", "RUN", 2},
        {"report 1 --db %s.none --out %s/x", "r.db.none", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[1024];
        pm_program program;
        snprintf(line, sizeof line, cases[i].line, run.db, run.fixture.folder);
        assert_int_equal(pm_program_run(&program, line), cases[i].code);
        if (!strstr(program.err, cases[i].says)) fail_msg("%s: %s", line, program.err);
    }
}

static void a_file_of_an_older_schema_is_told_how_to_become_new(void **state) {
    char db[PM_FIXTURE_PATH], line[3 * PM_FIXTURE_PATH];
    const char *const commands[] = {"report", "queries scores"};
    (void)state;
    pm_run_copy(&run, "older", "DROP VIEW score; PRAGMA user_version = 7", db);
    for (size_t i = 0; i < 2; i++) {
        pm_program program;
        snprintf(line, sizeof line, "%s --db %s", commands[i], db);
        if (i == 0) snprintf(line, sizeof line, "report --db %s --out %s.d", db, db);
        assert_int_equal(pm_program_run(&program, line), 1);
        if (!strstr(program.err, "parchmill refresh --db")) fail_msg("%s: %s", line, program.err);
    }
}

static int make(void **state) {
    (void)state;
    pm_run_make(&run);
    return 0;
}

static int unmake(void **state) {
    (void)state;
    pm_run_remove(&run);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_well_formed_and_all_it_names_is_there),
        cmocka_unit_test(each_score_is_the_mean_of_its_rows),
        cmocka_unit_test(differences_are_of_the_same_images),
        cmocka_unit_test(how_few_channels_carry_half_is_said),
        cmocka_unit_test(hostile_names_stay_text),
        cmocka_unit_test(a_run_that_is_not_finished_says_so),
        cmocka_unit_test(a_photograph_that_stands_twice_counts_once),
        cmocka_unit_test(a_run_without_boxes_and_heat_maps_is_told),
        cmocka_unit_test(a_run_of_failures_only_is_told),
        cmocka_unit_test(a_photograph_that_is_gone_or_changed_is_a_tile),
        cmocka_unit_test(more_images_than_asked_for_are_sampled),
        cmocka_unit_test(a_report_is_replaced_and_nothing_else_is),
        cmocka_unit_test(a_file_among_the_pictures_is_kept),
        cmocka_unit_test(two_reports_to_one_place_do_not_mix),
        cmocka_unit_test(what_cannot_be_is_refused_in_one_line),
        cmocka_unit_test(a_file_of_an_older_schema_is_told_how_to_become_new),
    };
    return cmocka_run_group_tests_name("report", tests, make, unmake);
}

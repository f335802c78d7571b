/* parchmill run --evaluate, end to end: curves complete, the same whatever is killed or computed
 * with what, reused and replaced; and the same from `attribute`. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/store/query.h"
#include "parchgrad.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"

enum { IMAGES = 40, CONFIGURATIONS = 3, RATIOS = 3, LINE_BYTES = 2048, KILLS = 4 };
enum { ROWS = IMAGES * CONFIGURATIONS * 2 * RATIOS };

static pm_fixture fixture;
static char *whole; /* dump of an uninterrupted run with curves */

static void run_line(char out[LINE_BYTES], const char *db, const char *more) {
    int n = snprintf(out, LINE_BYTES,
                     "run --model cifar_resnet20 --weights %s --images %s --mask off,cls --stats %s"
                     " --quantile 0.1,0.3 --layers ratio:0.4 --heatmaps f32 --db %s --threads 1"
                     " --json %s",
                     fixture.weights, fixture.images, fixture.stats, db, more);
    assert_true(n > 0 && n < LINE_BYTES);
}

static void run(const char *db, const char *more, const char *says) {
    char line[LINE_BYTES];
    pm_program program;
    run_line(line, db, more);
    pm_program_run(&program, line);
    if (program.code != 0 || !strstr(program.out, says))
        fail_msg("exit code %d, no '%s' in:\n%s%s", program.code, says, program.out, program.err);
}

static int64_t number(const char *db, const char *sql) { return pm_ask_number(db, sql); }

/* The lines of a dump that begin with these words, in order; free it. */
static char *lines_of(const char *dump, const char *words) {
    char *out = calloc(strlen(dump) + 1, 1), *to = out;
    assert_non_null(out);
    for (const char *line = dump; *line;) {
        const char *end = strchr(line, '\n') + 1;
        if (strncmp(line, words, strlen(words)) == 0) {
            memcpy(to, line, (size_t)(end - line));
            to += end - line;
        }
        line = end;
    }
    return out;
}

static void assert_same_lines(const char *a, const char *b, const char *words) {
    char *x = lines_of(a, words), *y = lines_of(b, words);
    assert_true(x[0] != 0);
    if (strcmp(x, y) != 0) {
        size_t at = 0;
        while (x[at] == y[at]) at++;
        while (at > 0 && x[at - 1] != '\n') at--;
        fail_msg("%s part:\n%.200s\n--\n%.200s", words, x + at, y + at);
    }
    free(x);
    free(y);
}

static int make_all(void **state) {
    (void)state;
    pm_fixture_make(&fixture, IMAGES);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    free(whole);
    pm_fixture_remove(&fixture);
    return 0;
}

/* ---- complete ---- */

static void every_curve_has_every_ratio(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "whole.db", db);
    run(db, "--evaluate --ratios .5,1", "\"results\": 120");
    whole = pm_dump(db);
    assert_int_equal(number(db, "SELECT count(*) FROM perturbation"), ROWS);
    assert_int_equal(number(db, "SELECT count(*) FROM result WHERE error IS NOT NULL"), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM result WHERE evaluation = 'zero:0,0.5,1'"),
                     IMAGES * CONFIGURATIONS);
    /* Nothing taken is nothing lost; all taken is one tensor, whichever came first. */
    assert_int_equal(number(db, "SELECT count(*) FROM perturbation JOIN result"
                                " USING (configuration_id, image_id) WHERE ratio = 0 AND aopc = 0"
                                " AND fracdiff = 0 AND perturbation.p_target = result.p_target"
                                " AND correct = (target = predicted)"),
                     IMAGES * CONFIGURATIONS * 2);
    assert_int_equal(number(db, "SELECT count(*) FROM perturbation AS a JOIN perturbation AS b"
                                " USING (configuration_id, image_id, ratio) WHERE ratio = 1"
                                " AND a.curve = 'morf' AND b.curve = 'lerf'"
                                " AND a.p_target = b.p_target"),
                     IMAGES * CONFIGURATIONS);
    /* Trapezoids over 0, 0.5, 1. */
    assert_int_equal(number(db,
                            "SELECT count(*) FROM result AS r WHERE abs(deletion_auc - (SELECT"
                            " sum(p.p_target * CASE ratio WHEN 0.5 THEN 0.5 ELSE 0.25 END)"
                            " FROM perturbation AS p WHERE p.configuration_id = r.configuration_id"
                            " AND p.image_id = r.image_id AND curve = 'morf')) < 1e-12"),
                     IMAGES * CONFIGURATIONS);
    assert_int_equal(number(db, "SELECT count(*) FROM curve WHERE n = 40"),
                     CONFIGURATIONS * 2 * RATIOS);
    assert_int_equal(number(db, "SELECT count(DISTINCT p_target) > 100 FROM perturbation"), 1);
    /* Four of five photographs have a box. */
    assert_int_equal(number(db, "SELECT count(pointing) FROM result"), 32 * CONFIGURATIONS);
    run(db, "--evaluate --ratios .5,1", "\"results\": 120"); /* again: nothing to do */
    char *again = pm_dump(db);
    assert_string_equal(whole, again);
    free(again);
}

/* ---- the same, whatever happens ---- */

static void tick(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

static void killed_run_goes_on_to_the_same_curves(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    uint8_t random[KILLS];
    pm_random_bytes(random, sizeof random);
    pm_fixture_path(&fixture, "killed.db", db);
    run_line(line, db, "--evaluate --ratios .5,1 --workers 2");
    for (int i = 0; i < KILLS; i++) {
        pm_program program;
        int64_t at = IMAGES * CONFIGURATIONS * (i + random[i] / 256) / KILLS;
        int64_t until_ms = pm_clock_ms() + PM_PATIENCE_MS;
        pm_program_start(&program, line);
        while (number(db, "SELECT count(*) FROM result") < at &&
               number(db, "SELECT count(*) FROM run WHERE state = 'done'") < 1) {
            assert_true(pm_clock_ms() < until_ms);
            tick();
        }
        kill(program.pid, i % 2 ? SIGINT : SIGKILL);
        pm_program_wait(&program);
    }
    run(db, "--evaluate --ratios .5,1 --workers 2", "\"images_failed\": 0");
    char *dump = pm_dump(db);
    assert_same_lines(whole, dump, "");
    free(dump);
}

/* More heat maps of a photograph than are kept at a time; each as if it had been alone. */
static void curves_do_not_depend_on_what_is_computed_with_them(void **state) {
    (void)state;
    char few[PM_FIXTURE_PATH], many[PM_FIXTURE_PATH], line[LINE_BYTES], list[400] = "0.02";
    pm_program program;
    pm_fixture_path(&fixture, "few.db", few);
    pm_fixture_path(&fixture, "many.db", many);
    for (int q = 4; q <= 80; q += 2)
        snprintf(list + strlen(list), sizeof list - strlen(list), ",0.%02d", q);
    const char *const quantiles[] = {"0.02,0.5,0.78", list};
    const char *const dbs[] = {few, many};
    for (size_t i = 0; i < 2; i++) {
        snprintf(line, sizeof line,
                 "run --model cifar_resnet20 --weights %s --images %s --mask cls --stats %s"
                 " --quantile %s --layers ratio:0.4 --db %s --threads 1 --limit 4 --quiet"
                 " --evaluate --ratios 0.3,1 --replace mean",
                 fixture.weights, fixture.images, fixture.stats, quantiles[i], dbs[i]);
        assert_int_equal(pm_program_run(&program, line), 0);
    }
    assert_int_equal(number(many, "SELECT count(*) FROM perturbation"), 4 * 40 * 2 * 3);
    char *small = pm_dump(few), *large = pm_dump(many);
    char *rows = lines_of(small, "perturbation|");
    size_t found = 0;
    for (char *row = rows, *end; *row; row = end + 1, found++) {
        end = strchr(row, '\n');
        *end = 0;
        if (!strstr(large, row)) fail_msg("not there: %s", row);
    }
    assert_int_equal(found, 4 * 3 * 2 * 3);
    free(rows);
    free(small);
    free(large);
}

/* ---- reused, added, replaced ---- */

static void curves_are_added_to_results_that_lack_them(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "later.db", db);
    run(db, "", "\"results\": 120");
    assert_int_equal(number(db, "SELECT count(*) FROM perturbation"), 0);
    run(db, "--evaluate --ratios .5,1", "\"results_reused\": 0");
    char *dump = pm_dump(db);
    assert_same_lines(whole, dump, "result|");
    assert_same_lines(whole, dump, "perturbation|");
    assert_same_lines(whole, dump, "heat_map|");
    free(dump);
    run(db, "--evaluate --ratios .5,1 --name again --limit 10", "\"results_reused\": 30");
    run(db, "--name plain", "\"results_reused\": 120");
}

static void another_evaluation_takes_their_place(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH];
    pm_fixture_path(&fixture, "later.db", db);
    run(db, "--evaluate --ratios .5,1 --replace noise --seed 3", "\"results_reused\": 0");
    assert_int_equal(number(db, "SELECT count(*) FROM perturbation"), ROWS);
    assert_int_equal(number(db, "SELECT count(*) FROM result WHERE evaluation = 'noise@3:0,0.5,1'"),
                     IMAGES * CONFIGURATIONS);
    char *noise = pm_dump(db), *x = lines_of(noise, "perturbation|"),
         *y = lines_of(whole, "perturbation|");
    assert_string_not_equal(x, y);
    run(db, "--evaluate --ratios .5,1 --name back", "\"results_reused\": 0");
    char *back = pm_dump(db);
    assert_same_lines(whole, back, "perturbation|");
    free(noise);
    free(x);
    free(y);
    free(back);
}

/* ---- attribute ---- */

static double number_behind(const char *text, const char *words) {
    const char *at = strstr(text, words);
    if (!at) fail_msg("no %s in:\n%s", words, text);
    return strtod(at + strlen(words), NULL);
}

/* The same numbers without a broker: image 7, its label and its box as in labels.csv. */
static void attribute_and_run_agree(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program one, row;
    pm_fixture_path(&fixture, "whole.db", db);
    snprintf(line, sizeof line,
             "attribute --model cifar_resnet20 --weights %s %s/p0007.png --target 7 --json"
             " --evaluate --ratios .5,1 --box 7,1,21,13 --layers ratio:0.4",
             fixture.weights, fixture.images);
    if (pm_program_run(&one, line)) fail_msg("%s", one.err);
    snprintf(line, sizeof line,
             "sql 'SELECT mu_in, mu_in_w, mu_out_w, deletion_auc, insertion_auc, pointing,"
             " (SELECT lodds FROM perturbation WHERE curve = \"lerf\" AND ratio = 0.5"
             " AND configuration_id = configuration AND image_id = i.image_id) AS lodds"
             " FROM result_wide JOIN data_set_item AS i ON i.path = image"
             " WHERE image = \"p0007.png\" AND mask = \"off\" AND run = 1' --format json --db %s",
             db);
    if (pm_program_run(&row, line)) fail_msg("%s", row.err);
    static const char *const same[] = {"\"mu_in\": ", "\"mu_in_w\": ", "\"mu_out_w\": ",
                                       "\"deletion_auc\": ", "\"insertion_auc\": "};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        double a = number_behind(one.out, same[i]), b = number_behind(row.out, same[i]);
        if (!(fabs(a - b) <= 1e-7 * fabs(b))) fail_msg("%s%.9g is not %.9g", same[i], a, b);
    }
    bool points = number_behind(row.out, "\"pointing\": ") == 1;
    assert_non_null(strstr(one.out, points ? "\"pointing\": true" : "\"pointing\": false"));
    const char *lerf = strstr(one.out, "\"curve\": \"lerf\"");
    assert_non_null(lerf);
    lerf = strstr(lerf, "\"ratio\": 0.5");
    assert_non_null(lerf);
    assert_true(fabs(number_behind(lerf, "\"lodds\": ") - number_behind(row.out, "\"lodds\": ")) <
                1e-6);
}

/* Completeness: the gap shrinks as steps grow, is there for ig alone, and is what attribute says.
 */
static void ig_has_a_gap_that_closes(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program one, row;
    pm_fixture_path(&fixture, "ig.db", db);
    snprintf(line, sizeof line,
             "run --model cifar_resnet20 --weights %s --images %s --method grad,ig --steps 2,200"
             " --db %s --threads 1 --limit 8 --quiet --evaluate --ratios 0.5",
             fixture.weights, fixture.images, db);
    if (pm_program_run(&one, line)) fail_msg("%s", one.err);
    assert_int_equal(number(db, "SELECT count(completeness_gap) FROM result_wide"), 8 * 2);
    /* Curves begin at the photograph, wherever the path did. */
    assert_int_equal(number(db, "SELECT count(*) FROM perturbation AS p JOIN result AS r"
                                " USING (configuration_id, image_id)"
                                " WHERE ratio = 0 AND p.p_target = r.p_target AND aopc = 0"),
                     8 * 3 * 2);
    assert_int_equal(number(db, "SELECT count(completeness_gap) FROM result_wide"
                                " WHERE method = 'grad'"),
                     0);
    assert_int_equal(
        number(db, "SELECT sum(abs(a.completeness_gap)) > 20 * sum(abs(b.completeness_gap))"
                   " FROM result_wide AS a JOIN result_wide AS b USING (image)"
                   " WHERE a.steps = 2 AND b.steps = 200"),
        1);
    snprintf(line, sizeof line,
             "attribute --model cifar_resnet20 --weights %s %s/p0007.png --target 7 --json"
             " --method ig --steps 2",
             fixture.weights, fixture.images);
    if (pm_program_run(&one, line)) fail_msg("%s", one.err);
    snprintf(line, sizeof line,
             "sql 'SELECT completeness_gap FROM result_wide WHERE image = \"p0007.png\""
             " AND steps = 2' --format json --db %s",
             db);
    if (pm_program_run(&row, line)) fail_msg("%s", row.err);
    double a = number_behind(one.out, "\"completeness_gap\": "),
           b = number_behind(row.out, "\"completeness_gap\": ");
    if (!(b != 0 && fabs(a - b) <= 1e-7 * fabs(b))) fail_msg("%.9g is not %.9g", a, b);
}

/* --boxes: NAME.xml; two boxes with a word for both. */
static void attribute_takes_boxes_by_name(void **state) {
    (void)state;
    char path[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program one, two;
    pm_fixture_path(&fixture, "p0007.xml", path);
    FILE *xml = fopen(path, "w");
    assert_non_null(xml);
    fputs("<annotation><object><bndbox><xmin>7</xmin><ymin>1</ymin><xmax>21</xmax><ymax>13</ymax>"
          "</bndbox></object><object><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax>"
          "<ymax>20</ymax></bndbox></object></annotation>",
          xml);
    fclose(xml);
    double mu_in[3];
    for (size_t i = 0; i < 3; i++) {
        char boxes[PM_FIXTURE_PATH + 64] = "--box 7,1,21,13";
        if (i)
            snprintf(boxes, sizeof boxes, "--boxes %s --box-rule %s", fixture.folder,
                     i == 1 ? "first" : "all");
        snprintf(line, sizeof line,
                 "attribute --model cifar_resnet20 --weights %s %s/p0007.png --json %s",
                 fixture.weights, fixture.images, boxes);
        if (pm_program_run(&one, line)) fail_msg("%s", one.err);
        mu_in[i] = number_behind(one.out, "\"mu_in\": ");
    }
    assert_true(mu_in[0] == mu_in[1]);
    assert_true(mu_in[2] > mu_in[1] && mu_in[2] < 1);
    snprintf(line, sizeof line,
             "attribute --model cifar_resnet20 --weights %s %s/p0008.png --boxes %s",
             fixture.weights, fixture.images, fixture.folder);
    assert_int_equal(pm_program_run(&two, line), 1);
    assert_non_null(strstr(two.err, "p0008.xml"));
}

/* ---- photographs, where env PARCHMILL_DATA points at them ---- */

static const struct {
    const char *class, *name;
    int label, box[4];
} photographs[] = {{"n01768244", "n01768244_0", 69, {4, 11, 63, 49}},
                   {"n02364673", "n02364673_17", 338, {20, 6, 63, 54}},
                   {"n02999410", "n02999410_34", 488, {0, 26, 63, 36}}};
enum { PHOTOGRAPHS = sizeof photographs / sizeof *photographs, DEFAULT_RATIOS = 6 };

static void copy_photographs(const char *data, const char *folder) {
    char path[512], from[512];
    uint8_t *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/labels.csv", folder);
    FILE *labels = fopen(path, "w");
    assert_non_null(labels);
    fputs("path,label,xmin,ymin,xmax,ymax\n", labels);
    for (size_t i = 0; i < PHOTOGRAPHS; i++) {
        const int *box = photographs[i].box;
        snprintf(from, sizeof from, "%s/tiny_imagenet/%s/%s.JPEG", data, photographs[i].class,
                 photographs[i].name);
        snprintf(path, sizeof path, "%s/%s.JPEG", folder, photographs[i].name);
        if (pm_file_read(from, 1 << 24, &bytes, &size) || pm_file_write(path, bytes, size))
            fail_msg("%s", pm_error_text());
        free(bytes);
        fprintf(labels, "%s.JPEG,%d,%d,%d,%d,%d\n", photographs[i].name, photographs[i].label,
                box[0], box[1], box[2], box[3]);
    }
    fclose(labels);
}

/* The numbers of an answer, row by row. */
typedef struct answer {
    double values[64];
    size_t count;
} answer;

static pm_status take_row(void *user, size_t count, const pm_value *values) {
    answer *a = user;
    for (size_t i = 0; i < count; i++) {
        assert_true(a->count < sizeof a->values / sizeof *a->values);
        a->values[a->count++] =
            values[i].kind == PM_VALUE_INTEGER ? (double)values[i].integer : values[i].real;
    }
    return PM_OK;
}

static answer ask(const char *db, const char *sql, const char *image) {
    answer a = {0};
    pm_query *query = NULL;
    const pm_value path = {.kind = PM_VALUE_TEXT, .text = image, .size = strlen(image)};
    const pm_query_sink sink = {.user = &a, .row = take_row};
    if (pm_query_open(db, &pm_query_default_limits, &query) ||
        pm_query_run(query, sql, &path, 1, &sink, NULL))
        fail_msg("%s", pm_error_text());
    pm_query_close(&query);
    return a;
}

/* `tensor` against values first, first + step ... of the answer. */
static void check_tensor(const pm_weights *want, const char *tensor, const answer *got,
                         size_t first, size_t step, size_t count, double most) {
    float values[DEFAULT_RATIOS];
    const pm_tensor_info *info = pm_weights_find(want, tensor);
    assert_true(info && info->count == count && count <= DEFAULT_RATIOS);
    assert_int_equal(pm_weights_read(want, info, values), PM_OK);
    for (size_t i = 0; i < count; i++) {
        double value = got->values[first + i * step];
        if (!(fabs(value - (double)values[i]) <= most))
            fail_msg("%s %zu: %.9g is not %.9g", tensor, i, value, (double)values[i]);
    }
}

static void check_photograph(const char *db, const char *class, const char *name) {
    static const char *const measures[] = {"aopc", "lodds", "fracdiff", "acc"};
    /* The heat map is our own here, so pixels of almost equal heat may change places where the
     * curve cuts, which the logarithm of a small p shows most; engine_curves holds 1e-4 for the
     * same map. */
    static const double most[] = {1e-3, 0.2, 1e-3, 0};
    char path[512], image[64], tensor[64];
    pm_weights *want = NULL;
    snprintf(path, sizeof path, "%s/expected/resnet18_tiny/cls_q0.1/%s_%s.safetensors",
             getenv("PARCHMILL_DATA"), class, name);
    snprintf(image, sizeof image, "%s.JPEG", name);
    if (pm_weights_open(path, &want)) fail_msg("%s", pm_error_text());
    answer rows = ask(db,
                      "SELECT aopc, lodds, fracdiff, correct FROM perturbation"
                      " JOIN data_set_item USING (image_id) WHERE path = ?1"
                      " ORDER BY curve = 'lerf', ratio",
                      image);
    assert_int_equal(rows.count, 2 * DEFAULT_RATIOS * 4);
    for (size_t i = 0; i < 8; i++) {
        snprintf(tensor, sizeof tensor, "%s/%s", i < 4 ? "morf" : "lerf", measures[i % 4]);
        check_tensor(want, tensor, &rows, i / 4 * 4 * DEFAULT_RATIOS + i % 4, 4, DEFAULT_RATIOS,
                     most[i % 4]);
    }
    answer box =
        ask(db, "SELECT mu_in, mu_in_w, mu_out, mu_out_w FROM result_wide WHERE image = ?1", image);
    assert_int_equal(box.count, 4);
    check_tensor(want, "box/mu_in_mu_in_w_mu_out_mu_out_w", &box, 0, 1, 4, 1e-5);
    pm_weights_free(&want);
}

/* From the file to the database, by everything that is between, against PyTorch. */
static void photographs_have_the_curves_of_the_reference(void **state) {
    (void)state;
    const char *data = getenv("PARCHMILL_DATA");
    char folder[PM_FIXTURE_PATH], db[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program program;
    if (!data) skip();
    pm_fixture_path(&fixture, "photographs", folder);
    pm_fixture_path(&fixture, "photographs.db", db);
    assert_int_equal(mkdir(folder, 0755), 0);
    copy_photographs(data, folder);
    snprintf(line, sizeof line,
             "run --model resnet18 --weights %s/weights/resnet18.pth --images %s --mask cls"
             " --stats %s/expected/resnet18_tiny_stats.safetensors --quantile 0.1 --evaluate"
             " --db %s --quiet",
             data, folder, data, db);
    if (pm_program_run(&program, line)) fail_msg("%s", program.err);
    for (size_t i = 0; i < PHOTOGRAPHS; i++)
        check_photograph(db, photographs[i].class, photographs[i].name);
}

/* ---- before a run ---- */

static void dry_run_counts_evaluation(void **state) {
    (void)state;
    char db[PM_FIXTURE_PATH], nowhere[PM_FIXTURE_PATH], line[LINE_BYTES];
    pm_program with, without;
    pm_fixture_path(&fixture, "nowhere.db", nowhere);
    pm_fixture_path(&fixture, "whole.db", db);
    run_line(line, nowhere, "--dry-run");
    assert_int_equal(pm_program_run(&without, line), 0);
    run_line(line, nowhere, "--dry-run --evaluate --ratios .1,.2,.3,.4,.5,.6,.7,.8,.9");
    assert_int_equal(pm_program_run(&with, line), 0);
    assert_int_not_equal(access(nowhere, F_OK), 0);
    /* 18 passes a heat map beside one forward and some backward ones. */
    assert_true(number_behind(with.out, "\"seconds_per_image_and_thread\": ") >
                2 * number_behind(without.out, "\"seconds_per_image_and_thread\": "));
    double more = number_behind(with.out, "\"size_bytes\": ") -
                  number_behind(without.out, "\"size_bytes\": ");
    double rows = IMAGES * CONFIGURATIONS * 20;
    assert_true(more > 50 * rows && more < 100 * rows);
}

static void assert_refused(const char *more, const char *says) {
    char line[LINE_BYTES], db[PM_FIXTURE_PATH];
    pm_program program;
    pm_fixture_path(&fixture, "refused.db", db);
    run_line(line, db, more);
    pm_program_run(&program, line);
    size_t length = strlen(program.err);
    if (program.code != 2 || !strstr(program.err, says) ||
        strchr(program.err, '\n') != program.err + length - 1)
        fail_msg("%s: exit code %d and:\n%s", more, program.code, program.err);
    assert_int_not_equal(access(db, F_OK), 0);
}

static void what_makes_no_evaluation_is_refused(void **state) {
    (void)state;
    assert_refused("--ratios 0,1", "--ratios is for --evaluate");
    assert_refused("--replace mean", "--replace is for --evaluate");
    assert_refused("--evaluate --ratios 0.5,0.2", "must ascend");
    assert_refused("--evaluate --ratios 0,2", "within 0 to 1");
    assert_refused("--evaluate --ratios 0,x", "not a number");
    assert_refused("--evaluate --replace pink", "zero, mean, blur, noise");
    assert_refused("--evaluate --seed 3", "--seed is given, but nothing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_curve_has_every_ratio),
        cmocka_unit_test(killed_run_goes_on_to_the_same_curves),
        cmocka_unit_test(curves_do_not_depend_on_what_is_computed_with_them),
        cmocka_unit_test(curves_are_added_to_results_that_lack_them),
        cmocka_unit_test(another_evaluation_takes_their_place),
        cmocka_unit_test(attribute_and_run_agree),
        cmocka_unit_test(ig_has_a_gap_that_closes),
        cmocka_unit_test(attribute_takes_boxes_by_name),
        cmocka_unit_test(photographs_have_the_curves_of_the_reference),
        cmocka_unit_test(dry_run_counts_evaluation),
        cmocka_unit_test(what_makes_no_evaluation_is_refused),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}

/* Data sets: what each kind of path means, joined by name, and one clear line for what is wrong. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/dataset/tree.h"
#include "tools/dataset/data_set.h"

#define HEADER "path,label,xmin,ymin,xmax,ymax\n"

static char notice[1024];
static size_t progress_done, progress_total;

static void on_notice(void *context, const char *line) {
    (void)context;
    snprintf(notice, sizeof notice, "%s", line);
}

static void on_progress(void *context, size_t done, size_t total) {
    (void)context;
    progress_done = done;
    progress_total = total;
}

static pm_data_set_options options_of(const char *images) {
    notice[0] = '\0';
    return (pm_data_set_options){.images = images, .notice = on_notice, .progress = on_progress};
}

static pm_data_set open_set(const pm_data_set_options *options) {
    pm_data_set set = {0};
    if (pm_data_set_open(options, &set) != PM_OK) fail_msg("%s", pm_error_text());
    return set;
}

/* The set must be refused with this status and a single line that holds both texts. */
static void refuse(const pm_data_set_options *options, pm_status status, const char *a,
                   const char *b) {
    pm_data_set set = {0};
    pm_status got = pm_data_set_open(options, &set);
    if (got != status || !strstr(pm_error_text(), a) || !strstr(pm_error_text(), b) ||
        strchr(pm_error_text(), '\n'))
        fail_msg("%s: '%s' lacks '%s' or '%s'", pm_status_name(got), pm_error_text(), a, b);
    assert_null(set.items);
}

static void a_single_file_is_a_set_without_label(void **state) {
    (void)state;
    tree t = tree_new();
    char path[512], root[PATH_MAX];
    tree_add(&t, "a/b.JPEG", "abc");
    tree_path(&t, "a/b.JPEG", path);
    pm_data_set_options options = options_of(path);
    pm_data_set set = open_set(&options);
    assert_int_equal(set.count, 1);
    assert_string_equal(set.items[0].path, "b.JPEG");
    assert_int_equal(set.items[0].label, -1);
    assert_int_equal(set.items[0].size_bytes, 3);
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256_hex(&set.items[0].sha256, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_non_null(realpath(t.root, root));
    strncat(root, "/a", 3);
    assert_string_equal(set.root, root);
    assert_string_equal(set.name, "b.JPEG");
    pm_data_set_fini(&set);
    tree_free(&t);
}

static void a_flat_folder_is_sorted_bytewise_without_labels(void **state) {
    (void)state;
    tree t = tree_new();
    tree_add(&t, "b.png", "1");
    tree_add(&t, "a.WebP", "2");
    tree_add(&t, "B.jpg", "3");
    tree_add(&t, "c.jpeg", "not an image, listed all the same");
    tree_add(&t, "notes.txt", "");
    tree_add(&t, ".hidden.jpg", "");
    pm_data_set_options options = options_of(t.root);
    pm_data_set set = open_set(&options);
    assert_int_equal(set.count, 4);
    assert_string_equal(set.items[0].path, "B.jpg");
    assert_string_equal(set.items[1].path, "a.WebP");
    assert_string_equal(set.items[3].path, "c.jpeg");
    assert_int_equal(set.items[2].label, -1);
    assert_int_equal(set.class_name_count, 0);
    assert_non_null(strstr(notice, "1 files are not .jpg"));
    assert_int_equal(progress_done, 4);
    assert_int_equal(progress_total, 4);
    pm_data_set_fini(&set);
    options.limit = 2;
    set = open_set(&options);
    assert_int_equal(set.count, 2);
    assert_string_equal(set.items[1].path, "a.WebP");
    pm_data_set_fini(&set);
    tree_free(&t);
}

static void a_glob_chooses_by_path_before_the_limit_counts(void **state) {
    (void)state;
    tree t = tree_new();
    tree_add(&t, "cat/1.jpg", "1");
    tree_add(&t, "cat/2.jpg", "2");
    tree_add(&t, "dog/1.jpg", "3");
    pm_data_set_options options = options_of(t.root);
    options.glob = "*1.jpg"; /* * is any text, / as well */
    pm_data_set set = open_set(&options);
    assert_int_equal(set.count, 2);
    assert_string_equal(set.items[0].path, "cat/1.jpg");
    assert_string_equal(set.items[1].path, "dog/1.jpg");
    assert_int_equal(set.items[1].label, 1); /* the folders' labels stay */
    pm_data_set_fini(&set);
    options.glob = "dog/*";
    options.limit = 1;
    set = open_set(&options);
    assert_int_equal(set.count, 1);
    assert_string_equal(set.items[0].path, "dog/1.jpg");
    pm_data_set_fini(&set);
    options.glob = "bird/*";
    assert_int_equal(pm_data_set_open(&options, &set), PM_E_NOT_FOUND);
    tree_free(&t);
}

static void class_folders_are_labelled_in_sorted_order(void **state) {
    (void)state;
    tree t = tree_new();
    tree_add(&t, "dog/1.jpg", "1");
    tree_add(&t, "cat/1.jpg", "2");
    tree_add(&t, "cat/deep/2.jpg", "3");
    tree_add(&t, "ant/x.png", "4");
    pm_data_set_options options = options_of(t.root);
    options.class_count = 3;
    pm_data_set set = open_set(&options);
    assert_int_equal(set.count, 4);
    assert_string_equal(set.items[0].path, "ant/x.png");
    assert_int_equal(set.items[0].label, 0);
    assert_string_equal(set.items[2].path, "cat/deep/2.jpg");
    assert_int_equal(set.items[2].label, 1);
    assert_int_equal(set.items[3].label, 2);
    assert_int_equal(set.class_name_count, 3);
    assert_string_equal(set.class_names[2], "dog");
    pm_data_set_fini(&set);
    options.class_count = 2;
    refuse(&options, PM_E_MISMATCH, "/dog: label 2", "2 classes");
    tree_free(&t);
}

static void wnid_folders_need_the_class_table(void **state) {
    (void)state;
    tree t = tree_new();
    char classes[512];
    tree_add(&t, "set/n01484850/a.jpg", "1");
    tree_add(&t, "set/n01440764/b.jpg", "2");
    tree_add(&t, "classes.csv",
             "index,wnid,names\n0,n01440764,\"tench, Tinca tinca\"\n2,n01484850,shark\n");
    char set_path[512];
    tree_path(&t, "set", set_path);
    tree_path(&t, "classes.csv", classes);
    pm_data_set_options options = options_of(set_path);
    refuse(&options, PM_E_USAGE, "n01440764", "--classes");
    options.classes = classes;
    pm_data_set set = open_set(&options);
    assert_int_equal(set.items[0].label, 0);
    assert_int_equal(set.items[1].label, 2);
    assert_int_equal(set.class_name_count, 3);
    assert_string_equal(set.class_names[0], "tench, Tinca tinca");
    assert_null(set.class_names[1]);
    pm_data_set_fini(&set);
    tree_add(&t, "set/n99999999/c.jpg", "3");
    refuse(&options, PM_E_MISMATCH, "n99999999", "classes.csv");
    tree_free(&t);
}

static void labels_csv_wins_and_one_line_is_one_box(void **state) {
    (void)state;
    tree t = tree_new();
    tree_add(&t, "cat/1.jpg", "1");
    tree_add(&t, "dog/1.jpg", "2");
    tree_add(&t, "dog/no, label.jpg", "3");
    tree_add(&t, "unlisted/4.jpg", "4");
    tree_add(&t, "labels.csv",
             HEADER "dog/1.jpg,7,1,2,3,4\r\n./cat/1.jpg,5,,,,\r\n\"dog/no, label.jpg\",,,,,\r\n"
                    "dog/1.jpg,7,5.5,6,7,8");
    pm_data_set_options options = options_of(t.root);
    options.class_count = 8;
    pm_data_set set = open_set(&options);
    assert_int_equal(set.count, 3);
    assert_string_equal(set.items[0].path, "cat/1.jpg");
    assert_int_equal(set.items[0].label, 5);
    assert_int_equal(set.items[0].box_count, 0);
    assert_int_equal(set.items[1].label, 7);
    assert_int_equal(set.items[1].box_count, 2);
    assert_true(set.items[1].boxes[0].ymax == 4 && set.items[1].boxes[1].xmin == 5.5);
    assert_string_equal(set.items[2].path, "dog/no, label.jpg");
    assert_int_equal(set.items[2].label, -1);
    pm_data_set_fini(&set);
    options.class_count = 7;
    refuse(&options, PM_E_MISMATCH, "labels.csv:2: label 7", "7 classes");
    tree_free(&t);
}

static void boxes_are_joined_by_name_never_by_position(void **state) {
    (void)state;
    tree t = tree_new();
    char images[512], boxes[512];
    const char *voc = "<annotation><object><part><bndbox><xmin>9</xmin></bndbox></part><bndbox>"
                      "<xmin> %d </xmin><ymin>2</ymin><xmax>30</xmax><ymax>4</ymax></bndbox>"
                      "</object></annotation>";
    char text[512];
    tree_add(&t, "images/a/first.jpg", "1");
    tree_add(&t, "images/b/second.jpg", "2");
    tree_add(&t, "images/b/third.jpg", "3");
    snprintf(text, sizeof text, voc, 22);
    tree_add(&t, "boxes/second.xml", text);
    snprintf(text, sizeof text, voc, 11);
    tree_add(&t, "boxes/first.XML", text);
    tree_add(&t, "boxes/stranger.xml", "not even XML, and not read");
    tree_path(&t, "images", images);
    tree_path(&t, "boxes", boxes);
    pm_data_set_options options = options_of(images);
    options.boxes = boxes;
    pm_data_set set = open_set(&options);
    assert_int_equal(set.items[0].box_count, 1);
    assert_true(set.items[0].boxes[0].xmin == 11);
    assert_true(set.items[1].boxes[0].xmin == 22 && set.items[1].boxes[0].xmax == 30);
    assert_int_equal(set.items[2].box_count, 0);
    assert_non_null(strstr(notice, "2 of 3 images; 1 files"));
    pm_data_set_fini(&set);
    tree_add(&t, "images/a/second.png", "4");
    refuse(&options, PM_E_FORMAT, "two images have the name second", "b/second.jpg");
    options.boxes = images;
    refuse(&options, PM_E_FORMAT, "two images", "");
    tree_free(&t);
}

static void boxes_of_another_set_are_an_error(void **state) {
    (void)state;
    tree t = tree_new();
    char images[512], boxes[512];
    tree_add(&t, "images/a.jpg", "1");
    tree_add(&t, "boxes/b.xml", "");
    tree_path(&t, "images", images);
    tree_path(&t, "boxes", boxes);
    pm_data_set_options options = options_of(images);
    options.boxes = boxes;
    refuse(&options, PM_E_FORMAT, "/boxes: no NAME.xml", "");
    options.boxes = "/nonexistent/boxes";
    refuse(&options, PM_E_NOT_FOUND, "/nonexistent/boxes", "");
    tree_free(&t);
}

static void what_is_no_data_set_is_one_line(void **state) {
    (void)state;
    tree t = tree_new();
    pm_data_set_options options = options_of(t.root);
    refuse(&options, PM_E_FORMAT, t.root, "no photographs here");
    options.images = "/nonexistent/photographs";
    refuse(&options, PM_E_NOT_FOUND, "/nonexistent/photographs", "No such file");
    options.images = t.root;
    tree_add(&t, "notes.txt", "");
    refuse(&options, PM_E_FORMAT, "no photographs here", "");
    tree_add(&t, "a/x.jpg", "1");
    tree_add(&t, "boxes/", "");
    refuse(&options, PM_E_FORMAT, "/boxes: a class folder without photographs", "");
    tree_add(&t, "y.jpg", "1");
    refuse(&options, PM_E_FORMAT, "photographs beside folders", "labels.csv");
    tree_free(&t);
}

static void unreadable_and_strange_files_are_named(void **state) {
    (void)state;
    tree t = tree_new();
    char path[512];
    tree_path(&t, "broken.jpg", path);
    assert_int_equal(symlink("/nonexistent/target", path), 0);
    pm_data_set_options options = options_of(t.root);
    refuse(&options, PM_E_IO, "broken.jpg", "");
    assert_int_equal(unlink(path), 0);
    tree_path(&t, "pipe.jpg", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuse(&options, PM_E_FORMAT, "pipe.jpg", "not a regular file");
    assert_int_equal(unlink(path), 0);
    tree_add(&t, "two\nlines.jpg", "1");
    refuse(&options, PM_E_FORMAT, "control characters", "rename it");
    tree_free(&t);
    t = tree_new();
    tree_add(&t, "latin-\xe9.jpg", "1");
    options.images = t.root;
    refuse(&options, PM_E_FORMAT, "UTF-8", "");
    tree_free(&t);
}

static void symbolic_links_are_followed(void **state) {
    (void)state;
    tree t = tree_new();
    char link_path[512];
    tree_add(&t, "real/a.jpg", "abc");
    tree_path(&t, "linked", link_path);
    assert_int_equal(symlink("real", link_path), 0);
    pm_data_set_options options = options_of(link_path);
    pm_data_set set = open_set(&options);
    assert_int_equal(set.count, 1);
    assert_string_equal(set.name, "real");
    pm_data_set_fini(&set);
    /* A loop of folders ends with a line, not with the stack. */
    tree_path(&t, "real/again", link_path);
    assert_int_equal(symlink("..", link_path), 0);
    options.images = t.root;
    refuse(&options, PM_E_LIMIT, "nested", "");
    tree_free(&t);
}

/* The sets of PARCHMILL_DATA, where there are such. */
static bool real_path(const char *inside, char out[512]) {
    const char *data = getenv("PARCHMILL_DATA");
    struct stat info;
    if (!data) return false;
    snprintf(out, 512, "%s/%s", data, inside);
    return stat(out, &info) == 0;
}

static void real_sets_have_their_counts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t count;
    } sets[] = {{"ilsvrc_val", 900}, {"imagenet_samples", 150}, {"tiny_imagenet", 2000}};
    char path[512], classes[512];
    if (!real_path("imagenet_classes.csv", classes)) skip();
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        assert_true(real_path(sets[i].name, path));
        pm_data_set_options options = options_of(path);
        options.class_count = 1000;
        options.classes = classes;
        pm_data_set set = open_set(&options);
        assert_int_equal(set.count, sets[i].count);
        assert_int_equal(set.class_name_count, 1000);
        for (size_t k = 0; k < set.count; k++) assert_true(set.items[k].label >= 0);
        pm_data_set_fini(&set);
    }
}

static void real_voc_boxes_equal_those_of_labels_csv(void **state) {
    (void)state;
    char path[512], boxes[512];
    if (!real_path("ilsvrc_val", path) || !real_path("ilsvrc_val/boxes", boxes)) skip();
    pm_data_set_options options = options_of(path);
    pm_data_set table = open_set(&options);
    options.boxes = boxes;
    pm_data_set voc = open_set(&options);
    pm_sha256 a = pm_data_set_hash(&table), b = pm_data_set_hash(&voc);
    size_t count = 0;
    for (size_t i = 0; i < voc.count; i++) count += voc.items[i].box_count;
    assert_int_equal(count, 1358); /* lines of labels.csv */
    assert_true(pm_sha256_equal(&a, &b));
    pm_data_set_fini(&table);
    pm_data_set_fini(&voc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_file_is_a_set_without_label),
        cmocka_unit_test(a_flat_folder_is_sorted_bytewise_without_labels),
        cmocka_unit_test(a_glob_chooses_by_path_before_the_limit_counts),
        cmocka_unit_test(class_folders_are_labelled_in_sorted_order),
        cmocka_unit_test(wnid_folders_need_the_class_table),
        cmocka_unit_test(labels_csv_wins_and_one_line_is_one_box),
        cmocka_unit_test(boxes_are_joined_by_name_never_by_position),
        cmocka_unit_test(boxes_of_another_set_are_an_error),
        cmocka_unit_test(what_is_no_data_set_is_one_line),
        cmocka_unit_test(unreadable_and_strange_files_are_named),
        cmocka_unit_test(symbolic_links_are_followed),
        cmocka_unit_test(real_sets_have_their_counts),
        cmocka_unit_test(real_voc_boxes_equal_those_of_labels_csv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

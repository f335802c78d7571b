/* labels.csv, class tables, CSV and VOC: what each grammar takes, and the line that names a fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/dataset/tree.h"
#include "tools/dataset/csv.h"
#include "tools/dataset/items.h"

static pm_csv csv_of(char *text, size_t size) {
    pm_csv csv;
    pm_csv_init(&csv, "t.csv", text, size);
    return csv;
}

static void csv_is_rfc_4180(void **state) {
    (void)state;
    char text[] = "\xef\xbb\xbf"
                  "a,\"b \"\"quoted\"\", with\nline\",\r\n\r\n,\"\",x\nlast";
    pm_csv csv = csv_of(text, sizeof text - 1);
    assert_int_equal(pm_csv_next(&csv), PM_OK);
    assert_int_equal(csv.count, 3);
    assert_string_equal(csv.fields[0], "a");
    assert_string_equal(csv.fields[1], "b \"quoted\", with\nline");
    assert_string_equal(csv.fields[2], "");
    assert_int_equal(csv.line, 1);
    assert_int_equal(pm_csv_next(&csv), PM_OK);
    assert_int_equal(csv.count, 3);
    assert_int_equal(csv.line, 4);
    assert_string_equal(csv.fields[2], "x");
    assert_int_equal(pm_csv_next(&csv), PM_OK);
    assert_int_equal(csv.count, 1);
    assert_string_equal(csv.fields[0], "last");
    assert_int_equal(pm_csv_next(&csv), PM_OK);
    assert_int_equal(csv.count, 0);
}

static void csv_faults_are_named_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"a,b\nc,\"d\n\n", "t.csv:2: a quoted field does not end"},
        {"a\n\"b\"c\n", "t.csv:2: text behind a closing quote"},
        {"a\nb\"c\n", "t.csv:2: a quote inside an unquoted field"},
        {"a\rb\n", "t.csv:1: a carriage return without a line feed"},
        {",,,,,,,,,,,,,,,,,\n", "t.csv:1: too many fields"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i].text);
        pm_csv csv = csv_of(text, strlen(text));
        pm_status status;
        while ((status = pm_csv_next(&csv)) == PM_OK && csv.count) {}
        assert_int_equal(status, PM_E_FORMAT);
        assert_string_equal(pm_error_text(), cases[i].says);
    }
    char nul[] = "a\0b\n";
    pm_csv csv = csv_of(nul, 4);
    assert_int_equal(pm_csv_next(&csv), PM_E_FORMAT);
}

static void labels_faults_are_named_with_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        pm_status status;
    } cases[] = {
        {"", "labels.csv: empty; it needs a header", PM_E_FORMAT},
        {"path,label\n", "labels.csv: no image in it", PM_E_FORMAT},
        {"path,lable\n", "labels.csv:1: column 'lable' is not known", PM_E_FORMAT},
        {"path,path\n", "labels.csv:1: column 'path' comes twice", PM_E_FORMAT},
        {"label\n1\n", "labels.csv: the header must be", PM_E_FORMAT},
        {"path,xmin,ymin,xmax\n", "labels.csv: the header must be", PM_E_FORMAT},
        {"path,label\na.jpg\n", "labels.csv:2: 1 fields, the header has 2", PM_E_FORMAT},
        {"path,label\na.jpg,-1\n", "labels.csv:2: label '-1' is not a class index", PM_E_FORMAT},
        {"path,label\na.jpg,cat\n", "labels.csv:2: label 'cat'", PM_E_FORMAT},
        {"path,label\na.jpg,10\n", "labels.csv:2: label 10 is out of range: the model has 10",
         PM_E_MISMATCH},
        {"path,label\n/etc/passwd,1\n", "is not a path inside the folder", PM_E_FORMAT},
        {"path,label\nb/../../x.jpg,1\n", "is not a path inside the folder", PM_E_FORMAT},
        {"path,label\n,1\n", "is not a path inside the folder", PM_E_FORMAT},
        {"path,label\nb//c.jpg,1\n", "is not a path inside the folder", PM_E_FORMAT},
        {"path,label\na.jpg,1\nmissing.jpg,1\n", "labels.csv:3: there is no image missing.jpg",
         PM_E_NOT_FOUND},
        {"path,label\na.jpg,1\na.jpg,2\n", "labels.csv:3: a.jpg has another label in line 2",
         PM_E_FORMAT},
        {"path,label\na.jpg,1\n./a.jpg,1\n", "labels.csv:3: a.jpg stands in line 2 already",
         PM_E_FORMAT},
        {"path,label,xmin,ymin,xmax,ymax\na.jpg,1,2,3,4,\n", "labels.csv:2: xmin", PM_E_FORMAT},
        {"path,label,xmin,ymin,xmax,ymax\na.jpg,1,2,3,nan,5\n", "labels.csv:2: xmax 'nan'",
         PM_E_FORMAT},
        {"path,label,xmin,ymin,xmax,ymax\na.jpg,1,9,3,4,5\n", "the box ends before it begins",
         PM_E_FORMAT},
    };
    tree t = tree_new();
    pm_data_set_options options = {.images = t.root, .class_count = 10};
    pm_data_set set = {0};
    tree_add(&t, "a.jpg", "1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tree_add(&t, "labels.csv", cases[i].text);
        pm_status status = pm_data_set_open(&options, &set);
        if (status != cases[i].status || !strstr(pm_error_text(), cases[i].says))
            fail_msg("%s: '%s', not '%s'", pm_status_name(status), pm_error_text(), cases[i].says);
    }
    tree_free(&t);
}

static void class_table_faults_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "empty"},
        {"index,names\n", "no class in it"},
        {"names,wnid\na,b\n", "the header must be index,wnid,names"},
        {"index,names\n0,a\n0,b\n", ":3: class 0 comes twice"},
        {"index,names\nx,a\n", ":2: index 'x'"},
        {"index,names\n4000000000,a\n", ":2: index '4000000000'"},
        {"index,wnid,names\n0,a\n", ":2: 2 fields, the header has 3"},
    };
    tree t = tree_new();
    char path[512];
    pm_class_names names = {0};
    tree_path(&t, "c.csv", path);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tree_add(&t, "c.csv", cases[i].text);
        assert_int_equal(pm_class_names_read(path, &names), PM_E_FORMAT);
        if (!strstr(pm_error_text(), cases[i].says)) fail_msg("%s", pm_error_text());
    }
    tree_add(&t, "c.csv", "index,wnid,names\n2,n2,two\n0,n0,\n");
    assert_int_equal(pm_class_names_read(path, &names), PM_OK);
    assert_int_equal(names.count, 3);
    assert_string_equal(names.names[2], "two");
    assert_string_equal(names.wnids[0], "n0");
    assert_null(names.names[0]);
    pm_class_names_fini(&names);
    tree_free(&t);
}

#define BOX(a) "<bndbox><ymax>4</ymax><xmin>" a "</xmin><ymin>2</ymin><xmax>3</xmax></bndbox>"
#define OBJECT(a) "<object><name>x</name>" BOX(a) "</object>"

static pm_status parse_voc(const char *text, pm_item *item) {
    return pm_voc_parse("b.xml", text, strlen(text), item);
}

static void voc_gives_the_boxes_of_objects_in_order(void **state) {
    (void)state;
    pm_item item = {.path = (char *)(uintptr_t) "b.jpg", .label = -1};
    const char *text = "<?xml version='1.0'?>\n<annotation><size><xmin>7</xmin></size>" BOX("8")
        OBJECT("1.5") "<object><part>" BOX("9") "</part></object>" OBJECT("\n 2\t") "</annotation>";
    assert_int_equal(parse_voc(text, &item), PM_OK);
    assert_int_equal(item.box_count, 2);
    assert_true(item.boxes[0].xmin == 1.5 && item.boxes[0].ymax == 4);
    assert_true(item.boxes[1].xmin == 2 && item.boxes[1].ymin == 2 && item.boxes[1].xmax == 3);
    free(item.boxes);
}

static void voc_faults_are_named_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "b.xml:1: no element found"},
        {"<annotation>\n<object>", "b.xml:2: "},
        {"<html/>", "not a Pascal VOC annotation but <html>"},
        {"<annotation>" OBJECT("one") "</annotation>", "b.xml:1: xmin 'one' is not a number"},
        {"<annotation>" OBJECT("1 2") "</annotation>", "is not a number"},
        {"<annotation>" OBJECT("7") "</annotation>", "the box ends before it begins"},
        {"<annotation><object>\n<bndbox><xmin>1</xmin></bndbox></object></annotation>",
         "b.xml:2: a box without ymin"},
        {"<!DOCTYPE a [<!ENTITY e '1'>]><annotation>" OBJECT("&e;") "</annotation>",
         "b.xml:1: a document type declaration is refused"},
        {"<annotation>" OBJECT("1") "</annotation>junk", "b.xml:1: "},
        {"<annotation>" OBJECT(
             "0000000000000000000000000000000000000000000000000000001") "</annotation>",
         "xmin is not a number"},
        {"<annotation><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>"
         "<a><a><a><a><a><a><a><a>",
         "nested deeper"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pm_item item = {.path = (char *)(uintptr_t) "b.jpg"};
        pm_status status = parse_voc(cases[i].text, &item);
        if (!status || !strstr(pm_error_text(), cases[i].says))
            fail_msg("%zu: '%s', not '%s'", i, pm_error_text(), cases[i].says);
        free(item.boxes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_is_rfc_4180),
        cmocka_unit_test(csv_faults_are_named_with_their_line),
        cmocka_unit_test(labels_faults_are_named_with_file_and_line),
        cmocka_unit_test(class_table_faults_are_named),
        cmocka_unit_test(voc_gives_the_boxes_of_objects_in_order),
        cmocka_unit_test(voc_faults_are_named_with_their_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

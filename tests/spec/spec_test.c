/* lib/spec: one text for one configuration, parsed back strictly; identities of sets and runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/spec/failure.h"
#include "lib/spec/spec.h"

static pm_config sample(void) {
    pm_config c = {
        .arch = "resnet18",
        .has_statistics = true,
        .resize = 256,
        .crop = 224,
        .mean = {0.485f, 0.456f, 0.406f},
        .std = {0.25f, 0.5f, 1.0f},
    };
    c.weights = pm_sha256_of("abc", 3);
    c.statistics = pm_sha256_of("", 0);
    pm_attribution_defaults(&c.attribution);
    c.attribution.mask = PM_MASK_CLS;
    return c;
}

/* Written by hand from the rule in spec.h; the digits of 0.485f etc. are Python's
 * '%.17g' % numpy.float32(0.485), the hashes sha256sum of "abc" and of nothing. */
static const char expected[] =
    "{\"arch\":\"resnet18\",\"crop\":224,\"exact\":false,\"filter\":\"bilinear\",\"gamma\":\"inf\","
    "\"layers\":\"default\",\"mask\":\"cls\","
    "\"mean\":[0.48500001430511475,0.45600000023841858,0.40599998831748962],\"method\":\"grad\","
    "\"p_value_threshold\":0.050000000000000003,\"resize\":256,"
    "\"statistics\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\","
    "\"std\":[0.25,0.5,1],\"target_class\":0,\"target_rule\":\"label\",\"test\":\"welch\","
    "\"threshold\":0.10000000000000001,\"threshold_kind\":\"quantile\","
    "\"variance_conservation\":true,"
    "\"weights\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}";

static void canonical_text_is_the_documented_one(void **state) {
    (void)state;
    pm_config c = sample();
    char *text = NULL;
    pm_sha256 hash, again = pm_sha256_of(expected, strlen(expected));
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_string_equal(text, expected);
    assert_true(pm_sha256_equal(&hash, &again));
    free(text);
}

static void text_parses_back_to_the_same_configuration(void **state) {
    (void)state;
    pm_config c = sample(), back;
    c.attribution.gamma = 1.0 / 3.0;
    c.attribution.exact = true;
    c.attribution.threshold_kind = PM_THRESHOLD_ALPHA;
    c.attribution.threshold = 1e-10;
    c.attribution.test = PM_TEST_STUDENT;
    strcpy(c.attribution.layers, "layer4.*.conv[12],\"x\\y\"");
    c.target_rule = PM_TARGET_RULE_CLASS;
    c.target_class = 281;
    c.filter = PM_FILTER_BICUBIC;
    char *text, *twice;
    pm_sha256 hash, hash2;
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_int_equal(pm_config_parse(text, &back), PM_OK);
    assert_true(back.attribution.gamma == 1.0 / 3.0);
    assert_true(back.attribution.threshold == 1e-10);
    assert_true(back.mean[0] == 0.485f);
    assert_string_equal(back.attribution.layers, c.attribution.layers);
    assert_int_equal(back.target_class, 281);
    assert_int_equal(pm_config_format(&back, &twice, &hash2), PM_OK);
    assert_string_equal(text, twice);
    free(text);
    free(twice);
}

static void equal_work_has_an_equal_hash(void **state) {
    (void)state;
    pm_config a = sample(), b = sample();
    char *ta, *tb;
    pm_sha256 ha, hb;
    a.attribution.mask = b.attribution.mask = PM_MASK_OFF;
    b.attribution.threshold = 0.7;
    b.attribution.gamma = 2;
    b.attribution.variance_conservation = false;
    b.has_statistics = false;
    b.target_class = 9; /* the rule is "label" */
    assert_int_equal(pm_config_format(&a, &ta, &ha), PM_OK);
    assert_int_equal(pm_config_format(&b, &tb, &hb), PM_OK);
    assert_string_equal(ta, tb);
    assert_true(pm_sha256_equal(&ha, &hb));
    free(tb);
    b.crop = 223;
    assert_int_equal(pm_config_format(&b, &tb, &hb), PM_OK);
    assert_false(pm_sha256_equal(&ha, &hb));
    free(ta);
    free(tb);
}

/* A key of a later version stands where it means something, and nowhere else. */
static void later_keys_stand_only_where_they_mean_something(void **state) {
    (void)state;
    pm_config c = sample(), back;
    char *text;
    pm_sha256 hash;
    c.attribution.steps = 7; /* grad has no steps, samples, seed, cam layer */
    c.attribution.samples = 7;
    c.attribution.seed = 7;
    strcpy(c.attribution.cam_layer, "conv1");
    c.baseline_image = pm_sha256_of("abc", 3);
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_string_equal(text, expected);
    free(text);
    c.attribution.method = PM_METHOD_IG;
    c.attribution.baseline = PM_BASELINE_IMAGE;
    c.attribution.guided = true;
    c.all_boxes = true;
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_non_null(strstr(text,
                           "{\"arch\":\"resnet18\",\"baseline\":\"image\",\"baseline_image\":"
                           "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\","
                           "\"boxes\":\"all\",\"crop\":224,"));
    assert_non_null(strstr(text, "\"gamma\":\"inf\",\"guided\":true,\"layers\""));
    assert_non_null(strstr(text, "\"std\":[0.25,0.5,1],\"steps\":7,\"target_class\""));
    assert_null(strstr(text, "samples"));
    assert_int_equal(pm_config_parse(text, &back), PM_OK);
    assert_int_equal(back.attribution.steps, 7);
    assert_true(back.all_boxes && back.attribution.guided);
    assert_true(pm_sha256_equal(&back.baseline_image, &c.baseline_image));
    free(text);
    c = sample();
    c.attribution.method = PM_METHOD_SMOOTHGRAD;
    c.attribution.seed = UINT64_MAX;
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_non_null(strstr(text, "\"samples\":25,\"seed\":\"18446744073709551615\",\"sigma\":"
                                 "0.14999999999999999,\"statistics\""));
    assert_int_equal(pm_config_parse(text, &back), PM_OK);
    assert_true(back.attribution.seed == UINT64_MAX);
    free(text);
}

static void inputs_have_their_key_and_their_seed(void **state) {
    (void)state;
    pm_config c = sample(), back;
    char *text, label[128];
    pm_sha256 hash;
    c.attribution.seed = 7;
    c.input = (pm_input){.kind = PM_INPUT_BLUR, .radius = 0.1};
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_non_null(strstr(text, "\"gamma\":\"inf\",\"input\":\"blur:radius=0.10000000000000001\","
                                 "\"layers\""));
    assert_null(strstr(text, "seed"));
    assert_int_equal(pm_config_parse(text, &back), PM_OK);
    assert_true(pm_input_equal(&back.input, &c.input));
    free(text);
    c.input = (pm_input){.kind = PM_INPUT_JIGSAW, .grid = 4, .swaps = 8};
    assert_int_equal(pm_config_format(&c, &text, &hash), PM_OK);
    assert_non_null(strstr(text, "\"input\":\"jigsaw:grid=4,swaps=8\",\"layers\""));
    assert_non_null(strstr(text, "\"resize\":256,\"seed\":\"7\",\"statistics\""));
    assert_int_equal(pm_config_parse(text, &back), PM_OK);
    assert_true(back.attribution.seed == 7 && pm_input_equal(&back.input, &c.input));
    free(text);
    pm_config_label(&c, label, sizeof label);
    assert_string_equal(label,
                        "jigsaw:grid=4,swaps=8 seed 7 cls q0.1 t0.05 default gamma inf vc on");
    c.crop = 3;
    assert_int_equal(pm_config_check(&c), PM_E_USAGE);
    c = sample();
    c.attribution.mask = PM_MASK_OFF;
    c.attribution.method = PM_METHOD_GRADCAM;
    pm_config_label(&c, label, sizeof label);
    assert_string_equal(label, "gradcam off default");
    strcpy(c.attribution.cam_layer, "layer4.1.conv2");
    pm_config_label(&c, label, sizeof label);
    assert_string_equal(label, "gradcam layer4.1.conv2 off default");
}

/* expected with `from` replaced by `to` */
static void refused(const char *from, const char *to) {
    char text[2048];
    const char *at = strstr(expected, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - expected), expected, to, at + strlen(from));
    pm_config back;
    memset(&back, 0x5a, sizeof back);
    const pm_config before = back;
    if (pm_config_parse(text, &back) != PM_E_FORMAT) fail_msg("was taken: %s", text);
    assert_memory_equal(&back, &before, sizeof back);
}

static void only_what_the_network_sees_makes_another_tensor(void **state) {
    (void)state;
    pm_config a = sample(), b = a;
    assert_true(pm_config_same_tensor(&a, &b));
    b.attribution.mask = PM_MASK_OFF;
    b.attribution.seed = 3;
    assert_true(pm_config_same_tensor(&a, &b));
    b.transform_input = true;
    assert_false(pm_config_same_tensor(&a, &b));
    b = a;
    b.crop++;
    assert_false(pm_config_same_tensor(&a, &b));
}

static void parse_refuses_all_but_the_canonical_form(void **state) {
    (void)state;
    refused("\"layers\"", "\"guided\":false,\"layers\"");
    refused("\"crop\"", "\"boxes\":\"first\",\"crop\"");
    refused("\"layers\"", "\"input\":\"none\",\"layers\"");
    refused("\"layers\"", "\"input\":\"blur\",\"layers\"");
    refused("\"layers\"", "\"input\":\"smear\",\"layers\"");
    refused("\"statistics\"", "\"seed\":\"0\",\"statistics\"");
    refused("\"crop\":224,", "");
    refused("\"crop\":224", "\"crop\":224,\"more\":1");
    refused("\"crop\":224", "\"crop\":\"224\"");
    refused("\"crop\":224", "\"crop\":-1");
    refused("\"crop\":224", "\"crop\":0");
    refused("\"crop\":224", "\"crop\": 224");
    refused("\"crop\":224", "\"crop\":224,\"crop\":224");
    refused("\"std\":[0.25,", "\"std\":[0,");
    refused("\"std\":[0.25,", "\"std\":[");
    refused("\"mask\":\"cls\"", "\"mask\":\"ins?\"");
    refused("\"inf\"", "\"-inf\"");
    refused("\"inf\"", "-1");
    refused("\"e3b0", "\"z3b0");
    refused("\"e3b0", "\"b0");
    refused("0.10000000000000001", "0.1");
    refused("0.10000000000000001", "1.5");
    refused("\"default\"", "\"a\\u0000b\"");
    refused("{\"arch\"", "[{\"arch\"");
    refused("015ad\"}", "015ad\"");
    refused("\"exact\":false", "\"exact\":true"); /* exact with gamma infinite */
}

static void checks_name_the_value(void **state) {
    (void)state;
    pm_config c = sample();
    assert_int_equal(pm_config_check(&c), PM_OK);
    c.attribution.threshold = NAN;
    assert_int_equal(pm_config_check(&c), PM_E_USAGE);
    c = sample();
    c.has_statistics = false;
    assert_int_equal(pm_config_check(&c), PM_E_USAGE);
    assert_non_null(strstr(pm_error_text(), "--stats"));
    c = sample();
    strcpy(c.attribution.layers, "a b");
    assert_int_equal(pm_config_check(&c), PM_E_USAGE);
    c = sample();
    c.arch[0] = 0;
    assert_int_equal(pm_config_check(&c), PM_E_USAGE);
}

static void labels_are_short_lines(void **state) {
    (void)state;
    pm_config c = sample();
    char label[128];
    pm_config_label(&c, label, sizeof label);
    assert_string_equal(label, "cls q0.1 t0.05 default gamma inf vc on");
    c.attribution.gamma = 2;
    c.attribution.exact = true;
    c.target_rule = PM_TARGET_RULE_TOP;
    pm_config_label(&c, label, sizeof label);
    assert_string_equal(label, "cls q0.1 t0.05 default gamma 2 exact target top");
    c.attribution.mask = PM_MASK_OFF;
    pm_config_label(&c, label, sizeof label);
    assert_string_equal(label, "off default target top");
    pm_config_label(&c, label, 4);
    assert_string_equal(label, "off");
}

/* printf 'parchmill data set 1' etc. packed by Python:
 *   import hashlib, struct; t = lambda s: struct.pack('<Q', len(s)) + s
 *   h = t(b'parchmill data set 1') + struct.pack('<Q', 1) + t(b'a/b.png')
 *   h += hashlib.sha256(b'abc').digest() + struct.pack('<qQ4d', -1, 1, 1, 2, 3.5, 4)
 *   hashlib.sha256(h).hexdigest() */
static void data_set_hash_covers_path_bytes_label_boxes(void **state) {
    (void)state;
    pm_spec_box box = {1, 2, 3.5, 4};
    char path[] = "a/b.png";
    pm_item item = {path, pm_sha256_of("abc", 3), 77, -1, 1, &box};
    pm_data_set set = {.count = 1, .items = &item};
    pm_sha256 first = pm_data_set_hash(&set), next;
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256_hex(&first, hex);
    assert_string_equal(hex, "ac58190eff7a055db094bf860c38ab3a974bfb7576347cac47658d6080efc806");
    item.label = 0;
    next = pm_data_set_hash(&set);
    assert_false(pm_sha256_equal(&first, &next));
    item.label = -1;
    box.ymax = 5;
    next = pm_data_set_hash(&set);
    assert_false(pm_sha256_equal(&first, &next));
    box.ymax = 4;
    item.size_bytes = 1; /* what the bytes are is said by their hash */
    next = pm_data_set_hash(&set);
    assert_true(pm_sha256_equal(&first, &next));
}

static void request_id_covers_what_is_asked(void **state) {
    (void)state;
    pm_config configs[2] = {sample(), sample()};
    configs[1].attribution.mask = PM_MASK_OFF;
    pm_run_spec spec = {.name = "one", .config_count = 2, .configs = configs};
    pm_data_set set = {0};
    pm_sha256 first = pm_run_request_id(&spec, &set), next;
    strcpy(spec.weights_path, "/elsewhere"); /* where it lies is not what it is */
    next = pm_run_request_id(&spec, &set);
    assert_true(pm_sha256_equal(&first, &next));
    spec.channels = PM_CHANNELS_FULL;
    next = pm_run_request_id(&spec, &set);
    assert_false(pm_sha256_equal(&first, &next));
    spec.channels = PM_CHANNELS_NONE;
    strcpy(spec.name, "two");
    next = pm_run_request_id(&spec, &set);
    assert_false(pm_sha256_equal(&first, &next));
}

static void evaluation_is(const char *ratios, pm_replacement replacement, uint64_t seed,
                          const char *want) {
    pm_evaluation e, back;
    char text[PM_EVALUATION_BYTES];
    pm_evaluation_defaults(&e);
    e.replacement = replacement;
    e.seed = seed;
    if (ratios) assert_int_equal(pm_evaluation_set_ratios(ratios, &e), PM_OK);
    pm_evaluation_format(&e, text);
    assert_string_equal(text, want);
    assert_int_equal(pm_evaluation_parse(text, &back), PM_OK);
    assert_true(back.on && back.replacement == replacement && back.seed == seed);
    assert_int_equal(back.ratio_count, e.ratio_count);
    for (size_t i = 0; i < e.ratio_count; i++) assert_true(back.ratios[i] == e.ratios[i]);
}

static void evaluation_has_one_text(void **state) {
    (void)state;
    evaluation_is(NULL, PM_REPLACEMENT_ZERO, 0, "zero:0,0.1,0.2,0.3,0.4,0.5");
    evaluation_is("0", PM_REPLACEMENT_MEAN, 0, "mean:0");
    evaluation_is("-0,.5,1", PM_REPLACEMENT_BLUR, 0, "blur:0,0.5,1");
    evaluation_is(".25,1e0", PM_REPLACEMENT_NOISE, 0, "noise@0:0,0.25,1");
    evaluation_is("0.1", PM_REPLACEMENT_NOISE, UINT64_MAX, "noise@18446744073709551615:0,0.1");
    /* repr(1/3), repr(0.1 + 0.2), repr(1e-7) of Python */
    evaluation_is("1e-7,0.30000000000000004,0.3333333333333333", PM_REPLACEMENT_ZERO, 0,
                  "zero:0,1e-07,0.30000000000000004,0.3333333333333333");
}

static void evaluation_longest_text_fits(void **state) {
    (void)state;
    pm_evaluation e = {.on = true,
                       .ratio_count = PM_RATIOS_MAX,
                       .replacement = PM_REPLACEMENT_NOISE,
                       .seed = UINT64_MAX},
                  back;
    char text[PM_EVALUATION_BYTES];
    for (size_t i = 1; i < PM_RATIOS_MAX; i++) e.ratios[i] = (double)i * 1.2345678901234567e-300;
    pm_evaluation_format(&e, text);
    assert_int_equal(pm_evaluation_parse(text, &back), PM_OK);
    assert_true(back.ratios[PM_RATIOS_MAX - 1] == e.ratios[PM_RATIOS_MAX - 1]);
}

static void evaluation_off_is_no_text(void **state) {
    (void)state;
    pm_evaluation off = {0}, back = {.on = true};
    char text[PM_EVALUATION_BYTES] = "x";
    pm_evaluation_format(&off, text);
    assert_string_equal(text, "");
    assert_int_equal(pm_evaluation_parse("", &back), PM_OK);
    assert_false(back.on);
}

static void evaluation_refuses_what_it_cannot_mean(void **state) {
    (void)state;
    static const char *const ratios[] = {
        "",        "0.5,",    "a",
        "0.2,0.1", "0.1,0.1", "0,1.5",
        "-0.1",    "nan",     "0,0.5,0.50000000000000000000000000000000000000001"};
    static const char *const texts[] = {"zero",
                                        "zero:",
                                        "none:0",
                                        "zero:0.1",
                                        "zero:0,.1",
                                        "zero:0,0.10",
                                        "noise:0",
                                        "zero@3:0",
                                        "noise@:0",
                                        "noise@-1:0",
                                        "noise@07:0",
                                        "noise@1x:0",
                                        "noise@18446744073709551616:0",
                                        ":0",
                                        "zero:0 "};
    pm_evaluation e;
    pm_evaluation_defaults(&e);
    const pm_evaluation before = e;
    for (size_t i = 0; i < sizeof ratios / sizeof *ratios; i++)
        if (pm_evaluation_set_ratios(ratios[i], &e) != PM_E_USAGE)
            fail_msg("was taken: %s", ratios[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (pm_evaluation_parse(texts[i], &e) != PM_E_FORMAT) fail_msg("was taken: %s", texts[i]);
    assert_memory_equal(&e, &before, sizeof e);
    char many[8 * (PM_RATIOS_MAX + 1)] = "";
    for (int i = 1; i <= PM_RATIOS_MAX; i++)
        snprintf(many + strlen(many), 8, "%s0.%03d", i > 1 ? "," : "", i);
    assert_int_equal(pm_evaluation_set_ratios(many, &e), PM_E_USAGE); /* 0 would be one more */
}

static void id_is(const pm_run_spec *spec, const char *want) {
    pm_data_set set = {0};
    char hex[PM_SHA256_HEX_BYTES];
    pm_sha256 id = pm_run_request_id(spec, &set);
    pm_sha256_hex(&id, hex);
    assert_string_equal(hex, want);
}

/* By Python, with t and `expected` as above:
 *   h = t(b'parchmill run 1') + sha256(t(b'parchmill data set 1') + struct.pack('<Q', 0)).digest()
 *   h += struct.pack('<Q', 1) + sha256(expected).digest() + t(b'none') + t(b'none') + t(b'one')
 * and with evaluation h + t(b'evaluation') + t(b'zero:0,0.1,0.2,0.3,0.4,0.5') */
static void request_id_has_an_evaluation_only_where_there_is_one(void **state) {
    (void)state;
    static const char off[] = "3ea51fc533ca399d17f22967f66007db3b9569d062c9488c28bbdeb84d48478b";
    pm_config config = sample();
    pm_run_spec spec = {.name = "one", .config_count = 1, .configs = &config};
    id_is(&spec, off);
    spec.evaluation.ratio_count = 3; /* means nothing while it is off */
    id_is(&spec, off);
    pm_evaluation_defaults(&spec.evaluation);
    id_is(&spec, "159dfdfecbfb13cccf0550a75cd1274ea62ba07b9702e5587b9105bed0f6f909");
}

static void every_failure_says_what_to_do(void **state) {
    (void)state;
    static const char *const stages[] = {"fetch", "decode", "preprocess", "compute", "crash", "?"};
    static const char *const reasons[] = {"missing", "changed", "format",     "limit",
                                          "memory",  "time",    "crash",      "forbidden",
                                          "hang",    "SIGSEGV", "not-finite", ""};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        for (size_t k = 0; k < sizeof reasons / sizeof *reasons; k++) {
            const char *hint = pm_failure_hint(stages[i], reasons[k]);
            assert_true(strlen(hint) > 20 && strlen(hint) < 120);
            assert_null(strchr(hint, '\n'));
        }
    assert_non_null(strstr(pm_failure_hint("fetch", "changed"), "submit again"));
    assert_non_null(strstr(pm_failure_hint("decode", "limit"), "100 megapixels"));
    assert_string_not_equal(pm_failure_hint("decode", "crash"), pm_failure_hint("crash", "crash"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text_is_the_documented_one),
        cmocka_unit_test(text_parses_back_to_the_same_configuration),
        cmocka_unit_test(equal_work_has_an_equal_hash),
        cmocka_unit_test(later_keys_stand_only_where_they_mean_something),
        cmocka_unit_test(inputs_have_their_key_and_their_seed),
        cmocka_unit_test(only_what_the_network_sees_makes_another_tensor),
        cmocka_unit_test(parse_refuses_all_but_the_canonical_form),
        cmocka_unit_test(checks_name_the_value),
        cmocka_unit_test(labels_are_short_lines),
        cmocka_unit_test(data_set_hash_covers_path_bytes_label_boxes),
        cmocka_unit_test(request_id_covers_what_is_asked),
        cmocka_unit_test(request_id_has_an_evaluation_only_where_there_is_one),
        cmocka_unit_test(evaluation_has_one_text),
        cmocka_unit_test(evaluation_longest_text_fits),
        cmocka_unit_test(evaluation_off_is_no_text),
        cmocka_unit_test(evaluation_refuses_what_it_cannot_mean),
        cmocka_unit_test(every_failure_says_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

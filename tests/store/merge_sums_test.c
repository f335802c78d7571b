/* Sums of channel gradients after a merge: each image once, or not at all. */
#include "tests/store/keep_support.h"

/* Images 0 .. 5 and 3 .. 8. */
static plan part(size_t first, size_t items, pm_channels channels) {
    return (plan){.items = items, .configs = 2, .channels = channels, .first_image = first};
}

/* Two databases of images [0, 6) and [first, first + 6), into the first. */
static pm_status merge_parts(void **state, pm_channels ours, size_t first, size_t items,
                             pm_channels theirs, bool drop, scratch *out, pm_merge_counts *counts) {
    scratch a = beside(*state, "a.db"), b = beside(*state, "b.db");
    const plan p = part(0, 6, ours), q = part(first, items, theirs);
    make_db(&a, (const plan *const[]){&p}, 1);
    make_db(&b, (const plan *const[]){&q}, 1);
    const char *paths[] = {b.path};
    *out = a;
    return pm_store_merge(
        &(pm_merge_plan){
            .sources = paths, .source_count = 1, .into = a.path, .drop_channel_sums = drop},
        counts);
}

#define SUMMARY PM_CHANNELS_SUMMARY
#define FULL PM_CHANNELS_FULL

static void images_of_one_side_each_are_merged(void **state) {
    scratch s;
    pm_merge_counts n;
    assert_int_equal(merge_parts(state, SUMMARY, 6, 4, SUMMARY, false, &s, &n), PM_OK);
    assert_sums(&s, 0, 0, 10);
    assert_sums(&s, 1, 0, 10);
}

static void side_that_has_all_of_the_other_stays(void **state) {
    scratch s;
    pm_merge_counts n;
    assert_int_equal(merge_parts(state, SUMMARY, 2, 3, SUMMARY, false, &s, &n), PM_OK);
    assert_sums(&s, 1, 0, 6);
}

static void side_that_has_all_of_ours_takes_its_place(void **state) {
    scratch s;
    pm_merge_counts n;
    assert_int_equal(merge_parts(state, SUMMARY, 0, 9, SUMMARY, false, &s, &n), PM_OK);
    assert_sums(&s, 1, 0, 9);
}

static void their_images_that_were_kept_one_by_one_are_added(void **state) {
    scratch s;
    pm_merge_counts n;
    assert_int_equal(merge_parts(state, SUMMARY, 3, 6, FULL, false, &s, &n), PM_OK);
    assert_sums(&s, 1, 0, 9);
    assert_int_equal(ask(&s, "SELECT count(*) FROM result WHERE channels_kept = 2"), 12);
}

static void our_images_that_were_kept_one_by_one_are_added(void **state) {
    scratch s;
    pm_merge_counts n;
    assert_int_equal(merge_parts(state, FULL, 3, 6, SUMMARY, false, &s, &n), PM_OK);
    assert_sums(&s, 1, 0, 9);
}

static void sums_without_a_way_back_are_refused_or_left_out(void **state) {
    scratch s;
    pm_merge_counts n;
    assert_int_equal(merge_parts(state, SUMMARY, 3, 6, SUMMARY, false, &s, &n), PM_E_MISMATCH);
    assert_non_null(strstr(pm_error_text(), "--drop-channel-sums"));
    assert_non_null(strstr(pm_error_text(), "3 images are in both"));
    assert_sums(&s, 1, 0, 6); /* untouched */
    assert_int_equal(merge_parts(state, SUMMARY, 3, 6, SUMMARY, true, &s, &n), PM_OK);
    assert_int_equal(n.sums_dropped, 2);
    assert_int_equal(ask(&s, "SELECT count(*) FROM channel_gradient"), 0);
    assert_int_equal(ask(&s, "SELECT count(*) FROM channel_accumulator"), 0);
    assert_int_equal(ask(&s, "SELECT count(*) FROM result WHERE channels_kept <> 0"), 0);
    /* A run that asks for them computes them, once each. */
    const plan all = part(0, 9, SUMMARY);
    assert_int_equal(complete(&s, &all), 9);
    assert_sums(&s, 1, 0, 9);
    assert_whole(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(images_of_one_side_each_are_merged, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(side_that_has_all_of_the_other_stays, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(side_that_has_all_of_ours_takes_its_place, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(their_images_that_were_kept_one_by_one_are_added,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(our_images_that_were_kept_one_by_one_are_added,
                                        scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(sums_without_a_way_back_are_refused_or_left_out,
                                        scratch_set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* attribute --check-randomization against the same by hand: weights that start over written to a
 * file, attributed as any model is, the two maps' ranks correlated. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/stats/ranks.h"
#include "tests/engine/tensor_file.h"
#include "tests/integration/command.h"
#include "tests/integration/fixture.h"
#include "worker/engine/arch/arch.h"
#include "worker/engine/model.h"

enum { LINE_BYTES = 1024, SIDE = 32, PIXELS = SIDE * SIDE, LAYERS = 20 };

static pm_fixture fixture;

static int make_fixture(void **state) {
    (void)state;
    pm_fixture_make(&fixture, 4);
    return 0;
}

static int remove_fixture(void **state) {
    (void)state;
    pm_fixture_remove(&fixture);
    return 0;
}

static const float *slot(const pm_graph *graph, const pm_parameter *p) {
    const pm_node *node = &graph->nodes[p->node];
    switch (p->slot) {
    case PM_SLOT_WEIGHT: return node->weight;
    case PM_SLOT_BIAS: return node->bias;
    case PM_SLOT_MEAN: return node->mean;
    case PM_SLOT_VAR: return node->var;
    }
    return NULL;
}

/* The fixture's weights with the last `layers` layers anew. */
static void write_randomized(const char *path, size_t layers, uint64_t seed) {
    const pm_arch_info *arch;
    pm_weights *weights;
    pm_graph *graph;
    pm_builder b;
    if (pm_arch_find("cifar_resnet20", &arch) || pm_weights_open(fixture.weights, &weights) ||
        pm_graph_new(arch, weights, &graph) || pm_graph_randomize(graph, layers, seed) ||
        pm_builder_init(&b, arch, PM_FIXTURE_CLASSES))
        fail_msg("%s", pm_error_text());
    pm_file_tensor *tensors = calloc(b.parameter_count, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < b.parameter_count; i++) {
        const pm_parameter *p = &b.parameters[i];
        tensors[i] = (pm_file_tensor){.rank = p->rank, .values = slot(graph, p)};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", p->name);
        memcpy(tensors[i].shape, p->shape, sizeof tensors[i].shape);
    }
    pm_tensor_file_write(path, tensors, b.parameter_count);
    free(tensors);
    pm_builder_fini(&b);
    pm_graph_free(&graph);
    pm_weights_free(&weights);
}

static void heat_map_of(const char *weights, const char *options, float *out) {
    char line[LINE_BYTES], path[PM_FIXTURE_PATH];
    uint8_t *bytes = NULL;
    size_t size = 0;
    pm_program program;
    pm_fixture_path(&fixture, "map.npy", path);
    snprintf(line, sizeof line,
             "attribute --model cifar_resnet20 --weights %s %s/p0001.png --out %s --quiet %s",
             weights, fixture.images, path, options);
    if (pm_program_run(&program, line)) fail_msg("%s", program.err);
    assert_int_equal(pm_file_read(path, 1 << 20, &bytes, &size), PM_OK);
    assert_true(size > PIXELS * sizeof *out);
    memcpy(out, bytes + size - PIXELS * sizeof *out, PIXELS * sizeof *out);
    free(bytes);
}

/* Reads the next {layer, rank_correlation} behind *at. */
static double next(const char **at, char *layer, size_t size) {
    static const char name[] = "\"layer\": \"", value[] = "\"rank_correlation\": ";
    const char *a = strstr(*at, name);
    assert_non_null(a);
    a += strlen(name);
    snprintf(layer, size, "%.*s", (int)strcspn(a, "\""), a);
    const char *b = strstr(a, value);
    assert_non_null(b);
    *at = b + strlen(value);
    return strncmp(*at, "null", 4) == 0 ? (double)NAN : strtod(*at, NULL);
}

static void check(const char *options, uint64_t seed) {
    char line[LINE_BYTES], path[PM_FIXTURE_PATH], layer[64];
    float trained[PIXELS], anew[PIXELS];
    double said[LAYERS];
    pm_program program;
    snprintf(line, sizeof line,
             "attribute --model cifar_resnet20 --weights %s %s/p0001.png --json "
             "--check-randomization %s",
             fixture.weights, fixture.images, options);
    if (pm_program_run(&program, line)) fail_msg("%s", program.err);
    const char *at = strstr(program.out, "\"randomization\": [");
    assert_non_null(at);
    for (size_t i = 0; i < LAYERS; i++) {
        said[i] = next(&at, layer, sizeof layer);
        if (i == 0) assert_string_equal(layer, "linear");
        if (i == LAYERS - 1) assert_string_equal(layer, "conv1");
    }
    assert_null(strstr(at, "\"rank_correlation\""));
    heat_map_of(fixture.weights, options, trained);
    static const size_t depths[] = {1, 7, LAYERS};
    for (size_t i = 0; i < 3; i++) {
        double want;
        pm_fixture_path(&fixture, "anew.safetensors", path);
        write_randomized(path, depths[i], seed);
        heat_map_of(path, options, anew);
        assert_int_equal(pm_spearman(trained, anew, PIXELS, &want), PM_OK);
        print_message("%s: %zu layers anew: %.6f\n", options, depths[i], want);
        assert_true(isnan(want) ? isnan(said[depths[i] - 1])
                                : fabs(said[depths[i] - 1] - want) < 1e-8);
        assert_false(want > 0.9999); /* else it would say nothing */
    }
}

static void correlations_are_those_of_randomized_weights(void **state) {
    (void)state;
    char options[LINE_BYTES / 2];
    check("--target 7", 0);
    snprintf(options, sizeof options,
             "--target 3 --mask cls --stats %s --method smoothgrad "
             "--samples 2 --seed 9",
             fixture.stats);
    check(options, 9);
}

/* The class that the trained model predicts stays the target. */
static void the_target_is_the_trained_models(void **state) {
    (void)state;
    char line[2][LINE_BYTES];
    pm_program program[2];
    for (size_t i = 0; i < 2; i++) {
        int top = -1;
        if (i == 1) {
            const char *at = strstr(program[0].out, "\"target\": ");
            assert_non_null(at);
            top = atoi(at + strlen("\"target\": "));
        }
        snprintf(line[i], sizeof line[i],
                 "attribute --model cifar_resnet20 --weights %s %s/p0001.png --json "
                 "--check-randomization --target ",
                 fixture.weights, fixture.images);
        size_t length = strlen(line[i]);
        if (i == 0)
            snprintf(line[i] + length, sizeof line[i] - length, "top");
        else
            snprintf(line[i] + length, sizeof line[i] - length, "%d", top);
        if (pm_program_run(&program[i], line[i])) fail_msg("%s", program[i].err);
    }
    const char *a = strstr(program[0].out, "\"randomization\": ["),
               *b = strstr(program[1].out, "\"randomization\": [");
    assert_true(a && b);
    assert_string_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(correlations_are_those_of_randomized_weights),
        cmocka_unit_test(the_target_is_the_trained_models),
    };
    return cmocka_run_group_tests_name("run_randomization", tests, make_fixture, remove_fixture);
}

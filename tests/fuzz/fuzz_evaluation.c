/* Evaluations come from clients: what parses formats to itself; ratios that are taken are in order,
 * and their canonical text parses. */
#include <stdlib.h>
#include <string.h>

#include "lib/spec/evaluation.h"
#include "tests/fuzz/fuzz.h"

static void check(const pm_evaluation *e, const char *want) {
    char text[PM_EVALUATION_BYTES];
    pm_evaluation back;
    pm_evaluation_format(e, text);
    if ((want && strcmp(text, want) != 0) || pm_evaluation_parse(text, &back) != PM_OK) abort();
    if (!e->on) return;
    if (e->ratio_count < 1 || e->ratio_count > PM_RATIOS_MAX || e->ratios[0] != 0) abort();
    for (size_t i = 1; i < e->ratio_count; i++)
        if (!(e->ratios[i] > e->ratios[i - 1] && e->ratios[i] <= 1)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = malloc(size + 1);
    pm_evaluation e;
    if (!text) return 0;
    memcpy(text, bytes, size);
    text[size] = 0;
    if (pm_evaluation_parse(text, &e) == PM_OK) check(&e, text);
    pm_evaluation_defaults(&e);
    if (pm_evaluation_set_ratios(text, &e) == PM_OK) check(&e, NULL);
    free(text);
    return 0;
}

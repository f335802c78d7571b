/* Fuzzes statistics read for a model: what is taken gives a choice of H, or says why not. */
#include <stdlib.h>
#include <string.h>

#include "tests/engine/cases.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tensors.h"
#include "worker/engine/partition.h"

enum { CLASSES = 3, CHANNELS_MAX = 64 };

static void said_why(pm_status status) {
    if (status && !*pm_error_text()) abort();
}

static void choose(const pm_model *model, const pm_attribution *attribution,
                   const pm_statistics *statistics) {
    pm_configuration *configuration = NULL;
    double z[CHANNELS_MAX] = {0};
    uint8_t in_h[CHANNELS_MAX];
    size_t selected = 0;
    pm_status status = pm_configuration_new(model, attribution, statistics, &configuration);
    said_why(status);
    const bool ins = attribution->mask == PM_MASK_INS;
    if (!status && ins) pm_partition_score(configuration, 0, z);
    for (size_t target = 0; !status && target < CLASSES; target++) {
        pm_status chosen =
            pm_partition_select(configuration, 0, target, ins ? z : NULL, in_h, &selected);
        said_why(chosen);
        if (!chosen && selected > pm_model_conv(model, 0)->channels) abort();
    }
    pm_configuration_free(&configuration);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static pm_model *model;
    static pm_attribution cls, ins;
    const pm_attribution *const both[] = {&cls, &ins};
    pm_statistics *statistics = NULL;
    if (!model) {
        if (pm_case_model_new("cifar_resnet20", CLASSES, &model) != PM_OK) abort();
        pm_attribution_defaults(&cls);
        strcpy(cls.layers, "conv1");
        ins = cls;
        cls.mask = PM_MASK_CLS;
        ins.mask = PM_MASK_INS;
    }
    if (size < 9) return 0;
    pm_weights *file = fuzz_weights(bytes, size);
    pm_status status = pm_weights_load_safetensors(file);
    if (!status) status = pm_weights_finish(file);
    for (size_t i = 0; i < 2 && !status; i++) {
        pm_status made = i ? pm_statistics_new_for(model, file, both, 2, &statistics)
                           : pm_statistics_new(model, file, &statistics);
        said_why(made);
        if (!made != !!statistics) abort();
        if (!made) choose(model, &cls, statistics);
        if (!made) choose(model, &ins, statistics);
        pm_statistics_free(&statistics);
    }
    pm_weights_free(&file);
    return 0;
}

/* Owns the list of cases and their making: names and settings as in
 * tests/data/make_engine_vectors.py. */
#include "tests/engine/cases.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "worker/engine/model.h"

typedef struct entry {
    const char *name, *arch;
    size_t height, width, classes;
    pm_method method;
    pm_mask mask;
    const char *layers;     /* NULL: default */
    double quantile, alpha; /* quantile 0: alpha counts */
    double gamma;           /* 0: infinite */
    bool exact, no_conservation, transform;
    double p_value_threshold; /* 0: 0.5, the reference's own for synthetic statistics */
    bool guided;
    size_t steps, samples;            /* 0: 25 */
    const char *baseline, *cam_layer; /* a synth stream; NULL: zeros, default */
} entry;

#define CLS(QUANTILE) .mask = PM_MASK_CLS, .quantile = QUANTILE
#define INS(QUANTILE) .mask = PM_MASK_INS, .quantile = QUANTILE
#define OFF .mask = PM_MASK_OFF, .quantile = 0.1

/* An architecture's stand together: one model serves them all. */
static const entry table[] = {
    {"resnet18_64_off", "resnet18", 64, 64, 1000, OFF},
    {"resnet18_64_cls", "resnet18", 64, 64, 1000, CLS(0.1)},
    {"resnet18_64_novc", "resnet18", 64, 64, 1000, CLS(0.1), .no_conservation = true},
    {"resnet18_64_all_q0.05", "resnet18", 64, 64, 1000, CLS(0.05), .layers = "ratio:1"},
    {"resnet18_64_ratio0.9_alpha0.3", "resnet18", 64, 64, 1000, CLS(0), .alpha = 0.3,
     .layers = "ratio:0.9"},
    {"resnet18_64_gamma2", "resnet18", 64, 64, 1000, CLS(0.1), .gamma = 2},
    {"resnet18_64_gamma2_exact", "resnet18", 64, 64, 1000, CLS(0.1), .gamma = 2, .exact = true},
    {"resnet18_32_cls", "resnet18", 32, 32, 1000, CLS(0.1)},
    {"resnet18_64_gamma0.5_novc", "resnet18", 64, 64, 1000, CLS(0.1), .gamma = 0.5,
     .no_conservation = true},
    {"resnet18_64_h_empty", "resnet18", 64, 64, 1000, CLS(0), .alpha = 0},
    {"resnet18_64_l_empty", "resnet18", 64, 64, 1000, CLS(1), .p_value_threshold = 2},
    {"resnet18_40x72_cls", "resnet18", 40, 72, 1000, CLS(0.2),
     .layers = "layer2.*, layer4.0.conv?"},
    {"resnet18_65_off", "resnet18", 65, 65, 1000, OFF},
    {"resnet18_64_inputgrad", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_INPUTGRAD},
    {"resnet18_64_ins_q0.3", "resnet18", 64, 64, 1000, INS(0.3)},
    {"resnet18_64_ins_alpha", "resnet18", 64, 64, 1000, INS(0), .alpha = 0.49, .gamma = 2,
     .layers = "ratio:1"},
    {"resnet18_64_ins_empty", "resnet18", 64, 64, 1000, INS(0), .alpha = 0},
    {"resnet18_64_guided", "resnet18", 64, 64, 1000, CLS(0.1), .guided = true},
    {"resnet18_64_ig", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_IG},
    {"resnet18_64_ig_off", "resnet18", 64, 64, 1000, OFF, .method = PM_METHOD_IG, .steps = 8},
    {"resnet18_64_ig_baseline", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_IG,
     .steps = 7, .baseline = "baseline/0"},
    {"resnet18_64_ig_guided", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_IG,
     .steps = 4, .guided = true},
    {"resnet18_64_ig_ins", "resnet18", 64, 64, 1000, INS(0.3), .method = PM_METHOD_IG, .steps = 4},
    {"resnet18_64_smoothgrad4", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_SMOOTHGRAD,
     .samples = 4},
    {"resnet18_64_smoothgrad_ins", "resnet18", 64, 64, 1000, INS(0.3),
     .method = PM_METHOD_SMOOTHGRAD, .samples = 3},
    {"resnet18_64_vargrad", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_VARGRAD,
     .samples = 5},
    {"resnet18_64_gradcam", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_GRADCAM},
    {"resnet18_64_gradcam_guided", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_GRADCAM,
     .guided = true},
    {"resnet18_64_gradcam_below", "resnet18", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_GRADCAM,
     .cam_layer = "layer2.0.conv1", .guided = true},
    {"vgg16_bn_64_inputgrad", "vgg16_bn", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_INPUTGRAD},
    {"vgg16_bn_64_inputgrad_novc", "vgg16_bn", 64, 64, 1000, CLS(0.1),
     .method = PM_METHOD_INPUTGRAD, .no_conservation = true},
    {"vgg16_bn_64_ins_q0.3", "vgg16_bn", 64, 64, 1000, INS(0.3)},
    {"vgg16_bn_64_guided", "vgg16_bn", 64, 64, 1000, CLS(0.1), .guided = true},
    {"vgg16_bn_64_ig5", "vgg16_bn", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_IG, .steps = 5},
    {"vgg16_bn_96x64_gradcam", "vgg16_bn", 96, 64, 1000, OFF, .method = PM_METHOD_GRADCAM},
    {"vgg16_bn_64_cls", "vgg16_bn", 64, 64, 1000, CLS(0.1)},
    {"vgg16_bn_64_novc", "vgg16_bn", 64, 64, 1000, CLS(0.1), .no_conservation = true},
    {"vgg16_64_ins_q0.2", "vgg16", 64, 64, 1000, INS(0.2)},
    {"vgg16_64_vargrad_off", "vgg16", 64, 64, 1000, OFF, .method = PM_METHOD_VARGRAD, .samples = 3},
    {"vgg16_64_gradcam_hooked", "vgg16", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_GRADCAM,
     .cam_layer = "features.19"},
    {"vgg16_64_cls", "vgg16", 64, 64, 1000, CLS(0.1)},
    {"resnet34_64_cls", "resnet34", 64, 64, 1000, CLS(0.1)},
    {"resnet50_64_cls", "resnet50", 64, 64, 1000, CLS(0.1)},
    {"resnet50_70_off", "resnet50", 70, 70, 1000, OFF, .layers = "layer1.0.*"},
    {"resnet101_64_gamma3", "resnet101", 64, 64, 1000, CLS(0.1),
     .layers = "layer3.2?.conv3,layer4.*", .gamma = 3},
    {"resnet152_48_cls", "resnet152", 48, 48, 1000, CLS(0.1),
     .layers = "layer3.[0-3].conv2,layer4.*.conv1"},
    {"vgg11_32_cls", "vgg11", 32, 32, 10, CLS(0.1)},
    {"vgg13_bn_48_gamma2_exact", "vgg13_bn", 48, 48, 10, CLS(0.1), .gamma = 2, .exact = true},
    {"vgg19_48_cls", "vgg19", 48, 48, 10, CLS(0.3)},
    {"mobilenet_v2_64_cls", "mobilenet_v2", 64, 64, 1000, CLS(0.1)},
    {"mobilenet_v2_96_ratio0.5", "mobilenet_v2", 96, 96, 1000, CLS(0.5), .layers = "ratio:0.5"},
    {"mobilenet_v2_72x64_ins", "mobilenet_v2", 72, 64, 1000, INS(0.6),
     .layers = "features.1[0-2].*"},
    {"mobilenet_v2_96_guided", "mobilenet_v2", 96, 96, 1000, CLS(0.5), .guided = true,
     .layers = "features.1[4-8]*"},
    {"mobilenet_v2_96_gradcam", "mobilenet_v2", 96, 96, 1000, CLS(0.1), .guided = true,
     .method = PM_METHOD_GRADCAM},
    {"efficientnet_b0_64_off", "efficientnet_b0", 64, 64, 1000, OFF},
    {"efficientnet_b0_64_cls", "efficientnet_b0", 64, 64, 1000, CLS(0.1)},
    {"efficientnet_b0_80x56_squeeze", "efficientnet_b0", 80, 56, 1000, CLS(0.3),
     .layers = "features.[45]*.fc?,features.3.0.*"},
    {"efficientnet_b0_96_ratio0.5_ins", "efficientnet_b0", 96, 96, 1000, INS(0.3),
     .layers = "ratio:0.5"},
    {"efficientnet_b0_64_ig_ins", "efficientnet_b0", 64, 64, 1000, INS(0.6), .method = PM_METHOD_IG,
     .steps = 3},
    {"efficientnet_b0_96_gradcam_depthwise", "efficientnet_b0", 96, 96, 1000, CLS(0.1),
     .method = PM_METHOD_GRADCAM, .cam_layer = "features.4.0.block.1.0",
     .layers = "features.4.0.block.1.0,features.5.*.3.0"},
    {"efficientnet_b1_64_cls", "efficientnet_b1", 64, 64, 1000, CLS(0.1),
     .layers = "features.6.[0-1].block.[12].*,features.8.0"},
    {"efficientnet_b2_64_gamma2", "efficientnet_b2", 64, 64, 100, CLS(0.1),
     .layers = "features.5.*.block.[1-3].*", .gamma = 2},
    {"efficientnet_b3_64_off", "efficientnet_b3", 64, 64, 100, OFF, .layers = "features.4.0.*"},
    {"efficientnet_b4_64_cls", "efficientnet_b4", 64, 64, 100, CLS(0.1),
     .layers = "features.[1-3].0.block.1.0,features.7.*"},
    {"efficientnet_b5_64_novc", "efficientnet_b5", 64, 64, 100, CLS(0.1),
     .layers = "features.5.*.block.1.0", .no_conservation = true},
    {"efficientnet_b6_64_gamma3_exact", "efficientnet_b6", 64, 64, 10, CLS(0.1),
     .layers = "features.6.1.*", .gamma = 3, .exact = true},
    {"efficientnet_b7_64_cls", "efficientnet_b7", 64, 64, 10, CLS(0.2),
     .layers = "features.[2-5].3.block.[1-3].*"},
    {"squeezenet1_0_64_cls", "squeezenet1_0", 64, 64, 1000, CLS(0.3),
     .layers = "features.9.*,features.1?.*"},
    {"squeezenet1_0_70x54_off", "squeezenet1_0", 70, 54, 1000, OFF},
    {"squeezenet1_1_64_cls", "squeezenet1_1", 64, 64, 1000, CLS(0.1),
     .layers = "features.9.*,features.1?.*"},
    {"squeezenet1_1_54x70_gamma2", "squeezenet1_1", 54, 70, 1000, CLS(0.1), .gamma = 2},
    {"densenet121_64_cls", "densenet121", 64, 64, 1000, CLS(0.1)},
    {"densenet121_64_ratio0.5_off", "densenet121", 64, 64, 1000, OFF, .layers = "ratio:0.5"},
    {"densenet121_64_guided", "densenet121", 64, 64, 1000, CLS(0.1), .guided = true,
     .layers = "features.denseblock4.*.conv2"},
    {"densenet121_64_gradcam", "densenet121", 64, 64, 1000, OFF, .method = PM_METHOD_GRADCAM,
     .layers = "features.denseblock4.*.conv2"},
    {"googlenet_64_cls", "googlenet", 64, 64, 1000, CLS(0.1)},
    {"googlenet_64_transform", "googlenet", 64, 64, 1000, CLS(0.1), .method = PM_METHOD_INPUTGRAD,
     .transform = true},
    {"googlenet_96_cls", "googlenet", 96, 96, 1000, CLS(0.1)},
    {"googlenet_64_guided", "googlenet", 64, 64, 1000, CLS(0.1), .guided = true},
    {"inception_v3_96_ratio0.3", "inception_v3", 96, 96, 1000, CLS(0.1), .layers = "ratio:0.3"},
    {"inception_v3_96_smoothgrad", "inception_v3", 96, 96, 1000, CLS(0.1),
     .method = PM_METHOD_SMOOTHGRAD, .samples = 2, .layers = "Mixed_7c.*"},
    {"convnext_tiny_64_vargrad", "convnext_tiny", 64, 64, 1000, CLS(0.1),
     .method = PM_METHOD_VARGRAD, .samples = 2, .layers = "features.7.*"},
    {"convnext_tiny_96_gradcam", "convnext_tiny", 96, 96, 1000, CLS(0.1),
     .method = PM_METHOD_GRADCAM, .layers = "features.7.*"},
    {"convnext_tiny_64_ratio0.5", "convnext_tiny", 64, 64, 1000, CLS(0.1), .layers = "ratio:0.5"},
    {"convnext_tiny_96_off", "convnext_tiny", 96, 96, 1000, OFF},
    {"convnext_tiny_96_cls", "convnext_tiny", 96, 96, 1000, CLS(0.1)},
    {"cifar_resnet20_32_guided", "cifar_resnet20", 32, 32, 10, CLS(0.1), .guided = true},
    {"cifar_resnet20_32_off", "cifar_resnet20", 32, 32, 10, OFF},
    {"cifar_resnet20_32_cls", "cifar_resnet20", 32, 32, 10, CLS(0.1)},
    {"cifar_resnet32_32_all", "cifar_resnet32", 32, 32, 100, CLS(0.1), .layers = "*"},
    {"cifar_resnet56_32_gamma3_exact", "cifar_resnet56", 32, 32, 10, CLS(0.1), .gamma = 3,
     .exact = true},
    {"convnext_small_47x70_gamma2", "convnext_small", 47, 70, 1000, CLS(0.1), .gamma = 2,
     .layers = "features.0.0,features.4.1,features.5.2?.block.0"},
    {"convnext_base_64_cls", "convnext_base", 64, 64, 100, CLS(0.1),
     .layers = "features.6.1,features.7.*"},
    {"convnext_large_32_cls", "convnext_large", 32, 32, 10, CLS(0.1),
     .layers = "features.5.26.*,features.7.[02].*"},
};

/* Gains of the synthetic weights: they keep softmax away from 0 and 1, where parity says
 * nothing. */
static const struct gain {
    const char *arch;
    float conv, linear;
} gains[] = {
    {"resnet18", 1.4f, 0.3f},         {"resnet34", 1.2f, 0.1f},
    {"resnet50", 1.0f, 1.3f},         {"resnet101", 0.8f, 1.0f},
    {"resnet152", 0.8f, 1.0f},        {"vgg11", 1.5f, 1.0f},
    {"vgg13_bn", 1.5f, 1.0f},         {"vgg16", 1.5f, 1.0f},
    {"vgg16_bn", 1.5f, 1.0f},         {"vgg19", 1.5f, 1.0f},
    {"mobilenet_v2", 1.3f, 3.0f},     {"efficientnet_b0", 1.5f, 4.0f},
    {"efficientnet_b1", 1.2f, 16.0f}, {"efficientnet_b2", 1.2f, 16.0f},
    {"efficientnet_b3", 1.2f, 16.0f}, {"efficientnet_b4", 1.2f, 16.0f},
    {"efficientnet_b5", 1.2f, 16.0f}, {"efficientnet_b6", 1.2f, 8.0f},
    {"efficientnet_b7", 1.2f, 16.0f}, {"convnext_tiny", 1.4f, 3.0f},
    {"convnext_small", 1.4f, 3.0f},   {"convnext_base", 1.4f, 3.0f},
    {"convnext_large", 1.4f, 2.0f},   {"squeezenet1_0", 1.4f, 1.0f},
    {"squeezenet1_1", 1.45f, 1.0f},   {"densenet121", 1.4f, 2.5f},
    {"googlenet", 1.4f, 0.4f},        {"inception_v3", 1.5f, 0.7f},
    {"cifar_resnet20", 1.2f, 0.3f},   {"cifar_resnet32", 1.2f, 0.3f},
    {"cifar_resnet56", 1.0f, 0.05f},  {NULL, 1.4f, 0.3f},
};

size_t pm_case_count(void) { return sizeof table / sizeof table[0]; }
const char *pm_case_name(size_t index) { return table[index].name; }

/* One network a family, and little work: what the sanitizers can take. */
static bool is_small(const entry *e) {
    static const char *const archs[] = {"resnet18",        "vgg11",       "cifar_resnet20",
                                        "mobilenet_v2",    "googlenet",   "squeezenet1_1",
                                        "efficientnet_b0", "densenet121", "convnext_tiny"};
    bool listed = false;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        listed = listed || strcmp(e->arch, archs[i]) == 0;
    return listed && e->height * e->width <= 72 * 64;
}

bool pm_case_wanted(size_t index) {
    const char *only = getenv("PM_CASES");
    if (!only) return true;
    if (strcmp(only, "small") == 0) return is_small(&table[index]);
    return fnmatch(only, table[index].name, 0) == 0;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* In float32 step by step, as the reference computes it. */
static pm_status synthesize(void *user, const char *name, const size_t *shape, size_t rank,
                            float *out) {
    const struct gain *gain = user;
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= shape[i];
    pm_synth(name, 0, out, count);
    float fan = (float)sqrt(3.0 / ((double)count / (double)shape[0]));
    float shift = 1, scale = 0.2f;
    if (ends_with(name, ".layer_scale"))
        shift = 0.5f;
    else if (rank > 1) {
        const float gained = rank == 4 ? gain->conv : gain->linear;
        for (size_t i = 0; i < count; i++) out[i] = out[i] * fan * gained;
        return PM_OK;
    } else if (ends_with(name, ".bias"))
        shift = 0, scale = 0.1f;
    else if (ends_with(name, ".running_mean"))
        shift = 0, scale = 0.2f;
    else if (ends_with(name, ".running_var"))
        scale = 0.5f;
    for (size_t i = 0; i < count; i++) out[i] = shift + scale * out[i];
    return PM_OK;
}

pm_status pm_case_model_new(const char *arch, size_t classes, pm_model **out) {
    const struct gain *gain = gains;
    while (gain->arch && strcmp(gain->arch, arch) != 0) gain++;
    const pm_arch_info *info;
    pm_graph *graph;
    pm_status status = pm_arch_find(arch, &info);
    if (!status)
        status = pm_graph_new_from(info, classes, synthesize, (void *)(uintptr_t)gain, &graph);
    return status ? status : pm_model_new_from(graph, out);
}

/* p-values of one convolution: (synth + 1) / 2. */
static pm_status set_p_values(pm_statistics *statistics, const pm_conv_info *info, size_t conv,
                              size_t classes) {
    char name[128];
    size_t count = info->channels * classes;
    float *p = malloc(count * sizeof *p), *shapiro = malloc(info->channels * sizeof *shapiro);
    pm_status status = PM_E_MEMORY;
    if (p && shapiro) {
        snprintf(name, sizeof name, "cls/%s", info->name);
        pm_synth(name, 0, p, count);
        for (size_t i = 0; i < count; i++) p[i] = (p[i] + 1) / 2;
        snprintf(name, sizeof name, "shapiro/%s", info->name);
        pm_synth(name, 0, shapiro, info->channels);
        for (size_t i = 0; i < info->channels; i++) shapiro[i] = (shapiro[i] + 1) / 2;
        status = pm_statistics_set(statistics, conv, PM_TEST_WELCH, p, shapiro);
    }
    free(p);
    free(shapiro);
    return status;
}

/* Activations of one convolution: mean (synth + 1) / 2, std 10 (0.55 + 0.45 synth). */
static pm_status set_moments(pm_statistics *statistics, const pm_conv_info *info, size_t conv) {
    char name[128];
    size_t count = info->channels;
    float *mean = malloc(count * sizeof *mean), *std = malloc(count * sizeof *std);
    pm_status status = PM_E_MEMORY;
    if (mean && std) {
        snprintf(name, sizeof name, "mean/%s", info->name);
        pm_synth(name, 0, mean, count);
        for (size_t i = 0; i < count; i++) mean[i] = 0.5f + 0.5f * mean[i];
        snprintf(name, sizeof name, "std/%s", info->name);
        pm_synth(name, 0, std, count);
        for (size_t i = 0; i < count; i++) std[i] = 10 * (0.55f + 0.45f * std[i]);
        status = pm_statistics_set_moments(statistics, conv, mean, std);
    }
    free(mean);
    free(std);
    return status;
}

static pm_status make_statistics(const pm_model *model, const char *layers, pm_statistics **out) {
    size_t count = pm_model_conv_count(model);
    bool *hooked = calloc(count, sizeof *hooked);
    if (!hooked) return PM_E_MEMORY;
    pm_status status = pm_layers_select(model, layers, hooked);
    if (!status) status = pm_statistics_new_empty(model, out);
    for (size_t i = 0; i < count && !status; i++) {
        const pm_conv_info *info = pm_model_conv(model, i);
        if (!hooked[i]) continue;
        status = set_p_values(*out, info, i, pm_model_classes(model));
        if (!status) status = set_moments(*out, info, i);
    }
    free(hooked);
    return status;
}

static pm_status make_configuration(pm_case_set *set, const entry *e) {
    pm_attribution a;
    pm_attribution_defaults(&a);
    a.method = e->method;
    a.mask = e->mask;
    a.threshold_kind = e->quantile > 0 ? PM_THRESHOLD_QUANTILE : PM_THRESHOLD_ALPHA;
    a.threshold = e->quantile > 0 ? e->quantile : e->alpha;
    a.p_value_threshold = e->p_value_threshold > 0 ? e->p_value_threshold : 0.5;
    if (e->layers) snprintf(a.layers, sizeof a.layers, "%s", e->layers);
    if (e->gamma > 0) a.gamma = e->gamma;
    a.exact = e->exact;
    a.variance_conservation = !e->no_conservation;
    a.guided = e->guided;
    if (e->steps) a.steps = e->steps;
    if (e->samples) a.samples = e->samples;
    if (e->baseline) a.baseline = PM_BASELINE_IMAGE;
    if (e->cam_layer) snprintf(a.cam_layer, sizeof a.cam_layer, "%s", e->cam_layer);
    pm_status status = PM_OK;
    if (e->mask != PM_MASK_OFF) status = make_statistics(set->model, a.layers, &set->statistics);
    if (status) return status;
    return pm_configuration_new(set->model, &a, set->statistics, &set->configuration);
}

static void drop(pm_case_set *set, bool model) {
    pm_configuration_free(&set->configuration);
    pm_statistics_free(&set->statistics);
    pm_weights_free(&set->vectors);
    free(set->input);
    free(set->baseline);
    set->input = set->baseline = NULL;
    if (model) pm_model_free(&set->model);
}

void pm_case_set_fini(pm_case_set *set) { drop(set, true); }

static pm_status read_vectors(pm_case_set *set, const entry *e) {
    char path[1024];
    const char *root = getenv("PARCHMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/data/engine/%s.safetensors", root ? root : ".", e->name);
    pm_status status = pm_weights_open(path, &set->vectors);
    if (status) return status;
    const pm_tensor_info *info = pm_weights_find(set->vectors, "target");
    float target;
    if (!info || info->count != 1) return pm_fail(PM_E_FORMAT, "%s: no target", path);
    status = pm_weights_read(set->vectors, info, &target);
    if (!status) set->current.target = (int)target;
    return status;
}

void pm_case_noise(void *user, size_t draw, float *out) {
    const size_t count = *(const size_t *)user;
    char name[32];
    snprintf(name, sizeof name, "noise/%zu", draw);
    pm_synth(name, 0, out, count);
    for (size_t i = 0; i < count; i++) out[i] *= sqrtf(3);
}

pm_status pm_case_load(pm_case_set *set, size_t index, pm_case *out) {
    const entry *e = &table[index];
    bool same = set->model && strcmp(set->current.arch, e->arch) == 0 && set->classes == e->classes;
    size_t count = 3 * e->height * e->width;
    drop(set, !same);
    pm_status status = same ? PM_OK : pm_case_model_new(e->arch, e->classes, &set->model);
    if (!status) status = make_configuration(set, e);
    if (!status) status = read_vectors(set, e);
    if (status) return status;
    set->input = malloc(count * sizeof *set->input);
    if (!set->input) return pm_fail(PM_E_MEMORY, "no memory for an input");
    pm_synth("input/0", 0, set->input, count);
    for (size_t i = 0; i < count; i++) set->input[i] *= 2;
    if (e->baseline) {
        set->baseline = malloc(count * sizeof *set->baseline);
        if (!set->baseline) return pm_fail(PM_E_MEMORY, "no memory for a baseline");
        pm_synth(e->baseline, 0, set->baseline, count);
    }
    set->classes = e->classes;
    set->count = count;
    set->current = (pm_case){.name = e->name,
                             .arch = e->arch,
                             .height = e->height,
                             .width = e->width,
                             .method = e->method,
                             .transform = e->transform,
                             .model = set->model,
                             .configuration = set->configuration,
                             .input = set->input,
                             .target = set->current.target,
                             .request = {.configuration = set->configuration,
                                         .target = set->current.target,
                                         .baseline = set->baseline,
                                         .noise = pm_case_noise,
                                         .noise_user = &set->count},
                             .vectors = set->vectors};
    *out = set->current;
    return PM_OK;
}

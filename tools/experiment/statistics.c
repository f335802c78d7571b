/* Owns the experiment statistics: which numbers, the table, and the words. */
#include "tools/experiment/statistics.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/experiment/experiment.h"
#include "tools/experiment/sheet.h"
#include "tools/statistics/named.h"

static const char *const layer_names[] = {"layer",         "channels",      "shapiro_n",
                                          "shapiro_below", "shapiro_share", "class_n",
                                          "class_below",   "class_share"};
static const char *const bin_names[] = {"layer", "least", "most", "shapiro_share", "class_share"};

/* --stats is a file, or a name in the database, as for a run. */
static pm_status find_file(const pm_study *study, char path[PM_STATS_PATH_BYTES]) {
    struct stat info;
    pm_stats_named named;
    if (stat(study->stats, &info) == 0 || strchr(study->stats, '/')) {
        snprintf(path, PM_STATS_PATH_BYTES, "%s", study->stats);
        return PM_OK;
    }
    pm_status status = pm_stats_named_find(study->db, study->stats, &named);
    if (status) return pm_fail_in(status, "--stats %.80s is no file", study->stats);
    return pm_stats_named_file(study->db, study->stats, named.arch, &named.weights, path);
}

static pm_status write_tables(const pm_p_layers *layers, const pm_study *study) {
    pm_sheet shares = {.names = layer_names, .columns = 8},
             bins = {.names = bin_names, .columns = 5};
    pm_status status = PM_OK;
    for (size_t i = 0; i < layers->count && !status; i++) {
        const pm_p_layer *l = &layers->layers[i];
        status = pm_sheet_add(&shares, "sdddgddg", l->name, (int64_t)l->channels,
                              (int64_t)l->shapiro.count, (int64_t)l->shapiro.below,
                              pm_p_share(&l->shapiro), (int64_t)l->by_class.count,
                              (int64_t)l->by_class.below, pm_p_share(&l->by_class));
        for (size_t b = 0; b < PM_P_BINS && !status; b++)
            status =
                pm_sheet_add(&bins, "sgggg", l->name, (double)b / PM_P_BINS,
                             (double)(b + 1) / PM_P_BINS, l->shapiro.bins[b], l->by_class.bins[b]);
    }
    if (!status) status = pm_sheet_write(&shares, study, "layers.csv");
    if (!status) status = pm_sheet_write(&bins, study, "histograms.csv");
    if (!status) status = pm_sheet_print(&shares, study, 4);
    pm_sheet_fini(&shares);
    pm_sheet_fini(&bins);
    return status;
}

static void total(const pm_p_layers *layers, pm_p_spread *shapiro, pm_p_spread *by_class) {
    *shapiro = *by_class = (pm_p_spread){0};
    for (size_t i = 0; i < layers->count; i++) {
        shapiro->count += layers->layers[i].shapiro.count;
        shapiro->below += layers->layers[i].shapiro.below;
        by_class->count += layers->layers[i].by_class.count;
        by_class->below += layers->layers[i].by_class.below;
    }
}

static pm_status write_reading(const pm_p_layers *layers, const pm_study *study) {
    const pm_p_layer *first = &layers->layers[0], *last = &layers->layers[layers->count - 1];
    pm_p_spread shapiro, by_class;
    pm_buffer text = {0};
    total(layers, &shapiro, &by_class);
    pm_status status = pm_buffer_printf(
        &text,
        "# How are p-values spread over the layers?\n\nStatistics `%s`: %zu convolutions. "
        "Shapiro-Wilk says of %.1f %% of all channels that their activations are not normal (p < "
        "0.05): "
        "%.1f %% at %s, %.1f %% at %s.",
        study->stats, layers->count, 100 * pm_p_share(&shapiro), 100 * pm_p_share(&first->shapiro),
        first->name, 100 * pm_p_share(&last->shapiro), last->name);
    if (!status && by_class.count)
        status = pm_buffer_printf(
            &text,
            " The one-sided test of a class against all others (%s, %zu classes) has p < 0.05 for "
            "%.1f %% of all pairs of channel and class: %.1f %% at %s, %.1f %% at %s. Were no "
            "channel about any class, it would be 5 %% in every layer.",
            layers->test, layers->classes, 100 * pm_p_share(&by_class),
            100 * pm_p_share(&first->by_class), first->name, 100 * pm_p_share(&last->by_class),
            last->name);
    if (!status)
        status = pm_buffer_printf(
            &text,
            "\n\n![Share of p < 0.05 along the network](shares.svg)\n![Histograms, a panel a "
            "layer](histograms.svg)\n\n`layers.csv`: a row a layer. `histograms.csv`: %d bins of p "
            "a layer, as shares.\n",
            PM_P_BINS);
    if (!status) status = pm_study_reading(study, &text);
    pm_buffer_fini(&text);
    return status;
}

static pm_status work(pm_study *study, pm_p_layers *layers) {
    char path[PM_STATS_PATH_BYTES], title[160];
    if (pm_options_count(study->options, PM_OPT_TEST) > 1)
        return pm_fail(PM_E_USAGE, "--test takes one value here: welch or student");
    pm_test test;
    pm_status status = pm_test_parse(pm_options_text(study->options, PM_OPT_TEST), &test);
    if (!status) status = pm_study_statistics(study, false);
    if (!status) status = find_file(study, path);
    if (status) return status;
    const char *slash = strrchr(study->stats, '/');
    snprintf(title, sizeof title, "Statistics %.100s", slash ? slash + 1 : study->stats);
    status = pm_p_layers_read(path, pm_options_text(study->options, PM_OPT_TEST), layers);
    if (!status) status = write_tables(layers, study);
    if (!status) status = pm_p_figures(layers, study, title);
    return status ? status : write_reading(layers, study);
}

pm_status pm_experiment_statistics(const pm_options *options, const char *dir) {
    pm_study study;
    pm_p_layers layers = {0};
    pm_status status = pm_study_open(options, "statistics", dir, &study);
    if (!status) status = work(&study, &layers);
    pm_p_layers_fini(&layers);
    pm_study_close(&study);
    return status;
}

/* Owns the experiments quantile-sweep, alpha-sweep and sweep-animation: one run each of a few
 * photographs, drawn. */
#include "tools/experiment/sweep.h"

#include <stdio.h>
#include <string.h>

#include "lib/stats/paired.h"
#include "tools/experiment/experiment.h"

typedef struct sweep_kind {
    const char *name, *option, *values, *title;
    bool animated;
} sweep_kind;

static const sweep_kind by_quantile = {"quantile-sweep", "--quantile", "0.05,0.1,0.8",
                                       "Heat maps by the share of channels kept", false};
static const sweep_kind by_alpha = {"alpha-sweep", "--alpha", "1e-10,1e-7,0.5",
                                    "Heat maps by the p-value that channels must not exceed",
                                    false};
static const sweep_kind animated = {"sweep-animation", "--quantile", "1,0.5,0.3,0.1,0.08,0.05",
                                    "Heat maps as fewer and fewer channels are kept", true};

typedef struct sweep {
    pm_study study;
    pm_sheet sheet;
    pm_sweep_sums sums;
    pm_panels panels;
    pm_buffer files; /* the reading's list of animations */
} sweep;

static pm_status animate(void *user, const pm_sweep_image *image) {
    sweep *s = user;
    char stem[PM_SWEEP_NAME];
    pm_status status = pm_sweep_animate(&s->study, image);
    pm_sweep_file_name(image->item, image->path, stem);
    if (!status)
        status = pm_buffer_printf(&s->files, "![%s](%s.gif)\n([WebP](%s.webp))\n\n", image->path,
                                  stem, stem);
    return status;
}

static pm_status say_value(const pm_sweep_sums *sums, size_t i, pm_buffer *out) {
    const pm_moments *mu = &sums->mu_in_w[i], *share = &sums->share[i], *whole = &sums->whole[i];
    pm_status status = pm_buffer_printf(out, "%s%s:", i ? "; " : "", sums->labels[i]);
    if (!status && share->count)
        status = pm_buffer_printf(out, " %.1f %% of a layer's channels kept,", 100 * share->mean);
    if (!status && whole->count && whole->mean > 0)
        status = pm_buffer_printf(out, " %.0f %% of the layers unchanged,", 100 * whole->mean);
    if (status) return status;
    if (!mu->count) return pm_buffer_printf(out, " no box to score by");
    status = pm_buffer_printf(out, " mu_in_w %.3f", mu->mean);
    if (!status && mu->count > 1) status = pm_buffer_printf(out, " ± %.3f", pm_ci95(mu));
    return status ? status : pm_buffer_printf(out, " (n = %llu)", (unsigned long long)mu->count);
}

static pm_status write_reading(const sweep *s, const sweep_kind *kind) {
    pm_buffer text = {0};
    pm_status status = pm_buffer_printf(&text, "# %s\n\n%zu image%s of `%s` with %s. ", kind->title,
                                        s->sums.images, s->sums.images == 1 ? "" : "s",
                                        pm_options_text(s->study.options, PM_OPT_IMAGES),
                                        pm_options_text(s->study.options, PM_OPT_MODEL));
    for (size_t i = 0; i < s->sums.count && !status; i++) status = say_value(&s->sums, i, &text);
    if (!status)
        status = pm_buffer_printf(
            &text,
            ". A layer where no channel passes keeps all of them (mask cls) and is unchanged: a "
            "threshold below every p-value gives the plain gradient back. Colour is heat from its "
            "least value to its 99th percentile, each map by its own; the outline is the first "
            "box. `%s.csv` has the numbers of each picture.\n\n",
            kind->name);
    if (!status && kind->animated)
        status = pm_buffer_printf(&text,
                                  "Left the photograph, right its heat map; the value stands below "
                                  "it, and the bars say how far the sweep is.\n\n%s",
                                  s->files.bytes ? (const char *)s->files.bytes : "");
    else if (!status)
        status = pm_buffer_printf(&text, "![%s](%s.png)\n", kind->title, kind->name);
    if (!status && s->study.summary.items > PM_SWEEP_IMAGES)
        status =
            pm_buffer_printf(&text, "\nOnly the first %d images are drawn.\n", PM_SWEEP_IMAGES);
    if (!status) status = pm_study_reading(&s->study, &text);
    pm_buffer_fini(&text);
    return status;
}

static pm_status order_run(sweep *s, const sweep_kind *kind) {
    const pm_options *options = s->study.options;
    const char *words[10] = {"--mask",     "cls", "--channels", "none",
                             "--heatmaps", "f32", kind->option, kind->values};
    size_t count = 8;
    if (pm_options_given(options, PM_OPT_QUANTILE) && kind == &by_alpha)
        return pm_fail(PM_E_USAGE, "--quantile is of quantile-sweep; this sweeps --alpha");
    if (pm_options_given(options, PM_OPT_ALPHA) && kind != &by_alpha)
        return pm_fail(PM_E_USAGE, "--alpha is of alpha-sweep; this sweeps --quantile");
    if (!pm_options_given(options, PM_OPT_IMAGE)) {
        words[count++] = "--limit";
        words[count++] = "6";
    }
    /* Few photographs are drawn, but statistics need many. */
    pm_status status = pm_study_statistics(&s->study, true);
    return status ? status : pm_study_run(&s->study, words, count, NULL, 0);
}

static pm_status work(sweep *s, const sweep_kind *kind) {
    char picture[64], data[64];
    snprintf(picture, sizeof picture, "%s.png", kind->name);
    snprintf(data, sizeof data, "%s.csv", kind->name);
    pm_status status = order_run(s, kind);
    if (!status)
        status = kind->animated
                     ? pm_sweep_read(&s->study, animate, s, &s->sheet, &s->sums)
                     : pm_sweep_read(&s->study, pm_panels_draw, &s->panels, &s->sheet, &s->sums);
    if (!status && !kind->animated) status = pm_panels_write(&s->panels, &s->study, picture);
    if (!status) status = pm_sheet_write(&s->sheet, &s->study, data);
    if (!status) status = pm_sheet_print(&s->sheet, &s->study, 4);
    return status ? status : write_reading(s, kind);
}

static pm_status run(const pm_options *options, const char *dir, const sweep_kind *kind) {
    sweep s = {.sheet = {.names = pm_sweep_names, .columns = PM_SWEEP_COLUMNS}};
    pm_status status = pm_study_open(options, kind->name, dir, &s.study);
    if (!status) status = work(&s, kind);
    pm_panels_fini(&s.panels);
    pm_sheet_fini(&s.sheet);
    pm_buffer_fini(&s.files);
    pm_study_close(&s.study);
    return status;
}

pm_status pm_experiment_quantile_sweep(const pm_options *options, const char *dir) {
    return run(options, dir, &by_quantile);
}

pm_status pm_experiment_alpha_sweep(const pm_options *options, const char *dir) {
    return run(options, dir, &by_alpha);
}

pm_status pm_experiment_sweep_animation(const pm_options *options, const char *dir) {
    return run(options, dir, &animated);
}

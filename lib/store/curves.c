/* Owns the rows of perturbation curves: checked against what the run asked for, written, replaced
 * by those of another evaluation. Knows no task. */
#include <math.h>

#include "lib/store/db.h"

pm_status pm_curves_check(const pm_evaluation *evaluation, const pm_record_result *r) {
    const size_t ratios = evaluation->on ? evaluation->ratio_count : 0;
    if (r->perturbation_count != PM_CURVE_COUNT * ratios)
        return pm_fail(PM_E_PROTOCOL, "%zu rows of curves came, %zu belong", r->perturbation_count,
                       PM_CURVE_COUNT * ratios);
    for (size_t i = 0; i < r->perturbation_count; i++) {
        const pm_perturbation *row = &r->perturbations[i];
        if ((size_t)row->curve != i / ratios || row->ratio != evaluation->ratios[i % ratios])
            return pm_fail(PM_E_PROTOCOL, "row %zu is of another curve or ratio", i);
    }
    return PM_OK;
}

bool pm_curves_finite(const pm_record_result *r) {
    if (r->has_auc && (!isfinite(r->deletion_auc) || !isfinite(r->insertion_auc))) return false;
    for (size_t i = 0; i < r->perturbation_count; i++) {
        const pm_perturbation *row = &r->perturbations[i];
        if (!isfinite(row->p_target) || !isfinite(row->aopc) || !isfinite(row->fracdiff) ||
            (row->has_lodds && !isfinite(row->lodds)))
            return false;
    }
    return true;
}

static pm_status put_row(pm_store *store, int64_t configuration_id, int64_t image_id,
                         const pm_perturbation *row) {
    return pm_db_run(store,
                     "INSERT INTO perturbation (configuration_id, image_id, curve, ratio, p_target,"
                     " aopc, lodds, fracdiff, correct) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                     PM_BINDS(pm_int(configuration_id), pm_int(image_id),
                              pm_text(pm_curve_name(row->curve)), pm_real(row->ratio),
                              pm_real(row->p_target), pm_real(row->aopc),
                              pm_real_if(row->has_lodds, row->lodds), pm_real(row->fracdiff),
                              pm_int(row->correct)));
}

pm_status pm_curves_put(pm_store *store, int64_t configuration_id, int64_t image_id,
                        const pm_evaluation *evaluation, const pm_record_result *r) {
    char text[PM_EVALUATION_BYTES];
    pm_evaluation_format(evaluation, text);
    pm_status status =
        pm_db_run(store, "DELETE FROM perturbation WHERE configuration_id = ?1 AND image_id = ?2",
                  PM_BINDS(pm_int(configuration_id), pm_int(image_id)));
    for (size_t i = 0; i < r->perturbation_count && !status; i++)
        status = put_row(store, configuration_id, image_id, &r->perturbations[i]);
    if (status) return status;
    return pm_db_run(store,
                     "UPDATE result SET evaluation = ?3, deletion_auc = ?4, insertion_auc = ?5"
                     " WHERE configuration_id = ?1 AND image_id = ?2",
                     PM_BINDS(pm_int(configuration_id), pm_int(image_id), pm_text(text),
                              pm_real_if(r->has_auc, r->deletion_auc),
                              pm_real_if(r->has_auc, r->insertion_auc)));
}

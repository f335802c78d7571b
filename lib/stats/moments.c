/* Owns the running moments. */
#include "lib/stats/moments.h"

#include <math.h>

void pm_moments_add(pm_moments *moments, double value, bool selected) {
    if (moments->count == 0) moments->min = moments->max = value;
    if (value < moments->min) moments->min = value;
    if (value > moments->max) moments->max = value;
    moments->count++;
    moments->selected += selected;
    double off = value - moments->mean;
    moments->mean += off / (double)moments->count;
    moments->m2 += off * (value - moments->mean);
}

void pm_moments_merge(pm_moments *into, const pm_moments *other) {
    if (other->count == 0) return;
    if (into->count == 0) {
        *into = *other;
        return;
    }
    double a = (double)into->count, b = (double)other->count, off = other->mean - into->mean;
    into->mean += off * (b / (a + b));
    into->m2 += other->m2 + off * off * (a * b / (a + b));
    if (other->min < into->min) into->min = other->min;
    if (other->max > into->max) into->max = other->max;
    into->count += other->count;
    into->selected += other->selected;
}

void pm_moments_rest(const pm_moments *classes, size_t count, pm_moments *rest) {
    pm_moments before = {0}, after = {0};
    for (size_t k = 0; k < count; k++) {
        rest[k] = before;
        pm_moments_merge(&before, &classes[k]);
    }
    for (size_t k = count; k-- > 0;) {
        pm_moments_merge(&rest[k], &after);
        pm_moments_merge(&after, &classes[k]);
    }
}

double pm_moments_std(const pm_moments *moments) {
    if (moments->count < 2) return NAN;
    return sqrt(moments->m2 / (double)(moments->count - 1));
}

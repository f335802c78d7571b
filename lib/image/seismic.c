/* Owns the stops of seismic (matplotlib, _cm.py: five, evenly apart, straight lines between). */
#include "lib/image/seismic.h"

#include <math.h>

void pm_seismic_map(uint8_t rgb[PM_COLOUR_STEPS][3]) {
    static const double stops[5][3] = {{0, 0, 0.3}, {0, 0, 1}, {1, 1, 1}, {1, 0, 0}, {0.5, 0, 0}};
    for (int i = 0; i < PM_COLOUR_STEPS; i++) {
        double at = i / 255.0 * 4.0;
        int low = at >= 4.0 ? 3 : (int)at;
        for (int c = 0; c < 3; c++) {
            double v = stops[low][c] + (at - low) * (stops[low + 1][c] - stops[low][c]);
            rgb[i][c] = (uint8_t)lround(255.0 * v);
        }
    }
}

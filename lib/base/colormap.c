/* Owns the colour maps and the way from OKLab to sRGB. */
#include "lib/base/colormap.h"

#include <math.h>

uint8_t pm_srgb_byte(double light) {
    double v = light <= 0.0031308 ? 12.92 * light : 1.055 * pow(light, 1.0 / 2.4) - 0.055;
    return (uint8_t)lround(255.0 * fmin(fmax(v, 0.0), 1.0));
}

void pm_oklab_light(double lightness, double a, double b, double out[3]) {
    double l = lightness + 0.3963377774 * a + 0.2158037573 * b;
    double m = lightness - 0.1055613458 * a - 0.0638541728 * b;
    double s = lightness - 0.0894841775 * a - 1.2914855480 * b;
    l = l * l * l;
    m = m * m * m;
    s = s * s * s;
    out[0] = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    out[1] = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    out[2] = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
}

static int in_gamut(const double light[3]) {
    for (int c = 0; c < 3; c++)
        if (light[c] < -1e-4 || light[c] > 1.0001) return 0;
    return 1;
}

void pm_colormap_even(uint8_t rgb[PM_COLORMAP_STEPS][3]) {
    const double turn = 3.14159265358979323846 / 180.0;
    for (int i = 0; i < PM_COLORMAP_STEPS; i++) {
        double t = i / 255.0;
        double lightness = 0.15 + 0.80 * t;
        double hue = (280.0 + 185.0 * t) * turn; /* violet, red, orange, yellow */
        double chroma = 0.06 + 0.30 * t * (1.0 - 0.65 * t);
        double light[3];
        /* Where sRGB ends, give up chroma and keep lightness and hue. */
        pm_oklab_light(lightness, chroma * cos(hue), chroma * sin(hue), light);
        while (!in_gamut(light) && chroma > 0.0) {
            chroma -= 0.002;
            pm_oklab_light(lightness, chroma * cos(hue), chroma * sin(hue), light);
        }
        for (int c = 0; c < 3; c++) rgb[i][c] = pm_srgb_byte(light[c]);
    }
}

void pm_colormap_seismic(double t, uint8_t rgb[3]) {
    static const double knots[5][3] = {{0, 0, 0.3}, {0, 0, 1}, {1, 1, 1}, {1, 0, 0}, {0.5, 0, 0}};
    double at = t >= 1 ? 4.0 : t > 0 ? 4.0 * t : t <= 0 ? 0.0 : 2.0;
    int left = at >= 4.0 ? 3 : (int)at;
    for (int c = 0; c < 3; c++) {
        double from = knots[left][c], to = knots[left + 1][c];
        rgb[c] = (uint8_t)lround(255.0 * (from + (to - from) * (at - left)));
    }
}

/* Owns how the demo's pictures look. Knows nothing of files. */
#include "tools/demo/shapes.h"

#include <stdbool.h>

#include "lib/base/random.h"

static const char *const class_names[PM_DEMO_CLASSES] = {
    "disc", "ring", "square", "triangle", "plus", "star", "crescent", "heart", "arrow", "bowtie"};

const char *pm_demo_class_name(int label) { return class_names[label]; }

/* ---- a stream of numbers for one picture ---- */

typedef struct dice {
    uint64_t base, used;
} dice;

static double uniform(dice *d, double low, double high) {
    double u = (double)(pm_splitmix64(d->base + d->used++) >> 40) * 0x1p-24;
    return low + (high - low) * u;
}

static int whole(dice *d, int count) { return (int)uniform(d, 0, count); }

/* ---- shapes in the plane, about [-1, 1] x [-1, 1], y down ---- */

typedef struct point {
    double x, y;
} point;

static bool in_polygon(const point *corners, size_t count, double x, double y) {
    bool inside = false;
    for (size_t i = 0, j = count - 1; i < count; j = i++) {
        const point *a = &corners[i], *b = &corners[j];
        if ((a->y > y) != (b->y > y) && x < (b->x - a->x) * (y - a->y) / (b->y - a->y) + a->x)
            inside = !inside;
    }
    return inside;
}

#define POLYGON(corners) in_polygon(corners, sizeof(corners) / sizeof *(corners), x, y)

static bool in_shape(int label, double x, double y) {
    static const point triangle[] = {{0, -1}, {0.95, 0.75}, {-0.95, 0.75}};
    static const point star[] = {
        {0, -1},    {0.225, -0.309}, {0.951, -0.309}, {0.363, 0.118},   {0.588, 0.809},
        {0, 0.382}, {-0.588, 0.809}, {-0.363, 0.118}, {-0.951, -0.309}, {-0.225, -0.309}};
    static const point arrow[] = {{1, 0},    {0.2, -0.8}, {0.2, -0.3}, {-1, -0.3},
                                  {-1, 0.3}, {0.2, 0.3},  {0.2, 0.8}};
    static const point left[] = {{-1, -0.75}, {0.1, 0}, {-1, 0.75}};
    static const point right[] = {{1, -0.75}, {-0.1, 0}, {1, 0.75}};
    double r2 = x * x + y * y;
    switch (label) {
    case 0: return r2 < 0.9;
    case 1: return r2 < 1 && r2 > 0.36;
    case 2: return x > -0.8 && x < 0.8 && y > -0.8 && y < 0.8;
    case 3: return POLYGON(triangle);
    case 4: {
        bool upright = x > -0.3 && x < 0.3 && y > -1 && y < 1;
        return upright || (y > -0.3 && y < 0.3 && x > -1 && x < 1);
    }
    case 5: return POLYGON(star);
    case 6: return r2 < 1 && (x - 0.5) * (x - 0.5) + y * y > 0.6;
    case 7: {
        /* The algebraic heart (x^2 + y^2 - 1)^3 = x^2 y^3, y up, shrunk to fit. */
        double u = x * 1.2, v = 0.15 - y * 1.2, s = u * u + v * v - 1;
        return s * s * s - u * u * v * v * v < 0;
    }
    case 8: return POLYGON(arrow);
    default: return POLYGON(left) || POLYGON(right);
    }
}

/* ---- colours and textures ---- */

typedef struct colour {
    double r, g, b;
} colour;

static colour any_colour(dice *d) {
    colour c;
    c.r = uniform(d, 20, 235);
    c.g = uniform(d, 20, 235);
    c.b = uniform(d, 20, 235);
    return c;
}

static colour mix(colour a, colour b, double t) {
    return (colour){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

typedef struct texture {
    int kind; /* stripes, checks, dots, plain with grain */
    colour one, two;
    double cos_turn, sin_turn, period, grain;
    uint64_t grain_key;
} texture;

/* A turn by rational points of the circle: exact arithmetic instead of libm. */
static void any_turn(dice *d, double spread, double *cos_turn, double *sin_turn) {
    double t = uniform(d, -spread, spread);
    *cos_turn = (1 - t * t) / (1 + t * t);
    *sin_turn = 2 * t / (1 + t * t);
}

static texture any_texture(dice *d) {
    texture t;
    t.kind = whole(d, 4);
    t.one = any_colour(d);
    t.two = any_colour(d);
    any_turn(d, 1, &t.cos_turn, &t.sin_turn);
    t.period = uniform(d, 3, 8);
    t.grain = uniform(d, 4, 18);
    t.grain_key = pm_splitmix64(d->base + 7777777);
    return t;
}

static double fraction(double v) {
    double f = v - (double)(long)v;
    return f < 0 ? f + 1 : f;
}

static colour texture_at(const texture *t, size_t px, size_t py) {
    double x = (double)px, y = (double)py;
    double u = fraction((x * t->cos_turn + y * t->sin_turn) / t->period);
    double v = fraction((y * t->cos_turn - x * t->sin_turn) / t->period);
    double k = 0;
    switch (t->kind) {
    case 0: k = u < 0.5; break;
    case 1: k = (u < 0.5) != (v < 0.5); break;
    case 2: k = (u - 0.5) * (u - 0.5) + (v - 0.5) * (v - 0.5) < 0.09; break;
    default: break;
    }
    colour c = mix(t->one, t->two, k);
    double g = (double)(pm_splitmix64(t->grain_key + py * PM_DEMO_SIDE + px) >> 40) * 0x1p-23 - 1;
    return (colour){c.r + g * t->grain, c.g + g * t->grain, c.b + g * t->grain};
}

/* ---- the picture ---- */

typedef struct canvas {
    colour pixel[PM_DEMO_SIDE][PM_DEMO_SIDE];
} canvas;

/* Patches of colour joined by bilinear interpolation, then strokes and blots as clutter. */
static void draw_background(dice *d, canvas *out) {
    enum { GRID = 5 };
    colour knots[GRID][GRID];
    colour base = any_colour(d);
    for (int i = 0; i < GRID; i++)
        for (int j = 0; j < GRID; j++) knots[i][j] = mix(base, any_colour(d), uniform(d, 0, 0.6));
    double step = (double)PM_DEMO_SIDE / (GRID - 1);
    for (size_t y = 0; y < PM_DEMO_SIDE; y++) {
        for (size_t x = 0; x < PM_DEMO_SIDE; x++) {
            size_t i = (size_t)((double)y / step), j = (size_t)((double)x / step);
            double v = (double)y / step - (double)i, u = (double)x / step - (double)j;
            colour top = mix(knots[i][j], knots[i][j + 1], u);
            colour bottom = mix(knots[i + 1][j], knots[i + 1][j + 1], u);
            out->pixel[y][x] = mix(top, bottom, v);
        }
    }
}

static void draw_stroke(dice *d, canvas *out) {
    double x0 = uniform(d, 0, PM_DEMO_SIDE), y0 = uniform(d, 0, PM_DEMO_SIDE), c, s;
    double length = uniform(d, 4, 22), half = uniform(d, 0.6, 2.2);
    any_turn(d, 1, &c, &s);
    colour ink = any_colour(d);
    for (size_t y = 0; y < PM_DEMO_SIDE; y++) {
        for (size_t x = 0; x < PM_DEMO_SIDE; x++) {
            double along = ((double)x - x0) * c + ((double)y - y0) * s;
            double across = ((double)y - y0) * c - ((double)x - x0) * s;
            if (along > 0 && along < length && across > -half && across < half)
                out->pixel[y][x] = mix(out->pixel[y][x], ink, 0.8);
        }
    }
}

static uint8_t byte_of(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v + 0.5); }

typedef struct placement {
    double x, y, scale, cos_turn, sin_turn;
} placement;

/* Share of a pixel that the shape covers, by 4 x 4 samples. */
static double coverage(int label, const placement *at, size_t px, size_t py) {
    int hits = 0;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            double x = ((double)px + (j + 0.5) / 4 - at->x) / at->scale;
            double y = ((double)py + (i + 0.5) / 4 - at->y) / at->scale;
            hits += in_shape(label, x * at->cos_turn + y * at->sin_turn,
                             y * at->cos_turn - x * at->sin_turn);
        }
    }
    return hits / 16.0;
}

static void draw_shape(dice *d, canvas *out, pm_demo_picture *picture) {
    placement at;
    at.scale = uniform(d, 10, 19);
    at.x = uniform(d, at.scale + 1, PM_DEMO_SIDE - at.scale - 1);
    at.y = uniform(d, at.scale + 1, PM_DEMO_SIDE - at.scale - 1);
    any_turn(d, 0.15, &at.cos_turn, &at.sin_turn);
    texture skin = any_texture(d);
    picture->xmin = picture->ymin = PM_DEMO_SIDE;
    picture->xmax = picture->ymax = 0;
    for (size_t y = 0; y < PM_DEMO_SIDE; y++) {
        for (size_t x = 0; x < PM_DEMO_SIDE; x++) {
            double share = coverage(picture->label, &at, x, y);
            if (share <= 0) continue;
            out->pixel[y][x] = mix(out->pixel[y][x], texture_at(&skin, x, y), share);
            if (x < picture->xmin) picture->xmin = x;
            if (y < picture->ymin) picture->ymin = y;
            if (x >= picture->xmax) picture->xmax = x + 1;
            if (y >= picture->ymax) picture->ymax = y + 1;
        }
    }
}

void pm_demo_draw(uint64_t seed, uint64_t index, pm_demo_picture *out) {
    dice d = {pm_splitmix64(pm_splitmix64(seed) + index), 0};
    canvas picture;
    out->label = (int)(index % PM_DEMO_CLASSES);
    draw_background(&d, &picture);
    int strokes = 3 + whole(&d, 8);
    for (int i = 0; i < strokes; i++) draw_stroke(&d, &picture);
    draw_shape(&d, &picture, out);
    int over = whole(&d, 3);
    for (int i = 0; i < over; i++) draw_stroke(&d, &picture);
    uint8_t *byte = out->rgb;
    for (size_t y = 0; y < PM_DEMO_SIDE; y++) {
        for (size_t x = 0; x < PM_DEMO_SIDE; x++) {
            *byte++ = byte_of(picture.pixel[y][x].r);
            *byte++ = byte_of(picture.pixel[y][x].g);
            *byte++ = byte_of(picture.pixel[y][x].b);
        }
    }
}

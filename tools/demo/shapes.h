/* The demo's pictures: ten textured shapes on cluttered backgrounds, with exact boxes.
 *
 * A picture depends on (seed, index) alone and uses only +, -, *, / and comparisons on doubles, so
 * that every machine draws the same bytes. */
#ifndef PM_DEMO_SHAPES_H
#define PM_DEMO_SHAPES_H

#include <stddef.h>
#include <stdint.h>

enum { PM_DEMO_SIDE = 64, PM_DEMO_CLASSES = 10 };

typedef struct pm_demo_picture {
    uint8_t rgb[PM_DEMO_SIDE * PM_DEMO_SIDE * 3];
    int label;
    size_t xmin, ymin, xmax, ymax; /* the drawn pixels' box; xmax and ymax exclusive */
} pm_demo_picture;

/* "disc", "ring", "square", "triangle", "plus", "star", "crescent", "heart", "arrow", "bowtie". */
const char *pm_demo_class_name(int label);

/* Picture `index` of the stream `seed`; its class is index mod 10. */
void pm_demo_draw(uint64_t seed, uint64_t index, pm_demo_picture *out);

#endif

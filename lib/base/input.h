/* The words of what is done to a photograph before the network sees it: inputs that test how
 * robust an attribution is. Applied to the crop by lib/image. */
#ifndef PM_BASE_INPUT_H
#define PM_BASE_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/status.h"

typedef enum pm_input_kind {
    PM_INPUT_NONE,
    PM_INPUT_JIGSAW, /* grid x grid tiles, `swaps` times two of them change places */
    PM_INPUT_BLUR,   /* Gaussian of standard deviation `radius` */
    PM_INPUT_NOISE,  /* normal noise of standard deviation `sigma` */
    PM_INPUT_COUNT
} pm_input_kind;

/* Fields that the kind does not name are 0. */
typedef struct pm_input {
    pm_input_kind kind;
    size_t grid;   /* jigsaw: 2 .. 64 */
    size_t swaps;  /* jigsaw: 0 .. 10,000 */
    double radius; /* blur: pixels, > 0, <= 100 */
    double sigma;  /* noise: of values in 0 .. 1, > 0, <= 1 */
} pm_input;

enum { PM_INPUT_BYTES = 64 };

/* Whether it draws random numbers. */
bool pm_input_is_random(const pm_input *input);
/* Whether every field is the other's. */
bool pm_input_equal(const pm_input *a, const pm_input *b);

/* "none", "jigsaw:grid=4,swaps=8", "blur:radius=3", "noise:sigma=0.1": keys in any order, each at
 * most once; what is not given is as it stands here. PM_E_USAGE with one line. */
pm_status pm_input_parse(const char *text, pm_input *out);

/* The canonical text: every key of the kind, sorted, numbers as %.17g. Any input that
 * pm_input_parse gives fits PM_INPUT_BYTES, and parses to the same again. */
void pm_input_format(const pm_input *input, char *out, size_t size);

#endif

/* Every op of the graph as plain loops over [C][H][W] arrays, forward and backward.
 *
 * `forward` fills out[] from the inputs. `backward` adds the gradient of each input to what is
 * there already (a value may be used twice), given the gradient of the output. Compiled for float
 * and for double; a caller defines PM_ORACLE_DOUBLE, or not, before it includes this. */
#ifndef PM_ORACLE_OPS_H
#define PM_ORACLE_OPS_H

#include "worker/engine/graph.h"
#include "worker/engine/oracle/real.h"

/* One value: channels maps of height x width, row-major. */
typedef struct pm_oracle_shape {
    size_t channels, height, width;
} pm_oracle_shape;

/* in[0], in[1] and their shapes as the node's inputs are; out: [out_shape]. */
void PM_ORACLE(forward)(const pm_node *node, const pm_oracle_shape in_shape[2],
                        const pm_real *const in[2], pm_oracle_shape out_shape, pm_real *out);

/* grad_out: [out_shape]; grad_in[i]: as in[i], added to. `out` is the op's result. */
void PM_ORACLE(backward)(const pm_node *node, const pm_oracle_shape in_shape[2],
                         const pm_real *const in[2], pm_oracle_shape out_shape, const pm_real *out,
                         const pm_real *grad_out, pm_real *const grad_in[2]);

#endif

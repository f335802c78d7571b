/* One pass of the oracle through a graph with every value and gradient kept, and what it reads off
 * them. Compiled for float and for double, as the ops are. */
#ifndef PM_ORACLE_RUN_H
#define PM_ORACLE_RUN_H

#include "worker/engine/oracle/ops.h"
#include "worker/engine/oracle/oracle.h"

typedef struct pm_oracle_run {
    const pm_graph *graph;
    pm_oracle_shape *shapes;  /* [node_count] */
    pm_real **values, **grad; /* [node_count] */
    pm_real *sum;             /* scratch: the largest map */
} pm_oracle_run;

/* PM_E_USAGE: sizes that the network cannot take; PM_E_MEMORY. To be released in any case. */
pm_status PM_ORACLE(run_init)(const pm_graph *graph, size_t height, size_t width,
                              pm_oracle_run *out);
void PM_ORACLE(run_fini)(pm_oracle_run *run);

/* input: [3][height][width] */
void PM_ORACLE(run_forward)(pm_oracle_run *run, const pm_real *input);
/* What the op functions want of a node's inputs. */
void PM_ORACLE(run_operands)(const pm_oracle_run *run, const pm_node *node,
                             pm_oracle_shape shapes[2], const pm_real *values[2], pm_real *grad[2]);
/* Mean over space of ReLU of a convolution's raw output: mean[channels]; returns how many values
 * are above 0. */
size_t PM_ORACLE(run_activation)(const pm_oracle_run *run, size_t conv, double *mean);

#endif

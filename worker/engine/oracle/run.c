/* Owns one pass of the oracle forward: memory for every node, values, activations. */
#include "worker/engine/oracle/run.h"

#include <stdlib.h>

#include "worker/engine/model.h"

void PM_ORACLE(run_fini)(pm_oracle_run *r) {
    for (size_t i = 0; i < r->graph->node_count; i++) {
        if (r->values) free(r->values[i]);
        if (r->grad) free(r->grad[i]);
    }
    free(r->shapes);
    free(r->values);
    free(r->grad);
    free(r->sum);
}

pm_status PM_ORACLE(run_init)(const pm_graph *graph, size_t height, size_t width,
                              pm_oracle_run *r) {
    size_t count = graph->node_count, largest = 0;
    *r = (pm_oracle_run){.graph = graph};
    size_t(*sizes)[2] = calloc(count, sizeof *sizes);
    r->shapes = calloc(count, sizeof *r->shapes);
    r->values = calloc(count, sizeof *r->values);
    r->grad = calloc(count, sizeof *r->grad);
    bool room = sizes && r->shapes && r->values && r->grad;
    pm_status status = PM_OK;
    if (room) status = pm_graph_sizes(graph, height, width, sizes);
    for (size_t i = 0; i < count && room && !status; i++) {
        r->shapes[i] = (pm_oracle_shape){graph->nodes[i].channels, sizes[i][0], sizes[i][1]};
        size_t plane = sizes[i][0] * sizes[i][1], volume = plane * r->shapes[i].channels;
        if (plane > largest) largest = plane;
        r->values[i] = calloc(volume, sizeof(pm_real));
        r->grad[i] = calloc(volume, sizeof(pm_real));
        room = r->values[i] && r->grad[i];
    }
    if (room && !status) room = (r->sum = calloc(largest, sizeof *r->sum)) != NULL;
    free(sizes);
    return room ? status : pm_fail(PM_E_MEMORY, "no memory for the oracle");
}

void PM_ORACLE(run_operands)(const pm_oracle_run *r, const pm_node *node, pm_oracle_shape shapes[2],
                             const pm_real *values[2], pm_real *grad[2]) {
    for (int i = 0; i < 2; i++) {
        int at = node->input[i];
        shapes[i] = at == PM_NODE_NONE ? (pm_oracle_shape){0} : r->shapes[at];
        values[i] = at == PM_NODE_NONE ? NULL : r->values[at];
        grad[i] = at == PM_NODE_NONE ? NULL : r->grad[at];
    }
}

void PM_ORACLE(run_forward)(pm_oracle_run *r, const pm_real *input) {
    for (size_t i = 0; i < r->graph->node_count; i++) {
        const pm_node *node = &r->graph->nodes[i];
        pm_oracle_shape shapes[2];
        const pm_real *values[2];
        pm_real *grad[2];
        PM_ORACLE(run_operands)(r, node, shapes, values, grad);
        PM_ORACLE(forward)(node, shapes, values, r->shapes[i], r->values[i]);
        if (node->op != PM_OP_INPUT) continue;
        for (size_t k = 0; k < 3 * r->shapes[i].height * r->shapes[i].width; k++)
            r->values[i][k] = input[k];
    }
}

size_t PM_ORACLE(run_activation)(const pm_oracle_run *r, size_t conv, double *mean) {
    const int node = r->graph->conv_nodes[conv];
    const size_t plane = r->shapes[node].height * r->shapes[node].width;
    const pm_real *raw = r->values[node];
    size_t positive = 0;
    for (size_t c = 0; c < r->shapes[node].channels; c++) {
        mean[c] = 0;
        for (size_t i = 0; i < plane; i++, raw++) {
            if (!(*raw > 0)) continue;
            mean[c] += (double)*raw;
            positive++;
        }
        mean[c] /= (double)plane;
    }
    return positive;
}

pm_status PM_ORACLE(activations)(const pm_model *model, const float *input, size_t height,
                                 size_t width, double *mean, double *density, double *logits) {
    const pm_graph *graph = model->graph;
    pm_oracle_run r;
    pm_status status = PM_ORACLE(run_init)(graph, height, width, &r);
    pm_real *x = malloc(3 * height * width * sizeof *x);
    if (!status && !x) status = pm_fail(PM_E_MEMORY, "no memory for the oracle");
    if (!status) {
        for (size_t i = 0; i < 3 * height * width; i++) x[i] = (pm_real)input[i];
        PM_ORACLE(run_forward)(&r, x);
        for (size_t i = 0; i < graph->conv_count; i++) {
            const pm_oracle_shape s = r.shapes[graph->conv_nodes[i]];
            density[i] = (double)PM_ORACLE(run_activation)(&r, i, mean) /
                         (double)(s.channels * s.height * s.width);
            mean += s.channels;
        }
        for (size_t k = 0; k < graph->classes; k++) logits[k] = (double)r.values[graph->output][k];
    }
    free(x);
    PM_ORACLE(run_fini)(&r);
    return status;
}

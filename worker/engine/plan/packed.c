/* Owns: the order of weights in memory. Must not know sizes of maps (but for linear layers, whose
 * weights fix them). */
#include "worker/engine/plan/packed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/engine/plan/memory.h"

/* A weight array [.., out, .., in, .., tap ..] by strides, floats. */
typedef struct source {
    const float *weights;
    size_t outs, out_stride, ins, in_stride;
    const size_t *tap_at; /* [taps] */
    size_t taps;
} source;

static size_t blocks_of(size_t channels, size_t lanes) { return (channels + lanes - 1) / lanes; }

static size_t packed_floats(size_t outs, size_t ins, size_t taps, size_t lanes, bool rgb) {
    size_t in_floats = rgb ? PM_RGB : blocks_of(ins, lanes) * lanes;
    return blocks_of(outs, lanes) * lanes * in_floats * taps;
}

/* dst is zeroed: lanes behind the last channel stay 0. Returns the end of what was written. */
static float *pack(float *dst, const source *s, size_t lanes, bool rgb) {
    const size_t out_blocks = blocks_of(s->outs, lanes), in_blocks = blocks_of(s->ins, lanes);
    const size_t in_lanes = rgb ? PM_RGB : lanes;
    for (size_t ob = 0; ob < out_blocks; ob += 2) {
        const size_t wide = (out_blocks - ob >= 2 ? 2 : 1) * lanes;
        for (size_t ib = 0; ib < in_blocks; ib++)
            for (size_t q = 0; q < s->taps; q++)
                for (size_t c = 0; c < in_lanes; c++, dst += wide) {
                    size_t in = ib * lanes + c;
                    if (in >= s->ins) continue;
                    const float *w = s->weights + in * s->in_stride + s->tap_at[q];
                    for (size_t k = 0; k < wide && ob * lanes + k < s->outs; k++)
                        dst[k] = w[(ob * lanes + k) * s->out_stride];
                }
    }
    return dst;
}

static pm_status no_memory(const pm_node *node) {
    return pm_fail(PM_E_MEMORY, "no memory for the weights of %s", node->name);
}

/* ---- convolution ---- */

/* Taps along one side (0: rows, 1: columns) of backward parity p: iy = stride i + p reads
 * oy = i + d where iy + pad - r = stride oy. Fills r and d; returns how many. */
static size_t parity_taps(const pm_node *node, int side, size_t p, size_t *r_of, int *d_of) {
    size_t count = 0;
    for (size_t r = 0; r < node->kernel[side]; r++) {
        ptrdiff_t n = (ptrdiff_t)(p + node->pad[side]) - (ptrdiff_t)r;
        if (n % (ptrdiff_t)node->stride != 0) continue;
        r_of[count] = r;
        d_of[count++] = (int)(n / (ptrdiff_t)node->stride);
    }
    return count;
}

enum { KERNEL_MAX = 16 }; /* side of a filter */

static size_t taps_of(const pm_node *node) { return node->kernel[0] * node->kernel[1]; }

/* Depthwise: [blocks][taps][v]; at: [taps] places in the filter. Returns the end of what was
 * written. */
static float *pack_channels(const pm_node *node, const size_t *at, size_t taps, size_t lanes,
                            float *dst) {
    for (size_t c = 0; c < node->channels; c++)
        for (size_t q = 0; q < taps; q++)
            dst[(c / lanes * taps + q) * lanes + c % lanes] =
                node->weight[c * taps_of(node) + at[q]];
    return dst + blocks_of(node->channels, lanes) * taps * lanes;
}

static float *pack_forward(const pm_node *node, pm_packed_group *out, float *dst, pm_tap *tap,
                           size_t lanes, bool rgb) {
    const size_t taps = taps_of(node), wide = node->kernel[1];
    size_t at[KERNEL_MAX * KERNEL_MAX];
    for (size_t q = 0; q < taps; q++) {
        at[q] = q;
        tap[q] = (pm_tap){(int)(q / wide) - (int)node->pad[0], (int)(q % wide) - (int)node->pad[1]};
    }
    source s = {node->weight, node->channels, node->in_channels * taps, node->in_channels, taps, at,
                taps};
    out->forward = (pm_tap_class){taps, tap, dst};
    return node->depthwise ? pack_channels(node, at, taps, lanes, dst) : pack(dst, &s, lanes, rgb);
}

static void pack_backward(const pm_node *node, pm_packed_group *out, float *dst, pm_tap *tap,
                          size_t lanes) {
    const size_t taps = taps_of(node);
    for (size_t p = 0; p < out->backward_count; p++) {
        size_t r[KERNEL_MAX], s[KERNEL_MAX], at[KERNEL_MAX * KERNEL_MAX], count = 0;
        int dy[KERNEL_MAX], dx[KERNEL_MAX];
        size_t rows = parity_taps(node, 0, p / node->stride, r, dy);
        size_t columns = parity_taps(node, 1, p % node->stride, s, dx);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) {
                at[count] = r[i] * node->kernel[1] + s[j];
                tap[count++] = (pm_tap){dy[i], dx[j]};
            }
        source weights = {node->weight,   node->in_channels,        taps,
                          node->channels, node->in_channels * taps, at,
                          count};
        out->backward[p] = (pm_tap_class){count, tap, dst};
        dst = node->depthwise ? pack_channels(node, at, count, lanes, dst)
                              : pack(dst, &weights, lanes, false);
        tap += count;
    }
}

static bool suits_winograd(const pm_node *node) {
    return !node->depthwise && node->kernel[0] == 3 && node->kernel[1] == 3 && node->stride == 1 &&
           node->pad[0] == 1 && node->pad[1] == 1;
}

void pm_packed_put_points(const pm_kernels *kernels, size_t taps, const float *filter, size_t out,
                          size_t out_blocks, size_t in, size_t in_lanes, float *weights) {
    const size_t v = kernels->lanes, pair = out / v / 2 * 2;
    const size_t wide = (out_blocks - pair >= 2 ? 2 : 1) * v;
    float point[PM_WINOGRAD_POINTS];
    kernels->winograd_weights(taps, filter, point);
    float *to = weights + pair * v * in_lanes + in * wide + (out - pair * v);
    for (size_t p = 0; p < PM_WINOGRAD_POINTS; p++) to[p * in_lanes * out_blocks * v] = point[p];
}

/* Backward data is a convolution with turned filters, input and output exchanged. */
static void pack_winograd(const pm_node *node, float *dst, const pm_kernels *kernels) {
    const size_t outs = node->in_channels, ins = node->channels, v = kernels->lanes;
    const size_t out_blocks = blocks_of(outs, v), in_lanes = blocks_of(ins, v) * v;
    for (size_t pair = 0; pair < outs; pair += 2 * v) /* in the order in which they lie */
        for (size_t i = 0; i < ins; i++)
            for (size_t o = pair; o < outs && o < pair + 2 * v; o++) {
                const float *w = node->weight + (i * outs + o) * 9;
                float turned[9];
                for (size_t q = 0; q < 9; q++) turned[q] = w[8 - q];
                pm_packed_put_points(kernels, 3, turned, o, out_blocks, i, in_lanes, dst);
            }
}

static pm_status pack_conv_winograd(const pm_node *node, pm_packed_group *out,
                                    const pm_kernels *kernels) {
    const size_t lanes = kernels->lanes, taps = taps_of(node);
    size_t forward = packed_floats(node->channels, node->in_channels, taps, lanes, false);
    size_t one = packed_floats(node->in_channels, node->channels, 1, lanes, false);
    out->memory = pm_floats_new(forward + PM_WINOGRAD_POINTS * one);
    out->taps = calloc(taps, sizeof *out->taps);
    if (out->memory == NULL || out->taps == NULL) return no_memory(node);
    float *end = pack_forward(node, out, out->memory, out->taps, lanes, false);
    pack_winograd(node, end, kernels);
    out->winograd = end;
    out->winograd_taps = 3;
    out->winograd_first = -1;
    return PM_OK;
}

static pm_status pack_conv(const pm_node *node, pm_packed_group *out, const pm_kernels *kernels) {
    const size_t taps = taps_of(node), lanes = kernels->lanes;
    if (suits_winograd(node)) return pack_conv_winograd(node, out, kernels);
    size_t forward = packed_floats(node->channels, node->in_channels, taps, lanes, false);
    size_t backward = packed_floats(node->in_channels, node->channels, taps, lanes, false);
    if (node->depthwise) forward = backward = blocks_of(node->channels, lanes) * lanes * taps;
    out->backward_count = node->stride * node->stride;
    out->memory = pm_floats_new(forward + backward);
    out->taps = calloc(2 * taps, sizeof *out->taps);
    out->backward = calloc(out->backward_count, sizeof *out->backward);
    if (out->memory == NULL || out->taps == NULL || out->backward == NULL) return no_memory(node);
    float *end = pack_forward(node, out, out->memory, out->taps, lanes, false);
    pack_backward(node, out, end, out->taps + taps, lanes);
    return PM_OK;
}

/* ---- the first convolution: three input channels ---- */

/* Offsets of the taps that any sub-pixel has, along rows and columns. */
typedef struct tap_reach {
    int first[2];
    size_t count[2];
} tap_reach;

static tap_reach reach_of(const pm_node *node, size_t f) {
    const ptrdiff_t stride = (ptrdiff_t)node->stride;
    tap_reach out;
    for (int side = 0; side < 2; side++) {
        ptrdiff_t low = PTRDIFF_MAX, high = PTRDIFF_MIN;
        for (size_t a = 0; a < f; a++)
            for (size_t r = 0; r < node->kernel[side]; r++) {
                ptrdiff_t n = (ptrdiff_t)(a + node->pad[side]) - (ptrdiff_t)r;
                if (n % stride != 0) continue;
                low = n / stride < low ? n / stride : low;
                high = n / stride > high ? n / stride : high;
            }
        out.first[side] = (int)low;
        out.count[side] = (size_t)(high - low + 1);
    }
    return out;
}

/* Backward by sub-pixels: input pixel (f i + a, f j + b) becomes channel (a f + b) 3 + c of pixel
 * (i, j), so that the vector lanes are full; all of them share the union of their taps. Fills the
 * filters, dense [channels][node->channels][taps]. */
static void list_subpixels(const pm_node *node, size_t f, const tap_reach *reach, float *dense) {
    const size_t high = node->kernel[0], wide = node->kernel[1];
    const size_t taps = reach->count[0] * reach->count[1];
    for (size_t y = 0; y < f * high; y++)
        for (size_t x = 0; x < f * wide; x++) {
            size_t a = y / high, r = y % high, b = x / wide, s = x % wide;
            ptrdiff_t ny = (ptrdiff_t)(a + node->pad[0]) - (ptrdiff_t)r;
            ptrdiff_t nx = (ptrdiff_t)(b + node->pad[1]) - (ptrdiff_t)s;
            ptrdiff_t stride = (ptrdiff_t)node->stride;
            if (ny % stride != 0 || nx % stride != 0) continue;
            size_t tap = (size_t)(ny / stride - reach->first[0]) * reach->count[1] +
                         (size_t)(nx / stride - reach->first[1]);
            for (size_t o = 0; o < node->channels; o++)
                for (size_t c = 0; c < PM_RGB; c++)
                    dense[(((a * f + b) * PM_RGB + c) * node->channels + o) * taps + tap] =
                        node->weight[((o * PM_RGB + c) * high + r) * wide + s];
        }
}

static void pack_subpixels(const pm_node *node, pm_packed_group *out, const float *dense,
                           float *dst, size_t lanes, const tap_reach *reach) {
    size_t at[(KERNEL_MAX + 2) * (KERNEL_MAX + 2)];
    const size_t taps = reach->count[0] * reach->count[1];
    pm_tap *tap = out->taps + taps_of(node);
    for (size_t q = 0; q < taps; q++) {
        at[q] = q;
        tap[q] = (pm_tap){reach->first[0] + (int)(q / reach->count[1]),
                          reach->first[1] + (int)(q % reach->count[1])};
    }
    source s = {dense,
                PM_RGB * out->subpixels * out->subpixels,
                node->channels * taps,
                node->channels,
                taps,
                at,
                taps};
    out->backward_count = 1;
    out->backward[0] = (pm_tap_class){taps, tap, dst};
    (void)pack(dst, &s, lanes, false);
}

static void pack_subpixel_points(const pm_node *node, pm_packed_group *out, const float *dense,
                                 float *dst, const pm_kernels *kernels, const tap_reach *reach) {
    const size_t outs = PM_RGB * out->subpixels * out->subpixels, v = kernels->lanes;
    const size_t in_lanes = blocks_of(node->channels, v) * v, side = reach->count[0];
    for (size_t o = 0; o < outs; o++)
        for (size_t i = 0; i < node->channels; i++)
            pm_packed_put_points(kernels, side, dense + (o * node->channels + i) * side * side, o,
                                 blocks_of(outs, v), i, in_lanes, dst);
    out->winograd = dst;
    out->winograd_taps = side;
    out->winograd_first = reach->first[0];
}

/* Taps for which there is a Winograd, at neighbouring pixels. (Of stride 1, filters of 3x3 at every
 * pixel would suit as well, but with three of v channels they take longer than 4x4 taps.) */
static bool subpixels_suit_winograd(const pm_node *node, size_t f, const tap_reach *reach) {
    return f == node->stride && reach->first[0] == reach->first[1] &&
           reach->count[0] == reach->count[1] && (reach->count[0] == 3 || reach->count[0] == 4);
}

static pm_status pack_stem(const pm_node *node, pm_packed_group *out, const pm_kernels *kernels) {
    const size_t taps = taps_of(node), lanes = kernels->lanes;
    const size_t f = node->stride > 2 ? node->stride : 2;
    if (node->in_channels != PM_RGB || node->depthwise || f % node->stride != 0)
        return pm_fail(PM_E_UNSUPPORTED,
                       "%s: the first convolution must read all of three channels", node->name);
    const tap_reach reach = reach_of(node, f);
    const bool winograd = subpixels_suit_winograd(node, f, &reach);
    const size_t back_taps = reach.count[0] * reach.count[1], channels = PM_RGB * f * f;
    const size_t forward = packed_floats(node->channels, PM_RGB, taps, lanes, true);
    const size_t backward = packed_floats(channels, node->channels,
                                          winograd ? PM_WINOGRAD_POINTS : back_taps, lanes, false);
    float *dense = calloc(channels * node->channels * back_taps, sizeof *dense);
    out->subpixels = f;
    out->memory = pm_floats_new(forward + backward);
    out->taps = calloc(taps + back_taps, sizeof *out->taps);
    out->backward = calloc(1, sizeof *out->backward);
    if (dense == NULL || out->memory == NULL || out->taps == NULL || out->backward == NULL) {
        free(dense);
        return no_memory(node);
    }
    float *end = pack_forward(node, out, out->memory, out->taps, lanes, true);
    list_subpixels(node, f, &reach, dense);
    if (winograd)
        pack_subpixel_points(node, out, dense, end, kernels, &reach);
    else
        pack_subpixels(node, out, dense, end, lanes, &reach);
    free(dense);
    return PM_OK;
}

/* ---- linear ---- */

/* Features come as [C, pixels] flattened; a pixel is a tap. */
static pm_status pack_linear(const pm_graph *graph, const pm_node *node, pm_packed_group *out,
                             size_t lanes) {
    const size_t channels = graph->nodes[node->input[0]].channels;
    const size_t pixels = node->in_channels / channels;
    size_t *at = malloc(pixels * sizeof *at);
    out->memory = pm_floats_new(packed_floats(node->channels, channels, pixels, lanes, false));
    if (at == NULL || out->memory == NULL) {
        free(at);
        return no_memory(node);
    }
    for (size_t q = 0; q < pixels; q++) at[q] = q;
    source s = {node->weight, node->channels, node->in_channels, channels, pixels, at, pixels};
    out->forward = (pm_tap_class){pixels, NULL, out->memory};
    (void)pack(out->memory, &s, lanes, false);
    free(at);
    return PM_OK;
}

/* ---- epilogue ---- */

/* s and t of channel c: s v + t. */
static void affine_of(const pm_node *node, size_t c, double *s, double *t) {
    *s = (double)node->weight[c];
    *t = node->bias != NULL ? (double)node->bias[c] : 0;
    if (node->op != PM_OP_BATCHNORM) return;
    *s /= sqrt((double)node->var[c] + (double)node->eps);
    *t -= (double)node->mean[c] * *s;
}

/* Behind a bias b: s (v + b) + t = s v + (s b + t). */
static pm_status pack_affine(const pm_graph *graph, const pm_group *group, pm_packed_group *out,
                             size_t lanes) {
    const pm_node *head = &graph->nodes[group->head];
    const bool scaled = group->affine != PM_NODE_NONE;
    const float *bias =
        group->kind == PM_GROUP_CONV || group->kind == PM_GROUP_LINEAR ? head->bias : NULL;
    if (!scaled && bias == NULL) return PM_OK;
    const size_t count = blocks_of(head->channels, lanes) * lanes;
    out->scale = pm_floats_new(count);
    out->shift = pm_floats_new(count);
    if (scaled) out->gradient_scale = pm_floats_new(count);
    if (bias != NULL) out->bias = pm_floats_new(count);
    if (out->scale == NULL || out->shift == NULL || (scaled && out->gradient_scale == NULL) ||
        (bias != NULL && out->bias == NULL))
        return no_memory(head);
    if (bias != NULL) memcpy(out->bias, bias, head->channels * sizeof *bias);
    for (size_t c = 0; c < head->channels; c++) {
        double s = 1, t = 0;
        if (scaled) {
            affine_of(&graph->nodes[group->affine], c, &s, &t);
            out->gradient_scale[c] = (float)s;
        }
        if (bias != NULL) t += s * (double)bias[c];
        out->scale[c] = (float)s;
        out->shift[c] = (float)t;
    }
    return PM_OK;
}

static pm_status pack_group(pm_packed *packed, size_t index) {
    const pm_graph *graph = packed->graph;
    const pm_group *group = &packed->fusion.groups[index];
    const pm_node *head = &graph->nodes[group->head];
    pm_packed_group *out = &packed->groups[index];
    const size_t lanes = packed->kernels->lanes;
    pm_status status = PM_OK;
    if (head->kernel[0] > KERNEL_MAX || head->kernel[1] > KERNEL_MAX)
        return pm_fail(PM_E_UNSUPPORTED, "%s: windows are at most %d wide", head->name, KERNEL_MAX);
    if (group->kind == PM_GROUP_CONV)
        status = group->input == PM_GROUP_IMAGE ? pack_stem(head, out, packed->kernels)
                                                : pack_conv(head, out, packed->kernels);
    else if (group->kind == PM_GROUP_LINEAR)
        status = pack_linear(graph, head, out, lanes);
    return status == PM_OK ? pack_affine(graph, group, out, lanes) : status;
}

static size_t weight_count(const pm_node *node) {
    switch (node->op) {
    case PM_OP_CONV:
    case PM_OP_LINEAR_MAP:
        return node->channels * (node->depthwise ? 1 : node->in_channels) * taps_of(node);
    case PM_OP_LINEAR: return node->channels * node->in_channels;
    default: return 0;
    }
}

/* The largest first: while one is there twice, the others are there but once. order: [groups] */
static void pack_order(const pm_packed *packed, size_t *order) {
    const pm_fusion *fusion = &packed->fusion;
    for (size_t i = 0; i < fusion->count; i++) {
        const size_t count = weight_count(&packed->graph->nodes[fusion->groups[i].head]);
        size_t at = i;
        for (; at > 0; at--) {
            const pm_group *before = &fusion->groups[order[at - 1]];
            if (weight_count(&packed->graph->nodes[before->head]) >= count) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

static pm_status pack_all(pm_packed *packed, pm_graph *graph, bool spend) {
    size_t *order = malloc(packed->fusion.count * sizeof *order);
    if (order == NULL) return pm_fail(PM_E_MEMORY, "no memory for %s", graph->arch->name);
    pack_order(packed, order);
    pm_status status = PM_OK;
    for (size_t i = 0; i < packed->fusion.count && status == PM_OK; i++) {
        pm_node *head = &graph->nodes[packed->fusion.groups[order[i]].head];
        status = pack_group(packed, order[i]);
        if (status != PM_OK || !spend || weight_count(head) == 0) continue;
        free(head->weight);
        head->weight = NULL;
    }
    free(order);
    return status;
}

pm_status pm_packed_new(pm_graph *graph, bool spend, pm_packed **out) {
    pm_status status = PM_OK;
    pm_packed *packed = calloc(1, sizeof *packed);
    if (packed == NULL) return pm_fail(PM_E_MEMORY, "no memory for %s", graph->arch->name);
    packed->graph = graph;
    pthread_mutex_init(&packed->logits_lock, NULL);
    if ((status = pm_kernels_choose(&packed->kernels)) != PM_OK) goto fail;
    if ((status = pm_fusion_init(graph, &packed->fusion)) != PM_OK) goto fail;
    packed->groups = calloc(packed->fusion.count, sizeof *packed->groups);
    if (packed->groups == NULL) {
        status = pm_fail(PM_E_MEMORY, "no memory for %s", graph->arch->name);
        goto fail;
    }
    if ((status = pack_all(packed, graph, spend)) != PM_OK) goto fail;
    *out = packed;
    return PM_OK;
fail:
    pm_packed_free(&packed);
    return status;
}

void pm_packed_free(pm_packed **packed) {
    if (packed == NULL || *packed == NULL) return;
    pm_packed *p = *packed;
    for (size_t i = 0; p->groups != NULL && i < p->fusion.count; i++) {
        pm_packed_group *group = &p->groups[i];
        free(group->memory);
        free(group->taps);
        free(group->backward);
        free(group->scale);
        free(group->shift);
        free(group->gradient_scale);
        free(group->bias);
    }
    free(p->groups);
    for (size_t i = 0; p->logits_filters != NULL && i < p->fusion.count; i++)
        free(p->logits_filters[i]);
    free(p->logits_filters);
    pthread_mutex_destroy(&p->logits_lock);
    pm_fusion_fini(&p->fusion);
    free(p);
    *packed = NULL;
}

const char *pm_packed_isa(const pm_packed *packed) { return packed->kernels->name; }

/* Direct convolutions are not among them: they compute as long as their weights take to come. */
size_t pm_packed_shared_floats(const pm_packed *packed) {
    size_t sum = 0;
    for (size_t i = 0; i < packed->fusion.count; i++) {
        const pm_group *group = &packed->fusion.groups[i];
        const pm_node *node = &packed->graph->nodes[group->head];
        const bool winograd = packed->groups[i].winograd != NULL;
        if (!winograd && group->kind != PM_GROUP_LINEAR) continue;
        const size_t floats =
            node->channels * node->in_channels * (winograd ? (size_t)PM_WINOGRAD_POINTS : 1);
        if (floats > PM_WIDE_FLOATS) sum += floats;
    }
    return sum;
}

/* Owns the naive ops: the plainest loops that say what each op means. Knows no plan, no BLAS. */
#include "worker/engine/oracle/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef pm_oracle_shape shape;

static size_t plane(shape s) { return s.height * s.width; }
static size_t volume(shape s) { return s.channels * plane(s); }

/* Output columns x for which x * stride + offset - pad lies in [0, in_width): [*first, *last). */
static void columns(const pm_node *node, size_t offset, size_t in_width, size_t out_width,
                    size_t *first, size_t *last) {
    size_t pad = node->pad[1], stride = node->stride;
    *first = offset >= pad ? 0 : (pad - offset + stride - 1) / stride;
    *last = in_width + pad <= offset ? 0 : (in_width + pad - offset - 1) / stride + 1;
    if (*last > out_width) *last = out_width;
}

/* Walk a convolution: for every weight, the rows of input and output that it joins. Forward adds
 * w * in to out; backward adds w * out's gradient to in's. */
static void conv_walk(const pm_node *node, shape is, pm_real *in, shape os, pm_real *out,
                      bool backward) {
    const float *w = node->weight;
    size_t s = node->stride;
    for (size_t o = 0; o < os.channels; o++)
        for (size_t i = node->depthwise ? o : 0; i < (node->depthwise ? o + 1 : is.channels); i++)
            for (size_t ky = 0; ky < node->kernel[0]; ky++)
                for (size_t kx = 0; kx < node->kernel[1]; kx++) {
                    pm_real weight = *w++;
                    size_t first, last;
                    columns(node, kx, is.width, os.width, &first, &last);
                    for (size_t y = 0; y < os.height; y++) {
                        size_t iy = y * s + ky - node->pad[0]; /* wraps above the top edge */
                        if (iy >= is.height || first >= last) continue;
                        size_t ix = first * s + kx - node->pad[1];
                        pm_real *a = in + (i * is.height + iy) * is.width + ix;
                        pm_real *b = out + (o * os.height + y) * os.width + first;
                        size_t n = last - first;
                        if (backward)
                            for (size_t x = 0; x < n; x++) a[x * s] += weight * b[x];
                        else
                            for (size_t x = 0; x < n; x++) b[x] += weight * a[x * s];
                    }
                }
}

/* The same for maps too narrow for a loop along their rows: the sums of LANES channels stand side
 * by side. Every sum has the terms of conv_walk in conv_walk's order. */
enum { LANES = 16 };
typedef pm_real lanes __attribute__((vector_size(LANES * sizeof(pm_real))));

/* The weights of tap k between LANES channels from `first` of those added to, `count` of them
 * there, and channel `other` of those read. */
static inline void weights_of(const pm_node *node, shape is, size_t first, size_t count,
                              size_t other, size_t k, bool backward, lanes *out) {
    size_t taps = node->kernel[0] * node->kernel[1];
    size_t step = backward ? 1 : is.channels, from = backward ? is.channels : 1;
    const float *w = node->weight + (first * step + other * from) * taps + k;
    *out = (lanes){0};
    for (size_t l = 0; l < count; l++) (*out)[l] = w[l * step * taps];
}

/* sums: [plane] += w * values, over the pixels that weight ky, kx joins. */
static inline void add_lanes(const pm_node *node, shape is, shape os, size_t ky, size_t kx,
                             const lanes *w, const pm_real *values, lanes *sums, bool backward) {
    size_t s = node->stride, first, last;
    columns(node, kx, is.width, os.width, &first, &last);
    for (size_t y = 0; y < os.height; y++) {
        size_t iy = y * s + ky - node->pad[0];
        if (iy >= is.height) continue;
        for (size_t x = first; x < last; x++) {
            size_t in_at = iy * is.width + x * s + kx - node->pad[1], out_at = y * os.width + x;
            sums[backward ? in_at : out_at] += *w * values[backward ? out_at : in_at];
        }
    }
}

static inline void conv_walk_lanes(const pm_node *node, shape is, pm_real *in, shape os,
                                   pm_real *out, bool backward) {
    shape to = backward ? is : os, read = backward ? os : is;
    pm_real *target = backward ? in : out, *values = backward ? out : in;
    lanes *sums = aligned_alloc(sizeof *sums, plane(to) * sizeof *sums), w;
    if (!sums) abort();
    for (size_t c = 0; c < to.channels; c += LANES, target += LANES * plane(to)) {
        size_t count = to.channels - c < LANES ? to.channels - c : LANES;
        memset(sums, 0, plane(to) * sizeof *sums);
        for (size_t l = 0; l < count; l++)
            for (size_t x = 0; x < plane(to); x++) sums[x][l] = target[l * plane(to) + x];
        for (size_t j = 0; j < read.channels; j++)
            for (size_t k = 0; k < node->kernel[0] * node->kernel[1]; k++) {
                weights_of(node, is, c, count, j, k, backward, &w);
                add_lanes(node, is, os, k / node->kernel[1], k % node->kernel[1], &w,
                          values + j * plane(read), sums, backward);
            }
        for (size_t l = 0; l < count; l++)
            for (size_t x = 0; x < plane(to); x++) target[l * plane(to) + x] = sums[x][l];
    }
    free(sums);
}

static void conv(const pm_node *node, shape is, pm_real *in, shape os, pm_real *out,
                 bool backward) {
    if (node->depthwise || (node->stride == 1 && os.width >= 2 * LANES))
        conv_walk(node, is, in, os, out, backward);
    else if (backward) /* one loop for each direction, without a question in it */
        conv_walk_lanes(node, is, in, os, out, true);
    else
        conv_walk_lanes(node, is, in, os, out, false);
}

static void conv_forward(const pm_node *node, shape is, const pm_real *in, shape os, pm_real *out) {
    for (size_t o = 0; o < os.channels; o++)
        for (size_t i = 0; i < plane(os); i++)
            out[o * plane(os) + i] = node->bias ? node->bias[o] : 0;
    conv(node, is, (pm_real *)(uintptr_t)in, os, out, false);
}

static pm_real sigmoid(pm_real v) { return (pm_real)(1 / (1 + exp(-(double)v))); }

/* The derivative of an activation at v. */
static pm_real slope(pm_op op, pm_real v) {
    pm_real s = sigmoid(v);
    if (op == PM_OP_SIGMOID) return s * (1 - s);
    return s + v * s * (1 - s);
}

static void scale_backward(shape s, const pm_real *const in[2], const pm_real *g,
                           pm_real *const grad_in[2]) {
    for (size_t c = 0; c < s.channels; c++)
        for (size_t i = c * plane(s); i < (c + 1) * plane(s); i++) {
            grad_in[0][i] += in[1][c] * g[i];
            grad_in[1][c] += in[0][i] * g[i];
        }
}

static pm_real batchnorm_scale(const pm_node *node, size_t c) {
    pm_real var = node->var[c], eps = node->eps;
    return node->weight[c] / (pm_real)sqrt((double)(var + eps));
}

static void batchnorm_forward(const pm_node *node, const pm_real *in, shape os, pm_real *out) {
    for (size_t c = 0; c < os.channels; c++) {
        pm_real s = batchnorm_scale(node, c), mean = node->mean[c], bias = node->bias[c];
        for (size_t i = c * plane(os); i < (c + 1) * plane(os); i++)
            out[i] = (in[i] - mean) * s + bias;
    }
}

/* Index into in[] of the first maximum of the window of output (c, y, x). */
static size_t max_at(const pm_node *node, shape is, const pm_real *in, size_t c, size_t y,
                     size_t x) {
    size_t best = SIZE_MAX;
    for (size_t ky = 0; ky < node->kernel[0]; ky++)
        for (size_t kx = 0; kx < node->kernel[1]; kx++) {
            size_t iy = y * node->stride + ky - node->pad[0];
            size_t ix = x * node->stride + kx - node->pad[1];
            if (iy >= is.height || ix >= is.width) continue;
            size_t at = (c * is.height + iy) * is.width + ix;
            if (best == SIZE_MAX || in[at] > in[best]) best = at;
        }
    return best;
}

static void maxpool(const pm_node *node, shape is, const pm_real *in, shape os, pm_real *out,
                    const pm_real *grad_out, pm_real *grad_in) {
    for (size_t c = 0; c < os.channels; c++)
        for (size_t y = 0; y < os.height; y++)
            for (size_t x = 0; x < os.width; x++) {
                size_t at = max_at(node, is, in, c, y, x);
                size_t o = (c * os.height + y) * os.width + x;
                if (out) out[o] = in[at];
                if (grad_in) grad_in[at] += grad_out[o];
            }
}

/* Zeros of the padding count: each window divides by its whole area. */
static void avgpool_window(const pm_node *node, shape is, const pm_real *in, shape os, pm_real *out,
                           const pm_real *grad_out, pm_real *grad_in) {
    pm_real area = (pm_real)(node->kernel[0] * node->kernel[1]);
    for (size_t c = 0; c < os.channels; c++)
        for (size_t y = 0; y < os.height; y++)
            for (size_t x = 0; x < os.width; x++) {
                size_t o = (c * os.height + y) * os.width + x;
                pm_real sum = 0;
                for (size_t ky = 0; ky < node->kernel[0]; ky++)
                    for (size_t kx = 0; kx < node->kernel[1]; kx++) {
                        size_t iy = y * node->stride + ky - node->pad[0];
                        size_t ix = x * node->stride + kx - node->pad[1];
                        if (iy >= is.height || ix >= is.width) continue;
                        size_t at = (c * is.height + iy) * is.width + ix;
                        if (out) sum += in[at];
                        if (grad_in) grad_in[at] += grad_out[o] / area;
                    }
                if (out) out[o] = sum / area;
            }
}

/* PyTorch's adaptive bins: [floor(i n / m), ceil((i + 1) n / m)). */
static void bin(size_t i, size_t n, size_t m, size_t *first, size_t *last) {
    *first = i * n / m;
    *last = ((i + 1) * n + m - 1) / m;
}

static void avgpool_to(shape is, const pm_real *in, shape os, pm_real *out, const pm_real *grad_out,
                       pm_real *grad_in) {
    for (size_t c = 0; c < os.channels; c++)
        for (size_t y = 0; y < os.height; y++)
            for (size_t x = 0; x < os.width; x++) {
                size_t y0, y1, x0, x1, o = (c * os.height + y) * os.width + x;
                bin(y, is.height, os.height, &y0, &y1);
                bin(x, is.width, os.width, &x0, &x1);
                pm_real area = (pm_real)((y1 - y0) * (x1 - x0)), sum = 0;
                for (size_t iy = y0; iy < y1; iy++)
                    for (size_t ix = x0; ix < x1; ix++) {
                        size_t at = (c * is.height + iy) * is.width + ix;
                        if (out) sum += in[at];
                        if (grad_in) grad_in[at] += grad_out[o] / area;
                    }
                if (out) out[o] = sum / area;
            }
}

static void subsample_pad(const pm_node *node, shape is, const pm_real *in, shape os, pm_real *out,
                          const pm_real *grad_out, pm_real *grad_in) {
    size_t before = (os.channels - is.channels) / 2;
    if (out) memset(out, 0, volume(os) * sizeof *out);
    for (size_t c = 0; c < is.channels; c++)
        for (size_t y = 0; y < os.height; y++)
            for (size_t x = 0; x < os.width; x++) {
                size_t at = (c * is.height + y * node->stride) * is.width + x * node->stride;
                size_t o = ((c + before) * os.height + y) * os.width + x;
                if (out) out[o] = in[at];
                if (grad_in) grad_in[at] += grad_out[o];
            }
}

static void linear_forward(const pm_node *node, const pm_real *in, pm_real *out) {
    for (size_t o = 0; o < node->channels; o++) {
        const float *w = node->weight + o * node->in_channels;
        pm_real sum = 0;
        for (size_t i = 0; i < node->in_channels; i++) sum += w[i] * in[i];
        out[o] = sum + (node->bias ? node->bias[o] : 0);
    }
}

static void linear_backward(const pm_node *node, const pm_real *grad_out, pm_real *grad_in) {
    for (size_t o = 0; o < node->channels; o++) {
        const float *w = node->weight + o * node->in_channels;
        for (size_t i = 0; i < node->in_channels; i++) grad_in[i] += w[i] * grad_out[o];
    }
}

/* torch.nn.Linear over the channels of every pixel: a matrix on the left of [C][pixels]. */
static void linear_map_forward(const pm_node *node, shape is, const pm_real *in, shape os,
                               pm_real *out) {
    size_t n = plane(os);
    for (size_t o = 0; o < os.channels; o++) {
        for (size_t x = 0; x < n; x++) out[o * n + x] = node->bias[o];
        for (size_t i = 0; i < is.channels; i++) {
            pm_real w = node->weight[o * is.channels + i];
            for (size_t x = 0; x < n; x++) out[o * n + x] += w * in[i * n + x];
        }
    }
}

static void linear_map_backward(const pm_node *node, shape is, shape os, const pm_real *grad_out,
                                pm_real *grad_in) {
    size_t n = plane(os);
    for (size_t o = 0; o < os.channels; o++)
        for (size_t i = 0; i < is.channels; i++) {
            pm_real w = node->weight[o * is.channels + i];
            for (size_t x = 0; x < n; x++) grad_in[i * n + x] += w * grad_out[o * n + x];
        }
}

/* Mean and 1 / sqrt(var + eps) over the channels of pixel x, the variance biased. */
static void moments(const pm_node *node, shape s, const pm_real *in, size_t x, pm_real *mean,
                    pm_real *inverse) {
    pm_real sum = 0, square = 0;
    for (size_t c = 0; c < s.channels; c++) sum += in[c * plane(s) + x];
    *mean = sum / (pm_real)s.channels;
    for (size_t c = 0; c < s.channels; c++) {
        pm_real off = in[c * plane(s) + x] - *mean;
        square += off * off;
    }
    pm_real var = square / (pm_real)s.channels;
    *inverse = (pm_real)(1 / sqrt((double)(var + (pm_real)node->eps)));
}

static void layernorm_forward(const pm_node *node, shape s, const pm_real *in, pm_real *out) {
    for (size_t x = 0; x < plane(s); x++) {
        pm_real mean, inverse;
        moments(node, s, in, x, &mean, &inverse);
        for (size_t c = 0; c < s.channels; c++)
            out[c * plane(s) + x] =
                (in[c * plane(s) + x] - mean) * inverse * node->weight[c] + node->bias[c];
    }
}

/* With u = (v - mean) / std and h = w g: (h - mean(h) - u mean(h u)) / std. */
static void layernorm_backward(const pm_node *node, shape s, const pm_real *in, const pm_real *g,
                               pm_real *grad_in) {
    size_t n = plane(s);
    for (size_t x = 0; x < n; x++) {
        pm_real mean, inverse, sum = 0, along = 0;
        moments(node, s, in, x, &mean, &inverse);
        for (size_t c = 0; c < s.channels; c++) {
            pm_real h = node->weight[c] * g[c * n + x];
            sum += h;
            along += h * (in[c * n + x] - mean) * inverse;
        }
        sum /= (pm_real)s.channels;
        along /= (pm_real)s.channels;
        for (size_t c = 0; c < s.channels; c++) {
            pm_real u = (in[c * n + x] - mean) * inverse;
            grad_in[c * n + x] += (node->weight[c] * g[c * n + x] - sum - u * along) * inverse;
        }
    }
}

/* The normal distribution and its density. */
static double normal(double v) { return 0.5 * (1 + erf(v / sqrt(2))); }
static double density(double v) { return exp(-v * v / 2) / sqrt(2 * acos(-1)); }

void PM_ORACLE(forward)(const pm_node *node, const pm_oracle_shape in_shape[2],
                        const pm_real *const in[2], pm_oracle_shape os, pm_real *out) {
    switch (node->op) {
    case PM_OP_INPUT: return; /* filled by the caller */
    case PM_OP_CONV: conv_forward(node, in_shape[0], in[0], os, out); return;
    case PM_OP_BATCHNORM: batchnorm_forward(node, in[0], os, out); return;
    case PM_OP_RELU:
        for (size_t i = 0; i < volume(os); i++) out[i] = in[0][i] > 0 ? in[0][i] : 0;
        return;
    case PM_OP_RELU6:
        for (size_t i = 0; i < volume(os); i++)
            out[i] = in[0][i] < 0 ? 0 : in[0][i] > 6 ? 6 : in[0][i];
        return;
    case PM_OP_SILU:
        for (size_t i = 0; i < volume(os); i++) out[i] = in[0][i] * sigmoid(in[0][i]);
        return;
    case PM_OP_SIGMOID:
        for (size_t i = 0; i < volume(os); i++) out[i] = sigmoid(in[0][i]);
        return;
    case PM_OP_ADD:
        for (size_t i = 0; i < volume(os); i++) out[i] = in[0][i] + in[1][i];
        return;
    case PM_OP_CONCAT:
        memcpy(out, in[0], volume(in_shape[0]) * sizeof *out);
        memcpy(out + volume(in_shape[0]), in[1], volume(in_shape[1]) * sizeof *out);
        return;
    case PM_OP_SCALE:
        for (size_t i = 0; i < volume(os); i++) out[i] = in[0][i] * in[1][i / plane(os)];
        return;
    case PM_OP_MAXPOOL: maxpool(node, in_shape[0], in[0], os, out, NULL, NULL); return;
    case PM_OP_AVGPOOL_WINDOW:
        avgpool_window(node, in_shape[0], in[0], os, out, NULL, NULL);
        return;
    case PM_OP_AVGPOOL_TO: avgpool_to(in_shape[0], in[0], os, out, NULL, NULL); return;
    case PM_OP_SUBSAMPLE_PAD: subsample_pad(node, in_shape[0], in[0], os, out, NULL, NULL); return;
    case PM_OP_LINEAR: linear_forward(node, in[0], out); return;
    case PM_OP_LINEAR_MAP: linear_map_forward(node, in_shape[0], in[0], os, out); return;
    case PM_OP_LAYERNORM: layernorm_forward(node, os, in[0], out); return;
    case PM_OP_LAYER_SCALE:
        for (size_t i = 0; i < volume(os); i++) out[i] = node->weight[i / plane(os)] * in[0][i];
        return;
    case PM_OP_GELU:
        for (size_t i = 0; i < volume(os); i++)
            out[i] = in[0][i] * (pm_real)normal((double)in[0][i]);
        return;
    }
    abort();
}

void PM_ORACLE(backward)(const pm_node *node, const pm_oracle_shape in_shape[2],
                         const pm_real *const in[2], pm_oracle_shape os, const pm_real *out,
                         const pm_real *g, pm_real *const grad_in[2]) {
    switch (node->op) {
    case PM_OP_INPUT: return;
    case PM_OP_CONV: conv(node, in_shape[0], grad_in[0], os, (pm_real *)(uintptr_t)g, true); return;
    case PM_OP_BATCHNORM:
        for (size_t i = 0; i < volume(os); i++)
            grad_in[0][i] += batchnorm_scale(node, i / plane(os)) * g[i];
        return;
    case PM_OP_RELU: /* the derivative at 0 is 0, as in PyTorch */
        for (size_t i = 0; i < volume(os); i++) grad_in[0][i] += out[i] > 0 ? g[i] : 0;
        return;
    case PM_OP_RELU6: /* and at 6 */
        for (size_t i = 0; i < volume(os); i++)
            grad_in[0][i] += out[i] > 0 && out[i] < 6 ? g[i] : 0;
        return;
    case PM_OP_SILU:
    case PM_OP_SIGMOID:
        for (size_t i = 0; i < volume(os); i++) grad_in[0][i] += slope(node->op, in[0][i]) * g[i];
        return;
    case PM_OP_ADD:
        for (size_t i = 0; i < volume(os); i++) grad_in[0][i] += g[i];
        for (size_t i = 0; i < volume(os); i++) grad_in[1][i] += g[i];
        return;
    case PM_OP_CONCAT:
        for (size_t i = 0; i < volume(in_shape[0]); i++) grad_in[0][i] += g[i];
        for (size_t i = 0; i < volume(in_shape[1]); i++)
            grad_in[1][i] += g[volume(in_shape[0]) + i];
        return;
    case PM_OP_SCALE: scale_backward(os, in, g, grad_in); return;
    case PM_OP_MAXPOOL: maxpool(node, in_shape[0], in[0], os, NULL, g, grad_in[0]); return;
    case PM_OP_AVGPOOL_WINDOW:
        avgpool_window(node, in_shape[0], in[0], os, NULL, g, grad_in[0]);
        return;
    case PM_OP_AVGPOOL_TO: avgpool_to(in_shape[0], in[0], os, NULL, g, grad_in[0]); return;
    case PM_OP_SUBSAMPLE_PAD:
        subsample_pad(node, in_shape[0], in[0], os, NULL, g, grad_in[0]);
        return;
    case PM_OP_LINEAR: linear_backward(node, g, grad_in[0]); return;
    case PM_OP_LINEAR_MAP: linear_map_backward(node, in_shape[0], os, g, grad_in[0]); return;
    case PM_OP_LAYERNORM: layernorm_backward(node, os, in[0], g, grad_in[0]); return;
    case PM_OP_LAYER_SCALE:
        for (size_t i = 0; i < volume(os); i++) grad_in[0][i] += node->weight[i / plane(os)] * g[i];
        return;
    case PM_OP_GELU: /* Phi(v) + v phi(v) */
        for (size_t i = 0; i < volume(os); i++) {
            double v = (double)in[0][i];
            grad_in[0][i] += (pm_real)(normal(v) + v * density(v)) * g[i];
        }
        return;
    }
    abort();
}

/* Runs a scoring plan in float64, a block of rows at a time.

   The workspace holds one column of the block after another: first the inputs, then what the steps
   make of them. `kernels/score.py` says what each step means, and has the same in numpy. Indices
   are checked when a plan is loaded, so nothing is checked here. */

#include <math.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define BLOCK 64

enum {
    FILL, MISSING, SCALE, SHIFT, CLIP, FLOAT32, ONE_HOT, LOOK_UP,
    CONSTANT, LINEAR, TREES, DIVIDE, SIGMOID, SOFTMAX, EXP
};

typedef struct { int32_t code, to, from, count, a, b, c, d; } step_t;
typedef struct { double value; int32_t feature, left, right, kind; } node_t;

/* The place of x among sorted keys, or -1. */
static int32_t find(const double *keys, int32_t count, double x) {
    int32_t low = 0, high = count;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (keys[middle] < x) low = middle + 1; else high = middle;
    }
    return low < count && keys[low] == x ? low : -1;
}

static const node_t *leaf(const node_t *nodes, int32_t root, const uint32_t *bits,
                          const double *x) {
    const node_t *node = nodes + root;
    while (node->feature >= 0) {
        double value = x[(int64_t)node->feature * BLOCK];
        int left;
        if (isnan(value)) left = node->kind & 1;
        else if (node->kind < 2) left = value <= node->value;
        else if (value < 0 || value >= 256) left = node->kind & 1;
        else {
            uint32_t code = (uint32_t)value;
            left = bits[(node->kind / 2 - 1) * 8 + code / 32] >> (code % 32) & 1;
        }
        node = nodes + (left ? node->left : node->right);
    }
    return node;
}

static void run(const step_t *s, const double *numbers, const int32_t *integers,
                const node_t *nodes, const uint32_t *bits, int outputs, int rows,
                double *work, double *raw) {
    const double *from = work + (int64_t)s->from * BLOCK;
    double *to = work + (int64_t)s->to * BLOCK;
    const double *p = numbers + s->a;
    const int32_t *q = integers + s->b;
    switch (s->code) {
    case FILL: for (int r = 0; r < rows; r++) to[r] = isnan(from[r]) ? p[0] : from[r]; break;
    case MISSING: for (int r = 0; r < rows; r++) to[r] = isnan(from[r]) ? 1.0 : 0.0; break;
    case SCALE: for (int r = 0; r < rows; r++) to[r] = (from[r] - p[0]) / p[1]; break;
    case SHIFT: for (int r = 0; r < rows; r++) to[r] = from[r] * p[0] + p[1]; break;
    case CLIP:
        for (int r = 0; r < rows; r++) {
            double x = from[r];
            to[r] = x < p[0] ? p[0] : x > p[1] ? p[1] : x;
        }
        break;
    case FLOAT32: for (int r = 0; r < rows; r++) to[r] = (double)(float)from[r]; break;
    case ONE_HOT: /* count keys at a; at b: the columns to make, one place a key, then for missing
                     and for any other value; -1 is no column */
        for (int32_t k = 0; k < q[0]; k++)
            for (int r = 0; r < rows; r++) to[(int64_t)k * BLOCK + r] = 0.0;
        for (int r = 0; r < rows; r++) {
            int32_t at = isnan(from[r]) ? s->count : find(p, s->count, from[r]);
            int32_t hot = q[1 + (at < 0 ? s->count + 1 : at)];
            if (hot >= 0) to[(int64_t)hot * BLOCK + r] = 1.0;
        }
        break;
    case LOOK_UP: /* count keys at a, then a value for each, for missing and for any other */
        for (int r = 0; r < rows; r++) {
            int32_t at = isnan(from[r]) ? s->count : find(p, s->count, from[r]);
            to[r] = p[s->count + (at < 0 ? s->count + 1 : at)];
        }
        break;
    case CONSTANT: /* a number for each output */
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++) raw[k * BLOCK + r] += p[k];
        break;
    case LINEAR: /* count columns at b; at a: their weights, output by output */
        for (int k = 0; k < outputs; k++) {
            const double *weights = p + (int64_t)k * s->count;
            double sum[BLOCK] = {0};
            for (int32_t j = 0; j < s->count; j++) {
                const double *x = work + (int64_t)q[j] * BLOCK;
                for (int r = 0; r < rows; r++) sum[r] += weights[j] * x[r];
            }
            for (int r = 0; r < rows; r++) raw[k * BLOCK + r] += sum[r];
        }
        break;
    case TREES: /* count roots at b, then an output for each; -1 adds a number to every output,
                   found at the leaf's value */
        for (int32_t t = 0; t < s->count; t++) {
            int32_t root = q[t], output = q[s->count + t];
            for (int r = 0; r < rows; r++) {
                double value = leaf(nodes, root, bits, work + r)->value;
                if (output >= 0) raw[output * BLOCK + r] += value;
                else
                    for (int k = 0; k < outputs; k++)
                        raw[k * BLOCK + r] += numbers[(int64_t)value + k];
            }
        }
        break;
    case DIVIDE:
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++) raw[k * BLOCK + r] /= p[0];
        break;
    case SIGMOID:
        for (int r = 0; r < rows; r++) raw[r] = 1.0 / (1.0 + exp(-raw[r]));
        break;
    case SOFTMAX:
        for (int r = 0; r < rows; r++) {
            double most = raw[r], sum = 0.0;
            for (int k = 1; k < outputs; k++)
                if (raw[k * BLOCK + r] > most) most = raw[k * BLOCK + r];
            for (int k = 0; k < outputs; k++)
                sum += raw[k * BLOCK + r] = exp(raw[k * BLOCK + r] - most);
            for (int k = 0; k < outputs; k++) raw[k * BLOCK + r] /= sum;
        }
        break;
    case EXP:
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++) raw[k * BLOCK + r] = exp(raw[k * BLOCK + r]);
        break;
    }
}

/* `shape` is steps, inputs, outputs. `matrix` is rows x inputs, `scores` rows x outputs, both row
   by row; `work` has room for a block of every column, then of every output. Returns how many rows
   have no answer, which NaN among their scores says. */
EXPORT int64_t loopline_score(const step_t *steps, const double *numbers, const int32_t *integers,
                              const node_t *nodes, const uint32_t *bits, const int64_t *shape,
                              const double *matrix, int64_t rows, double *work, double *raw,
                              double *scores) {
    int64_t inputs = shape[1], unanswered = 0;
    int outputs = (int)shape[2];
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int count = rows - start < BLOCK ? (int)(rows - start) : BLOCK;
        for (int64_t f = 0; f < inputs; f++)
            for (int r = 0; r < count; r++)
                work[f * BLOCK + r] = matrix[(start + r) * inputs + f];
        for (int i = 0; i < outputs * BLOCK; i++) raw[i] = 0.0;
        for (int64_t i = 0; i < shape[0]; i++)
            run(steps + i, numbers, integers, nodes, bits, outputs, count, work, raw);
        for (int r = 0; r < count; r++) {
            int none = 0;
            for (int k = 0; k < outputs; k++) {
                double score = raw[k * BLOCK + r];
                scores[(start + r) * outputs + k] = score;
                none |= isnan(score);
            }
            unanswered += none != 0;
        }
    }
    return unanswered;
}

/* Runs a scoring plan in float64, a block of rows at a time.

   The workspace holds one column of the block after another: first the inputs, then what the steps
   make of them. `kernels/score.py` says what each step means, and has the same in numpy. Indices
   are checked when a plan is loaded, so nothing is checked here. */

#include <float.h>
#include <math.h>

#include "plan.h"

/* What `hatch_build.py` built this of; `kernels/library.py` looks. */
EXPORT const uint32_t loopline_sources = LOOPLINE_SOURCES;

enum {
    LOG, LOG1P, LOG2, LOG10, EXPONENT, EXPM1, SQRT, CBRT, ABS, SIGN, RECIPROCAL, FLOOR, CEIL, RINT,
    SIN, COS, TAN, ARCTAN, ARCSINH, TANH, LOGISTIC, NORMAL, YEO_JOHNSON, BOX_COX, PERIOD
};

enum { ADD, SUBTRACT, MULTIPLY, QUOTIENT, MAXIMUM, MINIMUM };

/* The place of x among sorted keys, or -1. */
static int32_t find(const double *keys, int32_t count, double x) {
    int32_t low = 0, high = count;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (keys[middle] < x) low = middle + 1; else high = middle;
    }
    return low < count && keys[low] == x ? low : -1;
}

#define TOGETHER 8
#define FEW 4

/* Takes eight walks through trees to their leaves, a step of each in turn. The processor guesses
   wrong every other time which way a row goes, and one walk alone would wait for each guess. */
static void walk(const node_t *nodes, const uint32_t *bits, const double *const *x, int32_t *at) {
    int inner = 1;
    while (inner) {
        inner = 0;
        for (int i = 0; i < TOGETHER; i++) {
            const node_t *node = nodes + at[i];
            if (node->feature < 0) continue;
            int32_t left = -goes_left(node, bits, x[i]);
            at[i] = (node->left & left) | (node->right & ~left);
            inner = 1;
        }
    }
}

/* Adds what a leaf says of the row at `raw`; as float32 adds up where `c` says so, XGBoost's way. */
static inline void add(const step_t *s, const double *numbers, int32_t output, double leaf,
                       int outputs, double *raw) {
    if (s->c) raw[output * BLOCK] = (double)((float)raw[output * BLOCK] + (float)leaf);
    else if (output >= 0) raw[output * BLOCK] += leaf;
    else
        for (int k = 0; k < outputs; k++) raw[k * BLOCK] += numbers[(int64_t)leaf + k];
}

/* Finds the leaves that rows reach in one tree, eight rows together. Beyond the last one the
   workspace has room, and no meaning. */
static void walk_rows(const node_t *nodes, const uint32_t *bits, int32_t root, const double *work,
                      int rows, double *leaves) {
    const double *x[TOGETHER];
    int32_t at[TOGETHER];
    for (int r = 0; r < rows; r += TOGETHER) {
        for (int i = 0; i < TOGETHER; i++) { at[i] = root; x[i] = work + r + i; }
        walk(nodes, bits, x, at);
        for (int i = 0; i < TOGETHER; i++) leaves[r + i] = nodes[at[i]].value;
    }
}

/* Adds up trees for one row, which goes through eight of them together. */
static void trees_of_row(const step_t *s, const double *numbers, const int32_t *q,
                         const node_t *nodes, const uint32_t *bits, int outputs,
                         const double *work, double *raw) {
    const double *x[TOGETHER];
    int32_t at[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) x[i] = work;
    for (int32_t t = 0; t < s->count; t += TOGETHER) {
        int32_t last = s->count - 1, some = s->count - t < TOGETHER ? s->count - t : TOGETHER;
        for (int i = 0; i < TOGETHER; i++) at[i] = q[t + i > last ? last : t + i];
        walk(nodes, bits, x, at);
        for (int i = 0; i < some; i++)
            add(s, numbers, q[s->count + t + i], nodes[at[i]].value, outputs, raw);
    }
}

/* Adds up trees: where there are some rows, tree by tree for all of them. */
static void trees(const step_t *s, const double *numbers, const int32_t *q, const node_t *nodes,
                  const uint32_t *bits, const turns_t *turns, int outputs, const double *work,
                  double *raw, int rows) {
    double leaves[BLOCK];
    if (rows < FEW) {
        for (int r = 0; r < rows; r++)
            trees_of_row(s, numbers, q, nodes, bits, outputs, work + r, raw + r);
        return;
    }
    for (int32_t t = 0; t < s->count; t++) {
        if (!leaf_values(turns, bits, q[t], work, rows, leaves))
            walk_rows(nodes, bits, q[t], work, rows, leaves);
        for (int r = 0; r < rows; r++)
            add(s, numbers, q[s->count + t], leaves[r], outputs, raw + r);
    }
}

/* How many of the sorted breaks are at most x. */
static int32_t passed(const double *breaks, int32_t count, double x) {
    int32_t low = 0, high = count;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (breaks[middle] <= x) low = middle + 1; else high = middle;
    }
    return low;
}

static double yeo_johnson(double x, double power) {
    if (x >= 0.0)
        return fabs(power) < DBL_EPSILON ? log1p(x) : expm1(power * log1p(x)) / power;
    double other = 2.0 - power;
    return fabs(power - 2.0) > DBL_EPSILON ? -expm1(other * log1p(-x)) / other : -log1p(-x);
}

static double box_cox(double x, double power) {
    double grown = power * log(x);
    if (fabs(power) < 1e-19) return log(x);
    if (grown < 709.78) return expm1(grown) / power;
    return copysign(1.0, power) * exp(grown - log(fabs(power))) - 1.0 / power;
}

/* x brought into the period that starts at `start`, as Python's % does. */
static double in_period(double x, double start, double length) {
    double left = fmod(x - start, length);
    if (left != 0.0) left += left < 0.0 ? length : 0.0;
    else left = 0.0;
    return start + left;
}

/* Numerators and denominators of Moshier's approximation (Cephes), highest power first, as scipy
   has it: to the same bits, since a tree may ask. */
static const double MIDDLE[2][9] = {
    {0.0, 0.0, 0.0, 0.0, -59.96335010141079, 98.00107541859997, -56.67628574690703,
     13.931260938727968, -1.2391658386738125},
    {1.0, 1.9544885833814176, 4.676279128988815, 86.36024213908905, -225.46268785411937,
     200.26021238006066, -82.03722561683334, 15.90562251262117, -1.1833162112133},
};
static const double NEAR[2][9] = {
    {4.0554489230596245, 31.525109459989388, 57.16281922464213, 44.08050738932008,
     14.684956192885803, 2.1866330685079025, -0.1402560791713545, -0.03504246268278482,
     -0.0008574567851546854},
    {1.0, 15.779988325646675, 45.39076351288792, 41.3172038254672, 15.04253856929075,
     2.504649462083094, -0.14218292285478779, -0.03808064076915783, -0.0009332594808954574},
};
static const double FAR[2][9] = {
    {3.2377489177694603, 6.915228890689842, 3.9388102529247444, 1.3330346081580755,
     0.20148538954917908, 0.012371663481782003, 0.00030158155350823543, 2.6580697468673755e-06,
     6.239745391849833e-09},
    {1.0, 6.02427039364742, 3.6798356385616087, 1.3770209948908132, 0.21623699359449663,
     0.013420400608854318, 0.00032801446468212774, 2.8924786474538068e-06,
     6.790194080099813e-09},
};

static double polynomial(const double *powers, double x) {
    double value = powers[0];
    for (int i = 1; i < 9; i++) value = value * x + powers[i];
    return value;
}

/* The normal distribution's quantile. */
static double normal(double p) {
    const double tail = 0.13533528323661269189; /* exp(-2) */
    if (!(p > 0.0 && p < 1.0)) return p == 0.0 ? -INFINITY : p == 1.0 ? INFINITY : NAN;
    int upper = p > 1.0 - tail;
    double y = upper ? 1.0 - p : p;
    if (y > tail) {
        double q = y - 0.5, r = q * q;
        return (q + q * (r * polynomial(MIDDLE[0], r) / polynomial(MIDDLE[1], r)))
               * 2.50662827463100050242; /* sqrt(2 pi) */
    }
    double x = sqrt(-2.0 * log(y)), z = 1.0 / x;
    const double (*table)[9] = x < 8.0 ? NEAR : FAR;
    double far = (x - log(x) / x) - z * polynomial(table[0], z) / polynomial(table[1], z);
    return upper ? far : -far;
}

#define EACH(value) \
    for (int r = 0; r < rows; r++) { \
        double x = from[r]; \
        to[r] = value; \
    } \
    break

static void function(int32_t which, const double *p, const double *from, double *to, int rows) {
    switch (which) {
    case LOG: EACH(log(x));
    case LOG1P: EACH(log1p(x));
    case LOG2: EACH(log2(x));
    case LOG10: EACH(log10(x));
    case EXPONENT: EACH(exp(x));
    case EXPM1: EACH(expm1(x));
    case SQRT: EACH(sqrt(x));
    case CBRT: EACH(cbrt(x));
    case ABS: EACH(fabs(x));
    case SIGN: EACH(isnan(x) ? x : (double)((x > 0.0) - (x < 0.0)));
    case RECIPROCAL: EACH(1.0 / x);
    case FLOOR: EACH(floor(x));
    case CEIL: EACH(ceil(x));
    case RINT: EACH(rint(x));
    case SIN: EACH(sin(x));
    case COS: EACH(cos(x));
    case TAN: EACH(tan(x));
    case ARCTAN: EACH(atan(x));
    case ARCSINH: EACH(asinh(x));
    case TANH: EACH(tanh(x));
    case LOGISTIC: EACH(1.0 / (1.0 + exp(-x)));
    case NORMAL: EACH(normal(x));
    case YEO_JOHNSON: EACH(yeo_johnson(x, p[0]));
    case BOX_COX: EACH(box_cox(x, p[0]));
    case PERIOD: EACH(in_period(x, p[0], p[1]));
    }
}

static void pair(int32_t which, const double *from, const double *other, double *to, int rows) {
    switch (which) {
    case ADD: EACH(x + other[r]);
    case SUBTRACT: EACH(x - other[r]);
    case MULTIPLY: EACH(x * other[r]);
    case QUOTIENT: EACH(x / other[r]);
    case MAXIMUM: EACH(isnan(x) || x > other[r] ? x : other[r]);
    case MINIMUM: EACH(isnan(x) || x < other[r] ? x : other[r]);
    }
}

/* Weighted sums of `count` columns, one for each of `sums`, added to or put where they go. */
static void weigh(const double *work, const int32_t *columns, const double *weights, int32_t count,
                  int sums, const double *put, int rows, double *to) {
    for (int k = 0; k < sums; k++, weights += count, to += BLOCK) {
        double sum[BLOCK] = {0};
        for (int32_t j = 0; j < count; j++) {
            const double *x = work + (int64_t)columns[j] * BLOCK;
            for (int r = 0; r < rows; r++) sum[r] += weights[j] * x[r];
        }
        for (int r = 0; r < rows; r++) to[r] = put ? sum[r] + put[k] : to[r] + sum[r];
    }
}

static void pieces(const step_t *s, const double *breaks, const double *from, double *to,
                   int rows) {
    int32_t each = s->d + 1;
    for (int r = 0; r < rows; r++) {
        double x = from[r];
        int32_t piece = passed(breaks, s->count, x);
        const double *p = breaks + s->count + (int64_t)piece * s->c * each;
        double along = s->count ? x - breaks[piece ? piece - 1 : 0] : x;
        for (int32_t k = 0; k < s->c; k++, p += each) {
            double value = p[0];
            for (int32_t i = 1; i < each; i++) value = value * along + p[i];
            to[(int64_t)k * BLOCK + r] = isnan(x) ? x : value;
        }
    }
}

/* The last steps of XGBoost, in float32 as there. */
static void narrow_link(int32_t code, int outputs, int rows, double *raw) {
    for (int r = 0; r < rows; r++) {
        float most = (float)raw[r];
        double sum = 0.0;
        for (int k = 1; k < outputs; k++) most = fmaxf(most, (float)raw[k * BLOCK + r]);
        for (int k = 0; k < outputs; k++) {
            float x = (float)raw[k * BLOCK + r];
            float y = code == SIGMOID ? 1.0f / (expf(fminf(-x, 88.7f)) + 1.0f + 1e-16f)
                                      : expf(code == SOFTMAX ? x - most : x);
            raw[k * BLOCK + r] = y;
            sum += y;
        }
        if (code == SOFTMAX)
            for (int k = 0; k < outputs; k++)
                raw[k * BLOCK + r] = (float)raw[k * BLOCK + r] / (float)sum;
    }
}

void run_step(const step_t *s, const double *numbers, const int32_t *integers,
              const node_t *nodes, const uint32_t *bits, const turns_t *turns, int outputs,
              int rows, double *work, double *raw) {
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
        weigh(work, q, p, s->count, outputs, 0, rows, raw);
        break;
    case TREES: /* count roots at b, then an output for each; -1 adds a number to every output,
                   found at the leaf's value */
        trees(s, numbers, q, nodes, bits, turns, outputs, work, raw, rows);
        break;
    case DIVIDE:
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++) raw[k * BLOCK + r] /= p[0];
        break;
    case SIGMOID:
        if (s->c) { narrow_link(s->code, outputs, rows, raw); break; }
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++)
                raw[k * BLOCK + r] = 1.0 / (1.0 + exp(-raw[k * BLOCK + r]));
        break;
    case SOFTMAX:
        if (s->c) { narrow_link(s->code, outputs, rows, raw); break; }
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
        if (s->c) { narrow_link(s->code, outputs, rows, raw); break; }
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++) raw[k * BLOCK + r] = exp(raw[k * BLOCK + r]);
        break;
    case KEEP: /* the first c outputs become columns, and all are 0 again */
        for (int k = 0; k < outputs; k++)
            for (int r = 0; r < rows; r++) {
                if (k < s->c) to[k * BLOCK + r] = raw[k * BLOCK + r];
                raw[k * BLOCK + r] = 0.0;
            }
        break;
    case DOT: /* c columns: weights at a as for LINEAR, then a number for each to add */
        weigh(work, q, p, s->count, s->c, p + (int64_t)s->c * s->count, rows, to);
        break;
    case PIECES: pieces(s, p, from, to, rows); break;
    case FUNCTION: function(s->c, p, from, to, rows); break;
    case PAIR: pair(s->c, from, work + (int64_t)s->d * BLOCK, to, rows); break;
    case NORMALISE:
        for (int r = 0; r < rows; r++) {
            double sum = 0.0;
            for (int k = 0; k < outputs; k++) sum += raw[k * BLOCK + r];
            for (int k = 0; k < outputs; k++)
                raw[k * BLOCK + r] = sum == 0.0 ? p[0] : raw[k * BLOCK + r] / sum;
        }
        break;
    }
}

/* `shape` is steps, inputs, outputs. `matrix` is rows x inputs, `scores` rows x outputs, both row
   by row; `work` has room for a block of every column, then of every output. Returns how many rows
   have no answer, which NaN among their scores says. */
EXPORT int64_t loopline_score(const step_t *steps, const double *numbers, const int32_t *integers,
                              const node_t *nodes, const uint32_t *bits, const int64_t *shape,
                              const turns_t *turns,
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
            run_step(steps + i, numbers, integers, nodes, bits, turns, outputs, count, work, raw);
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

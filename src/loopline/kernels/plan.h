/* A scoring plan as the kernels see it: `kernels/score.py` says what each step means. */

#include <math.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define BLOCK 64

enum {
    FILL, MISSING, SCALE, SHIFT, CLIP, FLOAT32, ONE_HOT, LOOK_UP,
    CONSTANT, LINEAR, TREES, DIVIDE, SIGMOID, SOFTMAX, EXP,
    KEEP, DOT, PIECES, FUNCTION, PAIR, NORMALISE
};

typedef struct { int32_t code, to, from, count, a, b, c, d; } step_t;
typedef struct { double value; int32_t feature, left, right, kind; } node_t;

/* Whether a row goes to the left of an inner node; `x` is its place in the block's columns. */
static inline int goes_left(const node_t *node, const uint32_t *bits, const double *x) {
    double value = x[(int64_t)node->feature * BLOCK];
    if (isnan(value)) return node->kind & 1;
    if (node->kind < 2) return value <= node->value;
    if (value < 0 || value >= 256) return node->kind & 1;
    uint32_t code = (uint32_t)value;
    return bits[(node->kind / 2 - 1) * 8 + code / 32] >> (code % 32) & 1;
}

/* Small trees, prepared for many rows at a time: `turns.c`. */
typedef struct turns turns_t;

/* Finds the value of the leaf that each of a block's rows reaches; returns 0, and does nothing,
   where the tree was not prepared. */
int leaf_values(const turns_t *turns, const uint32_t *bits, int32_t root, const double *work,
                int rows, double *values);

/* Runs one step over a block of rows; without `turns` all trees are walked. */
void run_step(const step_t *s, const double *numbers, const int32_t *integers,
              const node_t *nodes, const uint32_t *bits, const turns_t *turns, int outputs,
              int rows, double *work, double *raw);

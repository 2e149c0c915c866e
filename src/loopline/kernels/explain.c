/* What each input adds to a plan's answer, before its link, compared with what is usual.

   Of weighted sums that is the weight times the distance from the mean. Of trees it is the Shapley
   value of the game in which an input that is not known sends a row down every branch, by the share
   of rows that took it (Lundberg et al., 2018, algorithm 2). Columns made of one input are known
   together, so a path has an entry for each input and not for each column. */

#include <string.h>

#include "plan.h"

/* One input on the way to a leaf: the share of rows that go this way where it is not known, whether
   this row does where it is, and the weight of the sets of so many known inputs. */
typedef struct { double zero, one, weight; int64_t group; } part_t;

typedef struct {
    const node_t *nodes;
    const uint32_t *bits;
    const double *shares, *numbers, *x;
    const int32_t *groups;
    int64_t stride; /* parts of a path at most */
    int outputs, output; /* -1: a leaf names a vector */
    double *phi;
} walk_t;

static void extend(part_t *path, int64_t depth, double zero, double one, int64_t group) {
    path[depth] = (part_t){zero, one, depth == 0 ? 1.0 : 0.0, group};
    for (int64_t i = depth - 1; i >= 0; i--) {
        path[i + 1].weight += one * path[i].weight * (double)(i + 1) / (double)(depth + 1);
        path[i].weight = zero * path[i].weight * (double)(depth - i) / (double)(depth + 1);
    }
}

/* Takes the entry at `at` out of a path whose last entry is at `depth`. */
static void unwind(part_t *path, int64_t depth, int64_t at) {
    double one = path[at].one, zero = path[at].zero, next = path[depth].weight;
    for (int64_t i = depth - 1; i >= 0; i--) {
        if (one != 0.0) {
            double before = path[i].weight;
            path[i].weight = next * (double)(depth + 1) / ((double)(i + 1) * one);
            next = before - path[i].weight * zero * (double)(depth - i) / (double)(depth + 1);
        } else {
            path[i].weight = path[i].weight * (double)(depth + 1) / (zero * (double)(depth - i));
        }
    }
    for (int64_t i = at; i < depth; i++) {
        path[i].group = path[i + 1].group;
        path[i].zero = path[i + 1].zero;
        path[i].one = path[i + 1].one;
    }
}

/* The weights of a path without the entry at `at`, added up. */
static double unwound(const part_t *path, int64_t depth, int64_t at) {
    double one = path[at].one, zero = path[at].zero, next = path[depth].weight, total = 0.0;
    for (int64_t i = depth - 1; i >= 0; i--) {
        if (one != 0.0) {
            double weight = next / ((double)(i + 1) * one);
            total += weight;
            next = path[i].weight - weight * zero * (double)(depth - i);
        } else {
            total += path[i].weight / (zero * (double)(depth - i));
        }
    }
    return total * (double)(depth + 1);
}

/* `depth` counts the parts of `path`; the path to a child begins after it in the same memory. */
static void walk(const walk_t *w, int32_t at, const part_t *parent, int64_t depth, double zero,
                 double one, int64_t group) {
    part_t *path = (part_t *)parent + w->stride;
    memcpy(path, parent, (size_t)depth * sizeof(part_t));
    extend(path, depth, zero, one, group);
    const node_t *node = w->nodes + at;
    if (node->feature < 0) {
        for (int64_t i = 1; i <= depth; i++) {
            double weight = unwound(path, depth, i) * (path[i].one - path[i].zero);
            double *phi = w->phi + path[i].group * w->outputs;
            if (w->output >= 0) phi[w->output] += weight * node->value;
            else
                for (int k = 0; k < w->outputs; k++)
                    phi[k] += weight * w->numbers[(int64_t)node->value + k];
        }
        return;
    }
    int left = goes_left(node, w->bits, w->x);
    int32_t hot = left ? node->left : node->right, cold = left ? node->right : node->left;
    double known = 1.0, unknown = 1.0;
    int64_t mine = w->groups[node->feature], found = 1;
    while (found <= depth && path[found].group != mine) found++;
    if (found <= depth) {
        known = path[found].one;
        unknown = path[found].zero;
        unwind(path, depth, found);
        depth--;
    }
    /* Where neither the row nor any other goes, nothing is added. */
    if (known != 0.0 || unknown * w->shares[hot] != 0.0)
        walk(w, hot, path, depth + 1, unknown * w->shares[hot], known, mine);
    if (unknown * w->shares[cold] != 0.0)
        walk(w, cold, path, depth + 1, unknown * w->shares[cold], 0.0, mine);
}

/* `shape` is steps, inputs, outputs and the parts of a path at most. `steps` end before the link.
   `phi` is rows x inputs x outputs and 0 before; `values` (rows x outputs) are the answers before
   the link. `paths` has room for a path on every level of the deepest tree, and one more. */
EXPORT void loopline_explain(const step_t *steps, const double *numbers, const int32_t *integers,
                             const node_t *nodes, const uint32_t *bits, const int64_t *shape,
                             const double *shares, const double *means, const int32_t *groups,
                             const double *matrix, int64_t rows, double *work, double *raw,
                             part_t *paths, double *phi, double *values) {
    int64_t inputs = shape[1];
    int outputs = (int)shape[2];
    for (int64_t start = 0; start < rows; start += BLOCK) {
        int count = rows - start < BLOCK ? (int)(rows - start) : BLOCK;
        for (int64_t f = 0; f < inputs; f++)
            for (int r = 0; r < count; r++)
                work[f * BLOCK + r] = matrix[(start + r) * inputs + f];
        for (int i = 0; i < outputs * BLOCK; i++) raw[i] = 0.0;
        for (int64_t i = 0; i < shape[0]; i++) {
            const step_t *s = steps + i;
            const int32_t *q = integers + s->b;
            run_step(s, numbers, integers, nodes, bits, 0, outputs, count, work, raw);
            for (int r = 0; r < count; r++) {
                double *own = phi + (start + r) * inputs * outputs;
                if (s->code == LINEAR) {
                    for (int k = 0; k < outputs; k++)
                        for (int32_t j = 0; j < s->count; j++) {
                            double weight = numbers[s->a + (int64_t)k * s->count + j];
                            if (weight == 0.0) continue;
                            double away = work[(int64_t)q[j] * BLOCK + r] - means[q[j]];
                            own[(int64_t)groups[q[j]] * outputs + k] += weight * away;
                        }
                } else if (s->code == TREES) {
                    for (int32_t t = 0; t < s->count; t++) {
                        walk_t w = {nodes, bits, shares, numbers, work + r, groups, shape[3],
                                    outputs, q[s->count + t], own};
                        walk(&w, q[t], paths, 0, 1.0, 1.0, -1);
                    }
                } else if (s->code == DIVIDE) {
                    for (int64_t j = 0; j < inputs * outputs; j++) own[j] /= numbers[s->a];
                }
            }
        }
        for (int r = 0; r < count; r++)
            for (int k = 0; k < outputs; k++)
                values[(start + r) * outputs + k] = raw[k * BLOCK + r];
    }
}

/* Trees of at most 64 leaves, of many rows at a time, without walking.

   A tree's leaves are numbered from left to right, a bit each. Every inner node says which leaves a
   row cannot reach that goes right there: those under its left child. A row's leaf is the first one
   that no node takes away, so the nodes may be asked in any order, and all rows are asked the same:
   what a processor does for eight rows at once, and without guessing (QuickScorer, Lucchese et al.,
   SIGIR 2015). What is added up, and in which order, is as in `score.c`. */

#include <string.h>

#include "plan.h"

/* With registers of 512 bits all this takes a quarter of the time of walking; with narrower ones it
   was measured to take twice as long, and other compilers have no such shuffles. */
#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)

#define LANES 8
#define GROUPS (BLOCK / LANES)

typedef double numbers_t __attribute__((vector_size(LANES * 8), aligned(8)));
typedef int64_t masks_t __attribute__((vector_size(LANES * 8), aligned(8)));

typedef int32_t codes_t __attribute__((vector_size(LANES * 4)));

typedef struct { double value; int64_t stays; int32_t feature, kind; } turn_t;
typedef struct { int32_t turn, leaf, ends[3], unused; } tree_t;

/* `of` has a place among `trees`, plus one, for each node that is the root of one. A tree's turns
   end at `ends`: first those where missing goes right, then where it goes left, then sets. */
struct turns {
    int32_t *of;
    tree_t *trees;
    turn_t *turns;
    double *leaves;
    int64_t tree_count, turn_count, leaf_count, most_trees, most_turns, most_leaves;
};

typedef struct {
    const node_t *nodes;
    turns_t *to;
    int32_t leaf, count[3];
    turn_t made[3][64];
} tree_builder_t;

/* Takes what is under a node; returns the bits of its leaves, or 0 where they are too many. */
static uint64_t take(tree_builder_t *b, int32_t at, int depth) {
    const node_t *node = b->nodes + at;
    if (depth > 64) return 0;
    if (node->feature < 0) {
        if (b->leaf == 64 || b->to->leaf_count + b->leaf == b->to->most_leaves) return 0;
        b->to->leaves[b->to->leaf_count + b->leaf] = node->value;
        return 1ull << b->leaf++;
    }
    uint64_t left = take(b, node->left, depth + 1);
    if (!left) return 0;
    uint64_t right = take(b, node->right, depth + 1);
    if (!right) return 0;
    int group = node->kind < 2 ? node->kind : 2;
    b->made[group][b->count[group]++] =
        (turn_t){node->value, (int64_t)~left, node->feature, node->kind};
    return left | right;
}

/* Prepares the trees with these roots, as far as they are small enough. */
EXPORT void loopline_turns(turns_t *to, const node_t *nodes, const int32_t *roots, int64_t count) {
    if (!__builtin_cpu_supports("avx512f")) return;
    for (int64_t i = 0; i < count; i++) {
        tree_builder_t b = {.nodes = nodes, .to = to};
        if (to->of[roots[i]] || to->tree_count == to->most_trees || !take(&b, roots[i], 0)) continue;
        if (to->turn_count + b.leaf > to->most_turns) continue;
        tree_t *tree = to->trees + to->tree_count++;
        *tree = (tree_t){(int32_t)to->turn_count, (int32_t)to->leaf_count, {0}, 0};
        for (int32_t group = 0, made = 0; group < 3; group++) {
            memcpy(to->turns + to->turn_count + made, b.made[group],
                   (size_t)b.count[group] * sizeof(turn_t));
            tree->ends[group] = made += b.count[group];
        }
        to->of[roots[i]] = (int32_t)to->tree_count;
        to->turn_count += b.leaf - 1;
        to->leaf_count += b.leaf;
    }
}

/* Asks every turn of a tree; `reached` gets the bits of the leaves that are left of each row. */
__attribute__((target("avx512f"))) static void ask(
    const tree_t *tree, const turn_t *turn, const uint32_t *bits, const double *work, int groups,
    masks_t *reached) {
    masks_t still[GROUPS];
    const turn_t *end = turn + tree->ends[0];
    for (int g = 0; g < groups; g++) still[g] = (masks_t){-1, -1, -1, -1, -1, -1, -1, -1};
    for (; turn < end; turn++) {
        const numbers_t *x = (const numbers_t *)(work + (int64_t)turn->feature * BLOCK);
        for (int g = 0; g < groups; g++) still[g] &= (x[g] <= turn->value) | turn->stays;
    }
    for (end += tree->ends[1] - tree->ends[0]; turn < end; turn++) {
        const numbers_t *x = (const numbers_t *)(work + (int64_t)turn->feature * BLOCK);
        for (int g = 0; g < groups; g++) still[g] &= ~(x[g] > turn->value) | turn->stays;
    }
    for (end += tree->ends[2] - tree->ends[1]; turn < end; turn++) {
        const numbers_t *x = (const numbers_t *)(work + (int64_t)turn->feature * BLOCK);
        codes_t words;
        memcpy(&words, bits + (turn->kind / 2 - 1) * 8, sizeof words);
        masks_t unknown = (masks_t){0} - (turn->kind & 1);
        for (int g = 0; g < groups; g++) {
            masks_t is_known = (x[g] >= 0.0) & (x[g] < 256.0);
            codes_t code =
                __builtin_convertvector((numbers_t)((masks_t)x[g] & is_known), codes_t);
            codes_t bit = -(__builtin_shuffle(words, code >> 5) >> (code & 31) & 1);
            /* Each twice, as halves of a mask: GCC widens no vector of these lengths at once. */
            masks_t left = (masks_t)__builtin_shufflevector(bit, bit, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4,
                                                            5, 5, 6, 6, 7, 7);
            still[g] &= (left & is_known) | (unknown & ~is_known) | turn->stays;
        }
    }
    for (int g = 0; g < groups; g++) reached[g] = still[g];
}

int leaf_values(const turns_t *turns, const uint32_t *bits, int32_t root, const double *work,
                int rows, double *values) {
    int32_t which = turns ? turns->of[root] : 0;
    if (!which) return 0;
    const tree_t *tree = turns->trees + which - 1;
    masks_t reached[GROUPS];
    uint64_t left[BLOCK];
    ask(tree, turns->turns + tree->turn, bits, work, (rows + LANES - 1) / LANES, reached);
    memcpy(left, reached, sizeof left);
    const double *leaves = turns->leaves + tree->leaf;
    for (int r = 0; r < rows; r++) values[r] = leaves[__builtin_ctzll(left[r])];
    return 1;
}

#else

EXPORT void loopline_turns(turns_t *to, const node_t *nodes, const int32_t *roots, int64_t count) {
    (void)to, (void)nodes, (void)roots, (void)count;
}

int leaf_values(const turns_t *turns, const uint32_t *bits, int32_t root, const double *work,
                int rows, double *values) {
    (void)turns, (void)bits, (void)root, (void)work, (void)rows, (void)values;
    return 0;
}

#endif

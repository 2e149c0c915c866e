/* Trees of at most 64 leaves, of many rows at a time, without walking.

   A tree's leaves are numbered from left to right, a bit each. Every inner node says which leaves a
   row cannot reach that goes right there: those under its left child. A row's leaf is the first one
   that no node takes away, so the nodes may be asked in any order, and all rows are asked the same:
   what a processor does for eight rows at once, and without guessing (QuickScorer, Lucchese et al.,
   SIGIR 2015). What is added up, and in which order, is as in `score.c`. */

#include <string.h>

#include "plan.h"

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDEST
#endif

#define LANES 8
#define GROUPS (BLOCK / LANES)

typedef double numbers_t __attribute__((vector_size(LANES * 8), aligned(8)));
typedef int64_t masks_t __attribute__((vector_size(LANES * 8), aligned(8)));

typedef struct { double value; int64_t stays; int64_t feature; } turn_t;
typedef struct { int32_t turn, right, left, leaf; } tree_t;

/* `of` has a place among `trees`, plus one, for each node that is the root of one. A tree's turns
   where missing goes right come first, `right` of them, then `left` of the others. */
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
    int32_t leaf, turn, ends[2];
    turn_t made[2][64];
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
    if (node->kind > 1) return 0; /* a set of categories is asked by walking */
    uint64_t left = take(b, node->left, depth + 1);
    if (!left) return 0;
    uint64_t right = take(b, node->right, depth + 1);
    if (!right) return 0;
    turn_t *turn = &b->made[node->kind][b->ends[node->kind]++];
    *turn = (turn_t){node->value, (int64_t)~left, node->feature};
    return left | right;
}

/* Prepares the trees with these roots, as far as they are small enough. */
EXPORT void loopline_turns(turns_t *to, const node_t *nodes, const int32_t *roots, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        tree_builder_t b = {.nodes = nodes, .to = to};
        if (to->of[roots[i]] || to->tree_count == to->most_trees || !take(&b, roots[i], 0)) continue;
        int32_t made = b.ends[0] + b.ends[1];
        if (to->turn_count + made > to->most_turns) continue;
        turn_t *first = to->turns + to->turn_count;
        memcpy(first, b.made[0], (size_t)b.ends[0] * sizeof *first);
        memcpy(first + b.ends[0], b.made[1], (size_t)b.ends[1] * sizeof *first);
        to->trees[to->tree_count++] = (tree_t){(int32_t)to->turn_count, b.ends[0], b.ends[1],
                                               (int32_t)to->leaf_count};
        to->of[roots[i]] = (int32_t)to->tree_count;
        to->turn_count += made;
        to->leaf_count += b.leaf;
    }
}

/* Asks every turn of a tree; `reached` gets the bits of the leaves that are left of each row. */
WIDEST static void ask(const turn_t *turn, int32_t right, int32_t left, const double *work,
                       int groups, masks_t *reached) {
    masks_t still[GROUPS];
    for (int g = 0; g < groups; g++) still[g] = (masks_t){-1, -1, -1, -1, -1, -1, -1, -1};
    for (; right; right--, turn++) {
        const numbers_t *x = (const numbers_t *)(work + turn->feature * BLOCK);
        for (int g = 0; g < groups; g++) still[g] &= (x[g] <= turn->value) | turn->stays;
    }
    for (; left; left--, turn++) {
        const numbers_t *x = (const numbers_t *)(work + turn->feature * BLOCK);
        for (int g = 0; g < groups; g++) still[g] &= ~(x[g] > turn->value) | turn->stays;
    }
    for (int g = 0; g < groups; g++) reached[g] = still[g];
}

int leaf_values(const turns_t *turns, int32_t root, const double *work, int rows, double *values) {
    int32_t which = turns ? turns->of[root] : 0;
    if (!which) return 0;
    const tree_t *tree = turns->trees + which - 1;
    masks_t reached[GROUPS];
    uint64_t left[BLOCK];
    ask(turns->turns + tree->turn, tree->right, tree->left, work, (rows + LANES - 1) / LANES,
        reached);
    memcpy(left, reached, sizeof left);
    const double *leaves = turns->leaves + tree->leaf;
    for (int r = 0; r < rows; r++) values[r] = leaves[__builtin_ctzll(left[r])];
    return 1;
}

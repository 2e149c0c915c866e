/* Counts numbers into cells: the leading bits of their float64 form.

   A hash table of cells grows with the cells that occur, never with the rows. `kernels/count.py`
   has the same in numpy. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* The cell of a finite x: its leading bits, in the order of the numbers, zero being cell 0. */
static inline int64_t cell_of(double x, int shift) {
    int64_t bits;
    x += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &x, 8);
    int64_t size = (bits & INT64_MAX) >> shift;
    return bits < 0 ? -size - 1 : size;
}

typedef struct { int64_t *cells, *counts; int64_t room, used; int failed; } table_t;

static inline uint64_t slot_of(int64_t cell, int64_t room) {
    return ((uint64_t)cell * 0x9E3779B97F4A7C15ull >> 20) & (uint64_t)(room - 1);
}

static void grow(table_t *t) {
    int64_t room = t->room * 2;
    int64_t *cells = malloc(room * sizeof *cells), *counts = calloc(room, sizeof *counts);
    if (!cells || !counts) { free(cells); free(counts); t->failed = 1; return; }
    for (int64_t i = 0; i < t->room; i++) {
        if (!t->counts[i]) continue;
        uint64_t at = slot_of(t->cells[i], room);
        while (counts[at]) at = (at + 1) & (uint64_t)(room - 1);
        cells[at] = t->cells[i];
        counts[at] = t->counts[i];
    }
    free(t->cells);
    free(t->counts);
    t->cells = cells;
    t->counts = counts;
    t->room = room;
}

static inline void add(table_t *t, int64_t cell) {
    uint64_t at = slot_of(cell, t->room);
    while (t->counts[at] && t->cells[at] != cell) at = (at + 1) & (uint64_t)(t->room - 1);
    if (!t->counts[at]) {
        t->cells[at] = cell;
        if (++t->used * 2 > t->room) { t->counts[at] = 1; grow(t); return; }
    }
    t->counts[at]++;
}

EXPORT table_t *loopline_cells_new(void) {
    table_t *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->room = 1024;
    t->cells = malloc(t->room * sizeof *t->cells);
    t->counts = calloc(t->room, sizeof *t->counts);
    if (!t->cells || !t->counts) { free(t->cells); free(t->counts); free(t); return NULL; }
    return t;
}

EXPORT void loopline_cells_free(table_t *t) {
    if (t) { free(t->cells); free(t->counts); free(t); }
}

/* Adds `rows` numbers less `offset`. `valid` is an Arrow validity bitmap that begins `start` bits
   in, or NULL. `special` gets missing (null or NaN), minus and plus infinity added. */
EXPORT void loopline_cells_add(table_t *t, const double *x, int64_t rows, const uint8_t *valid,
                               int64_t start, double offset, int shift, int64_t *special) {
    int64_t last = 0, run = 0;
    for (int64_t i = 0; i < rows && !t->failed; i++) {
        if (valid && !(valid[(start + i) >> 3] >> ((start + i) & 7) & 1)) { special[0]++; continue; }
        double value = x[i];
        if (isnan(value)) { special[0]++; continue; }
        if (isinf(value)) { special[value < 0 ? 1 : 2]++; continue; }
        int64_t cell = cell_of(value - offset, shift);
        if (run && cell == last) { run++; continue; } /* mostly-zero columns cost no look-ups */
        if (run > 1) {
            uint64_t at = slot_of(last, t->room);
            while (t->cells[at] != last || !t->counts[at]) at = (at + 1) & (uint64_t)(t->room - 1);
            t->counts[at] += run - 1;
        }
        add(t, cell);
        last = cell;
        run = 1;
    }
    if (run > 1 && !t->failed) {
        uint64_t at = slot_of(last, t->room);
        while (t->cells[at] != last || !t->counts[at]) at = (at + 1) & (uint64_t)(t->room - 1);
        t->counts[at] += run - 1;
    }
}

/* How many cells there are, or -1 when memory ran out. */
EXPORT int64_t loopline_cells_used(const table_t *t) { return t->failed ? -1 : t->used; }

EXPORT void loopline_cells_read(const table_t *t, int64_t *cells, int64_t *counts) {
    for (int64_t i = 0; i < t->room; i++)
        if (t->counts[i]) { *cells++ = t->cells[i]; *counts++ = t->counts[i]; }
}

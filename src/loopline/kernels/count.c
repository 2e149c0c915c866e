/* Counts numbers into cells, the leading bits of their float64 form, and texts into lengths, classes
   of characters and hashed cells. Reads Arrow's buffers as they lie.

   A block of counters for each sign and exponent that occurs: memory grows with the cells that are
   used, never with the rows, and one counter costs a nanosecond where a hash table costs five.
   `kernels/count.py` has the same in numpy. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { BLOCKS = 4096, ROWS = 512, EXPONENT = 0x7FF };

typedef struct {
    int64_t *blocks[BLOCKS]; /* by sign and exponent */
    int shift, failed;
    int64_t over[2]; /* finite numbers that became infinite when the offset was taken off, by sign */
} table_t;

/* How the values of an array lie; times become seconds. */
enum {
    F64, F32, I8, I16, I32, I64, U8, U16, U32, U64, DAYS, MILLISECONDS, MICROSECONDS, NANOSECONDS
};

/* The bits of a float64 that say its cell; -0 is 0, and a NaN is a quiet one. */
static inline uint64_t bits_of(double x, double offset) {
    uint64_t bits;
    x = x - offset + 0.0;
    memcpy(&bits, &x, 8);
    return bits;
}

static inline int64_t *block_of(table_t *t, uint64_t bits) {
    int64_t *block = t->blocks[bits >> 52];
    if (__builtin_expect(!block, 0)) {
        block = calloc((size_t)1 << (52 - t->shift), sizeof *block);
        if (!block) { t->failed = 1; return NULL; }
        t->blocks[bits >> 52] = block;
    }
    return block;
}

static inline void count(table_t *t, uint64_t bits, int64_t by) {
    int64_t *block = block_of(t, bits);
    if (block) block[(bits & 0xFFFFFFFFFFFFFull) >> t->shift] += by;
}

EXPORT table_t *loopline_cells_new(int shift) {
    table_t *t = calloc(1, sizeof *t);
    if (t) t->shift = shift;
    return t;
}

EXPORT void loopline_cells_free(table_t *t) {
    if (!t) return;
    for (int i = 0; i < BLOCKS; i++) free(t->blocks[i]);
    free(t);
}

/* `n` bits, at most 64, of a bitmap from bit `at` on; nothing beyond them is read. */
static inline uint64_t bits_at(const uint8_t *map, int64_t at, int n) {
    const uint8_t *from = map + (at >> 3);
    int skip = at & 7, bytes = (skip + n + 7) >> 3;
    uint64_t word = 0;
    memcpy(&word, from, bytes < 8 ? bytes : 8);
    word >>= skip;
    if (bytes > 8) word |= (uint64_t)from[8] << (64 - skip);
    return n < 64 ? word & (((uint64_t)1 << n) - 1) : word;
}

#define AS(FORM, TYPE, VALUE)                                                                      \
    case FORM: {                                                                                   \
        const TYPE *from = (const TYPE *)x + at;                                                   \
        for (int k = 0; k < n; k++) { TYPE v = from[k]; to[k] = VALUE; }                           \
        break;                                                                                     \
    }

static void as_doubles(double *to, const void *x, int form, int64_t at, int n) {
    switch (form) {
        AS(F64, double, v)
        AS(F32, float, (double)v)
        AS(I8, int8_t, (double)v)
        AS(I16, int16_t, (double)v)
        AS(I32, int32_t, (double)v)
        AS(I64, int64_t, (double)v)
        AS(U8, uint8_t, (double)v)
        AS(U16, uint16_t, (double)v)
        AS(U32, uint32_t, (double)v)
        AS(U64, uint64_t, (double)v)
        AS(DAYS, int32_t, (double)v * 86400.0)
        AS(MILLISECONDS, int64_t, (double)v / 1e3)
        AS(MICROSECONDS, int64_t, (double)v / 1e6)
        /* Whole microseconds, rounded down: as times are kept everywhere else. */
        AS(NANOSECONDS, int64_t, (double)(v / 1000 - (v % 1000 < 0)) / 1e6)
    }
}

/* Adds `rows` values less `offset`. `valid` is an Arrow validity bitmap that begins `start` bits
   in, or NULL. Returns how many rows are null. */
EXPORT int64_t loopline_cells_add(table_t *t, const void *x, int form, int64_t rows,
                                  const uint8_t *valid, int64_t start, double offset) {
    /* So far from zero that a finite number less the offset may be infinite. */
    int far = fabs(offset) >= 0x1p969;
    int64_t nulls = 0;
    double values[ROWS];
    uint64_t bits[ROWS];
    for (int64_t at = 0; at < rows && !t->failed; at += ROWS) {
        int n = rows - at < ROWS ? (int)(rows - at) : ROWS;
        as_doubles(values, x, form, at, n);
        for (int k = 0; k < n; k++) bits[k] = bits_of(values[k], offset);
        for (int from = 0; from < n; from += 64) {
            int m = n - from < 64 ? n - from : 64;
            uint64_t all = m < 64 ? ((uint64_t)1 << m) - 1 : ~(uint64_t)0;
            uint64_t there = valid ? bits_at(valid, start + at + from, m) : all;
            int absent = __builtin_popcountll(all & ~there);
            nulls += absent;
            if (far) {
                for (int k = from; k < from + m; k++) {
                    if (!(there >> (k - from) & 1)) continue;
                    if (isfinite(values[k]) && (bits[k] >> 52 & EXPONENT) == EXPONENT)
                        t->over[bits[k] >> 63]++;
                    else
                        count(t, bits[k], 1);
                }
            } else if (absent * 2 <= m) { /* all, and then the few nulls back: no branch a row */
                for (int k = from; k < from + m; k++) count(t, bits[k], 1);
                for (uint64_t left = all & ~there; left; left &= left - 1)
                    count(t, bits[from + __builtin_ctzll(left)], -1);
            } else {
                for (uint64_t left = there; left; left &= left - 1)
                    count(t, bits[from + __builtin_ctzll(left)], 1);
            }
        }
    }
    return nulls;
}

/* Adds counts of cells, as `loopline_cells_read` gives them. Neighbours in order mostly share a
   block, so that it is looked up once for many of them. */
#define SUM(CELL, NUMBER)                                                                          \
    int64_t *block = NULL;                                                                         \
    uint64_t last = BLOCKS;                                                                        \
    for (int64_t i = 0; i < n && !t->failed; i++) {                                                \
        CELL at;                                                                                   \
        NUMBER number;                                                                             \
        memcpy(&at, (const char *)cells + i * (int64_t)sizeof at, sizeof at);                      \
        memcpy(&number, (const char *)counts + i * (int64_t)sizeof number, sizeof number);         \
        uint64_t negative = at < 0;                                                                \
        uint64_t size = negative ? (uint64_t)(-(int64_t)at - 1) : (uint64_t)at;                    \
        uint64_t exponent = size >> (52 - t->shift);                                               \
        if (exponent >= EXPONENT) {                                                                \
            t->over[negative] += (int64_t)number;                                                  \
            continue;                                                                              \
        }                                                                                          \
        uint64_t top = negative << 11 | exponent;                                                  \
        if (top != last) {                                                                         \
            block = block_of(t, top << 52);                                                        \
            if (!block) return;                                                                    \
            last = top;                                                                            \
        }                                                                                          \
        block[size & (((uint64_t)1 << (52 - t->shift)) - 1)] += (int64_t)number;                   \
    }

EXPORT void loopline_cells_sum(table_t *t, const int64_t *cells, const int64_t *counts, int64_t n) {
    SUM(int64_t, int64_t)
}

/* The same of counts as they are stored: cells of 32 bits, counts of `width` bytes. */
EXPORT void loopline_cells_sum_stored(table_t *t, const void *cells, const void *counts, int width,
                                      int64_t n) {
    switch (width) {
        case 1: { SUM(int32_t, uint8_t) break; }
        case 2: { SUM(int32_t, uint16_t) break; }
        case 4: { SUM(int32_t, uint32_t) break; }
        case 8: { SUM(int32_t, uint64_t) break; }
    }
}

/* Walks the cells that occur, rising; writes them where there is somewhere to write. */
static int64_t walk(const table_t *t, int64_t *cells, int64_t *counts) {
    int64_t used = 0, width = (int64_t)1 << (52 - t->shift);
    int64_t beyond = (int64_t)EXPONENT * width;
    if (t->over[1]) { if (cells) { cells[used] = -beyond - 1; counts[used] = t->over[1]; } used++; }
    for (int negative = 1; negative >= 0; negative--)
        for (int e = 0; e < EXPONENT; e++) {
            int exponent = negative ? EXPONENT - 1 - e : e;
            const int64_t *block = t->blocks[negative << 11 | exponent];
            if (!block) continue;
            for (int64_t i = 0; i < width; i++) {
                int64_t place = negative ? width - 1 - i : i;
                if (!block[place]) continue;
                if (cells) {
                    int64_t size = exponent * width + place;
                    cells[used] = negative ? -size - 1 : size;
                    counts[used] = block[place];
                }
                used++;
            }
        }
    if (t->over[0]) { if (cells) { cells[used] = beyond; counts[used] = t->over[0]; } used++; }
    return used;
}

/* How many cells there are, or -1 when memory ran out. `special` gets how many NaN, minus and plus
   infinities were added. */
EXPORT int64_t loopline_cells_used(const table_t *t, int64_t *special) {
    int64_t width = (int64_t)1 << (52 - t->shift);
    special[0] = special[1] = special[2] = 0;
    for (int negative = 0; negative < 2; negative++) {
        const int64_t *block = t->blocks[negative << 11 | EXPONENT];
        if (!block) continue;
        special[2 - negative] += block[0];
        for (int64_t i = 1; i < width; i++) special[0] += block[i];
    }
    return t->failed ? -1 : walk(t, NULL, NULL);
}

EXPORT void loopline_cells_read(const table_t *t, int64_t *cells, int64_t *counts) {
    walk(t, cells, counts);
}

/* Adds how often each of a dictionary's values occurs. `width` is that of an index in bytes.
   Returns how many rows are null. */
#define TALLY(WIDTH, TYPE)                                                                         \
    case WIDTH: {                                                                                  \
        const TYPE *from = (const TYPE *)indices + at;                                             \
        if (there == all)                                                                          \
            for (int k = 0; k < m; k++) counts[from[k]]++;                                         \
        else                                                                                       \
            for (uint64_t left = there; left; left &= left - 1)                                    \
                counts[from[__builtin_ctzll(left)]]++;                                             \
        break;                                                                                     \
    }

EXPORT int64_t loopline_tally(const void *indices, int width, int64_t rows, const uint8_t *valid,
                              int64_t start, int64_t *counts) {
    int64_t nulls = 0;
    for (int64_t at = 0; at < rows; at += 64) {
        int m = rows - at < 64 ? (int)(rows - at) : 64;
        uint64_t all = m < 64 ? ((uint64_t)1 << m) - 1 : ~(uint64_t)0;
        uint64_t there = valid ? bits_at(valid, start + at, m) : all;
        nulls += __builtin_popcountll(all & ~there);
        switch (width) {
            TALLY(1, uint8_t)
            TALLY(2, uint16_t)
            TALLY(4, uint32_t)
            TALLY(8, uint64_t)
        }
    }
    return nulls;
}

static uint32_t remainders[256];

/* CRC-32 as in zlib. The table is made once, when the library is loaded. */
__attribute__((constructor)) static void make_remainders(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;
        for (int k = 0; k < 8; k++) r = r & 1 ? r >> 1 ^ 0xEDB88320u : r >> 1;
        remainders[i] = r;
    }
}

static inline int64_t bound(const void *offsets, int wide, int64_t at) {
    return wide ? ((const int64_t *)offsets)[at] : ((const int32_t *)offsets)[at];
}

/* Adds `weights` of texts to hashed cells, `cells` of them; a text of weight 0 is none. */
EXPORT void loopline_tail(const void *offsets, int wide, const uint8_t *text, int64_t rows,
                          const int64_t *weights, int64_t *counts, int64_t cells) {
    for (int64_t i = 0; i < rows; i++) {
        if (!weights[i]) continue;
        uint32_t crc = ~0u;
        for (int64_t at = bound(offsets, wide, i), end = bound(offsets, wide, i + 1); at < end; at++)
            crc = crc >> 8 ^ remainders[(crc ^ text[at]) & 0xFF];
        counts[~crc % (uint64_t)cells] += weights[i];
    }
}

/* Gives each text's length in characters, and adds `weights` of them to the classes of their
   characters. `classes` says the class of each code point below `known`; beyond it is class 0. */
EXPORT void loopline_text(const void *offsets, int wide, const uint8_t *text, int64_t rows,
                          const int64_t *weights, const uint8_t *classes, int64_t known,
                          int64_t *lengths, int64_t *totals) {
    for (int64_t i = 0; i < rows; i++) {
        int64_t length = 0, weight = weights[i];
        int64_t at = bound(offsets, wide, i), end = weight ? bound(offsets, wide, i + 1) : at;
        while (at < end) {
            uint32_t sign = text[at++];
            if (sign >= 0x80) {
                int more = sign >= 0xF0 ? 3 : sign >= 0xE0 ? 2 : 1;
                sign &= 0x3F >> more;
                while (more-- && at < end) sign = sign << 6 | (text[at++] & 0x3F);
            }
            totals[sign < known ? classes[sign] : 0] += weight;
            length++;
        }
        lengths[i] = length;
    }
}

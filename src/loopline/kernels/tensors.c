/* Reads the usual request of the Open Inference Protocol straight into columns: named tensors of
   shape [n] or [n, 1], plain values.

   What it reads it reads exactly as `serving/dialects/inference_protocol.py` and `serving/rows.py`
   do. Whatever it does not expect makes it return 0, and they read the body: so it never has to say
   what is wrong with one, and it may be strict where that is simpler. A body ends with a zero byte,
   as Python's `bytes` do, which stops every walk here. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

enum { NUMBER, INTEGER, BOOLEAN, CATEGORY, TEXT, TIME };
enum { NAMES = -1, MISSING_TEXTS = -2 };
enum { WHOLE, EPOCH, HOUR, MINUTE, SECOND, DOW, ISODOW, WEEK, DAY, DOY, MONTH, QUARTER, YEAR };

typedef struct { double value; int32_t owner, start, length, unused; } entry_t;
typedef struct { int32_t type, required, logged, unused; } column_t;
typedef struct { int32_t input, part; } feature_t; /* input -1 is row SQL of another kind */
/* `start` is a place in the body; or, less than 0, one in `spare`, from -1 on. */
typedef struct { double number; int32_t start, length; } value_t;

typedef struct {
    /* What is known of the signature. `slots` is a hash table of places among `entries` plus one:
       names of columns, categories with their codes, and texts that mean missing. */
    const char *texts;
    const entry_t *entries;
    int32_t *slots;
    const column_t *columns;
    const feature_t *features;
    const double *unheard;
    int64_t entry_count, slot_count, inputs, feature_count, unheard_count;
    /* What is made of a body: values column by column, the features row by row, and what the log
       keeps, as msgpack. */
    value_t *values;
    double *matrix;
    uint8_t *logged;
    char *spare; /* texts without their escapes */
    int64_t most_values, most_logged, most_spare;
    int64_t logged_size, spare_size, id_start, id_length;
} tensors_t;

static uint32_t hash(const char *text, int64_t length, int32_t owner) {
    uint64_t h = 0x9E3779B97F4A7C15ull * (uint64_t)(owner + 3) + (uint64_t)length, part;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&part, text, 8);
        h = (h ^ part) * 0xD6E8FEB86659FD93ull;
        h ^= h >> 32;
    }
    part = 0;
    memcpy(&part, text, (size_t)length);
    h = (h ^ part) * 0xD6E8FEB86659FD93ull;
    return (uint32_t)(h ^ (h >> 32));
}

static const entry_t *find(const tensors_t *t, const char *text, int64_t length, int32_t owner) {
    uint32_t mask = (uint32_t)t->slot_count - 1, at = hash(text, length, owner) & mask;
    for (; t->slots[at]; at = (at + 1) & mask) {
        const entry_t *entry = t->entries + t->slots[at] - 1;
        if (entry->owner == owner && entry->length == length
            && memcmp(t->texts + entry->start, text, (size_t)length) == 0)
            return entry;
    }
    return 0;
}

/* Fills the hash table, which has more slots than there are entries, a power of two. */
EXPORT void loopline_tensors_index(tensors_t *t) {
    uint32_t mask = (uint32_t)t->slot_count - 1;
    for (int64_t i = 0; i < t->entry_count; i++) {
        const entry_t *entry = t->entries + i;
        uint32_t at = hash(t->texts + entry->start, entry->length, entry->owner) & mask;
        while (t->slots[at]) at = (at + 1) & mask;
        t->slots[at] = (int32_t)i + 1;
    }
}

static inline const char *space(const char *p) {
    while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') p++;
    return p;
}

static inline int is_digit(char c) { return c >= '0' && c <= '9'; }

/* Whether bytes are UTF-8 as Unicode defines it: shortest forms, no surrogates. */
static int is_utf8(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        uint8_t c = *p++, low = 0x80, high = 0xBF;
        if (c < 0x80) continue;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || end - p < more) return 0;
        if (c == 0xE0) low = 0xA0;
        if (c == 0xED) high = 0x9F;
        if (c == 0xF0) low = 0x90;
        if (c == 0xF4) high = 0x8F;
        if (*p < low || *p > high) return 0;
        for (p++, more--; more; p++, more--)
            if (*p < 0x80 || *p > 0xBF) return 0;
    }
    return 1;
}

/* The end of a text that begins after its quote, at its other quote; 0 where it has escapes. */
static inline const char *text_end(const char *p) {
    const char *start = p;
    uint8_t any = 0;
    for (; *p != '"'; p++) {
        if ((uint8_t)*p < 0x20 || *p == '\\') return 0;
        any |= (uint8_t)*p;
    }
    if (any & 0x80 && !is_utf8((const uint8_t *)start, (const uint8_t *)p)) return 0;
    return p;
}

/* The four hexadecimal digits at p, or -1. */
static int32_t read_hex(const char *p) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Writes the sign that is escaped at *p, which moves on; returns the end of what it wrote, or 0. */
static char *unescape(const char **p, char *to) {
    static const char known[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char c = *(*p)++;
    if (c != 'u') {
        for (const char *k = known; *k; k += 2)
            if (*k == c) { *to++ = k[1]; return to; }
        return 0;
    }
    int32_t code = read_hex(*p);
    if (code < 0) return 0;
    *p += 4;
    if (code >= 0xD800 && code < 0xE000) { /* half of a sign: the other one follows */
        if (code >= 0xDC00 || (*p)[0] != '\\' || (*p)[1] != 'u') return 0;
        int32_t low = read_hex(*p + 2);
        if (low < 0xDC00 || low > 0xDFFF) return 0;
        *p += 6;
        code = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00;
    }
    if (code < 0x80) *to++ = (char)code;
    else if (code < 0x800) *to++ = (char)(0xC0 | code >> 6);
    else if (code < 0x10000) *to++ = (char)(0xE0 | code >> 12);
    else *to++ = (char)(0xF0 | code >> 18);
    for (int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3; more; more--)
        *to++ = (char)(0x80 | (code >> (6 * more - 6) & 0x3F));
    return to;
}

/* Reads a text after its quote; returns what follows its other one, or 0. */
static const char *read_text(tensors_t *t, const char *p, const char **start, const char **end) {
    *start = p;
    *end = text_end(p);
    if (*end) return *end + 1;
    char *to = t->spare + t->spare_size;
    *start = to;
    while (*p != '"') {
        if ((uint8_t)*p < 0x20 || to - t->spare + 4 > t->most_spare) return 0;
        if (*p != '\\') *to++ = *p++;
        else if (p++, !(to = unescape(&p, to))) return 0;
    }
    *end = to;
    t->spare_size = to - t->spare;
    return is_utf8((const uint8_t *)*start, (const uint8_t *)to) ? p + 1 : 0;
}

static inline int32_t place_of(const tensors_t *t, const char *body, const char *text) {
    int is_spare = text >= t->spare && text < t->spare + t->most_spare;
    return (int32_t)(is_spare ? t->spare - text - 1 : text - body);
}

static inline const char *text_at(const tensors_t *t, const char *body, int32_t place) {
    return place < 0 ? t->spare - place - 1 : body + place;
}

/* Whether the sign at p may be white space: of ASCII any that is not shown, else `SPACE` of
   `data/columns.py`. */
static inline int may_be_space(const uint8_t *p) {
    switch (p[0]) {
    case 0xC2: return p[1] == 0x85 || p[1] == 0xA0;
    case 0xE1: return p[1] == 0x9A && p[2] == 0x80;
    case 0xE2:
        if (p[1] == 0x81) return p[2] == 0x9F;
        return p[1] == 0x80 && (p[2] <= 0x8A || p[2] == 0xA8 || p[2] == 0xA9 || p[2] == 0xAF);
    case 0xE3: return p[1] == 0x80 && p[2] == 0x80;
    }
    return p[0] <= 0x20 || p[0] == 0x7F;
}

/* Whether nothing is stripped from a text that is not empty. */
static int is_stripped(const char *start, const char *end) {
    const char *last = end - 1;
    while (((uint8_t)*last & 0xC0) == 0x80 && last > start) last--;
    return !may_be_space((const uint8_t *)start) && !may_be_space((const uint8_t *)last);
}

static int two(const char *p, int most) {
    if (!is_digit(p[0]) || !is_digit(p[1])) return -1;
    int value = (p[0] - '0') * 10 + p[1] - '0';
    return value <= most ? value : -1;
}

static inline int64_t floored(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Days since 1970 of a day, and back. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    int64_t y = year - (month <= 2), era = floored(y, 400), of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void day_of(int64_t days, int64_t *year, int64_t *month, int64_t *day) {
    int64_t z = days + 719468, era = floored(z, 146097), of_era = z - era * 146097;
    int64_t of_400 = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * of_400 + of_400 / 4 - of_400 / 100);
    int64_t from_march = (5 * of_year + 2) / 153;
    *day = of_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march + (from_march < 10 ? 3 : -9);
    *year = of_400 + era * 400 + (*month <= 2);
}

/* A part of a moment, as `data/row_steps.py` has them. */
static double part_of(int64_t moment, int32_t part) {
    int64_t seconds = floored(moment, 1000000), days = floored(seconds, 86400);
    int64_t of_day = seconds - days * 86400, year, month, day;
    int64_t weekday = days + 3 - floored(days + 3, 7) * 7; /* from Monday, which is 0 */
    switch (part) {
    case EPOCH: return (double)moment / 1e6;
    case HOUR: return (double)(of_day / 3600);
    case MINUTE: return (double)(of_day / 60 % 60);
    case SECOND: return (double)(of_day % 60);
    case DOW: return (double)((weekday + 1) % 7);
    case ISODOW: return (double)(weekday + 1);
    }
    day_of(part == WEEK ? days - weekday + 3 : days, &year, &month, &day);
    switch (part) {
    case WEEK: return (double)((days - weekday + 3 - days_of(year, 1, 1)) / 7 + 1);
    case DAY: return (double)day;
    case DOY: return (double)(days - days_of(year, 1, 1) + 1);
    case MONTH: return (double)month;
    case QUARTER: return (double)((month - 1) / 3 + 1);
    }
    return (double)year;
}

/* Microseconds since 1970 of a time as ISO 8601 writes it, in `*to`; returns 0 where it is none. */
static int read_time(const char *p, const char *end, int64_t *to) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (end - p < 10 || p[0] == '0' || p[4] != '-' || p[7] != '-') return 0;
    int century = two(p, 99), of_century = two(p + 2, 99), month = two(p + 5, 12);
    int day = two(p + 8, 31);
    if (century < 0 || of_century < 0 || month < 1 || day < 1) return 0;
    int64_t year = century * 100 + of_century;
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > days[month - 1] + (month == 2 && leap)) return 0;
    int64_t seconds = days_of(year, month, day) * 86400, fraction = 0;
    p += 10;
    if (p < end) {
        if (end - p < 6 || (*p != 'T' && *p != ' ') || p[3] != ':') return 0;
        int hour = two(p + 1, 23), minute = two(p + 4, 59);
        if (hour < 0 || minute < 0) return 0;
        seconds += hour * 3600 + minute * 60;
        p += 6;
        if (p < end && *p == ':') {
            int second = end - p < 3 ? -1 : two(p + 1, 59);
            if (second < 0) return 0;
            seconds += second;
            p += 3;
            if (p < end && *p == '.') {
                int digits = 0;
                for (p++; p < end && is_digit(*p); p++, digits++)
                    if (digits < 6) fraction = fraction * 10 + *p - '0';
                if (!digits) return 0;
                for (; digits < 6; digits++) fraction *= 10;
            }
        }
        if (end - p == 1 && *p == 'Z') p++;
        else if (end - p == 6 && (*p == '+' || *p == '-') && p[3] == ':') {
            int hours = two(p + 1, 29), minutes = two(p + 4, 59);
            if (hours < 0 || minutes < 0) return 0;
            int64_t offset = hours * 3600 + minutes * 60;
            seconds -= *p == '-' ? -offset : offset;
            p += 6;
        }
    }
    *to = seconds * 1000000 + fraction;
    return p == end;
}

static const double POWERS[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Reads a number as JSON has it; returns its end, or 0. */
static const char *read_number(const char *p, double *to, int *is_whole) {
    const char *start = p, *first;
    uint64_t digits = 0;
    int negative = *p == '-', exponent = 0, dropped = 0;
    p += negative;
    first = p;
    if (!is_digit(*p)) return 0;
    for (; is_digit(*p); p++) digits = digits * 10 + (uint64_t)(*p - '0');
    if (*first == '0' && p - first > 1) return 0;
    int64_t count = p - first;
    *is_whole = 1;
    if (*p == '.') {
        const char *point = p++;
        for (; is_digit(*p); p++) digits = digits * 10 + (uint64_t)(*p - '0');
        dropped = (int)(p - point - 1);
        if (!dropped || dropped > 64) return 0;
        count += dropped;
        *is_whole = 0;
    }
    if (*p == 'e' || *p == 'E') {
        int below = *++p == '-';
        p += *p == '-' || *p == '+';
        const char *power = p;
        for (; is_digit(*p); p++) exponent = exponent < 10000 ? exponent * 10 + *p - '0' : exponent;
        if (p == power) return 0;
        if (below) exponent = -exponent;
        *is_whole = 0;
    }
    exponent -= dropped;
    if (count <= 19 && digits <= 1ull << 53 && exponent >= -22 && exponent <= 22) {
        double value = (double)digits; /* exact, as is the power, so one rounding remains */
        value = exponent < 0 ? value / POWERS[-exponent] : value * POWERS[exponent];
        *to = negative ? -value : value;
    } else {
        char copy[128], *end;
        if (p - start >= (int64_t)sizeof copy) return 0;
        memcpy(copy, start, (size_t)(p - start));
        copy[p - start] = 0;
        *to = strtod(copy, &end);
        if (end != copy + (p - start)) return 0;
    }
    /* What integers do not hold is looked at with care, and so is a zero with a sign. */
    return fabs(*to) < 9007199254740992.0 && !(negative && *to == 0.0) ? p : 0;
}

static int is_unheard(const tensors_t *t, double number) {
    for (int64_t i = 0; i < t->unheard_count; i++)
        if (t->unheard[i] == number) return 1;
    return 0;
}

/* Where the point is in a whole number with zeros after it: 5.0 is the category 5. Or 0. */
static const char *whole_until(const char *start, const char *end) {
    const char *p = end;
    while (p > start && p[-1] == '0') p--;
    if (p == end || p == start || *--p != '.') return 0;
    const char *point = p;
    start += start < point && (*start == '+' || *start == '-');
    if (start == point) return 0;
    while (start < point && is_digit(*start)) start++;
    return start == point ? point : 0;
}

/* Takes a text, or what stands for one, as a column's value. */
static int take_text(const tensors_t *t, const char *body, int32_t column, const char *start,
                     const char *end, value_t *to) {
    int32_t type = t->columns[column].type;
    int64_t length = end - start;
    if (length && !is_stripped(start, end)) return 0;
    to->number = 0.0;
    to->start = place_of(t, body, start);
    to->length = (int32_t)length;
    if (type == CATEGORY) {
        const entry_t *known = find(t, start, length, column);
        if (known) { to->number = known->value; return 1; }
    }
    if (find(t, start, length, MISSING_TEXTS)) {
        to->number = NAN;
        to->length = -1;
        return 1;
    }
    if (type == TEXT) return 1;
    if (type == CATEGORY) {
        const char *point = whole_until(start, end);
        if (point) {
            to->length = (int32_t)(point - start);
            const entry_t *known = find(t, start, to->length, column);
            if (known) to->number = known->value;
        }
        return 1;
    }
    if (type == TIME) {
        int64_t moment;
        if (!read_time(start, end, &moment)) return 0;
        memcpy(&to->number, &moment, sizeof moment);
        return 1;
    }
    return 0;
}

/* Reads one value of a column; returns its end, or 0. */
static const char *read_value(tensors_t *t, const char *body, const char *p, int32_t column,
                              value_t *to) {
    int32_t type = t->columns[column].type;
    if (*p == '"') {
        const char *start, *end;
        p = read_text(t, p + 1, &start, &end);
        return p && take_text(t, body, column, start, end, to) ? p : 0;
    }
    if (*p == 'n') {
        to->number = NAN;
        to->length = -1;
        return strncmp(p, "null", 4) == 0 ? p + 4 : 0;
    }
    const char *end;
    to->length = 0;
    if (*p == 't' || *p == 'f') {
        end = p + (*p == 't' ? 4 : 5);
        if (strncmp(p, *p == 't' ? "true" : "false", (size_t)(end - p)) != 0) return 0;
        to->number = *p == 't';
        if (type == BOOLEAN) return end;
    } else {
        int is_whole;
        end = read_number(p, &to->number, &is_whole);
        if (!end || is_unheard(t, to->number)) return 0;
        if (type == NUMBER || (type == INTEGER && to->number == floor(to->number))) return end;
        if (!is_whole) return 0;
    }
    if (type != CATEGORY && type != TEXT) return 0;
    /* The text of such a category is as JSON writes it. */
    const entry_t *known = type == CATEGORY ? find(t, p, end - p, column) : 0;
    to->number = known ? known->value : 0.0;
    to->start = (int32_t)(p - body);
    to->length = (int32_t)(end - p);
    return end;
}

static int is_datatype(const char *p, int64_t length) {
    static const char *const known[] = {"BYTES", "FP64", "INT64", "BOOL", "FP32", "INT32", "UINT8",
                                        "UINT16", "UINT32", "UINT64", "INT8", "INT16", "FP16"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((int64_t)strlen(known[i]) == length && memcmp(known[i], p, (size_t)length) == 0)
            return 1;
    return 0;
}

/* Reads [n] or [n, 1] to n, at most a million; returns its end, or 0. */
static const char *read_shape(const char *p, int64_t *rows) {
    if (*p != '[') return 0;
    p = space(p + 1);
    int64_t n = 0;
    const char *first = p;
    for (; is_digit(*p) && p - first < 7; p++) n = n * 10 + *p - '0';
    if (p == first || *first == '0') return 0;
    p = space(p);
    if (*p == ',') {
        p = space(p + 1);
        if (*p != '1') return 0;
        p = space(p + 1);
    }
    *rows = n;
    return *p == ']' ? p + 1 : 0;
}

static const char *read_data(tensors_t *t, const char *body, const char *p, int32_t column,
                             int64_t rows) {
    value_t *to = t->values + column * rows;
    if (*p != '[') return 0;
    for (int64_t row = 0; row < rows; row++) {
        p = read_value(t, body, space(p + 1), column, to + row);
        if (!p) return 0;
        p = space(p);
        if (*p != (row == rows - 1 ? ']' : ',')) return 0;
    }
    return p + 1;
}

/* Reads one tensor after its brace: name, then data, with shape before it. The column before it is
   `*column`, and probably the next one is the next. `*rows` is 0 before the first. */
static const char *read_tensor(tensors_t *t, const char *body, const char *p, int32_t *column,
                               int64_t *rows) {
    int has_name = 0, has_shape = 0, has_type = 0, has_data = 0;
    for (;; p++) {
        p = space(p);
        if (*p != '"') return 0;
        const char *key = p + 1, *end = text_end(key);
        if (!end) return 0;
        p = space(end + 1);
        if (*p != ':') return 0;
        p = space(p + 1);
        int64_t length = end - key;
        if (length == 4 && memcmp(key, "name", 4) == 0 && !has_name++) {
            const char *name;
            if (*p != '"' || !(p = read_text(t, p + 1, &name, &end))) return 0;
            const entry_t *entry = t->entries + *column + 1; /* names come first among them */
            length = end - name;
            if (*column + 1 >= t->inputs || entry->length != length
                || memcmp(t->texts + entry->start, name, (size_t)length) != 0)
                entry = find(t, name, length, NAMES);
            if (!entry) return 0;
            *column = (int32_t)(entry - t->entries);
        } else if (length == 5 && memcmp(key, "shape", 5) == 0 && !has_shape++) {
            int64_t n;
            if (!(p = read_shape(p, &n)) || (*rows && n != *rows)) return 0;
            if (!*rows && n * t->inputs > t->most_values) return 0;
            *rows = n;
        } else if (length == 8 && memcmp(key, "datatype", 8) == 0 && !has_type++) {
            if (*p != '"' || !(end = text_end(p + 1)) || !is_datatype(p + 1, end - p - 1)) return 0;
            p = end + 1;
        } else if (length == 4 && memcmp(key, "data", 4) == 0 && !has_data++) {
            if (!has_name || !has_shape || !(p = read_data(t, body, p, *column, *rows))) return 0;
        } else return 0;
        p = space(p);
        if (*p == '}') return has_name && has_shape && has_type && has_data ? p + 1 : 0;
        if (*p != ',') return 0;
    }
}

static const char *read_inputs(tensors_t *t, const char *body, const char *p, int64_t *rows) {
    uint8_t seen[4096] = {0};
    int32_t column = -1;
    if (*p != '[' || t->inputs > (int64_t)sizeof seen) return 0;
    for (p = space(p + 1);; p = space(p + 1)) {
        if (*p != '{' || !(p = read_tensor(t, body, p + 1, &column, rows))) return 0;
        if (seen[column]++) return 0;
        p = space(p);
        if (*p == ']') break;
        if (*p != ',') return 0;
    }
    for (int32_t j = 0; j < t->inputs; j++) {
        if (seen[j]) continue;
        if (t->columns[j].required) return 0;
        for (int64_t r = 0; r < *rows; r++)
            t->values[j * *rows + r] = (value_t){NAN, 0, -1};
    }
    return p + 1;
}

static uint8_t *put(uint8_t *to, uint64_t number, int bytes) {
    for (int shift = bytes * 8 - 8; shift >= 0; shift -= 8) *to++ = (uint8_t)(number >> shift);
    return to;
}

static uint8_t *put_array(uint8_t *to, int64_t count) {
    if (count < 16) { *to++ = (uint8_t)(0x90 | count); return to; }
    if (count < 1 << 16) { *to++ = 0xDC; return put(to, (uint64_t)count, 2); }
    *to++ = 0xDD;
    return put(to, (uint64_t)count, 4);
}

static uint8_t *put_text(uint8_t *to, const char *text, int32_t length) {
    if (length < 32) *to++ = (uint8_t)(0xA0 | length);
    else if (length < 1 << 8) { *to++ = 0xD9; to = put(to, (uint64_t)length, 1); }
    else if (length < 1 << 16) { *to++ = 0xDA; to = put(to, (uint64_t)length, 2); }
    else { *to++ = 0xDB; to = put(to, (uint64_t)length, 4); }
    memcpy(to, text, (size_t)length);
    return to + length;
}

static uint8_t *put_value(uint8_t *to, const tensors_t *t, const char *body, int32_t type,
                          const value_t *value) {
    if (value->length < 0) { *to++ = 0xC0; return to; }
    if (type == CATEGORY || type == TEXT)
        return put_text(to, text_at(t, body, value->start), value->length);
    uint64_t bits;
    memcpy(&bits, &value->number, sizeof bits);
    *to++ = type == TIME ? 0xD3 : 0xCB;
    return put(to, bits, 8);
}

/* Writes the columns that the log keeps, and the matrix. */
static void give(tensors_t *t, const char *body, int64_t rows) {
    int64_t kept = 0;
    for (int32_t j = 0; j < t->inputs; j++) kept += t->columns[j].logged != 0;
    uint8_t *to = put_array(t->logged, kept);
    for (int32_t j = 0; j < t->inputs; j++) {
        if (!t->columns[j].logged) continue;
        to = put_array(to, rows);
        for (int64_t r = 0; r < rows; r++)
            to = put_value(to, t, body, t->columns[j].type, t->values + j * rows + r);
    }
    t->logged_size = to - t->logged;
    for (int64_t f = 0; f < t->feature_count; f++) {
        feature_t feature = t->features[f];
        if (feature.input < 0) continue;
        const value_t *from = t->values + feature.input * rows;
        double *made = t->matrix + f;
        for (int64_t r = 0; r < rows; r++, made += t->feature_count) {
            int64_t moment;
            memcpy(&moment, &from[r].number, sizeof moment);
            if (feature.part == WHOLE) *made = from[r].number;
            else *made = from[r].length < 0 ? NAN : part_of(moment, feature.part);
        }
    }
}

/* Reads `body`; returns how many rows it has, or 0 where it is not read here. */
EXPORT int64_t loopline_tensors(tensors_t *t, const char *body, int64_t size) {
    int64_t rows = 0;
    int has_id = 0, has_inputs = 0;
    const char *p = space(body), *end;
    t->id_length = -1;
    t->spare_size = 0;
    if (size >= INT32_MAX || *p != '{') return 0;
    for (p++;; p++) {
        p = space(p);
        if (*p != '"') return 0;
        const char *key = p + 1;
        if (!(end = text_end(key))) return 0;
        p = space(end + 1);
        if (*p != ':') return 0;
        p = space(p + 1);
        if (end - key == 6 && memcmp(key, "inputs", 6) == 0 && !has_inputs++) {
            if (!(p = read_inputs(t, body, p, &rows))) return 0;
        } else if (end - key == 2 && memcmp(key, "id", 2) == 0 && !has_id++) {
            if (*p != '"' || !(p = read_text(t, p + 1, &key, &end))) return 0;
            t->id_start = place_of(t, body, key);
            t->id_length = end - key;
        } else return 0;
        p = space(p);
        if (*p == '}') break;
        if (*p != ',') return 0;
    }
    p = space(p + 1);
    /* What the log keeps of a value takes nine bytes, or five more than its text. */
    int64_t most = size + 9 * rows * t->inputs + 5 * (t->inputs + 1);
    if (p != body + size || !rows || most > t->most_logged) return 0;
    give(t, body, rows);
    return rows;
}

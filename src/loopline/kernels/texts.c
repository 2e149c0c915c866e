/* Looks at how texts begin and end, as polars and Arrow keep them: sixteen bytes a text, with the
   text itself in them where it is short. `kernels/texts.py` says what for. */

#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { SPACED = 1, POINTED = 2, SHORT = 12 };

EXPORT int loopline_texts_marks(const uint8_t *views, const uint8_t *valid, int64_t start,
                                int64_t rows, const uint8_t *const *buffers) {
    int found = 0;
    for (int64_t i = start; i < start + rows && found != (SPACED | POINTED); i++) {
        if (valid && !(valid[i >> 3] >> (i & 7) & 1)) continue;
        const uint8_t *view = views + 16 * i, *text = view + 4;
        int32_t parts[4]; /* length; of a long text its beginning, buffer and place in there */
        memcpy(parts, view, 16);
        if (parts[0] <= 0) continue;
        if (parts[0] > SHORT) text = buffers[parts[2]] + parts[3];
        int32_t end = parts[0] - 1;
        uint8_t first = text[0], last = text[end];
        if (first <= ' ' || last <= ' ' || first >= 0x80 || last >= 0x80) found |= SPACED;
        if (last == '0') {
            while (end > 0 && text[end] == '0') end--;
            if (text[end] == '.') found |= POINTED;
        }
    }
    return found;
}

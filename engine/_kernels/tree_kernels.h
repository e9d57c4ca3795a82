/* The two loops in which training spends its time, written in C for constant widths and prefetching. */
#ifndef SAMESUM_TREE_KERNELS_H
#define SAMESUM_TREE_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "elementary.h"

#define SAMESUM_CODES 256     /* codes of a narrow column, and the stride of its local histogram */
#define SAMESUM_MAX_GROUP 14  /* columns of a group; their packed local histograms fill 28 KiB */
#define SAMESUM_AHEAD 16      /* rows between a prefetch and its use, where a row is some 14 additions */
#define SAMESUM_FAR_AHEAD 48  /* the same for loops of a few additions a row */

#ifdef __GNUC__
#define SAMESUM_INLINE static inline __attribute__((always_inline))
#define SAMESUM_PREFETCH(p) __builtin_prefetch(p)
#else
#define SAMESUM_INLINE static inline
#define SAMESUM_PREFETCH(p) ((void)0)
#endif

/* hist[j][codes[row][j]] += packed[i] for the n rows of a node; rows == NULL stands for rows 0 to n - 1 of `codes`. */
SAMESUM_INLINE void samesum_add_packed_width(const uint8_t *codes, const uint32_t *rows, int64_t n, const int64_t *packed, int64_t *hist,
                                             const int width) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *c = codes + (rows ? (int64_t)rows[i] : i) * width;
        if (rows) SAMESUM_PREFETCH(codes + (int64_t)rows[i + SAMESUM_AHEAD < n ? i + SAMESUM_AHEAD : n - 1] * width);
        const int64_t p = packed[i];
        for (int j = 0; j < width; j++) hist[j * SAMESUM_CODES + c[j]] += p;
    }
}

/* The same with a full gradient and hessian per row and two counters per code. */
SAMESUM_INLINE void samesum_add_pairs_width(const uint8_t *codes, const uint32_t *rows, int64_t n, const int64_t *pairs, int64_t *hist,
                                            const int width) {
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *c = codes + (rows ? (int64_t)rows[i] : i) * width;
        if (rows) SAMESUM_PREFETCH(codes + (int64_t)rows[i + SAMESUM_AHEAD < n ? i + SAMESUM_AHEAD : n - 1] * width);
        const int64_t g = pairs[2 * i], h = pairs[2 * i + 1];
        for (int j = 0; j < width; j++) {
            int64_t *slot = hist + 2 * (j * SAMESUM_CODES + c[j]);
            slot[0] += g;
            slot[1] += h;
        }
    }
}

#define SAMESUM_WIDTHS(F) \
    F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)

static inline void samesum_add_packed(const uint8_t *codes, const uint32_t *rows, int64_t n, const int64_t *packed, int64_t *hist, int width) {
    switch (width) {
#define SAMESUM_CASE(W) \
    case W: \
        if (rows) samesum_add_packed_width(codes, rows, n, packed, hist, W); \
        else samesum_add_packed_width(codes, NULL, n, packed, hist, W); \
        break;
        SAMESUM_WIDTHS(SAMESUM_CASE)
#undef SAMESUM_CASE
    }
}

static inline void samesum_add_pairs(const uint8_t *codes, const uint32_t *rows, int64_t n, const int64_t *pairs, int64_t *hist, int width) {
    switch (width) {
#define SAMESUM_CASE(W) \
    case W: \
        if (rows) samesum_add_pairs_width(codes, rows, n, pairs, hist, W); \
        else samesum_add_pairs_width(codes, NULL, n, pairs, hist, W); \
        break;
        SAMESUM_WIDTHS(SAMESUM_CASE)
#undef SAMESUM_CASE
    }
}

/* Rows and gradients of a chunk, `far` rows of which are asked for ahead; the last ones are in the cache already. */
#define SAMESUM_EACH_ROW(...) \
    const int64_t far_end = end - SAMESUM_FAR_AHEAD; \
    int64_t i = begin; \
    if (rows) { \
        for (; i < far_end; i++) { \
            const int64_t r = rows[i]; \
            SAMESUM_PREFETCH(gh + width * (int64_t)rows[i + SAMESUM_FAR_AHEAD]); \
            __VA_ARGS__ \
        } \
        for (; i < end; i++) { const int64_t r = rows[i]; __VA_ARGS__ } \
    } else { \
        for (; i < end; i++) { const int64_t r = i; __VA_ARGS__ } \
    }

/* A threshold in [0, 2^shift) that walks evenly over consecutive rows: multiples of an irrational number (Weyl's sequence). */
#define SAMESUM_WALK(row, multiplier, shift) ((int64_t)((first_row + key + (uint64_t)(row)) * (multiplier) >> 1 >> (63 - (shift))))

/* out[i] = gh[rows[i]], one or two words a row. */
static inline void samesum_gather_words(const int64_t *restrict gh, int width, const uint32_t *restrict rows, int64_t begin, int64_t end,
                                        int64_t *restrict out) {
    if (width == 1) {
        SAMESUM_EACH_ROW({ out[i] = gh[r]; })
    } else {
        SAMESUM_EACH_ROW({ out[2 * i] = gh[2 * r]; out[2 * i + 1] = gh[2 * r + 1]; })
    }
}

/* Sums of g and h as limbs in out[0..3]; width 1 stands for hessians that are all 1. */
static inline void samesum_sum_rows(const int64_t *restrict gh, int width, const uint32_t *restrict rows, int64_t begin, int64_t end,
                                    int64_t *restrict out) {
    int64_t g_high = 0, g_low = 0, h_high = 0, h_low = 0;
    if (width == 1) {
        SAMESUM_EACH_ROW({ const int64_t g = gh[r]; g_high += g >> 26; g_low += g & 0x3ffffff; })
        h_high = (end - begin) >> 26;
        h_low = (end - begin) & 0x3ffffff;
    } else {
        SAMESUM_EACH_ROW({
            const int64_t g = gh[2 * r], h = gh[2 * r + 1];
            g_high += g >> 26; g_low += g & 0x3ffffff; h_high += h >> 26; h_low += h & 0x3ffffff;
        })
    }
    out[0] = g_high; out[1] = g_low; out[2] = h_high; out[3] = h_low;
}

/* The same, and packed[i] = (g >> g_shift) << h_bits plus h >> h_shift, both rounded at the walk's threshold; a positive h stays positive. */
static inline void samesum_gather_packed(const int64_t *restrict gh, int width, const uint32_t *restrict rows, int64_t begin, int64_t end,
                                         uint64_t first_row, uint64_t key, int g_shift, int h_shift, int h_bits,
                                         int64_t *restrict packed, int64_t *restrict out) {
    int64_t g_high = 0, g_low = 0, h_high = 0, h_low = 0;
    if (width == 1) {
        SAMESUM_EACH_ROW({
            const int64_t g = gh[r];
            g_high += g >> 26; g_low += g & 0x3ffffff;
            packed[i] = (int64_t)((uint64_t)((g + SAMESUM_WALK(r, 0x9e3779b97f4a7c15ULL, g_shift)) >> g_shift) << h_bits) + 1;
        })
        h_high = (end - begin) >> 26;
        h_low = (end - begin) & 0x3ffffff;
    } else {
        SAMESUM_EACH_ROW({
            const int64_t g = gh[2 * r], h = gh[2 * r + 1];
            g_high += g >> 26; g_low += g & 0x3ffffff; h_high += h >> 26; h_low += h & 0x3ffffff;
            const int64_t rounded = (h + SAMESUM_WALK(r, 0xd1342543de82ef95ULL, h_shift)) >> h_shift;
            packed[i] = (int64_t)((uint64_t)((g + SAMESUM_WALK(r, 0x9e3779b97f4a7c15ULL, g_shift)) >> g_shift) << h_bits)
                        + (rounded + (rounded == 0 && h > 0));
        })
    }
    out[0] = g_high; out[1] = g_low; out[2] = h_high; out[3] = h_low;
}

SAMESUM_INLINE int64_t samesum_shift_rounded(int64_t value, int shift) {
    return shift == 0 ? value : (value + ((int64_t)1 << (shift - 1))) >> shift;
}

/* The same with two words a row, each rounded to nearest. */
static inline void samesum_gather_pairs(const int64_t *restrict gh, int width, const uint32_t *restrict rows, int64_t begin, int64_t end,
                                        int g_shift, int h_shift, int64_t *restrict pairs, int64_t *restrict out) {
    int64_t g_high = 0, g_low = 0, h_high = 0, h_low = 0;
    SAMESUM_EACH_ROW({
        const int64_t g = gh[width * r], h = width == 1 ? 1 : gh[2 * r + 1];
        const int64_t rounded = samesum_shift_rounded(h, h_shift);
        g_high += g >> 26; g_low += g & 0x3ffffff; h_high += h >> 26; h_low += h & 0x3ffffff;
        pairs[2 * i] = samesum_shift_rounded(g, g_shift);
        pairs[2 * i + 1] = rounded + (rounded == 0 && h > 0);
    })
    out[0] = g_high; out[1] = g_low; out[2] = h_high; out[3] = h_low;
}

/* Move a chunk's rows that say yes to its front and the others to `scratch`, both in order and without branches; returns how many say yes.
   A row says yes if answers[code]. Narrow codes only. */
static inline int64_t samesum_split_narrow(const uint8_t *restrict codes, uint32_t *rows, uint32_t *restrict scratch, int64_t begin, int64_t end,
                                           const uint8_t *restrict answers) {
    uint32_t *yes = rows + begin, *no = scratch + begin;
    const int64_t far_end = end - SAMESUM_FAR_AHEAD;
    int64_t i = begin;
    for (; i < far_end; i++) {
        const uint32_t row = rows[i];
        SAMESUM_PREFETCH(codes + rows[i + SAMESUM_FAR_AHEAD]);
        const uint8_t answer = answers[codes[row]];
        *yes = row;
        *no = row;
        yes += answer;
        no += 1 - answer;
    }
    for (; i < end; i++) {
        const uint32_t row = rows[i];
        const uint8_t answer = answers[codes[row]];
        *yes = row;
        *no = row;
        yes += answer;
        no += 1 - answer;
    }
    return yes - (rows + begin);
}

/* small[j] = built[j] and large[j] = parent[j] - built[j]: the histograms of two siblings. */
SAMESUM_CLONES static void samesum_expand(int64_t n, const int64_t *restrict parent, const int64_t *restrict built, int64_t *restrict small,
                                          int64_t *restrict large) {
    for (int64_t j = 0; j < n; j++) {
        small[j] = built[j];
        large[j] = parent[j] - built[j];
    }
}

/* A lock for one histogram's flush: integer additions commute, so who comes first does not matter. */
static inline void samesum_lock(int32_t *lock) {
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {}
    }
}

static inline void samesum_unlock(int32_t *lock) {
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif

/* The two loops in which training spends its time, written in C for constant widths and prefetching. */
#ifndef SAMESUM_TREE_KERNELS_H
#define SAMESUM_TREE_KERNELS_H

#include <stdint.h>
#include <string.h>

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

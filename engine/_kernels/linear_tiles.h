/* Sums of products of columns over rows, in registers.

   A sum over rows has eight lanes: lane l takes the rows l, l + 8, ... in order. What a lane adds up does not depend on how many lanes a
   register holds, so AVX-512, AVX2 and SSE2 give the same bits. A tile of 4 x 4 pairs of columns reads 8 values for 16 products. */
#ifndef SAMESUM_LINEAR_TILES_H
#define SAMESUM_LINEAR_TILES_H

#include "elementary.h"

#define SAMESUM_LANES 8
#define SAMESUM_TILE_SIDE 4
#define SAMESUM_TILE_ROWS 256 /* rows of a tile: 29 columns of them stay in L2, eight in L1 */

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define SAMESUM_HAS_WIDE_TILES 1
#define SAMESUM_LINEAR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SAMESUM_LINEAR_CLONES
#endif

typedef double samesum_v8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef double samesum_v4 __attribute__((vector_size(32), aligned(8), may_alias));

/* acc[(i * stride + j) * 8 + lane] += sum of a[i][r] * b[j][r], for n rows, a multiple of 8. */
typedef void (*samesum_tile)(int64_t n, const double *const *a, const double *const *b, double *acc, int64_t stride);

#define SAMESUM_WIDE_TILE(NA, NB)                                                                                                       \
    __attribute__((target("avx512f"))) static void samesum_wide_##NA##NB(int64_t n, const double *const *a, const double *const *b,     \
                                                                         double *acc, int64_t stride) {                                 \
        samesum_v8 s[NA][NB];                                                                                                           \
        for (int i = 0; i < NA; i++)                                                                                                    \
            for (int j = 0; j < NB; j++) s[i][j] = *(const samesum_v8 *)(acc + (i * stride + j) * SAMESUM_LANES);                       \
        for (int64_t r = 0; r < n; r += 8) {                                                                                            \
            samesum_v8 x[NA];                                                                                                           \
            for (int i = 0; i < NA; i++) x[i] = *(const samesum_v8 *)(a[i] + r);                                                        \
            for (int j = 0; j < NB; j++) {                                                                                              \
                const samesum_v8 y = *(const samesum_v8 *)(b[j] + r);                                                                   \
                for (int i = 0; i < NA; i++) s[i][j] += x[i] * y;                                                                       \
            }                                                                                                                           \
        }                                                                                                                               \
        for (int i = 0; i < NA; i++)                                                                                                    \
            for (int j = 0; j < NB; j++) *(samesum_v8 *)(acc + (i * stride + j) * SAMESUM_LANES) = s[i][j];                             \
    }

/* The same with half of the lanes after the other, and at most two columns of b at once: what 16 registers hold. */
#define SAMESUM_HALF_TILE(NAME, ATTRIBUTE, NA, NB)                                                                                      \
    ATTRIBUTE static void samesum_##NAME##_##NA##NB(int64_t n, const double *const *a, const double *const *b, double *acc,             \
                                                    int64_t stride) {                                                                   \
        for (int first = 0; first < NB; first += 2)                                                                                     \
            for (int half = 0; half < SAMESUM_LANES; half += 4) {                                                                       \
                enum { WIDTH = NB < 2 ? 1 : 2 };                                                                                        \
                const int width = NB - first < WIDTH ? NB - first : WIDTH;                                                              \
                samesum_v4 s[NA][WIDTH];                                                                                                \
                double *const sums = acc + first * SAMESUM_LANES + half;                                                                \
                for (int i = 0; i < NA; i++)                                                                                            \
                    for (int j = 0; j < WIDTH; j++) s[i][j] = *(const samesum_v4 *)(sums + (i * stride + (j < width ? j : 0)) * SAMESUM_LANES); \
                const double *const y0 = b[first], *const y1 = b[first + (width > 1)];                                                  \
                for (int64_t r = half; r < n; r += 8) {                                                                                 \
                    const samesum_v4 y[2] = {*(const samesum_v4 *)(y0 + r), *(const samesum_v4 *)(y1 + r)};                             \
                    for (int i = 0; i < NA; i++) {                                                                                      \
                        const samesum_v4 x = *(const samesum_v4 *)(a[i] + r);                                                           \
                        for (int j = 0; j < WIDTH; j++) s[i][j] += x * y[j];                                                            \
                    }                                                                                                                   \
                }                                                                                                                       \
                for (int i = 0; i < NA; i++)                                                                                            \
                    for (int j = 0; j < width; j++) *(samesum_v4 *)(sums + (i * stride + j) * SAMESUM_LANES) = s[i][j];                 \
            }                                                                                                                           \
    }

#define SAMESUM_FOR_ALL_TILES(M)                                                                                                        \
    M(1, 1) M(1, 2) M(1, 3) M(1, 4) M(2, 1) M(2, 2) M(2, 3) M(2, 4) M(3, 1) M(3, 2) M(3, 3) M(3, 4) M(4, 1) M(4, 2) M(4, 3) M(4, 4)
#define SAMESUM_TABLE(P)                                                                                                                \
    {{P##_11, P##_12, P##_13, P##_14}, {P##_21, P##_22, P##_23, P##_24}, {P##_31, P##_32, P##_33, P##_34}, {P##_41, P##_42, P##_43, P##_44}}

#define SAMESUM_BASE_TILE(NA, NB) SAMESUM_HALF_TILE(base, , NA, NB)
SAMESUM_FOR_ALL_TILES(SAMESUM_BASE_TILE)
static const samesum_tile samesum_base_tiles[4][4] = SAMESUM_TABLE(samesum_base);

#ifdef SAMESUM_HAS_WIDE_TILES
#define SAMESUM_AVX2_TILE(NA, NB) SAMESUM_HALF_TILE(avx2, __attribute__((target("avx2"))), NA, NB)
SAMESUM_FOR_ALL_TILES(SAMESUM_WIDE_TILE)
SAMESUM_FOR_ALL_TILES(SAMESUM_AVX2_TILE)
static const samesum_tile samesum_wide_tiles[4][4] = SAMESUM_TABLE(samesum_wide);
static const samesum_tile samesum_avx2_tiles[4][4] = SAMESUM_TABLE(samesum_avx2);
#endif

/* The tiles of an instruction set: 0 takes the widest that the processor has, 1 AVX-512, 2 AVX2, 3 neither; NULL if it has not. */
static const samesum_tile (*samesum_choose_tiles(int set))[4] {
#ifdef SAMESUM_HAS_WIDE_TILES
    __builtin_cpu_init();
    const int has_wide = __builtin_cpu_supports("avx512f"), has_avx2 = __builtin_cpu_supports("avx2");
    if (set == 1 || (set == 0 && has_wide)) return has_wide ? samesum_wide_tiles : NULL;
    if (set == 2 || (set == 0 && has_avx2)) return has_avx2 ? samesum_avx2_tiles : NULL;
#endif
    return set == 1 || set == 2 ? NULL : samesum_base_tiles;
}

/* All pairs of the columns a[0..na) and b[0..nb); `upper`: a and b are the same columns, and only pairs (i, j >= i) are needed. */
static void samesum_multiply_columns(const samesum_tile (*tiles)[4], int64_t n, int64_t na, const double *const *a, int64_t nb,
                                     const double *const *b, int upper, double *acc, int64_t stride) {
    for (int64_t i = 0; i < na; i += SAMESUM_TILE_SIDE) {
        const int64_t height = na - i < SAMESUM_TILE_SIDE ? na - i : SAMESUM_TILE_SIDE;
        for (int64_t j = upper ? i : 0; j < nb; j += SAMESUM_TILE_SIDE) {
            const int64_t width = nb - j < SAMESUM_TILE_SIDE ? nb - j : SAMESUM_TILE_SIDE;
            tiles[height - 1][width - 1](n, a + i, b + j, acc + (i * stride + j) * SAMESUM_LANES, stride);
        }
    }
}

SAMESUM_LINEAR_CLONES static void samesum_multiply(int64_t n, const double *restrict x, const double *restrict h, double *restrict out) {
    for (int64_t r = 0; r < n; r++) out[r] = x[r] * h[r];
}

/* The pairs of the columns a[0..na), times h, and b[0..nb). Meanwhile the n_next columns `next` of the following rows, which each begin a new
   stream that processors find late, are fetched one by one. `scaled`: room for four columns. */
static void samesum_multiply_pairs(const samesum_tile (*tiles)[4], int64_t n, int64_t na, const double *const *a, int64_t nb,
                                   const double *const *b, const double *h, int upper, double *scaled, double *acc, int64_t stride,
                                   int64_t n_next, const double *const *next) {
    int64_t fetched = 0;
    for (int64_t i = 0; i < na; i += SAMESUM_TILE_SIDE) {
        const int64_t height = na - i < SAMESUM_TILE_SIDE ? na - i : SAMESUM_TILE_SIDE;
        const double *rows[SAMESUM_TILE_SIDE];
        for (int64_t k = 0; k < height; k++) {
            rows[k] = scaled + k * SAMESUM_TILE_ROWS;
            samesum_multiply(n, a[i + k], h, scaled + k * SAMESUM_TILE_ROWS);
        }
        for (int64_t j = upper ? i : 0; j < nb; j += SAMESUM_TILE_SIDE) {
            const int64_t width = nb - j < SAMESUM_TILE_SIDE ? nb - j : SAMESUM_TILE_SIDE;
            if (fetched < n_next) {
                for (int64_t r = 0; r < SAMESUM_TILE_ROWS; r += SAMESUM_LANES) __builtin_prefetch(next[fetched] + SAMESUM_TILE_ROWS + r);
                fetched++;
            }
            tiles[height - 1][width - 1](n, rows, b + j, acc + (i * stride + j) * SAMESUM_LANES, stride);
        }
    }
}

/* The sum of eight lanes, in a fixed order. */
static inline double samesum_add_lanes(const double *s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* lanes[l] += values[l] + values[l + 8] ..., in order; n a multiple of 8. */
SAMESUM_LINEAR_CLONES static void samesum_add_to_lanes(int64_t n, const double *restrict values, double *restrict lanes) {
    for (int64_t r = 0; r < n; r += SAMESUM_LANES)
        for (int l = 0; l < SAMESUM_LANES; l++) lanes[l] += values[r + l];
}

/* out[r] = start + sum of w[j] x[j][r], in the order of columns; `start`: the intercept, plus offset[r] unless NULL. */
SAMESUM_LINEAR_CLONES static void samesum_add_columns(int64_t n, int64_t n_columns, const double *const *x, const double *restrict w,
                                                      double intercept, const double *restrict offset, double *restrict out) {
    if (offset == NULL)
        for (int64_t r = 0; r < n; r++) out[r] = intercept;
    else
        for (int64_t r = 0; r < n; r++) out[r] = intercept + offset[r];
    int64_t j = 0;
    for (; j + 4 <= n_columns; j += 4) {
        const double *restrict a = x[j], *restrict b = x[j + 1], *restrict c = x[j + 2], *restrict d = x[j + 3];
        for (int64_t r = 0; r < n; r++) out[r] = (((out[r] + w[j] * a[r]) + w[j + 1] * b[r]) + w[j + 2] * c[r]) + w[j + 3] * d[r];
    }
    for (; j < n_columns; j++) {
        const double *restrict a = x[j];
        for (int64_t r = 0; r < n; r++) out[r] += w[j] * a[r];
    }
}

#endif

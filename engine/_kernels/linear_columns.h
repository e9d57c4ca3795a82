/* What is known of columns before training: extremes, sums, sums of squares. */
#ifndef SAMESUM_LINEAR_COLUMNS_H
#define SAMESUM_LINEAR_COLUMNS_H

#include <float.h>

#include "linear_tiles.h"

/* Of n values: sums of x and x^2 in eight lanes, the largest finite |x|, and how many are NaN or infinite. */
SAMESUM_LINEAR_CLONES static int64_t samesum_measure_column(int64_t n, const double *x, double *out_sum, double *out_squares, double *largest) {
    typedef int64_t bits4 __attribute__((vector_size(32), aligned(8), may_alias));
    const int64_t infinity = 0x7ff0000000000000LL; /* of numbers >= 0 the order is that of their bits; NaN is beyond infinity */
    samesum_v4 sum[2] = {{0}, {0}}, squares[2] = {{0}, {0}};
    bits4 most[2] = {{0}, {0}}, good[2] = {{0}, {0}};
    int64_t r = 0, n_good = 0;
    for (; r + 8 <= n; r += 8)
        for (int k = 0; k < 2; k++) {
            const samesum_v4 v = *(const samesum_v4 *)(x + r + 4 * k);
            const bits4 a = *(const bits4 *)(x + r + 4 * k) & INT64_MAX, is_finite = a < infinity, is_more = is_finite & (a > most[k]);
            sum[k] += v;
            squares[k] += v * v;
            most[k] = (a & is_more) | (most[k] & ~is_more);
            good[k] += is_finite;
        }
    double lanes[2][SAMESUM_LANES];
    for (int l = 0; l < SAMESUM_LANES; l++) {
        lanes[0][l] = sum[l / 4][l % 4];
        lanes[1][l] = squares[l / 4][l % 4];
        const double a = samesum_from_bits(most[l / 4][l % 4]);
        *largest = a > *largest ? a : *largest;
        n_good -= good[l / 4][l % 4];
    }
    for (int l = 0; r < n; r++, l++) {
        const double a = x[r] < 0.0 ? -x[r] : x[r];
        lanes[0][l] += x[r];
        lanes[1][l] += x[r] * x[r];
        *largest = a > *largest && a <= DBL_MAX ? a : *largest;
        n_good += a <= DBL_MAX;
    }
    *out_sum = samesum_add_lanes(lanes[0]);
    *out_squares = samesum_add_lanes(lanes[1]);
    return n - n_good;
}

#endif

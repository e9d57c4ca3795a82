/* What is known of columns before training: extremes, sums, sums of squares. */
#ifndef SAMESUM_LINEAR_COLUMNS_H
#define SAMESUM_LINEAR_COLUMNS_H

#include <float.h>

#include "linear_tiles.h"

#define SAMESUM_COLUMN_AHEAD 2048 /* values between the one that is looked at and the one that is fetched */

/* The largest finite |x|, and how many are NaN or infinite. */
static int64_t samesum_count_bad(int64_t n, const double *x, double *largest) {
    int64_t n_bad = 0;
    for (int64_t r = 0; r < n; r++) {
        const double a = x[r] < 0.0 ? -x[r] : x[r];
        if (!(a <= DBL_MAX))
            n_bad++;
        else if (a > *largest)
            *largest = a;
    }
    return n_bad;
}

/* Of n values: sums of x and x^2 in eight lanes, the largest finite |x|, and how many are NaN or infinite. */
SAMESUM_LINEAR_CLONES static int64_t samesum_measure_column(int64_t n, const double *x, double *out_sum, double *out_squares, double *largest) {
    typedef int64_t bits4 __attribute__((vector_size(32), aligned(8), may_alias));
    samesum_v4 sum[2] = {{0}, {0}}, squares[2] = {{0}, {0}}, most[2] = {{0}, {0}};
    int64_t r = 0;
    for (; r + 8 <= n; r += 8) {
        __builtin_prefetch(x + r + SAMESUM_COLUMN_AHEAD);
        for (int k = 0; k < 2; k++) {
            const samesum_v4 v = *(const samesum_v4 *)(x + r + 4 * k);
            const bits4 a = *(const bits4 *)(x + r + 4 * k) & INT64_MAX;
            const bits4 is_more = (samesum_v4)a > most[k];
            sum[k] += v;
            squares[k] += v * v;
            most[k] = (samesum_v4)((a & is_more) | ((bits4)most[k] & ~is_more));
        }
    }
    double lanes[2][SAMESUM_LANES], top = 0.0;
    for (int l = 0; l < SAMESUM_LANES; l++) {
        lanes[0][l] = sum[l / 4][l % 4];
        lanes[1][l] = squares[l / 4][l % 4];
        top = most[l / 4][l % 4] > top ? most[l / 4][l % 4] : top;
    }
    for (int l = 0; r < n; r++, l++) {
        const double a = x[r] < 0.0 ? -x[r] : x[r];
        lanes[0][l] += x[r];
        lanes[1][l] += x[r] * x[r];
        top = a > top ? a : top;
    }
    *out_sum = samesum_add_lanes(lanes[0]);
    *out_squares = samesum_add_lanes(lanes[1]);
    if (!(*out_squares <= DBL_MAX)) return samesum_count_bad(n, x, largest); /* NaN, infinity, or a finite number with too large a square */
    *largest = top > *largest ? top : *largest;
    return 0;
}

#endif

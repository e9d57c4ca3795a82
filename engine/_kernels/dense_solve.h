/* Dense algebra of one thread in a fixed order: the same bits on every machine, which BLAS and LAPACK do not give.

   Sums run in eight lanes that are added up in one order, whatever the width of the machine's vectors; other loops are elementwise. */
#ifndef SAMESUM_DENSE_SOLVE_H
#define SAMESUM_DENSE_SOLVE_H

#include "elementary.h"

#define SAMESUM_PANEL 48 /* columns that are taken from the rest of the matrix at once; a multiple of 4 */
#define SAMESUM_STRIP 512 /* columns of the rest, so that a panel's part of them stays in cache */

SAMESUM_CLONES static double samesum_dot(const double *restrict x, const double *restrict y, int64_t n) {
    double lane[8] = {0.0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) lane[j] += x[i + j] * y[i + j];
    double rest = 0.0;
    for (; i < n; i++) rest += x[i] * y[i];
    return (((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]))) + rest;
}

SAMESUM_CLONES static void samesum_add_scaled(double factor, const double *restrict x, double *restrict y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

/* y[i] -= sum over k of factor[k] * rows[k * stride + i], k in order. */
SAMESUM_CLONES static void samesum_subtract_rows(const double *restrict factor, const double *restrict rows, int64_t stride, int n_rows,
                                                 double *restrict y, int64_t n) {
    int k = 0;
    for (; k + 4 <= n_rows; k += 4) {
        const double f0 = factor[k], f1 = factor[k + 1], f2 = factor[k + 2], f3 = factor[k + 3];
        const double *restrict r0 = rows + k * stride, *restrict r1 = r0 + stride, *restrict r2 = r1 + stride, *restrict r3 = r2 + stride;
        for (int64_t i = 0; i < n; i++) y[i] = (((y[i] - f0 * r0[i]) - f1 * r1[i]) - f2 * r2[i]) - f3 * r3[i];
    }
    for (; k < n_rows; k++)
        for (int64_t i = 0; i < n; i++) y[i] -= factor[k] * rows[k * stride + i];
}

/* Factor columns [begin, end) of the matrix, whose earlier columns have been subtracted; see `factor_ldlt`.
   panel[k * n + i] becomes L[i, begin + k] * pivot: the column before its division, as a row. */
static void samesum_factor_panel(double *a, int64_t n, int64_t begin, int64_t end, double *pivots, const double *least, double *panel) {
    for (int64_t i = begin; i < n; i++) {
        double *row = a + i * n;
        const int64_t last = i < end ? i : end;
        for (int64_t k = begin; k < last; k++) {
            const double value = row[k];
            panel[(k - begin) * n + i] = pivots[k] > 0.0 ? value : 0.0;
            row[k] = pivots[k] > 0.0 ? value / pivots[k] : 0.0;
            const int64_t stop = i < end ? i + 1 : end;
            /* panel rows are complete up to column i - 1; of its own column the row brings the value */
            for (int64_t j = k + 1; j < stop; j++) row[j] -= row[k] * panel[(k - begin) * n + j];
        }
        if (i < end) {
            pivots[i] = row[i] > least[i] ? row[i] : 0.0;
            panel[(i - begin) * n + i] = 0.0;
        }
    }
}

static void samesum_factor_ldlt(double *a, int64_t n, double *pivots, const double *least, double *panel) {
    for (int64_t begin = 0; begin < n; begin += SAMESUM_PANEL) {
        const int64_t end = begin + SAMESUM_PANEL < n ? begin + SAMESUM_PANEL : n;
        samesum_factor_panel(a, n, begin, end, pivots, least, panel);
        for (int64_t left = end; left < n; left += SAMESUM_STRIP)
            for (int64_t i = left; i < n; i++) {
                const int64_t right = i + 1 < left + SAMESUM_STRIP ? i + 1 : left + SAMESUM_STRIP;
                samesum_subtract_rows(a + i * n + begin, panel + left, n, (int)(end - begin), a + i * n + left, right - left);
            }
    }
}

/* x becomes the solution of L D L' y = x; coordinates without a pivot become 0. */
static void samesum_solve_ldlt(const double *factor, const double *pivots, int64_t n, double *x) {
    for (int64_t i = 0; i < n; i++) x[i] -= samesum_dot(factor + i * n, x, i);
    for (int64_t i = 0; i < n; i++) x[i] = pivots[i] > 0.0 ? x[i] / pivots[i] : 0.0;
    for (int64_t i = n - 1; i > 0; i--) samesum_add_scaled(-x[i], factor + i * n, x, i);
}

/* Minimise g'x + x'Hx / 2 + sum lambda |x| over one coordinate after the other. slope = g + H x is kept up to date.
   Returns the largest decrease that one of them would have brought without the penalty, h change^2. */
static double samesum_sweep_coordinates(const double *h, int64_t n, const int64_t *chosen, int64_t n_chosen, const double *penalty,
                                        double *slope, double *x) {
    double largest = 0.0;
    for (int64_t c = 0; c < n_chosen; c++) {
        const int64_t j = chosen[c];
        const double curvature = h[j * n + j];
        if (!(curvature > 0.0)) continue;
        const double z = curvature * x[j] - slope[j];
        const double shrunk = z > penalty[j] ? z - penalty[j] : z < -penalty[j] ? z + penalty[j] : 0.0;
        const double change = shrunk / curvature - x[j];
        if (change == 0.0) continue;
        x[j] += change;
        samesum_add_scaled(change, h + j * n, slope, n);
        const double decrease = curvature * change * change;
        if (decrease > largest) largest = decrease;
    }
    return largest;
}

#endif

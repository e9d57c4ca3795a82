/* Losses of linear models at rows: from margins to the loss, its first derivatives and its second derivatives by the margins. */
#ifndef SAMESUM_LINEAR_LOSSES_H
#define SAMESUM_LINEAR_LOSSES_H

#include "linear_tiles.h"

#define SAMESUM_HINGE_SHARPNESS 30.0 /* of the smoothed hinge (1/s) ln(1 + e^(-s (y m - 1))) */

enum { SAMESUM_SQUARED, SAMESUM_LOGISTIC, SAMESUM_HINGE, SAMESUM_SOFTMAX, SAMESUM_GIVEN };

/* ln(1 + e) for 0 <= e <= 1, to full relative precision. */
static inline double samesum_log1p_unit(double e) {
    const double u = 1.0 + e;
    return samesum_log_normal(u) + (e - (u - 1.0)) / u;
}

/* For t, the margin towards the right class: loss ln(1 + e^-t), the probability of the wrong class, and the variance. */
SAMESUM_LINEAR_CLONES static void samesum_logistic_parts(int64_t n, double *restrict t, double *restrict wrong, double *restrict variance) {
    for (int64_t r = 0; r < n; r++) variance[r] = samesum_exp(t[r] < 0.0 ? t[r] : -t[r]);
    for (int64_t r = 0; r < n; r++) {
        const double e = variance[r], q = 1.0 / (1.0 + e);
        wrong[r] = t[r] < 0.0 ? q : e * q;
        variance[r] = e * q * q;
        t[r] = samesum_log1p_unit(e) + (t[r] < 0.0 ? -t[r] : 0.0);
    }
}

/* y 0 or 1: loss w ln(1 + e^-t), t = +-m; g = -+w P(wrong), h = w p (1 - p). */
SAMESUM_LINEAR_CLONES static void samesum_logistic_rows(int64_t n, const double *restrict m, const double *restrict y,
                                                        const double *restrict w, double *restrict g, double *restrict h,
                                                        double *restrict loss) {
    for (int64_t r = 0; r < n; r++) loss[r] = y[r] != 0.0 ? m[r] : -m[r];
    samesum_logistic_parts(n, loss, g, h);
    for (int64_t r = 0; r < n; r++) {
        loss[r] *= w[r];
        g[r] = (y[r] != 0.0 ? -w[r] : w[r]) * g[r];
        h[r] *= w[r];
    }
}

/* y 0 or 1, standing for -1 and +1: loss (w / s) ln(1 + e^-t), t = s (y m - 1). */
SAMESUM_LINEAR_CLONES static void samesum_hinge_rows(int64_t n, const double *restrict m, const double *restrict y, const double *restrict w,
                                                     double *restrict g, double *restrict h, double *restrict loss) {
    for (int64_t r = 0; r < n; r++) loss[r] = SAMESUM_HINGE_SHARPNESS * ((y[r] != 0.0 ? m[r] : -m[r]) - 1.0);
    samesum_logistic_parts(n, loss, g, h);
    for (int64_t r = 0; r < n; r++) {
        loss[r] = w[r] * loss[r] / SAMESUM_HINGE_SHARPNESS;
        g[r] = (y[r] != 0.0 ? -w[r] : w[r]) * g[r];
        h[r] = SAMESUM_HINGE_SHARPNESS * w[r] * h[r];
    }
}

/* loss w (m - y)^2, g = 2 w (m - y), h = 2 w. */
SAMESUM_LINEAR_CLONES static void samesum_squared_rows(int64_t n, const double *restrict m, const double *restrict y, const double *restrict w,
                                                       double *restrict g, double *restrict h, double *restrict loss) {
    for (int64_t r = 0; r < n; r++) {
        const double residual = m[r] - y[r];
        loss[r] = w[r] * (residual * residual);
        g[r] = 2.0 * w[r] * residual;
        h[r] = 2.0 * w[r];
    }
}

/* Squares of the residuals of rows of `mask` != 0 (all if NULL), 0 of others; returns the largest finite |residual|. */
SAMESUM_LINEAR_CLONES static double samesum_square_residuals(int64_t n, const double *restrict m, const double *restrict y,
                                                             const double *restrict mask, double *restrict squares) {
    int64_t largest = 0;
    for (int64_t r = 0; r < n; r++) squares[r] = m[r] - y[r];
    if (mask != NULL)
        for (int64_t r = 0; r < n; r++) squares[r] = mask[r] != 0.0 ? squares[r] : 0.0;
    for (int64_t r = 0; r < n; r++) {
        const int64_t bits = samesum_bits(squares[r]) & INT64_MAX, finite = bits < 0x7ff0000000000000LL ? bits : 0;
        largest = finite > largest ? finite : largest; /* of numbers >= 0 the order is that of their bits */
    }
    for (int64_t r = 0; r < n; r++) squares[r] *= squares[r];
    return samesum_from_bits(largest);
}

/* Margins m [c][stride] of the classes 1 to c, that of class 0 being 0; y the class. p [c][stride] is filled with probabilities,
   loss = w (ln sum of e^m - m of y), g [c][stride] = w (p - [y = k]); `scratch` takes n numbers. */
SAMESUM_LINEAR_CLONES static void samesum_softmax_rows(int64_t n, int64_t c, int64_t stride, const double *restrict m,
                                                       const double *restrict y, const double *restrict w, double *restrict p,
                                                       double *restrict g, double *restrict loss, double *restrict scratch) {
    double *restrict total = scratch;
    for (int64_t r = 0; r < n; r++) loss[r] = 0.0;
    for (int64_t k = 0; k < c; k++)
        for (int64_t r = 0; r < n; r++) loss[r] = m[k * stride + r] > loss[r] ? m[k * stride + r] : loss[r];
    for (int64_t r = 0; r < n; r++) total[r] = samesum_exp(-loss[r]);
    for (int64_t k = 0; k < c; k++)
        for (int64_t r = 0; r < n; r++) {
            p[k * stride + r] = samesum_exp(m[k * stride + r] - loss[r]);
            total[r] += p[k * stride + r];
        }
    for (int64_t r = 0; r < n; r++) loss[r] += samesum_log_normal(total[r]);
    for (int64_t k = 0; k < c; k++)
        for (int64_t r = 0; r < n; r++) {
            const double is_class = y[r] == (double)(k + 1) ? 1.0 : 0.0;
            p[k * stride + r] /= total[r];
            g[k * stride + r] = w[r] * (p[k * stride + r] - is_class);
            loss[r] -= is_class != 0.0 ? m[k * stride + r] : 0.0;
        }
    for (int64_t r = 0; r < n; r++) loss[r] *= w[r];
}

/* h of the classes k and l: w p_k ([k = l] - p_l). */
SAMESUM_LINEAR_CLONES static void samesum_softmax_curvature(int64_t n, const double *restrict pk, const double *restrict pl, int same,
                                                            const double *restrict w, double *restrict h) {
    const double one = same ? 1.0 : 0.0;
    for (int64_t r = 0; r < n; r++) h[r] = w[r] * (pk[r] * (one - pl[r]));
}

/* Rows of `mask` != 0 (all if NULL) whose margin has the sign of class y; a margin of 0 is class 1. */
SAMESUM_LINEAR_CLONES static int64_t samesum_count_signs(int64_t n, const double *restrict m, const double *restrict y,
                                                         const double *restrict mask) {
    int64_t right = 0;
    for (int64_t r = 0; r < n; r++) right += ((m[r] >= 0.0) == (y[r] != 0.0)) & (mask == NULL || mask[r] != 0.0);
    return right;
}

/* The same for classes: the largest of 0 and the c margins, ties going to the lower class. */
static int64_t samesum_count_classes(int64_t n, int64_t c, int64_t stride, const double *m, const double *y, const double *mask) {
    int64_t right = 0;
    for (int64_t r = 0; r < n; r++) {
        double largest = 0.0;
        int64_t best = 0;
        for (int64_t k = 0; k < c; k++)
            if (m[k * stride + r] > largest) {
                largest = m[k * stride + r];
                best = k + 1;
            }
        right += (double)best == y[r] && (mask == NULL || mask[r] != 0.0);
    }
    return right;
}

#endif

/* Gradients, hessians and losses of a block of rows, as integers. Loops are split so that compilers turn each into vector code. */
#ifndef SAMESUM_LOSSES_H
#define SAMESUM_LOSSES_H

#include "elementary.h"

#define SAMESUM_BLOCK 4096 /* rows: sums of 2^12 integers of 50 bits fit in 64 */
#define SAMESUM_ONE 1125899906842624.0 /* 2^50 */
#define SAMESUM_SMALLEST_P 1e-9 /* losses are clipped as if no probability were smaller */

/* Round to an integer |x| <= 2^51. */
static inline int64_t samesum_round(double x) {
    return samesum_bits(x + SAMESUM_ROUND_MAGIC) - 0x4338000000000000LL;
}

/* Sums over a block: g, h, |g|, loss as integers, then rows predicted right; max |g|, max h. */
typedef struct {
    int64_t g, h, abs_g, loss, right, max_g, max_h;
} samesum_block_stats;

static inline double samesum_clip(double p) {
    p = p < SAMESUM_SMALLEST_P ? SAMESUM_SMALLEST_P : p;
    return p > 1.0 - SAMESUM_SMALLEST_P ? 1.0 - SAMESUM_SMALLEST_P : p;
}

/* Sum up the pairs (g, h) of a block. */
SAMESUM_CLONES static void samesum_sum_pairs(int64_t n, const int64_t *restrict gh, samesum_block_stats *restrict s) {
    int64_t g = 0, h = 0, abs_g = 0, max_g = 0, max_h = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t a = gh[2 * i], b = gh[2 * i + 1], c = a < 0 ? -a : a;
        g += a;
        h += b;
        abs_g += c;
        max_g = c > max_g ? c : max_g;
        max_h = b > max_h ? b : max_h;
    }
    s->g = g; s->h = h; s->abs_g = abs_g; s->max_g = max_g; s->max_h = max_h;
}

/* Logistic loss: p = 1 / (1 + e^-score), g = p - y in units of 2^-50, h = p (1 - p) in units of 2^-52; loss in units of 2^-45. */
SAMESUM_CLONES static void samesum_logistic(int64_t n, const double *restrict scores, const int32_t *restrict y, int64_t *restrict gh,
                                            samesum_block_stats *restrict s) {
    double p[SAMESUM_BLOCK];
    int64_t loss = 0, right = 0;
    for (int64_t i = 0; i < n; i++) p[i] = samesum_sigmoid(scores[i]);
    for (int64_t i = 0; i < n; i++) {
        const double q = p[i];
        const int64_t h = samesum_round(q * (1.0 - q) * (4.0 * SAMESUM_ONE));
        gh[2 * i] = samesum_round((q - (double)y[i]) * SAMESUM_ONE);
        gh[2 * i + 1] = h < 1 ? 1 : h;
    }
    for (int64_t i = 0; i < n; i++) p[i] = samesum_clip(y[i] ? p[i] : 1.0 - p[i]);
    for (int64_t i = 0; i < n; i++) loss += samesum_round(-samesum_log_normal(p[i]) * (SAMESUM_ONE / 32.0));
    for (int64_t i = 0; i < n; i++) right += (scores[i] >= 0.0) == (y[i] != 0);
    samesum_sum_pairs(n, gh, s);
    s->loss = loss;
    s->right = right;
}

/* For scores [k][stride]: the maximum over classes and the sum of e^(score - maximum) of each row, and the loss -ln p of class y. */
SAMESUM_CLONES static void samesum_softmax_normalize(int64_t n, int64_t n_classes, int64_t stride, const double *restrict scores,
                                                     const int32_t *restrict y, double *restrict largest, double *restrict total,
                                                     samesum_block_stats *restrict s) {
    double p[SAMESUM_BLOCK];
    int64_t loss = 0, right = 0;
    for (int64_t i = 0; i < n; i++) { largest[i] = scores[i]; total[i] = 0.0; }
    for (int64_t k = 1; k < n_classes; k++)
        for (int64_t i = 0; i < n; i++) largest[i] = scores[k * stride + i] > largest[i] ? scores[k * stride + i] : largest[i];
    for (int64_t k = 0; k < n_classes; k++)
        for (int64_t i = 0; i < n; i++) total[i] += samesum_exp(scores[k * stride + i] - largest[i]);
    for (int64_t i = 0; i < n; i++) p[i] = scores[(int64_t)y[i] * stride + i];
    for (int64_t i = 0; i < n; i++) {
        int64_t first = 0; /* ties go to the lower class */
        while (scores[first * stride + i] != largest[i] && first + 1 < n_classes) first++;
        right += first == y[i];
    }
    for (int64_t i = 0; i < n; i++) p[i] = samesum_clip(samesum_exp(p[i] - largest[i]) / total[i]);
    for (int64_t i = 0; i < n; i++) loss += samesum_round(-samesum_log_normal(p[i]) * (SAMESUM_ONE / 32.0));
    s->loss = loss;
    s->right = right;
}

/* Softmax of one class: p = e^(score - largest) / total, g = p - [y = k] in units of 2^-50, h = 2 p (1 - p) in units of 2^-51. */
SAMESUM_CLONES static void samesum_softmax(int64_t n, const double *restrict scores, const int32_t *restrict y, int32_t k,
                                           const double *restrict largest, const double *restrict total, int64_t *restrict gh,
                                           samesum_block_stats *restrict s) {
    for (int64_t i = 0; i < n; i++) {
        const double p = samesum_exp(scores[i] - largest[i]) / total[i];
        const int64_t h = samesum_round(p * (1.0 - p) * (4.0 * SAMESUM_ONE));
        gh[2 * i] = samesum_round((p - (y[i] == k ? 1.0 : 0.0)) * SAMESUM_ONE);
        gh[2 * i + 1] = h < 1 ? 1 : h;
    }
    samesum_sum_pairs(n, gh, s);
}

/* Residuals score - y, kept as doubles; returns the largest |residual|. */
SAMESUM_CLONES static double samesum_residuals(int64_t n, const double *restrict scores, const double *restrict y, double *restrict out) {
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++) out[i] = scores[i] - y[i];
    for (int64_t i = 0; i < n; i++) {
        const double a = out[i] < 0.0 ? -out[i] : out[i];
        largest = a > largest ? a : largest;
    }
    return largest;
}

/* Turn residuals, scaled by `first` and `second` to |r| <= 1, into integers in units of 2^-50, in place; loss = sum of r^2 in 2^-50. */
SAMESUM_CLONES static void samesum_quantise(int64_t n, double first, double second, int64_t *restrict g, samesum_block_stats *restrict s) {
    int64_t sum = 0, abs_sum = 0, loss = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double r = samesum_from_bits(g[i]) * first * second;
        const int64_t q = samesum_round(r * SAMESUM_ONE), a = q < 0 ? -q : q;
        g[i] = q;
        sum += q;
        abs_sum += a;
        largest = a > largest ? a : largest;
        loss += samesum_round(r * r * SAMESUM_ONE);
    }
    s->g = sum; s->h = n; s->abs_g = abs_sum; s->loss = loss; s->max_g = largest; s->max_h = 1; s->right = 0;
}

#endif

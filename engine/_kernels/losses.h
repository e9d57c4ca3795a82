/* Gradients, hessians and losses of a block of rows, as integers. Loops are split so that compilers turn each into vector code. */
#ifndef SAMESUM_LOSSES_H
#define SAMESUM_LOSSES_H

#include "hessian.h"

#define SAMESUM_BLOCK 4096 /* rows: sums of 2^12 integers of 50 bits fit in 64 */
#define SAMESUM_ONE 1125899906842624.0 /* 2^50 */
#define SAMESUM_SMALLEST_H 2.2204460492503131e-16 /* 2^-52: hessians of saturated probabilities */
#define SAMESUM_LARGEST_SCORE 500.0 /* means are e^score of scores clipped to this, so that they and their sums are finite */
#define SAMESUM_SMALLEST_P 1e-9 /* losses are clipped as if no probability were smaller */

/* Sums over a block: g, h, |g|, loss as integers, then rows predicted right; max |g|, max h. */
typedef struct {
    int64_t g, h, abs_g, loss, right, max_g, max_h;
} samesum_block_stats;

static inline double samesum_clip(double p) {
    p = p < SAMESUM_SMALLEST_P ? SAMESUM_SMALLEST_P : p;
    return p > 1.0 - SAMESUM_SMALLEST_P ? 1.0 - SAMESUM_SMALLEST_P : p;
}

/* The larger of two numbers >= 0, by their bits: compilers turn it into vector code, which they may not do with comparisons of doubles. */
static inline int64_t samesum_larger(int64_t largest, double x) {
    const int64_t bits = samesum_bits(x < 0.0 ? -x : x + 0.0);
    return bits > largest ? bits : largest;
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

/* Sum up the gradients of a block, and the hessians that they stand for. */
SAMESUM_CLONES static void samesum_sum_logistic(int64_t n, const int64_t *restrict gradients, samesum_block_stats *restrict s) {
    int64_t g = 0, h = 0, abs_g = 0, max_g = 0, max_h = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t a = gradients[i], b = samesum_logistic_hessian(a), c = a < 0 ? -a : a;
        g += a;
        h += b;
        abs_g += c;
        max_g = c > max_g ? c : max_g;
        max_h = b > max_h ? b : max_h;
    }
    s->g = g; s->h = h; s->abs_g = abs_g; s->max_g = max_g; s->max_h = max_h;
}

/* Logistic loss: p = 1 / (1 + e^-score), g = p - y in units of 2^-50; loss in units of 2^-45. */
SAMESUM_CLONES static void samesum_logistic(int64_t n, const double *restrict scores, const int32_t *restrict y, int64_t *restrict g,
                                            samesum_block_stats *restrict s) {
    double p[SAMESUM_BLOCK];
    int64_t loss = 0, right = 0;
    for (int64_t i = 0; i < n; i++) p[i] = samesum_sigmoid(scores[i]);
    for (int64_t i = 0; i < n; i++) g[i] = samesum_round((p[i] - (double)y[i]) * SAMESUM_ONE);
    for (int64_t i = 0; i < n; i++) p[i] = samesum_clip(y[i] ? p[i] : 1.0 - p[i]);
    for (int64_t i = 0; i < n; i++) loss += samesum_round(-samesum_log_normal(p[i]) * (SAMESUM_ONE / 32.0));
    for (int64_t i = 0; i < n; i++) right += (scores[i] >= 0.0) == (y[i] != 0);
    samesum_sum_logistic(n, g, s);
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

/* --- rows with weights, and losses whose gradients have no bound: doubles first, integers once the largest of all ranks is known --- */

/* The largest |w g| and w h of a block, as bits; weights may be NULL, all being 1. */
typedef struct {
    int64_t g, h;
} samesum_block_maxima;

SAMESUM_CLONES static void samesum_find_maxima(int64_t n, const double *restrict gh, samesum_block_maxima *restrict m) {
    int64_t g = 0, h = 0;
    for (int64_t i = 0; i < n; i++) {
        g = samesum_larger(g, gh[2 * i]);
        h = samesum_larger(h, gh[2 * i + 1]);
    }
    m->g = g; m->h = h;
}

/* w (p - y) and w p (1 - p), positive where w is. */
SAMESUM_CLONES static void samesum_weigh_logistic(int64_t n, const double *restrict scores, const int32_t *restrict y,
                                                  const double *restrict weights, double *restrict gh, samesum_block_maxima *restrict m) {
    for (int64_t i = 0; i < n; i++) {
        const double p = samesum_sigmoid(scores[i]), h = p * (1.0 - p);
        gh[2 * i] = weights[i] * (p - (double)y[i]);
        gh[2 * i + 1] = weights[i] * (h < SAMESUM_SMALLEST_H ? SAMESUM_SMALLEST_H : h);
    }
    samesum_find_maxima(n, gh, m);
}

/* w (p - [y = k]) and 2 w p (1 - p), positive where w is; p = e^(score - largest) / total. */
SAMESUM_CLONES static void samesum_weigh_softmax(int64_t n, const double *restrict scores, const int32_t *restrict y, int32_t k,
                                                 const double *restrict largest, const double *restrict total,
                                                 const double *restrict weights, double *restrict gh, samesum_block_maxima *restrict m) {
    for (int64_t i = 0; i < n; i++) {
        const double p = samesum_exp(scores[i] - largest[i]) / total[i], h = 2.0 * p * (1.0 - p);
        gh[2 * i] = weights[i] * (p - (y[i] == k ? 1.0 : 0.0));
        gh[2 * i + 1] = weights[i] * (h < SAMESUM_SMALLEST_H ? SAMESUM_SMALLEST_H : h);
    }
    samesum_find_maxima(n, gh, m);
}

/* w (score - y) and w. */
SAMESUM_CLONES static void samesum_weigh_squared(int64_t n, const double *restrict scores, const double *restrict y,
                                                 const double *restrict weights, double *restrict gh, samesum_block_maxima *restrict m) {
    for (int64_t i = 0; i < n; i++) {
        gh[2 * i] = weights[i] * (scores[i] - y[i]);
        gh[2 * i + 1] = weights[i];
    }
    samesum_find_maxima(n, gh, m);
}

/* The mean that a score stands for under a log link. */
static inline double samesum_mean(double score) {
    const double c = score < -SAMESUM_LARGEST_SCORE ? -SAMESUM_LARGEST_SCORE : score;
    return samesum_exp(c > SAMESUM_LARGEST_SCORE ? SAMESUM_LARGEST_SCORE : c);
}

SAMESUM_CLONES static void samesum_means(int64_t n, const double *scores, double *out) {
    for (int64_t i = 0; i < n; i++) out[i] = samesum_mean(scores[i]);
}

/* w (mean - y) and w mean. */
SAMESUM_CLONES static void samesum_weigh_poisson(int64_t n, const double *restrict scores, const double *restrict y,
                                                 const double *restrict weights, double *restrict gh, samesum_block_maxima *restrict m) {
    for (int64_t i = 0; i < n; i++) {
        const double mean = samesum_mean(scores[i]);
        gh[2 * i] = mean - y[i];
        gh[2 * i + 1] = mean;
    }
    if (weights != NULL)
        for (int64_t i = 0; i < n; i++) {
            gh[2 * i] *= weights[i];
            gh[2 * i + 1] *= weights[i];
        }
    samesum_find_maxima(n, gh, m);
}

/* w (1 - q) where y < score, else -w q; and w. */
SAMESUM_CLONES static void samesum_weigh_quantile(int64_t n, const double *restrict scores, const double *restrict y, double quantile,
                                                  const double *restrict weights, double *restrict gh, samesum_block_maxima *restrict m) {
    for (int64_t i = 0; i < n; i++) {
        gh[2 * i] = weights[i] * (y[i] < scores[i] ? 1.0 - quantile : -quantile);
        gh[2 * i + 1] = weights[i];
    }
    samesum_find_maxima(n, gh, m);
}

/* The gradients of the quantile loss without weights, in units of 2^-50. */
SAMESUM_CLONES static void samesum_quantile(int64_t n, const double *restrict scores, const double *restrict y, double quantile,
                                            int64_t *restrict g, samesum_block_stats *restrict s) {
    const int64_t above = samesum_round((1.0 - quantile) * SAMESUM_ONE), below = samesum_round(-quantile * SAMESUM_ONE);
    int64_t n_above = 0;
    for (int64_t i = 0; i < n; i++) {
        g[i] = y[i] < scores[i] ? above : below;
        n_above += y[i] < scores[i];
    }
    s->g = n_above * above + (n - n_above) * below;
    s->abs_g = n_above * above - (n - n_above) * below;
    s->h = n;
    s->max_g = 0;
    if (n_above > 0) s->max_g = above;
    if (n_above < n && -below > s->max_g) s->max_g = -below;
    s->max_h = n > 0;
    s->loss = s->right = 0;
}

/* Turn pairs of doubles, scaled by two factors each to at most 1, into integers in units of 2^-50, in place; a positive h stays positive. */
SAMESUM_CLONES static void samesum_quantise_pairs(int64_t n, const double *restrict scale, int64_t *restrict gh,
                                                  samesum_block_stats *restrict s) {
    for (int64_t i = 0; i < n; i++) {
        const double h = samesum_from_bits(gh[2 * i + 1]);
        const int64_t q = samesum_round(h * scale[2] * scale[3] * SAMESUM_ONE), least = h > 0.0;
        gh[2 * i] = samesum_round(samesum_from_bits(gh[2 * i]) * scale[0] * scale[1] * SAMESUM_ONE);
        gh[2 * i + 1] = q < least ? least : q;
    }
    samesum_sum_pairs(n, gh, s);
    s->loss = s->right = 0;
}

/* --- metrics of rows with weights, and of losses on the scale of predictions --- */

/* Sums of w, scaled to at most 1, of rows predicted right and of w loss, in units of 2^-50 and 2^-45. */
SAMESUM_CLONES static void samesum_logistic_metrics(int64_t n, const double *restrict scores, const int32_t *restrict y,
                                                    const double *restrict weights, double scale, samesum_block_stats *restrict s) {
    int64_t loss = 0, right = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p = samesum_sigmoid(scores[i]), w = weights[i] * scale;
        loss += samesum_round(-samesum_log_normal(samesum_clip(y[i] ? p : 1.0 - p)) * w * (SAMESUM_ONE / 32.0));
        right += (scores[i] >= 0.0) == (y[i] != 0) ? samesum_round(w * SAMESUM_ONE) : 0;
    }
    s->loss = loss; s->g = right;
}

/* The same for classes, after samesum_softmax_normalize. */
SAMESUM_CLONES static void samesum_softmax_metrics(int64_t n, int64_t n_classes, int64_t stride, const double *restrict scores,
                                                   const int32_t *restrict y, const double *restrict largest, const double *restrict total,
                                                   const double *restrict weights, double scale, samesum_block_stats *restrict s) {
    double p[SAMESUM_BLOCK];
    int64_t loss = 0, right = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t first = 0; /* ties go to the lower class */
        while (scores[first * stride + i] != largest[i] && first + 1 < n_classes) first++;
        p[i] = scores[(int64_t)y[i] * stride + i];
        right += first == y[i] ? samesum_round(weights[i] * scale * SAMESUM_ONE) : 0;
    }
    for (int64_t i = 0; i < n; i++) {
        const double q = samesum_clip(samesum_exp(p[i] - largest[i]) / total[i]);
        loss += samesum_round(-samesum_log_normal(q) * (weights[i] * scale) * (SAMESUM_ONE / 32.0));
    }
    s->loss = loss; s->g = right;
}

/* y ln(y / mean) - (y - mean), half the Poisson deviance; a series in (y - mean) / mean where that is small and the difference would drown. */
static inline double samesum_poisson_loss(double mean, double y) {
    const double u = (y - mean) / mean, lower = 2.2250738585072014e-308;
    double series = 1.0 / 90.0;
    series = 1.0 / 72.0 - u * series;
    series = 1.0 / 56.0 - u * series;
    series = 1.0 / 42.0 - u * series;
    series = 1.0 / 30.0 - u * series;
    series = 1.0 / 20.0 - u * series;
    series = 1.0 / 12.0 - u * series;
    series = 1.0 / 6.0 - u * series;
    series = 1.0 / 2.0 - u * series;
    const double ratio = samesum_log_normal(y < lower ? lower : y) - samesum_log_normal(mean < lower ? lower : mean);
    return u < 0.015625 && u > -0.015625 ? mean * u * u * series : y * ratio - (y - mean);
}

/* An integer with the order of the scores, -0.0 and 0.0 being equal. */
static inline uint64_t samesum_score_key(double score) {
    const uint64_t bits = (uint64_t)samesum_bits(score + 0.0), sign = (uint64_t)1 << 63;
    return bits & sign ? ~bits : bits | sign;
}

static inline double samesum_key_score(uint64_t key) {
    const uint64_t sign = (uint64_t)1 << 63;
    return samesum_from_bits((int64_t)(key & sign ? key & ~sign : ~key));
}

/* Add the sum of a b to four limbs of 32 bits, which are carried before they can overflow. */
static inline void samesum_sum_products(int64_t n, const uint64_t *restrict a, const int64_t *restrict b, int64_t *restrict out) {
    const uint64_t low = 0xffffffff;
    uint64_t limb[4] = {0, 0, 0, 0};
    for (int64_t begin = 0; begin < n; begin += SAMESUM_BLOCK) {
        const int64_t end = begin + SAMESUM_BLOCK < n ? begin + SAMESUM_BLOCK : n;
        for (int64_t i = begin; i < end; i++) {
            const uint64_t a0 = a[i] & low, a1 = a[i] >> 32, b0 = (uint64_t)b[i] & low, b1 = (uint64_t)b[i] >> 32;
            const uint64_t lowest = a0 * b0, highest = a1 * b1, left = a1 * b0, right = a0 * b1;
            limb[0] += lowest & low;
            limb[1] += (lowest >> 32) + (left & low) + (right & low);
            limb[2] += (left >> 32) + (right >> 32) + (highest & low);
            limb[3] += highest >> 32;
        }
        for (int k = 0; k < 3; k++) {
            limb[k + 1] += limb[k] >> 32;
            limb[k] &= low;
        }
    }
    for (int k = 0; k < 4; k++) out[k] += (int64_t)limb[k];
}

enum { SAMESUM_NO_LOSS, SAMESUM_POISSON_LOSS, SAMESUM_QUANTILE_LOSS };

/* Errors of rows of positive weight, 0 for others, and what they are charged beside: w times a loss. */
SAMESUM_CLONES static void samesum_charge_rows(int64_t n, const double *restrict predictions, const double *restrict y,
                                               const double *restrict weights, int loss, double quantile, double *restrict error,
                                               double *restrict charged) {
    for (int64_t i = 0; i < n; i++) error[i] = predictions[i] - y[i];
    if (loss == SAMESUM_POISSON_LOSS)
        for (int64_t i = 0; i < n; i++) charged[i] = 2.0 * samesum_poisson_loss(predictions[i], y[i]);
    else if (loss == SAMESUM_QUANTILE_LOSS)
        for (int64_t i = 0; i < n; i++) charged[i] = error[i] > 0.0 ? (1.0 - quantile) * error[i] : -quantile * error[i];
    else
        memset(charged, 0, (size_t)n * sizeof *charged);
    if (weights != NULL)
        for (int64_t i = 0; i < n; i++) {
            error[i] = weights[i] > 0.0 ? error[i] : 0.0;
            charged[i] = weights[i] > 0.0 ? weights[i] * charged[i] : 0.0;
        }
}

/* The largest |error| and w loss of rows of positive weight, as bits, in m's g and h. */
SAMESUM_CLONES static void samesum_measure_errors(int64_t n, const double *restrict predictions, const double *restrict y,
                                                  const double *restrict weights, int loss, double quantile,
                                                  samesum_block_maxima *restrict m) {
    double error[SAMESUM_BLOCK], charged[SAMESUM_BLOCK];
    int64_t largest = 0, most = 0;
    samesum_charge_rows(n, predictions, y, weights, loss, quantile, error, charged);
    for (int64_t i = 0; i < n; i++) {
        largest = samesum_larger(largest, error[i]);
        most = samesum_larger(most, charged[i]);
    }
    m->g = largest; m->h = most;
}

/* Sums of w error^2 and w loss in units of 2^-50, after scaling errors and losses by two factors each, and w by one, to at most 1. */
SAMESUM_CLONES static void samesum_sum_errors(int64_t n, const double *restrict predictions, const double *restrict y,
                                              const double *restrict weights, double weight_scale, int loss, double quantile,
                                              const double *restrict scale, samesum_block_stats *restrict s) {
    double error[SAMESUM_BLOCK], charged[SAMESUM_BLOCK];
    int64_t squares = 0, losses = 0;
    samesum_charge_rows(n, predictions, y, weights, loss, quantile, error, charged);
    for (int64_t i = 0; i < n; i++) {
        const double r = error[i] * scale[0] * scale[1];
        error[i] = r * r * SAMESUM_ONE;
    }
    if (weights != NULL)
        for (int64_t i = 0; i < n; i++) error[i] *= weights[i] * weight_scale;
    for (int64_t i = 0; i < n; i++) {
        squares += samesum_round(error[i]);
        losses += samesum_round(charged[i] * scale[2] * scale[3] * SAMESUM_ONE);
    }
    s->g = squares; s->loss = losses;
}

#endif

/* Gradients of rows and where their hessians are: beside them, 1 everywhere, or a function of the gradient. */
#ifndef SAMESUM_HESSIAN_H
#define SAMESUM_HESSIAN_H

#include "elementary.h"

enum {
    SAMESUM_STORED,      /* gh[2 i] and gh[2 i + 1] */
    SAMESUM_CONSTANT,    /* gh[i], and 1 */
    SAMESUM_OF_GRADIENT, /* gh[i] in units of 2^-50, and p (1 - p) for p = |g|, in units of 2^-52: the logistic loss without weights */
};

/* p (1 - p) in units of 2^-52, at least 1. |p - y| (1 - |p - y|) is the same for y = 0 and y = 1. */
static inline int64_t samesum_logistic_hessian(int64_t g) {
    const double p = samesum_small_to_double(g < 0 ? -g : g) * 0x1p-50;
    const int64_t h = samesum_round(p * (1.0 - p) * 0x1p52);
    return h < 1 ? 1 : h;
}

static inline int64_t samesum_gradient(const int64_t *gh, int64_t i, const int hessian) {
    return gh[hessian == SAMESUM_STORED ? 2 * i : i];
}

static inline int64_t samesum_hessian(const int64_t *gh, int64_t i, const int hessian) {
    return hessian == SAMESUM_STORED ? gh[2 * i + 1] : hessian == SAMESUM_CONSTANT ? 1 : samesum_logistic_hessian(gh[i]);
}

#endif

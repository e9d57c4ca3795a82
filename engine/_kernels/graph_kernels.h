/* Sums over the rows of a graph: gathers with prefetch, in an order of additions that is a function of the row alone. */
#ifndef SAMESUM_GRAPH_KERNELS_H
#define SAMESUM_GRAPH_KERNELS_H

#include <math.h>
#include <stdint.h>
#include "elementary.h"

/* Entries between the one that is added and the one whose value is fetched; so many entries past the last one must be readable. */
#define SAMESUM_AHEAD 64

/* Whole and fraction of a sum in fixed point: value = (high * 2^36 + low) * unit, with 0 <= low < 2^36 after a carry. */
#define SAMESUM_FRACTION_BITS 36

typedef struct {
    int64_t high, low;
} samesum_total;

static inline int64_t samesum_nearest(double x) {
    return samesum_bits(x + SAMESUM_ROUND_MAGIC) - samesum_bits(SAMESUM_ROUND_MAGIC);
}

/* Add x, rounded once to a multiple of unit; `coarse` = 1 / (unit * 2^36), both powers of two, |x * coarse| < 2^51. */
static inline void samesum_add_total(samesum_total *total, double x, double coarse) {
    const double scaled = x * coarse;
    const double whole = (scaled + SAMESUM_ROUND_MAGIC) - SAMESUM_ROUND_MAGIC;
    total->high += samesum_nearest(scaled);
    total->low += samesum_nearest((scaled - whole) * (double)(1LL << SAMESUM_FRACTION_BITS));
}

static inline void samesum_carry_total(samesum_total *total) {
    total->high += total->low >> SAMESUM_FRACTION_BITS;
    total->low &= (1LL << SAMESUM_FRACTION_BITS) - 1;
}

/* The sum of x[slots[k]] (times weights[k]) over a row's entries: entry k of the row goes to accumulator k mod 4, what is left over after
   the last four to the first one, and the sum is (a + b) + (c + d). */
#define SAMESUM_ROW_SUMS(T, suffix)                                                                                                      \
    static inline double samesum_row_sum_##suffix(int64_t k, int64_t end, const uint32_t *slots, const T *x) {                           \
        double a = 0.0, b = 0.0, c = 0.0, d = 0.0;                                                                                       \
        for (; k + 4 <= end; k += 4) {                                                                                                   \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD]);                                                                            \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD + 1]);                                                                        \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD + 2]);                                                                        \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD + 3]);                                                                        \
            a += x[slots[k]];                                                                                                            \
            b += x[slots[k + 1]];                                                                                                        \
            c += x[slots[k + 2]];                                                                                                        \
            d += x[slots[k + 3]];                                                                                                        \
        }                                                                                                                                \
        for (; k < end; k++) {                                                                                                           \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD]);                                                                            \
            a += x[slots[k]];                                                                                                            \
        }                                                                                                                                \
        return (a + b) + (c + d);                                                                                                        \
    }                                                                                                                                    \
    static inline double samesum_weighted_row_sum_##suffix(int64_t k, int64_t end, const uint32_t *slots, const double *weights,         \
                                                           const T *x) {                                                                 \
        double a = 0.0, b = 0.0, c = 0.0, d = 0.0;                                                                                       \
        for (; k + 4 <= end; k += 4) {                                                                                                   \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD]);                                                                            \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD + 1]);                                                                        \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD + 2]);                                                                        \
            __builtin_prefetch(x + slots[k + SAMESUM_AHEAD + 3]);                                                                        \
            a += weights[k] * x[slots[k]];                                                                                               \
            b += weights[k + 1] * x[slots[k + 1]];                                                                                       \
            c += weights[k + 2] * x[slots[k + 2]];                                                                                       \
            d += weights[k + 3] * x[slots[k + 3]];                                                                                       \
        }                                                                                                                                \
        for (; k < end; k++) a += weights[k] * x[slots[k]];                                                                              \
        return (a + b) + (c + d);                                                                                                        \
    }

SAMESUM_ROW_SUMS(double, f64)
SAMESUM_ROW_SUMS(float, f32)

/* What one pass over rows needs; see the pages of the kernels for shapes. `base_of` NULL: every row has the same base. */
typedef struct {
    const int64_t *indptr;
    const uint32_t *slots;
    const double *weights, *base_of, *inverse_out;
    double base, damping, coarse;
    double *ranks, *deltas;
} samesum_rank_rows;

/* Rows that are added up before their ranks are computed, side by side in vector registers. */
#define SAMESUM_RANK_BLOCK 256

/* n rows from `first` on, whose sums are known: rank, change, what each gives to its neighbours next; totals[0] of |change|, totals[1] of
   ranks that give nothing. */
#define SAMESUM_FINISH_RANKS(T, suffix)                                                                                                  \
    SAMESUM_CLONES                                                                                                                       \
    static void samesum_finish_ranks_##suffix(const samesum_rank_rows *rows, int64_t first, int64_t n, const double *restrict sums,      \
                                              T *restrict next, samesum_total *totals) {                                                 \
        const double *restrict inverse_out = rows->inverse_out + first, *restrict base_of = rows->base_of ? rows->base_of + first : 0;    \
        double *restrict ranks = rows->ranks + first, *restrict deltas = rows->deltas + first;                                           \
        const double base = rows->base, damping = rows->damping, coarse = rows->coarse;                                                  \
        samesum_total change = {0, 0}, kept = {0, 0};                                                                                    \
        if (base_of)                                                                                                                     \
            for (int64_t i = 0; i < n; i++) deltas[i] = base * base_of[i] + damping * sums[i];                                           \
        else                                                                                                                             \
            for (int64_t i = 0; i < n; i++) deltas[i] = base + damping * sums[i];                                                        \
        for (int64_t i = 0; i < n; i++) {                                                                                                \
            const double rank = deltas[i], inverse = inverse_out[i], delta = fabs(rank - ranks[i]);                                      \
            ranks[i] = rank;                                                                                                             \
            deltas[i] = delta;                                                                                                           \
            next[first + i] = (T)(rank * inverse);                                                                                       \
            samesum_add_total(&change, delta, coarse);                                                                                   \
            samesum_add_total(&kept, inverse == 0.0 ? rank : 0.0, coarse);                                                               \
        }                                                                                                                                \
        totals[0].high += change.high;                                                                                                   \
        totals[0].low += change.low;                                                                                                     \
        totals[1].high += kept.high;                                                                                                     \
        totals[1].low += kept.low;                                                                                                       \
    }

SAMESUM_FINISH_RANKS(double, f64)
SAMESUM_FINISH_RANKS(float, f32)

/* Rows first to last. */
#define SAMESUM_RANK_ROWS(T, suffix)                                                                                                     \
    static void samesum_rank_rows_##suffix(const samesum_rank_rows *rows, int64_t first, int64_t last, const T *x, T *next,              \
                                           samesum_total *totals) {                                                                      \
        const int64_t *indptr = rows->indptr;                                                                                            \
        double sums[SAMESUM_RANK_BLOCK];                                                                                                 \
        for (int64_t at = first; at < last; at += SAMESUM_RANK_BLOCK) {                                                                  \
            const int64_t n = last - at < SAMESUM_RANK_BLOCK ? last - at : SAMESUM_RANK_BLOCK;                                           \
            for (int64_t i = 0; i < n; i++)                                                                                              \
                sums[i] = rows->weights ? samesum_weighted_row_sum_##suffix(indptr[at + i], indptr[at + i + 1], rows->slots,             \
                                                                            rows->weights, x)                                            \
                                        : samesum_row_sum_##suffix(indptr[at + i], indptr[at + i + 1], rows->slots, x);                  \
            samesum_finish_ranks_##suffix(rows, at, n, sums, next, totals);                                                              \
        }                                                                                                                                \
        samesum_carry_total(&totals[0]);                                                                                                 \
        samesum_carry_total(&totals[1]);                                                                                                 \
    }

SAMESUM_RANK_ROWS(double, f64)
SAMESUM_RANK_ROWS(float, f32)

/* Classes of a vertex lie in blocks of so many, the last one filled up with zeros. */
#define SAMESUM_CLASS_BLOCK 4

/* `n_blocks` blocks of out[] = self_weight * own[] + the sum of (weights[k] *) x[slots[k]][] over a row's entries, one after the other. */
#define SAMESUM_ADD_NEIGHBOURS(n_blocks)                                                                                                 \
    do {                                                                                                                                 \
        double sum[(n_blocks) * SAMESUM_CLASS_BLOCK];                                                                                    \
        for (int c = 0; c < (n_blocks) * SAMESUM_CLASS_BLOCK; c++) sum[c] = self_weight * own[c];                                        \
        for (int64_t k = begin; k < end; k++) {                                                                                          \
            const double *fetched = x + (int64_t)slots[k + SAMESUM_CLASS_AHEAD] * stride;                                                \
            for (int c = 0; c < (n_blocks) * SAMESUM_CLASS_BLOCK; c += 8) __builtin_prefetch(fetched + c);                               \
            const double *value = x + (int64_t)slots[k] * stride;                                                                        \
            if (weights) {                                                                                                               \
                const double weight = weights[k];                                                                                        \
                for (int c = 0; c < (n_blocks) * SAMESUM_CLASS_BLOCK; c++) sum[c] += weight * value[c];                                  \
            } else {                                                                                                                     \
                for (int c = 0; c < (n_blocks) * SAMESUM_CLASS_BLOCK; c++) sum[c] += value[c];                                           \
            }                                                                                                                            \
        }                                                                                                                                \
        for (int c = 0; c < (n_blocks) * SAMESUM_CLASS_BLOCK; c++) out[c] = sum[c];                                                      \
    } while (0)
#define SAMESUM_CLASS_AHEAD 16

static inline __attribute__((always_inline)) void samesum_add_neighbours(int64_t begin, int64_t end, const uint32_t *slots,
                                                                         const double *weights, double self_weight, const double *own,
                                                                         const double *x, int64_t stride, double *out) {
    int64_t left = stride / SAMESUM_CLASS_BLOCK;
    for (; left >= 4; left -= 4, own += 16, x += 16, out += 16) SAMESUM_ADD_NEIGHBOURS(4);
    if (left == 3) SAMESUM_ADD_NEIGHBOURS(3);
    if (left == 2) SAMESUM_ADD_NEIGHBOURS(2);
    if (left == 1) SAMESUM_ADD_NEIGHBOURS(1);
}

typedef struct {
    const int64_t *indptr;
    const uint32_t *slots;
    const double *weights;
    double self_weight, coarse;
    int64_t n_classes, stride, offset;
    const uint8_t *fixed, *was_changed;
} samesum_label_rows;

static inline int samesum_is_stirred(const samesum_label_rows *rows, int64_t i) {
    if (rows->was_changed == NULL || rows->was_changed[rows->offset + i]) return 1;
    for (int64_t k = rows->indptr[i]; k < rows->indptr[i + 1]; k++)
        if (rows->was_changed[rows->slots[k]]) return 1;
    return 0;
}

/* Rows first to last of label propagation: `next` holds the values before the last ones and gets the new ones, `changed` whether any bit
   of a row is new. `fresh` is room for one row. totals[0]: of the distances to the last values, totals[1]: to those before. Returns the
   number of rows that were added up. */
SAMESUM_CLONES
static int64_t samesum_propagate_rows(const samesum_label_rows *rows, int64_t first, int64_t last, const double *x, double *next,
                                      uint8_t *changed, double *fresh, samesum_total *totals) {
    samesum_total near = {0, 0}, far = {0, 0};
    const int64_t stride = rows->stride, n_classes = rows->n_classes;
    int64_t n_computed = 0;
    for (int64_t i = first; i < last; i++) {
        changed[i] = 0;
        if (rows->fixed[i]) continue;
        const double *own = x + (rows->offset + i) * stride, *value = own;
        double *row = next + i * stride;
        double to_last = 0.0, to_before = 0.0, sum = 0.0;
        if (samesum_is_stirred(rows, i)) {
            samesum_add_neighbours(rows->indptr[i], rows->indptr[i + 1], rows->slots, rows->weights, rows->self_weight, own, x, stride, fresh);
            for (int64_t c = 0; c < n_classes; c++) sum += fresh[c];
            if (sum > 0.0) {
                for (int64_t c = 0; c < stride; c++) fresh[c] /= sum;
                value = fresh;
            }
            n_computed++;
        }
        for (int64_t c = 0; c < n_classes; c++) {
            const double step = value[c] - own[c], leap = value[c] - row[c];
            to_last += step * step;
            to_before += leap * leap;
            changed[i] |= value[c] != own[c];
        }
        for (int64_t c = 0; c < n_classes; c++) row[c] = value[c];
        samesum_add_total(&near, sqrt(to_last), rows->coarse);
        samesum_add_total(&far, sqrt(to_before), rows->coarse);
    }
    samesum_carry_total(&near);
    samesum_carry_total(&far);
    totals[0] = near;
    totals[1] = far;
    return n_computed;
}

#endif

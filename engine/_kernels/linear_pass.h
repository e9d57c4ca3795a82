/* One pass over blocks of rows of a design matrix: margins, loss, gradient and Hessian while a tile of rows is in cache.

   The matrix has dense columns (by address, so that they stay where they came from), then an intercept, then sparse columns: indicators
   (at most one of each source in a row) and entries with values in [-1, 1]. Dense sums are added up in eight lanes over a block and become
   fixed-point numbers at its end: `high * 2^36 + low`. Sparse products become integers one by one. Integers commute, so threads add them
   up in any order. Every factor below is a power of two. */
#ifndef SAMESUM_LINEAR_PASS_H
#define SAMESUM_LINEAR_PASS_H

#include <stdlib.h>

#include "linear_losses.h"

#define SAMESUM_LINEAR_BLOCK 8192
#define SAMESUM_LIMB 36
#define SAMESUM_ENTRY_BITS 46 /* of a sparse product: 2^16 rows of them fit in 64 bits */
#define SAMESUM_FLUSH_BLOCKS 8
#define SAMESUM_GROUP 64 /* dense columns whose pairs are added up at once */

enum { SAMESUM_LOSS_HIGH, SAMESUM_LOSS_LOW, SAMESUM_SQUARES_HIGH, SAMESUM_SQUARES_LOW, SAMESUM_RIGHT, SAMESUM_ROWS, SAMESUM_BAD, SAMESUM_N_SCALARS };

typedef struct {
    /* features */
    int64_t n_rows, n_dense, n_onehot, n_sparse;
    const int64_t *address; /* [n_blocks][n_dense] of doubles */
    const int32_t *onehot;  /* [n_rows][n_onehot] sparse columns, -1 for none */
    const int64_t *start;   /* [n_rows + 1], NULL without entries */
    const int32_t *index;
    const double *value;
    /* rows; any of weight, offset and fold may be NULL */
    const double *y, *weight, *offset;
    const int32_t *fold;
    /* what is asked: loss, order of derivatives, outputs c, and vectors [n_vectors][c][columns] to multiply by the Hessian */
    int32_t loss, order;
    int64_t n_outputs, n_vectors;
    const double *coefficients, *vectors;
    const samesum_tile (*tiles)[4];
    /* bounds, as factors: of dense columns and the intercept [n_dense + 1], of row sums, of gradients (one for each output of gradients) */
    const double *column_factor, *gradient_factor, *entry_factor;
    double loss_factor, squares_factor, hessian_factor, pair_factor;
} samesum_linear;

typedef struct {
    int64_t *scalars;         /* [SAMESUM_N_SCALARS] */
    int64_t *dense_gradient;  /* [n_gradients][n_dense + 1][2] */
    int64_t *sparse_gradient; /* [n_gradients][n_sparse][2] */
    int64_t *dense_hessian;   /* [n_hessians][pairs of n_dense + 1][2] */
} samesum_linear_sums;

typedef struct {
    double *m, *g, *h, *p, *u, *loss, *w, *mask, *spare, *packed, *scaled, *gradient_lanes, *hessian_lanes;
    const double **x, **gp, **source;
    int64_t *q;
    int64_t *sparse_gradient;               /* [n_gradients][n_sparse] */
    int64_t *mixed_hessian, *sparse_hessian; /* [n_hessians][n_sparse][n_dense + 1], [n_hessians][pairs of n_sparse]; may be shared */
    int64_t n_unflushed;
    double max_error;
    double loss_lanes[SAMESUM_LANES], squares_lanes[SAMESUM_LANES];
    void *room;
} samesum_linear_scratch;

static const double samesum_ones[SAMESUM_TILE_ROWS] = {
#define O8 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0
#define O64 O8, O8, O8, O8, O8, O8, O8, O8
    O64, O64, O64, O64
#undef O64
#undef O8
};

static inline int64_t samesum_n_gradients(const samesum_linear *l) { return l->n_outputs * (l->n_vectors > 0 ? l->n_vectors : 1); }
static inline int64_t samesum_n_hessians(const samesum_linear *l) { return l->n_outputs * (l->n_outputs + 1) / 2; }
static inline int64_t samesum_n_columns(const samesum_linear *l) { return l->n_dense + 1 + l->n_sparse; }
static inline int64_t samesum_pairs(int64_t n) { return n * (n + 1) / 2; }
/* The place of the pair (i, j >= i) of n. */
static inline int64_t samesum_pair(int64_t n, int64_t i, int64_t j) { return i * n - i * (i - 1) / 2 + (j - i); }
/* Pairs are added up while the rows of a tile are in cache, where they all fit; else block by block. */
static inline int samesum_is_fused(const samesum_linear *l) { return l->n_outputs == 1 && l->n_dense < SAMESUM_GROUP; }

static double *samesum_take(char **room, int64_t n) {
    double *taken = (double *)*room;
    *room += 64 * ((8 * n + 63) / 64);
    return taken;
}

/* Work space of one thread; 0 if there is no memory. `mixed`, `sparse`: where pairs of sparse columns are added up. */
static int samesum_open_scratch(const samesum_linear *l, samesum_linear_scratch *s, int64_t *mixed, int64_t *sparse) {
    const int64_t T = SAMESUM_TILE_ROWS, c = l->n_outputs, n_g = samesum_n_gradients(l), n_h = samesum_n_hessians(l), nd = l->n_dense + 1;
    const int64_t group = nd < SAMESUM_GROUP ? nd : SAMESUM_GROUP, rows_h = samesum_is_fused(l) ? T : SAMESUM_LINEAR_BLOCK;
    const int64_t sizes[] = {c * T, n_g * T, n_h * rows_h, c * T, c * T, T, T, T, T, nd * T, SAMESUM_TILE_SIDE * T,
                             nd * (n_g + 1) * SAMESUM_LANES, group * group * SAMESUM_LANES, nd, n_g + 1, nd, T, n_g * l->n_sparse};
    int64_t total = 64;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) total += 64 * ((8 * sizes[k] + 63) / 64);
    s->room = calloc(1, (size_t)total);
    if (s->room == NULL) return 0;
    char *room = (char *)(((uintptr_t)s->room + 63) / 64 * 64);
    s->m = samesum_take(&room, c * T);
    s->g = samesum_take(&room, n_g * T);
    s->h = samesum_take(&room, n_h * rows_h);
    s->p = samesum_take(&room, c * T);
    s->u = samesum_take(&room, c * T);
    s->loss = samesum_take(&room, T);
    s->w = samesum_take(&room, T);
    s->mask = samesum_take(&room, T);
    s->spare = samesum_take(&room, T);
    s->packed = samesum_take(&room, nd * T);
    s->scaled = samesum_take(&room, SAMESUM_TILE_SIDE * T);
    s->gradient_lanes = samesum_take(&room, nd * (n_g + 1) * SAMESUM_LANES);
    s->hessian_lanes = samesum_take(&room, group * group * SAMESUM_LANES);
    s->x = (const double **)samesum_take(&room, nd);
    s->gp = (const double **)samesum_take(&room, n_g + 1);
    s->source = (const double **)samesum_take(&room, nd);
    s->q = (int64_t *)samesum_take(&room, T);
    s->sparse_gradient = (int64_t *)samesum_take(&room, n_g * l->n_sparse);
    s->mixed_hessian = mixed;
    s->sparse_hessian = sparse;
    s->n_unflushed = 0;
    s->max_error = 0.0;
    return 1;
}

static inline void samesum_add_shared(int64_t *to, int64_t value) {
    if (value != 0) __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}

/* Add s * factor * 2^36 to a pair of limbs, |s * factor| <= 2^36; 1 if it is not: inf, NaN, or beyond what was thought possible. */
static inline int64_t samesum_add_double(double s, double factor, int64_t *to) {
    const double v = s * factor;
    if (!(v >= -137438953472.0 && v <= 137438953472.0)) return 1;
    const double high = (v + SAMESUM_ROUND_MAGIC) - SAMESUM_ROUND_MAGIC;
    samesum_add_shared(to, (int64_t)high);
    samesum_add_shared(to + 1, (int64_t)(((v - high) * 68719476736.0 + SAMESUM_ROUND_MAGIC) - SAMESUM_ROUND_MAGIC));
    return 0;
}

/* Columns of the rows first to first + n of a block: where they are, or packed: filled up with zeros to a multiple of 8 rows, or because `pack`
   asks for it, as lines of the cache are read whole then, and rows of a Hessian are read often. */
static void samesum_place_columns(const samesum_linear *l, int64_t block, int64_t first, int64_t n, int pack, samesum_linear_scratch *s) {
    const int64_t *address = l->address + block * l->n_dense;
    for (int64_t j = 0; j < l->n_dense; j++) {
        const double *column = (const double *)(uintptr_t)address[j] + first;
        s->source[j] = column;
        if (pack || n % SAMESUM_LANES) {
            double *packed = s->packed + j * SAMESUM_TILE_ROWS;
            memcpy(packed, column, (size_t)n * sizeof(double));
            for (int64_t r = n; r % SAMESUM_LANES; r++) packed[r] = 0.0;
            column = packed;
        }
        s->x[j] = column;
    }
    s->x[l->n_dense] = samesum_ones;
}

/* Add to m the sparse columns' part of the margins of n rows. */
static void samesum_add_sparse(const samesum_linear *l, int64_t row, int64_t n, const double *w, double *m) {
    if (l->n_onehot > 0)
        for (int64_t r = 0; r < n; r++) {
            const int32_t *index = l->onehot + (row + r) * l->n_onehot;
            double sum = m[r];
            for (int64_t k = 0; k < l->n_onehot; k++) sum += index[k] < 0 ? 0.0 : w[index[k]];
            m[r] = sum;
        }
    if (l->start != NULL)
        for (int64_t r = 0; r < n; r++) {
            double sum = m[r];
            for (int64_t k = l->start[row + r]; k < l->start[row + r + 1]; k++) sum += l->value[k] * w[l->index[k]];
            m[r] = sum;
        }
}

/* out[k][r]: margins of n rows for every output, the columns being in place. */
static void samesum_margins(const samesum_linear *l, int64_t row, int64_t n, const double *w, const double *offset,
                            const samesum_linear_scratch *s, double *out) {
    const int64_t nd = l->n_dense;
    for (int64_t k = 0; k < l->n_outputs; k++, w += samesum_n_columns(l), out += SAMESUM_TILE_ROWS) {
        int64_t used = nd; /* at the usual beginning, 0, features need not be read for margins */
        while (used > 0 && w[used - 1] == 0.0) used--;
        samesum_add_columns(n, used, s->x, w, w[nd], offset == NULL ? NULL : offset + row, out);
        samesum_add_sparse(l, row, n, w + nd + 1, out);
    }
}

/* q[r] = x[r] * factor, rounded; what is not within `most` is 0 and counted. */
SAMESUM_LINEAR_CLONES static int64_t samesum_to_integers(int64_t n, const double *restrict x, double factor, double most,
                                                         int64_t *restrict q) {
    int64_t bad = 0;
    for (int64_t r = 0; r < n; r++) {
        const double v = x[r] * factor;
        const int is_good = v >= -most && v <= most;
        q[r] = samesum_bits((is_good ? v : 0.0) + SAMESUM_ROUND_MAGIC) - 0x4338000000000000LL;
        bad += !is_good;
    }
    return bad;
}

static inline int64_t samesum_to_integer(double v) {
    return samesum_bits(v + SAMESUM_ROUND_MAGIC) - 0x4338000000000000LL;
}

/* to[column * stride] += v[r] * value of every sparse entry of n rows, as integers in units of 1 / factor. */
static int64_t samesum_scatter(const samesum_linear *l, int64_t row, int64_t n, const double *v, double factor, double most, int64_t *q,
                               int64_t *to, int64_t stride) {
    const int64_t bad = samesum_to_integers(n, v, factor, most, q);
    if (bad) return bad;
    if (l->n_onehot > 0)
        for (int64_t r = 0; r < n; r++) {
            const int32_t *index = l->onehot + (row + r) * l->n_onehot;
            for (int64_t k = 0; k < l->n_onehot; k++)
                if (index[k] >= 0) to[index[k] * stride] += q[r];
        }
    if (l->start != NULL)
        for (int64_t r = 0; r < n; r++) {
            const double scaled = v[r] * factor;
            for (int64_t k = l->start[row + r]; k < l->start[row + r + 1]; k++)
                to[l->index[k] * stride] += samesum_to_integer(scaled * l->value[k]);
        }
    return 0;
}

/* Products of every pair of sparse entries of n rows, times h. */
static int64_t samesum_scatter_pairs(const samesum_linear *l, int64_t row, int64_t n, const double *h, double factor, double most, int64_t *q,
                                     int64_t *to) {
    const int64_t ns = l->n_sparse, bad = samesum_to_integers(n, h, factor, most, q);
    if (bad) return bad;
    for (int64_t r = 0; r < n; r++) {
        const int32_t *index = l->onehot + (row + r) * l->n_onehot;
        for (int64_t a = 0; a < l->n_onehot; a++) {
            if (index[a] < 0) continue;
            for (int64_t b = a; b < l->n_onehot; b++)
                if (index[b] >= 0) to[samesum_pair(ns, index[a], index[b])] += q[r];
        }
        if (l->start == NULL) continue;
        const int64_t first = l->start[row + r], last = l->start[row + r + 1];
        const double scaled = h[r] * factor;
        for (int64_t a = first; a < last; a++) {
            const double v = scaled * l->value[a];
            const int64_t at = l->index[a];
            for (int64_t b = 0; b < l->n_onehot; b++) {
                const int64_t other = index[b];
                if (other >= 0) to[at < other ? samesum_pair(ns, at, other) : samesum_pair(ns, other, at)] += samesum_to_integer(v);
            }
            for (int64_t b = a; b < last; b++) {
                const int64_t other = l->index[b];
                to[at < other ? samesum_pair(ns, at, other) : samesum_pair(ns, other, at)] += samesum_to_integer(v * l->value[b]);
            }
        }
    }
    return 0;
}

/* Loss, gradients g [n_outputs][T] and, for curvature, h [n_hessians][stride] at n rows from their margins; sums of the rows' metrics. */
static void samesum_apply_loss(const samesum_linear *l, int64_t row, int64_t n, int curvature, int64_t stride, double *h,
                               samesum_linear_scratch *s, const samesum_linear_sums *out, const double *mask) {
    const int64_t T = SAMESUM_TILE_ROWS, c = l->n_outputs;
    const double *y = l->y + row;
    int64_t right = 0;
    switch (l->loss) {
    case SAMESUM_SQUARED:
        samesum_squared_rows(n, s->m, y, s->w, s->g, h, s->loss);
        {
            const double error = samesum_square_residuals(n, s->m, y, mask, s->spare);
            s->max_error = error > s->max_error ? error : s->max_error;
        }
        break;
    case SAMESUM_LOGISTIC:
        samesum_logistic_rows(n, s->m, y, s->w, s->g, h, s->loss);
        right = samesum_count_signs(n, s->m, y, mask);
        break;
    case SAMESUM_HINGE:
        samesum_hinge_rows(n, s->m, y, s->w, s->g, h, s->loss);
        right = samesum_count_signs(n, s->m, y, mask);
        break;
    case SAMESUM_SOFTMAX:
        samesum_softmax_rows(n, c, T, s->m, y, s->w, s->p, s->g, s->loss, s->spare);
        right = samesum_count_classes(n, c, T, s->m, y, mask);
        if (curvature)
            for (int64_t k = 0, at = 0; k < c; k++)
                for (int64_t j = k; j < c; j++, at++)
                    samesum_softmax_curvature(n, s->p + k * T, s->p + j * T, j == k, s->w, h + at * stride);
        break;
    default: /* SAMESUM_GIVEN: y is what the columns are multiplied by */
        for (int64_t r = 0; r < n; r++) {
            s->g[r] = h[r] = y[r];
            s->loss[r] = 0.0;
        }
    }
    samesum_add_shared(&out->scalars[SAMESUM_RIGHT], right);
}

/* t_k = sum over l of h_kl u_l, for every vector: replaces the gradients. */
static void samesum_multiply_vectors(const samesum_linear *l, int64_t row, int64_t n, int64_t stride, const double *h,
                                     samesum_linear_scratch *s) {
    const int64_t T = SAMESUM_TILE_ROWS, c = l->n_outputs;
    for (int64_t v = 0; v < l->n_vectors; v++) {
        samesum_margins(l, row, n, l->vectors + v * c * samesum_n_columns(l), NULL, s, s->u);
        for (int64_t k = 0; k < c; k++) {
            double *t = s->g + (v * c + k) * T;
            memset(t, 0, (size_t)n * sizeof(double));
            for (int64_t j = 0; j < c; j++) {
                const double *curve = h + (j < k ? samesum_pair(c, j, k) : samesum_pair(c, k, j)) * stride, *u = s->u + j * T;
                for (int64_t r = 0; r < n; r++) t[r] += curve[r] * u[r];
            }
        }
    }
}

/* Dense pairs of the columns a and b (groups of columns), times h, over n rows, into the lanes; n_next columns are fetched meanwhile. */
static void samesum_add_pairs(const samesum_linear *l, int64_t n, int64_t a, int64_t na, int64_t b, int64_t nb, const double *h,
                              samesum_linear_scratch *s, int64_t n_next) {
    samesum_multiply_pairs(l->tiles, n, na, s->x + a, nb, s->x + b, h, a == b, s->scaled, s->hessian_lanes, nb, n_next, s->source);
}

/* Lanes of dense pairs to limbs; the lanes are 0 again. */
static void samesum_close_pairs(const samesum_linear *l, int64_t a, int64_t na, int64_t b, int64_t nb, int64_t *to, int64_t *bad,
                                samesum_linear_scratch *s) {
    for (int64_t i = 0; i < na; i++)
        for (int64_t j = a == b ? i : 0; j < nb; j++) {
            const double factor = l->column_factor[a + i] * l->hessian_factor * l->column_factor[b + j];
            *bad += samesum_add_double(samesum_add_lanes(s->hessian_lanes + (i * nb + j) * SAMESUM_LANES), factor,
                                       to + 2 * samesum_pair(l->n_dense + 1, a + i, b + j));
        }
    memset(s->hessian_lanes, 0, (size_t)(na * nb * SAMESUM_LANES) * sizeof(double));
}

/* Pairs with sparse columns of n rows, times h. */
static int64_t samesum_add_sparse_pairs(const samesum_linear *l, int64_t row, int64_t n, int64_t number, const double *h,
                                        samesum_linear_scratch *s) {
    const int64_t nd = l->n_dense + 1, ns = l->n_sparse;
    const double most = 1125899906842624.0; /* 2^50 */
    int64_t bad = samesum_scatter_pairs(l, row, n, h, l->pair_factor, most, s->q, s->sparse_hessian + number * samesum_pairs(ns));
    for (int64_t j = 0; j < nd; j++) {
        samesum_multiply(n, s->x[j], h, s->spare);
        bad += samesum_scatter(l, row, n, s->spare, l->column_factor[j] * l->pair_factor, most, s->q,
                               s->mixed_hessian + number * ns * nd + j, nd);
    }
    return bad;
}

/* Add the integers of sparse gradients to their limbs. */
static void samesum_flush_gradient(const samesum_linear *l, samesum_linear_scratch *s, int64_t *to) {
    const int64_t n = samesum_n_gradients(l) * l->n_sparse, low = ((int64_t)1 << SAMESUM_LIMB) - 1;
    for (int64_t j = 0; j < n; j++)
        if (s->sparse_gradient[j] != 0) {
            samesum_add_shared(to + 2 * j, s->sparse_gradient[j] >> SAMESUM_LIMB);
            samesum_add_shared(to + 2 * j + 1, s->sparse_gradient[j] & low);
            s->sparse_gradient[j] = 0;
        }
    s->n_unflushed = 0;
}

static void samesum_clear_padding(int64_t n, int64_t n_arrays, int64_t stride, double *arrays) {
    for (int64_t k = 0; k < n_arrays; k++)
        for (int64_t r = n; r % SAMESUM_LANES; r++) arrays[k * stride + r] = 0.0;
}

/* Everything that is asked of one block; `fold` -1: all of its rows, else those of this fold. */
static void samesum_pass_block(const samesum_linear *l, int64_t block, int32_t fold, samesum_linear_scratch *s, const samesum_linear_sums *out) {
    const int64_t T = SAMESUM_TILE_ROWS, nd = l->n_dense + 1, n_g = samesum_n_gradients(l), n_h = samesum_n_hessians(l);
    const int64_t begin = block * SAMESUM_LINEAR_BLOCK, rest = l->n_rows - begin, n_rows = rest < SAMESUM_LINEAR_BLOCK ? rest : SAMESUM_LINEAR_BLOCK;
    const int fused = samesum_is_fused(l), has_vectors = l->n_vectors > 0, curvature = l->order == 2 || has_vectors;
    /* where a Hessian is added up tile by tile, x'h is the intercept's part of it, added up beside the gradient x'g */
    const int fetches = fused && l->order == 2;
    const int64_t stride = fused ? T : SAMESUM_LINEAR_BLOCK, n_sums = n_g + fetches;
    const double most = (double)((int64_t)1 << SAMESUM_ENTRY_BITS);
    int64_t bad = 0, counted = 0;
    memset(s->loss_lanes, 0, sizeof s->loss_lanes);
    memset(s->squares_lanes, 0, sizeof s->squares_lanes);
    memset(s->gradient_lanes, 0, (size_t)(nd * n_sums * SAMESUM_LANES) * sizeof(double));
    for (int64_t k = 0; k < n_g; k++) s->gp[k] = s->g + k * T;
    s->gp[n_g] = s->h;
    for (int64_t first = 0; first < n_rows; first += T) {
        const int64_t row = begin + first, n = n_rows - first < T ? n_rows - first : T, padded = (n + 7) / 8 * 8;
        const int has_next = first + 2 * T <= n_rows;
        const double *mask = NULL;
        double *h = fused ? s->h : s->h + first;
        for (int64_t r = 0; r < n; r++) s->w[r] = l->weight == NULL ? 1.0 : l->weight[row + r];
        if (fold >= 0) {
            for (int64_t r = 0; r < n; r++) {
                s->mask[r] = l->fold[row + r] == fold ? 1.0 : 0.0;
                s->w[r] = s->mask[r] != 0.0 ? s->w[r] : 0.0;
                counted += l->fold[row + r] == fold;
            }
            mask = s->mask;
        } else
            counted += n;
        samesum_place_columns(l, block, first, n, fetches, s);
        samesum_margins(l, row, n, l->coefficients, l->offset, s, s->m);
        samesum_apply_loss(l, row, n, curvature, stride, h, s, out, mask);
        samesum_clear_padding(n, 1, T, s->loss);
        samesum_add_to_lanes(padded, s->loss, s->loss_lanes);
        if (l->loss == SAMESUM_SQUARED) {
            samesum_clear_padding(n, 1, T, s->spare);
            samesum_add_to_lanes(padded, s->spare, s->squares_lanes);
        }
        if (l->order == 0) continue;
        if (has_vectors) samesum_multiply_vectors(l, row, n, stride, h, s);
        samesum_clear_padding(n, n_g, T, s->g);
        if (l->order == 2) samesum_clear_padding(n, n_h, stride, h);
        samesum_multiply_columns(l->tiles, padded, nd, s->x, n_sums, s->gp, 0, s->gradient_lanes, n_sums);
        if (l->n_sparse > 0)
            for (int64_t k = 0; k < n_g; k++)
                bad += samesum_scatter(l, row, n, s->g + k * T, l->entry_factor[k], most, s->q, s->sparse_gradient + k * l->n_sparse, 1);
        if (l->order < 2) continue;
        if (fused) samesum_add_pairs(l, padded, 0, nd - 1, 0, nd - 1, h, s, has_next ? l->n_dense : 0);
        if (l->n_sparse > 0)
            for (int64_t k = 0; k < n_h; k++) bad += samesum_add_sparse_pairs(l, row, n, k, h + k * stride, s);
    }
    bad += samesum_add_double(samesum_add_lanes(s->loss_lanes), l->loss_factor, out->scalars + SAMESUM_LOSS_HIGH);
    bad += samesum_add_double(samesum_add_lanes(s->squares_lanes), l->squares_factor, out->scalars + SAMESUM_SQUARES_HIGH);
    samesum_add_shared(out->scalars + SAMESUM_ROWS, counted);
    if (l->order > 0) {
        for (int64_t j = 0; j < nd; j++)
            for (int64_t k = 0; k < n_g; k++)
                bad += samesum_add_double(samesum_add_lanes(s->gradient_lanes + (j * n_sums + k) * SAMESUM_LANES),
                                          l->column_factor[j] * l->gradient_factor[k], out->dense_gradient + 2 * (k * nd + j));
        if (l->n_sparse > 0 && ++s->n_unflushed == SAMESUM_FLUSH_BLOCKS) samesum_flush_gradient(l, s, out->sparse_gradient);
    }
    if (fetches) {
        samesum_close_pairs(l, 0, nd - 1, 0, nd - 1, out->dense_hessian, &bad, s);
        for (int64_t j = 0; j < nd; j++)
            bad += samesum_add_double(samesum_add_lanes(s->gradient_lanes + (j * n_sums + n_g) * SAMESUM_LANES),
                                      l->column_factor[j] * l->hessian_factor * l->column_factor[nd - 1],
                                      out->dense_hessian + 2 * samesum_pair(nd, j, nd - 1));
    }
    if (l->order == 2 && !fused)
        for (int64_t k = 0; k < n_h; k++)
            for (int64_t a = 0; a < nd; a += SAMESUM_GROUP)
                for (int64_t b = a; b < nd; b += SAMESUM_GROUP) {
                    const int64_t na = nd - a < SAMESUM_GROUP ? nd - a : SAMESUM_GROUP, nb = nd - b < SAMESUM_GROUP ? nd - b : SAMESUM_GROUP;
                    for (int64_t first = 0; first < n_rows; first += T) {
                        const int64_t n = n_rows - first < T ? n_rows - first : T;
                        samesum_place_columns(l, block, first, n, 0, s);
                        samesum_add_pairs(l, (n + 7) / 8 * 8, a, na, b, nb, s->h + k * stride + first, s, 0);
                    }
                    samesum_close_pairs(l, a, na, b, nb, out->dense_hessian + 2 * k * samesum_pairs(nd), &bad, s);
                }
    samesum_add_shared(out->scalars + SAMESUM_BAD, bad);
}

/* Margins of a block, out [n_outputs][n_rows]. */
static void samesum_multiply_block(const samesum_linear *l, int64_t block, samesum_linear_scratch *s, double *out) {
    const int64_t begin = block * SAMESUM_LINEAR_BLOCK, rest = l->n_rows - begin, n_rows = rest < SAMESUM_LINEAR_BLOCK ? rest : SAMESUM_LINEAR_BLOCK;
    for (int64_t first = 0; first < n_rows; first += SAMESUM_TILE_ROWS) {
        const int64_t n = n_rows - first < SAMESUM_TILE_ROWS ? n_rows - first : SAMESUM_TILE_ROWS;
        samesum_place_columns(l, block, first, n, 0, s);
        samesum_margins(l, begin + first, n, l->coefficients, l->offset, s, s->m);
        for (int64_t k = 0; k < l->n_outputs; k++)
            memcpy(out + k * l->n_rows + begin + first, s->m + k * SAMESUM_TILE_ROWS, (size_t)n * sizeof(double));
    }
}

SAMESUM_LINEAR_CLONES static void samesum_step(int64_t n, const double *restrict at, const double *restrict along, double step,
                                               double *restrict out) {
    for (int64_t r = 0; r < n; r++) out[r] = at[r] + step * along[r];
}

/* out: limbs of the loss and of the slope, at margins `at + step * along`, [n_outputs][n_rows] both; returns what did not fit. */
static int64_t samesum_line_block(const samesum_linear *l, int64_t block, const double *at, const double *along, double step,
                                  double slope_factor, samesum_linear_scratch *s, int64_t *out) {
    const int64_t T = SAMESUM_TILE_ROWS, c = l->n_outputs, begin = block * SAMESUM_LINEAR_BLOCK, rest = l->n_rows - begin;
    const int64_t n_rows = rest < SAMESUM_LINEAR_BLOCK ? rest : SAMESUM_LINEAR_BLOCK;
    double loss[SAMESUM_LANES] = {0}, slope[SAMESUM_LANES] = {0};
    int64_t scalars[SAMESUM_N_SCALARS] = {0}; /* not asked for */
    const samesum_linear_sums ignored = {scalars, NULL, NULL, NULL};
    for (int64_t first = 0; first < n_rows; first += T) {
        const int64_t row = begin + first, n = n_rows - first < T ? n_rows - first : T, padded = (n + 7) / 8 * 8;
        for (int64_t k = 0; k < c; k++) samesum_step(n, at + k * l->n_rows + row, along + k * l->n_rows + row, step, s->m + k * T);
        for (int64_t r = 0; r < n; r++) s->w[r] = l->weight == NULL ? 1.0 : l->weight[row + r];
        samesum_apply_loss(l, row, n, 0, T, s->h, s, &ignored, NULL);
        samesum_clear_padding(n, 1, T, s->loss);
        samesum_add_to_lanes(padded, s->loss, loss);
        for (int64_t k = 0; k < c; k++) {
            samesum_multiply(n, s->g + k * T, along + k * l->n_rows + row, s->spare);
            samesum_clear_padding(n, 1, T, s->spare);
            samesum_add_to_lanes(padded, s->spare, slope);
        }
    }
    return samesum_add_double(samesum_add_lanes(loss), l->loss_factor, out) + samesum_add_double(samesum_add_lanes(slope), slope_factor, out + 2);
}

static int samesum_set_tiles(samesum_linear *l, int instructions) {
    l->tiles = samesum_choose_tiles(instructions);
    return l->tiles != NULL;
}

#endif

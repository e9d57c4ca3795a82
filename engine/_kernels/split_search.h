/* The loops of the search for splits, written in C for vector code: prefix sums, what cannot win, and gains. */
#ifndef SAMESUM_SPLIT_SEARCH_H
#define SAMESUM_SPLIT_SEARCH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "elementary.h"

#ifdef __GNUC__
#define SAMESUM_INLINE static inline __attribute__((always_inline))
#else
#define SAMESUM_INLINE static inline
#endif

#define SAMESUM_BLOCK 16         /* candidates that are looked at together, and codes that are skipped together where all are empty */
#define SAMESUM_DIGIT 8          /* bits that a pass of the radix sort orders by */
#define SAMESUM_FEW_LEVELS 48    /* fewer levels than this are sorted by insertion: clearing the radix sort's counters costs more */

/* Sets of categories fit noise unless they are held back: sorted by their means, hundreds of levels seem to part well by chance. So a set
   holds a few of the levels at either end; levels with little weight are in no set; means are drawn to 0; and scores have a lambda more.
   Chosen by the AUC of held-out rows of nine synthetic tables of 1,000 to 2,000,000 rows and up to 10,000 levels, in some of which half of
   the columns mean nothing: 128 levels of a weight of 16 instead of 32 levels of 8 add 0.006 to 0.018 where every column means something, and
   take 0.001 to 0.004 where half do not; of tables of few levels one loses 0.011 and two gain 0.002. More levels fit noise in small tables,
   and heavier ones leave nothing to choose from there. The other two constants, three times larger, change it by at most 0.003. Weights are
   hessians. */
#define SAMESUM_SMOOTHING 10.0
#define SAMESUM_PARTITION_LAMBDA 10.0
#define SAMESUM_MIN_LEVEL_WEIGHT 16.0
#define SAMESUM_MAX_LEVELS 128

#define SAMESUM_SMALL ((uint64_t)1 << 49) /* sums below it, and sums of three of them, are doubles after one addition */

/* What every gain of a node depends on. Units are powers of two. */
typedef struct {
    double g_unit, h_unit, lambda, alpha, min_weight;
    double lower, upper; /* bounds on the weights of leaves */
    int bounded;         /* whether weights have bounds or a direction */
} samesum_scoring;

/* The candidates of a column: the sums of their yes sides, in blocks, the last one filled up with candidates that have no other side. */
typedef struct {
    int64_t *g, *h;
    int64_t *first_code; /* code, or place in the order, of each block's first candidate */
    int64_t n_blocks, g_total, h_total, g_missing, h_missing;
    uint64_t magnitude;  /* at least 2 SAMESUM_SMALL where a sum is too large for the quick conversion */
} samesum_candidates;

/* A node's best split so far; column -1 while there is none. */
typedef struct {
    double gain, middle;
    int32_t column, code;
    uint8_t missing_yes;
} samesum_split;

/* The double nearest to an integer, from operations that vector units have: halves beside powers of two, then one rounding sum. */
SAMESUM_INLINE double samesum_to_double(int64_t value) {
    const double high = samesum_from_bits((int64_t)(((uint64_t)value >> 32) ^ 0x4530000080000000ULL)); /* 2^84 + 2^63 + high 2^32 */
    const double low = samesum_from_bits((int64_t)(((uint64_t)value & 0xffffffffULL) | 0x4330000000000000ULL)); /* 2^52 + low */
    return (high - (0x1p84 + 0x1p63 + 0x1p52)) + low;
}

/* |g| less alpha, 0 below it: gradients under an L1 penalty (soft threshold), whose sign is put back where it matters. */
SAMESUM_INLINE double samesum_shrink(double g, double alpha) {
    const double rest = fabs(g) - alpha;
    return rest > 0.0 ? rest : 0.0;
}

/* The weight of a leaf with sums g and h, within the bounds. */
SAMESUM_INLINE double samesum_weight(double g, double h, double lambda, double alpha, double lower, double upper) {
    const double size = samesum_shrink(g, alpha) / (h + lambda), weight = g > 0.0 ? -size : size;
    const double raised = weight < lower ? lower : weight;
    return raised > upper ? upper : raised;
}

/* Twice what a leaf of this weight takes off the loss's second-order model, penalties included. */
SAMESUM_INLINE double samesum_weight_score(double g, double h, double lambda, double alpha, double weight) {
    return -(2.0 * g * weight + (h + lambda) * weight * weight + 2.0 * alpha * fabs(weight));
}

/* A node's own score, taken off those of its children. */
static inline double samesum_node_score(const samesum_scoring *s, int64_t g_total, int64_t h_total) {
    const double g = s->g_unit * samesum_to_double(g_total), h = s->h_unit * samesum_to_double(h_total);
    const double shrunk = samesum_shrink(g, s->alpha);
    if (!s->bounded) return shrunk * shrunk / (h + s->lambda);
    return samesum_weight_score(g, h, s->lambda, s->alpha, samesum_weight(g, h, s->lambda, s->alpha, s->lower, s->upper));
}

/* The middle between the weights of a split's children. */
static inline double samesum_middle(const samesum_scoring *s, int64_t g, int64_t h, int64_t g_total, int64_t h_total) {
    const double yes = samesum_weight(s->g_unit * samesum_to_double(g), s->h_unit * samesum_to_double(h), s->lambda, s->alpha, s->lower,
                                      s->upper);
    const double no = samesum_weight(s->g_unit * samesum_to_double(g_total - g), s->h_unit * samesum_to_double(h_total - h), s->lambda,
                                     s->alpha, s->lower, s->upper);
    return yes * 0.5 + no * 0.5;
}

/* gains[c] = score(yes) + score(no) of a block's candidates; minus infinity where a child is empty or lighter than min_weight.
   Swapping yes and no gives the same bits, so mirrored splits tie. */
SAMESUM_INLINE void samesum_block_gains(const int64_t *restrict g, const int64_t *restrict h, int64_t g_add, int64_t h_add, int64_t g_total,
                                        int64_t h_total, const samesum_scoring *s, double *restrict gains) {
    const double g_unit = s->g_unit, h_unit = s->h_unit, lambda = s->lambda, alpha = s->alpha, min_weight = s->min_weight;
    for (int c = 0; c < SAMESUM_BLOCK; c++) {
        const double g_yes = samesum_shrink(g_unit * samesum_to_double(g[c] + g_add), alpha);
        const double g_no = samesum_shrink(g_unit * samesum_to_double(g_total - (g[c] + g_add)), alpha);
        const double h_yes = h_unit * samesum_to_double(h[c] + h_add), h_no = h_unit * samesum_to_double(h_total - (h[c] + h_add));
        const double gain = g_yes * g_yes / (h_yes + lambda) + g_no * g_no / (h_no + lambda);
        const double lighter = h_yes < h_no ? h_yes : h_no;
        gains[c] = lighter > 0.0 ? (lighter >= min_weight ? gain : -INFINITY) : -INFINITY;
    }
}

/* The same with weights held within the bounds, and minus infinity where they go against the direction: 1 for weights that may not
   fall from yes to no, -1 for weights that may not rise, 0 for any. */
SAMESUM_INLINE void samesum_bounded_gains(const int64_t *restrict g, const int64_t *restrict h, int64_t g_add, int64_t h_add,
                                          int64_t g_total, int64_t h_total, const samesum_scoring *s, int direction, double *restrict gains) {
    const double g_unit = s->g_unit, h_unit = s->h_unit, lambda = s->lambda, alpha = s->alpha, min_weight = s->min_weight;
    const double lower = s->lower, upper = s->upper, sign = direction;
    for (int c = 0; c < SAMESUM_BLOCK; c++) {
        const double g_yes = g_unit * samesum_to_double(g[c] + g_add), g_no = g_unit * samesum_to_double(g_total - (g[c] + g_add));
        const double h_yes = h_unit * samesum_to_double(h[c] + h_add), h_no = h_unit * samesum_to_double(h_total - (h[c] + h_add));
        const double w_yes = samesum_weight(g_yes, h_yes, lambda, alpha, lower, upper);
        const double w_no = samesum_weight(g_no, h_no, lambda, alpha, lower, upper);
        const double gain = samesum_weight_score(g_yes, h_yes, lambda, alpha, w_yes) + samesum_weight_score(g_no, h_no, lambda, alpha, w_no);
        const double lighter = h_yes < h_no ? h_yes : h_no;
        const double allowed = sign * w_yes <= sign * w_no ? gain : -INFINITY;
        gains[c] = lighter > 0.0 ? (lighter >= min_weight ? allowed : -INFINITY) : -INFINITY;
    }
}

/* A score that candidates must reach, as a test without divisions in units of the lanes:
   y^2 / d + z^2 / e >= floor where y^2 e + z^2 d >= floor d e. Every candidate that is heavy enough passes where floor is 0. */
typedef struct {
    double scale, floor, lambda, alpha, min_weight;
} samesum_hurdle;

/* What does not change from score to score. `scale` is 0 where numbers could leave the range of doubles. Both least values are a
   little lower than they are, so that rounding hides no winner. */
static inline samesum_hurdle samesum_make_hurdle(const samesum_scoring *s) {
    const double slack = 1.0 - 0x1p-40, least = s->min_weight / s->h_unit * slack, scale = s->h_unit / s->g_unit / s->g_unit * slack;
    const samesum_hurdle hurdle = {scale, 0.0, s->lambda / s->h_unit, s->alpha / s->g_unit, least > 0.5 ? least : 0.5};
    const samesum_hurdle none = {0.0, 0.0, 0.0, 0.0, hurdle.min_weight};
    return scale > 0x1p-300 && scale < 0x1p300 && hurdle.lambda < 0x1p200 && hurdle.alpha < 0x1p200 ? hurdle : none;
}

static inline void samesum_raise_hurdle(samesum_hurdle *hurdle, double score) {
    const double floor = score * hurdle->scale;
    hurdle->floor = floor > 0x1p-300 && floor < 0x1p300 ? floor : 0.0;
}

/* Whether any candidate of a block passes. Integers are below SAMESUM_SMALL. */
SAMESUM_INLINE int64_t samesum_passes(const int64_t *restrict g, const int64_t *restrict h, int64_t g_add, int64_t h_add, double g_total,
                                      double h_total, samesum_hurdle hurdle) {
    int64_t any = 0;
    for (int c = 0; c < SAMESUM_BLOCK; c++) {
        const double g_yes = samesum_small_to_double(g[c] + g_add), h_yes = samesum_small_to_double(h[c] + h_add);
        const double y = samesum_shrink(g_yes, hurdle.alpha), z = samesum_shrink(g_total - g_yes, hurdle.alpha), h_no = h_total - h_yes;
        const double d = h_yes + hurdle.lambda, e = h_no + hurdle.lambda, lighter = h_yes < h_no ? h_yes : h_no;
        any |= (int64_t)(lighter >= hurdle.min_weight) & (int64_t)(y * y * e + z * z * d >= hurdle.floor * (d * e));
    }
    return any;
}

/* Improve `best` by a column's candidates, the first of equal ones; missing values go to no, and to yes too where `both`.
   Returns whether it did; best->code is then a code, or a place in the order of levels. */
SAMESUM_CLONES static int samesum_search_candidates(const samesum_candidates *k, const samesum_scoring *s, const samesum_hurdle *start,
                                                    int direction, int both, samesum_split *best) {
    const double parent = samesum_node_score(s, k->g_total, k->h_total);
    const int quick = !s->bounded && k->magnitude < 2 * SAMESUM_SMALL;
    const double g_total = samesum_to_double(k->g_total), h_total = samesum_to_double(k->h_total);
    samesum_hurdle hurdle = *start;
    samesum_raise_hurdle(&hurdle, best->gain + parent);
    int improved = 0;
    double gains[2][SAMESUM_BLOCK];
    for (int64_t b = 0; b < k->n_blocks; b++) {
        const int64_t *g = k->g + b * SAMESUM_BLOCK, *h = k->h + b * SAMESUM_BLOCK;
        if (quick) {
            int64_t any = samesum_passes(g, h, 0, 0, g_total, h_total, hurdle);
            if (both) any |= samesum_passes(g, h, k->g_missing, k->h_missing, g_total, h_total, hurdle);
            if (!any) continue;
        }
        for (int side = 0; side <= both; side++) {
            const int64_t g_add = side ? k->g_missing : 0, h_add = side ? k->h_missing : 0;
            if (s->bounded) samesum_bounded_gains(g, h, g_add, h_add, k->g_total, k->h_total, s, direction, gains[side]);
            else samesum_block_gains(g, h, g_add, h_add, k->g_total, k->h_total, s, gains[side]);
        }
        for (int c = 0; c < SAMESUM_BLOCK; c++) {
            for (int side = 0; side <= both; side++) {
                if (!(gains[side][c] - parent > best->gain)) continue;
                improved = 1;
                best->gain = gains[side][c] - parent;
                best->code = (int32_t)(k->first_code[b] + c);
                best->missing_yes = (uint8_t)side;
                if (s->bounded)
                    best->middle = samesum_middle(s, g[c] + (side ? k->g_missing : 0), h[c] + (side ? k->h_missing : 0), k->g_total,
                                                  k->h_total);
            }
        }
        samesum_raise_hurdle(&hurdle, best->gain + parent);
    }
    return improved;
}

SAMESUM_INLINE int64_t samesum_any(const int64_t *block) {
    int64_t any = 0;
    for (int i = 0; i < 2 * SAMESUM_BLOCK; i++) any |= block[i];
    return any;
}

/* Candidates of a histogram of n codes, pairs of g and h: yes is every code up to one (`cumulate`), or one code alone. Blocks of empty
   codes are left out: a candidate there would tie with the one before. So would those after the last code. The first block has nothing
   before it, and its first code may stand for missing values alone. */
SAMESUM_INLINE void samesum_list_codes_as(const int64_t *restrict hist, int64_t n, const int cumulate, samesum_candidates *k) {
    int64_t g = 0, h = 0, n_blocks = 0;
    int64_t *restrict g_out = k->g, *restrict h_out = k->h;
    int64_t tail[2 * SAMESUM_BLOCK];
    uint64_t magnitude = 0;
    for (int64_t first = 0; first < n; first += SAMESUM_BLOCK) {
        const int64_t *block = hist + 2 * first;
        if (n - first < SAMESUM_BLOCK) {
            memset(tail, 0, sizeof tail);
            block = memcpy(tail, block, 2 * (size_t)(n - first) * sizeof(int64_t));
        }
        if (first > 0 && !samesum_any(block)) continue;
        k->first_code[n_blocks++] = first;
        for (int c = 0; c < SAMESUM_BLOCK; c++) {
            g += block[2 * c];
            h += block[2 * c + 1];
            g_out[c] = cumulate ? g : block[2 * c];
            h_out[c] = cumulate ? h : block[2 * c + 1];
            magnitude |= (uint64_t)g + SAMESUM_SMALL;
        }
        g_out += SAMESUM_BLOCK;
        h_out += SAMESUM_BLOCK;
    }
    k->n_blocks = n_blocks;
    k->g_total = g;
    k->h_total = h;
    k->magnitude = magnitude | ((uint64_t)h + SAMESUM_SMALL);
}

SAMESUM_CLONES static void samesum_list_codes(const int64_t *hist, int64_t n, int cumulate, samesum_candidates *k) {
    if (cumulate) samesum_list_codes_as(hist, n, 1, k);
    else samesum_list_codes_as(hist, n, 0, k);
}

static inline uint64_t samesum_level_key(const samesum_scoring *s, int64_t g, int64_t h, int64_t code) {
    const float mean = (float)(samesum_to_double(g) / (s->h_unit * samesum_to_double(h) + SAMESUM_SMOOTHING)) + 0.0f; /* no -0 */
    uint32_t bits;
    memcpy(&bits, &mean, sizeof bits);
    bits ^= bits >> 31 ? 0xffffffffU : 0x80000000U; /* unsigned integers in the order of floats */
    return (uint64_t)bits << 32 | (uint64_t)code;
}

/* Stable radix sort by the upper 32 bits in four passes, there and back: the result is in `keys`. */
static inline void samesum_sort_keys(uint64_t *restrict keys, uint64_t *restrict other, int64_t n) {
    enum { DIGITS = 1 << SAMESUM_DIGIT };
    uint32_t count[4][DIGITS];
    memset(count, 0, sizeof count);
    for (int64_t i = 0; i < n; i++)
        for (int pass = 0; pass < 4; pass++) count[pass][keys[i] >> (32 + SAMESUM_DIGIT * pass) & (DIGITS - 1)]++;
    uint64_t *from = keys, *to = other;
    for (int pass = 0; pass < 4; pass++) {
        const int shift = 32 + SAMESUM_DIGIT * pass;
        uint32_t at = 0;
        for (int d = 0; d < DIGITS; d++) {
            const uint32_t here = count[pass][d];
            count[pass][d] = at;
            at += here;
        }
        for (int64_t i = 0; i < n; i++) to[count[pass][from[i] >> shift & (DIGITS - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
}

/* Sort the levels that are heavy enough by their smoothed mean gradient, ties by code: their codes are the lower halves of the
   result's words. `keys`: [2, n] room. */
static inline const uint64_t *samesum_order_levels(const int64_t *hist, int64_t n, const samesum_scoring *s, uint64_t *keys,
                                                   int64_t *n_levels) {
    int64_t count = 0;
    for (int64_t c = 0; c < n; c++) {
        const int64_t h = hist[2 * c + 1];
        if (h > 0 && s->h_unit * samesum_to_double(h) >= SAMESUM_MIN_LEVEL_WEIGHT)
            keys[count++] = samesum_level_key(s, hist[2 * c], h, c);
    }
    *n_levels = count;
    if (count > SAMESUM_FEW_LEVELS) {
        samesum_sort_keys(keys, keys + n, count);
        return keys;
    }
    for (int64_t i = 1; i < count; i++) {
        const uint64_t key = keys[i];
        int64_t j = i;
        for (; j > 0 && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
        keys[j] = key;
    }
    return keys;
}

/* Candidates of ordered levels: yes is up to SAMESUM_MAX_LEVELS of the first ones, places 0 onwards, or of the last ones, places
   n onwards. */
static inline void samesum_list_levels(const int64_t *hist, int64_t n, const uint64_t *order, int64_t n_levels,
                                       samesum_candidates *k) {
    int64_t g_total = 0, h_total = 0, at = 0;
    uint64_t magnitude = 0;
    for (int64_t c = 0; c < n; c++) {
        g_total += hist[2 * c];
        h_total += hist[2 * c + 1];
        magnitude |= (uint64_t)g_total + SAMESUM_SMALL;
    }
    for (int last = 0; last < 2; last++) {
        int64_t g = 0, h = 0;
        for (int64_t i = 0; i < n_levels && i < SAMESUM_MAX_LEVELS; i++) {
            const uint32_t code = (uint32_t)order[last ? n_levels - 1 - i : i];
            g += hist[2 * code];
            h += hist[2 * code + 1];
            magnitude |= (uint64_t)g + SAMESUM_SMALL;
            if (at % SAMESUM_BLOCK == 0) k->first_code[at / SAMESUM_BLOCK] = last * n + i;
            k->g[at] = g;
            k->h[at++] = h;
        }
        for (; at % SAMESUM_BLOCK; at++) {
            k->g[at] = g_total;
            k->h[at] = h_total;
        }
    }
    k->n_blocks = at / SAMESUM_BLOCK;
    k->g_total = g_total;
    k->h_total = h_total;
    k->magnitude = magnitude | ((uint64_t)h_total + SAMESUM_SMALL);
}

#endif

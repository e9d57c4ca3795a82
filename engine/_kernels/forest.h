/* Blocks of rows through packed trees, 8, 16 or 32 bits a code.

   A row's value in a column enters as its code: how many of the ensemble's own thresholds of this column are at or below it, or a category's
   number. Codes lie in planes, a column's (and direction's, for missing values), 256 rows side by side, with their sign bit flipped, so that
   signed comparison, which vector units have, orders them.

   Small trees are swept: their leaves are numbered from yes to no, and a row that has come as far as node n stands on the first leaf below it.
   Nodes are asked in turn, parents first; the rows that stand on a node's first leaf and say no step over the leaves of its yes side. This
   asks every node of every row, but thirty-two rows at once, without branches or dependent loads. Other trees are walked, eight rows abreast,
   so that their loads overlap. */
#ifndef SAMESUM_FOREST_H
#define SAMESUM_FOREST_H

#include "elementary.h"

enum { SAMESUM_BLOCK = 256, SAMESUM_ABREAST = 8, SAMESUM_SEARCHES = 16, SAMESUM_SWEEP_LEAVES = 256, SAMESUM_SWEEP_ROWS = 32, SAMESUM_STRETCHES = 1024 };

/* An inner node of a small tree: no is code >= limit, or code != limit where `equal`; then rows on leaf `first` go `skip` further. */
typedef struct { int32_t plane, limit; uint8_t first, skip, equal; } samesum_split;

/* A node of any tree: yes, which goes to `child`, is (code ^ flip) < limit; no goes to `child + 1`. A leaf is its own child. A negative plane
   is ~plane, and asks for bit `code` of the words from `flip` on. */
typedef struct { int32_t plane; uint32_t flip, limit; int32_t child; } samesum_node;

typedef struct {
    const samesum_split *splits; /* NULL where the tree is not small */
    const samesum_node *nodes;
    const int32_t *leaves; /* of each node, its place among the leaves */
    const double *values; /* of each leaf */
    const int32_t *numbers; /* of each leaf, in the tree as it was given */
    int32_t n_splits, has_sets;
} samesum_tree;

typedef struct {
    const samesum_tree *trees;
    const uint64_t *words;
    int64_t n_trees, n_planes;
} samesum_forest;

#if defined(__GNUC__)
#define SAMESUM_FORCE_INLINE static inline __attribute__((always_inline))
#else
#define SAMESUM_FORCE_INLINE static inline
#endif

/* Equal stretches of the numbers between the first and the last finite edge: what a search has to look at. The stretch of a number never
   falls as the number grows, so all edges before its stretch are below it and all behind are above. */
typedef struct { double low, scale; int32_t start[SAMESUM_STRETCHES], length; } samesum_stretches;

SAMESUM_FORCE_INLINE int32_t samesum_stretch(const samesum_stretches *of, double value) {
    const double place = (value - of->low) * of->scale;
    return place >= 1.0 ? (place < SAMESUM_STRETCHES - 1 ? (int32_t)place : SAMESUM_STRETCHES - 1) : 0; /* NaN is in the first */
}

/* Cut m >= 1 ascending edges into stretches, into one for n values that are too few to pay for more; the starts leave room for `length` >= 1
   edges, the most in a stretch. */
static void samesum_cut_stretches(const double *edges, int32_t m, int64_t n, samesum_stretches *out) {
    if (n < SAMESUM_BLOCK) {
        out->low = out->scale = 0.0;
        out->start[0] = 0;
        out->length = m;
        return;
    }
    const double range = (m > 1 && edges[m - 1] > 1.7976931348623157e308 ? edges[m - 2] : edges[m - 1]) - edges[0];
    out->low = edges[0];
    out->scale = range > 0.0 ? SAMESUM_STRETCHES / range : 0.0;
    out->length = 1;
    for (int32_t s = 0, i = 0; s < SAMESUM_STRETCHES; s++) {
        out->start[s] = i;
        while (i < m && samesum_stretch(out, edges[i]) == s) i++;
        if (i - out->start[s] > out->length) out->length = i - out->start[s];
    }
    for (int32_t s = 0; s < SAMESUM_STRETCHES; s++)
        if (out->start[s] > m - out->length) out->start[s] = m - out->length;
}

#define SAMESUM_DEFINE_FOREST(BITS, LANES) \
\
typedef int##BITS##_t samesum_codes_##BITS __attribute__((vector_size(32))); \
typedef int##BITS##_t samesum_unaligned_##BITS __attribute__((vector_size(32), aligned(1), may_alias)); \
typedef uint##BITS##_t samesum_places_##BITS __attribute__((vector_size(32))); \
typedef uint##BITS##_t samesum_unaligned_places_##BITS __attribute__((vector_size(32), aligned(1), may_alias)); \
\
/* at[i] = the leaf of row i of a block. */ \
SAMESUM_CLONES static void samesum_sweep_##BITS(const samesum_split *splits, int n_splits, const int##BITS##_t *codes, uint##BITS##_t *at) { \
    for (int begin = 0; begin < SAMESUM_BLOCK; begin += 4 * LANES) { \
        samesum_places_##BITS place[4] = {{0}, {0}, {0}, {0}}; \
        for (int s = 0; s < n_splits; s++) { \
            const samesum_unaligned_##BITS *code = (const samesum_unaligned_##BITS *)(codes + (int64_t)splits[s].plane * SAMESUM_BLOCK + begin); \
            const int##BITS##_t limit = (int##BITS##_t)splits[s].limit; \
            const uint##BITS##_t first = splits[s].first, skip = splits[s].skip; \
            if (splits[s].equal) { \
                for (int v = 0; v < 4; v++) \
                    place[v] += (samesum_places_##BITS)(place[v] == first) & (samesum_places_##BITS)(code[v] != limit) & skip; \
            } else { \
                for (int v = 0; v < 4; v++) \
                    place[v] += (samesum_places_##BITS)(place[v] == first) & (samesum_places_##BITS)(code[v] >= limit) & skip; \
            } \
        } \
        for (int v = 0; v < 4; v++) ((samesum_unaligned_places_##BITS *)(at + begin))[v] = place[v]; \
    } \
} \
\
/* The same for `n` rows, one question after the other. */ \
SAMESUM_FORCE_INLINE void samesum_descend_##BITS(const samesum_tree *tree, const uint64_t *words, const int has_sets, \
                                                 const int##BITS##_t *codes, const int n, int32_t *at) { \
    int32_t node[SAMESUM_ABREAST] = {0}, moved; \
    do { \
        moved = 0; \
        for (int k = 0; k < n; k++) { \
            const samesum_node *asked = &tree->nodes[node[k]]; \
            const int32_t is_set = has_sets ? asked->plane >> 31 : 0; /* all ones or none */ \
            const uint32_t code = (uint##BITS##_t)codes[(int64_t)(asked->plane ^ is_set) * SAMESUM_BLOCK + k]; \
            int32_t yes = (code ^ (asked->flip & ~(uint32_t)is_set)) < asked->limit; \
            if (has_sets) { \
                const uint32_t plain = code ^ (uint32_t)1 << (BITS - 1); \
                yes &= (int32_t)(words[(asked->flip + (plain >> 6)) & (uint32_t)is_set] >> (plain & 63) & 1); \
            } \
            const int32_t next = asked->child + 1 - yes; \
            moved |= next ^ node[k]; \
            node[k] = next; \
        } \
    } while (moved); \
    for (int k = 0; k < n; k++) at[k] = tree->leaves[node[k]]; \
} \
\
static void samesum_walk_##BITS(const samesum_tree *tree, const uint64_t *words, const int##BITS##_t *codes, int n_rows, int32_t *at) { \
    for (int begin = 0; begin < n_rows; begin += SAMESUM_ABREAST) { \
        if (n_rows - begin < SAMESUM_ABREAST) samesum_descend_##BITS(tree, words, 1, codes + begin, n_rows - begin, at + begin); \
        else if (tree->has_sets) samesum_descend_##BITS(tree, words, 1, codes + begin, SAMESUM_ABREAST, at + begin); \
        else samesum_descend_##BITS(tree, words, 0, codes + begin, SAMESUM_ABREAST, at + begin); \
    } \
} \
\
/* out[i * n_outputs + t % n_outputs] += the leaf value of row i in tree t, in tree order; codes: [n_planes, SAMESUM_BLOCK]. */ \
static void samesum_add_values_##BITS(const samesum_forest *forest, const void *codes, int n_rows, double *out, int64_t n_outputs) { \
    uint##BITS##_t place[SAMESUM_BLOCK]; \
    int32_t at[SAMESUM_BLOCK]; \
    for (int64_t t = 0; t < forest->n_trees; t++) { \
        const samesum_tree *tree = &forest->trees[t]; \
        const double *values = tree->values; \
        double *sums = out + t % n_outputs; \
        if (tree->splits && n_rows >= SAMESUM_SWEEP_ROWS) { \
            samesum_sweep_##BITS(tree->splits, tree->n_splits, (const int##BITS##_t *)codes, place); \
            for (int i = 0; i < n_rows; i++) sums[i * n_outputs] += values[place[i]]; \
        } else { \
            samesum_walk_##BITS(tree, forest->words, (const int##BITS##_t *)codes, n_rows, at); \
            for (int i = 0; i < n_rows; i++) sums[i * n_outputs] += values[at[i]]; \
        } \
    } \
} \
\
/* out[i * n_trees + t] = number of the leaf of row i in tree t. */ \
static void samesum_store_leaves_##BITS(const samesum_forest *forest, const void *codes, int n_rows, int32_t *out) { \
    int32_t at[SAMESUM_BLOCK]; \
    for (int64_t t = 0; t < forest->n_trees; t++) { \
        samesum_walk_##BITS(&forest->trees[t], forest->words, (const int##BITS##_t *)codes, n_rows, at); \
        for (int i = 0; i < n_rows; i++) out[i * forest->n_trees + t] = forest->trees[t].numbers[at[i]]; \
    } \
} \
\
/* Codes of n numbers: how many of m >= 1 ascending edges are at or below each. A NaN is below all in plane `low`, above all in plane `high`; a \
   negative plane is left out. `codes`: [ceil(n / SAMESUM_BLOCK), n_planes, SAMESUM_BLOCK]. */ \
static void samesum_rank_##BITS(const double *values, int64_t n, const double *edges, int32_t m, int64_t n_planes, int64_t low, int64_t high, \
                                void *codes) { \
    const uint##BITS##_t flip = (uint##BITS##_t)((uint32_t)1 << (BITS - 1)); \
    samesum_stretches stretches; \
    samesum_cut_stretches(edges, m, n, &stretches); \
    for (int64_t begin = 0; begin < n; begin += SAMESUM_SEARCHES) { \
        const int count = n - begin < SAMESUM_SEARCHES ? (int)(n - begin) : SAMESUM_SEARCHES; \
        uint##BITS##_t *row = (uint##BITS##_t *)codes + begin / SAMESUM_BLOCK * n_planes * SAMESUM_BLOCK + begin % SAMESUM_BLOCK; \
        int32_t at[SAMESUM_SEARCHES]; \
        double v[SAMESUM_SEARCHES]; \
        for (int k = 0; k < SAMESUM_SEARCHES; k++) { \
            v[k] = values[begin + (k < count ? k : count - 1)]; \
            at[k] = stretches.start[samesum_stretch(&stretches, v[k])]; \
        } \
        for (int32_t length = stretches.length; length > 1; length -= length >> 1) { \
            const int32_t half = length >> 1; \
            for (int k = 0; k < SAMESUM_SEARCHES; k++) at[k] += half & -(int32_t)(edges[at[k] + half - 1] <= v[k]); \
        } \
        for (int k = 0; k < SAMESUM_SEARCHES; k++) at[k] += edges[at[k]] <= v[k]; \
        if (low >= 0) for (int k = 0; k < count; k++) row[low * SAMESUM_BLOCK + k] = (uint##BITS##_t)at[k] ^ flip; \
        if (high >= 0) for (int k = 0; k < count; k++) row[high * SAMESUM_BLOCK + k] = (uint##BITS##_t)(v[k] != v[k] ? m : at[k]) ^ flip; \
    } \
} \
\
/* Codes of n categories, whole numbers: those from m on and negative ones get m, a NaN m + 1. */ \
static void samesum_number_##BITS(const double *values, int64_t n, int32_t m, int64_t n_planes, int64_t plane, void *codes) { \
    const uint##BITS##_t flip = (uint##BITS##_t)((uint32_t)1 << (BITS - 1)); \
    for (int64_t i = 0; i < n; i++) { \
        const double v = values[i]; \
        const int32_t code = v >= 0.0 && v < m ? (int32_t)v : m + (v != v); \
        ((uint##BITS##_t *)codes)[(i / SAMESUM_BLOCK * n_planes + plane) * SAMESUM_BLOCK + i % SAMESUM_BLOCK] = (uint##BITS##_t)code ^ flip; \
    } \
}

SAMESUM_DEFINE_FOREST(8, 32)
SAMESUM_DEFINE_FOREST(16, 16)
SAMESUM_DEFINE_FOREST(32, 8)

#endif

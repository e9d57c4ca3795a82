/* The loops in which training spends its time, written in C for constant widths and prefetching. */
#ifndef SAMESUM_TREE_KERNELS_H
#define SAMESUM_TREE_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "hessian.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SAMESUM_AVX512
#endif

#define SAMESUM_CODES 256     /* codes of a narrow column, and the stride of its local histogram */
#define SAMESUM_MAX_GROUP 10  /* columns of a group; their packed local histograms fill 20 KiB, beside which codes and words find room */
#define SAMESUM_MAX_PANEL 64  /* columns of a panel; a row's codes in it fill a cache line at most */
#define SAMESUM_WIDE_ROWS 4096 /* rows in order whose words are taken apart at once, for all wide columns */
#define SAMESUM_MAX_WIDE 32   /* wide columns of a panel, of two bytes each */
#define SAMESUM_BLOCK_BYTES 32768  /* of gathered codes, which one group after the other adds up */
#define SAMESUM_BLOCK_ROWS 1024  /* rows that are gathered at most */
#define SAMESUM_AHEAD 32      /* rows between a prefetch and its use where rows are gathered */
#define SAMESUM_FAR_AHEAD 48  /* the same for loops of a few additions a row */

#ifdef __GNUC__
#define SAMESUM_INLINE static inline __attribute__((always_inline))
#define SAMESUM_PREFETCH(p) __builtin_prefetch(p)
#define SAMESUM_PREFETCH_FAR(p) __builtin_prefetch(p, 0, 2)
#define SAMESUM_UNROLL _Pragma("GCC unroll 16")
#else
#define SAMESUM_INLINE static inline
#define SAMESUM_PREFETCH(p) ((void)0)
#define SAMESUM_PREFETCH_FAR(p) ((void)0)
#define SAMESUM_UNROLL
#endif

/* hist[j][c[j]] += word, or the two words of pairs, for `width` columns of one row. */
SAMESUM_INLINE void samesum_add_row(const uint8_t *c, const int64_t *word, int64_t *hist, const int per_row, const int width) {
    const int64_t g = word[0], h = word[per_row - 1];
    SAMESUM_UNROLL
    for (int j = 0; j < width; j++) {
        int64_t *slot = hist + per_row * (j * SAMESUM_CODES + c[j]);
        slot[0] += g;
        if (per_row == 2) slot[1] += h;
    }
}

/* A block of rows, whose codes and words lie one after the other. */
SAMESUM_INLINE void samesum_add_block(const uint8_t *codes, int64_t stride, int64_t n, const int64_t *words, int64_t *hist,
                                      const int per_row, const int width) {
    for (int64_t i = 0; i < n; i++) samesum_add_row(codes + i * stride, words + per_row * i, hist, per_row, width);
}

/* The same, while `n_next` rows of the next block, which lie far apart, are asked for. */
SAMESUM_INLINE void samesum_add_block_ahead(const uint8_t *codes, int64_t stride, int64_t n, const int64_t *words, int64_t *hist,
                                            const uint8_t *far_codes, const int64_t *far_words, const uint32_t *next, int64_t n_next,
                                            const int per_row, const int width) {
    int64_t i = 0;
    for (; i < n_next; i++) {
        SAMESUM_PREFETCH_FAR(far_codes + next[i] * stride);
        SAMESUM_PREFETCH_FAR(far_words + (int64_t)next[i] * per_row);
        samesum_add_row(codes + i * stride, words + per_row * i, hist, per_row, width);
    }
    samesum_add_block(codes + i * stride, stride, n - i, words + per_row * i, hist, per_row, width);
}

/* Columns of rows in order, each column's codes side by side, eight rows at a time. */
SAMESUM_INLINE void samesum_add_columns(const uint8_t *columns, int64_t length, int64_t n, const int64_t *words, int64_t *hist,
                                        const int per_row, const int width) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        SAMESUM_UNROLL
        for (int j = 0; j < width; j++) {
            uint64_t eight;
            memcpy(&eight, columns + j * length + i, 8);
            SAMESUM_UNROLL
            for (int k = 0; k < 8; k++, eight >>= 8) {
                int64_t *slot = hist + per_row * (j * SAMESUM_CODES + (uint8_t)eight);
                slot[0] += words[per_row * (i + k)];
                if (per_row == 2) slot[1] += words[2 * (i + k) + 1];
            }
        }
    }
    for (; i < n; i++)
        for (int j = 0; j < width; j++) samesum_add_row(columns + j * length + i, words + per_row * i, hist + per_row * j * SAMESUM_CODES, per_row, 1);
}

/* Bring the codes and words of n rows that lie far apart next to each other. */
SAMESUM_INLINE void samesum_gather_rows(const uint8_t *codes, const uint32_t *rows, int64_t n, const int64_t *words, uint8_t *near_codes,
                                        int64_t *near_words, const int per_row, const int stride) {
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = rows[i], next = rows[i + SAMESUM_AHEAD < n ? i + SAMESUM_AHEAD : n - 1];
        SAMESUM_PREFETCH(codes + next * stride);
        SAMESUM_PREFETCH(words + next * per_row);
        near_words[per_row * i] = words[row * per_row];
        if (per_row == 2) near_words[2 * i + 1] = words[2 * row + 1];
        memcpy(near_codes + i * stride, codes + row * stride, stride);
    }
}

#define SAMESUM_COLUMN_WIDTHS(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define SAMESUM_WIDTHS(F) SAMESUM_COLUMN_WIDTHS(F) F(8) F(9) F(10)
#define SAMESUM_STRIDES(F) F(1) F(2) F(4) F(8) F(16) F(32) F(64)
#define SAMESUM_COLUMN_GROUP 7

/* Add all rows from `begin` to `end` in order to the local histograms of `width` columns, `length` codes each. */
SAMESUM_INLINE void samesum_add_ordered_words(const uint8_t *columns, int64_t length, int width, int64_t begin, int64_t end,
                                              const int64_t *words, int64_t *hist, const int per_row) {
    const int most = SAMESUM_COLUMN_GROUP, n_groups = (width + most - 1) / most;
    for (int g = 0; g < n_groups; g++) {
        const int column = width * g / n_groups;
        int64_t *local = hist + per_row * SAMESUM_CODES * column;
        const uint8_t *codes = columns + column * length + begin;
        switch (width * (g + 1) / n_groups - column) {
#define SAMESUM_CASE(W) case W: samesum_add_columns(codes, length, end - begin, words + per_row * begin, local, per_row, W); break;
            SAMESUM_COLUMN_WIDTHS(SAMESUM_CASE)
#undef SAMESUM_CASE
        }
    }
}

typedef int64_t samesum_pair __attribute__((vector_size(16), aligned(16)));

/* A histogram that all threads add to: that of a wide column, which would leave no room in a cache for one of each thread's own. */
typedef struct {
    int64_t *hist;  /* pairs, by code */
    int64_t n_codes;
    int32_t *lock;
    uint8_t *begun; /* whether it holds sums yet */
} samesum_shared;

/* A lock for one histogram: integer additions commute, so who comes first does not matter. */
static inline void samesum_lock(int32_t *lock) {
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(lock, __ATOMIC_RELAXED)) {}
    }
}

static inline void samesum_unlock(int32_t *lock) {
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

static inline void samesum_begin_shared(const samesum_shared *to) {
    samesum_lock(to->lock);
    if (!*to->begun) memset(to->hist, 0, 2 * (size_t)to->n_codes * sizeof(int64_t));
    *to->begun = 1;
}

/* The words of n rows as pairs: theirs, or taken apart into `room`. */
SAMESUM_CLONES static const int64_t *samesum_take_apart(const int64_t *restrict words, int64_t n, int h_bits, int64_t *restrict room) {
    if (h_bits == 0) return words;
    const int64_t h_mask = ((int64_t)1 << h_bits) - 1;
    for (int64_t i = 0; i < n; i++) {
        room[2 * i] = words[i] >> h_bits;
        room[2 * i + 1] = words[i] & h_mask;
    }
    return room;
}

/* Add n rows' pairs to the histogram of a wide column, whose codes lie `stride` bytes apart. */
static inline void samesum_add_shared(const uint8_t *codes, int64_t stride, int64_t n, const int64_t *pairs, const samesum_shared *to) {
    samesum_begin_shared(to);
    for (int64_t i = 0; i < n; i++) {
        uint16_t code;
        samesum_pair sum, pair;
        memcpy(&code, codes + i * stride, sizeof code);
        memcpy(&sum, to->hist + 2 * code, sizeof sum);
        memcpy(&pair, pairs + 2 * i, sizeof pair);
        sum += pair;
        memcpy(to->hist + 2 * code, &sum, sizeof sum);
    }
    samesum_unlock(to->lock);
}

/* Add all rows from `begin` to `end` in order to the histograms of `n_wide` wide columns, `length` codes each. */
static inline void samesum_add_ordered_wide(const uint16_t *columns, int64_t length, int n_wide, int64_t begin, int64_t end,
                                            const int64_t *words, int h_bits, const samesum_shared *wide) {
    int64_t room[2 * SAMESUM_WIDE_ROWS];
    for (int64_t first = begin; first < end; first += SAMESUM_WIDE_ROWS) {
        const int64_t n = end - first < SAMESUM_WIDE_ROWS ? end - first : SAMESUM_WIDE_ROWS;
        const int64_t *pairs = samesum_take_apart(words + first * (h_bits == 0 ? 2 : 1), n, h_bits, room);
        for (int j = 0; j < n_wide; j++)
            samesum_add_shared((const uint8_t *)(columns + j * length + first), sizeof *columns, n, pairs, wide + j);
    }
}

/* Add a chunk of rows to the histograms of a panel: `width` narrow columns, whose local histograms are in `hist`, then `n_wide` wide ones. A
   block of rows is gathered, and one group of columns after the other adds it up, whose histograms stay in the first-level cache, while
   memory brings the next block. */
SAMESUM_INLINE void samesum_add_panel_words(const uint8_t *codes, int stride, int width, int n_wide, const uint32_t *rows, int64_t begin,
                                            int64_t end, const int64_t *words, int h_bits, int64_t *hist, const samesum_shared *wide,
                                            const int per_row) {
    uint8_t near_codes[SAMESUM_BLOCK_BYTES] __attribute__((aligned(64)));
    int64_t near_words[SAMESUM_BLOCK_ROWS * 2], near_pairs[SAMESUM_BLOCK_ROWS * 2];
    const int most = SAMESUM_MAX_GROUP / per_row, n_groups = (width + most - 1) / most;
    const int64_t room = SAMESUM_BLOCK_BYTES / stride, block = room < SAMESUM_BLOCK_ROWS ? room : SAMESUM_BLOCK_ROWS;
    for (int64_t first = begin; first < end; first += block) {
        const int64_t n = end - first < block ? end - first : block, n_next = end - first - n < n ? end - first - n : n;
        switch (stride) {
#define SAMESUM_CASE(S) case S: samesum_gather_rows(codes, rows + first, n, words, near_codes, near_words, per_row, S); break;
            SAMESUM_STRIDES(SAMESUM_CASE)
#undef SAMESUM_CASE
        }
        for (int g = 0; g < n_groups; g++) {
            const int column = width * g / n_groups;
            int64_t *local = hist + per_row * SAMESUM_CODES * column;
            switch (width * (g + 1) / n_groups - column) {
#define SAMESUM_CASE(W) \
    case W: \
        if (g == 0) samesum_add_block_ahead(near_codes, stride, n, near_words, local, codes, words, rows + first + n, n_next, per_row, W); \
        else samesum_add_block(near_codes + column, stride, n, near_words, local, per_row, W); \
        break;
                SAMESUM_WIDTHS(SAMESUM_CASE)
#undef SAMESUM_CASE
            }
        }
        const int64_t *pairs = n_wide ? samesum_take_apart(near_words, n, h_bits, near_pairs) : NULL;
        for (int j = 0; j < n_wide; j++) samesum_add_shared(near_codes + width + 2 * j, stride, n, pairs, wide + j);
    }
}

static inline void samesum_add_panel(const uint8_t *codes, int64_t stride, int width, int n_wide, const uint32_t *rows, int64_t begin,
                                     int64_t end, const int64_t *words, int h_bits, int64_t *hist, const samesum_shared *wide) {
    if (h_bits) samesum_add_panel_words(codes, (int)stride, width, n_wide, rows, begin, end, words, h_bits, hist, wide, 1);
    else samesum_add_panel_words(codes, (int)stride, width, n_wide, rows, begin, end, words, h_bits, hist, wide, 2);
}

static inline void samesum_add_ordered(const uint8_t *columns, int64_t length, int width, int64_t begin, int64_t end, const int64_t *words,
                                       int64_t *hist, int per_row) {
    if (per_row == 1) samesum_add_ordered_words(columns, length, width, begin, end, words, hist, 1);
    else samesum_add_ordered_words(columns, length, width, begin, end, words, hist, 2);
}

#define SAMESUM_HESSIANS(F) F(SAMESUM_STORED) F(SAMESUM_CONSTANT) F(SAMESUM_OF_GRADIENT)

/* A threshold in [0, 2^shift) that walks evenly over consecutive rows: multiples of an irrational number (Weyl's sequence). */
#define SAMESUM_WALK(row, multiplier, shift) ((int64_t)((first_row + key + (uint64_t)(row)) * (multiplier) >> 1 >> (63 - (shift))))

/* words[i] = (g >> g_shift) << h_bits plus h >> h_shift, both rounded at the walk's threshold; a positive h stays positive. */
SAMESUM_INLINE void samesum_pack_words_of(const int64_t *restrict gh, int64_t begin, int64_t end, uint64_t first_row, uint64_t key, int g_shift,
                                          int h_shift, int h_bits, int64_t *restrict words, const int hessian) {
    for (int64_t i = begin; i < end; i++) {
        const int64_t g = samesum_gradient(gh, i, hessian), h = samesum_hessian(gh, i, hessian);
        int64_t rounded = 1;
        if (hessian != SAMESUM_CONSTANT) {
            rounded = (h + SAMESUM_WALK(i, 0xd1342543de82ef95ULL, h_shift)) >> h_shift;
            rounded += rounded == 0 && h > 0;
        }
        words[i] = (int64_t)((uint64_t)((g + SAMESUM_WALK(i, 0x9e3779b97f4a7c15ULL, g_shift)) >> g_shift) << h_bits) + rounded;
    }
}

SAMESUM_CLONES static void samesum_pack_words(const int64_t *restrict gh, int hessian, int64_t begin, int64_t end, uint64_t first_row,
                                              uint64_t key, int g_shift, int h_shift, int h_bits, int64_t *restrict words) {
    switch (hessian) {
#define SAMESUM_CASE(H) case H: samesum_pack_words_of(gh, begin, end, first_row, key, g_shift, h_shift, h_bits, words, H); break;
        SAMESUM_HESSIANS(SAMESUM_CASE)
#undef SAMESUM_CASE
    }
}

SAMESUM_INLINE int64_t samesum_shift_rounded(int64_t value, int shift) {
    return shift == 0 ? value : (value + ((int64_t)1 << (shift - 1))) >> shift;
}

/* The same with two words a row, each rounded to nearest. */
SAMESUM_INLINE void samesum_pack_pairs_of(const int64_t *restrict gh, int64_t begin, int64_t end, int g_shift, int h_shift,
                                          int64_t *restrict words, const int hessian) {
    for (int64_t i = begin; i < end; i++) {
        const int64_t h = samesum_hessian(gh, i, hessian), rounded = samesum_shift_rounded(h, h_shift);
        words[2 * i] = samesum_shift_rounded(samesum_gradient(gh, i, hessian), g_shift);
        words[2 * i + 1] = rounded + (rounded == 0 && h > 0);
    }
}

SAMESUM_CLONES static void samesum_pack_pairs(const int64_t *restrict gh, int hessian, int64_t begin, int64_t end, int g_shift, int h_shift,
                                              int64_t *restrict words) {
    switch (hessian) {
#define SAMESUM_CASE(H) case H: samesum_pack_pairs_of(gh, begin, end, g_shift, h_shift, words, H); break;
        SAMESUM_HESSIANS(SAMESUM_CASE)
#undef SAMESUM_CASE
    }
}

#define SAMESUM_FEW_LEAVES 256
#define SAMESUM_SUM_ROWS 4096 /* sums of 2^12 integers of 50 bits fit in 64 */
#define SAMESUM_PAIR_ROWS 512 /* whose pairs lie in the first-level cache */
#define SAMESUM_SUM_PARTS 4   /* sums of every leaf that rows take turns with: an addition seldom waits for the one before */

/* Gradients and hessians side by side, in vector code. */
SAMESUM_CLONES static void samesum_fill_pairs(const int64_t *restrict gh, int hessian, int64_t n, int64_t *restrict pairs) {
    if (hessian == SAMESUM_OF_GRADIENT)
        for (int64_t i = 0; i < n; i++) { pairs[2 * i] = gh[i]; pairs[2 * i + 1] = samesum_logistic_hessian(gh[i]); }
    else
        for (int64_t i = 0; i < n; i++) { pairs[2 * i] = gh[i]; pairs[2 * i + 1] = 1; }
}

/* sums[leaf[i]] += limbs of g and h, four words a leaf. Few leaves are added up as whole integers first, both of a row at once. */
#define SAMESUM_SUM_LEAVES(NAME, LEAF) \
    SAMESUM_INLINE void NAME##_few(const int64_t *restrict gh, const LEAF *restrict leaf, int64_t n, int64_t n_leaves, int64_t *restrict sums, \
                                   const int hessian) { \
        samesum_pair part[SAMESUM_SUM_PARTS][SAMESUM_FEW_LEAVES + 1]; \
        int64_t room[2 * SAMESUM_PAIR_ROWS] __attribute__((aligned(64))); \
        for (int j = 0; j < SAMESUM_SUM_PARTS; j++) memset(part[j], 0, (n_leaves + 1) * 16); \
        for (int64_t first = 0; first < n; first += SAMESUM_PAIR_ROWS) { \
            const int64_t m = n - first < SAMESUM_PAIR_ROWS ? n - first : SAMESUM_PAIR_ROWS; \
            const int64_t *pairs = hessian == SAMESUM_STORED ? gh + 2 * first : room; \
            if (hessian != SAMESUM_STORED) samesum_fill_pairs(gh + first, hessian, m, room); \
            for (int64_t i = 0; i < m; i++) { \
                samesum_pair pair; \
                memcpy(&pair, pairs + 2 * i, 16); \
                part[i % SAMESUM_SUM_PARTS][leaf[first + i]] += pair; \
            } \
        } \
        for (int64_t k = 0; k < n_leaves; k++) { \
            samesum_pair sum = part[0][k]; \
            for (int j = 1; j < SAMESUM_SUM_PARTS; j++) sum += part[j][k]; \
            for (int j = 0; j < 2; j++) { \
                sums[4 * k + 2 * j] += sum[j] >> 26; \
                sums[4 * k + 2 * j + 1] += sum[j] & 0x3ffffff; \
            } \
        } \
    } \
    SAMESUM_INLINE void NAME##_of(const int64_t *restrict gh, const LEAF *restrict leaf, int64_t begin, int64_t end, int64_t n_leaves, \
                                  int64_t *restrict sums, const int hessian) { \
        if (n_leaves <= SAMESUM_FEW_LEAVES) { \
            for (int64_t i = begin; i < end; i += SAMESUM_SUM_ROWS) { \
                const int64_t n = end - i < SAMESUM_SUM_ROWS ? end - i : SAMESUM_SUM_ROWS; \
                NAME##_few(gh + (hessian == SAMESUM_STORED ? 2 * i : i), leaf + i, n, n_leaves, sums, hessian); \
            } \
            return; \
        } \
        for (int64_t i = begin; i < end; i++) { \
            const int64_t g = samesum_gradient(gh, i, hessian), h = samesum_hessian(gh, i, hessian); \
            int64_t *s = sums + 4 * (int64_t)leaf[i]; \
            s[0] += g >> 26; s[1] += g & 0x3ffffff; s[2] += h >> 26; s[3] += h & 0x3ffffff; \
        } \
    } \
    static inline void NAME(const int64_t *restrict gh, int hessian, const LEAF *restrict leaf, int64_t begin, int64_t end, int64_t n_leaves, \
                            int64_t *restrict sums) { \
        if (hessian == SAMESUM_STORED) NAME##_of(gh, leaf, begin, end, n_leaves, sums, SAMESUM_STORED); \
        else if (hessian == SAMESUM_CONSTANT) NAME##_of(gh, leaf, begin, end, n_leaves, sums, SAMESUM_CONSTANT); \
        else NAME##_of(gh, leaf, begin, end, n_leaves, sums, SAMESUM_OF_GRADIENT); \
    }
SAMESUM_SUM_LEAVES(samesum_sum_leaves_16, uint16_t)
SAMESUM_SUM_LEAVES(samesum_sum_leaves_32, uint32_t)

/* One bit a row: whether answers[code] is 1, else 0; sixty-four rows a word. Returns how many say yes. rows == NULL stands for rows 0 to
   n - 1 of `codes`. Nothing is prefetched: rows ascend, and asking costs more than it brings, of 1M rows and of 8M. */
SAMESUM_INLINE int64_t samesum_answer_words(const uint8_t *restrict codes, const uint32_t *restrict rows, int64_t n,
                                            const uint8_t *restrict answers, uint64_t *restrict said) {
    int64_t n_yes = 0, i = 0;
    uint64_t word = 0;
    for (; i + 16 <= n; i += 16) {
        uint32_t sixteen = 0;
        SAMESUM_UNROLL
        for (int k = 0; k < 16; k++) sixteen |= (uint32_t)answers[codes[rows ? (int64_t)rows[i + k] : i + k]] << k;
        word |= (uint64_t)sixteen << (i % 64);
        if (i % 64 == 48) {
            said[i / 64] = word;
            n_yes += __builtin_popcountll(word);
            word = 0;
        }
    }
    for (; i < n; i++) word |= (uint64_t)answers[codes[rows ? (int64_t)rows[i] : i]] << (i % 64);
    if (n % 64) {
        said[n / 64] = word;
        n_yes += __builtin_popcountll(word);
    }
    return n_yes;
}

#define SAMESUM_ANSWER_WORDS 1024 /* a bit for every wide code */

/* The answers of codes, 64 in each of `size` words: yes from `low` to `high`, at `missing` if it is one, and where `subset` has its bit. */
static inline void samesum_fill_answers(int32_t low, int32_t high, int32_t missing, const uint64_t *subset, int64_t n_words, int64_t size,
                                        uint64_t *answers) {
    const int64_t first = low < 0 ? 0 : low, last = high > 64 * size - 1 ? 64 * size - 1 : high;
    memset(answers, 0, (size_t)size * sizeof *answers);
    if (subset) memcpy(answers, subset, (size_t)(n_words < size ? n_words : size) * sizeof *answers);
    for (int64_t word = first / 64; word <= last / 64 && first <= last; word++) {
        const int from = word == first / 64 ? (int)(first % 64) : 0, to = word == last / 64 ? (int)(last % 64) : 63;
        answers[word] |= ~(uint64_t)0 << from & ~(uint64_t)0 >> (63 - to);
    }
    if (missing >= 0 && missing < 64 * size) answers[missing / 64] |= (uint64_t)1 << (missing % 64);
}

SAMESUM_INLINE uint64_t samesum_answer(const uint64_t *answers, uint16_t code) {
    return answers[code / 64] >> (code % 64) & 1;
}

/* One bit a row: its code's answer; sixty-four rows a word. Returns how many say yes. rows == NULL stands for rows 0 to n - 1 of `codes`. */
SAMESUM_INLINE int64_t samesum_answer_wide_words(const uint16_t *restrict codes, const uint32_t *restrict rows, int64_t n,
                                                 const uint64_t *restrict answers, uint64_t *restrict said) {
    int64_t n_yes = 0;
    for (int64_t begin = 0; begin < n; begin += 64) {
        const int64_t end = n - begin < 64 ? n : begin + 64;
        uint64_t word = 0;
        for (int64_t i = begin; i < end; i++) {
            if (rows) SAMESUM_PREFETCH(codes + rows[i + SAMESUM_FAR_AHEAD < n ? i + SAMESUM_FAR_AHEAD : n - 1]);
            word |= samesum_answer(answers, codes[rows ? (int64_t)rows[i] : i]) << (i - begin);
        }
        said[begin / 64] = word;
        n_yes += __builtin_popcountll(word);
    }
    return n_yes;
}

static inline int64_t samesum_answer_wide(const uint16_t *codes, const uint32_t *rows, int64_t n, const uint64_t *answers, uint64_t *said) {
    return rows ? samesum_answer_wide_words(codes, rows, n, answers, said) : samesum_answer_wide_words(codes, NULL, n, answers, said);
}

static inline int64_t samesum_answer_narrow(const uint8_t *codes, const uint32_t *rows, int64_t n, const uint8_t *answers, uint64_t *said) {
    return rows ? samesum_answer_words(codes, rows, n, answers, said) : samesum_answer_words(codes, NULL, n, answers, said);
}

/* The same of rows in order, where codes from `low` to `high` say yes, and `missing` if it is one: in vector code. */
SAMESUM_CLONES static int64_t samesum_answer_range(const uint8_t *restrict codes, int64_t n, int32_t low, int32_t high, int32_t missing,
                                                   uint64_t *restrict said) {
    const uint8_t first = (uint8_t)(low < 0 ? 0 : low), last = (uint8_t)(high > 255 ? 255 : high), other = (uint8_t)missing;
    const uint8_t in_range = low <= high && low <= 255 && high >= 0, is_other = missing >= 0 && missing <= 255;
    int64_t n_yes = 0;
    for (int64_t begin = 0; begin < n; begin += 64) {
        uint8_t answers[64], part[64];
        const uint8_t *block = codes + begin;
        if (n - begin < 64) {
            memset(part, 0, sizeof part);
            block = memcpy(part, block, (size_t)(n - begin));
        }
        for (int k = 0; k < 64; k++)
            answers[k] = (uint8_t)((block[k] >= first) & (block[k] <= last) & in_range) | (uint8_t)((block[k] == other) & is_other);
        uint64_t word = 0;
        for (int k = 0; k < 8; k++) {
            uint64_t eight; /* bytes of 0 and 1, which the product brings into its upper byte, the first as the lowest bit */
            memcpy(&eight, answers + 8 * k, 8);
            word |= (eight * 0x0102040810204080ULL >> 56) << (8 * k);
        }
        if (n - begin < 64) word &= ((uint64_t)1 << (n - begin)) - 1;
        said[begin / 64] = word;
        n_yes += __builtin_popcountll(word);
    }
    return n_yes;
}

/* Write rows that said yes to `yes` and the others to `no`, both in order; rows == NULL stands for `first` and those after it. */
static inline void samesum_place_some(const uint32_t *restrict rows, uint32_t first, int64_t begin, int64_t n, const uint64_t *restrict said,
                                      uint32_t *restrict yes, uint32_t *restrict no) {
    for (int64_t i = begin; i < n; i++) {
        const uint64_t answer = said[i / 64] >> (i % 64) & 1;
        *(answer ? yes : no) = rows ? rows[i] : first + (uint32_t)i;
        yes += answer;
        no += 1 - answer;
    }
}

#ifdef SAMESUM_AVX512
/* The same, sixteen rows at a time; `n_yes` of all n say yes. */
__attribute__((target("avx512f,popcnt"))) static void samesum_place_sixteens(const uint32_t *restrict rows, uint32_t first, int64_t n,
                                                                             int64_t n_yes, const uint64_t *restrict said,
                                                                             uint32_t *restrict yes, uint32_t *restrict no) {
    const uint32_t *yes_end = yes + n_yes, *no_end = no + (n - n_yes);
    const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512i sixteen = rows ? _mm512_loadu_si512(rows + i) : _mm512_add_epi32(steps, _mm512_set1_epi32((int)(first + (uint32_t)i)));
        const uint32_t answer = (uint32_t)(said[i / 64] >> (i % 64)) & 0xffff, count = (uint32_t)__builtin_popcount(answer);
        const __m512i taken = _mm512_maskz_compress_epi32((__mmask16)answer, sixteen);
        const __m512i left = _mm512_maskz_compress_epi32((__mmask16)~answer, sixteen);
        /* the next rows write over what is too much of a whole vector, which must not reach what is another thread's */
        if (yes_end - yes >= 16) _mm512_storeu_si512(yes, taken);
        else _mm512_mask_storeu_epi32(yes, (__mmask16)((1u << count) - 1), taken);
        if (no_end - no >= 16) _mm512_storeu_si512(no, left);
        else _mm512_mask_storeu_epi32(no, (__mmask16)((1u << (16 - count)) - 1), left);
        yes += count;
        no += 16 - count;
    }
    samesum_place_some(rows, first, i, n, said, yes, no);
}
#endif

static inline void samesum_place_rows(const uint32_t *rows, uint32_t first, int64_t n, int64_t n_yes, const uint64_t *said, uint32_t *yes,
                                      uint32_t *no) {
    (void)n_yes;
#ifdef SAMESUM_AVX512
    if (__builtin_cpu_supports("avx512f")) {
        samesum_place_sixteens(rows, first, n, n_yes, said, yes, no);
        return;
    }
#endif
    samesum_place_some(rows, first, 0, n, said, yes, no);
}

/* small[j] = built[j] and large[j] = parent[j] - built[j]: the histograms of two siblings. */
SAMESUM_CLONES static void samesum_expand(int64_t n, const int64_t *restrict parent, const int64_t *restrict built, int64_t *restrict small,
                                          int64_t *restrict large) {
    for (int64_t j = 0; j < n; j++) {
        small[j] = built[j];
        large[j] = parent[j] - built[j];
    }
}

/* other[j] = parent[j] - built[j]. */
SAMESUM_CLONES static void samesum_subtract(int64_t n, const int64_t *restrict parent, const int64_t *restrict built, int64_t *restrict other) {
    for (int64_t j = 0; j < n; j++) other[j] = parent[j] - built[j];
}

/* Take a packed histogram of n codes apart: its gradients and hessians to `out`, or to what is there if `adds`. */
SAMESUM_CLONES static void samesum_widen(int64_t n, const int64_t *restrict packed, int h_bits, int adds, int64_t *restrict out) {
    const int64_t h_mask = ((int64_t)1 << h_bits) - 1;
    for (int64_t c = 0; c < n && adds; c++) {
        out[2 * c] += packed[c] >> h_bits;
        out[2 * c + 1] += packed[c] & h_mask;
    }
    for (int64_t c = 0; c < n && !adds; c++) {
        out[2 * c] = packed[c] >> h_bits;
        out[2 * c + 1] = packed[c] & h_mask;
    }
}

#endif

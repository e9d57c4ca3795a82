/* Stable radix sort of keys of 64 bits, alone or with what goes along with them. */
#ifndef SAMESUM_RADIX_H
#define SAMESUM_RADIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SAMESUM_RADIX_BITS 11 /* of one pass: its counts, 16 KiB, stay in L1 beside the streams */
#define SAMESUM_RADIX_FEW 48  /* under so many, insertion is faster */

typedef struct {
    uint64_t key;
    uint64_t value;
} samesum_pair;

#define SAMESUM_KEY_ALONE(item) (item)
#define SAMESUM_KEY_OF_PAIR(item) ((item).key)

/* name(items, scratch, size, bits): sort by the lower `bits` bits of the keys, which have the same ones above; `scratch` has as many places. */
#define SAMESUM_DEFINE_RADIX_SORT(name, type, KEY)                                                                       \
    static inline void name(type *items, type *scratch, ptrdiff_t size, int bits)                                       \
    {                                                                                                                    \
        if (size < SAMESUM_RADIX_FEW) {                                                                                  \
            for (ptrdiff_t i = 1; i < size; i++) {                                                                       \
                type moved = items[i];                                                                                   \
                ptrdiff_t at = i;                                                                                        \
                for (; at > 0 && KEY(items[at - 1]) > KEY(moved); at--)                                                  \
                    items[at] = items[at - 1];                                                                           \
                items[at] = moved;                                                                                       \
            }                                                                                                            \
            return;                                                                                                      \
        }                                                                                                                \
        int passes = (bits + SAMESUM_RADIX_BITS - 1) / SAMESUM_RADIX_BITS;                                               \
        int width = passes ? (bits + passes - 1) / passes : 0;                                                           \
        type *from = items, *to = scratch;                                                                               \
        for (int pass = 0; pass < passes; pass++) {                                                                      \
            uint64_t starts[1 << SAMESUM_RADIX_BITS];                                                                    \
            uint64_t mask = (UINT64_C(1) << width) - 1;                                                                  \
            int shift = pass * width;                                                                                    \
            memset(starts, 0, (size_t)(mask + 1) * sizeof(uint64_t));                                                    \
            for (ptrdiff_t i = 0; i < size; i++)                                                                         \
                starts[KEY(from[i]) >> shift & mask]++;                                                                  \
            if (starts[KEY(from[0]) >> shift & mask] == (uint64_t)size)                                                  \
                continue; /* one digit for all: nothing moves */                                                         \
            uint64_t total = 0;                                                                                          \
            for (uint64_t digit = 0; digit <= mask; digit++) {                                                           \
                uint64_t count = starts[digit];                                                                          \
                starts[digit] = total;                                                                                   \
                total += count;                                                                                          \
            }                                                                                                            \
            for (ptrdiff_t i = 0; i < size; i++)                                                                         \
                to[starts[KEY(from[i]) >> shift & mask]++] = from[i];                                                    \
            type *last = from;                                                                                           \
            from = to;                                                                                                   \
            to = last;                                                                                                   \
        }                                                                                                                \
        if (from != items)                                                                                               \
            memcpy(items, from, (size_t)size * sizeof(type));                                                            \
    }

SAMESUM_DEFINE_RADIX_SORT(samesum_sort_keys, uint64_t, SAMESUM_KEY_ALONE)
SAMESUM_DEFINE_RADIX_SORT(samesum_sort_pairs, samesum_pair, SAMESUM_KEY_OF_PAIR)

#endif

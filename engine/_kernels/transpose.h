/* Turning eight columns of bytes into eight rows, in registers. */
#ifndef SAMESUM_TRANSPOSE_H
#define SAMESUM_TRANSPOSE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Swap blocks of `bits` bits between two words: the upper ones of `a` with the lower ones of `b`, among those that `mask` has. */
static inline void samesum_swap(uint64_t *a, uint64_t *b, int bits, uint64_t mask)
{
    uint64_t moved = ((*a >> bits) ^ *b) & mask;
    *b ^= moved;
    *a ^= moved << bits;
}

/* out[i * width + j] = columns[j * stride + i] for i, j < 8 (little-endian words). */
static inline void samesum_transpose8(const uint8_t *columns, ptrdiff_t stride, uint8_t *out, ptrdiff_t width)
{
    uint64_t w[8];
    for (int j = 0; j < 8; j++)
        memcpy(&w[j], columns + j * stride, 8);
    for (int j = 0; j < 4; j++)
        samesum_swap(&w[j], &w[j + 4], 32, UINT64_C(0x00000000FFFFFFFF));
    for (int j = 0; j < 8; j += 4)
        for (int k = j; k < j + 2; k++)
            samesum_swap(&w[k], &w[k + 2], 16, UINT64_C(0x0000FFFF0000FFFF));
    for (int j = 0; j < 8; j += 2)
        samesum_swap(&w[j], &w[j + 1], 8, UINT64_C(0x00FF00FF00FF00FF));
    for (int i = 0; i < 8; i++)
        memcpy(out + i * width, &w[i], 8);
}

#endif

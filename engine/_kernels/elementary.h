/* exp, log and the logistic function from + - * / alone.

   libm gives other bits on other processors; these give the same bits on every IEEE 754 machine, in a vector body and in its remainder
   alike, because they are branch-free and compiled without contraction. Errors are below 2 units in the last place. */
#ifndef SAMESUM_ELEMENTARY_H
#define SAMESUM_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Vector code for newer processors beside the baseline's: chosen when the library is loaded, the same operations, so the same bits. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define SAMESUM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SAMESUM_CLONES
#endif

#define SAMESUM_ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer held in the low mantissa bits */
#define SAMESUM_LN2_HIGH 6.93147180369123816490e-01 /* ln 2 with 21 trailing zero bits, so that n * high is exact */
#define SAMESUM_LN2_LOW 1.90821492927058770002e-10

static inline int64_t samesum_bits(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double samesum_from_bits(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Round to an integer |x| <= 2^51. */
static inline int64_t samesum_round(double x) {
    return samesum_bits(x + SAMESUM_ROUND_MAGIC) - 0x4338000000000000LL;
}

/* The double of an integer |value| < 2^51, exactly. */
static inline double samesum_small_to_double(int64_t value) {
    return samesum_from_bits((int64_t)((uint64_t)value + 0x4338000000000000ULL)) - SAMESUM_ROUND_MAGIC;
}

/* e^x; 0 below -708 and infinity above 709, NaN for NaN. Taylor's polynomial of degree 13 on |r| <= ln(2)/2. */
static inline double samesum_exp(double x) {
    double c = x < -708.0 ? -708.0 : x;
    c = c > 709.0 ? 709.0 : c;
    const double shifted = c * 1.44269504088896338700 + SAMESUM_ROUND_MAGIC;
    const double n = shifted - SAMESUM_ROUND_MAGIC;
    const double r = (c - n * SAMESUM_LN2_HIGH) - n * SAMESUM_LN2_LOW;
    double p = 1.6059043836821614599e-10;
    p = p * r + 2.0876756987868098979e-09;
    p = p * r + 2.5052108385441718775e-08;
    p = p * r + 2.7557319223985890653e-07;
    p = p * r + 2.7557319223985890653e-06;
    p = p * r + 2.4801587301587301587e-05;
    p = p * r + 1.9841269841269841270e-04;
    p = p * r + 1.3888888888888888889e-03;
    p = p * r + 8.3333333333333333333e-03;
    p = p * r + 4.1666666666666666667e-02;
    p = p * r + 1.6666666666666666667e-01;
    p = p * r + 5.0e-01;
    p = p * r + 1.0;
    p = p * r + 1.0;
    /* the low 12 bits of `shifted` are n in two's complement: moved to the exponent, they scale by 2^n */
    const double scale = samesum_from_bits((int64_t)(((uint64_t)samesum_bits(shifted) << 52) + ((uint64_t)1023 << 52)));
    double y = p * scale;
    y = x < -708.0 ? 0.0 : y;
    y = x > 709.0 ? (double)INFINITY : y;
    return y;
}

/* 1 / (1 + e^-x). */
static inline double samesum_sigmoid(double x) {
    return 1.0 / (1.0 + samesum_exp(-x));
}

/* ln x for a positive normal x. ln(m 2^e) = e ln 2 + 2 atanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2)). */
static inline double samesum_log_normal(double x) {
    const uint64_t bits = (uint64_t)samesum_bits(x);
    /* the exponent, biased by 1024 so that its shift is unsigned; the low word of a shifted double turns it into a number */
    const uint64_t biased = (bits - 0x3fe6a09e667f3bcdULL + ((uint64_t)1024 << 52)) >> 52;
    const double m = samesum_from_bits((int64_t)(bits - ((biased - 1024) << 52)));
    const double k = samesum_from_bits((int64_t)(biased + (uint64_t)0x4338000000000000ULL)) - (SAMESUM_ROUND_MAGIC + 1024.0);
    const double f = (m - 1.0) / (m + 1.0);
    const double s = f * f;
    double p = 1.0 / 21.0;
    p = p * s + 1.0 / 19.0;
    p = p * s + 1.0 / 17.0;
    p = p * s + 1.0 / 15.0;
    p = p * s + 1.0 / 13.0;
    p = p * s + 1.0 / 11.0;
    p = p * s + 1.0 / 9.0;
    p = p * s + 1.0 / 7.0;
    p = p * s + 1.0 / 5.0;
    p = p * s + 1.0 / 3.0;
    return k * SAMESUM_LN2_HIGH + (2.0 * f + (2.0 * f * s * p + k * SAMESUM_LN2_LOW));
}

/* ln x; -infinity at 0, NaN below. */
static inline double samesum_log(double x) {
    if (x == 0.0) return -(double)INFINITY;
    if (!(x > 0.0)) return (double)NAN;
    if (x > 1.7976931348623157e308) return x;
    if (x >= 2.2250738585072014e-308) return samesum_log_normal(x);
    const double y = samesum_log_normal(x * 18014398509481984.0); /* 2^54 */
    return (y - 54.0 * SAMESUM_LN2_LOW) - 54.0 * SAMESUM_LN2_HIGH;
}

/* A bijection of 64-bit integers that scatters consecutive counters: splitmix64's finaliser (Steele, Lea, Flood 2014). */
static inline uint64_t samesum_mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

#endif

/* Vectors of float32: GNU vector extensions for arithmetic, and what the extensions do not have by intrinsics. */
#ifndef KDB_VECTORS_H
#define KDB_VECTORS_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define JOINED(a, b, c) a##b##c
#define JOIN(a, b, c) JOINED(a, b, c)
/* The name under which this variant exports a function: kdb_avx512_winograd, say. */
#define NAME(function) JOIN(kdb_, VARIANT, _##function)
#define EXPORTED __attribute__((visibility("default")))

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const loose *)p; }
INLINE void store(float *p, vec v) { *(loose *)p = v; }
INLINE vec all(float x) {
#ifdef __AVX512F__
    return (vec)_mm512_set1_ps(x);
#else
    return (vec)_mm256_set1_ps(x);
#endif
}
/* By bits, where a mask from a comparison is set a, elsewhere b. */
INLINE vec either(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

INLINE vec larger(vec a, vec b) { return either((a < b) | (b != b), b, a); } /* NaN where either is */

/* Of the last vector of an array: the first n < LANES numbers, and zeros behind them. */
#ifdef __AVX512F__
INLINE vec load_part(const float *p, long n) { return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void store_part(float *p, vec v, long n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
#else
INLINE __m256i first(long n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec load_part(const float *p, long n) { return (vec)_mm256_maskload_ps(p, first(n)); }
INLINE void store_part(float *p, vec v, long n) { _mm256_maskstore_ps(p, first(n), (__m256)v); }
#endif

/* A vector of an array of which `left` numbers are left. */
INLINE vec get(const float *p, long left) { return left >= LANES ? load(p) : load_part(p, left); }
INLINE void put(float *p, vec v, long left) {
    if (left >= LANES)
        store(p, v);
    else
        store_part(p, v, left);
}

/* A statement for each vector of `channels`, of which c is the first, `left` are left, and `whole` is a constant: whether
   it is full, so that all but the last are read and written without a mask. */
#define EVERY(...)                                    \
    do {                                              \
        long c = 0;                                   \
        for (; c + LANES <= channels; c += LANES) {   \
            enum { left = LANES, whole = 1 };         \
            __VA_ARGS__;                              \
        }                                             \
        if (c < channels) {                           \
            const long left = channels - c;           \
            enum { whole = 0 };                       \
            __VA_ARGS__;                              \
        }                                             \
    } while (0)

INLINE vec take(const float *p, long left, const int whole) { return whole ? load(p) : load_part(p, left); }
INLINE void give(float *p, vec v, long left, const int whole) {
    if (whole)
        store(p, v);
    else
        store_part(p, v, left);
}

/* The first n numbers of a vector, and zeros behind them. */
#ifdef __AVX512F__
INLINE vec part(vec v, long n) { return (vec)_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), (__m512)v); }
#else
INLINE vec part(vec v, long n) { return either((ivec)first(n), v, (vec){}); }
#endif

/* The sum of a vector's numbers. */
INLINE float total(vec v) {
    float sum = 0.0f;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

INLINE long padded(long n) { return (n + LANES - 1) / LANES * LANES; }
INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }

#endif

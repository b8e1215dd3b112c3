/* Products of matrices, one of them packed: what minimal filtering, dense layers and convolutions by taps are made of.

   A packed matrix [inputs, outputs] lies in panels of two vectors of outputs, the last of one where one is enough:
   [panel, inputs, outputs of the panel], with zeros for outputs that there are not. */
#ifndef KDB_PRODUCT_H
#define KDB_PRODUCT_H

#include "vectors.h"

#ifdef __AVX512F__
#define ROWS 14 /* whose products with two vectors of outputs are kept in registers */
#else
#define ROWS 6
#endif
#define SUMMED 64 /* inputs that are summed by themselves: sums of sums round less than one long sum */
#define PANEL (2 * LANES)

INLINE void multiply(const int rows, const int vectors, long count, const float *a, long lda, const float *b, float *c,
                     long ldc, int begins) {
    vec sums[ROWS][2];
    const float *quarter[4] = {a, a + 4 * lda, a + 8 * lda, a + 12 * lda};
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) sums[i][j] = (vec){};
    const long ahead = count * vectors * LANES;
    for (long k = 0; k < count; k++, b += vectors * LANES) {
        vec weights[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) __builtin_prefetch(b + ahead + j * LANES, 0, 2);
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) weights[j] = load(b + j * LANES);
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++) {
            vec x = all(quarter[i / 4][i % 4 * lda + k]);
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++) sums[i][j] += x * weights[j];
        }
    }
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            float *to = c + i * ldc + j * LANES;
            store(to, begins ? sums[i][j] : load(to) + sums[i][j]);
        }
}

typedef void product(long count, const float *a, long lda, const float *b, float *c, long ldc, int begins);

#define PRODUCT(rows, vectors)                                                                                   \
    static void product_##rows##_##vectors(long count, const float *a, long lda, const float *b, float *c, long ldc, \
                                           int begins) {                                                         \
        multiply(rows, vectors, count, a, lda, b, c, ldc, begins);                                               \
    }
#define PRODUCTS(rows) PRODUCT(rows, 1) PRODUCT(rows, 2)
PRODUCTS(1) PRODUCTS(2) PRODUCTS(3) PRODUCTS(4) PRODUCTS(5) PRODUCTS(6)
#ifdef __AVX512F__
PRODUCTS(7) PRODUCTS(8) PRODUCTS(9) PRODUCTS(10) PRODUCTS(11) PRODUCTS(12) PRODUCTS(13) PRODUCTS(14)
#endif

#define BOTH(rows) {product_##rows##_1, product_##rows##_2}
static product *const products[ROWS + 1][2] = {
    {0, 0},   BOTH(1), BOTH(2), BOTH(3), BOTH(4),  BOTH(5),  BOTH(6),
#ifdef __AVX512F__
    BOTH(7), BOTH(8), BOTH(9), BOTH(10), BOTH(11), BOTH(12), BOTH(13), BOTH(14),
#endif
};

/* c [count, outputs of a panel] = a [count, inputs] and one panel, of so many `vectors`. */
static void panel_product(long count, long inputs, long vectors, const float *a, long lda, const float *panel, float *c,
                          long ldc) {
    for (long k = 0; k < inputs; k += SUMMED) {
        const long summed = least(SUMMED, inputs - k);
        /* The rows in parts that are about equal, rather than many and a few. */
        for (long parts = (count + ROWS - 1) / ROWS, t = 0; parts > 0; parts--) {
            const long rows = (count - t + parts - 1) / parts;
            products[rows][vectors - 1](summed, a + t * lda + k, lda, panel + k * vectors * LANES, c + t * ldc, ldc,
                                        k == 0);
            t += rows;
        }
    }
}

/* c [count, outputs] = a [count, inputs] b, of which b is packed. */
static void matrix_product(long count, long inputs, long outputs, const float *a, long lda, const float *b, float *c,
                           long ldc) {
    for (long o = 0; o < outputs; o += PANEL) {
        const int vectors = outputs - o > LANES ? 2 : 1;
        panel_product(count, inputs, vectors, a, lda, b, c + o, ldc);
        b += inputs * vectors * LANES;
    }
}

#endif

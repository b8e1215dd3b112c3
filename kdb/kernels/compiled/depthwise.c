/* Depthwise convolutions, of deltas and of whole maps: every channel by weights of its own, from boxes to boxes; and the
   pointwise layer behind them, a row at a time. */

#include "pointwise.c"

#define NEIGHBOURS 4 /* outputs along x that are computed together, since they read the same weights, and cells */
#define MOST_READ 256

/* Outputs [NEIGHBOURS] of a vector of channels: `cells` [taps, (NEIGHBOURS - 1) * stride + taps] are what they read,
   weights [taps, taps, channels].  Of the outputs the first `count` are written. */
INLINE void filter(const int taps, const int stride, const float *const *cells, const float *weights, const float *bias,
                   long channels, float *out, long count, long c, long left, const int whole) {
    const int width = (NEIGHBOURS - 1) * stride + taps;
    const vec begin = bias ? take(bias + c, left, whole) : (vec){};
    vec sums[NEIGHBOURS] = {begin, begin, begin, begin};
#pragma GCC unroll 1 /* the cells of one row of taps are as many as there are registers */
    for (int i = 0; i < taps; i++) {
        vec row[(NEIGHBOURS - 1) * 2 + 7];
#pragma GCC unroll 13
        for (int j = 0; j < width; j++) row[j] = take(cells[i * width + j] + c, left, whole);
#pragma GCC unroll 7
        for (int j = 0; j < taps; j++) {
            const vec weight = take(weights + (i * taps + j) * channels + c, left, whole);
#pragma GCC unroll 4
            for (int k = 0; k < NEIGHBOURS; k++) sums[k] += row[k * stride + j] * weight;
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < NEIGHBOURS; k++)
        if (k < count) give(out + k * channels + c, sums[k], left, whole);
}

typedef void filtering(const float *const *cells, const float *weights, const float *bias, long channels, float *out,
                       long count);

#define FILTER(taps, stride)                                                                                     \
    static void filter_##taps##_##stride(const float *const *cells, const float *weights, const float *bias,     \
                                         long channels, float *out, long count) {                                \
        EVERY(filter(taps, stride, cells, weights, bias, channels, out, count, c, left, whole));                 \
    }
FILTER(3, 1) FILTER(3, 2) FILTER(5, 1) FILTER(5, 2) FILTER(7, 1)

static filtering *filtering_of(long taps, long stride) {
    switch (10 * taps + stride) {
    case 31: return filter_3_1;
    case 32: return filter_3_2;
    case 51: return filter_5_1;
    case 52: return filter_5_2;
    case 71: return filter_7_1;
    }
    return 0;
}

/* Whether there is a function for so many taps and that stride, along both axes. */
EXPORTED int NAME(depthwise_applies)(long taps, long stride) { return filtering_of(taps, stride) != 0; }

/* out [n, outer_y, outer_x, channels] of x [n, inner_y, inner_x, channels]: the first output of position i reads cells
   from offsets[i] [y, x] of its box on, which may be negative; cells outside of the box are zero.  Then its epilogue,
   unless count is 0; the view's arguments and all behind them are those of `pointwise`. */
EXPORTED void NAME(depthwise)(long taps, long stride, const float *x, long n, long inner_y, long inner_x, long channels,
                              const float *weights, const float *bias, float *out, long outer_y, long outer_x,
                              const int64_t *offsets, const float *zeros, const float *view, const int64_t *starts,
                              long plane, long row, long count, const instruction *program, const operand *operands,
                              long numbers, long period, long block, float *scratch) {
    (void)plane; /* of maps of three axes */
    const applied f = {count, program, operands, numbers, period, block, scratch};
    filtering *const function = filtering_of(taps, stride);
    const long width = (NEIGHBOURS - 1) * stride + taps;
    for (long position = 0; position < n; position++)
        for (long y = 0; y < outer_y; y++) {
            float *line = out + (position * outer_y + y) * outer_x * channels;
            for (long first = 0; first < outer_x; first += NEIGHBOURS) {
                const float *cells[MOST_READ];
                for (long i = 0; i < taps; i++)
                    for (long j = 0; j < width; j++) {
                        const long v = offsets[2 * position] + y * stride + i;
                        const long u = offsets[2 * position + 1] + first * stride + j;
                        const int there = v >= 0 && v < inner_y && u >= 0 && u < inner_x;
                        cells[i * width + j] = there ? x + ((position * inner_y + v) * inner_x + u) * channels : zeros;
                    }
                function(cells, weights, bias, channels, line + first * channels, least(NEIGHBOURS, outer_x - first));
            }
            if (count) apply(&f, outer_x * channels, line, view + starts[position] + y * row, line);
        }
}

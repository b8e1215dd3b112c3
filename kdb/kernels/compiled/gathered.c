/* Products of rows that are gathered, with sums that are scattered: dense layers, and convolutions a tap at a time. */

#include "product.h"

#define GATHERED (1 << 16) /* numbers that are gathered at a time, so that they stay in a cache, or so */
#define DEPTH 512          /* of these, inputs of a row: fewer rows would let the weights come from memory too often */
#define MOST_ROWS 252
#define TRANSPOSED 16

/* `groups` matrices [inputs, outputs] of numbers that lie so far apart in `weights`, packed one after the other. */
EXPORTED void NAME(gathered_pack)(long groups, long inputs, long outputs, const float *weights, long next_group,
                                  long next_input, long next_output, float *packed) {
    for (long g = 0; g < groups; g++, weights += next_group)
        for (long o = 0; o < outputs; o += PANEL) {
            const long width = outputs - o > LANES ? PANEL : LANES, there = least(outputs - o, width);
            for (long begin = 0; begin < inputs; begin += TRANSPOSED) {
                /* Some of each output at a time: they lie in one line of a cache, those of all outputs far apart. */
                const long count = least(inputs - begin, TRANSPOSED);
                const float *first = weights + o * next_output + begin * next_input;
                float block[TRANSPOSED][PANEL] = {{0}};
                for (long j = 0; j < there; j++)
                    for (long i = 0; i < count; i++) block[i][j] = first[j * next_output + i * next_input];
                for (long i = 0; i < count; i++, packed += width) memcpy(packed, block[i], sizeof(float) * width);
            }
        }
}

static long block_rows(long inputs) { return least(GATHERED / padded(least(inputs, DEPTH)) / ROWS * ROWS, MOST_ROWS); }

/* Numbers of scratch memory that a call needs. */
EXPORTED long NAME(gathered_scratch)(long inputs) {
    return block_rows(inputs) * (padded(least(inputs, DEPTH)) + LANES + PANEL);
}

/* out [to[r], outputs] += x [from[r], inputs] times the matrix of the row's group g, starts[g] <= r < starts[g + 1].

   No row of the output is met twice in a group.  If `fresh`, there is one group that meets each, and what the output had
   is written over. */
EXPORTED void NAME(gathered)(int fresh, long groups, const int64_t *starts, const int64_t *from, const int64_t *to, const float *x,
                             long inputs, const float *weights, long outputs, float *out, float *scratch) {
    const long block = block_rows(inputs), lda = padded(least(inputs, DEPTH)) + LANES;
    float *rows = scratch, *sums = scratch + block * lda;
    for (long g = 0; g < groups; g++, weights += inputs * padded(outputs))
        for (long k = 0; k < inputs; k += DEPTH)
            for (long begin = starts[g]; begin < starts[g + 1]; begin += block) {
                const long count = least(starts[g + 1] - begin, block), depth = least(inputs - k, DEPTH);
                for (long r = 0; r < count; r++)
                    memcpy(rows + r * lda, x + from[begin + r] * inputs + k, sizeof(float) * depth);
                const float *panel = weights;
                for (long o = 0; o < outputs; o += PANEL) {
                    const long vectors = outputs - o > LANES ? 2 : 1;
                    panel_product(count, depth, vectors, rows, lda, panel + k * vectors * LANES, sums, PANEL);
                    panel += inputs * vectors * LANES;
                    for (long r = 0; r < count; r++)
                        for (long v = 0; v < vectors; v++) {
                            float *target = out + to[begin + r] * outputs + o + v * LANES;
                            const long left = outputs - o - v * LANES;
                            const vec sum = load(sums + r * PANEL + v * LANES);
                            put(target, fresh && k == 0 ? sum : get(target, left) + sum, left);
                        }
                }
            }
}

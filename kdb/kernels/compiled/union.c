/* The sum of two deltas over a box that covers those of both, and the pointwise layer behind it, a row at a time. */

#include "pointwise.c"

/* The part that a delta has in a row of the union, added to it: boxes of planes x rows of `numbers`, of which that of
   position i begins at at[3 i] planes, rows and numbers of the union's. */
static void add_part(const float *d, const int64_t *at, long planes, long rows, long numbers, long i, long z, long y,
                     float *out) {
    z -= at[3 * i], y -= at[3 * i + 1], out += at[3 * i + 2];
    if (z < 0 || z >= planes || y < 0 || y >= rows) return;
    d += ((i * planes + z) * rows + y) * numbers;
    for (long c = 0; c < numbers; c += LANES) put(out + c, get(out + c, numbers - c) + get(d + c, numbers - c), numbers - c);
}

/* out = the sum of a and b over n boxes of planes x rows of `numbers`, and its epilogue unless count is 0; the view's
   arguments and all behind them are those of `pointwise`.  Without a, out has it already. */
EXPORTED void NAME(sum)(long n, long planes, long rows, long numbers, const float *a, const int64_t *a_at, long a_planes,
                        long a_rows, long a_numbers, const float *b, const int64_t *b_at, long b_planes, long b_rows,
                        long b_numbers, const float *view, const int64_t *starts, long plane, long row, long count,
                        const instruction *program, const operand *operands, long channels, long period, long block,
                        float *scratch, float *out) {
    const applied f = {count, program, operands, channels, period, block, scratch};
    for (long line = 0; line < n * planes * rows; line++, out += numbers) {
        const long i = line / (rows * planes), z = line / rows % planes, y = line % rows;
        if (a) {
            memset(out, 0, sizeof(float) * numbers);
            add_part(a, a_at, a_planes, a_rows, a_numbers, i, z, y, out);
        }
        if (b) add_part(b, b_at, b_planes, b_rows, b_numbers, i, z, y, out);
        if (count) apply(&f, numbers, out, view + starts[i] + z * plane + y * row, out);
    }
}

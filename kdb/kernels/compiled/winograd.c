/* Minimal filtering of deltas: convolutions of stride 1 by fewer multiplications.

   The algorithm is that of kdb/kernels/cpu/winograd.py.  The delta of a position is cut into tiles of its cells, each
   tile is evaluated at points, multiplied by the weights at these points, and interpolated; its whole convolution, which
   is larger than the tile, is added to the output's box, where it overlaps that of its neighbours.  Many tiles at a
   time pass the three steps; between steps they are [points, tiles, channels], and those of a point fit into a cache. */

#include "pointwise.c"
#include "product.h"
#include "transforms.h"

#define CACHED (1 << 19) /* numbers at all points of the tiles of a turn, of inputs and outputs together, or so */
#define REUSED 6 /* times ROWS tiles at least: wide layers' weights come from memory once a turn, the tiles from a cache */
#define TOGETHER 8 /* vectors of a tile that are written at a time: points lie in pages far apart */

/* ---- transforms, along one axis after the other */

typedef void transform(const vec *x, long from, vec *y, long to);

typedef struct {
    long inputs, taps, points;
    transform *evaluate, *interpolate;
} axis;

#define AXIS(inputs, taps) {inputs, taps, inputs + taps - 1, evaluate_##inputs##_##taps, interpolate_##inputs##_##taps},
static const axis axes[] = {AXES(AXIS)};

static const axis *axis_of(long inputs, long taps) {
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        if (axes[i].inputs == inputs && axes[i].taps == taps) return axes + i;
    return 0;
}

/* The cells [inputs of y, inputs of x] of a tile at its points: values [points of y, points of x] of `channels`, `plane`
   apart. */
static void evaluate(const axis *y, const axis *x, const float *const *cells, long channels, float *values, long plane) {
    vec rows[MOST_CELLS], line[MOST_CELLS], held[MOST_CELLS][TOGETHER];
    const long points = y->points * x->points;
    for (long begin = 0; begin < channels; begin += TOGETHER * LANES) {
        const long vectors = least((channels - begin + LANES - 1) / LANES, TOGETHER);
        for (long v = 0; v < vectors; v++) {
            const long c = begin + v * LANES, left = channels - c;
            for (long i = 0; i < y->inputs; i++) {
                for (long j = 0; j < x->inputs; j++) line[j] = get(cells[i * x->inputs + j] + c, left);
                x->evaluate(line, 1, rows + i * x->points, 1);
            }
            for (long j = 0; j < x->points; j++) y->evaluate(rows + j, x->points, &held[j][v], x->points * TOGETHER);
        }
        for (long p = 0; p < points; p++)
            for (long v = 0; v < vectors; v++) store(values + p * plane + begin + v * LANES, held[p][v]);
    }
}

/* The other way round, added to cells [points of y, points of x]. */
static void interpolate(const axis *y, const axis *x, float *const *cells, long channels, const float *values, long plane) {
    EVERY({
        vec rows[MOST_CELLS], line[MOST_CELLS];
        for (long i = 0; i < y->points; i++) {
            for (long j = 0; j < x->points; j++) line[j] = load(values + (i * x->points + j) * plane + c);
            x->interpolate(line, 1, rows + i * x->points, 1);
        }
        for (long j = 0; j < x->points; j++) {
            y->interpolate(rows + j, x->points, line, 1);
            for (long i = 0; i < y->points; i++) {
                float *cell = cells[i * x->points + j] + c;
                give(cell, take(cell, left, whole) + line[i], left, whole);
            }
        }
    });
}

/* ---- weights */

/* Weights [outputs, inputs, ry, rx] at the points of a tile, as matrix_product takes them, one point after the other.

   gy [points, ry] and gx [points, rx] evaluate a filter, in double precision: the weights are rounded once.  Filters are
   turned round, as layers correlate where polynomials convolve. */
EXPORTED void NAME(winograd_pack)(long py, long ry, long px, long rx, const float *weights, long outputs, long inputs,
                                  const double *gy, const double *gx, float *packed) {
    const long point = inputs * padded(outputs), points = py * px;
    double taps[MOST_CELLS][PANEL], rows[MOST_CELLS][PANEL];
    float values[MOST_CELLS][TOGETHER][PANEL];
    for (long o = 0; o < outputs; o += PANEL) {
        const long width = outputs - o > LANES ? PANEL : LANES, there = least(outputs - o, PANEL);
        for (long begin = 0; begin < inputs; begin += TOGETHER) {
            const long count = least(inputs - begin, TOGETHER);
            for (long i = 0; i < count; i++) {
                for (long t = 0; t < ry * rx; t++)
                    for (long j = 0; j < PANEL; j++)
                        taps[t][j] = j < there ? weights[((o + j) * inputs + begin + i + 1) * ry * rx - 1 - t] : 0;
                for (long y = 0; y < ry; y++)
                    for (long q = 0; q < px; q++) {
                        double *row = rows[y * px + q];
                        for (long j = 0; j < PANEL; j++) row[j] = 0;
                        for (long x = 0; x < rx; x++)
                            for (long j = 0; j < PANEL; j++) row[j] += gx[q * rx + x] * taps[y * rx + x][j];
                    }
                for (long p = 0; p < py; p++)
                    for (long q = 0; q < px; q++) {
                        double sums[PANEL] = {0};
                        for (long y = 0; y < ry; y++)
                            for (long j = 0; j < PANEL; j++) sums[j] += gy[p * ry + y] * rows[y * px + q][j];
                        for (long j = 0; j < PANEL; j++) values[p * px + q][i][j] = (float)sums[j];
                    }
            }
            for (long p = 0; p < points; p++)
                for (long i = 0; i < count; i++)
                    memcpy(packed + p * point + o * inputs + (begin + i) * width, values[p][i], sizeof(float) * width);
        }
    }
}

/* ---- turns */

typedef struct {
    long points, tiles, lda, ldc, plane_a, plane_c;
} turn;

/* Numbers from one point to the next, so that equal channels of all points do not meet in one set of a cache. */
static long apart(long numbers) { return (numbers + 1023) / 1024 * 1024 + 80; }

static turn turn_of(const axis *ay, const axis *ax, long inputs, long outputs) {
    turn t;
    t.points = ay->points * ax->points;
    t.lda = padded(inputs) + LANES;
    t.ldc = padded(outputs);
    const long fit = CACHED / (t.points * (t.lda + t.ldc));
    t.tiles = most((fit + ROWS - 1) / ROWS, REUSED) * ROWS;
    t.plane_a = apart(t.tiles * t.lda);
    t.plane_c = apart(t.tiles * t.ldc);
    return t;
}

typedef struct {
    long position, y, x; /* of the tile's first cell in the delta */
} tile;

/* Numbers of scratch memory that a call needs; 0 where there is no such form. */
EXPORTED long NAME(winograd_scratch)(long my, long ry, long mx, long rx, long inputs, long outputs) {
    const axis *ay = axis_of(my, ry), *ax = axis_of(mx, rx);
    if (!ay || !ax || ay->points * ax->points > MOST_CELLS) return 0;
    const turn t = turn_of(ay, ax, inputs, outputs);
    return t.points * (t.plane_a + t.plane_c) + t.lda + t.ldc + t.tiles * (long)(sizeof(tile) / sizeof(float));
}

static void begin(float *out, long cells, long channels, const float *bias) {
    if (!bias)
        memset(out, 0, sizeof(float) * cells * channels);
    else
        for (long i = 0; i < cells; i++) memcpy(out + i * channels, bias, sizeof(float) * channels);
}

/* The epilogue of the positions that are finished, from *done to `until`, while their boxes are in a cache. */
static void finish(const applied *f, long *done, long until, long rows, long numbers, const float *view,
                   const int64_t *starts, long row, float *out) {
    for (; f->count && *done < until; ++*done)
        for (long y = 0; y < rows; y++) {
            float *line = out + (*done * rows + y) * numbers;
            apply(f, numbers, line, view + starts[*done] + y * row, line);
        }
}

/* out [n, outer_y, outer_x, outputs] = the convolution of x [n, inner_y, inner_x, inputs].

   `weights` are at the points, packed as matrix_product takes them, one point after the other.  The whole convolution
   of position i begins at offsets[i] [y, x] of its box, which may be negative; what falls outside of it is dropped.
   Then its epilogue, unless it has no steps; the view's arguments and all behind them are those of `pointwise`, whose scratch
   memory may be that of this call: nothing lies in its beginning when a position is finished. */
EXPORTED void NAME(winograd)(long my, long ry, long mx, long rx, const float *x, long n, long inner_y, long inner_x,
                             long inputs, const float *weights, const float *bias, float *out, long outer_y,
                             long outer_x, long outputs, const int64_t *offsets, float *scratch, const float *view,
                             const int64_t *starts, long plane, long row, long steps, const instruction *program,
                             const operand *operands, long channels, long period, long block, float *registers) {
    (void)plane; /* of maps of three axes */
    const applied f = {steps, program, operands, channels, period, block, registers};
    const axis *ay = axis_of(my, ry), *ax = axis_of(mx, rx);
    const turn t = turn_of(ay, ax, inputs, outputs);
    const long py = ay->points, px = ax->points, packed = inputs * t.ldc, box = outer_y * outer_x;
    float *at_points = scratch, *multiplied = at_points + t.points * t.plane_a;
    float *zeros = multiplied + t.points * t.plane_c, *dropped = zeros + t.lda;
    tile *tiles = (tile *)(dropped + t.ldc);
    memset(zeros, 0, sizeof(float) * (t.lda + t.ldc));

    tile next = {0, 0, 0};
    long begun = 0, done = 0;
    while (next.position < n) {
        long count = 0;
        for (; next.position < n && count < t.tiles; next.x = 0, next.y += my) {
            if (next.y >= inner_y) {
                next.position++, next.y = -my;
                continue;
            }
            const long top = offsets[2 * next.position] + next.y, left = offsets[2 * next.position + 1];
            if (top + py <= 0 || top >= outer_y) continue;
            for (; next.x < inner_x && count < t.tiles; next.x += mx)
                if (left + next.x + px > 0 && left + next.x < outer_x) tiles[count++] = next;
            if (next.x < inner_x) break;
        }
        for (long i = 0; i < count; i++) {
            const float *cells[MOST_CELLS];
            for (long y = 0; y < my; y++)
                for (long xx = 0; xx < mx; xx++) {
                    const long v = tiles[i].y + y, u = tiles[i].x + xx;
                    const int there = v < inner_y && u < inner_x;
                    cells[y * mx + xx] = there ? x + ((tiles[i].position * inner_y + v) * inner_x + u) * inputs : zeros;
                }
            evaluate(ay, ax, cells, inputs, at_points + i * t.lda, t.plane_a);
        }
        for (long p = 0; p < t.points; p++)
            matrix_product(count, inputs, outputs, at_points + p * t.plane_a, t.lda, weights + p * packed,
                           multiplied + p * t.plane_c, t.ldc);
        for (long i = 0; i < count; i++) {
            float *cells[MOST_CELLS];
            const long position = tiles[i].position;
            for (; begun <= position; begun++) begin(out + begun * box * outputs, box, outputs, bias);
            for (long y = 0; y < py; y++)
                for (long xx = 0; xx < px; xx++) {
                    const long v = offsets[2 * position] + tiles[i].y + y;
                    const long u = offsets[2 * position + 1] + tiles[i].x + xx;
                    const int there = v >= 0 && v < outer_y && u >= 0 && u < outer_x;
                    cells[y * px + xx] = there ? out + ((position * outer_y + v) * outer_x + u) * outputs : dropped;
                }
            interpolate(ay, ax, cells, outputs, multiplied + i * t.ldc, t.plane_c);
        }
        finish(&f, &done, least(begun, next.position), outer_y, outer_x * outputs, view, starts, row, out);
    }
    for (; begun < n; begun++) begin(out + begun * box * outputs, box, outputs, bias);
    finish(&f, &done, n, outer_y, outer_x * outputs, view, starts, row, out);
}

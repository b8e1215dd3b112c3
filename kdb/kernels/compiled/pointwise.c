/* Pointwise layers of deltas in one pass: f(v[B] + d) - f(v[B]), where f is a program of functions.

   The program is interpreted, a block of numbers at a time, so that what lies between two functions stays in a near
   cache.  A block is of whole cells where a function needs all channels of one.  Both values of f are computed by the
   same code in the same lanes: where d is zero so is the result. */

#ifndef KDB_POINTWISE_C
#define KDB_POINTWISE_C

#include "vectors.h"

/* ---- functions */

INLINE vec smaller(vec a, vec b) { return either((a > b) | (b != b), b, a); }
INLINE vec absolute(vec x) { return (vec)((ivec)x & 0x7fffffff); }

INLINE vec root(vec x) {
#ifdef __AVX512F__
    return (vec)_mm512_sqrt_ps((__m512)x);
#else
    return (vec)_mm256_sqrt_ps((__m256)x);
#endif
}

/* 2^n, n from -126 to 127. */
INLINE vec power_of_two(ivec n) { return (vec)((n + 127) << 23); }

/* exp(x) = 2^n exp(r), |r| at most half of log 2, where a polynomial of degree 7 has an error of 1e-7 (Cephes, expf). */
INLINE vec exponential(vec x) {
    const vec held = either(x > 89.0f, all(89.0f), either(x < -87.0f, all(-87.0f), x));
    const vec turned = held * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    const ivec n = (ivec)turned - 0x4b400000;
    const vec whole = turned - 12582912.0f, r = (held - whole * 0.693359375f) + whole * 2.12194440e-4f;
    vec y = all(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    y = y * power_of_two(n >> 1) * power_of_two(n - (n >> 1)); /* in two steps, as 2^128 is no number */
    return either(x < -87.0f, all(0.0f), y);
}

INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

/* By its series near zero, where the difference from 1 would lose digits (Cephes, tanhf). */
INLINE vec hyperbolic_tangent(vec x) {
    const vec size = absolute(x), square = x * x;
    vec y = all(-5.70498872745e-3f);
    y = y * square + 2.06390887954e-2f;
    y = y * square - 5.37397155531e-2f;
    y = y * square + 1.33314422036e-1f;
    y = y * square - 3.33332819422e-1f;
    y = y * square * x + x;
    const vec far = 1.0f - 2.0f / (exponential(2.0f * size) + 1.0f);
    return either(size < 0.625f, y, either(x < 0.0f, -far, far));
}

/* The error function as a rational function on [-4, 4], beyond which it is 1 to the last bit but one. */
INLINE vec error_function(vec x) {
    const vec held = either(x > 4.0f, all(4.0f), either(x < -4.0f, all(-4.0f), x)), square = held * held;
    vec p = all(-2.72614225801306e-10f), q = all(-1.45660718464996e-05f);
    p = p * square + 2.77068142495902e-08f;
    p = p * square - 2.10102402082508e-06f;
    p = p * square - 5.69250639462346e-05f;
    p = p * square - 7.34990630326855e-04f;
    p = p * square - 2.95459980854025e-03f;
    p = p * square - 1.60960333262415e-02f;
    q = q * square - 2.13374055278905e-04f;
    q = q * square - 1.68282697438203e-03f;
    q = q * square - 7.37332916720468e-03f;
    q = q * square - 1.42647390514189e-02f;
    return held * p / q;
}

INLINE vec gelu(vec x) { return 0.5f * x * (1.0f + error_function(x * 0.707106781f)); }
INLINE vec gelu_tanh(vec x) {
    return 0.5f * x * (1.0f + hyperbolic_tangent(0.797884561f * (x + 0.044715f * x * x * x)));
}

/* By name, of up to two operands a and b; an instruction has a function's place in this list, which is exported. */
#define FUNCTIONS(X)                                                                                            \
    X(add, a + b)                                                                                               \
    X(sub, a - b)                                                                                               \
    X(mul, a * b)                                                                                               \
    X(div, a / b)                                                                                               \
    X(maximum, larger(a, b))                                                                                    \
    X(minimum, smaller(a, b))                                                                                   \
    X(neg, -a)                                                                                                  \
    X(abs, absolute(a))                                                                                         \
    X(sqrt, root(a))                                                                                            \
    X(reciprocal, 1.0f / a)                                                                                     \
    X(exp, exponential(a))                                                                                      \
    X(sigmoid, sigmoid(a))                                                                                      \
    X(tanh, hyperbolic_tangent(a))                                                                              \
    X(erf, error_function(a))                                                                                   \
    X(gelu, gelu(a))                                                                                            \
    X(gelu_tanh, gelu_tanh(a))                                                                                  \
    X(leaky_relu, either(a > 0.0f, a, a * b))

/* y [n] of operands of which the next number lies a step on, 0 of constants; cells have so many `channels`. */
typedef void function(long n, const float *pa, long step_a, const float *pb, long step_b, float *y, long channels);

#define FUNCTION(name, value)                                                                                   \
    static void function_##name(long n, const float *pa, long step_a, const float *pb, long step_b, float *y,   \
                                long channels) {                                                                \
        (void)channels;                                                                                         \
        for (long i = 0; i < n; i += LANES) {                                                                   \
            const vec a = load(pa + step_a * i), b = load(pb + step_b * i);                                     \
            (void)b;                                                                                            \
            store(y + i, value);                                                                                \
        }                                                                                                       \
    }
FUNCTIONS(FUNCTION)

/* (x - mean) / sqrt(variance + eps) over the channels of each cell of x [n]; pb is eps. */
static void function_normalize(long n, const float *x, long step_a, const float *pb, long step_b, float *y, long channels) {
    (void)step_a, (void)step_b;
    for (long cell = 0; cell < n; cell += channels, x += channels, y += channels) {
        vec sum = all(0.0f), squares = all(0.0f);
        EVERY(sum += take(x + c, left, whole));
        const vec mean = all(total(sum) / channels);
        EVERY({
            const vec centred = take(x + c, left, whole) - mean, kept = whole ? centred : part(centred, left);
            squares += kept * kept;
        });
        const vec scale = 1.0f / root(all(total(squares) / channels + *pb));
        EVERY(give(y + c, (take(x + c, left, whole) - mean) * scale, left, whole));
    }
}

/* The largest of x [n]; NaN where one is. */
INLINE float highest(const float *x, long n) {
    float peak = x[0];
    long i = 0;
    if (n >= LANES) {
        vec peaks = load(x);
        for (i = LANES; i + LANES <= n; i += LANES) peaks = larger(peaks, load(x + i));
        for (int j = 0; j < LANES; j++) peak = peaks[j] > peak || peaks[j] != peaks[j] ? peaks[j] : peak;
    }
    for (; i < n; i++) peak = x[i] > peak || x[i] != x[i] ? x[i] : peak;
    return peak;
}

/* exp(x) over its sum over the channels of each cell of x [n]. */
static void function_softmax(long n, const float *x, long step_a, const float *pb, long step_b, float *y, long channels) {
    (void)step_a, (void)pb, (void)step_b;
    for (long cell = 0; cell < n; cell += channels, x += channels, y += channels) {
        const float peak = highest(x, channels);
        vec sum = all(0.0f);
        EVERY({
            const vec power = exponential(take(x + c, left, whole) - peak), kept = whole ? power : part(power, left);
            sum += kept;
            give(y + c, kept, left, whole);
        });
        const vec scale = all(1.0f / total(sum));
        EVERY(give(y + c, take(y + c, left, whole) * scale, left, whole));
    }
}

/* Functions of whole cells, by name. */
#define CELLWISE(X) X(normalize, ) X(softmax, )

#define LISTED(name, value) function_##name,
static function *const functions[] = {FUNCTIONS(LISTED) CELLWISE(LISTED)};
#define SPELLED(name, value) #name " "
EXPORTED const char NAME(functions)[] = FUNCTIONS(SPELLED) CELLWISE(SPELLED);
EXPORTED const char NAME(cellwise)[] = CELLWISE(SPELLED);

/* ---- programs */

typedef struct {
    int32_t function, a, b; /* operands from 0 are registers, -1 - i is operand i of those that do not change */
} instruction;

typedef struct {
    const float *numbers; /* a vector of equal ones, or those of all channels, repeated */
    int64_t step;
} operand;

/* The last register of a program of `count` instructions, whose first register holds n numbers; registers lie `apart`. */
static float *run(long n, long channels, long count, const instruction *program, const operand *operands, long phase,
                  long apart, float *registers) {
    for (long i = 0; i < count; i++) {
        const float *numbers[2];
        long steps[2];
        for (int j = 0; j < 2; j++) {
            const int32_t which = j ? program[i].b : program[i].a;
            const operand *fixed = operands - 1 - which;
            numbers[j] = which >= 0 ? registers + apart * which : fixed->numbers + fixed->step * phase;
            steps[j] = which >= 0 ? 1 : fixed->step;
        }
        functions[program[i].function](n, numbers[0], steps[0], numbers[1], steps[1], registers + apart * (i + 1),
                                       channels);
    }
    return registers + apart * count;
}

/* A program with what it reads: operands that depend on the channel are repeated to `period` numbers, whole cells; `block`
   numbers are computed together, and whole cells where a function needs those.  Scratch is for two sets of registers: the
   input and each instruction's result, of `block` numbers, rounded up to vectors. */
typedef struct {
    long count;
    const instruction *program;
    const operand *operands;
    long channels, period, block;
    float *scratch;
} applied;

/* out = f(v + d) - f(v) of a row of numbers, whole cells; without v, f(d).  It may be written over d. */
static void apply(const applied *f, long numbers, const float *d, const float *v, float *out) {
    const long apart = padded(f->block);
    float *const before = f->scratch, *const after = before + apart * (f->count + 1);
    for (long at = 0, phase = 0, length; at < numbers; at += length) {
        length = least(least(f->block, numbers - at), f->period - phase);
        for (long i = 0; i < length; i += LANES) {
            const vec x = get(d + at + i, length - i), seen = v ? get(v + at + i, length - i) : (vec){};
            if (v) store(before + i, seen);
            store(after + i, x + seen);
        }
        const float *now = run(length, f->channels, f->count, f->program, f->operands, phase, apart, after);
        const float *then = v ? run(length, f->channels, f->count, f->program, f->operands, phase, apart, before) : 0;
        for (long i = 0; i < length; i += LANES)
            put(out + at + i, v ? load(now + i) - load(then + i) : load(now + i), length - i);
        phase = phase + length == f->period ? 0 : phase + length;
    }
}

/* The epilogue of n deltas: boxes of planes x rows of `numbers`, cells and channels, next to one another; of a view in
   which box i begins at starts[i], planes and rows lie apart as said. */
EXPORTED void NAME(pointwise)(long n, long planes, long rows, long numbers, const float *d, const float *view,
                              const int64_t *starts, long plane, long row, long count, const instruction *program,
                              const operand *operands, long channels, long period, long block, float *scratch,
                              float *out) {
    const applied f = {count, program, operands, channels, period, block, scratch};
    for (long line = 0; line < n * planes * rows; line++) {
        const long z = line / rows % planes, y = line % rows;
        const float *v = view ? view + starts[line / (rows * planes)] + z * plane + y * row : 0;
        apply(&f, numbers, d + line * numbers, v, out + line * numbers);
    }
}

#endif

// Pointwise programs, interpreted: every thread of a launch runs the same instructions, so that no branch diverges.
//
// An instruction is 8 words: function, where its result goes, kinds of its four operands (2 bits each), the operands,
// and one that is left over.  The FUNCTION_ numbers come with the compiler's options, from the list the encoder uses.
#pragma once

#include "device.cuh"

enum { WORDS = 8, REGISTERS = 8 };
enum { FROM_REGISTER = 0, FROM_CONSTANT = 1, FROM_PARAMETER = 2 };

// As numpy's: a NaN comes through.
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ float smaller(float a, float b) { return a < b || a != a ? a : b; }

// Without overflow on either side.
__device__ __forceinline__ float sigmoid(float x) {
    float e = expf(-fabsf(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

__device__ inline float applied(int function, float a, float b, float c, float d) {
    switch (function) {
        case FUNCTION_add: return a + b;
        case FUNCTION_sub: return a - b;
        case FUNCTION_mul: return a * b;
        case FUNCTION_div: return a / b;
        case FUNCTION_pow: return powf(a, b);
        case FUNCTION_maximum: return larger(a, b);
        case FUNCTION_minimum: return smaller(a, b);
        case FUNCTION_neg: return -a;
        case FUNCTION_abs: return fabsf(a);
        case FUNCTION_exp: return expf(a);
        case FUNCTION_log: return logf(a);
        case FUNCTION_sqrt: return sqrtf(a);
        case FUNCTION_reciprocal: return 1 / a;
        case FUNCTION_tanh: return tanhf(a);
        case FUNCTION_sigmoid: return sigmoid(a);
        case FUNCTION_erf: return erff(a);
        case FUNCTION_gelu: return a * 0.5f * erfcf(-a * 0.70710678118654752f);
        case FUNCTION_gelu_tanh: {
            float inner = 0.79788456080286536f * (a + 0.044715f * a * a * a);
            return 0.5f * a * (1 + tanhf(inner));
        }
        case FUNCTION_leaky_relu: return a > 0 ? a : a * b;
        case FUNCTION_elu: return a > 0 ? a * c : expm1f(smaller(a, 0) * d) * (b * c);
        case FUNCTION_softplus: return larger(a, 0) + log1pf(expf(-fabsf(a)));
    }
    return a;
}

// The value at channel c, the program's inputs being in the first registers; ``table`` holds parameters [., channels].
__device__ __forceinline__ float run(const int* program, int length, const float* table, int channels, int c,
                                     float (&registers)[REGISTERS]) {
    float value = registers[0];
    for (int i = 0; i < length; ++i, program += WORDS) {
        float operands[4];
        for (int j = 0; j < 4; ++j) {
            int word = program[3 + j];
            switch (program[2] >> 2 * j & 3) {
                case FROM_REGISTER: operands[j] = registers[word]; break;
                case FROM_CONSTANT: operands[j] = __int_as_float(word); break;
                default: operands[j] = table[(long long)word * channels + c];
            }
        }
        value = applied(program[0], operands[0], operands[1], operands[2], operands[3]);
        registers[program[1]] = value;
    }
    return value;
}

__device__ __forceinline__ float run(const int* program, int length, const float* table, int channels, int c, float x) {
    float registers[REGISTERS] = {x};
    return run(program, length, table, channels, c, registers);
}

// f(v + d) - f(v), by one kernel both times so that zero stays zero; ``result`` is f(v) where that is known.
// A call, not laid in: kernels have many places for it, and every function there is comes with it.
__device__ __noinline__ float epilogue(float delta, const float* view, const float* result, long long cell,
                                       const int* program, int length, const float* table, int channels, int c) {
    float before = view[cell + c];
    float after = run(program, length, table, channels, c, before + delta);
    return after - (result ? result[cell + c] : run(program, length, table, channels, c, before));
}

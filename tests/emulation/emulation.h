// CUDA's grid, blocks and threads on a host's one thread, for tests: kernels are compiled as they are, by g++.
//
// The threads of a block are fibers, each run until it ends or waits at __syncthreads().  After each barrier they are
// taken up in the opposite order, so that a missing barrier shows whichever way round its threads would have to run.
// Static memory stands for shared memory, since blocks run one after another; it is soiled before each block.
#pragma once
#define EMULATED 1

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(n)

struct Index {
    int x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

template <typename To, typename From>
inline To same_bits(From from) {
    To to;
    static_assert(sizeof to == sizeof from);
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline float __int_as_float(int x) { return same_bits<float>(x); }

inline Index threadIdx, blockIdx, blockDim, gridDim;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool ended;
};
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline int current;
inline void (*body)(void**);
inline void** passed;

inline void __syncthreads() { swapcontext(&fibers[current].context, &scheduler); }

inline void live() {
    body(passed);
    fibers[current].ended = true;
    swapcontext(&fibers[current].context, &scheduler);
}

// Aborts where some threads of a block end while others wait at a barrier: undefined on a device.
inline void run_block() {
    int count = blockDim.x;
    if ((int)fibers.size() < count) fibers.resize(count);
    for (int i = 0; i < count; ++i) {
        Fiber& fiber = fibers[i];
        fiber.stack.resize(1 << 16);
        fiber.ended = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, live, 0);
    }
    for (bool forward = true;; forward = !forward) {
        int ended = 0;
        for (int i = 0; i < count; ++i) {
            current = forward ? i : count - 1 - i;
            threadIdx = {current, 0, 0};
            swapcontext(&scheduler, &fibers[current].context);
            ended += fibers[current].ended;
        }
        if (ended == count) return;
        if (ended) std::abort();
    }
}

template <typename... Parameters, std::size_t... I>
inline void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
    kernel(*reinterpret_cast<Parameters*>(arguments[I])...);
}
template <typename... Parameters>
inline void call(void (*kernel)(Parameters...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<Parameters...>{});
}

inline void launch(void (*kernel)(void**), const int* grid, int block, void** arguments) {
    body = kernel, passed = arguments;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {block, 1, 1};
    for (int z = 0; z < grid[2]; ++z)
        for (int y = 0; y < grid[1]; ++y)
            for (int x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                run_block();
            }
}

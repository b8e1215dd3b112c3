// CUDA's grid, blocks and threads on a host's one thread, for tests: kernels are compiled as they are, by g++.
//
// The first thread of a block shows whether the block has a barrier.  Where it has none its threads are a loop; where it
// has, they are fibers, each run until it ends or waits at __syncthreads().  After each barrier they are taken up in the
// opposite order, so that a missing barrier shows whichever way round its threads would have to run.  Static memory
// stands for shared memory, since blocks run one after another.
#pragma once
#define EMULATED 1

#include <setjmp.h>
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
    ucontext_t start;  // entered once; from then on by jumps, which leave signal masks alone and so need no system call
    jmp_buf resume;
    std::vector<char> stack;
    bool ended;
};
inline std::vector<Fiber> fibers;
inline ucontext_t beginning;
inline jmp_buf scheduler;
inline int current;  // the fiber that runs, or -1 in a loop
inline void (*body)(void**);
inline void** passed;

// Undefined on a device: some threads wait for others that have ended, or never come.
[[noreturn]] inline void diverged() { std::abort(); }

inline void __syncthreads() {
    if (current < 0) diverged();
    if (!_setjmp(fibers[current].resume)) _longjmp(scheduler, 1);
}

inline void live() {
    body(passed);
    fibers[current].ended = true;
    _longjmp(scheduler, 1);
}

// Until the fiber waits or ends.
inline void go_on(int i, bool first) {
    current = i;
    threadIdx = {i, 0, 0};
    if (_setjmp(scheduler)) return;
    if (!first) _longjmp(fibers[i].resume, 1);
    Fiber& fiber = fibers[i];
    fiber.stack.resize(1 << 16);
    fiber.ended = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = fiber.stack.size();
    fiber.start.uc_link = &beginning;
    makecontext(&fiber.start, live, 0);
    setcontext(&fiber.start);
}

inline void run_block() {
    int count = blockDim.x;
    if ((int)fibers.size() < count) fibers.resize(count);
    go_on(0, true);
    if (fibers[0].ended) {
        current = -1;
        for (int i = 1; i < count; ++i) {
            threadIdx = {i, 0, 0};
            body(passed);
        }
        return;
    }
    for (int i = 1; i < count; ++i) go_on(i, true);
    for (bool forward = false;; forward = !forward) {
        int ended = 0;
        for (int i = 0; i < count; ++i) ended += fibers[i].ended;
        if (ended == count) return;
        if (ended) diverged();
        for (int i = 0; i < count; ++i) go_on(forward ? i : count - 1 - i, false);
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

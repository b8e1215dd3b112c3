// What the kernels need of the device: bf16, vectors of V numbers, and products on tensor cores.
//
// No toolkit header is included: bf16 and mma are PTX.  Where EMULATED is defined a host's compiler takes the same
// kernels, and each PTX instruction has a scalar form that follows its definition in the PTX ISA.
#pragma once

struct bf16 {
    unsigned short bits;
};

// ---- numbers

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ float widened(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

// Rounded to the nearest, ties to even.
__device__ __forceinline__ void narrow(float x, float& to) { to = x; }
__device__ __forceinline__ void narrow(float x, bf16& to) {
#ifdef EMULATED
    unsigned u = __float_as_uint(x);
    to.bits = x != x ? 0x7fff : (unsigned short)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
#endif
}

// To the 10 bits of mantissa that tensor cores read of a float, to the nearest, ties away from zero.
__device__ __forceinline__ float to_tf32(float x) {
#ifdef EMULATED
    return x - x == 0 ? __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu) : x;
#else
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
#endif
}

// ---- V numbers at once: 16 bytes of float, 8 of bf16, where V is 4

template <int V>
struct Pack {
    float at[V];
};

template <int V>
__device__ __forceinline__ Pack<V> filled(float value) {
    Pack<V> pack;
    for (int i = 0; i < V; ++i) pack.at[i] = value;
    return pack;
}

template <int V>
__device__ __forceinline__ Pack<V> read(const float* from) {
    Pack<V> pack;
    if constexpr (V == 4) {
        float4 four = *reinterpret_cast<const float4*>(from);
        pack.at[0] = four.x, pack.at[1] = four.y, pack.at[2] = four.z, pack.at[3] = four.w;
    } else {
        for (int i = 0; i < V; ++i) pack.at[i] = from[i];
    }
    return pack;
}

template <int V>
__device__ __forceinline__ Pack<V> read(const bf16* from) {
    Pack<V> pack;
    if constexpr (V == 4) {
        uint2 two = *reinterpret_cast<const uint2*>(from);
        pack.at[0] = __uint_as_float(two.x << 16), pack.at[1] = __uint_as_float(two.x & 0xffff0000u);
        pack.at[2] = __uint_as_float(two.y << 16), pack.at[3] = __uint_as_float(two.y & 0xffff0000u);
    } else {
        for (int i = 0; i < V; ++i) pack.at[i] = widened(from[i]);
    }
    return pack;
}

template <int V>
__device__ __forceinline__ void write(float* to, const Pack<V>& pack) {
    if constexpr (V == 4) {
        *reinterpret_cast<float4*>(to) = make_float4(pack.at[0], pack.at[1], pack.at[2], pack.at[3]);
    } else {
        for (int i = 0; i < V; ++i) to[i] = pack.at[i];
    }
}

template <int V>
__device__ __forceinline__ void write(bf16* to, const Pack<V>& pack) {
    bf16 rounded[V];
    for (int i = 0; i < V; ++i) narrow(pack.at[i], rounded[i]);
    if constexpr (V == 4) {
        *reinterpret_cast<uint2*>(to) = make_uint2(rounded[0].bits | (unsigned)rounded[1].bits << 16,
                                                   rounded[2].bits | (unsigned)rounded[3].bits << 16);
    } else {
        for (int i = 0; i < V; ++i) to[i] = rounded[i];
    }
}

// ---- deltas: values [n, height, width, channels] at boxes whose origins (y, x) are ``at`` [n, 2]; null is (0, 0)

__device__ __forceinline__ int origin(const int* at, int i, int axis) { return at ? at[2 * i + axis] : 0; }

// Adds what the delta of position i has at (y, x) of the map, channel c; says whether its box covers that cell.
template <int V, typename T>
__device__ __forceinline__ bool accumulate(Pack<V>& sum, const T* values, const int* at, int height, int width,
                                           int channels, int i, int y, int x, int c) {
    if (!values) return false;
    y -= origin(at, i, 0), x -= origin(at, i, 1);
    if ((unsigned)y >= (unsigned)height || (unsigned)x >= (unsigned)width) return false;
    Pack<V> found = read<V>(values + (((long long)i * height + y) * width + x) * channels + c);
    for (int j = 0; j < V; ++j) sum.at[j] += found.at[j];
    return true;
}

// ---- where a thread is: V channels from c of cell ``cell`` of position ``i``, which lies at (y, x) of the map

struct Place {
    int i, c, cell, y, x;
    bool none;  // past the last
    long long number;  // of the cell, over all positions
};

template <int V>
__device__ __forceinline__ Place place_of(int height, int width, int channels, const int* boxes) {
    int index = blockIdx.x * blockDim.x + threadIdx.x, packs = channels / V;
    Place at;
    at.i = blockIdx.y, at.none = index >= height * width * packs;
    at.c = index % packs * V, at.cell = index / packs;
    at.y = at.cell / width + (at.none ? 0 : origin(boxes, at.i, 0));
    at.x = at.cell % width + (at.none ? 0 : origin(boxes, at.i, 1));
    at.number = (long long)at.i * height * width + at.cell;
    return at;
}

// ---- tensor cores: d += a b for a [16, K] and b [K, 8], a warp's lanes each holding the parts that the ISA names

#ifdef EMULATED
struct Fragments {
    float a[32][8], b[32][4];
};
extern Fragments fragments[64];  // of each warp of the block that runs
#endif

__device__ __forceinline__ int lane_of() { return threadIdx.x & 31; }

// mma.m16n8k8 on tf32.
__device__ __forceinline__ void mma(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
#ifdef EMULATED
    Fragments& warp = fragments[threadIdx.x / 32];
    int lane = lane_of(), group = lane / 4, member = lane % 4;
    for (int i = 0; i < 4; ++i) warp.a[lane][i] = to_tf32(a[i]);
    for (int i = 0; i < 2; ++i) warp.b[lane][i] = to_tf32(b[i]);
    __syncthreads();
    for (int i = 0; i < 4; ++i) {
        int row = group + 8 * (i / 2), column = 2 * member + i % 2;
        for (int k = 0; k < 8; ++k)
            d[i] += warp.a[row % 8 * 4 + k % 4][row / 8 + 2 * (k / 4)] * warp.b[column * 4 + k % 4][k / 4];
    }
    __syncthreads();
#else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#endif
}

// mma.m16n8k16 on bf16, two numbers of neighbouring k in a word, the lower one first.
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef EMULATED
    Fragments& warp = fragments[threadIdx.x / 32];
    int lane = lane_of(), group = lane / 4, member = lane % 4;
    for (int i = 0; i < 8; ++i) warp.a[lane][i] = __uint_as_float(i % 2 ? a[i / 2] & 0xffff0000u : a[i / 2] << 16);
    for (int i = 0; i < 4; ++i) warp.b[lane][i] = __uint_as_float(i % 2 ? b[i / 2] & 0xffff0000u : b[i / 2] << 16);
    __syncthreads();
    for (int i = 0; i < 4; ++i) {
        int row = group + 8 * (i / 2), column = 2 * member + i % 2;
        for (int k = 0; k < 16; ++k) {
            int half = k / 8, owner = k % 8 / 2, low = k % 2;
            d[i] += warp.a[row % 8 * 4 + owner][2 * (row / 8 + 2 * half) + low] * warp.b[column * 4 + owner][2 * half + low];
        }
    }
    __syncthreads();
#else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

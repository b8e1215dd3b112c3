// Convolution of maps and of deltas as an implicit matrix product, with an epilogue; and depthwise convolution.
//
// Rows of the product are output cells of all positions, columns output channels of one group, and what is summed over
// is (tap, input channel).  A delta is read where it lies: cells beside its box are the zeros around it.
#include "programs.cuh"

enum { F32 = 0, TF32 = 1, BF16 = 2 };
enum { ROWS = 128, COLUMNS = 64, DEPTH = 16, THREADS = 256 };

// What is staged in shared memory, and by how many numbers a row is padded so that a warp's reads meet all banks.
template <int MATH>
struct Staged {
    typedef float Number;
    enum { PAD = MATH == TF32 ? 4 : 1 };
};
template <>
struct Staged<BF16> {
    typedef bf16 Number;
    enum { PAD = 8 };
};

template <int MATH, typename S>
__device__ __forceinline__ void stage(S& to, float value) {
    narrow(MATH == TF32 ? to_tf32(value) : value, to);
}

// Two neighbours in a word; ``at`` is even.
__device__ __forceinline__ unsigned pair(const bf16* at) { return *reinterpret_cast<const unsigned*>(at); }

// What a thread has of the product: rows and columns of the block's tile, and the sums there.
template <int MATH>
struct Sums {
    enum { HIGH = 4, WIDE = 8 };  // 2 x 4 tiles of 16 x 8, of which a lane holds 2 x 2 cells each
    float tiles[2][4][4];
    __device__ int row(int i) const {
        return (threadIdx.x / 32 & 3) * 32 + i / 2 * 16 + i % 2 * 8 + lane_of() / 4;
    }
    __device__ int column(int j) const {
        return threadIdx.x / 128 * 32 + j / 2 * 8 + 2 * (lane_of() % 4) + j % 2;
    }
    __device__ float at(int i, int j) const { return tiles[i / 2][j / 2][i % 2 * 2 + j % 2]; }
    template <typename S, int WIDTH>
    __device__ void add(const S (&a)[ROWS][WIDTH], const S (&b)[COLUMNS][WIDTH]) {
        int top = (threadIdx.x / 32 & 3) * 32, left = threadIdx.x / 128 * 32;
        int group = lane_of() / 4, member = lane_of() % 4;
        if constexpr (MATH == TF32) {
            #pragma unroll
            for (int k = member; k < DEPTH; k += 8) {
                float mine[2][4], theirs[4][2];
                #pragma unroll
                for (int i = 0; i < 2; ++i)
                    #pragma unroll
                    for (int part = 0; part < 4; ++part)
                        mine[i][part] = a[top + 16 * i + group + part % 2 * 8][k + part / 2 * 4];
                #pragma unroll
                for (int j = 0; j < 4; ++j)
                    #pragma unroll
                    for (int part = 0; part < 2; ++part) theirs[j][part] = b[left + 8 * j + group][k + part * 4];
                #pragma unroll
                for (int i = 0; i < 2; ++i)
                    #pragma unroll
                    for (int j = 0; j < 4; ++j) mma(tiles[i][j], mine[i], theirs[j]);
            }
        } else {
            unsigned mine[2][4], theirs[4][2];
            #pragma unroll
            for (int i = 0; i < 2; ++i)
                #pragma unroll
                for (int part = 0; part < 4; ++part)
                    mine[i][part] = pair(&a[top + 16 * i + group + part % 2 * 8][2 * member + part / 2 * 8]);
            #pragma unroll
            for (int j = 0; j < 4; ++j)
                #pragma unroll
                for (int part = 0; part < 2; ++part) theirs[j][part] = pair(&b[left + 8 * j + group][2 * member + part * 8]);
            #pragma unroll
            for (int i = 0; i < 2; ++i)
                #pragma unroll
                for (int j = 0; j < 4; ++j) mma(tiles[i][j], mine[i], theirs[j]);
        }
    }
};

template <>
struct Sums<F32> {
    enum { HIGH = 8, WIDE = 4 };
    float cells[8][4];
    __device__ int row(int i) const { return threadIdx.x / 16 * 8 + i; }
    __device__ int column(int j) const { return threadIdx.x % 16 + 16 * j; }
    __device__ float at(int i, int j) const { return cells[i][j]; }
    template <int WIDTH>
    __device__ void add(const float (&a)[ROWS][WIDTH], const float (&b)[COLUMNS][WIDTH]) {
        #pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            float mine[8], theirs[4];
            #pragma unroll
            for (int i = 0; i < 8; ++i) mine[i] = a[row(i)][k];
            #pragma unroll
            for (int j = 0; j < 4; ++j) theirs[j] = b[column(j)][k];
            #pragma unroll
            for (int i = 0; i < 8; ++i)
                #pragma unroll
                for (int j = 0; j < 4; ++j) cells[i][j] += mine[i] * theirs[j];
        }
    }
};

// out [n, height, width, groups * outer], whose ``rows`` are its n * height * width cells, of values [n, box_height, box_width, groups * inner] and weights
// [groups, outer, kernel_y, kernel_x, inner].  With a program, f(view + y) - f(view) of the result y at the boxes.
template <typename T, int MATH, int V>
__global__ void __launch_bounds__(THREADS)
convolve(T* out, int rows, int height, int width, const int* boxes,
         const T* values, const int* at, int box_height, int box_width,
         const T* weights, const float* bias, int inner, int outer,
         int kernel_y, int kernel_x, int stride_y, int stride_x, int dilation_y, int dilation_x, int top, int left,
         const float* view, const float* result, int map_width,
         const int* program, int length, const float* table) {
    typedef typename Staged<MATH>::Number S;
    enum { WIDTH = DEPTH + Staged<MATH>::PAD };
    __shared__ __align__(16) S a[2][ROWS][WIDTH];
    __shared__ __align__(16) S b[2][COLUMNS][WIDTH];

    int group = blockIdx.z, channels = inner * gridDim.z, pitch = outer * gridDim.z;
    int depth = kernel_y * kernel_x * inner, area = height * width;

    // Each thread stages half a row of a, of one output cell, and a quarter of a row of b, of one output channel.
    int a_row = threadIdx.x / 2, a_first = threadIdx.x % 2 * 8;
    int b_row = threadIdx.x / 4, b_first = threadIdx.x % 4 * 4;
    int cell = blockIdx.x * ROWS + a_row, channel = blockIdx.y * COLUMNS + b_row;
    bool real = (unsigned)cell < (unsigned)rows;  // beyond the last rows a number may pass INT_MAX
    int position = cell / area, first_y = 0, first_x = 0;
    if (real) {
        first_y = (origin(boxes, position, 0) + cell % area / width) * stride_y - top - origin(at, position, 0);
        first_x = (origin(boxes, position, 1) + cell % width) * stride_x - left - origin(at, position, 1);
    }
    const T* source = values + (long long)position * box_height * box_width * channels + group * inner;
    const T* column = weights + ((long long)group * outer + channel) * depth;

    Pack<V> a_next[8 / V], b_next[4 / V];
    auto fetch = [&](int start) {
        #pragma unroll
        for (int part = 0; part < 8 / V; ++part) {
            int k = start + a_first + part * V, tap = k / inner;
            int y = first_y + tap / kernel_x * dilation_y, x = first_x + tap % kernel_x * dilation_x;
            bool there = real && k < depth && (unsigned)y < (unsigned)box_height && (unsigned)x < (unsigned)box_width;
            a_next[part] = there ? read<V>(source + ((long long)y * box_width + x) * channels + k - tap * inner) : filled<V>(0);
        }
        #pragma unroll
        for (int part = 0; part < 4 / V; ++part) {
            int k = start + b_first + part * V;
            b_next[part] = channel < outer && k < depth ? read<V>(column + k) : filled<V>(0);
        }
    };
    auto put = [&](int half) {
        #pragma unroll
        for (int k = 0; k < 8; ++k) stage<MATH>(a[half][a_row][a_first + k], a_next[k / V].at[k % V]);
        #pragma unroll
        for (int k = 0; k < 4; ++k) stage<MATH>(b[half][b_row][b_first + k], b_next[k / V].at[k % V]);
    };

    Sums<MATH> sums = {};
    fetch(0);
    put(0);
    __syncthreads();
    for (int start = 0, half = 0; start < depth; start += DEPTH, half ^= 1) {
        // The next slices are on their way while these are multiplied.
        bool more = start + DEPTH < depth;
        if (more) fetch(start + DEPTH);
        sums.add(a[half], b[half]);
        if (more) put(half ^ 1);
        __syncthreads();
    }

    #pragma unroll
    for (int i = 0; i < sums.HIGH; ++i) {
        int to = blockIdx.x * ROWS + sums.row(i);
        if ((unsigned)to >= (unsigned)rows) continue;
        long long place = 0;
        if (program) {
            int p = to / area, y = origin(boxes, p, 0) + to % area / width, x = origin(boxes, p, 1) + to % width;
            place = ((long long)y * map_width + x) * pitch;
        }
        #pragma unroll
        for (int j = 0; j < sums.WIDE; ++j) {
            int o = blockIdx.y * COLUMNS + sums.column(j);
            if (o >= outer) continue;
            int c = group * outer + o;
            float y = sums.at(i, j) + (bias ? bias[c] : 0.0f);
            if (program) y = epilogue(y, view, result, place, program, length, table, pitch, c);
            narrow(y, out[(long long)to * pitch + c]);
        }
    }
}

// One input channel to each group: output channel c reads channel c / multiplier; weights [kernel_y, kernel_x, channels].
template <typename T, int V>
__global__ void depthwise(T* out, int height, int width, int channels, int multiplier, const int* boxes,
                          const T* values, const int* at, int box_height, int box_width,
                          const float* weights, const float* bias,
                          int kernel_y, int kernel_x, int stride_y, int stride_x, int dilation_y, int dilation_x,
                          int top, int left, const float* view, const float* result, int map_width,
                          const int* program, int length, const float* table) {
    Place place = place_of<V>(height, width, channels, boxes);
    if (place.none) return;
    int i = place.i, c = place.c, y = place.y, x = place.x;
    Pack<V> sum = filled<V>(0);
    for (int ky = 0; ky < kernel_y; ++ky)
        for (int kx = 0; kx < kernel_x; ++kx) {
            int row = y * stride_y - top + ky * dilation_y, column = x * stride_x - left + kx * dilation_x;
            Pack<V> value = filled<V>(0);
            if (!accumulate<V>(value, values, at, box_height, box_width, channels / multiplier, i, row, column, c / multiplier))
                continue;
            Pack<V> weight = read<V>(weights + (ky * kernel_x + kx) * channels + c);
            for (int j = 0; j < V; ++j) sum.at[j] += weight.at[j] * value.at[j];
        }
    long long there = ((long long)y * map_width + x) * channels;
    for (int j = 0; j < V; ++j) {
        if (bias) sum.at[j] += bias[c + j];
        if (program) sum.at[j] = epilogue(sum.at[j], view, result, there, program, length, table, channels, c + j);
    }
    write<V>(out + place.number * channels + c, sum);
}

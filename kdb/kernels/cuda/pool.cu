// Sliding maxima and means, of maps and of deltas, and means over whole maps: views are read in place.
#include "device.cuh"

// The maximum over each window of view + d, less ``result`` at the output's box; of d alone where there is no view.
// The window of output (y, x) of a map begins at (y * stride - padding); cells off the map do not count.
template <typename T, int V>
__global__ void max_pool(T* out, int height, int width, int channels, const int* boxes,
                         const T* values, const int* at, int box_height, int box_width,
                         const float* view, int map_height, int map_width, const float* result, int result_width,
                         int kernel_y, int kernel_x, int stride_y, int stride_x, int dilation_y, int dilation_x,
                         int top, int left) {
    Place place = place_of<V>(height, width, channels, boxes);
    if (place.none) return;
    int i = place.i, c = place.c, y = place.y, x = place.x;
    Pack<V> most = filled<V>(-infinity());
    for (int ky = 0; ky < kernel_y; ++ky) {
        int row = y * stride_y - top + ky * dilation_y;
        if ((unsigned)row >= (unsigned)map_height) continue;
        for (int kx = 0; kx < kernel_x; ++kx) {
            int column = x * stride_x - left + kx * dilation_x;
            if ((unsigned)column >= (unsigned)map_width) continue;
            Pack<V> value = filled<V>(0);
            if (view) value = read<V>(view + ((long long)row * map_width + column) * channels + c);
            accumulate<V>(value, values, at, box_height, box_width, channels, i, row, column, c);
            for (int j = 0; j < V; ++j)
                if (value.at[j] > most.at[j] || value.at[j] != value.at[j]) most.at[j] = value.at[j];
        }
    }
    if (result) {
        Pack<V> before = read<V>(result + ((long long)y * result_width + x) * channels + c);
        for (int j = 0; j < V; ++j) most.at[j] -= before.at[j];
    }
    write<V>(out + place.number * channels + c, most);
}

// The sum over each window of the delta, over the divisor [., result_width] at the output's own place.
template <typename T, int V>
__global__ void average_pool(T* out, int height, int width, int channels, const int* boxes,
                             const T* values, const int* at, int box_height, int box_width,
                             const float* divisors, int result_width,
                             int kernel_y, int kernel_x, int stride_y, int stride_x, int dilation_y, int dilation_x,
                             int top, int left) {
    Place place = place_of<V>(height, width, channels, boxes);
    if (place.none) return;
    int i = place.i, c = place.c, y = place.y, x = place.x;
    Pack<V> sum = filled<V>(0);
    for (int ky = 0; ky < kernel_y; ++ky)
        for (int kx = 0; kx < kernel_x; ++kx)
            accumulate<V>(sum, values, at, box_height, box_width, channels, i, y * stride_y - top + ky * dilation_y,
                          x * stride_x - left + kx * dilation_x, c);
    float divisor = divisors[(long long)y * result_width + x];
    for (int j = 0; j < V; ++j) sum.at[j] /= divisor;
    write<V>(out + place.number * channels + c, sum);
}

// The sum over each map [cells, channels], over ``count``.  A block has 32 channels of one position, 8 threads to each;
// sums are compensated (Kahan), since on a nearly constant map rounding errors all point one way.
template <typename T>
__global__ void mean(T* out, const T* x, int cells, int channels, float count) {
    __shared__ float partial[8][32];
    int lane = threadIdx.x & 31, row = threadIdx.x >> 5, c = blockIdx.x * 32 + lane, i = blockIdx.y;
    float sum = 0, lost = 0;
    if (c < channels)
        for (int cell = row; cell < cells; cell += 8) {
            float term = widened(x[((long long)i * cells + cell) * channels + c]) - lost;
            float next = sum + term;
            lost = (next - sum) - term;
            sum = next;
        }
    partial[row][lane] = sum;
    __syncthreads();
    if (row == 0 && c < channels) {
        for (int other = 1; other < 8; ++other) sum += partial[other][lane];
        narrow(sum / count, out[(long long)i * channels + c]);
    }
}

// out[o, i, b] = sum over a of matrix[i, a] x[o, a, b]: one axis of ``length`` cells resampled to ``count``.  A grid has
// fewer rows of blocks than there may be ``outer`` places, so that each takes several.
template <typename T>
__global__ void resample(T* out, const float* matrix, const T* x, int outer, int count, int length, int inner) {
    int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count * inner) return;
    int row = index / inner, b = index % inner;
    for (int o = blockIdx.y; o < outer; o += gridDim.y) {
        float sum = 0;
        for (int a = 0; a < length; ++a)
            sum += matrix[row * length + a] * widened(x[((long long)o * length + a) * inner + b]);
        narrow(sum, out[(long long)o * count * inner + index]);
    }
}

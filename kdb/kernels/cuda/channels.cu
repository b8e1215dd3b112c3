// Functions over the channels of one location: normalization, softmax, and its logarithm.  A block has one location.
#include "device.cuh"

enum { NORMALIZE = 0, SOFTMAX = 1, LOG_SOFTMAX = 2, THREADS = 128 };

// The sum (or the largest) over the block's threads, to all of them.
__device__ float over_block(float value, bool largest) {
    __shared__ float partial[THREADS];
    partial[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half; half /= 2) {
        if (threadIdx.x < half) {
            float other = partial[threadIdx.x + half], mine = partial[threadIdx.x];
            partial[threadIdx.x] = !largest ? mine + other : mine > other || mine != mine ? mine : other;
        }
        __syncthreads();
    }
    float total = partial[0];
    __syncthreads();
    return total;
}

template <int MODE>
__global__ void over_channels(float* out, const float* x, int channels, float eps) {
    x += (long long)blockIdx.x * channels, out += (long long)blockIdx.x * channels;
    float total = 0, most = -infinity();
    if (MODE == NORMALIZE) {
        for (int c = threadIdx.x; c < channels; c += THREADS) total += x[c];
        float centre = over_block(total, false) / channels, squares = 0;
        for (int c = threadIdx.x; c < channels; c += THREADS) squares += (x[c] - centre) * (x[c] - centre);
        float deviation = sqrtf(over_block(squares, false) / channels + eps);
        for (int c = threadIdx.x; c < channels; c += THREADS) out[c] = (x[c] - centre) / deviation;
    } else {
        for (int c = threadIdx.x; c < channels; c += THREADS) most = x[c] > most || x[c] != x[c] ? x[c] : most;
        most = over_block(most, true);
        for (int c = threadIdx.x; c < channels; c += THREADS) total += expf(x[c] - most);
        total = over_block(total, false);
        for (int c = threadIdx.x; c < channels; c += THREADS)
            out[c] = MODE == SOFTMAX ? expf(x[c] - most) / total : x[c] - most - logf(total);
    }
}

// Cell by cell: the source's delta, pointwise programs, products of deltas, selections.
#include "programs.cuh"

// (replacement - image) * mask in the update of ``patch_height`` x ``patch_width`` at ``at``, zero elsewhere in the boxes.
// ``replacement`` is the patch, ``replacement_width`` cells wide, or where ``aligned`` a map as large as the image.
template <typename T, int V>
__global__ void occlude(T* out, int height, int width, int channels, const int* boxes, const float* image,
                        int map_height, int map_width, const int* at, int patch_height, int patch_width,
                        const float* replacement, int replacement_width, int aligned, const float* mask) {
    Place place = place_of<V>(height, width, channels, boxes);
    if (place.none) return;
    int i = place.i, c = place.c, y = place.y, x = place.x;
    int row = y - origin(at, i, 0), column = x - origin(at, i, 1);
    Pack<V> value = filled<V>(0);
    bool inside = (unsigned)row < (unsigned)patch_height && (unsigned)column < (unsigned)patch_width;
    if (inside && (unsigned)y < (unsigned)map_height && (unsigned)x < (unsigned)map_width) {
        if (aligned) row = y, column = x;
        Pack<V> after = read<V>(replacement + ((long long)row * replacement_width + column) * channels + c);
        Pack<V> before = read<V>(image + ((long long)y * map_width + x) * channels + c);
        for (int j = 0; j < V; ++j) value.at[j] = (after.at[j] - before.at[j]) * (mask ? mask[c + j] : 1.0f);
    }
    write<V>(out + place.number * channels + c, value);
}

// A program of up to three arrays of ``total`` numbers, whose last axis is the channels.
template <typename T, typename U, int V>
__global__ void pointwise(U* out, const T* a, const T* b, const T* c, long long total, int channels,
                              const int* program, int length, const float* table) {
    long long first = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (first >= total) return;
    Pack<V> value = read<V>(a + first), second = filled<V>(0), third = filled<V>(0);
    if (b) second = read<V>(b + first);
    if (c) third = read<V>(c + first);
    for (int j = 0; j < V; ++j) {
        float registers[REGISTERS] = {value.at[j], second.at[j], third.at[j]};
        value.at[j] = run(program, length, table, channels, (int)(first % channels) + j, registers);
    }
    write<V>(out + first, value);
}

// dx y + (x + dx) dy over the boxes.
template <typename T, int V>
__global__ void product_delta(T* out, int height, int width, int channels, const int* boxes,
                              const T* a, const int* a_at, int a_height, int a_width,
                              const T* b, const int* b_at, int b_height, int b_width,
                              const float* view_a, const float* view_b, int map_width) {
    Place place = place_of<V>(height, width, channels, boxes);
    if (place.none) return;
    int i = place.i, c = place.c, y = place.y, x = place.x;
    long long there = ((long long)y * map_width + x) * channels + c;
    Pack<V> da = filled<V>(0), db = filled<V>(0), value = filled<V>(0);
    if (accumulate<V>(da, a, a_at, a_height, a_width, channels, i, y, x, c)) {
        Pack<V> other = read<V>(view_b + there);
        for (int j = 0; j < V; ++j) value.at[j] = da.at[j] * other.at[j];
    }
    if (accumulate<V>(db, b, b_at, b_height, b_width, channels, i, y, x, c)) {
        Pack<V> mine = read<V>(view_a + there);
        for (int j = 0; j < V; ++j) value.at[j] += (mine.at[j] + da.at[j]) * db.at[j];
    }
    write<V>(out + place.number * channels + c, value);
}

// x[i, rows[i]][:, columns[i]], zero where an index lies outside of x [n, x_height, x_width, channels].
template <typename T, int V>
__global__ void take_cells(T* out, int height, int width, int channels, const T* x, int x_height, int x_width,
                           const int* rows, const int* columns) {
    Place place = place_of<V>(height, width, channels, nullptr);
    if (place.none) return;
    int i = place.i, c = place.c, cell = place.cell;
    int row = rows[(long long)i * height + cell / width], column = columns[(long long)i * width + cell % width];
    Pack<V> value = filled<V>(0);
    if ((unsigned)row < (unsigned)x_height && (unsigned)column < (unsigned)x_width)
        value = read<V>(x + (((long long)i * x_height + row) * x_width + column) * channels + c);
    write<V>(out + place.number * channels + c, value);
}

// x[..., order] of ``cells`` cells.
template <typename T>
__global__ void take_channels(T* out, const T* x, long long cells, int channels, int taken, const int* order) {
    long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= cells * taken) return;
    out[index] = x[index / taken * channels + order[index % taken]];
}

// x [n, height, width, channels] repeated along the axes of which it has one.
template <typename T>
__global__ void expand(T* out, int height, int width, int channels, const T* x, int n, int x_height, int x_width,
                       int x_channels) {
    int index = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y;
    if (index >= height * width * channels) return;
    int c = index % channels, cell = index / channels;
    int y = x_height > 1 ? cell / width : 0, x_ = x_width > 1 ? cell % width : 0;
    long long place = ((long long)(n > 1 ? i : 0) * x_height + y) * x_width + x_;
    out[(long long)i * height * width * channels + index] = x[place * x_channels + (x_channels > 1 ? c : 0)];
}

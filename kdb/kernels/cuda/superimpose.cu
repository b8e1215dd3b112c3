// Deltas and views laid over frames: the paper's gather and superimpose, union, epilogue and subtraction, in one pass.
#include "programs.cuh"

enum { ADD = 0, LESS = 1, EPILOGUE = 2 };

// out [n, height, width, pitch], channels [first, first + channels), is over each frame
//     d              the sum of the deltas a and b (null: none), and ``outside`` where neither box reaches
//     view + d       ADD, with ``outside`` off the map
//     d - view       LESS
//     f(view + d) - f(view)   EPILOGUE
// A thread has V channels of one cell; a row of blocks has one position.
template <typename T, typename U, int V>
__global__ void superimpose(U* out, int pitch, int first, int height, int width, int channels, const int* frames,
                            const T* a, const int* a_at, int a_height, int a_width,
                            const T* b, const int* b_at, int b_height, int b_width,
                            const float* view, int map_height, int map_width, float outside, int mode,
                            const float* result, const int* program, int length, const float* table) {
    Place place = place_of<V>(height, width, channels, frames);
    if (place.none) return;
    int i = place.i, c = place.c, y = place.y, x = place.x;
    Pack<V> value = filled<V>(0);
    bool covered = accumulate<V>(value, a, a_at, a_height, a_width, channels, i, y, x, c);
    covered |= accumulate<V>(value, b, b_at, b_height, b_width, channels, i, y, x, c);
    if (!view) {
        if (!covered) value = filled<V>(outside);
    } else if ((unsigned)y >= (unsigned)map_height || (unsigned)x >= (unsigned)map_width) {
        value = filled<V>(outside);
    } else {
        long long there = ((long long)y * map_width + x) * channels;
        if (mode == EPILOGUE) {
            for (int j = 0; j < V; ++j)
                value.at[j] = epilogue(value.at[j], view, result, there, program, length, table, channels, c + j);
        } else {
            Pack<V> before = read<V>(view + there + c);
            for (int j = 0; j < V; ++j) value.at[j] = mode == LESS ? value.at[j] - before.at[j] : value.at[j] + before.at[j];
        }
    }
    write<V>(out + place.number * pitch + first + c, value);
}

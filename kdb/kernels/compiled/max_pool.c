/* Deltas of max-pools: max(v + d) - max(v), where the maxima of the view are a view themselves. */

#include "vectors.h"

#define MOST_TAPS 64

/* out [n, boxes of `planes` x `rows` x `cells`, channels].  A window along an axis has `taps`, that many cells apart, and
   begins at stride times its output less `before`.  Boxes of the output and of the delta begin at [3 i] of `starts` and
   `places`, in the maps [out_*] and [in_*]. */
EXPORTED void NAME(max_pool)(long n, long planes, long rows, long cells, long channels, const int64_t *starts,
                             const int64_t *taps, const int64_t *stride, const int64_t *dilation, const int64_t *before,
                             const float *d, const int64_t *places, const int64_t *extent, const float *view,
                             const int64_t *in, const float *result, const int64_t *outer, float *out) {
    for (long at = 0; at < n * planes * rows * cells; at++, out += channels) {
        const long i = at / (planes * rows * cells);
        const int64_t *start = starts + 3 * i, *place = places + 3 * i;
        const long z = start[0] + at / (rows * cells) % planes, y = start[1] + at / cells % rows, x = start[2] + at % cells;
        const float *seen[MOST_TAPS], *more[MOST_TAPS];
        long count = 0;
        for (long tz = 0; tz < taps[0]; tz++)
            for (long ty = 0; ty < taps[1]; ty++)
                for (long tx = 0; tx < taps[2]; tx++) {
                    const long w = z * stride[0] - before[0] + tz * dilation[0];
                    const long v = y * stride[1] - before[1] + ty * dilation[1];
                    const long u = x * stride[2] - before[2] + tx * dilation[2];
                    if (w < 0 || w >= in[0] || v < 0 || v >= in[1] || u < 0 || u >= in[2]) continue;
                    const long dw = w - place[0], dv = v - place[1], du = u - place[2];
                    const int changed = dw >= 0 && dw < extent[0] && dv >= 0 && dv < extent[1] && du >= 0 && du < extent[2];
                    seen[count] = view + ((w * in[1] + v) * in[2] + u) * channels;
                    more[count++] = changed ? d + (((i * extent[0] + dw) * extent[1] + dv) * extent[2] + du) * channels : 0;
                }
        const float *less = result + ((z * outer[1] + y) * outer[2] + x) * channels;
        EVERY({
            vec most = all(-__builtin_inff());
            for (long t = 0; t < count; t++) {
                const vec value = take(seen[t] + c, left, whole);
                most = larger(most, more[t] ? value + take(more[t] + c, left, whole) : value);
            }
            give(out + c, most - take(less + c, left, whole), left, whole);
        });
    }
}

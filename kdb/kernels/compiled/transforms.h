/* Written by generate.py: the matrices E and S of kdb/kernels/cpu/winograd.py as functions, of vectors that
   lie `from` apart, to vectors that lie `to` apart; their numbers are inputs of a tile and taps. */
#include "vectors.h"

INLINE void evaluate_1_1(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    y[0 * to] = x0;
}

INLINE void interpolate_1_1(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    y[0 * to] = x0;
}

INLINE void evaluate_2_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec e1 = x0;
    const vec o1 = x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = x1;
}

INLINE void interpolate_2_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    y[0 * to] = x0;
    y[1 * to] = d1 - x3;
    y[2 * to] = -x0 + s1;
    y[3 * to] = x3;
}

INLINE void evaluate_3_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec e1 = x0 + x2;
    const vec o1 = x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = x0 + 0.5f * x1 + 0.25f * x2;
    y[4 * to] = x2;
}

INLINE void interpolate_3_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    y[0 * to] = 0.5f * x0;
    y[1 * to] = -x0 - 0.5f * x1 - 0.333333333f * x2 + 1.33333333f * x3 + 0.5f * x4;
    y[2 * to] = x2 - x4 - 0.5f * x0 + 0.5f * x1;
    y[3 * to] = x0 + x1 - 0.666666667f * x2 - 1.33333333f * x3 - 0.5f * x4;
    y[4 * to] = x4;
}

INLINE void evaluate_4_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec e1 = x0 + x2;
    const vec o1 = x1 + x3;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = x0 + 0.5f * x1 + 0.25f * x2 + 0.125f * x3;
    y[4 * to] = -x3 + 0.125f * x0 - 0.25f * x1 + 0.5f * x2;
    y[5 * to] = x3;
}

INLINE void interpolate_4_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    y[0 * to] = 0.5f * x0;
    y[1 * to] = -0.75f * x0 - 0.333333333f * x1 - 0.333333333f * x2 + 1.06666667f * x3 + 0.533333333f * x4 + 0.5f * x5;
    y[2 * to] = -x0 + 0.166666667f * x1 + 0.833333333f * x2 + 0.533333333f * x3 - 1.06666667f * x4 - 0.75f * x5;
    y[3 * to] = -x5 + 0.75f * x0 + 0.833333333f * x1 - 0.166666667f * x2 - 1.06666667f * x3 - 0.533333333f * x4;
    y[4 * to] = 0.5f * x0 + 0.333333333f * x1 - 0.333333333f * x2 - 0.533333333f * x3 + 1.06666667f * x4 + 0.75f * x5;
    y[5 * to] = 0.5f * x5;
}

INLINE void evaluate_2_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec e1 = x0;
    const vec o1 = x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = x0 + 0.5f * x1;
    y[4 * to] = -x1 + 0.5f * x0;
    y[5 * to] = x1;
}

INLINE void interpolate_2_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    y[0 * to] = 0.5f * x0;
    y[1 * to] = -0.75f * x0 - 0.333333333f * x1 - 0.333333333f * x2 + 1.06666667f * x3 + 0.533333333f * x4 + 0.5f * x5;
    y[2 * to] = -x0 + 0.166666667f * x1 + 0.833333333f * x2 + 0.533333333f * x3 - 1.06666667f * x4 - 0.75f * x5;
    y[3 * to] = -x5 + 0.75f * x0 + 0.833333333f * x1 - 0.166666667f * x2 - 1.06666667f * x3 - 0.533333333f * x4;
    y[4 * to] = 0.5f * x0 + 0.333333333f * x1 - 0.333333333f * x2 - 0.533333333f * x3 + 1.06666667f * x4 + 0.75f * x5;
    y[5 * to] = 0.5f * x5;
}

INLINE void evaluate_4_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec e1 = x0 + x2;
    const vec o1 = x1 + x3;
    const vec e3 = x0 + 0.25f * x2;
    const vec o3 = 0.5f * x1 + 0.125f * x3;
    const vec e4 = 0.125f * x0 + 0.5f * x2;
    const vec o4 = -x3 - 0.25f * x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e3 - o3;
    y[7 * to] = x3;
}

INLINE void interpolate_4_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x6, d3 = x3 - x6;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    y[0 * to] = 0.25f * x0;
    y[1 * to] = -0.222222222f * d1 - 0.177777778f * d4 + 0.355555556f * d3 - 0.25f * x7;
    y[2 * to] = -1.3125f * x0 - 0.222222222f * s1 + 0.711111111f * s3 + 0.0888888889f * s4;
    y[3 * to] = 0.944444444f * d1 + 0.888888889f * d4 - 0.444444444f * d3 + 1.3125f * x7;
    y[4 * to] = 1.3125f * x0 + 0.944444444f * s1 - 0.888888889f * s3 - 0.444444444f * s4;
    y[5 * to] = -0.222222222f * d1 - 0.711111111f * d4 + 0.0888888889f * d3 - 1.3125f * x7;
    y[6 * to] = -0.25f * x0 - 0.222222222f * s1 + 0.177777778f * s3 + 0.355555556f * s4;
    y[7 * to] = 0.25f * x7;
}

INLINE void evaluate_2_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec e1 = x0;
    const vec o1 = x1;
    const vec e3 = x0;
    const vec o3 = 0.5f * x1;
    const vec e4 = 0.5f * x0;
    const vec o4 = -x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e3 - o3;
    y[7 * to] = x1;
}

INLINE void interpolate_2_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x6, d3 = x3 - x6;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    y[0 * to] = 0.25f * x0;
    y[1 * to] = -0.222222222f * d1 - 0.177777778f * d4 + 0.355555556f * d3 - 0.25f * x7;
    y[2 * to] = -1.3125f * x0 - 0.222222222f * s1 + 0.711111111f * s3 + 0.0888888889f * s4;
    y[3 * to] = 0.944444444f * d1 + 0.888888889f * d4 - 0.444444444f * d3 + 1.3125f * x7;
    y[4 * to] = 1.3125f * x0 + 0.944444444f * s1 - 0.888888889f * s3 - 0.444444444f * s4;
    y[5 * to] = -0.222222222f * d1 - 0.711111111f * d4 + 0.0888888889f * d3 - 1.3125f * x7;
    y[6 * to] = -0.25f * x0 - 0.222222222f * s1 + 0.177777778f * s3 + 0.355555556f * s4;
    y[7 * to] = 0.25f * x7;
}

INLINE void evaluate_4_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec e1 = x0 + x2;
    const vec o1 = x1 + x3;
    const vec e3 = x0 + 0.25f * x2;
    const vec o3 = 0.5f * x1 + 0.125f * x3;
    const vec e4 = 0.125f * x0 + 0.5f * x2;
    const vec o4 = -x3 - 0.25f * x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e3 - o3;
    y[7 * to] = 0.25f * x0 + 0.375f * x1 + 0.5625f * x2 + 0.84375f * x3;
    y[8 * to] = x0 - 0.666666667f * x1 + 0.444444444f * x2 - 0.296296296f * x3;
    y[9 * to] = x3;
}

INLINE void interpolate_4_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec x8 = x[8 * from];
    const vec x9 = x[9 * from];
    y[0 * to] = 0.125f * x0;
    y[1 * to] = 0.104166667f * x0 - 0.133333333f * x1 - 0.133333333f * x2 + 0.152380952f * x3 + 0.0761904762f * x4 - 0.133333333f * x5 - 0.266666667f * x6 + 0.0937728938f * x7 + 0.168981799f * x8 + 0.125f * x9;
    y[2 * to] = -0.78125f * x0 - 0.244444444f * x1 + 0.0222222222f * x2 + 0.431746032f * x3 + 0.0253968254f * x4 - 0.177777778f * x5 + 0.311111111f * x6 + 0.140659341f * x7 - 0.112654533f * x8 + 0.104166667f * x9;
    y[3 * to] = -0.546875f * x0 + 0.588888889f * x1 + 0.811111111f * x2 - 0.0888888889f * x3 - 0.488888889f * x4 + 0.744444444f * x5 + 1.04444444f * x6 - 0.492307692f * x7 - 0.887154447f * x8 - 0.78125f * x9;
    y[4 * to] = 1.3125f * x0 + 1.17222222f * x1 - 0.227777778f * x2 - 0.844444444f * x3 - 0.0888888889f * x4 + 0.955555556f * x5 - 0.922222222f * x6 - 0.738461538f * x7 + 0.591436298f * x8 - 0.546875f * x9;
    y[5 * to] = 0.546875f * x0 - 0.227777778f * x1 - 1.17222222f * x2 - 0.0888888889f * x3 + 0.844444444f * x4 - 0.922222222f * x5 - 0.955555556f * x6 + 0.492307692f * x7 + 0.887154447f * x8 + 1.3125f * x9;
    y[6 * to] = -0.78125f * x0 - 0.811111111f * x1 + 0.588888889f * x2 + 0.488888889f * x3 - 0.0888888889f * x4 - 1.04444444f * x5 + 0.744444444f * x6 + 0.738461538f * x7 - 0.591436298f * x8 + 0.546875f * x9;
    y[7 * to] = -0.104166667f * x0 + 0.0222222222f * x1 + 0.244444444f * x2 + 0.0253968254f * x3 - 0.431746032f * x4 + 0.311111111f * x5 + 0.177777778f * x6 - 0.0937728938f * x7 - 0.168981799f * x8 - 0.78125f * x9;
    y[8 * to] = 0.125f * x0 + 0.133333333f * x1 - 0.133333333f * x2 - 0.0761904762f * x3 + 0.152380952f * x4 + 0.266666667f * x5 - 0.133333333f * x6 - 0.140659341f * x7 + 0.112654533f * x8 - 0.104166667f * x9;
    y[9 * to] = 0.125f * x9;
}

INLINE void evaluate_6_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec e1 = x0 + x2 + x4;
    const vec o1 = x1 + x3 + x5;
    const vec e3 = x0 + 0.25f * x2 + 0.0625f * x4;
    const vec o3 = 0.5f * x1 + 0.125f * x3 + 0.03125f * x5;
    const vec e4 = 0.03125f * x0 + 0.125f * x2 + 0.5f * x4;
    const vec o4 = -x5 - 0.0625f * x1 - 0.25f * x3;
    const vec e7 = 0.125f * x0 + 0.28125f * x2 + 0.6328125f * x4;
    const vec o7 = 0.1875f * x1 + 0.421875f * x3 + 0.94921875f * x5;
    const vec e8 = x0 + 0.444444444f * x2 + 0.197530864f * x4;
    const vec o8 = -0.666666667f * x1 - 0.296296296f * x3 - 0.131687243f * x5;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e3 - o3;
    y[7 * to] = e7 + o7;
    y[8 * to] = e8 + o8;
    y[9 * to] = e8 - o8;
    y[10 * to] = e7 - o7;
    y[11 * to] = x5;
}

INLINE void interpolate_6_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec x8 = x[8 * from];
    const vec x9 = x[9 * from];
    const vec x10 = x[10 * from];
    const vec x11 = x[11 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x6, d3 = x3 - x6;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s7 = x7 + x10, d7 = x7 - x10;
    const vec s8 = x8 + x9, d8 = x8 - x9;
    y[0 * to] = 0.0625f * x0;
    y[1 * to] = 0.08f * d1 - 0.0571428571f * d4 + 0.114285714f * d3 + 0.0760418098f * d8 - 0.075018315f * d7 - 0.0625f * x11;
    y[2 * to] = -0.496527778f * x0 + 0.08f * s1 + 0.228571429f * s3 + 0.0285714286f * s4 - 0.05001221f * s7 - 0.114062715f * s8;
    y[3 * to] = -0.555555556f * d1 + 0.43968254f * d4 - 0.450793651f * d3 - 0.433015861f * d8 + 0.562637363f * d7 + 0.496527778f * x11;
    y[4 * to] = 1.27473958f * x0 - 0.555555556f * s1 - 0.901587302f * s3 - 0.21984127f * s4 + 0.375091575f * s7 + 0.649523792f * s8;
    y[5 * to] = 1.07611111f * d1 - 1.05555556f * d4 + 0.527777778f * d3 + 0.576650391f * d8 - 1.28f * d7 - 1.27473958f * x11;
    y[6 * to] = -1.27473958f * x0 + 1.07611111f * s1 + 1.05555556f * s3 + 0.527777778f * s4 - 0.853333333f * s7 - 0.864975586f * s8;
    y[7 * to] = -0.555555556f * d1 + 0.901587302f * d4 - 0.21984127f * d3 - 0.253472699f * d8 + 0.961172161f * d7 + 1.27473958f * x11;
    y[8 * to] = 0.496527778f * x0 - 0.555555556f * s1 - 0.43968254f * s3 - 0.450793651f * s4 + 0.640781441f * s7 + 0.380209049f * s8;
    y[9 * to] = 0.08f * d1 - 0.228571429f * d4 + 0.0285714286f * d3 + 0.0337963599f * d8 - 0.168791209f * d7 - 0.496527778f * x11;
    y[10 * to] = -0.0625f * x0 + 0.08f * s1 + 0.0571428571f * s3 + 0.114285714f * s4 - 0.112527473f * s7 - 0.0506945398f * s8;
    y[11 * to] = 0.0625f * x11;
}

#define FORMS(X) X(2, 3, 2, 3) X(2, 3, 3, 3) X(2, 3, 4, 3) X(1, 1, 2, 3) X(2, 3, 1, 1) X(3, 3, 2, 3) X(3, 3, 3, 3) X(3, 3, 4, 3) X(1, 1, 3, 3) X(3, 3, 1, 1) X(4, 3, 2, 3) X(4, 3, 3, 3) X(4, 3, 4, 3) X(1, 1, 4, 3) X(4, 3, 1, 1) X(2, 5, 2, 5) X(2, 5, 4, 5) X(1, 1, 2, 5) X(2, 5, 1, 1) X(4, 5, 2, 5) X(4, 5, 4, 5) X(1, 1, 4, 5) X(4, 5, 1, 1) X(1, 1, 2, 7) X(2, 7, 1, 1) X(1, 1, 4, 7) X(4, 7, 1, 1) X(1, 1, 6, 7) X(6, 7, 1, 1)

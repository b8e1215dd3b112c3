/* Written by generate.py: the matrices E and S of kdb/kernels/cpu/winograd.py as functions, of vectors that
   lie `from` apart, to vectors that lie `to` apart; their numbers are inputs of a tile and taps. */
#include "vectors.h"

static void evaluate_1_1(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    y[0 * to] = x0;
}

static void interpolate_1_1(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    y[0 * to] = x0;
}

static void evaluate_2_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec e1 = x0;
    const vec o1 = x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = x1;
}

static void interpolate_2_3(const vec *x, long from, vec *y, long to) {
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

static void evaluate_3_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec e0 = x0 + 0.16f * x2;
    const vec o0 = 0.4f * x1;
    const vec e2 = 0.5f * x0 + 0.888888889f * x2;
    const vec o2 = 0.666666667f * x1;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = x2;
}

static void interpolate_3_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    y[0 * to] = 0.549450549f * s0 - 0.197802198f * s2 + 0.142222222f * x4;
    y[1 * to] = 1.37362637f * d0 - 0.148351648f * d2;
    y[2 * to] = -0.309065934f * s0 + 1.23626374f * s2 - 0.968888889f * x4;
    y[3 * to] = -0.772664835f * d0 + 0.927197802f * d2;
    y[4 * to] = 0.5f * x4;
}

static void evaluate_4_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec e1 = x0 + 0.444444444f * x2;
    const vec o1 = 0.666666667f * x1 + 0.296296296f * x3;
    const vec e3 = 0.25f * x0 + 0.5625f * x2;
    const vec o3 = 0.375f * x1 + 0.84375f * x3;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = x3;
}

static void interpolate_4_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    y[0 * to] = 0.5f * x0;
    y[1 * to] = 0.934615385f * d1 - 0.328205128f * d3 + 0.5f * x5;
    y[2 * to] = -1.34722222f * x0 + 1.40192308f * s1 - 0.218803419f * s3;
    y[3 * to] = -0.415384615f * d1 + 0.738461538f * d3 - 1.34722222f * x5;
    y[4 * to] = 0.5f * x0 - 0.623076923f * s1 + 0.492307692f * s3;
    y[5 * to] = 0.5f * x5;
}

static void evaluate_5_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec e0 = x0 + 0.111111111f * x2 + 0.012345679f * x4;
    const vec o0 = 0.333333333f * x1 + 0.037037037f * x3;
    const vec e2 = x0 + 0.64f * x2 + 0.4096f * x4;
    const vec o2 = 0.8f * x1 + 0.512f * x3;
    const vec e4 = 0.125f * x0 + 0.347222222f * x2 + 0.964506173f * x4;
    const vec o4 = 0.208333333f * x1 + 0.578703704f * x3;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = x4;
}

static void interpolate_5_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    y[0 * to] = 0.157563025f * s0 - 0.0682445535f * s2 + 0.0997920998f * s4 - 0.049382716f * x6;
    y[1 * to] = 0.472689076f * d0 - 0.0853056919f * d2 + 0.0598752599f * d4;
    y[2 * to] = -0.302914916f * s0 + 0.638769021f * s2 - 1.05405405f * s4 + 0.539382716f * x6;
    y[3 * to] = -0.908744748f * d0 + 0.798461276f * d2 - 0.632432432f * d4;
    y[4 * to] = 0.0886292017f * s0 - 0.221112353f * s2 + 1.4033264f * s4 - 0.882222222f * x6;
    y[5 * to] = 0.265887605f * d0 - 0.276390442f * d2 + 0.841995842f * d4;
    y[6 * to] = 0.25f * x6;
}

static void evaluate_6_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec e1 = x0 + 0.25f * x2 + 0.0625f * x4;
    const vec o1 = 0.5f * x1 + 0.125f * x3 + 0.03125f * x5;
    const vec e3 = x0 + x2 + x4;
    const vec o3 = x1 + x3 + x5;
    const vec e5 = 0.03125f * x0 + 0.125f * x2 + 0.5f * x4;
    const vec o5 = x5 + 0.0625f * x1 + 0.25f * x3;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = x5;
}

static void interpolate_6_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    const vec s5 = x5 + x6, d5 = x5 - x6;
    y[0 * to] = 0.25f * x0;
    y[1 * to] = 0.355555556f * d1 - 0.222222222f * d3 + 0.177777778f * d5 - 0.25f * x7;
    y[2 * to] = -1.3125f * x0 + 0.711111111f * s1 - 0.222222222f * s3 + 0.0888888889f * s5;
    y[3 * to] = -0.444444444f * d1 + 0.944444444f * d3 - 0.888888889f * d5 + 1.3125f * x7;
    y[4 * to] = 1.3125f * x0 - 0.888888889f * s1 + 0.944444444f * s3 - 0.444444444f * s5;
    y[5 * to] = 0.0888888889f * d1 - 0.222222222f * d3 + 0.711111111f * d5 - 1.3125f * x7;
    y[6 * to] = -0.25f * x0 + 0.177777778f * s1 - 0.222222222f * s3 + 0.355555556f * s5;
    y[7 * to] = 0.25f * x7;
}

static void evaluate_7_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec e0 = x0 + 0.0625f * x2 + 0.00390625f * x4 + 0.000244140625f * x6;
    const vec o0 = 0.25f * x1 + 0.015625f * x3 + 0.0009765625f * x5;
    const vec e2 = x0 + 0.444444444f * x2 + 0.197530864f * x4 + 0.0877914952f * x6;
    const vec o2 = 0.666666667f * x1 + 0.296296296f * x3 + 0.131687243f * x5;
    const vec e4 = 0.25f * x0 + 0.390625f * x2 + 0.610351562f * x4 + 0.953674316f * x6;
    const vec o4 = 0.3125f * x1 + 0.48828125f * x3 + 0.762939453f * x5;
    const vec e6 = 0.00390625f * x0 + 0.0244140625f * x2 + 0.152587891f * x4 + 0.953674316f * x6;
    const vec o6 = 0.009765625f * x1 + 0.0610351562f * x3 + 0.381469727f * x5;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e6 + o6;
    y[7 * to] = e6 - o6;
    y[8 * to] = x6;
}

static void interpolate_7_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec x8 = x[8 * from];
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s6 = x6 + x7, d6 = x6 - x7;
    y[0 * to] = 0.0765228038f * s0 - 0.030773912f * s2 + 0.022084196f * s4 - 0.0164967055f * s6 + 0.0169542101f * x8;
    y[1 * to] = 0.306091215f * d0 - 0.0461608679f * d2 + 0.0176673568f * d4 - 0.0065986822f * d6;
    y[2 * to] = -0.233394552f * s0 + 0.517001721f * s2 - 0.406570048f * s4 + 0.311622767f * s6 - 0.322977702f * x8;
    y[3 * to] = -0.933578206f * d0 + 0.775502581f * d2 - 0.325256039f * d4 + 0.124649107f * d6;
    y[4 * to] = 0.145576982f * s0 - 0.397057322f * s2 + 0.859516908f * s4 - 0.786562918f * s6 + 0.859619141f * x8;
    y[5 * to] = 0.582307928f * d0 - 0.595585983f * d2 + 0.687613527f * d4 - 0.314625167f * d6;
    y[6 * to] = -0.017630854f * s0 + 0.0504199774f * s2 - 0.127204969f * s4 + 0.380084095f * s6 - 0.519965278f * x8;
    y[7 * to] = -0.070523416f * d0 + 0.075629966f * d2 - 0.101763975f * d4 + 0.152033638f * d6;
    y[8 * to] = 0.0625f * x8;
}

static void evaluate_8_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec e1 = x0 + 0.16f * x2 + 0.0256f * x4 + 0.004096f * x6;
    const vec o1 = 0.4f * x1 + 0.064f * x3 + 0.01024f * x5 + 0.0016384f * x7;
    const vec e3 = x0 + 0.64f * x2 + 0.4096f * x4 + 0.262144f * x6;
    const vec o3 = 0.8f * x1 + 0.512f * x3 + 0.32768f * x5 + 0.2097152f * x7;
    const vec e5 = 0.125f * x0 + 0.222222222f * x2 + 0.395061728f * x4 + 0.702331962f * x6;
    const vec o5 = 0.166666667f * x1 + 0.296296296f * x3 + 0.526748971f * x5 + 0.936442615f * x7;
    const vec e7 = 0.001953125f * x0 + 0.0122070312f * x2 + 0.0762939453f * x4 + 0.476837158f * x6;
    const vec o7 = 0.0048828125f * x1 + 0.0305175781f * x3 + 0.190734863f * x5 + 1.1920929f * x7;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = e7 + o7;
    y[8 * to] = e7 - o7;
    y[9 * to] = x7;
}

static void interpolate_8_3(const vec *x, long from, vec *y, long to) {
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
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    const vec s5 = x5 + x6, d5 = x5 - x6;
    const vec s7 = x7 + x8, d7 = x7 - x8;
    y[0 * to] = 0.0625f * x0;
    y[1 * to] = 0.234952513f * d1 - 0.090664225f * d3 + 0.116619599f * d5 - 0.0610019702f * d7 + 0.0711111111f * x9;
    y[2 * to] = -0.5334375f * x0 + 0.587381283f * s1 - 0.113330281f * s3 + 0.0874646995f * s5 - 0.0244007881f * s7;
    y[3 * to] = -0.536866493f * d1 + 0.632156309f * d3 - 0.929749756f * d5 + 0.5108915f * d7 - 0.606933333f * x9;
    y[4 * to] = 0.968759766f * x0 - 1.34216623f * s1 + 0.790195386f * s3 - 0.697312317f * s5 + 0.2043566f * s7;
    y[5 * to] = 0.286385087f * d1 - 0.417565421f * d3 + 1.28463777f * d5 - 0.863797429f * d7 + 1.10223333f * x9;
    y[6 * to] = -0.484924316f * x0 + 0.715962717f * s1 - 0.521956776f * s3 + 0.963478331f * s5 - 0.345518972f * s7;
    y[7 * to] = -0.0330401972f * d1 + 0.0509986265f * d3 - 0.182218124f * d5 + 0.33509383f * d7 - 0.551736111f * x9;
    y[8 * to] = 0.0549316406f * x0 - 0.0826004929f * s1 + 0.0637482832f * s3 - 0.136663593f * s5 + 0.134037532f * s7;
    y[9 * to] = 0.0625f * x9;
}

static void evaluate_9_3(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec x8 = x[8 * from];
    const vec e0 = x0 + 0.0625f * x2 + 0.00390625f * x4 + 0.000244140625f * x6 + 1.5258789e-05f * x8;
    const vec o0 = 0.25f * x1 + 0.015625f * x3 + 0.0009765625f * x5 + 6.1035156e-05f * x7;
    const vec e2 = x0 + 0.25f * x2 + 0.0625f * x4 + 0.015625f * x6 + 0.00390625f * x8;
    const vec o2 = 0.5f * x1 + 0.125f * x3 + 0.03125f * x5 + 0.0078125f * x7;
    const vec e4 = x0 + x2 + x4 + x6 + x8;
    const vec o4 = x1 + x3 + x5 + x7;
    const vec e6 = 0.03125f * x0 + 0.0703125f * x2 + 0.158203125f * x4 + 0.355957031f * x6 + 0.80090332f * x8;
    const vec o6 = 0.046875f * x1 + 0.10546875f * x3 + 0.237304688f * x5 + 0.533935547f * x7;
    const vec e8 = 0.000122070312f * x0 + 0.00109863281f * x2 + 0.00988769531f * x4 + 0.0889892578f * x6 + 0.80090332f * x8;
    const vec o8 = 0.000366210938f * x1 + 0.00329589844f * x3 + 0.0296630859f * x5 + 0.266967773f * x7;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e6 + o6;
    y[7 * to] = e6 - o6;
    y[8 * to] = e8 + o8;
    y[9 * to] = e8 - o8;
    y[10 * to] = x8;
}

static void interpolate_9_3(const vec *x, long from, vec *y, long to) {
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
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s6 = x6 + x7, d6 = x6 - x7;
    const vec s8 = x8 + x9, d8 = x8 - x9;
    y[0 * to] = 0.046033966f * s0 - 0.0160714286f * s2 + 0.01125f * s4 - 0.0152380952f * s6 + 0.00852480853f * s8 - 0.00988769531f * x10;
    y[1 * to] = 0.184135864f * d0 - 0.0321428571f * d2 + 0.01125f * d4 - 0.0101587302f * d6 + 0.00284160284f * d8;
    y[2 * to] = -0.255744256f * s0 + 0.282142857f * s2 - 0.23125f * s4 + 0.321693122f * s6 - 0.182809783f * s8 + 0.213134766f * x10;
    y[3 * to] = -1.02297702f * d0 + 0.564285714f * d2 - 0.23125f * d4 + 0.214462081f * d6 - 0.0609365943f * d8;
    y[4 * to] = 0.314281274f * s0 - 0.409722222f * s2 + 0.845555556f * s4 - 1.31555556f * s6 + 0.795648796f * s8 - 0.946411133f * x10;
    y[5 * to] = 1.2571251f * d0 - 0.819444444f * d2 + 0.845555556f * d4 - 0.877037037f * d6 + 0.265216265f * d8;
    y[6 * to] = -0.113664114f * s0 + 0.156349206f * s2 - 0.411111111f * s4 + 1.11746032f * s6 - 0.863847264f * s8 + 1.10449219f * x10;
    y[7 * to] = -0.454656455f * d0 + 0.312698413f * d2 - 0.411111111f * d4 + 0.744973545f * d6 - 0.287949088f * d8;
    y[8 * to] = 0.00909312909f * s0 - 0.0126984127f * s2 + 0.0355555556f * s4 - 0.108359788f * s6 + 0.242483442f * s8 - 0.392578125f * x10;
    y[9 * to] = 0.0363725164f * d0 - 0.0253968254f * d2 + 0.0355555556f * d4 - 0.0722398589f * d6 + 0.0808278142f * d8;
    y[10 * to] = 0.03125f * x10;
}

static void evaluate_10_3(const vec *x, long from, vec *y, long to) {
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
    const vec e1 = x0 + 0.111111111f * x2 + 0.012345679f * x4 + 0.00137174211f * x6 + 0.00015241579f * x8;
    const vec o1 = 0.333333333f * x1 + 0.037037037f * x3 + 0.00411522634f * x5 + 0.000457247371f * x7 + 5.0805263e-05f * x9;
    const vec e3 = x0 + 0.444444444f * x2 + 0.197530864f * x4 + 0.0877914952f * x6 + 0.0390184423f * x8;
    const vec o3 = 0.666666667f * x1 + 0.296296296f * x3 + 0.131687243f * x5 + 0.0585276635f * x7 + 0.0260122949f * x9;
    const vec e5 = x0 + x2 + x4 + x6 + x8;
    const vec o5 = x1 + x3 + x5 + x7 + x9;
    const vec e7 = 0.03125f * x0 + 0.0703125f * x2 + 0.158203125f * x4 + 0.355957031f * x6 + 0.80090332f * x8;
    const vec o7 = 0.046875f * x1 + 0.10546875f * x3 + 0.237304688f * x5 + 0.533935547f * x7 + 1.20135498f * x9;
    const vec e9 = 6.1035156e-05f * x0 + 0.000549316406f * x2 + 0.00494384766f * x4 + 0.0444946289f * x6 + 0.40045166f * x8;
    const vec o9 = 0.000183105469f * x1 + 0.00164794922f * x3 + 0.014831543f * x5 + 0.133483887f * x7 + 1.20135498f * x9;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = e7 + o7;
    y[8 * to] = e7 - o7;
    y[9 * to] = e9 + o9;
    y[10 * to] = e9 - o9;
    y[11 * to] = x9;
}

static void interpolate_10_3(const vec *x, long from, vec *y, long to) {
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
    y[0 * to] = 0.03125f * x0;
    y[1 * to] = 0.0748896611f * d1 - 0.0368687562f * x3 + 0.0368687562f * x4 + 0.050625f * x5 - 0.050625f * x6 - 0.0363725164f * x7 + 0.0363725164f * x8 + 0.0369408369f * x9 - 0.0369408369f * x10 - 0.03125f * x11;
    y[2 * to] = -0.400173611f * x0 + 0.224668983f * s1 - 0.0553031344f * x3 - 0.0553031344f * x4 + 0.050625f * x5 + 0.050625f * x6 - 0.0242483442f * x7 - 0.0242483442f * x8 + 0.0123136123f * x9 + 0.0123136123f * x10;
    y[3 * to] = -0.284996766f * d1 + 0.389170205f * x3 - 0.389170205f * x4 - 0.59765625f * x5 + 0.59765625f * x6 + 0.449604716f * x7 - 0.449604716f * x8 - 0.468943402f * x9 + 0.468943402f * x10 + 0.400173611f * x11;
    y[4 * to] = 1.19859182f * x0 - 0.854990298f * s1 + 0.583755307f * x3 + 0.583755307f * x4 - 0.59765625f * x5 - 0.59765625f * x6 + 0.299736478f * x7 + 0.299736478f * x8 - 0.156314467f * x9 - 0.156314467f * x10;
    y[5 * to] = 0.307417436f * d1 - 0.538465909f * x3 + 0.538465909f * x4 + 1.3440625f * x5 - 1.3440625f * x6 - 1.1952413f * x7 + 1.1952413f * x8 + 1.3647587f * x9 - 1.3647587f * x10 - 1.19859182f * x11;
    y[6 * to] = -1.19859182f * x0 + 0.922252308f * s1 - 0.807698864f * x3 - 0.807698864f * x4 + 1.3440625f * x5 + 1.3440625f * x6 - 0.796827535f * x7 - 0.796827535f * x8 + 0.454919566f * x9 + 0.454919566f * x10 + 2e-12f * x11;
    y[7 * to] = -0.105631405f * d1 + 0.202550574f * x3 - 0.202550574f * x4 - 0.59765625f * x5 + 0.59765625f * x6 + 0.863847264f * x7 - 0.863847264f * x8 - 1.26522367f * x9 + 1.26522367f * x10 + 1.19859182f * x11;
    y[8 * to] = 0.400173611f * x0 - 0.316894214f * s1 + 0.303825862f * x3 + 0.303825862f * x4 - 0.59765625f * x5 - 0.59765625f * x6 + 0.575898176f * x7 + 0.575898176f * x8 - 0.421741222f * x9 - 0.421741222f * x10;
    y[9 * to] = 0.00832107346f * d1 - 0.0163861139f * x3 + 0.0163861139f * x4 + 0.050625f * x5 - 0.050625f * x6 - 0.0818381618f * x7 + 0.0818381618f * x8 + 0.332467532f * x9 - 0.332467532f * x10 - 0.400173611f * x11;
    y[10 * to] = -0.03125f * x0 + 0.0249632204f * s1 - 0.0245791708f * x3 - 0.0245791708f * x4 + 0.050625f * x5 + 0.050625f * x6 - 0.0545587746f * x7 - 0.0545587746f * x8 + 0.110822511f * x9 + 0.110822511f * x10;
    y[11 * to] = 0.03125f * x11;
}

static void evaluate_2_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec e1 = x0;
    const vec o1 = 0.666666667f * x1;
    const vec e3 = 0.5f * x0;
    const vec o3 = 0.75f * x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = x1;
}

static void interpolate_2_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    y[0 * to] = 0.5f * x0;
    y[1 * to] = 0.934615385f * d1 - 0.328205128f * d3 + 0.5f * x5;
    y[2 * to] = -1.34722222f * x0 + 1.40192308f * s1 - 0.218803419f * s3;
    y[3 * to] = -0.415384615f * d1 + 0.738461538f * d3 - 1.34722222f * x5;
    y[4 * to] = 0.5f * x0 - 0.623076923f * s1 + 0.492307692f * s3;
    y[5 * to] = 0.5f * x5;
}

static void evaluate_3_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec e0 = x0 + 0.111111111f * x2;
    const vec o0 = 0.333333333f * x1;
    const vec e2 = x0 + 0.64f * x2;
    const vec o2 = 0.8f * x1;
    const vec e4 = 0.5f * x0 + 1.38888889f * x2;
    const vec o4 = 0.833333333f * x1;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = x2;
}

static void interpolate_3_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    y[0 * to] = 0.157563025f * s0 - 0.0682445535f * s2 + 0.0997920998f * s4 - 0.049382716f * x6;
    y[1 * to] = 0.472689076f * d0 - 0.0853056919f * d2 + 0.0598752599f * d4;
    y[2 * to] = -0.302914916f * s0 + 0.638769021f * s2 - 1.05405405f * s4 + 0.539382716f * x6;
    y[3 * to] = -0.908744748f * d0 + 0.798461276f * d2 - 0.632432432f * d4;
    y[4 * to] = 0.0886292017f * s0 - 0.221112353f * s2 + 1.4033264f * s4 - 0.882222222f * x6;
    y[5 * to] = 0.265887605f * d0 - 0.276390442f * d2 + 0.841995842f * d4;
    y[6 * to] = 0.25f * x6;
}

static void evaluate_4_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec e1 = x0 + 0.25f * x2;
    const vec o1 = 0.5f * x1 + 0.125f * x3;
    const vec e3 = x0 + x2;
    const vec o3 = x1 + x3;
    const vec e5 = 0.125f * x0 + 0.5f * x2;
    const vec o5 = x3 + 0.25f * x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = x3;
}

static void interpolate_4_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    const vec s5 = x5 + x6, d5 = x5 - x6;
    y[0 * to] = 0.25f * x0;
    y[1 * to] = 0.355555556f * d1 - 0.222222222f * d3 + 0.177777778f * d5 - 0.25f * x7;
    y[2 * to] = -1.3125f * x0 + 0.711111111f * s1 - 0.222222222f * s3 + 0.0888888889f * s5;
    y[3 * to] = -0.444444444f * d1 + 0.944444444f * d3 - 0.888888889f * d5 + 1.3125f * x7;
    y[4 * to] = 1.3125f * x0 - 0.888888889f * s1 + 0.944444444f * s3 - 0.444444444f * s5;
    y[5 * to] = 0.0888888889f * d1 - 0.222222222f * d3 + 0.711111111f * d5 - 1.3125f * x7;
    y[6 * to] = -0.25f * x0 + 0.177777778f * s1 - 0.222222222f * s3 + 0.355555556f * s5;
    y[7 * to] = 0.25f * x7;
}

static void evaluate_5_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec e0 = x0 + 0.0625f * x2 + 0.00390625f * x4;
    const vec o0 = 0.25f * x1 + 0.015625f * x3;
    const vec e2 = x0 + 0.444444444f * x2 + 0.197530864f * x4;
    const vec o2 = 0.666666667f * x1 + 0.296296296f * x3;
    const vec e4 = 0.5f * x0 + 0.78125f * x2 + 1.22070312f * x4;
    const vec o4 = 0.625f * x1 + 0.9765625f * x3;
    const vec e6 = 0.03125f * x0 + 0.1953125f * x2 + 1.22070312f * x4;
    const vec o6 = 0.078125f * x1 + 0.48828125f * x3;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e6 + o6;
    y[7 * to] = e6 - o6;
    y[8 * to] = x4;
}

static void interpolate_5_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec x8 = x[8 * from];
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s6 = x6 + x7, d6 = x6 - x7;
    y[0 * to] = 0.0765228038f * s0 - 0.030773912f * s2 + 0.022084196f * s4 - 0.0164967055f * s6 + 0.0169542101f * x8;
    y[1 * to] = 0.306091215f * d0 - 0.0461608679f * d2 + 0.0176673568f * d4 - 0.0065986822f * d6;
    y[2 * to] = -0.233394552f * s0 + 0.517001721f * s2 - 0.406570048f * s4 + 0.311622767f * s6 - 0.322977702f * x8;
    y[3 * to] = -0.933578206f * d0 + 0.775502581f * d2 - 0.325256039f * d4 + 0.124649107f * d6;
    y[4 * to] = 0.145576982f * s0 - 0.397057322f * s2 + 0.859516908f * s4 - 0.786562918f * s6 + 0.859619141f * x8;
    y[5 * to] = 0.582307928f * d0 - 0.595585983f * d2 + 0.687613527f * d4 - 0.314625167f * d6;
    y[6 * to] = -0.017630854f * s0 + 0.0504199774f * s2 - 0.127204969f * s4 + 0.380084095f * s6 - 0.519965278f * x8;
    y[7 * to] = -0.070523416f * d0 + 0.075629966f * d2 - 0.101763975f * d4 + 0.152033638f * d6;
    y[8 * to] = 0.0625f * x8;
}

static void evaluate_6_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec e1 = x0 + 0.16f * x2 + 0.0256f * x4;
    const vec o1 = 0.4f * x1 + 0.064f * x3 + 0.01024f * x5;
    const vec e3 = x0 + 0.64f * x2 + 0.4096f * x4;
    const vec o3 = 0.8f * x1 + 0.512f * x3 + 0.32768f * x5;
    const vec e5 = 0.25f * x0 + 0.444444444f * x2 + 0.790123457f * x4;
    const vec o5 = 0.333333333f * x1 + 0.592592593f * x3 + 1.05349794f * x5;
    const vec e7 = 0.0078125f * x0 + 0.048828125f * x2 + 0.305175781f * x4;
    const vec o7 = 0.01953125f * x1 + 0.122070312f * x3 + 0.762939453f * x5;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = e7 + o7;
    y[8 * to] = e7 - o7;
    y[9 * to] = x5;
}

static void interpolate_6_5(const vec *x, long from, vec *y, long to) {
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
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    const vec s5 = x5 + x6, d5 = x5 - x6;
    const vec s7 = x7 + x8, d7 = x7 - x8;
    y[0 * to] = 0.0625f * x0;
    y[1 * to] = 0.234952513f * d1 - 0.090664225f * d3 + 0.116619599f * d5 - 0.0610019702f * d7 + 0.0711111111f * x9;
    y[2 * to] = -0.5334375f * x0 + 0.587381283f * s1 - 0.113330281f * s3 + 0.0874646995f * s5 - 0.0244007881f * s7;
    y[3 * to] = -0.536866493f * d1 + 0.632156309f * d3 - 0.929749756f * d5 + 0.5108915f * d7 - 0.606933333f * x9;
    y[4 * to] = 0.968759766f * x0 - 1.34216623f * s1 + 0.790195386f * s3 - 0.697312317f * s5 + 0.2043566f * s7;
    y[5 * to] = 0.286385087f * d1 - 0.417565421f * d3 + 1.28463777f * d5 - 0.863797429f * d7 + 1.10223333f * x9;
    y[6 * to] = -0.484924316f * x0 + 0.715962717f * s1 - 0.521956776f * s3 + 0.963478331f * s5 - 0.345518972f * s7;
    y[7 * to] = -0.0330401972f * d1 + 0.0509986265f * d3 - 0.182218124f * d5 + 0.33509383f * d7 - 0.551736111f * x9;
    y[8 * to] = 0.0549316406f * x0 - 0.0826004929f * s1 + 0.0637482832f * s3 - 0.136663593f * s5 + 0.134037532f * s7;
    y[9 * to] = 0.0625f * x9;
}

static void evaluate_7_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec e0 = x0 + 0.0625f * x2 + 0.00390625f * x4 + 0.000244140625f * x6;
    const vec o0 = 0.25f * x1 + 0.015625f * x3 + 0.0009765625f * x5;
    const vec e2 = x0 + 0.25f * x2 + 0.0625f * x4 + 0.015625f * x6;
    const vec o2 = 0.5f * x1 + 0.125f * x3 + 0.03125f * x5;
    const vec e4 = x0 + x2 + x4 + x6;
    const vec o4 = x1 + x3 + x5;
    const vec e6 = 0.0625f * x0 + 0.140625f * x2 + 0.31640625f * x4 + 0.711914062f * x6;
    const vec o6 = 0.09375f * x1 + 0.2109375f * x3 + 0.474609375f * x5;
    const vec e8 = 0.0009765625f * x0 + 0.0087890625f * x2 + 0.0791015625f * x4 + 0.711914062f * x6;
    const vec o8 = 0.0029296875f * x1 + 0.0263671875f * x3 + 0.237304688f * x5;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e6 + o6;
    y[7 * to] = e6 - o6;
    y[8 * to] = e8 + o8;
    y[9 * to] = e8 - o8;
    y[10 * to] = x6;
}

static void interpolate_7_5(const vec *x, long from, vec *y, long to) {
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
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s6 = x6 + x7, d6 = x6 - x7;
    const vec s8 = x8 + x9, d8 = x8 - x9;
    y[0 * to] = 0.046033966f * s0 - 0.0160714286f * s2 + 0.01125f * s4 - 0.0152380952f * s6 + 0.00852480853f * s8 - 0.00988769531f * x10;
    y[1 * to] = 0.184135864f * d0 - 0.0321428571f * d2 + 0.01125f * d4 - 0.0101587302f * d6 + 0.00284160284f * d8;
    y[2 * to] = -0.255744256f * s0 + 0.282142857f * s2 - 0.23125f * s4 + 0.321693122f * s6 - 0.182809783f * s8 + 0.213134766f * x10;
    y[3 * to] = -1.02297702f * d0 + 0.564285714f * d2 - 0.23125f * d4 + 0.214462081f * d6 - 0.0609365943f * d8;
    y[4 * to] = 0.314281274f * s0 - 0.409722222f * s2 + 0.845555556f * s4 - 1.31555556f * s6 + 0.795648796f * s8 - 0.946411133f * x10;
    y[5 * to] = 1.2571251f * d0 - 0.819444444f * d2 + 0.845555556f * d4 - 0.877037037f * d6 + 0.265216265f * d8;
    y[6 * to] = -0.113664114f * s0 + 0.156349206f * s2 - 0.411111111f * s4 + 1.11746032f * s6 - 0.863847264f * s8 + 1.10449219f * x10;
    y[7 * to] = -0.454656455f * d0 + 0.312698413f * d2 - 0.411111111f * d4 + 0.744973545f * d6 - 0.287949088f * d8;
    y[8 * to] = 0.00909312909f * s0 - 0.0126984127f * s2 + 0.0355555556f * s4 - 0.108359788f * s6 + 0.242483442f * s8 - 0.392578125f * x10;
    y[9 * to] = 0.0363725164f * d0 - 0.0253968254f * d2 + 0.0355555556f * d4 - 0.0722398589f * d6 + 0.0808278142f * d8;
    y[10 * to] = 0.03125f * x10;
}

static void evaluate_8_5(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec e1 = x0 + 0.111111111f * x2 + 0.012345679f * x4 + 0.00137174211f * x6;
    const vec o1 = 0.333333333f * x1 + 0.037037037f * x3 + 0.00411522634f * x5 + 0.000457247371f * x7;
    const vec e3 = x0 + 0.444444444f * x2 + 0.197530864f * x4 + 0.0877914952f * x6;
    const vec o3 = 0.666666667f * x1 + 0.296296296f * x3 + 0.131687243f * x5 + 0.0585276635f * x7;
    const vec e5 = x0 + x2 + x4 + x6;
    const vec o5 = x1 + x3 + x5 + x7;
    const vec e7 = 0.0625f * x0 + 0.140625f * x2 + 0.31640625f * x4 + 0.711914062f * x6;
    const vec o7 = 0.09375f * x1 + 0.2109375f * x3 + 0.474609375f * x5 + 1.06787109f * x7;
    const vec e9 = 0.00048828125f * x0 + 0.00439453125f * x2 + 0.0395507812f * x4 + 0.355957031f * x6;
    const vec o9 = 0.00146484375f * x1 + 0.0131835938f * x3 + 0.118652344f * x5 + 1.06787109f * x7;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = e7 + o7;
    y[8 * to] = e7 - o7;
    y[9 * to] = e9 + o9;
    y[10 * to] = e9 - o9;
    y[11 * to] = x7;
}

static void interpolate_8_5(const vec *x, long from, vec *y, long to) {
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
    y[0 * to] = 0.03125f * x0;
    y[1 * to] = 0.0748896611f * d1 - 0.0368687562f * x3 + 0.0368687562f * x4 + 0.050625f * x5 - 0.050625f * x6 - 0.0363725164f * x7 + 0.0363725164f * x8 + 0.0369408369f * x9 - 0.0369408369f * x10 - 0.03125f * x11;
    y[2 * to] = -0.400173611f * x0 + 0.224668983f * s1 - 0.0553031344f * x3 - 0.0553031344f * x4 + 0.050625f * x5 + 0.050625f * x6 - 0.0242483442f * x7 - 0.0242483442f * x8 + 0.0123136123f * x9 + 0.0123136123f * x10;
    y[3 * to] = -0.284996766f * d1 + 0.389170205f * x3 - 0.389170205f * x4 - 0.59765625f * x5 + 0.59765625f * x6 + 0.449604716f * x7 - 0.449604716f * x8 - 0.468943402f * x9 + 0.468943402f * x10 + 0.400173611f * x11;
    y[4 * to] = 1.19859182f * x0 - 0.854990298f * s1 + 0.583755307f * x3 + 0.583755307f * x4 - 0.59765625f * x5 - 0.59765625f * x6 + 0.299736478f * x7 + 0.299736478f * x8 - 0.156314467f * x9 - 0.156314467f * x10;
    y[5 * to] = 0.307417436f * d1 - 0.538465909f * x3 + 0.538465909f * x4 + 1.3440625f * x5 - 1.3440625f * x6 - 1.1952413f * x7 + 1.1952413f * x8 + 1.3647587f * x9 - 1.3647587f * x10 - 1.19859182f * x11;
    y[6 * to] = -1.19859182f * x0 + 0.922252308f * s1 - 0.807698864f * x3 - 0.807698864f * x4 + 1.3440625f * x5 + 1.3440625f * x6 - 0.796827535f * x7 - 0.796827535f * x8 + 0.454919566f * x9 + 0.454919566f * x10 + 2e-12f * x11;
    y[7 * to] = -0.105631405f * d1 + 0.202550574f * x3 - 0.202550574f * x4 - 0.59765625f * x5 + 0.59765625f * x6 + 0.863847264f * x7 - 0.863847264f * x8 - 1.26522367f * x9 + 1.26522367f * x10 + 1.19859182f * x11;
    y[8 * to] = 0.400173611f * x0 - 0.316894214f * s1 + 0.303825862f * x3 + 0.303825862f * x4 - 0.59765625f * x5 - 0.59765625f * x6 + 0.575898176f * x7 + 0.575898176f * x8 - 0.421741222f * x9 - 0.421741222f * x10;
    y[9 * to] = 0.00832107346f * d1 - 0.0163861139f * x3 + 0.0163861139f * x4 + 0.050625f * x5 - 0.050625f * x6 - 0.0818381618f * x7 + 0.0818381618f * x8 + 0.332467532f * x9 - 0.332467532f * x10 - 0.400173611f * x11;
    y[10 * to] = -0.03125f * x0 + 0.0249632204f * s1 - 0.0245791708f * x3 - 0.0245791708f * x4 + 0.050625f * x5 + 0.050625f * x6 - 0.0545587746f * x7 - 0.0545587746f * x8 + 0.110822511f * x9 + 0.110822511f * x10;
    y[11 * to] = 0.03125f * x11;
}

static void evaluate_2_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec e1 = x0;
    const vec o1 = 0.5f * x1;
    const vec e3 = x0;
    const vec o3 = x1;
    const vec e5 = 0.5f * x0;
    const vec o5 = x1;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = x1;
}

static void interpolate_2_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    const vec s5 = x5 + x6, d5 = x5 - x6;
    y[0 * to] = 0.25f * x0;
    y[1 * to] = 0.355555556f * d1 - 0.222222222f * d3 + 0.177777778f * d5 - 0.25f * x7;
    y[2 * to] = -1.3125f * x0 + 0.711111111f * s1 - 0.222222222f * s3 + 0.0888888889f * s5;
    y[3 * to] = -0.444444444f * d1 + 0.944444444f * d3 - 0.888888889f * d5 + 1.3125f * x7;
    y[4 * to] = 1.3125f * x0 - 0.888888889f * s1 + 0.944444444f * s3 - 0.444444444f * s5;
    y[5 * to] = 0.0888888889f * d1 - 0.222222222f * d3 + 0.711111111f * d5 - 1.3125f * x7;
    y[6 * to] = -0.25f * x0 + 0.177777778f * s1 - 0.222222222f * s3 + 0.355555556f * s5;
    y[7 * to] = 0.25f * x7;
}

static void evaluate_3_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec e0 = x0 + 0.0625f * x2;
    const vec o0 = 0.25f * x1;
    const vec e2 = x0 + 0.444444444f * x2;
    const vec o2 = 0.666666667f * x1;
    const vec e4 = 0.5f * x0 + 0.78125f * x2;
    const vec o4 = 0.625f * x1;
    const vec e6 = 0.125f * x0 + 0.78125f * x2;
    const vec o6 = 0.3125f * x1;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e6 + o6;
    y[7 * to] = e6 - o6;
    y[8 * to] = x2;
}

static void interpolate_3_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec x6 = x[6 * from];
    const vec x7 = x[7 * from];
    const vec x8 = x[8 * from];
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s6 = x6 + x7, d6 = x6 - x7;
    y[0 * to] = 0.0765228038f * s0 - 0.030773912f * s2 + 0.022084196f * s4 - 0.0164967055f * s6 + 0.0169542101f * x8;
    y[1 * to] = 0.306091215f * d0 - 0.0461608679f * d2 + 0.0176673568f * d4 - 0.0065986822f * d6;
    y[2 * to] = -0.233394552f * s0 + 0.517001721f * s2 - 0.406570048f * s4 + 0.311622767f * s6 - 0.322977702f * x8;
    y[3 * to] = -0.933578206f * d0 + 0.775502581f * d2 - 0.325256039f * d4 + 0.124649107f * d6;
    y[4 * to] = 0.145576982f * s0 - 0.397057322f * s2 + 0.859516908f * s4 - 0.786562918f * s6 + 0.859619141f * x8;
    y[5 * to] = 0.582307928f * d0 - 0.595585983f * d2 + 0.687613527f * d4 - 0.314625167f * d6;
    y[6 * to] = -0.017630854f * s0 + 0.0504199774f * s2 - 0.127204969f * s4 + 0.380084095f * s6 - 0.519965278f * x8;
    y[7 * to] = -0.070523416f * d0 + 0.075629966f * d2 - 0.101763975f * d4 + 0.152033638f * d6;
    y[8 * to] = 0.0625f * x8;
}

static void evaluate_4_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec e1 = x0 + 0.16f * x2;
    const vec o1 = 0.4f * x1 + 0.064f * x3;
    const vec e3 = x0 + 0.64f * x2;
    const vec o3 = 0.8f * x1 + 0.512f * x3;
    const vec e5 = 0.5f * x0 + 0.888888889f * x2;
    const vec o5 = 0.666666667f * x1 + 1.18518519f * x3;
    const vec e7 = 0.0625f * x0 + 0.390625f * x2;
    const vec o7 = 0.15625f * x1 + 0.9765625f * x3;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = e7 + o7;
    y[8 * to] = e7 - o7;
    y[9 * to] = x3;
}

static void interpolate_4_7(const vec *x, long from, vec *y, long to) {
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
    const vec s1 = x1 + x2, d1 = x1 - x2;
    const vec s3 = x3 + x4, d3 = x3 - x4;
    const vec s5 = x5 + x6, d5 = x5 - x6;
    const vec s7 = x7 + x8, d7 = x7 - x8;
    y[0 * to] = 0.0625f * x0;
    y[1 * to] = 0.234952513f * d1 - 0.090664225f * d3 + 0.116619599f * d5 - 0.0610019702f * d7 + 0.0711111111f * x9;
    y[2 * to] = -0.5334375f * x0 + 0.587381283f * s1 - 0.113330281f * s3 + 0.0874646995f * s5 - 0.0244007881f * s7;
    y[3 * to] = -0.536866493f * d1 + 0.632156309f * d3 - 0.929749756f * d5 + 0.5108915f * d7 - 0.606933333f * x9;
    y[4 * to] = 0.968759766f * x0 - 1.34216623f * s1 + 0.790195386f * s3 - 0.697312317f * s5 + 0.2043566f * s7;
    y[5 * to] = 0.286385087f * d1 - 0.417565421f * d3 + 1.28463777f * d5 - 0.863797429f * d7 + 1.10223333f * x9;
    y[6 * to] = -0.484924316f * x0 + 0.715962717f * s1 - 0.521956776f * s3 + 0.963478331f * s5 - 0.345518972f * s7;
    y[7 * to] = -0.0330401972f * d1 + 0.0509986265f * d3 - 0.182218124f * d5 + 0.33509383f * d7 - 0.551736111f * x9;
    y[8 * to] = 0.0549316406f * x0 - 0.0826004929f * s1 + 0.0637482832f * s3 - 0.136663593f * s5 + 0.134037532f * s7;
    y[9 * to] = 0.0625f * x9;
}

static void evaluate_5_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec e0 = x0 + 0.0625f * x2 + 0.00390625f * x4;
    const vec o0 = 0.25f * x1 + 0.015625f * x3;
    const vec e2 = x0 + 0.25f * x2 + 0.0625f * x4;
    const vec o2 = 0.5f * x1 + 0.125f * x3;
    const vec e4 = x0 + x2 + x4;
    const vec o4 = x1 + x3;
    const vec e6 = 0.25f * x0 + 0.5625f * x2 + 1.265625f * x4;
    const vec o6 = 0.375f * x1 + 0.84375f * x3;
    const vec e8 = 0.015625f * x0 + 0.140625f * x2 + 1.265625f * x4;
    const vec o8 = 0.046875f * x1 + 0.421875f * x3;
    y[0 * to] = e0 + o0;
    y[1 * to] = e0 - o0;
    y[2 * to] = e2 + o2;
    y[3 * to] = e2 - o2;
    y[4 * to] = e4 + o4;
    y[5 * to] = e4 - o4;
    y[6 * to] = e6 + o6;
    y[7 * to] = e6 - o6;
    y[8 * to] = e8 + o8;
    y[9 * to] = e8 - o8;
    y[10 * to] = x4;
}

static void interpolate_5_7(const vec *x, long from, vec *y, long to) {
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
    const vec s0 = x0 + x1, d0 = x0 - x1;
    const vec s2 = x2 + x3, d2 = x2 - x3;
    const vec s4 = x4 + x5, d4 = x4 - x5;
    const vec s6 = x6 + x7, d6 = x6 - x7;
    const vec s8 = x8 + x9, d8 = x8 - x9;
    y[0 * to] = 0.046033966f * s0 - 0.0160714286f * s2 + 0.01125f * s4 - 0.0152380952f * s6 + 0.00852480853f * s8 - 0.00988769531f * x10;
    y[1 * to] = 0.184135864f * d0 - 0.0321428571f * d2 + 0.01125f * d4 - 0.0101587302f * d6 + 0.00284160284f * d8;
    y[2 * to] = -0.255744256f * s0 + 0.282142857f * s2 - 0.23125f * s4 + 0.321693122f * s6 - 0.182809783f * s8 + 0.213134766f * x10;
    y[3 * to] = -1.02297702f * d0 + 0.564285714f * d2 - 0.23125f * d4 + 0.214462081f * d6 - 0.0609365943f * d8;
    y[4 * to] = 0.314281274f * s0 - 0.409722222f * s2 + 0.845555556f * s4 - 1.31555556f * s6 + 0.795648796f * s8 - 0.946411133f * x10;
    y[5 * to] = 1.2571251f * d0 - 0.819444444f * d2 + 0.845555556f * d4 - 0.877037037f * d6 + 0.265216265f * d8;
    y[6 * to] = -0.113664114f * s0 + 0.156349206f * s2 - 0.411111111f * s4 + 1.11746032f * s6 - 0.863847264f * s8 + 1.10449219f * x10;
    y[7 * to] = -0.454656455f * d0 + 0.312698413f * d2 - 0.411111111f * d4 + 0.744973545f * d6 - 0.287949088f * d8;
    y[8 * to] = 0.00909312909f * s0 - 0.0126984127f * s2 + 0.0355555556f * s4 - 0.108359788f * s6 + 0.242483442f * s8 - 0.392578125f * x10;
    y[9 * to] = 0.0363725164f * d0 - 0.0253968254f * d2 + 0.0355555556f * d4 - 0.0722398589f * d6 + 0.0808278142f * d8;
    y[10 * to] = 0.03125f * x10;
}

static void evaluate_6_7(const vec *x, long from, vec *y, long to) {
    const vec x0 = x[0 * from];
    const vec x1 = x[1 * from];
    const vec x2 = x[2 * from];
    const vec x3 = x[3 * from];
    const vec x4 = x[4 * from];
    const vec x5 = x[5 * from];
    const vec e1 = x0 + 0.111111111f * x2 + 0.012345679f * x4;
    const vec o1 = 0.333333333f * x1 + 0.037037037f * x3 + 0.00411522634f * x5;
    const vec e3 = x0 + 0.444444444f * x2 + 0.197530864f * x4;
    const vec o3 = 0.666666667f * x1 + 0.296296296f * x3 + 0.131687243f * x5;
    const vec e5 = x0 + x2 + x4;
    const vec o5 = x1 + x3 + x5;
    const vec e7 = 0.125f * x0 + 0.28125f * x2 + 0.6328125f * x4;
    const vec o7 = 0.1875f * x1 + 0.421875f * x3 + 0.94921875f * x5;
    const vec e9 = 0.00390625f * x0 + 0.03515625f * x2 + 0.31640625f * x4;
    const vec o9 = 0.01171875f * x1 + 0.10546875f * x3 + 0.94921875f * x5;
    y[0 * to] = x0;
    y[1 * to] = e1 + o1;
    y[2 * to] = e1 - o1;
    y[3 * to] = e3 + o3;
    y[4 * to] = e3 - o3;
    y[5 * to] = e5 + o5;
    y[6 * to] = e5 - o5;
    y[7 * to] = e7 + o7;
    y[8 * to] = e7 - o7;
    y[9 * to] = e9 + o9;
    y[10 * to] = e9 - o9;
    y[11 * to] = x5;
}

static void interpolate_6_7(const vec *x, long from, vec *y, long to) {
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
    y[0 * to] = 0.03125f * x0;
    y[1 * to] = 0.0748896611f * d1 - 0.0368687562f * x3 + 0.0368687562f * x4 + 0.050625f * x5 - 0.050625f * x6 - 0.0363725164f * x7 + 0.0363725164f * x8 + 0.0369408369f * x9 - 0.0369408369f * x10 - 0.03125f * x11;
    y[2 * to] = -0.400173611f * x0 + 0.224668983f * s1 - 0.0553031344f * x3 - 0.0553031344f * x4 + 0.050625f * x5 + 0.050625f * x6 - 0.0242483442f * x7 - 0.0242483442f * x8 + 0.0123136123f * x9 + 0.0123136123f * x10;
    y[3 * to] = -0.284996766f * d1 + 0.389170205f * x3 - 0.389170205f * x4 - 0.59765625f * x5 + 0.59765625f * x6 + 0.449604716f * x7 - 0.449604716f * x8 - 0.468943402f * x9 + 0.468943402f * x10 + 0.400173611f * x11;
    y[4 * to] = 1.19859182f * x0 - 0.854990298f * s1 + 0.583755307f * x3 + 0.583755307f * x4 - 0.59765625f * x5 - 0.59765625f * x6 + 0.299736478f * x7 + 0.299736478f * x8 - 0.156314467f * x9 - 0.156314467f * x10;
    y[5 * to] = 0.307417436f * d1 - 0.538465909f * x3 + 0.538465909f * x4 + 1.3440625f * x5 - 1.3440625f * x6 - 1.1952413f * x7 + 1.1952413f * x8 + 1.3647587f * x9 - 1.3647587f * x10 - 1.19859182f * x11;
    y[6 * to] = -1.19859182f * x0 + 0.922252308f * s1 - 0.807698864f * x3 - 0.807698864f * x4 + 1.3440625f * x5 + 1.3440625f * x6 - 0.796827535f * x7 - 0.796827535f * x8 + 0.454919566f * x9 + 0.454919566f * x10 + 2e-12f * x11;
    y[7 * to] = -0.105631405f * d1 + 0.202550574f * x3 - 0.202550574f * x4 - 0.59765625f * x5 + 0.59765625f * x6 + 0.863847264f * x7 - 0.863847264f * x8 - 1.26522367f * x9 + 1.26522367f * x10 + 1.19859182f * x11;
    y[8 * to] = 0.400173611f * x0 - 0.316894214f * s1 + 0.303825862f * x3 + 0.303825862f * x4 - 0.59765625f * x5 - 0.59765625f * x6 + 0.575898176f * x7 + 0.575898176f * x8 - 0.421741222f * x9 - 0.421741222f * x10;
    y[9 * to] = 0.00832107346f * d1 - 0.0163861139f * x3 + 0.0163861139f * x4 + 0.050625f * x5 - 0.050625f * x6 - 0.0818381618f * x7 + 0.0818381618f * x8 + 0.332467532f * x9 - 0.332467532f * x10 - 0.400173611f * x11;
    y[10 * to] = -0.03125f * x0 + 0.0249632204f * s1 - 0.0245791708f * x3 - 0.0245791708f * x4 + 0.050625f * x5 + 0.050625f * x6 - 0.0545587746f * x7 - 0.0545587746f * x8 + 0.110822511f * x9 + 0.110822511f * x10;
    y[11 * to] = 0.03125f * x11;
}

#define MOST_CELLS 81
#define AXES(X) X(1, 1) X(2, 3) X(3, 3) X(4, 3) X(5, 3) X(6, 3) X(7, 3) X(8, 3) X(9, 3) X(10, 3) X(2, 5) X(3, 5) X(4, 5) X(5, 5) X(6, 5) X(7, 5) X(8, 5) X(2, 7) X(3, 7) X(4, 7) X(5, 7) X(6, 7)

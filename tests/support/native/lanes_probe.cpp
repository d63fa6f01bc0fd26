// SPDX-License-Identifier: Apache-2.0
// The functions of lanes.h over arrays, for tests/ikol_tests/solver/native/test_lanes.py.
#include "lanes.h"

template <class T> static void run(int what, int64_t count, const T* in, T* out) {
    constexpr int W = IKOL_LANES;
    typedef typename Register<T, W>::V V;
    for (int64_t first = 0; first + W <= count; first += W) {
        V a[9] = {}, b[9] = {};
        const int reads[] = {2, 1, 1, 3, 9}, writes[] = {1, 1, 2, 9, 3};
        for (int i = 0; i < reads[what]; i++)
            for (int l = 0; l < W; l++) lane(a[i], l) = in[(first + l) * reads[what] + i];
        if (what == 0) b[0] = atan2_(a[0], a[1]);
        if (what == 1) b[0] = acos_(a[0]);
        if (what == 2) sincos(a[0], b[0], b[1]);
        if (what == 3) {
            Mat3<V> m = rotation_exp(Vec3<V>{a[0], a[1], a[2]});
            const V each[9] = {m.r0.x, m.r0.y, m.r0.z, m.r1.x, m.r1.y, m.r1.z, m.r2.x, m.r2.y, m.r2.z};
            for (int i = 0; i < 9; i++) b[i] = each[i];
        }
        if (what == 4) {
            Vec3<V> v = rotation_log(Mat3<V>{{a[0], a[1], a[2]}, {a[3], a[4], a[5]}, {a[6], a[7], a[8]}});
            b[0] = v.x; b[1] = v.y; b[2] = v.z;
        }
        for (int i = 0; i < writes[what]; i++)
            for (int l = 0; l < W; l++) out[(first + l) * writes[what] + i] = lane(b[i], l);
    }
}

extern "C" __attribute__((visibility("default"))) void lanes_probe(
    int what, int is_double, int64_t count, const void* in, void* out) {
    if (is_double) run<double>(what, count, (const double*)in, (double*)out);
    else run<float>(what, count, (const float*)in, (float*)out);
}

// SPDX-License-Identifier: Apache-2.0
//
// Algebra on W frames side by side: numbers, 3-vectors, 3x3 matrices, rotations. All of it is a template over the number
// X, so it also takes numbers of another kind (with a derivative, say) that bring their own operators, `ScalarOf`, and
// overloads of `select`, `max_`, `abs_` and `sqrt_`.
//
// Two layers carry it. With Clang X is a vector of W (also where W is 1: that measured 10 % faster than the bare scalar),
// comparisons give vectors of 0 and -1. Elsewhere W is 1, X is the scalar itself, comparisons give bool; that is C++17
// without builtins and without the C library's headers, for any compiler, NVRTC among them, and for Clang with
// IKOL_SCALAR. So masks are combined with & and | and turned round with `none`: ~ of a bool is always true.
//
// In an unnamed namespace, because the same functions are compiled for several instruction sets and linked together.

#ifndef IKOL_LANES_H
#define IKOL_LANES_H

#if defined(__CUDACC_RTC__)
typedef unsigned char uint8_t;
typedef int int32_t;
typedef long long int64_t;
typedef unsigned long long uintptr_t;
#else
#include <stddef.h>
#include <stdint.h>
extern "C" {
float sqrtf(float);
double sqrt(double);
float fabsf(float);
double fabs(double);
}
#endif

#if defined(__clang__) && !defined(__CUDACC_RTC__) && !defined(IKOL_SCALAR)
#define IKOL_VECTORS
#endif

namespace {

template <class T> struct Precision;
template <> struct Precision<float> {
    static constexpr float eps = 1.2e-7f, tiny = 1e-20f, rounder = 12582912.0f;  // 1.5 * 2^23 rounds to integers
    static constexpr float hidden = 1e-4f;  // adjoint: pivots below this part of the lever are taken as unseen
    // pi/2 in parts that a quadrant's number multiplies without rounding, and as the nearest number and what it lacks
    static constexpr float half_pi_1 = 1.5703125f, half_pi_2 = 4.837512969970703125e-4f, half_pi_3 = 7.54978995489188216e-8f;
    static constexpr float half_pi = 1.57079637050628662e+00f, half_pi_rest = -4.37113900018624283e-08f;
};
template <> struct Precision<double> {
    static constexpr double eps = 2.3e-16, tiny = 1e-60, rounder = 6755399441055744.0;
    static constexpr double hidden = 1e-9;
    static constexpr double half_pi_1 = 1.57079632673412561417e+00, half_pi_2 = 6.07710050630396597660e-11,
                            half_pi_3 = 2.02226624879595063154e-21;
    static constexpr double half_pi = 1.57079632679489661923e+00, half_pi_rest = 6.12323399573676588613e-17;
};
constexpr int MODIFIED = 0, PSEUDO = 1;  // what happens to eigenvalues that are too small: raised, or left out

// ---- the layer of numbers: W of type T in a Register<T, W>::V ----
#ifdef IKOL_VECTORS
template <class T, int W> struct Register { typedef T V __attribute__((vector_size(sizeof(T) * W))); };
template <class X> struct ScalarOf {
    template <class U> struct Bare;
    template <class U> struct Bare<U&> { typedef U T; };
    static X example;
    typedef typename Bare<decltype((example[0]))>::T T;
};
#else
template <class T, int W> struct Register;
template <class T> struct Register<T, 1> { typedef T V; };
template <class X> struct ScalarOf;
#endif
template <> struct ScalarOf<float> { typedef float T; };
template <> struct ScalarOf<double> { typedef double T; };
template <class X> using Scalar = typename ScalarOf<X>::T;  // what one lane of X is made of
template <class X> using Mask = decltype(X() < X());

#ifdef IKOL_VECTORS
template <class X> X sqrt_(X a) { return __builtin_elementwise_sqrt(a); }
template <class X> X abs_(X a) { return __builtin_elementwise_abs(a); }
template <class M> bool any(M m) { return __builtin_reduce_or(m) != 0; }
template <class M> M none(M m) { return ~m; }
template <class M> void mark(M& m, int l) { m[l] = -1; }
template <class M> bool is_marked(M m, int l) { return m[l] != 0; }
template <class X> Scalar<X>& lane(X& a, int l) { return ((Scalar<X>*)&a)[l]; }
#endif
inline float sqrt_(float a) { return sqrtf(a); }
inline double sqrt_(double a) { return sqrt(a); }
inline float abs_(float a) { return fabsf(a); }
inline double abs_(double a) { return fabs(a); }
inline bool any(bool m) { return m; }
inline bool none(bool m) { return !m; }
inline void mark(bool& m, int) { m = true; }
inline bool is_marked(bool m, int) { return m; }
inline float& lane(float& a, int) { return a; }
inline double& lane(double& a, int) { return a; }

template <class X> X all(Scalar<X> x) { return X{} + x; }
template <class M, class X> X select(M m, X a, X b) { return m ? a : b; }
template <class X> X max_(X a, X b) { return a > b ? a : b; }

// ---- vectors and matrices ----
template <class X> struct Vec3 { X x, y, z; };
template <class X> struct Sym3 { X xx, xy, xz, yy, yz, zz; };
template <class X> struct Mat3 { Vec3<X> r0, r1, r2; };  // rows

template <class X> Vec3<X> operator+(Vec3<X> a, Vec3<X> b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
template <class X> Vec3<X> operator-(Vec3<X> a, Vec3<X> b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
template <class X> Vec3<X> operator*(Vec3<X> a, X s) { return {a.x * s, a.y * s, a.z * s}; }
template <class X> X dot(Vec3<X> a, Vec3<X> b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
template <class X> Vec3<X> cross(Vec3<X> a, Vec3<X> b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <class M, class X> Vec3<X> pick(M m, Vec3<X> a, Vec3<X> b) {
    return {select(m, a.x, b.x), select(m, a.y, b.y), select(m, a.z, b.z)};
}
template <class M, class X> Mat3<X> pick(M m, const Mat3<X>& a, const Mat3<X>& b) {
    return {pick(m, a.r0, b.r0), pick(m, a.r1, b.r1), pick(m, a.r2, b.r2)};
}
template <class X> Vec3<X> unit(Vec3<X> a) {
    return a * (all<X>(1) / sqrt_(max_(dot(a, a), all<X>(Precision<Scalar<X>>::tiny))));
}
template <class X> Mat3<X> identity() {
    return {{all<X>(1), X{}, X{}}, {X{}, all<X>(1), X{}}, {X{}, X{}, all<X>(1)}};
}
template <class X> Vec3<X> mul(const Sym3<X>& s, Vec3<X> a) {
    return {s.xx * a.x + s.xy * a.y + s.xz * a.z, s.xy * a.x + s.yy * a.y + s.yz * a.z,
            s.xz * a.x + s.yz * a.y + s.zz * a.z};
}
template <class X> Vec3<X> mul(const Mat3<X>& m, Vec3<X> a) { return {dot(m.r0, a), dot(m.r1, a), dot(m.r2, a)}; }
template <class X> Vec3<X> mul_t(const Mat3<X>& m, Vec3<X> a) { return m.r0 * a.x + m.r1 * a.y + m.r2 * a.z; }
template <class X> Mat3<X> mul(const Mat3<X>& a, const Mat3<X>& b) { return {mul_t(b, a.r0), mul_t(b, a.r1), mul_t(b, a.r2)}; }
template <class X> Mat3<X> transpose(const Mat3<X>& m) {
    return {{m.r0.x, m.r1.x, m.r2.x}, {m.r0.y, m.r1.y, m.r2.y}, {m.r0.z, m.r1.z, m.r2.z}};
}
template <class X> void add(Sym3<X>& a, const Sym3<X>& b) {
    a.xx += b.xx; a.xy += b.xy; a.xz += b.xz; a.yy += b.yy; a.yz += b.yz; a.zz += b.zz;
}
// Two unit normals of d and of each other, without branches (Duff et al., JCGT 6(1), 2017).
template <class X> void tangents(Vec3<X> d, Vec3<X>& t1, Vec3<X>& t2) {
    X s = select(d.z >= X{}, all<X>(1), all<X>(-1)), a = all<X>(-1) / (s + d.z), b = d.x * d.y * a;
    t1 = {all<X>(1) + s * d.x * d.x * a, s * b, -s * d.x};
    t2 = {b, s + d.y * d.y * a, -d.y};
}
// Eigenvalues of the symmetric A onto its diagonal, eigenvectors into the columns of Q.
template <class X, int N> void jacobi(X (&A)[N][N], X (&Q)[N][N], int sweeps) {
    typedef Scalar<X> T;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) Q[i][j] = all<X>(i == j);
    for (int sweep = 0; sweep < sweeps; sweep++)
        for (int p = 0; p < N - 1; p++)
            for (int q = p + 1; q < N; q++) {
                X d = (A[q][q] - A[p][p]) * T(0.5), o = A[p][q];
                X t = o / (abs_(d) + sqrt_(d * d + o * o) + T(Precision<T>::tiny));
                t = select(d < X{}, -t, t);
                X c = all<X>(1) / sqrt_(t * t + T(1)), s = t * c;
                for (int k = 0; k < N; k++) {
                    X a = A[k][p], b = A[k][q];
                    A[k][p] = c * a - s * b; A[k][q] = s * a + c * b;
                }
                for (int k = 0; k < N; k++) {
                    X a = A[p][k], b = A[q][k];
                    A[p][k] = c * a - s * b; A[q][k] = s * a + c * b;
                    X u = Q[k][p], v = Q[k][q];
                    Q[k][p] = c * u - s * v; Q[k][q] = s * u + c * v;
                }
            }
}
template <class X> X reciprocal(X value, X floor, int mode) {
    return mode == PSEUDO ? select(value > floor, all<X>(1) / value, X{}) : all<X>(1) / max_(value, floor);
}
// Inverse of a symmetric 3x3 with eigenvalues below `floor` raised to it, or left out.
template <class X> Sym3<X> inverse(const Sym3<X>& h, X floor, int mode) {
    X p2 = h.xx * h.yy - h.xy * h.xy;
    X i0 = h.yy * h.zz - h.yz * h.yz, i1 = h.xz * h.yz - h.xy * h.zz, i2 = h.xy * h.yz - h.xz * h.yy;
    X det = h.xx * i0 + h.xy * i1 + h.xz * i2, id = all<X>(1) / det;
    Sym3<X> r = {i0 * id, i1 * id, i2 * id, (h.xx * h.zz - h.xz * h.xz) * id, (h.xy * h.xz - h.xx * h.yz) * id, p2 * id};
    Mask<X> good = (h.xx > floor) & (p2 > floor * h.xx) & (det > floor * p2);
    if (mode == MODIFIED && !any(none(good))) return r;
    X A[3][3] = {{h.xx, h.xy, h.xz}, {h.xy, h.yy, h.yz}, {h.xz, h.yz, h.zz}}, Q[3][3];
    jacobi(A, Q, 4);
    Sym3<X> e = {};
    for (int k = 0; k < 3; k++) {
        X l = reciprocal(A[k][k], floor, mode);
        e.xx += l * Q[0][k] * Q[0][k]; e.xy += l * Q[0][k] * Q[1][k]; e.xz += l * Q[0][k] * Q[2][k];
        e.yy += l * Q[1][k] * Q[1][k]; e.yz += l * Q[1][k] * Q[2][k]; e.zz += l * Q[2][k] * Q[2][k];
    }
    if (mode == PSEUDO) return e;
    return {select(good, r.xx, e.xx), select(good, r.xy, e.xy), select(good, r.xz, e.xz),
            select(good, r.yy, e.yy), select(good, r.yz, e.yz), select(good, r.zz, e.zz)};
}

// ---- angles: within 4 units in the last place, see tests/ikol_tests/solver/native/test_lanes.py ----

// Horner's scheme, highest power first. Not an array of coefficients: a GPU would read it from memory.
template <class X, class... C> X horner(X x, X sum, C... rest) {
    ((sum = sum * x + Scalar<X>(rest)), ...);
    return sum;
}
// For |angle| below about 1e4: beyond, the reduction loses digits. The sine keeps its relative accuracy near 0 only.
template <class X> void sincos(X angle, X& sine, X& cosine) {
    typedef Scalar<X> T;
    typedef Precision<T> P;
    X n = (angle * T(0.63661977236758134) + T(P::rounder)) - T(P::rounder);
    X r = angle - n * T(P::half_pi_1) - n * T(P::half_pi_2) - n * T(P::half_pi_3), q = r * r;
    // Taylor series on [-pi/4, pi/4]: the first term left out is below 1e-18
    X s = r * horner(q, all<X>(T(-1.0 / 1307674368000)), 1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880, -1.0 / 5040,
                     1.0 / 120, -1.0 / 6, 1.0);
    X c = horner(q, all<X>(T(1.0 / 20922789888000)), -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320,
                 -1.0 / 720, 1.0 / 24, -0.5, 1.0);
    X half = (n * T(0.5) + T(P::rounder)) - T(P::rounder), odd = abs_(n - half * T(2));  // 1: swap sine and cosine
    Mask<X> swap = odd > all<X>(T(0.5));
    // quadrant n mod 4 through the parity of n/2 rounded down
    X low = (n - odd) * T(0.5), turn = abs_(low - T(2) * ((low * T(0.5) + T(P::rounder)) - T(P::rounder)));
    X sign = select(turn > all<X>(T(0.5)), all<X>(-1), all<X>(1));
    sine = sign * select(swap, c, s);
    cosine = sign * select(swap, -s, c);
}
// In (-pi, pi]; 0 for (0, 0). The sign of a zero is not looked at.
template <class X> X atan2_(X y, X x) {
    typedef Scalar<X> T;
    typedef Precision<T> P;
    X ax = abs_(x), ay = abs_(y), k = X{}, s = all<X>(1);  // the angle is k pi/4 + s atan(t), |t| < tan(pi/8)
    Mask<X> steep = ay > ax;
    X low = select(steep, ax, ay), high = select(steep, ay, ax);
    Mask<X> wide = low > high * T(0.41421356237309503);
    X over = select(wide, low - high, low), under = select(wide, low + high, high);
    X t = over / select(under > X{}, under, all<X>(1)), z = t * t;
    // (atan(t)/t - 1)/t^2, fitted at Chebyshev nodes: off by 1.3e-18 of atan(t), and the shorter one by 6e-10
    X f = sizeof(T) == 8
              ? horner(z, all<X>(T(-0.01780539720541944523)), 0.03796525745386593624, -0.05035102456601551843,
                       0.0584687829733087252, -0.06662951813629190088, 0.07692045330902224952, -0.09090896809064027076,
                       0.1111111074491965824, -0.1428571427925024494, 0.1999999999994089146, -0.3333333333333312116)
              : horner(z, all<X>(T(-0.06026305227658459099)), 0.1056982880641444807, -0.1423953266964897458,
                       0.199981830410832056, -0.3333330689304851284);
    k = select(wide, all<X>(1), k);
    k = select(steep, all<X>(2) - k, k); s = select(steep, -s, s);
    k = select(x < X{}, all<X>(4) - k, k); s = select(x < X{}, -s, s);
    X angle = k * T(P::half_pi / 2) + (s * (t + t * (z * f)) + k * T(P::half_pi_rest / 2));
    return select(y < X{}, -angle, angle);
}
template <class X> X acos_(X x) {
    return atan2_(sqrt_(max_((all<X>(1) - x) * (all<X>(1) + x), X{})), x);
}

// ---- rotations ----
template <class X> Mat3<X> from_quat(X w, X x, X y, X z) {  // of any length
    X one = all<X>(1), s = all<X>(2) / (w * w + x * x + y * y + z * z);
    return {{one - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)},
            {s * (x * y + w * z), one - s * (x * x + z * z), s * (y * z - w * x)},
            {s * (x * z - w * y), s * (y * z + w * x), one - s * (x * x + y * y)}};
}
// w, x, y, z with w >= 0, through the largest of the four.
template <class X> void to_quat(const Mat3<X>& m, X (&q)[4]) {
    X one = all<X>(1), xx = m.r0.x, yy = m.r1.y, zz = m.r2.z;
    X size[4] = {one + xx + yy + zz, one + xx - yy - zz, one - xx + yy - zz, one - xx - yy + zz};
    X x = m.r2.y - m.r1.z, y = m.r0.z - m.r2.x, z = m.r1.x - m.r0.y;
    X xy = m.r0.y + m.r1.x, xz = m.r0.z + m.r2.x, yz = m.r1.z + m.r2.y;
    const X rows[4][4] = {{size[0], x, y, z}, {x, size[1], xy, xz}, {y, xy, size[2], yz}, {z, xz, yz, size[3]}};
    X best = size[0];
    for (int i = 0; i < 4; i++) q[i] = rows[0][i];
    for (int k = 1; k < 4; k++) {
        Mask<X> more = size[k] > best;
        best = select(more, size[k], best);
        for (int i = 0; i < 4; i++) q[i] = select(more, rows[k][i], q[i]);
    }
    X scale = all<X>(Scalar<X>(0.5)) / sqrt_(best);
    scale = select(q[0] < X{}, -scale, scale);
    for (int i = 0; i < 4; i++) q[i] = q[i] * scale;
}
// The rotation vector, at most pi long; at half a turn one of its two.
template <class X> Vec3<X> rotation_log(const Mat3<X>& m) {
    X q[4];
    to_quat(m, q);
    X square = q[1] * q[1] + q[2] * q[2] + q[3] * q[3], one = all<X>(1);
    Mask<X> turned = square > all<X>(Precision<Scalar<X>>::tiny);
    X sine = sqrt_(select(turned, square, one));
    X scale = all<X>(2) * select(turned, atan2_(sine, q[0]) / sine, one);
    return {q[1] * scale, q[2] * scale, q[3] * scale};
}
template <class X> Mat3<X> rotation_exp(Vec3<X> v) {
    X half = all<X>(Scalar<X>(0.5)), square = dot(v, v), sine, cosine;
    Mask<X> turned = square > all<X>(Precision<Scalar<X>>::tiny);
    X angle = sqrt_(select(turned, square, all<X>(1)));
    sincos(angle * half, sine, cosine);
    X scale = select(turned, sine / angle, half);
    return from_quat(select(turned, cosine, all<X>(1)), v.x * scale, v.y * scale, v.z * scale);
}
// The rotation that maximises trace(R' B): Horn, JOSA A 4(4), 1987.
template <class X> Mat3<X> align(const X (&B)[3][3]) {
    X A[4][4] = {{B[0][0] + B[1][1] + B[2][2], B[2][1] - B[1][2], B[0][2] - B[2][0], B[1][0] - B[0][1]},
                 {X{}, B[0][0] - B[1][1] - B[2][2], B[1][0] + B[0][1], B[0][2] + B[2][0]},
                 {X{}, X{}, B[1][1] - B[0][0] - B[2][2], B[2][1] + B[1][2]},
                 {X{}, X{}, X{}, B[2][2] - B[0][0] - B[1][1]}}, Q[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) A[i][j] = A[j][i];
    jacobi(A, Q, 4);
    X best = A[0][0], q[4] = {Q[0][0], Q[1][0], Q[2][0], Q[3][0]};
    for (int k = 1; k < 4; k++) {
        Mask<X> more = A[k][k] > best;
        best = select(more, A[k][k], best);
        for (int i = 0; i < 4; i++) q[i] = select(more, Q[i][k], q[i]);
    }
    return from_quat(q[0], q[1], q[2], q[3]);
}

}  // namespace

#endif

// SPDX-License-Identifier: Apache-2.0
//
// Residuals of the general solve with their first derivatives, one row group at a time, over any number X (lanes, or
// lanes with a derivative). The formulas are those of ikol/solver/residuals.py and limits.py, on quaternions.

#ifndef IKOL_GENERAL_ROWS_H
#define IKOL_GENERAL_ROWS_H

#include "lanes.h"

namespace {

enum Loss { NO_LOSS = 0, HUBER = 1, GEMAN_MCCLURE = 2 };

constexpr double PI = 3.14159265358979323846;
constexpr double NEAR_DEPTH = 0.05;   // ikol.camera.NEAR: nearer than this 1/z goes on as its tangent
constexpr double MIN_DEPTH = 0.2, DEPTH_WEIGHT = 1e4;  // ikol.solver.residuals: MIN_DEPTH, 1 / DEPTH_SIGMA^2
// ikol.solver.limits: cos^2 of half of 175 and of 150 degrees; LEAST_HALF_AXIS
constexpr double GATE_CLOSED = 0.0019026509541272346, GATE_OPEN = 0.06698729810778066, LEAST_HALF_AXIS = 1e-3;
constexpr double HALF_TURN = 4 * 2.220446049250313e-16;  // of cos^2(swing / 2): below it a twist is noise

template <class X> struct Quat { X w, x, y, z; };

template <class X> Quat<X> operator*(const Quat<X>& a, const Quat<X>& b) {
    return {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
            a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}
template <class X> Quat<X> conjugate(const Quat<X>& a) { return {a.w, -a.x, -a.y, -a.z}; }
template <class X> Mat3<X> unit_to_rotmat(const Quat<X>& q) {
    X one = all<X>(1), x2 = q.x + q.x, y2 = q.y + q.y, z2 = q.z + q.z;
    X xx = q.x * x2, yy = q.y * y2, zz = q.z * z2, xy = q.x * y2, xz = q.x * z2, yz = q.y * z2;
    X wx = q.w * x2, wy = q.w * y2, wz = q.w * z2;
    return {{one - yy - zz, xy - wz, xz + wy}, {xy + wz, one - xx - zz, yz - wx}, {xz - wy, yz + wx, one - xx - yy}};
}
template <class X> X square(X a) { return a * a; }

// rho(s^2) with the convexity of graduated non-convexity, its derivative rho', and -2 rho'' / rho': how the loss softens
// along the residual. Not more than leaves a tenth of the curvature, so that what a row says stays positive; not at all
// while the loss is still made convex, where reweighting alone keeps out of poor minima.
template <class X, class V> void robust(int loss, double width, V convexity, X squared, X& rho, X& weight, X& softening) {
    X one = all<X>(1);
    if (loss == HUBER) {
        X k = all<X>(width);
        Mask<X> outside = squared > k * k;
        X safe = select(outside, squared, one), s = sqrt_(safe);
        rho = select(outside, (k + k) * s - k * k, squared);
        weight = select(outside, k / s, one);
        softening = X{};  // all of it would go along the residual: steps then overshoot from one side of k to the other
    } else if (loss == GEMAN_MCCLURE) {
        X c = X(convexity * (width * width)), inverse = one / (c + squared), part = c * inverse;
        rho = part * squared;
        weight = part * part;
        softening = inverse * 4.0;
        softening = select(softening * squared < all<X>(0.9), softening, all<X>(0.9) / max_(squared, all<X>(1e-30)));
        softening = select(X(convexity) > one, X{}, softening);
    } else {
        rho = squared;
        weight = one;
        softening = X{};
    }
}

// Log of a unit quaternion, and (1 - (t/2) cot(t/2)) / t^2 of its angle t, which the derivative of Log needs.
template <class X> Vec3<X> log_quat(Quat<X> q, X& second) {
    Mask<X> flip = q.w < X{};
    X sign = select(flip, all<X>(-1), all<X>(1)), w = q.w * sign;
    X s = q.x * q.x + q.y * q.y + q.z * q.z, one = all<X>(1);
    Mask<X> small = s < all<X>(1e-4);  // the first term left out of the series is then below 1e-14
    X sine = sqrt_(select(small, one, s));
    X closed = atan2_(sine, w) * 2.0 / sine;
    X series = ((s * (5.0 / 56) + 3.0 / 20) * s + 1.0 / 3) * s + 2.0;
    X scale = select(small, series, closed), t2 = scale * scale * s;
    X slow = (one - closed * w * 0.5) / select(small, one, t2);
    X fast = ((t2 * (1.0 / 1209600) + 1.0 / 30240) * t2 + 1.0 / 720) * t2 + 1.0 / 12;
    second = select(small, fast, slow);
    scale = scale * sign;
    return {q.x * scale, q.y * scale, q.z * scale};
}
// J_r^-1(v) y and J_r^-T(v) y, with `second` of log_quat.
template <class X> Vec3<X> log_jacobian(Vec3<X> v, X second, Vec3<X> y) {
    Vec3<X> a = cross(v, y);
    return y + a * all<X>(0.5) + cross(v, a) * second;
}
template <class X> Vec3<X> log_jacobian_t(Vec3<X> v, X second, Vec3<X> y) {
    Vec3<X> a = cross(v, y);
    return y - a * all<X>(0.5) + cross(v, a) * second;
}
// The rows of J_r^-1(v).
template <class X> Mat3<X> log_jacobian_rows(Vec3<X> v, X c) {
    X one = all<X>(1), hx = v.x * 0.5, hy = v.y * 0.5, hz = v.z * 0.5, cx = v.x * c, cy = v.y * c;
    X xx = cx * v.x, yy = cy * v.y, zz = v.z * v.z * c, xy = cx * v.y, xz = cx * v.z, yz = cy * v.z;
    return {{one - yy - zz, xy - hz, xz + hy}, {xy + hz, one - xx - zz, yz - hx}, {xz - hy, yz + hx, one - xx - yy}};
}

// A point seen by a camera: focal (2), centre (2), R_camera_world (9), t_camera_world (3).
template <class X> struct PixelRow {
    X u, v, depth;        // less the centre
    Vec3<X> along_u, along_v;  // of the place in the world
    X inverse, inverse_slope;
};
template <class X, class V> PixelRow<X> project(const V* camera, Vec3<X> place) {
    Vec3<X> r0 = {X(camera[4]), X(camera[5]), X(camera[6])}, r1 = {X(camera[7]), X(camera[8]), X(camera[9])};
    Vec3<X> r2 = {X(camera[10]), X(camera[11]), X(camera[12])};
    X x = dot(r0, place) + X(camera[13]), y = dot(r1, place) + X(camera[14]), z = dot(r2, place) + X(camera[15]);
    X nearest = all<X>(NEAR_DEPTH);
    Mask<X> is_near = z < nearest;
    X inverse = all<X>(1) / select(is_near, nearest, z), slope = -(inverse * inverse);
    X extended = inverse + select(is_near, slope * (z - nearest), X{});
    X fx = X(camera[0]), fy = X(camera[1]), px = fx * x, py = fy * y;
    return {px * extended, py * extended, z, r0 * (fx * extended) + r2 * (px * slope),
            r1 * (fy * extended) + r2 * (py * slope), extended, slope};
}

// Twist of a unit quaternion about a unit axis: angle, cos^2(swing / 2), derivative of the angle, how far it is to be
// believed and that number's derivative. Derivatives are for R Exp(d).
template <class X> struct TwistRow {
    X angle, gate;
    Vec3<X> gradient, gate_gradient;
};
template <class X> void gate_of(X closeness, X& gate, X& slope) {
    X one = all<X>(1), step = (closeness - GATE_CLOSED) * (1.0 / (GATE_OPEN - GATE_CLOSED));
    step = select(step > X{}, select(step < one, step, one), X{});
    gate = step * step * (all<X>(3) - step * 2.0);
    slope = step * (one - step) * (6.0 / (GATE_OPEN - GATE_CLOSED));
}
template <class X> TwistRow<X> twist_row(const Quat<X>& q, Vec3<X> axis) {
    Vec3<X> v = {q.x, q.y, q.z};
    X p = dot(v, axis), close = q.w * q.w + p * p, zero = X{}, one = all<X>(1), slope;
    Mask<X> lost = close < all<X>(HALF_TURN);
    TwistRow<X> row;
    row.angle = select(lost, zero, atan2_(q.w * p * 2.0, q.w * q.w - p * p));
    Vec3<X> a = cross(v, axis);  // R' axis = axis - 2 w (v x axis) + 2 v x (v x axis)
    Vec3<X> back = axis + (cross(v, a) - a * q.w) * all<X>(2);
    row.gradient = (axis + back) * select(lost, zero, all<X>(0.5) / select(lost, one, close));
    gate_of(close, row.gate, slope);
    row.gate_gradient = cross(axis, back) * (slope * 0.5);
    return row;
}
template <class X> X wrapped(X angle) {  // into [-pi, pi]
    X turns = (angle * (0.5 / PI) + Precision<double>::rounder) - Precision<double>::rounder;
    return angle - turns * (2 * PI);
}

// How far a joint is beyond its limits: constants are axes (9), swing range (4), twist range (2), hinge or not (1).
template <class X> struct LimitRow {
    X above[3], below[3];
    Vec3<X> jacobian[3];
};
template <class X, class V> void limit_row(const Quat<X>& q, const V* constants, LimitRow<X>& row) {
    X one = all<X>(1), zero = X{}, never = all<X>(1e30);
    Vec3<X> a0 = {X(constants[0]), X(constants[1]), X(constants[2])};
    Vec3<X> a1 = {X(constants[3]), X(constants[4]), X(constants[5])};
    Vec3<X> a2 = {X(constants[6]), X(constants[7]), X(constants[8])};
    Vec3<X> v = {q.x, q.y, q.z};
    X hand = select(dot(cross(a0, a1), a2) < zero, -one, one);  // the axes may be left-handed
    a2 = a2 * hand;
    // in the limit's axes, where the twist is about x
    X w = q.w, p = dot(a0, v), y = dot(a1, v), z = dot(a2, v), close = w * w + p * p;
    Mask<X> lost = close < all<X>(HALF_TURN);
    X safe = select(lost, one, close), n = sqrt_(safe), share = one / n;
    X twist = select(lost, zero, atan2_(w * p * 2.0, w * w - p * p));
    X cs = select(lost, one, w * share), sn = select(lost, zero, p * share);
    X by = (p * y - w * z) * 2.0, bz = (p * z + w * y) * 2.0;  // R' axis, beside its first component
    X gx = select(lost, zero, one), half = select(lost, zero, all<X>(0.5) / safe), gy = by * half, gz = bz * half;
    X ys = cs * y - sn * z, zs = cs * z + sn * y, c2;
    Vec3<X> swing = log_quat(Quat<X>{select(lost, w, n), zero, ys, zs}, c2);
    X sy = swing.y, sz = swing.z, ct = cs * cs - sn * sn, st = cs * sn * 2.0;
    X j11 = one - c2 * sz * sz, j12 = c2 * sy * sz, j22 = one - c2 * sy * sy;
    // derivative of the swing: its first component is 0, except where the twist is lost
    X y1 = j11 * ct + j12 * st - sz * 0.5 * gy, z1 = j12 * ct - j11 * st - sz * 0.5 * gz;
    X y2 = j12 * ct + j22 * st + sy * 0.5 * gy, z2 = j22 * ct - j12 * st + sy * 0.5 * gz;
    X x1 = sz * 0.5 * (one - gx), x2 = sy * -0.5 * (one - gx);
    Vec3<X> d1 = a0 * x1 + a1 * y1 + a2 * z1, d2 = (a0 * x2 + a1 * y2 + a2 * z2) * hand;
    sz = sz * hand;
    const V* range = constants + 9;
    Mask<X> hinge = X(constants[15]) > all<X>(0.5);
    // ball joint: four quarters of an ellipse
    X low1 = -X(range[0]), high1 = X(range[1]), low2 = -X(range[2]), high2 = X(range[3]), least = all<X>(LEAST_HALF_AXIS);
    low1 = max_(low1, least); high1 = max_(high1, least); low2 = max_(low2, least); high2 = max_(high2, least);
    X mean = (low1 + high1 + low2 + high2) * 0.25;
    X h1 = select(sy < zero, low1, high1), h2 = select(sz < zero, low2, high2);
    X e1 = sy / (h1 * h1), e2 = sz / (h2 * h2), ratio2 = sy * e1 + sz * e2;
    Mask<X> central = ratio2 < all<X>(1e-4);
    X ratio = sqrt_(select(central, one, ratio2)), pull = select(central, zero, mean / ratio);
    X radial = select(central, -mean, (ratio - one) * mean);
    row.above[0] = select(hinge, sy - X(range[1]), radial);
    row.below[0] = select(hinge, sy - X(range[0]), never);
    row.above[1] = select(hinge, sz - X(range[3]), -never);
    row.below[1] = select(hinge, sz - X(range[2]), never);
    Vec3<X> ray = d1 * (e1 * pull) + d2 * (e2 * pull), none_ = {zero, zero, zero};
    row.jacobian[0] = pick(hinge, d1, ray);
    row.jacobian[1] = pick(hinge, d2, none_);
    X gate, slope;
    gate_of(close, gate, slope);
    X over = twist - X(range[5]), under = twist - X(range[4]);
    X beyond = max_(over, zero) - max_(-under, zero), tilt = beyond * slope * 0.5;
    row.above[2] = gate * over;
    row.below[2] = gate * under;
    row.jacobian[2] = a0 * (gate * gx) + a1 * (gate * gy - tilt * bz) + a2 * (gate * gz + tilt * by);
}

}  // namespace

#endif

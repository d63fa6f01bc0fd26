// SPDX-License-Identifier: Apache-2.0
//
// The tree at a state: where everything is, what it costs, which forces act, and what each body's rows say.
//
// `place` and `evaluate` are templates over the number X: lanes, or lanes with a derivative along a direction (then the
// derivative of the gradient is the exact product of the Hessian and the direction). Only lanes take information.
//
// To build on this: fill a Frame's state (`load_state`), `take_shape` where the betas have changed, `place`, `evaluate`.
// Then Frame.force, .torque, .own, .limited, .beta_force and .scale_force hold the cost's gradient to what rows look at;
// `compose` (general_factor.h) turns them into the gradient of every unknown. Information.body[j] is what the rows on
// body j say about its 6 displacements, before any elimination; `evaluate` softens robust rows in it, so it is neither
// Gauss-Newton's nor the exact Hessian where a Geman-McClure loss bends.

#ifndef IKOL_GENERAL_POSE_H
#define IKOL_GENERAL_POSE_H

#include "general_problem.h"

namespace {

template <class X, class V> struct IsLanes { static constexpr bool value = false; };
template <class V> struct IsLanes<V, V> { static constexpr bool value = true; };

template <class X, class V> Vec3<X> lift(const V* v) { return {X(v[0]), X(v[1]), X(v[2])}; }
template <class X> Vec3<X> zero3() { return {X{}, X{}, X{}}; }
template <class X> Sym3<X> outer_sum(Vec3<X> a, Vec3<X> b) {  // (a b' + b a') / 2
    X h = all<X>(0.5);
    return {a.x * b.x, (a.x * b.y + a.y * b.x) * h, (a.x * b.z + a.z * b.x) * h,
            a.y * b.y, (a.y * b.z + a.z * b.y) * h, a.z * b.z};
}
template <class X> void add_outer(Sym3<X>& s, Vec3<X> a, Vec3<X> b) {  // a b', where the sum is known to be symmetric
    s.xx += a.x * b.x; s.xy += a.x * b.y; s.xz += a.x * b.z; s.yy += a.y * b.y; s.yz += a.y * b.z; s.zz += a.z * b.z;
}
template <class X> void add_outer(Mat3<X>& m, Vec3<X> a, Vec3<X> b) {
    m.r0 = m.r0 + b * a.x; m.r1 = m.r1 + b * a.y; m.r2 = m.r2 + b * a.z;
}
template <class X> Mat3<X> cross_of(Vec3<X> a, const Sym3<X>& s) {  // [a]x S
    Vec3<X> c0 = {s.xx, s.xy, s.xz}, c1 = {s.xy, s.yy, s.yz}, c2 = {s.xz, s.yz, s.zz};
    return {c2 * a.y - c1 * a.z, c0 * a.z - c2 * a.x, c1 * a.x - c0 * a.y};
}
template <class X> void add_turned(Sym3<X>& s, const Mat3<X>& m, Vec3<X> a) {  // s -= m [a]x, rows: a x row
    Vec3<X> b0 = cross(a, m.r0), b1 = cross(a, m.r1), b2 = cross(a, m.r2);
    s.xx += b0.x; s.xy += b0.y; s.xz += b0.z; s.yy += b1.y; s.yz += b1.z; s.zz += b2.z;
}
template <class X> Vec3<X> column(const Mat3<X>& m, int k) {
    return k == 0 ? Vec3<X>{m.r0.x, m.r1.x, m.r2.x} : k == 1 ? Vec3<X>{m.r0.y, m.r1.y, m.r2.y} : Vec3<X>{m.r0.z, m.r1.z, m.r2.z};
}
template <class X> Vec3<X> axis_of(int k) {
    return {all<X>(k == 0), all<X>(k == 1), all<X>(k == 2)};
}

// A state, and everything that follows from it.
template <class X> struct Frame {
    // the state
    Vec3<X> transl;
    Quat<X>* quat;   // (J) local rotations
    X *betas, *scale;
    // where it is
    Mat3<X>*local, *global;
    Vec3<X>*joint, *bone, *place, *arm;  // joints and the bones to them from their parents, points and their arms; world
    Vec3<X>*rest_bone, *rest_arm;        // at the betas, bones not scaled
    // forces: gradients of the cost to the place of a point, to a turn of a joint in the world, to R Exp(d) of a joint's
    // own rotation without and with its limits, to the betas and to the bone scales by themselves
    Vec3<X>*force, *torque, *own, *limited;
    X *beta_force, *scale_force;
    X cost, next_cost;  // with the losses of this iteration, and of the next

    void lay_out(Arena& arena, int J, int P, int B) {
        arena.take(quat, J); arena.take(betas, B); arena.take(scale, J);
        arena.take(local, J); arena.take(global, J);
        arena.take(joint, J); arena.take(bone, J); arena.take(place, P); arena.take(arm, P);
        arena.take(rest_bone, J); arena.take(rest_arm, P);
        arena.take(force, P); arena.take(torque, J); arena.take(own, J); arena.take(limited, J);
        arena.take(beta_force, B); arena.take(scale_force, J);
    }
};

// What the rows of a body say of its displacement (v of the joint's origin, w its turn, world axes):
// 1/2 v'Av + v'Bw + 1/2 w'Dw + n'v + m'w.
template <class V> struct Body {
    Sym3<V> A, D;
    Mat3<V> B;
    Vec3<V> n, m;
};
// Everything that the rows say at a state, in the order of their bodies.
template <class V> struct Information {
    Sym3<V>* point;    // (P) of the place of each point
    Body<V>* body;     // (J)
    Sym3<V>*own, *limited;  // (J) of the joint's own rotation, in its axes, without and with its limits
    Sym3<V>* bend;     // (J) second-order part of the forces on the body's points
    Mat3<V>* link;     // (J) w_parent' L w_joint of LINKED rows; null without any
    Vec3<V>*shift, *turn;  // (J, columns) of the border: with v and with w
    V* corner;         // (columns, columns)
    Vec3<V>* arm_motion;   // (P, betas) how the betas move the point against its joint
    Vec3<V>* bone_motion;  // (J, lengths) how betas and groups move the joint against its parent
    Vec3<V>* stretch;  // (J) how an elastic bone's scale does
    Vec3<V>* stretch_turn;  // (J) second-order part of the force on it, with its parent's w
    V* stretch_shape;  // (J, betas) the same with the betas
    V *beta_weight, *scale_weight;
    V* corner_force;   // (columns)

    void lay_out(Arena& arena, const Problem<V>& p) {
        size_t J = p.J, P = p.P, C = p.num_columns;
        arena.take(point, P); arena.take(body, J); arena.take(own, J); arena.take(limited, J); arena.take(bend, J);
        arena.take(link, p.has_links ? J : 0);
        arena.take(shift, J * C); arena.take(turn, J * C); arena.take(corner, C * C);
        arena.take(arm_motion, (P + 1) * p.num_betas); arena.take(bone_motion, J * p.num_lengths); arena.take(stretch, J);
        arena.take(stretch_turn, J); arena.take(stretch_shape, J * p.num_betas);
        arena.take(beta_weight, p.B); arena.take(scale_weight, J);
        arena.take(corner_force, C);
    }
};

// q Exp(d), of unit length.
template <class V> Quat<V> turned_by(const Quat<V>& q, Vec3<V> d) {
    Vec3<V> h = d * all<V>(0.5);
    V s, c, square = dot(h, h), angle = sqrt_(square);
    sincos(angle, s, c);
    V ratio = select(square > all<V>(1e-16), s / select(square > V{}, angle, all<V>(1)), all<V>(1));
    Quat<V> r = q * Quat<V>{c, h.x * ratio, h.y * ratio, h.z * ratio};
    V length = all<V>(1) / sqrt_(r.w * r.w + r.x * r.x + r.y * r.y + r.z * r.z);
    return {r.w * length, r.x * length, r.y * length, r.z * length};
}

// The state of frame f into lane l; says whether all its numbers are usable.
template <class V> bool load_state(const Problem<V>& problem, Frame<V>& frame, int64_t f, int l) {
    bool good = true;
    const ikol_general_call& c = *problem.call;
    good &= put(problem, c.transl, f * c.transl_stride, frame.transl.x, l, l + 1);
    good &= put(problem, c.transl, f * c.transl_stride + 1, frame.transl.y, l, l + 1);
    good &= put(problem, c.transl, f * c.transl_stride + 2, frame.transl.z, l, l + 1);
    for (int j = 0; j < problem.J; j++) {
        double m[9], q[4];
        for (int k = 0; k < 9; k++) {
            m[k] = problem.read(c.rotmat, f * c.rotmat_stride + 9 * j + k);
            lane(((V*)&problem.held_rotmat[j])[k], l) = m[k];
        }
        quaternion_of(m, q);
        double length = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
        for (int k = 0; k < 4; k++) {
            lane(((V*)&frame.quat[j])[k], l) = q[k] / length;
            good &= q[k] - q[k] == 0 && length > 0;
        }
        lane(frame.scale[j], l) = 1;
        if (c.bone_scale) good &= put(problem, c.bone_scale, f * c.bone_scale_stride + j, frame.scale[j], l, l + 1);
    }
    for (int k = 0; k < problem.B; k++) good &= put(problem, c.shape, f * c.shape_stride + k, frame.betas[k], l, l + 1);
    return good;
}
template <class X, class V> void take_shape(const Problem<V>& problem, Frame<X>& f) {
    int B = problem.B;
    for (int j = 0; j < problem.J; j++) {
        X sum[3];
        for (int a = 0; a < 3; a++) {
            sum[a] = X(problem.joint_rest[3 * j + a]);
            const V* dirs = problem.joint_dirs + (3 * size_t(j) + a) * B;
            for (int k = 0; k < B; k++) sum[a] = sum[a] + f.betas[k] * X(dirs[k]);
        }
        f.rest_bone[j] = {sum[0], sum[1], sum[2]};
    }
    for (int p = 0; p < problem.P; p++) {
        X sum[3];
        for (int a = 0; a < 3; a++) {
            sum[a] = X(problem.arm_rest[3 * p + a]);
            const V* dirs = problem.arm_dirs + (3 * size_t(p) + a) * B;
            for (int k = 0; k < B; k++) sum[a] = sum[a] + f.betas[k] * X(dirs[k]);
        }
        f.rest_arm[p] = {sum[0], sum[1], sum[2]};
    }
}
// Where joints and points are. `take_shape` comes first where the betas have changed.
template <class X, class V> void place(const Problem<V>& problem, Frame<X>& f) {
    for (int j = 0; j < problem.J; j++) {
        int up = problem.parent[j];
        const int* is_free = problem.is_free + 3 * j;
        if (is_free[0] | is_free[1] | is_free[2]) f.local[j] = unit_to_rotmat(f.quat[j]);
        else
            for (int k = 0; k < 9; k++) ((X*)&f.local[j])[k] = X(((const V*)&problem.held_rotmat[j])[k]);
        if (up < 0) {
            f.global[j] = f.local[j];
            f.bone[j] = f.rest_bone[j];
            f.joint[j] = f.bone[j] + f.transl;
        } else {
            f.global[j] = mul(f.global[up], f.local[j]);
            f.bone[j] = mul(f.global[up], f.rest_bone[j]);
            if (problem.has_scale) f.bone[j] = f.bone[j] * f.scale[j];
            f.joint[j] = f.joint[up] + f.bone[j];
        }
    }
    for (int p = 0; p < problem.P; p++) {
        int j = problem.point_joint[p];
        f.arm[p] = mul(f.global[j], f.rest_arm[p]);
        f.place[p] = f.joint[j] + f.arm[p];
    }
}

// One residual group's share of the cost; returns the weight that the loss leaves it in the next iteration.
template <class X, class V>
X charge(const Block<V>& b, V convexity, V next_convexity, X squared, Frame<X>& f, X& softening) {
    X rho, next_rho, weight;
    robust(b.source->loss, b.source->loss_width, convexity, squared, rho, weight, softening);
    if (b.source->loss == GEMAN_MCCLURE)
        robust(GEMAN_MCCLURE, b.source->loss_width, next_convexity, squared, next_rho, weight, softening);
    else next_rho = rho;
    f.cost = f.cost + rho * 0.5;
    f.next_cost = f.next_cost + next_rho * 0.5;
    return weight;
}

template <class V> struct Rows {  // what `evaluate` is doing: shared by the functions of each kind
    const Problem<V>* problem;
    Information<V>* information;
    V convexity, next_convexity;
};

template <class X, class V> void on_points_3d(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    const ikol_general_block& s = *b.source;
    for (int i = 0; i < s.count; i++) {
        int p = s.index[i];
        Vec3<X> w = lift<X>(b.weight + 3 * i), e = f.place[p] - lift<X>(b.target + 3 * i);
        Vec3<X> pull = {w.x * e.x, w.y * e.y, w.z * e.z};
        X softening, weight = charge(b, rows.convexity, rows.next_convexity, dot(pull, e), f, softening);
        f.force[p] = f.force[p] + pull * weight;
        if constexpr (IsLanes<X, V>::value) {
            Sym3<V>& to = rows.information->point[p];
            to.xx += w.x * weight; to.yy += w.y * weight; to.zz += w.z * weight;
            if (s.loss) add_outer(to, pull * (-weight * softening), pull);
            b.residual[3 * i] = e.x; b.residual[3 * i + 1] = e.y; b.residual[3 * i + 2] = e.z;
            b.robust[i] = weight;
        }
    }
}

template <class V> void add_lever(Sym3<V>& D, const Sym3<V>& C, Vec3<V> s) { add_turned(D, cross_of(s, C), s); }

// A row between a point and the place of its block's reference, where that is a column of the border.
template <class V> void add_to_column(const Rows<V>& rows, const Block<V>& b, int p, const Sym3<V>& C, const Frame<V>& f) {
    const Problem<V>& problem = *rows.problem;
    Information<V>& info = *rows.information;
    int j = problem.point_joint[p], columns = problem.num_columns;
    add(info.point[p], C);
    Mat3<V> turned = problem.is_center[p] ? Mat3<V>{} : cross_of(f.arm[p], C);
    V* corner = info.corner + size_t(b.column) * columns + b.column;
    const V rows_of[3][3] = {{C.xx, C.xy, C.xz}, {C.xy, C.yy, C.yz}, {C.xz, C.yz, C.zz}};
    for (int k = 0; k < 3; k++) {
        Vec3<V> line = {rows_of[k][0], rows_of[k][1], rows_of[k][2]};
        Vec3<V>&shift = info.shift[size_t(j) * columns + b.column + k], &turn = info.turn[size_t(j) * columns + b.column + k];
        shift = shift - line;
        turn = turn - column(turned, k);
        for (int l = 0; l < 3; l++) corner[k * columns + l] += rows_of[k][l];
        for (int c = 0; c < problem.num_betas; c++) {
            V mixed = dot(info.arm_motion[size_t(p) * problem.num_betas + c], line);
            info.corner[size_t(c) * columns + b.column + k] -= mixed;
            info.corner[size_t(b.column + k) * columns + c] -= mixed;
        }
    }
}
// What a row between a point and the reference of its block says, beyond the forces.
template <class V>
void add_relative(const Rows<V>& rows, const Block<V>& b, int i, const Sym3<V>& C, Vec3<V> origin, const Frame<V>& f) {
    const Problem<V>& problem = *rows.problem;
    Information<V>& info = *rows.information;
    const ikol_general_block& s = *b.source;
    int p = s.index[i], columns = problem.num_columns;
    if (b.route != LINKED) {
        add_to_column(rows, b, p, C, f);
        return;
    }
    int near_ = b.near_[i], far_ = b.far_[i];
    Vec3<V> on_near = (far_ >= 0 ? f.joint[far_] : f.place[p]) - origin, on_far = zero3<V>();
    if (far_ >= 0) {
        // from the reference to the joint, from the joint to the point; the other way round where the reference is beyond
        bool is_point_far = moves_with(problem, p, far_);
        if (!is_point_far) on_near = f.place[p] - f.joint[far_];
        on_far = is_point_far ? f.place[p] - f.joint[far_] : f.joint[far_] - origin;
        Mat3<V> turned = cross_of(on_far, C);
        add_turned(info.body[far_].D, turned, on_far);
        // -[near] C [far]: the transpose of rows near x ([far] C)
        Mat3<V> rows_t = {cross(on_near, turned.r0), cross(on_near, turned.r1), cross(on_near, turned.r2)};
        Mat3<V> mixed = transpose(rows_t);
        info.link[far_] = {info.link[far_].r0 + mixed.r0, info.link[far_].r1 + mixed.r1, info.link[far_].r2 + mixed.r2};
    }
    add_lever(info.body[near_].D, C, on_near);
    if (!problem.num_betas) return;
    // the betas: the two rest places against each other, carried by the bodies between them
    const ikol_general_block& r = s;
    int base = far_ >= 0 ? far_ : near_;
    for (int c = 0; c < problem.num_betas; c++) {
        Vec3<V> motion = zero3<V>();
        auto motion_from = [&](int point) {  // of a point against the origin of body `base`, if carried by `base`
            int own = problem.point_joint[point];
            Vec3<V> m = info.arm_motion[size_t(point) * problem.num_betas + c];
            return own == base ? m : m + info.bone_motion[size_t(own) * problem.num_lengths + c];
        };
        auto against = [&](int point) {
            // in a link the near end hangs on the parent of `base`, whose origin lies one bone away from that of `base`
            if (moves_with(problem, point, base)) return motion_from(point);
            Vec3<V> m = info.arm_motion[size_t(point) * problem.num_betas + c];
            int own = problem.point_joint[point];
            if (own != near_) m = m + info.bone_motion[size_t(own) * problem.num_lengths + c];
            return m - info.bone_motion[size_t(base) * problem.num_lengths + c];
        };
        motion = against(p);
        for (int q = 0; q < r.reference_count; q++) motion = motion - against(r.reference_index[q]) * b.constants[q];
        info.arm_motion[size_t(problem.P) * problem.num_betas + c] = motion;
    }
    for (int c = 0; c < problem.num_betas; c++) {
        Vec3<V> held = mul(C, info.arm_motion[size_t(problem.P) * problem.num_betas + c]);
        Vec3<V>& turn = info.turn[size_t(near_) * columns + c];
        turn = turn + cross(on_near, held);
        if (far_ >= 0) {
            Vec3<V>& far_turn = info.turn[size_t(far_) * columns + c];
            far_turn = far_turn + cross(on_far, held);
        }
        for (int d = 0; d < problem.num_betas; d++)
            info.corner[size_t(d) * columns + c] += dot(held, info.arm_motion[size_t(problem.P) * problem.num_betas + d]);
    }
}
// Where the reference lies anywhere: its place and the force on it are columns of the border.
template <class V> void add_reference(const Rows<V>& rows, const Block<V>& b, const Frame<V>& f) {
    const ikol_general_block& s = *b.source;
    // the force on the reference is an unknown, held against the reference's own unknown place
    const Problem<V>& problem = *rows.problem;
    Information<V>& info = *rows.information;
    int columns = problem.num_columns;
    for (int k = 0; k < 3; k++) {
        int c = b.column + 3 + k;
        info.corner[size_t(c) * columns + b.column + k] -= all<V>(1);
        info.corner[size_t(b.column + k) * columns + c] -= all<V>(1);
        for (int q = 0; q < s.reference_count; q++) {
            int p = s.reference_index[q];
            size_t j = problem.point_joint[p];
            Vec3<V> line = axis_of<V>(k) * b.constants[q];
            info.shift[j * columns + c] = info.shift[j * columns + c] + line;
            info.turn[j * columns + c] = info.turn[j * columns + c] + cross(f.arm[p], line);
            for (int d = 0; d < problem.num_betas; d++) {
                V mixed = dot(info.arm_motion[size_t(p) * problem.num_betas + d], line);
                info.corner[size_t(d) * columns + c] += mixed;
                info.corner[size_t(c) * columns + d] += mixed;
            }
        }
    }
}
template <class X, class V> void on_relative(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    const ikol_general_block& s = *b.source;
    Mat3<X> axes = {lift<X>(b.frame), lift<X>(b.frame + 3), lift<X>(b.frame + 6)};
    Vec3<X> origin = zero3<X>(), total = zero3<X>();
    for (int q = 0; q < s.reference_count; q++) origin = origin + f.place[s.reference_index[q]] * X(b.constants[q]);
    for (int i = 0; i < s.count; i++) {
        int p = s.index[i];
        Vec3<X> w = lift<X>(b.weight + 3 * i), e = mul(axes, f.place[p] - origin) - lift<X>(b.target + 3 * i);
        Vec3<X> pull = {w.x * e.x, w.y * e.y, w.z * e.z};
        X softening, weight = charge(b, rows.convexity, rows.next_convexity, dot(pull, e), f, softening);
        Vec3<X> force = mul_t(axes, pull * weight);
        f.force[p] = f.force[p] + force;
        total = total + force;
        if constexpr (IsLanes<X, V>::value) {
            Sym3<V> C = {};
            add_outer(C, axes.r0 * (w.x * weight), axes.r0);
            add_outer(C, axes.r1 * (w.y * weight), axes.r1);
            add_outer(C, axes.r2 * (w.z * weight), axes.r2);
            Vec3<V> along = mul_t(axes, pull);
            if (s.loss) add_outer(C, along * (-weight * softening), along);
            add_relative(rows, b, i, C, origin, f);
            b.residual[3 * i] = e.x; b.residual[3 * i + 1] = e.y; b.residual[3 * i + 2] = e.z;
            b.robust[i] = weight;
        }
    }
    for (int q = 0; q < s.reference_count; q++) {
        int p = s.reference_index[q];
        f.force[p] = f.force[p] - total * X(b.constants[q]);
    }
    if constexpr (IsLanes<X, V>::value)
        if (b.route == ANYWHERE) add_reference(rows, b, f);
}
template <class X, class V> void on_points_2d(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    const ikol_general_block& s = *b.source;
    X cx = X(b.frame[2]), cy = X(b.frame[3]), zero = X{};
    Vec3<X> ahead = lift<X>(b.frame + 10);
    for (int i = 0; i < s.count; i++) {
        int p = s.index[i];
        X wu = X(b.weight[2 * i]), wv = X(b.weight[2 * i + 1]);
        PixelRow<X> seen = project<X>(b.frame, f.place[p]);
        X eu = seen.u + cx - X(b.target[2 * i]), ev = seen.v + cy - X(b.target[2 * i + 1]), pu = wu * eu, pv = wv * ev;
        X softening, weight = charge(b, rows.convexity, rows.next_convexity, pu * eu + pv * ev, f, softening);
        f.force[p] = f.force[p] + seen.along_u * (pu * weight) + seen.along_v * (pv * weight);
        X lack = all<X>(MIN_DEPTH) - seen.depth;
        Mask<X> pushed = (lack > zero) & (wu > zero);
        if (any(pushed)) {
            X push = select(pushed, lack * DEPTH_WEIGHT, zero), cost = push * lack * 0.5;
            f.force[p] = f.force[p] - ahead * push;
            f.cost = f.cost + cost;
            f.next_cost = f.next_cost + cost;
            if constexpr (IsLanes<X, V>::value)
                add_outer(rows.information->point[p], ahead * select(pushed, all<V>(DEPTH_WEIGHT), zero), ahead);
        }
        if constexpr (IsLanes<X, V>::value) {
            Sym3<V>& to = rows.information->point[p];
            add_outer(to, seen.along_u * (wu * weight), seen.along_u);
            add_outer(to, seen.along_v * (wv * weight), seen.along_v);
            Vec3<V> along = seen.along_u * pu + seen.along_v * pv;
            if (s.loss) add_outer(to, along * (-weight * softening), along);
            b.residual[2 * i] = eu; b.residual[2 * i + 1] = ev;
            b.robust[i] = weight;
        }
    }
}
// A residual vector e = Log(...) with weights w, whose derivative has the rows `jacobian`.
template <class X, class V>
X on_log(const Rows<V>& rows, Block<V>& b, int i, Vec3<X> e, const Mat3<X>& jacobian, Frame<X>& f, Vec3<X>& gradient,
         Sym3<V>* to) {
    Vec3<X> w = lift<X>(b.weight + 3 * i), pull = {w.x * e.x, w.y * e.y, w.z * e.z};
    X softening, weight = charge(b, rows.convexity, rows.next_convexity, dot(pull, e), f, softening);
    gradient = mul_t(jacobian, pull * weight);
    if constexpr (IsLanes<X, V>::value) {
        add_outer(*to, jacobian.r0 * (w.x * weight), jacobian.r0);
        add_outer(*to, jacobian.r1 * (w.y * weight), jacobian.r1);
        add_outer(*to, jacobian.r2 * (w.z * weight), jacobian.r2);
        Vec3<V> along = mul_t(jacobian, pull);
        if (b.source->loss) add_outer(*to, along * (-weight * softening), along);
        b.residual[3 * i] = e.x; b.residual[3 * i + 1] = e.y; b.residual[3 * i + 2] = e.z;
        b.robust[i] = weight;
    }
    return weight;
}
template <class X, class V> void on_orientation(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    for (int i = 0; i < b.source->count; i++) {
        int j = b.source->index[i];
        const V* t = b.target + 9 * i;
        Mat3<X> reference = {lift<X>(t), lift<X>(t + 3), lift<X>(t + 6)};
        X q[4], second;
        to_quat(mul(transpose(reference), f.global[j]), q);
        Vec3<X> e = log_quat(Quat<X>{q[0], q[1], q[2], q[3]}, second), gradient;
        Mat3<X> jacobian = mul(log_jacobian_rows(e, second), transpose(f.global[j]));
        Sym3<V>* to = rows.information ? &rows.information->body[j].D : nullptr;
        on_log(rows, b, i, e, jacobian, f, gradient, to);
        f.torque[j] = f.torque[j] + gradient;
    }
}
template <class X, class V> void on_anchor(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    for (int i = 0; i < b.source->count; i++) {
        int j = b.source->index[i];
        const V* t = b.target + 4 * i;
        Quat<X> reference = {X(t[0]), -X(t[1]), -X(t[2]), -X(t[3])};
        X second;
        Vec3<X> e = log_quat(reference * f.quat[j], second), gradient;
        Sym3<V>* to = rows.information ? &rows.information->own[j] : nullptr;
        on_log(rows, b, i, e, log_jacobian_rows(e, second), f, gradient, to);
        f.own[j] = f.own[j] + gradient;
    }
}
template <class X, class V> void on_twist(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    for (int i = 0; i < b.source->count; i++) {
        int j = b.source->index[i];
        TwistRow<X> row = twist_row(f.quat[j], lift<X>(b.constants + 3 * i));
        X away = wrapped(row.angle - X(b.target[i])), w = X(b.weight[i]), e = row.gate * away;
        X softening, weight = charge(b, rows.convexity, rows.next_convexity, w * e * e, f, softening);
        Vec3<X> jacobian = row.gradient * row.gate + row.gate_gradient * away;
        f.own[j] = f.own[j] + jacobian * (w * weight * e);
        if constexpr (IsLanes<X, V>::value) {
            add_outer(rows.information->own[j], jacobian * (w * weight * (all<V>(1) - softening * w * e * e)), jacobian);
            b.residual[i] = e;
            b.robust[i] = weight;
        }
    }
}
template <class X, class V> void on_limits(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {
    X zero = X{};
    for (int i = 0; i < b.source->count; i++) {
        int j = b.source->index[i];
        LimitRow<X> row;
        limit_row<X>(f.quat[j], b.constants + 16 * i, row);
        for (int k = 0; k < 3; k++) {
            X e = max_(row.above[k], zero) - max_(-row.below[k], zero), w = X(b.weight[3 * i + k]), cost = w * e * e * 0.5;
            f.cost = f.cost + cost;
            f.next_cost = f.next_cost + cost;
            f.limited[j] = f.limited[j] + row.jacobian[k] * (w * e);
            if constexpr (IsLanes<X, V>::value) {
                V* kept = b.limits + 18 * i;
                kept[k] = row.above[k];
                kept[3 + k] = row.below[k];
                memcpy((void*)(kept + 9 + 3 * k), &row.jacobian[k], sizeof(Vec3<V>));
                b.residual[3 * i + k] = e;
                add_outer(rows.information->limited[j], row.jacobian[k] * select(e != zero, w, zero), row.jacobian[k]);
            }
        }
        if constexpr (IsLanes<X, V>::value) b.robust[i] = all<V>(1);
    }
}
template <class X, class V> void on_numbers(const Rows<V>& rows, Block<V>& b, Frame<X>& f) {  // betas or bone scales
    bool is_shape = b.source->kind == IKOL_SHAPE;
    for (int i = 0; i < b.source->count; i++) {
        X value = is_shape ? f.betas[i] : f.scale[i], w = X(b.weight[i]), e = value - X(b.target[i]), cost = w * e * e * 0.5;
        X& force = is_shape ? f.beta_force[i] : f.scale_force[i];
        force = force + w * e;
        f.cost = f.cost + cost;
        f.next_cost = f.next_cost + cost;
        if constexpr (IsLanes<X, V>::value) {
            (is_shape ? rows.information->beta_weight[i] : rows.information->scale_weight[i]) += w;
            b.residual[i] = e;
            b.robust[i] = all<V>(1);
        }
    }
}

// How betas and bone scales move things, for `evaluate` and the border.
template <class V> void move_lengths(const Problem<V>& problem, const Frame<V>& f, Information<V>& info) {
    int nb = problem.num_betas, nl = problem.num_lengths, B = problem.B;
    for (int j = 0; j < problem.J; j++) {
        int up = problem.parent[j];
        for (int c = 0; c < nb; c++) {
            const V* dirs = problem.joint_dirs + 3 * size_t(j) * B + c;
            Vec3<V> dir = {dirs[0], dirs[B], dirs[2 * B]};
            if (up >= 0) dir = mul(f.global[up], dir);
            if (up >= 0 && problem.has_scale) dir = dir * f.scale[j];
            info.bone_motion[size_t(j) * nl + c] = dir;
        }
        if (problem.group_column[j] < 0 && !problem.elastic[j]) continue;
        info.stretch[j] = mul(f.global[up], f.rest_bone[j]);
        for (int c = nb; c < nl; c++)
            info.bone_motion[size_t(j) * nl + c] = c == problem.group_column[j] ? info.stretch[j] : zero3<V>();
    }
    for (int p = 0; p < problem.P && nb; p++)
        for (int c = 0; c < nb; c++) {
            const V* dirs = problem.arm_dirs + 3 * size_t(p) * B + c;
            info.arm_motion[size_t(p) * nb + c] = mul(f.global[problem.point_joint[p]], Vec3<V>{dirs[0], dirs[B], dirs[2 * B]});
        }
}

template <class V> void clear(const Problem<V>& problem, Information<V>& info);
template <class V> void gather(const Problem<V>& problem, const Frame<V>& f, Information<V>& info);

// Cost and forces at a state that `place` has seen, and with lanes the information of each body.
template <class X, class V>
void evaluate(const Problem<V>& problem, Frame<X>& f, Information<V>* info, V convexity, V next_convexity) {
    f.cost = f.next_cost = X{};
    for (int p = 0; p < problem.P; p++) f.force[p] = zero3<X>();
    for (int j = 0; j < problem.J; j++) { f.torque[j] = f.own[j] = f.limited[j] = zero3<X>(); f.scale_force[j] = X{}; }
    for (int k = 0; k < problem.B; k++) f.beta_force[k] = X{};
    if constexpr (IsLanes<X, V>::value) clear(problem, *info);
    if constexpr (IsLanes<X, V>::value)
        if (problem.num_lengths || problem.has_scale) move_lengths(problem, f, *info);
    Rows<V> rows = {&problem, info, convexity, next_convexity};
    for (int i = 0; i < problem.call->blocks; i++) {
        Block<V>& b = problem.block[i];
        switch (b.source->kind) {
            case IKOL_POINTS_3D: on_points_3d(rows, b, f); break;
            case IKOL_RELATIVE: on_relative(rows, b, f); break;
            case IKOL_POINTS_2D: on_points_2d(rows, b, f); break;
            case IKOL_ORIENTATION: on_orientation(rows, b, f); break;
            case IKOL_ANCHOR: on_anchor(rows, b, f); break;
            case IKOL_TWIST: on_twist(rows, b, f); break;
            case IKOL_LIMITS: on_limits(rows, b, f); break;
            default: on_numbers(rows, b, f);
        }
    }
    if constexpr (IsLanes<X, V>::value) gather(problem, f, *info);
}
template <class V> void clear(const Problem<V>& problem, Information<V>& info) {
    size_t J = problem.J, C = problem.num_columns;
    memset((void*)info.point, 0, problem.P * sizeof(Sym3<V>));
    memset((void*)info.body, 0, J * sizeof(Body<V>));
    memset((void*)info.own, 0, J * sizeof(Sym3<V>));
    memset((void*)info.limited, 0, J * sizeof(Sym3<V>));
    if (problem.has_links) memset((void*)info.link, 0, J * sizeof(Mat3<V>));
    memset((void*)info.shift, 0, J * C * sizeof(Vec3<V>));
    memset((void*)info.turn, 0, J * C * sizeof(Vec3<V>));
    memset((void*)info.corner, 0, C * C * sizeof(V));
    memset((void*)info.stretch_turn, 0, J * sizeof(Vec3<V>));
    memset((void*)info.stretch_shape, 0, J * problem.num_betas * sizeof(V));
    memset((void*)info.beta_weight, 0, problem.B * sizeof(V));
    memset((void*)info.scale_weight, 0, J * sizeof(V));
}
// Points become parts of their bodies.
template <class V> void gather(const Problem<V>& problem, const Frame<V>& f, Information<V>& info) {
    int nb = problem.num_betas, columns = problem.num_columns;
    for (int j = 0; j < problem.J; j++) {
        info.bend[j] = {};
        info.body[j].m = f.torque[j];
    }
    for (int c = 0; c < columns; c++) info.corner_force[c] = V{};
    for (int c = 0; c < nb; c++) {
        info.corner_force[c] = f.beta_force[c];
        info.corner[size_t(c) * columns + c] += info.beta_weight[c];
    }
    for (int j = 1; j < problem.J; j++) {
        int c = problem.group_column[j];
        if (c < 0) continue;
        info.corner_force[c] += f.scale_force[j];
        info.corner[size_t(c) * columns + c] += info.scale_weight[j];
    }
    for (int p = 0; p < problem.P; p++) {
        int j = problem.point_joint[p];
        Body<V>& body = info.body[j];
        const Sym3<V>& C = info.point[p];
        Vec3<V> arm = f.arm[p], force = f.force[p];
        add(body.A, C);
        body.n = body.n + force;
        for (int c = 0; c < nb; c++) {
            Vec3<V> held = mul(C, info.arm_motion[size_t(p) * nb + c]);
            size_t at = size_t(j) * columns + c;
            info.shift[at] = info.shift[at] + held;
            info.corner_force[c] += dot(force, info.arm_motion[size_t(p) * nb + c]);
            if (!problem.is_center[p]) info.turn[at] = info.turn[at] + cross(arm, held);
            for (int d = 0; d < nb; d++) info.corner[size_t(d) * columns + c] += dot(held, info.arm_motion[size_t(p) * nb + d]);
        }
        if (problem.is_center[p]) continue;
        body.m = body.m + cross(arm, force);
        Mat3<V> turned = cross_of(arm, C);  // v-w is its transpose: -C [arm]
        body.B.r0 = body.B.r0 + Vec3<V>{turned.r0.x, turned.r1.x, turned.r2.x};
        body.B.r1 = body.B.r1 + Vec3<V>{turned.r0.y, turned.r1.y, turned.r2.y};
        body.B.r2 = body.B.r2 + Vec3<V>{turned.r0.z, turned.r1.z, turned.r2.z};
        add_turned(body.D, turned, arm);
        Sym3<V> bent = outer_sum(arm, force);
        V along = dot(arm, force);
        bent.xx -= along; bent.yy -= along; bent.zz -= along;
        add(info.bend[j], bent);
    }
}

}  // namespace

#endif

// SPDX-License-Identifier: Apache-2.0
//
// The derivative of the general solve's optimum, by the implicit function theorem, linear in the joints.
//
// Each group of rows looks at one place or one rotation only, so the exact Hessian has the shape of the Gauss-Newton
// matrix with other 3x3 blocks: what projections, logarithms, gates and robust losses add to them. `sharpen` puts those
// in, then z = -H^-1 (gradient of the loss) is some eliminations, and the gradient of the loss to an input is the
// derivative along z of the gradient of the cost to that input, taken with dual numbers.
//
// What no row sees has no derivative. H^-1 is therefore what ikol/solver/backward/proximal.py says, step for step: from
// the optimum (`settle`) proximal steps with a loose prior (`solve`), which leave out what is seen less than the prior.
//
// Lengths among the unknowns are what they are in the solve: elastic bones parts of their joints, the others columns of the
// border. They add how they act together with turns and with each other.
//
// Exact pins are springs, see ikol/solver/backward/springs.py: soft ones, under the force of the stiff ones, are rows as any
// others, and the rest of the stiffness is a condition: a few right-hand sides more and a small system.

#ifndef IKOL_GENERAL_ADJOINT_H
#define IKOL_GENERAL_ADJOINT_H

#include "general_factor.h"

// Of the loss: in, and out (null: not wanted). The state in the call is the optimum. Arrays are dense, a row a frame.
struct ikol_general_block_gradient {
    void *target, *weight, *frame;
};
struct ikol_general_gradient {
    const int32_t* status;               // frames that are not 0 get zeros
    const void *transl, *rotmat, *shape, *scale, *cost;  // in; shape and scale may be null: zeros, or held
    void *joints_template, *points_rest;  // (joints, 3), (points, 3)
    void *betas, *bone_scale;            // of the held ones
    const ikol_general_block_gradient* block;
    // of exact pins, or null: the forces that hold them (frames, pins, 3) and their springs' stiffness (frames, pins), 0
    // where nothing is pinned; `taut` times the part of it that is a row of the block `pins`, of points in space
    const void *pin_force, *pin_stiffness;
    double taut;
    int32_t pins;
    int32_t one_step;                    // of a Gauss-Newton step more, not of the optimum
};

namespace {

// Those of ikol/solver/backward/proximal.py, where they are explained.
constexpr double LOOSE = 10, LEAST_PART = 1e-5, ROUNDING = 1e-9, REST = 20, TIGHTER = 30;
constexpr int MAX_PINS = 1024;
constexpr int STEPS = 8, SETTLING = 3, TRIES = 3;

inline bool is_valid(const ikol_general_gradient& g, const ikol_general_call& c) {
    if (!g.status || !g.transl || !g.rotmat || !g.cost || (c.blocks && !g.block)) return false;
    if (c.bone_groups && !c.bone_scale) return false;
    if (!g.pin_force) return true;
    return g.pin_stiffness && g.taut > 1 && g.pins >= 0 && g.pins < c.blocks && c.block[g.pins].kind == IKOL_POINTS_3D &&
           c.block[g.pins].count <= MAX_PINS;
}

// A number and its derivative along a direction.
template <class V> struct Dual {
    V a, b;
    Dual() : a{}, b{} {}
    Dual(V value) : a(value), b{} {}
    Dual(V value, V slope) : a(value), b(slope) {}
};
template <class V> struct ScalarOf<Dual<V>> { typedef double T; };
template <class V> Dual<V> operator+(Dual<V> x, Dual<V> y) { return {x.a + y.a, x.b + y.b}; }
template <class V> Dual<V> operator-(Dual<V> x, Dual<V> y) { return {x.a - y.a, x.b - y.b}; }
template <class V> Dual<V> operator-(Dual<V> x) { return {-x.a, -x.b}; }
template <class V> Dual<V> operator*(Dual<V> x, Dual<V> y) { return {x.a * y.a, x.a * y.b + x.b * y.a}; }
template <class V> Dual<V> operator/(Dual<V> x, Dual<V> y) {
    V q = x.a / y.a;
    return {q, (x.b - q * y.b) / y.a};
}
template <class V> Dual<V> operator+(Dual<V> x, double y) { return {x.a + y, x.b}; }
template <class V> Dual<V> operator-(Dual<V> x, double y) { return {x.a - y, x.b}; }
template <class V> Dual<V> operator*(Dual<V> x, double y) { return {x.a * y, x.b * y}; }
template <class V> Dual<V> operator*(double y, Dual<V> x) { return x * y; }
template <class V> void operator+=(Dual<V>& x, Dual<V> y) { x = x + y; }
template <class V> void operator-=(Dual<V>& x, Dual<V> y) { x = x - y; }
template <class V> auto operator<(Dual<V> x, Dual<V> y) { return x.a < y.a; }
template <class V> auto operator>(Dual<V> x, Dual<V> y) { return x.a > y.a; }
template <class M, class V> Dual<V> select(M m, Dual<V> x, Dual<V> y) { return {select(m, x.a, y.a), select(m, x.b, y.b)}; }
template <class V> Dual<V> max_(Dual<V> x, Dual<V> y) { return select(x.a > y.a, x, y); }
template <class V> Dual<V> sqrt_(Dual<V> x) {
    V root = sqrt_(x.a);
    return {root, x.b * 0.5 / root};
}
template <class V> Dual<V> atan2_(Dual<V> y, Dual<V> x) {
    V square = x.a * x.a + y.a * y.a;
    return {atan2_(y.a, x.a), (x.a * y.b - y.a * x.b) / select(square > V{}, square, all<V>(1))};
}
template <class V> Dual<V> wrapped(Dual<V> angle) { return {wrapped(angle.a), angle.b}; }

template <class V> Vec3<V> slope(Vec3<Dual<V>> x) { return {x.x.b, x.y.b, x.z.b}; }
template <class V> Vec3<Dual<V>> dual(Vec3<V> x, Vec3<V> slope) { return {{x.x, slope.x}, {x.y, slope.y}, {x.z, slope.z}}; }
template <class V> Quat<Dual<V>> turned(const Quat<V>& q, Vec3<V> d) {  // q Exp(d), to first order
    V h = all<V>(0.5), zero = V{};
    Quat<V> s = q * Quat<V>{zero, d.x * h, d.y * h, d.z * h};
    return {{q.w, s.w}, {q.x, s.x}, {q.y, s.y}, {q.z, s.z}};
}
template <class V> Sym3<V> symmetric(const Vec3<V> (&c)[3]) {  // of the columns
    V h = all<V>(0.5);
    return {c[0].x, (c[0].y + c[1].x) * h, (c[0].z + c[2].x) * h, c[1].y, (c[1].z + c[2].y) * h, c[2].z};
}

template <int W> struct Adjoint {
    typedef typename Register<double, W>::V V;
    typedef Dual<V> D;

    const ikol_general_gradient* gradient;
    const ikol_general_call* call;
    Problem<V> problem;
    Frame<V> frame;                   // the optimum
    Information<V> info;
    Factor<V> factor;
    Tree<V> tree;
    Frame<D> along;                   // the state, moving along z
    Vec3<V>(*own)[3], (*world)[3];    // (J) second derivatives, by columns
    Vec3<D>* carried;                 // (J) force on all that hangs on a joint
    Vec3<V>*rest_joint, *rest_point;  // of the loss
    V *rest_shape, *rest_scale, one;
    V by_cost;                        // the gradient of the loss to the cost
    V rest;                           // of the cost's gradient: its largest entry
    V prior;                          // 1 / sd^2 of what the steps are held to
    Mask<V> has_minimum;
    Vec3<V> old_transl;
    Quat<V>* old_quat;                // (J)
    V *old_betas, *old_scale;
    Vec3<V>* weight_on;               // (J) the cost's force on all that hangs on a joint
    Unknowns<V> loss, answer, unseen;  // the gradient of the loss, H^-1 of it
    int pins;                         // how many; their block, the forces on them
    Block<V>* pinned;
    Vec3<V>* pin_force;
    Unknowns<V>*pull, *yield_;        // (3 pins) how the unknowns move each, H^-1 of it
    V *grip;                          // (3 pins) what z does to the forces
    V* dense;                         // (3 pins, 3 pins + 1)
    double* scalar;
    int64_t first, count;             // the frames in the lanes

    void begin(const ikol_general_call* the_call, const ikol_general_gradient* the_gradient, Block<V>* blocks) {
        call = the_call;
        gradient = the_gradient;
        problem.call = call;
        problem.J = call->joints; problem.P = call->points; problem.B = call->betas;
        problem.parent = call->parents; problem.point_joint = call->point_joints;
        problem.block = blocks;
        tree = {&problem, &frame, &info, &factor};
        one = all<V>(1);
        pinned = gradient->pin_force ? blocks + gradient->pins : nullptr;
        pins = pinned ? call->block[gradient->pins].count : 0;
    }
    void lay_out(Arena& arena) {
        int J = problem.J, P = problem.P, B = problem.B;
        problem.lay_out(arena);
        frame.lay_out(arena, J, P, B);
        along.lay_out(arena, J, P, B);
        arena.take(own, J); arena.take(world, J); arena.take(carried, J);
        arena.take(rest_joint, J); arena.take(rest_point, P); arena.take(rest_shape, B); arena.take(rest_scale, J);
        arena.take(pin_force, pins); arena.take(pull, 3 * pins); arena.take(yield_, 3 * pins);
        arena.take(old_quat, J); arena.take(old_betas, B); arena.take(old_scale, J); arena.take(weight_on, J);
    }
    void lay_out_border(Arena& arena) {  // once the number of columns is known
        info.lay_out(arena, problem);
        factor.lay_out(arena, problem);
        loss.lay_out(arena, problem); answer.lay_out(arena, problem); unseen.lay_out(arena, problem);
        size_t K = 3 * size_t(pins);
        for (size_t k = 0; k < K; k++) { pull[k].lay_out(arena, problem); yield_[k].lay_out(arena, problem); }
        arena.take(grip, K); arena.take(dense, K * (K + 1)); arena.take(scalar, K * (K + 1));
    }

    // ---- the exact Hessian: blocks as `evaluate` makes them, with all that it leaves out ----

    // The weight that the loss leaves a group, and twice its derivative by the squared residual.
    V weight_of(const Block<V>& b, int i, int rows, V& twice_bend) {
        V squared = V{};
        for (int k = i * rows; k < (i + 1) * rows; k++) squared += b.weight[k] * b.residual[k] * b.residual[k];
        D rho, weight, softening;
        robust<D>(b.source->loss, b.source->loss_width, one, D(squared, one), rho, weight, softening);
        twice_bend = weight.b * 2.0;
        return weight.a;
    }
    void sharpen_points(const Block<V>& b) {
        for (int i = 0; i < b.source->count; i++) {
            const V *w = b.weight + 3 * i, *e = b.residual + 3 * i;
            Vec3<V> pull = {w[0] * e[0], w[1] * e[1], w[2] * e[2]};
            V bend, weight = weight_of(b, i, 3, bend);
            Sym3<V>& to = info.point[b.source->index[i]];
            to.xx += w[0] * weight; to.yy += w[1] * weight; to.zz += w[2] * weight;
            add_outer(to, pull * bend, pull);
        }
    }
    void sharpen_relative(const Block<V>& b) {
        const ikol_general_block& s = *b.source;
        Rows<V> rows = {&problem, &info, one, one};
        Mat3<V> axes = {lift<V>(b.frame), lift<V>(b.frame + 3), lift<V>(b.frame + 6)};
        Vec3<V> origin = zero3<V>();
        Sym3<V> total = {};
        for (int q = 0; q < s.reference_count; q++) origin = origin + frame.place[s.reference_index[q]] * b.constants[q];
        for (int i = 0; i < s.count; i++) {
            const V *w = b.weight + 3 * i, *e = b.residual + 3 * i;
            Vec3<V> pull = mul_t(axes, Vec3<V>{w[0] * e[0], w[1] * e[1], w[2] * e[2]});
            V bend, weight = weight_of(b, i, 3, bend);
            Sym3<V> C = {};
            add_outer(C, axes.r0 * (w[0] * weight), axes.r0);
            add_outer(C, axes.r1 * (w[1] * weight), axes.r1);
            add_outer(C, axes.r2 * (w[2] * weight), axes.r2);
            add(total, C);
            add_outer(C, pull * bend, pull);
            add_relative(rows, b, i, C, origin, frame);
        }
        if (b.route == ANYWHERE) add_reference(rows, b, frame);
        // Seen by the reference alone a joint has no information until the border: its second-order part would look as if
        // there were no minimum. That the column is the reference's place is known anyway, so it may be held there.
        if (b.route == ANYWHERE && s.reference_count == 1) add_to_column(rows, b, s.reference_index[0], total, frame);
    }
    void sharpen_pixels(const Block<V>& b) {
        Vec3<V> r0 = lift<V>(b.frame + 4), r1 = lift<V>(b.frame + 7), r2 = lift<V>(b.frame + 10);
        for (int i = 0; i < b.source->count; i++) {
            int p = b.source->index[i];
            PixelRow<V> seen = project<V>(b.frame, frame.place[p]);
            V wu = b.weight[2 * i], wv = b.weight[2 * i + 1], pu = wu * b.residual[2 * i], pv = wv * b.residual[2 * i + 1];
            V bend, weight = weight_of(b, i, 2, bend), zero = V{};
            Vec3<V> pull = seen.along_u * pu + seen.along_v * pv;
            Sym3<V>& to = info.point[p];
            add_outer(to, seen.along_u * (wu * weight), seen.along_u);
            add_outer(to, seen.along_v * (wv * weight), seen.along_v);
            add_outer(to, pull * bend, pull);
            Mask<V> pushed = (all<V>(MIN_DEPTH) - seen.depth > zero) & (wu > zero);
            add_outer(to, r2 * select(pushed, all<V>(DEPTH_WEIGHT), zero), r2);
            // f x / z has the second derivative f (-1/z^2 (r0 r2' + r2 r0') + 2 x / z^3 r2 r2'); it is straight where near
            Sym3<V> both = outer_sum(r0 * (pu * weight * b.frame[0]) + r1 * (pv * weight * b.frame[1]), r2);
            V twice = seen.inverse_slope * 2.0;
            add(to, {both.xx * twice, both.xy * twice, both.xz * twice, both.yy * twice, both.yz * twice, both.zz * twice});
            V deep = (pu * weight * seen.u + pv * weight * seen.v) * (seen.inverse * seen.inverse * 2.0);  // u = f x / z
            add_outer(to, r2 * select(seen.depth < all<V>(NEAR_DEPTH), zero, deep), r2);
        }
    }
    void sharpen_rotations() {  // the derivative of the rows' gradients along each axis
        Frame<D>& f = along;
        Rows<V> rows = {&problem, nullptr, one, one};
        for (int a = 0; a < 3; a++) {
            Vec3<V> axis = axis_of<V>(a);
            for (int j = 0; j < problem.J; j++) {
                f.quat[j] = turned(frame.quat[j], axis);
                const Mat3<V>& G = frame.global[j];  // Exp(axis) G
                Vec3<V> c0 = cross(axis, column(G, 0)), c1 = cross(axis, column(G, 1)), c2 = cross(axis, column(G, 2));
                f.global[j] = {dual(G.r0, {c0.x, c1.x, c2.x}), dual(G.r1, {c0.y, c1.y, c2.y}), dual(G.r2, {c0.z, c1.z, c2.z})};
                f.torque[j] = f.own[j] = f.limited[j] = zero3<D>();
            }
            for (int i = 0; i < call->blocks; i++) {
                Block<V>& b = problem.block[i];
                switch (b.source->kind) {
                    case IKOL_ORIENTATION: on_orientation(rows, b, f); break;
                    case IKOL_ANCHOR: on_anchor(rows, b, f); break;
                    case IKOL_TWIST: on_twist(rows, b, f); break;
                    case IKOL_LIMITS: on_limits(rows, b, f); break;
                    default: break;
                }
            }
            for (int j = 0; j < problem.J; j++) {
                own[j][a] = slope(f.own[j] + f.limited[j]);
                world[j][a] = slope(f.torque[j]);
            }
        }
        for (int j = 0; j < problem.J; j++) {
            info.own[j] = symmetric(own[j]);
            info.body[j].D = symmetric(world[j]);
        }
    }
    // A length moves all beyond it along a vector that turns with what it hangs on: a force on it is a torque on that. Of a
    // bone's scale and the betas the product counts.
    void sharpen_lengths() {
        int J = problem.J, C = problem.num_columns, nb = problem.num_betas;
        for (int j = 0; j < J; j++) weight_on[j] = zero3<V>();
        for (int p = 0; p < problem.P; p++) {
            int j = problem.point_joint[p];
            weight_on[j] = weight_on[j] + frame.force[p];
            for (int c = 0; c < nb; c++) {
                Vec3<V>& turn = info.turn[size_t(j) * C + c];
                turn = turn + cross(info.arm_motion[size_t(p) * nb + c], frame.force[p]);
            }
        }
        for (int j = J - 1; j > 0; j--) {
            int up = problem.parent[j], group = problem.group_column[j];
            Vec3<V> force = weight_on[j];
            const Vec3<V>* motion = info.bone_motion + size_t(j) * problem.num_lengths;
            weight_on[up] = weight_on[up] + force;
            for (int c = 0; c < problem.num_lengths; c++) {
                if (c >= nb && c != group) continue;
                Vec3<V>& turn = info.turn[size_t(up) * C + c];
                turn = turn + cross(motion[c], force);
            }
            if (problem.elastic[j]) info.stretch_turn[j] = cross(info.stretch[j], force);
            for (int c = 0; c < nb && (problem.elastic[j] || group >= 0); c++) {
                const V* dirs = problem.joint_dirs + 3 * size_t(j) * problem.B + c;
                V mixed = dot(force, mul(frame.global[up], Vec3<V>{dirs[0], dirs[problem.B], dirs[2 * problem.B]}));
                if (group < 0) {
                    info.stretch_shape[size_t(j) * nb + c] = mixed;
                    continue;
                }
                info.corner[size_t(group) * C + c] += mixed;
                info.corner[size_t(c) * C + group] += mixed;
            }
        }
    }
    void sharpen() {
        clear(problem, info);
        if (problem.num_lengths || problem.has_scale) sharpen_lengths();
        for (int p = 0; p < problem.P; p++) frame.force[p] = zero3<V>();  // of them `compose` has taken what is needed
        for (int j = 0; j < problem.J; j++) frame.torque[j] = zero3<V>();
        bool has_rotations = false;
        for (int i = 0; i < call->blocks; i++)
            has_rotations |= call->block[i].kind >= IKOL_ORIENTATION && call->block[i].kind <= IKOL_LIMITS;
        if (has_rotations) sharpen_rotations();
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            switch (b.source->kind) {
                case IKOL_POINTS_3D: sharpen_points(b); break;
                case IKOL_RELATIVE: sharpen_relative(b); break;
                case IKOL_POINTS_2D: sharpen_pixels(b); break;
                case IKOL_SHAPE: case IKOL_BONES: {
                    V* to = b.source->kind == IKOL_SHAPE ? info.beta_weight : info.scale_weight;
                    for (int i = 0; i < b.source->count; i++) to[i] += b.weight[i];
                    break;
                }
                default: break;
            }
        }
        gather(problem, frame, info);
    }

    // ---- z ----

    // The gradient of the loss.
    void push() {
        int J = problem.J;
        loss.clear();
        for (int j = 0; j < J; j++) {
            Vec3<V> r = zero3<V>();
            for (int l = 0; l < W; l++) {
                if (!is_solved(l)) continue;
                double A[9] = {};
                int64_t from = (first + l) * call->rotmat_stride + 9 * j, to = ((first + l) * J + j) * 9;
                for (int row = 0; row < 3; row++)
                    for (int c = 0; c < 3; c++) {  // R' dL/dR
                        double g = problem.read(gradient->rotmat, to + 3 * row + c);
                        for (int i = 0; i < 3; i++) A[3 * i + c] += problem.read(call->rotmat, from + 3 * row + i) * g;
                    }
                lane(r.x, l) = A[7] - A[5]; lane(r.y, l) = A[2] - A[6]; lane(r.z, l) = A[3] - A[1];
            }
            loss.turn[j] = r;
        }
        by_cost = V{};
        for (int l = 0; l < W; l++) {
            if (!is_solved(l)) continue;
            int64_t f = first + l;
            lane(by_cost, l) = problem.read(gradient->cost, f);
            for (int a = 0; a < 3; a++) lane(((V*)&loss.turn[J])[a], l) = problem.read(gradient->transl, 3 * f + a);
            for (int c = 0; gradient->shape && c < problem.num_betas; c++)
                lane(loss.length[c], l) = problem.read(gradient->shape, f * problem.B + c);
            for (int j = 0; gradient->scale && j < J; j++) {
                V* to = scale_of(loss, j);
                if (to) lane(*to, l) += problem.read(gradient->scale, f * J + j);
            }
        }
        if (pins) push_cost();
    }
    V* scale_of(const Unknowns<V>& x, int j) const {  // of a joint's bone, where that is unknown
        int group = problem.group_column[j];
        return problem.elastic[j] ? &x.stretch[j] : (group >= 0 ? &x.length[group] : nullptr);
    }
    // (H + prior) step = -right, with a prior of the same deviation on every unknown.
    void step_from(const Unknowns<V>& right, V with) {
        int J = problem.J;
        Factor<V>& k = factor;
        for (int j = 0; j < J; j++) {
            frame.own[j] = right.turn[j];
            if (problem.elastic[j]) frame.scale_force[j] = right.stretch[j];
            k.stretch_diagonal[j] = one;
            k.side_force[j] = info.body[j].n = info.body[j].m = zero3<V>();
            k.side_own[j] = gradient->one_step ? info.limited[j] : Sym3<V>{};
            k.diagonal[j] = {one, one, one};
        }
        for (int i = 0; i < 3 + problem.num_lengths; i++) k.border_diagonal[i] = one;
        k.largest = one;
        info.body[0].n = right.turn[J];  // which moves the root as betas do, but is a force on the translation alone
        for (int c = 0; c < problem.num_columns; c++) info.corner_force[c] = c < problem.num_lengths ? right.length[c] : V{};
        for (int c = 0; c < problem.num_betas; c++) info.corner_force[c] -= dot(info.bone_motion[c], right.turn[J]);
        eliminate(tree, with, gradient->one_step ? V{} : one, W);
        if (problem.num_pairs) judge_pairs(tree, count_border(problem));
    }
    void respond(const Unknowns<V>& to) {  // prior H+^-1 of what `to` holds, H+ with the prior
        resolve(tree, to, W);
        substitute(tree);
        for (int j = 0; j < problem.J; j++) {
            to.turn[j] = factor.step[j] * -prior;
            if (problem.elastic[j]) to.stretch[j] = -(factor.stretch_step[j] * prior);
        }
        to.turn[problem.J] = moved() * -prior;
        for (int c = 0; c < problem.num_lengths; c++) to.length[c] = -(factor.border_step[3 + c] * prior);
    }
    Vec3<V> moved() const {
        return call->free_transl ? Vec3<V>{factor.border_step[0], factor.border_step[1], factor.border_step[2]} : zero3<V>();
    }
    void invert(const Unknowns<V>& right, const Unknowns<V>& to) {
        size_t n = to.count;
        V inverse = one / prior;
        to.clear();
        for (int i = 0; i < STEPS; i++) {
            for (size_t k = 0; k < n; k++) to[k] += right[k] * inverse;
            respond(to);
        }
        for (size_t k = 0; k < n; k++) unseen[k] = to[k];
        for (int i = 0; i < STEPS; i++) respond(unseen);
        for (size_t k = 0; k < n; k++) to[k] -= unseen[k];
    }
    void solve() {
        answer.clear();
        step_from(answer, prior);
        invert(loss, answer);
        if (pins) hold();
    }

    // ---- pins ----

    // The soft springs, whose ends lie where they pull as much as the stiff ones.
    void soften() {
        place(problem, frame);
        for (int i = 0; i < pins; i++) {
            V stiffness = V{}, *target = pinned->target + 3 * i, *weight = pinned->weight + 3 * i;
            Vec3<V> from = frame.place[pinned->source->index[i]];
            for (int l = 0; l < W; l++) {
                int64_t at = (first + (l < count ? l : 0)) * pins + i;
                lane(stiffness, l) = problem.read(gradient->pin_stiffness, at) / gradient->taut;
                for (int a = 0; a < 3; a++)
                    lane(((V*)&pin_force[i])[a], l) = problem.read(gradient->pin_force, 3 * at + a);
            }
            for (int a = 0; a < 3; a++) {
                V force = ((V*)&pin_force[i])[a];
                target[a] = ((V*)&from)[a] - select(stiffness > V{}, force / stiffness, V{});
                weight[a] = stiffness;
            }
        }
    }
    // How the unknowns move a pinned point.
    void find_pull(int i) {
        int point = pinned->source->index[i], C = problem.num_lengths, nb = problem.num_betas;
        for (int a = 0; a < 3; a++) {
            const Unknowns<V>& to = pull[3 * i + a];
            auto part = [&](Vec3<V> v) { return ((V*)&v)[a]; };
            V is_held = select(pinned->weight[3 * i] > V{}, one, V{});
            to.clear();
            if (call->free_transl) to.turn[problem.J] = axis_of<V>(a);
            for (int c = 0; c < nb; c++) to.length[c] = part(info.arm_motion[size_t(point) * nb + c]);
            for (int j = problem.point_joint[point]; j >= 0; j = problem.parent[j]) {
                Vec3<V> turn = mul_t(frame.global[j], cross(frame.place[point] - frame.joint[j], axis_of<V>(a)));
                const int* is_free = problem.is_free + 3 * j;
                to.turn[j] = {is_free[0] ? turn.x : V{}, is_free[1] ? turn.y : V{}, is_free[2] ? turn.z : V{}};
                for (int c = 0; c < nb; c++) to.length[c] += part(info.bone_motion[size_t(j) * C + c]);
                if (V* scale = scale_of(to, j)) *scale += part(info.stretch[j]);
            }
            for (size_t k = 0; k < to.count; k++) to[k] = to[k] * is_held;
        }
    }
    static V inner(const Unknowns<V>& x, const Unknowns<V>& y) {
        V sum = V{};
        for (size_t k = 0; k < x.count; k++) sum += x[k] * y[k];
        return sum;
    }
    // [H C'; C -D] [answer; grip] = [loss; 0], D the compliance of the rest of the stiffness.
    void hold() {
        int K = 3 * pins, S = K + 1;
        for (int k = 0; k < K; k++) {
            invert(pull[k], yield_[k]);
            for (int r = 0; r < K; r++) dense[r * S + k] = inner(pull[r], yield_[k]);
        }
        for (int k = 0; k < K; k++) {
            V rest = pinned->weight[k] * (gradient->taut - 1);
            dense[k * S + k] += one / select(rest > V{}, rest, one);
            dense[k * S + K] = inner(pull[k], answer);
        }
        solve_pivoted(dense, scalar, grip, K, W);
        for (int k = 0; k < K; k++)
            for (size_t i = 0; i < answer.count; i++) answer[i] -= yield_[k][i] * grip[k];
    }
    // The cost is that of the evidence without the pins, which their forces hold against.
    void push_cost() {
        int J = problem.J;
        for (int j = 0; j < J; j++) {
            loss.turn[j] = loss.turn[j] + factor.gradient[j] * by_cost;
            if (problem.elastic[j]) loss.stretch[j] += factor.stretch_gradient[j] * by_cost;
        }
        for (int a = 0; a < 3; a++) ((V*)&loss.turn[J])[a] += factor.border_gradient[a] * by_cost;
        for (int c = 0; c < problem.num_lengths; c++) loss.length[c] += factor.border_gradient[3 + c] * by_cost;
        for (int k = 0; k < 3 * pins; k++)
            for (size_t i = 0; i < loss.count; i++) loss[i] -= pull[k][i] * (((V*)pin_force)[k] * by_cost);
    }
    // Along z the forces on the pins change. The cost does not see them: what `of` adds for it is taken off here.
    void let_go() {
        for (int i = 0; i < pins; i++) {
            Vec3<V> change = Vec3<V>{grip[3 * i], grip[3 * i + 1], grip[3 * i + 2]} + pin_force[i] * by_cost;
            Vec3<D>& force = along.force[pinned->source->index[i]];
            force = force - dual(zero3<V>(), change);
        }
    }
    void collect_pins(const ikol_general_block_gradient& to) {
        for (int i = 0; i < pins; i++) {
            const Vec3<D>& at = along.place[pinned->source->index[i]];
            for (int a = 0; a < 3; a++) {
                int k = 3 * i + a;
                write(to.target, 3 * pins, k, grip[k] - pinned->weight[k] * ((const D*)&at)[a].b);
            }
        }
    }

    // ---- the place where it is taken, and the prior ----

    void look() {
        place(problem, frame);
        evaluate(problem, frame, &info, one, one);
        compose(tree);
        rest = V{};
        auto take = [&](V x) { rest = max_(rest, max_(x, -x)); };
        for (int j = 0; j < problem.J; j++) {
            take(factor.gradient[j].x); take(factor.gradient[j].y); take(factor.gradient[j].z);
            if (problem.elastic[j]) take(factor.stretch_gradient[j]);
        }
        for (int c = 0; c < 3 + problem.num_lengths; c++) take(factor.border_gradient[c]);
    }
    // A step towards the optimum for the lanes that are to go on; says whether any did.
    bool approach(Mask<V> goes_on, V with) {
        V before = rest;
        int J = problem.J, B = problem.B;
        old_transl = frame.transl;
        memcpy((void*)old_quat, (const void*)frame.quat, J * sizeof(Quat<V>));
        memcpy((void*)old_betas, (const void*)frame.betas, B * sizeof(V));
        memcpy((void*)old_scale, (const void*)frame.scale, J * sizeof(V));
        for (int j = 0; j < J; j++) {
            loss.turn[j] = factor.gradient[j];
            if (problem.elastic[j]) loss.stretch[j] = factor.stretch_gradient[j];
        }
        loss.turn[J] = {factor.border_gradient[0], factor.border_gradient[1], factor.border_gradient[2]};
        for (int c = 0; c < problem.num_lengths; c++) loss.length[c] = factor.border_gradient[3 + c];
        sharpen();
        step_from(loss, with);
        substitute(tree);
        Mask<V> goes = goes_on & factor.is_definite;
        V part = select(goes, one, V{});
        frame.transl = frame.transl + moved() * part;
        for (int j = 0; j < J; j++) {
            frame.quat[j] = turned_by(frame.quat[j], factor.step[j] * part);
            int group = problem.group_column[j];
            if (problem.elastic[j]) frame.scale[j] += factor.stretch_step[j] * part;
            else if (group >= 0) frame.scale[j] += factor.border_step[3 + group] * part;
        }
        for (int c = 0; c < problem.num_betas; c++) frame.betas[c] += factor.border_step[3 + c] * part;
        if (problem.num_betas) take_shape(problem, frame);
        look();
        Mask<V> is_better = goes & (rest < before), is_worse = none(is_better);
        if (any(is_worse)) {
            for (int j = 0; j < J; j++) {
                V *to = (V*)&frame.quat[j], *from = (V*)&old_quat[j];
                for (int c = 0; c < 4; c++) to[c] = select(is_worse, from[c], to[c]);
                frame.scale[j] = select(is_worse, old_scale[j], frame.scale[j]);
            }
            for (int c = 0; c < B; c++) frame.betas[c] = select(is_worse, old_betas[c], frame.betas[c]);
            frame.transl = pick(is_worse, old_transl, frame.transl);
            if (problem.num_betas) take_shape(problem, frame);
            look();
        }
        return any(is_better);
    }
    void settle() {
        look();
        V largest = factor.largest, seen = largest * LEAST_PART, wide = all<V>(1 / (LOOSE * LOOSE));
        V least = max_(select(seen < wide, seen, wide), largest * ROUNDING);
        has_minimum = V{} == V{};
        for (int i = 0; i < pins; i++) find_pull(i);
        if (gradient->one_step) {  // Gauss-Newton's matrix: a loss that is still made convex softens nothing
            prior = max_(least, rest * REST);
            evaluate(problem, frame, &info, one, all<V>(1 + 1e-12));
            return;
        }
        for (int i = 0; i < SETTLING && !pins; i++) {
            Mask<V> goes_on = rest * REST > least;
            if (!any(goes_on) || !approach(goes_on, max_(least, rest * REST))) break;
        }
        sharpen();
        prior = max_(least, rest * REST);
        loss.clear();
        for (int i = 0; i < TRIES; i++) {
            step_from(loss, prior * (1 / REST));
            has_minimum = factor.is_definite;
            if (!any(none(has_minimum))) break;
            if (i + 1 < TRIES) prior = select(has_minimum, prior, prior * TIGHTER);
        }
    }
    bool is_solved(int l) const { return l < count && gradient->status[first + l] == 0 && is_marked(has_minimum, l); }

    // ---- along z ----

    void go_along() {
        along.transl = dual(frame.transl, answer.turn[problem.J] * -one);
        for (int j = 0; j < problem.J; j++) {
            along.quat[j] = turned(frame.quat[j], answer.turn[j] * -one);
            const V* scale = scale_of(answer, j);
            along.scale[j] = {frame.scale[j], scale ? -*scale : V{}};
        }
        for (int c = 0; c < problem.B; c++) along.betas[c] = {frame.betas[c], c < problem.num_betas ? -answer.length[c] : V{}};
        take_shape(problem, along);
        place(problem, along);
        evaluate<D, V>(problem, along, nullptr, one, one);
        let_go();
    }
    // The gradient of the loss to an input, from that of the cost: its derivative along z, and through the cost itself.
    V of(D x) { return x.b + by_cost * x.a; }
    Vec3<V> of(Vec3<D> x) { return {of(x.x), of(x.y), of(x.z)}; }
    // To rest joints and points, betas and bone scales: through the forces on everything that they move.
    void collect_rest() {
        int J = problem.J, P = problem.P, B = problem.B;
        for (int j = 0; j < J; j++) {
            carried[j] = zero3<D>();
            rest_joint[j] = zero3<V>();
        }
        for (int c = 0; c < B; c++) rest_shape[c] = of(along.beta_force[c]);
        for (int p = 0; p < P; p++) {
            int j = problem.point_joint[p];
            carried[j] = carried[j] + along.force[p];
            Vec3<V> arm = of(mul_t(along.global[j], along.force[p]));
            rest_point[p] = arm;
            rest_joint[j] = rest_joint[j] - arm;
            add_shape(problem.arm_dirs + 3 * size_t(p) * B, arm);
        }
        for (int j = J - 1; j >= 0; j--) {
            int up = problem.parent[j];
            Vec3<D> force = carried[j];
            if (up >= 0) {
                carried[up] = carried[up] + force;
                force = mul_t(along.global[up], force);
            }
            rest_scale[j] = of(along.scale_force[j]);
            if (up >= 0) rest_scale[j] += of(dot(force, along.rest_bone[j]));
            if (problem.has_scale && up >= 0) force = force * along.scale[j];
            Vec3<V> bone = of(force);
            rest_joint[j] = rest_joint[j] + bone;
            if (up >= 0) rest_joint[up] = rest_joint[up] - bone;
            add_shape(problem.joint_dirs + 3 * size_t(j) * B, bone);
        }
    }
    void add_shape(const V* dirs, Vec3<V> bar) {
        int B = problem.B;
        for (int c = 0; c < B; c++) rest_shape[c] += dirs[c] * bar.x + dirs[B + c] * bar.y + dirs[2 * B + c] * bar.z;
    }

    // ---- to the inputs of the blocks ----
    void write(void* to, int64_t width, int64_t at, V value) {
        for (int l = 0; to && l < count; l++)
            problem.write(to, (first + l) * width + at, is_solved(l) ? lane(value, l) : 0);
    }
    // Rows e = f(state) - target: the gradient to the target is the negative pull, to a weight half the squared residual.
    D pull_of(const Block<V>& b, const D* e, int i, int rows, D* pull) {
        D squared, rho, weight, softening;
        for (int k = 0; k < rows; k++) squared += D(b.weight[i * rows + k]) * e[k] * e[k];
        robust<D>(b.source->loss, b.source->loss_width, one, squared, rho, weight, softening);
        for (int k = 0; k < rows; k++) pull[k] = D(b.weight[i * rows + k]) * e[k] * weight;
        return weight;
    }
    void write_rows(const Block<V>& b, const ikol_general_block_gradient& to, const D* e, int i, int rows, D* pull,
                    bool is_difference) {
        D weight = pull_of(b, e, i, rows, pull);
        for (int k = 0; k < rows; k++) {
            write(to.weight, int64_t(b.source->count) * rows, i * rows + k, of(weight * e[k] * e[k]) * 0.5);
            if (is_difference) write(to.target, int64_t(b.source->count) * rows, i * rows + k, -of(pull[k]));
        }
    }
    // To a rotation of which only (its transpose times another) counts, as 1/2 R [t]x: t by its own right perturbation.
    void write_rotation(const Block<V>& b, const ikol_general_block_gradient& to, int i, const Mat3<D>& R, Vec3<D> t) {
        D h = all<D>(0.5), zero = D{};
        Mat3<D> skew = {{zero, -(t.z * h), t.y * h}, {t.z * h, zero, -(t.x * h)}, {-(t.y * h), t.x * h, zero}}, out = mul(R, skew);
        for (int k = 0; k < 9; k++) write(to.target, 9 * int64_t(b.source->count), 9 * i + k, of(((D*)&out)[k]));
    }
    Vec3<D> log_row(const Block<V>& b, const ikol_general_block_gradient& to, int i, Quat<D> q) {
        D second, pull[3];
        Vec3<D> e = log_quat(q, second);
        const D rows[3] = {e.x, e.y, e.z};
        write_rows(b, to, rows, i, 3, pull, false);
        return mul_t(log_jacobian_rows(e, second), Vec3<D>{pull[0], pull[1], pull[2]});
    }
    void collect_block(const Block<V>& b, const ikol_general_block_gradient& to) {
        const ikol_general_block& s = *b.source;
        D total[16], e[3], pull[3];
        Vec3<D> origin = zero3<D>();
        if (s.kind == IKOL_RELATIVE)
            for (int q = 0; q < s.reference_count; q++) origin = origin + along.place[s.reference_index[q]] * D(b.constants[q]);
        for (int i = 0; i < s.count; i++) {
            int at = s.index ? s.index[i] : i;
            switch (s.kind) {
                case IKOL_POINTS_3D: {
                    Vec3<D> r = along.place[at] - lift<D>(b.target + 3 * i);
                    e[0] = r.x; e[1] = r.y; e[2] = r.z;
                    write_rows(b, to, e, i, 3, pull, true);
                    break;
                }
                case IKOL_RELATIVE: {
                    Mat3<D> axes = {lift<D>(b.frame), lift<D>(b.frame + 3), lift<D>(b.frame + 6)};
                    Vec3<D> x = along.place[at] - origin, r = mul(axes, x) - lift<D>(b.target + 3 * i);
                    e[0] = r.x; e[1] = r.y; e[2] = r.z;
                    write_rows(b, to, e, i, 3, pull, true);
                    const D along_x[3] = {x.x, x.y, x.z};
                    for (int k = 0; k < 9; k++) total[k] += pull[k / 3] * along_x[k % 3];
                    break;
                }
                case IKOL_POINTS_2D: collect_pixel(b, to, i, along.place[at], total); break;
                case IKOL_ORIENTATION: {
                    const V* t = b.target + 9 * i;
                    Mat3<D> reference = {lift<D>(t), lift<D>(t + 3), lift<D>(t + 6)}, apart = mul(transpose(reference), along.global[at]);
                    D q[4];
                    to_quat(apart, q);
                    Vec3<D> g = log_row(b, to, i, Quat<D>{q[0], q[1], q[2], q[3]});
                    write_rotation(b, to, i, reference, mul(apart, g) * all<D>(-1));
                    break;
                }
                case IKOL_ANCHOR: {
                    const V* t = b.target + 4 * i;
                    Quat<D> reference = {D(t[0]), D(t[1]), D(t[2]), D(t[3])}, apart = conjugate(reference) * along.quat[at];
                    Vec3<D> g = log_row(b, to, i, apart);
                    write_rotation(b, to, i, unit_to_rotmat(reference), mul(unit_to_rotmat(apart), g) * all<D>(-1));
                    break;
                }
                case IKOL_TWIST: {
                    TwistRow<D> row = twist_row(along.quat[at], lift<D>(b.constants + 3 * i));
                    e[0] = row.gate * wrapped(row.angle - D(b.target[i]));
                    write_rows(b, to, e, i, 1, pull, false);
                    write(to.target, s.count, i, -of(pull[0] * row.gate));
                    break;
                }
                case IKOL_SHAPE: case IKOL_BONES: {
                    e[0] = (s.kind == IKOL_SHAPE ? along.betas[i] : along.scale[i]) - D(b.target[i]);
                    write_rows(b, to, e, i, 1, pull, true);
                    break;
                }
                default: break;  // limits are constants
            }
        }
        int width = s.kind == IKOL_RELATIVE ? 9 : (s.kind == IKOL_POINTS_2D ? 16 : 0);
        for (int k = 0; k < width; k++) write(to.frame, width, k, of(total[k]));
    }
    void collect_pixel(const Block<V>& b, const ikol_general_block_gradient& to, int i, Vec3<D> place_, D (&total)[16]) {
        PixelRow<D> seen = project<D>(b.frame, place_);
        D pull[2], e[2] = {seen.u + D(b.frame[2]) - D(b.target[2 * i]), seen.v + D(b.frame[3]) - D(b.target[2 * i + 1])};
        write_rows(b, to, e, i, 2, pull, true);
        D fx = D(b.frame[0]), fy = D(b.frame[1]), zero = D{};
        D lack = all<D>(MIN_DEPTH) - seen.depth, nearness = seen.depth - all<D>(NEAR_DEPTH);
        D push = select((lack.a > V{}) & (b.weight[2 * i] > V{}), lack * DEPTH_WEIGHT, zero);
        // f x g + c with g = 1/z, and x, y, z the rows of the camera times the place
        D x = dot(lift<D>(b.frame + 4), place_) + D(b.frame[13]), y = dot(lift<D>(b.frame + 7), place_) + D(b.frame[14]);
        D g = seen.inverse + select(nearness.a < V{}, seen.inverse_slope * nearness, zero);
        D by_x = pull[0] * fx * g, by_y = pull[1] * fy * g, by_z = (pull[0] * fx * x + pull[1] * fy * y) * seen.inverse_slope - push;
        total[0] += pull[0] * x * g; total[1] += pull[1] * y * g;
        total[2] += pull[0]; total[3] += pull[1];
        const D at[3] = {place_.x, place_.y, place_.z}, by[3] = {by_x, by_y, by_z};
        for (int r = 0; r < 3; r++) {
            for (int k = 0; k < 3; k++) total[4 + 3 * r + k] += by[r] * at[k];
            total[13 + r] += by[r];
        }
    }
    void store() {
        int64_t J = problem.J, P = problem.P, B = problem.B;
        for (int64_t k = 0; k < 3 * J; k++) write(gradient->joints_template, 3 * J, k, ((V*)rest_joint)[k]);
        for (int64_t k = 0; k < 3 * P; k++) write(gradient->points_rest, 3 * P, k, ((V*)rest_point)[k]);
        for (int64_t k = 0; k < B; k++) write(gradient->betas, B, k, rest_shape[k]);
        for (int64_t k = 0; k < J; k++) write(gradient->bone_scale, J, k, rest_scale[k]);
        for (int i = 0; i < call->blocks; i++)
            if (&problem.block[i] == pinned) collect_pins(gradient->block[i]);
            else collect_block(problem.block[i], gradient->block[i]);
    }

    void load() {
        for (int i = 0; i < call->blocks; i++) {
            Block<V>& b = problem.block[i];
            for (int l = 0; l < W && !b.is_shared; l++) load_block(problem, b, first + (l < count ? l : 0), l, l + 1);
        }
        for (int l = 0; l < W; l++) load_state(problem, frame, first + (l < count ? l : 0), l);
    }
    void run() {
        for (int i = 0; i < call->blocks; i++) {
            Block<V>& b = problem.block[i];
            load_constants(problem, b, W);
            if (b.is_shared) load_block(problem, b, 0, 0, W);
        }
        int64_t end = call->first + call->frames;
        for (first = call->first; first < end; first += W) {
            count = end - first < W ? end - first : W;
            load();
            take_shape(problem, frame);
            if (pins) soften();
            settle();
            push();
            solve();
            go_along();
            collect_rest();
            store();
        }
    }
};

}  // namespace

#endif

// SPDX-License-Identifier: Apache-2.0
//
// Normal equations of the general solve without a matrix: composite sums for gradient and scales, elimination from the
// leaves up and substitution from the root down for a damped Newton step. Linear in the joints.
//
// Unknowns d: each joint's own rotation R <- R Exp(d), an elastic bone's scale; then the border: betas, groups of bones,
// references of relative rows; the root's translation comes last. A joint hands its parent the cost of all below it as a
// quadratic in the parent's displacement (see Body) and the border.
//
// To build on this: after `compose`, Factor.body[j] is the sum of all rows on joint j and below it, about joint j, in world
// axes (v, w): with S = [0; G] for a rotation and [I; 0] for the translation, and body[j] moved to joint i's origin as
// `hand_up` moves it, S_i' body[j] S_j is the block of the dense matrix for i at or above j, less the second-order part:
// Factor.bend[j] (as part of D of the body it belongs to) and half the cross product of a parent's turn and the joint's
// own with Factor.moment[j]. Rows on a joint's own rotation are in Information.own and .limited; relative rows are whole
// only after `replace_reference`, at the root. After `eliminate`, by_v, by_w, lead and by_border hold the factor:
// `substitute` with other leads solves for other right-hand sides.

#ifndef IKOL_GENERAL_FACTOR_H
#define IKOL_GENERAL_FACTOR_H

#include "general_pose.h"

namespace {

constexpr double LEAST_DIAGONAL = 1e-9;  // of the largest: what is seen less is scaled as if it were seen that much

template <class V> struct Factor {
    // of a state, by `compose`: gradients and diagonals of the Gauss-Newton matrix
    Sym3<V>* bend;        // (J) second-order part of all forces that the body carries
    Vec3<V>* moment;      // (J) torque of all forces below about the joint
    Vec3<V>*gradient, *diagonal;  // (J) of the joint's own rotation, its limits included
    V *stretch_gradient, *stretch_diagonal;  // (J)
    V *border_gradient, *border_diagonal;    // (3 + columns): translation first
    V largest;
    Mask<V> is_definite;  // of the last elimination: whether every pivot was positive
    // while sweeping
    Body<V>* body;        // (J)
    Vec3<V>*shift, *turn;  // (J, columns)
    V *corner, *corner_force;
    Vec3<V>* held;        // (columns) scratch
    // of the step, by `eliminate`: d = -(lead + by_v'v + by_w'w + by_border'theta)
    Mat3<V>*by_v, *by_w;  // (J) one row for each axis
    Sym3<V>* inverse;     // (J) of the pivots
    Vec3<V>* lead;        // (J)
    Vec3<V>* by_border;   // (J, columns)
    V *stretch_lead, *stretch_inverse;  // (J)
    Vec3<V>*stretch_by_v, *stretch_by_w;
    V* stretch_by_border;  // (J, columns)
    Sym3<V>* side_own;    // (J) information of the limits that the step meets
    Vec3<V>* side_force;  // (J)
    V *dense, *signs;     // (3 + columns, 3 + columns + 1), (3 + columns)^2
    double* scalar;       // the same for one lane
    // the step
    Vec3<V>* step;        // (J) of the joint's own rotation
    V* stretch_step;      // (J)
    V* border_step;       // (3 + columns)
    Vec3<V>*v, *w;        // (J) displacements

    void lay_out(Arena& arena, const Problem<V>& p) {
        size_t J = p.J, C = p.num_columns, N = 3 + C;
        arena.take(bend, J); arena.take(moment, J); arena.take(gradient, J); arena.take(diagonal, J);
        arena.take(stretch_gradient, J); arena.take(stretch_diagonal, J);
        arena.take(border_gradient, N); arena.take(border_diagonal, N);
        arena.take(body, J); arena.take(shift, J * C); arena.take(turn, J * C);
        arena.take(corner, C * C); arena.take(corner_force, C); arena.take(held, C);
        arena.take(by_v, J); arena.take(by_w, J); arena.take(inverse, J); arena.take(lead, J); arena.take(by_border, J * C);
        arena.take(stretch_lead, J); arena.take(stretch_inverse, J); arena.take(stretch_by_v, J); arena.take(stretch_by_w, J);
        arena.take(stretch_by_border, J * C);
        arena.take(side_own, J); arena.take(side_force, J);
        arena.take(dense, N * (N + 1)); arena.take(signs, p.num_pairs ? N * N : 0); arena.take(scalar, N * (N + 1));
        arena.take(step, J); arena.take(stretch_step, J); arena.take(border_step, N); arena.take(v, J); arena.take(w, J);
    }
};

template <class V> struct Tree {  // what the sweeps work on
    const Problem<V>* problem;
    const Frame<V>* frame;
    const Information<V>* info;
    Factor<V>* factor;
};

// A row with weight w along the axis t of a body's v: v = v' + sum t_c theta_c, for the border's columns [from, to).
template <class V> void raise(const Tree<V>& t, int j, const Vec3<V>* motion, int from, int to) {
    Factor<V>& k = *t.factor;
    int C = t.problem->num_columns;
    Body<V>& b = k.body[j];
    Vec3<V>*shift = k.shift + size_t(j) * C, *turn = k.turn + size_t(j) * C;
    for (int c = from; c < to; c++) {
        Vec3<V> m = motion[c];
        k.held[c] = mul(b.A, m);
        k.corner_force[c] += dot(m, b.n);
        for (int e = 0; e < C; e++) {
            V mixed = dot(m, shift[e]);
            k.corner[size_t(c) * C + e] += mixed;
            k.corner[size_t(e) * C + c] += mixed;
        }
    }
    for (int c = from; c < to; c++) {
        for (int e = from; e < to; e++) k.corner[size_t(c) * C + e] += dot(motion[c], k.held[e]);
        shift[c] = shift[c] + k.held[c];
        turn[c] = turn[c] + mul_t(b.B, motion[c]);
    }
}
template <class V> void raise_lengths(const Tree<V>& t, int j) {
    const Problem<V>& p = *t.problem;
    const Vec3<V>* motion = t.info->bone_motion + size_t(j) * p.num_lengths;
    if (p.num_betas) raise(t, j, motion, 0, p.num_betas);
    int c = p.group_column[j];
    if (c >= 0) raise(t, j, motion, c, c + 1);
}
template <class V> Vec3<V> reference_arm(const Frame<V>& f, const Block<V>& block) {  // from the root
    const ikol_general_block& s = *block.source;
    Vec3<V> arm = zero3<V>();
    for (int q = 0; q < s.reference_count; q++)
        arm = arm + (f.place[s.reference_index[q]] - f.joint[0]) * block.constants[q];
    return arm;
}
// How a beta moves the reference of a block that rides on the root, against the root.
template <class V> Vec3<V> reference_motion(const Tree<V>& t, const Block<V>& block, int c) {
    const Problem<V>& p = *t.problem;
    const Information<V>& info = *t.info;
    Vec3<V> motion = zero3<V>();
    for (int q = 0; q < block.source->reference_count; q++) {
        int point = block.source->reference_index[q], own = p.point_joint[point];
        Vec3<V> m = info.arm_motion[size_t(point) * p.num_betas + c];
        if (own) m = m + info.bone_motion[size_t(own) * p.num_lengths + c];
        motion = motion + m * block.constants[q];
    }
    return motion;
}
// Where the reference of a block rides on the root: its unknown place becomes the root's motion.
template <class V> void replace_reference(const Tree<V>& t, const Block<V>& block) {
    const Problem<V>& p = *t.problem;
    const Frame<V>& f = *t.frame;
    Factor<V>& k = *t.factor;
    int C = p.num_columns, at = block.column, nb = p.num_betas;
    V *corner = k.corner, *mine = corner + size_t(at) * C;
    Vec3<V> arm = reference_arm(f, block);
    for (int c = 0; c < nb; c++) k.held[c] = reference_motion(t, block, c);
    auto with = [&](int e) { return Vec3<V>{mine[e], mine[C + e], mine[2 * C + e]}; };  // the block's part of column e
    Vec3<V> q0 = with(at), q1 = with(at + 1), q2 = with(at + 2);
    Sym3<V> Q = {q0.x, q0.y, q0.z, q1.y, q1.z, q2.z};
    Vec3<V> force = {k.corner_force[at], k.corner_force[at + 1], k.corner_force[at + 2]};
    for (int c = 0; c < nb; c++) {
        Vec3<V> m = k.held[c];
        k.corner_force[c] += dot(m, force);
        k.shift[c] = k.shift[c] + k.shift[at] * m.x + k.shift[at + 1] * m.y + k.shift[at + 2] * m.z;
        k.turn[c] = k.turn[c] + k.turn[at] * m.x + k.turn[at + 1] * m.y + k.turn[at + 2] * m.z;
        for (int e = 0; e < C; e++) {
            if (e >= at && e < at + 3) continue;
            V mixed = dot(m, with(e));
            corner[size_t(c) * C + e] += mixed;
            corner[size_t(e) * C + c] += mixed;
        }
    }
    for (int c = 0; c < nb; c++) {
        Vec3<V> more = mul(Q, k.held[c]);
        for (int e = 0; e < nb; e++) corner[size_t(c) * C + e] += dot(more, k.held[e]);
    }
    for (int c = 0; c < nb; c++) {
        Vec3<V> more = mul(Q, k.held[c]);
        mine[c] += more.x; mine[C + c] += more.y; mine[2 * C + c] += more.z;
    }
    Body<V>& b = k.body[0];
    Vec3<V>*y = k.shift + at, *z = k.turn + at;
    b.A.xx += y[0].x + y[0].x + Q.xx; b.A.xy += y[0].y + y[1].x + Q.xy; b.A.xz += y[0].z + y[2].x + Q.xz;
    b.A.yy += y[1].y + y[1].y + Q.yy; b.A.yz += y[1].z + y[2].y + Q.yz; b.A.zz += y[2].z + y[2].z + Q.zz;
    Mat3<V> held = {{y[0].x + Q.xx, y[1].x + Q.xy, y[2].x + Q.xz}, {y[0].y + Q.xy, y[1].y + Q.yy, y[2].y + Q.yz},
                    {y[0].z + Q.xz, y[1].z + Q.yz, y[2].z + Q.zz}};
    b.B = {b.B.r0 + cross(arm, held.r0) + z[0], b.B.r1 + cross(arm, held.r1) + z[1], b.B.r2 + cross(arm, held.r2) + z[2]};
    // turn rows: Z (w x arm), twice, and (w x arm)' Q (w x arm)
    Mat3<V> zt = {z[0], z[1], z[2]}, half = cross_of(arm, Q);
    Mat3<V> rows = {column(zt, 0) + half.r0 * all<V>(0.5), column(zt, 1) + half.r1 * all<V>(0.5),
                    column(zt, 2) + half.r2 * all<V>(0.5)};
    Vec3<V> a0 = cross(arm, rows.r0), a1 = cross(arm, rows.r1), a2 = cross(arm, rows.r2);
    add(b.D, {a0.x + a0.x, a0.y + a1.x, a0.z + a2.x, a1.y + a1.y, a1.z + a2.y, a2.z + a2.z});
    b.n = b.n + force;
    b.m = b.m + cross(arm, force);
    for (int e = 0; e < C; e++) {
        if (e >= at && e < at + 3) continue;
        Vec3<V> m = with(e);
        k.shift[e] = k.shift[e] + m;
        k.turn[e] = k.turn[e] + cross(arm, m);
    }
}
template <class V> void add_link(const Tree<V>& t, int j) {  // w of the joint is w of its parent in what is handed up
    if (!t.problem->has_links) return;
    const Mat3<V>& l = t.info->link[j];
    add(t.factor->body[j].D, {l.r0.x + l.r0.x, l.r0.y + l.r1.x, l.r0.z + l.r2.x, l.r1.y + l.r1.y, l.r1.z + l.r2.y, l.r2.z + l.r2.z});
}
// Hand a body over to its parent, whose origin lies `bone` away: v = v_parent + w x bone.
template <class V> void hand_up(const Tree<V>& t, int j) {
    Factor<V>& k = *t.factor;
    const Body<V>& b = k.body[j];
    int up = t.problem->parent[j], C = t.problem->num_columns;
    Body<V>& to = k.body[up];
    Vec3<V> bone = t.frame->bone[j];
    add(to.A, b.A);
    Mat3<V> turned = cross_of(bone, b.A);  // its transpose is what the shift adds to B
    to.B = {to.B.r0 + b.B.r0 + column(turned, 0), to.B.r1 + b.B.r1 + column(turned, 1), to.B.r2 + b.B.r2 + column(turned, 2)};
    // D + [bone] (B + T/2) + transpose, T the transpose of `turned`
    V half = all<V>(0.5);
    Mat3<V> mean = {b.B.r0 + column(turned, 0) * half, b.B.r1 + column(turned, 1) * half, b.B.r2 + column(turned, 2) * half};
    Mat3<V> lever = {mean.r2 * bone.y - mean.r1 * bone.z, mean.r0 * bone.z - mean.r2 * bone.x, mean.r1 * bone.x - mean.r0 * bone.y};
    add(to.D, b.D);
    add(to.D, {lever.r0.x + lever.r0.x, lever.r0.y + lever.r1.x, lever.r0.z + lever.r2.x, lever.r1.y + lever.r1.y,
               lever.r1.z + lever.r2.y, lever.r2.z + lever.r2.z});
    to.n = to.n + b.n;
    to.m = to.m + b.m + cross(bone, b.n);
    for (int c = 0; c < C; c++) {
        Vec3<V> own = k.shift[size_t(j) * C + c];
        size_t at = size_t(up) * C + c;
        k.shift[at] = k.shift[at] + own;
        k.turn[at] = k.turn[at] + k.turn[size_t(j) * C + c] + cross(bone, own);
    }
}
template <class V> void begin_sweep(const Tree<V>& t) {
    size_t J = t.problem->J, C = t.problem->num_columns;
    const Information<V>& info = *t.info;
    Factor<V>& k = *t.factor;
    memcpy((void*)k.body, (const void*)info.body, J * sizeof(Body<V>));
    memcpy((void*)k.shift, (const void*)info.shift, J * C * sizeof(Vec3<V>));
    memcpy((void*)k.turn, (const void*)info.turn, J * C * sizeof(Vec3<V>));
    memcpy((void*)k.corner, (const void*)info.corner, C * C * sizeof(V));
    memcpy((void*)k.corner_force, (const void*)info.corner_force, C * sizeof(V));
}

// Gradient and diagonal of every unknown at a state, and the second-order parts of the forces.
template <class V> void compose(const Tree<V>& t) {
    const Problem<V>& p = *t.problem;
    const Frame<V>& f = *t.frame;
    const Information<V>& info = *t.info;
    Factor<V>& k = *t.factor;
    begin_sweep(t);
    V largest = V{}, zero = V{};
    for (int j = 0; j < p.J; j++) k.bend[j] = info.bend[j];
    for (int j = p.J - 1; j >= 0; j--) {
        Body<V>& b = k.body[j];
        if (j == 0)
            for (int i = 0; i < p.num_roots; i++) replace_reference(t, p.block[p.root_block[i]]);
        const Mat3<V>& G = f.global[j];
        k.moment[j] = b.m;
        Vec3<V> g = mul_t(G, b.m) + f.own[j] + f.limited[j], d;
        Sym3<V> K = info.own[j];
        add(K, info.limited[j]);
        Vec3<V> g0 = column(G, 0), g1 = column(G, 1), g2 = column(G, 2);
        d = {dot(g0, mul(b.D, g0)) + K.xx, dot(g1, mul(b.D, g1)) + K.yy, dot(g2, mul(b.D, g2)) + K.zz};
        const int* is_free = p.is_free + 3 * j;
        if (!is_free[0]) g.x = d.x = zero;
        if (!is_free[1]) g.y = d.y = zero;
        if (!is_free[2]) g.z = d.z = zero;
        k.gradient[j] = g;
        k.diagonal[j] = d;
        largest = max_(largest, max_(d.x, max_(d.y, d.z)));
        add_link(t, j);
        if (p.elastic[j]) {
            Vec3<V> u = info.stretch[j];
            k.stretch_gradient[j] = dot(u, b.n) + f.scale_force[j];
            k.stretch_diagonal[j] = dot(u, mul(b.A, u)) + info.scale_weight[j];
            largest = max_(largest, k.stretch_diagonal[j]);
        }
        raise_lengths(t, j);
        if (!j) break;
        Sym3<V>& carried = k.bend[p.parent[j]];
        if (!(is_free[0] | is_free[1] | is_free[2])) {  // it turns with its parent, where its part can be weighed
            add(carried, k.bend[j]);
            k.bend[j] = {};
        }
        Vec3<V> bone = f.bone[j], force = b.n;
        Sym3<V> bent = outer_sum(bone, force);
        V along = dot(bone, force);
        bent.xx -= along; bent.yy -= along; bent.zz -= along;
        add(carried, bent);
        hand_up(t, j);
    }
    const Body<V>& root = k.body[0];
    bool moves = p.call->free_transl;
    const V diagonal[3] = {root.A.xx, root.A.yy, root.A.zz}, force[3] = {root.n.x, root.n.y, root.n.z};
    for (int a = 0; a < 3; a++) {
        k.border_gradient[a] = moves ? force[a] : zero;
        k.border_diagonal[a] = moves ? diagonal[a] : zero;
        largest = max_(largest, k.border_diagonal[a]);
    }
    for (int c = 0; c < p.num_lengths; c++) {
        k.border_gradient[3 + c] = k.corner_force[c];
        k.border_diagonal[3 + c] = k.corner[size_t(c) * p.num_columns + c];
        largest = max_(largest, k.border_diagonal[3 + c]);
    }
    k.largest = select(largest > zero, largest, all<V>(1));
}

// Largest |g| / sqrt(H_ii): in standard deviations, whatever the unknown's unit.
template <class V> V gradient_norm(const Tree<V>& t) {
    const Problem<V>& p = *t.problem;
    const Factor<V>& k = *t.factor;
    V least = k.largest * LEAST_DIAGONAL, most = V{};
    auto take = [&](V gradient, V diagonal) { most = max_(most, gradient * gradient / max_(diagonal, least)); };
    for (int j = 0; j < p.J; j++) {
        take(k.gradient[j].x, k.diagonal[j].x); take(k.gradient[j].y, k.diagonal[j].y); take(k.gradient[j].z, k.diagonal[j].z);
        if (p.elastic[j]) take(k.stretch_gradient[j], k.stretch_diagonal[j]);
    }
    for (int c = 0; c < 3 + p.num_lengths; c++) take(k.border_gradient[c], k.border_diagonal[c]);
    return sqrt_(most);
}

constexpr double LEAST_SEEN = 1e-9;  // of the scale: with less, and no damping, an unknown is left out
// A pivot, or a tenth of the unknown's scale where it is less than any sum of squares with this damping would leave.
// Without damping the inverse of what nothing sees is 0.
template <class V> V sane(V pivot, V scale, V damping) {
    V raised = select(damping > V{}, scale * (damping + 0.1), all<V>(1e300));
    V least = select(damping > V{}, damping * 1e-3, all<V>(LEAST_SEEN));
    return select(pivot > least * scale, pivot, raised);
}
// Inverse of a symmetric 3x3 with sane pivots.
template <class V> Sym3<V> raised_inverse(const Sym3<V>& h, Vec3<V> scale, V damping) {
    V one = all<V>(1), d0 = one / sane(h.xx, scale.x, damping), l10 = h.xy * d0, l20 = h.xz * d0;
    V d1 = one / sane(h.yy - l10 * h.xy, scale.y, damping), s = h.yz - l20 * h.xy, l21 = s * d1;
    V d2 = one / sane(h.zz - l20 * h.xz - l21 * s, scale.z, damping), m20 = l10 * l21 - l20, b = m20 * d2, c = l21 * d2;
    return {d0 + l10 * l10 * d1 + m20 * b, -(l10 * d1) - l21 * b, b, d1 + l21 * c, -c, d2};
}
template <class V> Mask<V> is_definite(const Sym3<V>& h) {
    V p2 = h.xx * h.yy - h.xy * h.xy, s = h.xx * h.yz - h.xy * h.xz;
    // Schur complement of the last entry, times h.xx: everything stays a product of two pivots
    return (h.xx > V{}) & (p2 > V{}) & ((h.xx * h.zz - h.xz * h.xz) * p2 > s * s);
}
// P_lm = g_l' D g_m.
template <class V> Sym3<V> seen_along(const Mat3<V>& G, Vec3<V> d0, Vec3<V> d1, Vec3<V> d2) {
    Vec3<V> g0 = column(G, 0), g1 = column(G, 1), g2 = column(G, 2);
    return {dot(g0, d0), dot(g0, d1), dot(g0, d2), dot(g1, d1), dot(g1, d2), dot(g2, d2)};
}
template <class V> void hold(Sym3<V>& s, const int* is_free, V diagonal) {
    if (!is_free[0]) { s.xy = s.xz = V{}; s.xx = diagonal; }
    if (!is_free[1]) { s.xy = s.yz = V{}; s.yy = diagonal; }
    if (!is_free[2]) { s.xz = s.yz = V{}; s.zz = diagonal; }
}
// A joint's own rotation out of the cost of all that it carries. `use`: 1 where the second-order part is used.
template <class V> void eliminate_joint(const Tree<V>& t, int j, V damping, V use) {
    const Problem<V>& p = *t.problem;
    const Frame<V>& f = *t.frame;
    Factor<V>& k = *t.factor;
    const int* is_free = p.is_free + 3 * j;
    int C = p.num_columns;
    Body<V>& b = k.body[j];
    const Sym3<V>& bend = k.bend[j];
    if (!(is_free[0] | is_free[1] | is_free[2])) {
        k.by_v[j] = k.by_w[j] = Mat3<V>{};
        k.inverse[j] = {};
        k.lead[j] = zero3<V>();
        for (int c = 0; c < C; c++) k.by_border[size_t(j) * C + c] = zero3<V>();
        return;
    }
    const Mat3<V>& G = f.global[j];
    Vec3<V> g[3] = {column(G, 0), column(G, 1), column(G, 2)}, held[3], more[3];
    for (int l = 0; l < 3; l++) { held[l] = mul(b.D, g[l]); more[l] = mul(bend, g[l]); }
    V floor = k.largest * LEAST_DIAGONAL, one = all<V>(1);
    Vec3<V> scale = {max_(k.diagonal[j].x, floor), max_(k.diagonal[j].y, floor), max_(k.diagonal[j].z, floor)};
    Sym3<V> P = seen_along(G, held[0], held[1], held[2]), S = seen_along(G, more[0], more[1], more[2]);
    add(P, t.info->own[j]);
    add(P, k.side_own[j]);
    P.xx += damping * scale.x; P.yy += damping * scale.y; P.zz += damping * scale.z;
    add(P, {S.xx * use, S.xy * use, S.xz * use, S.yy * use, S.yz * use, S.zz * use});
    hold(P, is_free, one);
    add(b.D, {bend.xx * use, bend.xy * use, bend.xz * use, bend.yy * use, bend.yz * use, bend.zz * use});
    k.is_definite = k.is_definite & is_definite(P);
    Sym3<V> I = raised_inverse(P, scale, damping);
    Vec3<V> with_v[3], with_w[3], force = mul_t(G, b.m) + f.own[j] + k.side_force[j];
    V half = use * 0.5;
    for (int l = 0; l < 3; l++) {
        if (!is_free[l]) { with_v[l] = with_w[l] = zero3<V>(); continue; }
        with_v[l] = mul(b.B, g[l]);
        // turns do not commute: w_parent and d make half their cross product besides
        with_w[l] = held[l] + more[l] * use + cross(g[l], k.moment[j]) * half;
        if (p.has_links) with_w[l] = with_w[l] + mul(t.info->link[j], g[l]);
    }
    if (!is_free[0]) force.x = V{};
    if (!is_free[1]) force.y = V{};
    if (!is_free[2]) force.z = V{};
    Mat3<V> zv = {with_v[0] * I.xx + with_v[1] * I.xy + with_v[2] * I.xz, with_v[0] * I.xy + with_v[1] * I.yy + with_v[2] * I.yz,
                  with_v[0] * I.xz + with_v[1] * I.yz + with_v[2] * I.zz};
    Mat3<V> zw = {with_w[0] * I.xx + with_w[1] * I.xy + with_w[2] * I.xz, with_w[0] * I.xy + with_w[1] * I.yy + with_w[2] * I.yz,
                  with_w[0] * I.xz + with_w[1] * I.yz + with_w[2] * I.zz};
    Vec3<V> u = mul(I, force), minus[3] = {zv.r0 * -one, zv.r1 * -one, zv.r2 * -one};
    for (int l = 0; l < 3; l++) { add_outer(b.A, minus[l], with_v[l]); add_outer(b.B, minus[l], with_w[l]); }
    add_outer(b.D, zw.r0 * -one, with_w[0]); add_outer(b.D, zw.r1 * -one, with_w[1]); add_outer(b.D, zw.r2 * -one, with_w[2]);
    b.n = b.n - (with_v[0] * u.x + with_v[1] * u.y + with_v[2] * u.z);
    b.m = b.m - (with_w[0] * u.x + with_w[1] * u.y + with_w[2] * u.z);
    k.by_v[j] = zv; k.by_w[j] = zw; k.inverse[j] = I; k.lead[j] = u;
    Vec3<V>*shift = k.shift + size_t(j) * C, *turn = k.turn + size_t(j) * C, *by = k.by_border + size_t(j) * C;
    for (int c = 0; c < C; c++) {
        Vec3<V> U = mul_t(G, turn[c]);
        if (!is_free[0]) U.x = V{};
        if (!is_free[1]) U.y = V{};
        if (!is_free[2]) U.z = V{};
        k.held[c] = U;
        by[c] = mul(I, U);
        k.corner_force[c] -= dot(U, u);
    }
    for (int c = 0; c < C; c++) {
        Vec3<V> z = by[c];
        shift[c] = shift[c] - (with_v[0] * z.x + with_v[1] * z.y + with_v[2] * z.z);
        turn[c] = turn[c] - (with_w[0] * z.x + with_w[1] * z.y + with_w[2] * z.z);
        for (int e = 0; e < C; e++) k.corner[size_t(c) * C + e] -= dot(k.held[e], z);
    }
}
template <class V> void eliminate_stretch(const Tree<V>& t, int j, V damping) {
    Factor<V>& k = *t.factor;
    int C = t.problem->num_columns, nb = t.problem->num_betas;
    Body<V>& b = k.body[j];
    Vec3<V> u = t.info->stretch[j], with_v = mul(b.A, u), with_w = mul_t(b.B, u) + t.info->stretch_turn[j];
    V scale = max_(k.stretch_diagonal[j], k.largest * LEAST_DIAGONAL);
    V pivot = dot(u, with_v) + t.info->scale_weight[j] + damping * scale;
    k.is_definite = k.is_definite & (pivot > V{});
    pivot = sane(pivot, scale, damping);
    V inverse = all<V>(1) / pivot;
    V lead = (dot(u, b.n) + t.frame->scale_force[j]) * inverse;
    Vec3<V> zv = with_v * inverse, zw = with_w * inverse, minus = zv * all<V>(-1);
    add_outer(b.A, minus, with_v); add_outer(b.B, minus, with_w); add_outer(b.D, zw * all<V>(-1), with_w);
    b.n = b.n - with_v * lead;
    b.m = b.m - with_w * lead;
    k.stretch_lead[j] = lead; k.stretch_inverse[j] = inverse; k.stretch_by_v[j] = zv; k.stretch_by_w[j] = zw;
    Vec3<V>*shift = k.shift + size_t(j) * C, *turn = k.turn + size_t(j) * C;
    V* by = k.stretch_by_border + size_t(j) * C;
    for (int c = 0; c < C; c++) {
        V mixed = dot(u, shift[c]);
        if (c < nb) mixed += t.info->stretch_shape[size_t(j) * nb + c];
        by[c] = mixed * inverse;
        k.corner_force[c] -= by[c] * pivot * lead;
    }
    for (int c = 0; c < C; c++) {
        shift[c] = shift[c] - with_v * by[c];
        turn[c] = turn[c] - with_w * by[c];
        for (int e = 0; e < C; e++) k.corner[size_t(c) * C + e] -= by[c] * by[e] * pivot;
    }
}
// Translation and border: LDL' with raised pivots, in lanes.
template <class V> void factor_border(const Tree<V>& t, int N, V damping) {
    Factor<V>& k = *t.factor;
    V* H = k.dense;
    int S = N + 1;
    V floor = k.largest * LEAST_DIAGONAL;
    for (int i = 0; i < N; i++) {
        V scale = max_(k.border_diagonal[i], floor), inverse;
        V pivot = H[i * S + i] + damping * scale;
        k.is_definite = k.is_definite & (pivot > V{});
        H[i * S + i] = inverse = all<V>(1) / sane(pivot, scale, damping);
        for (int r = i + 1; r < N; r++) {
            V part = H[r * S + i] * inverse;
            for (int c = i + 1; c <= r; c++) H[r * S + c] -= part * H[c * S + i];
        }
    }
}
template <class V> void solve_border(const Tree<V>& t, int N) {
    Factor<V>& k = *t.factor;
    V* H = k.dense;
    int S = N + 1;
    for (int i = 0; i < N; i++)
        for (int r = i + 1; r < N; r++) H[r * S + N] -= H[r * S + i] * H[i * S + i] * H[i * S + N];
    for (int i = N - 1; i >= 0; i--) {
        V sum = H[i * S + N];
        for (int r = i + 1; r < N; r++) sum -= H[r * S + i] * k.border_step[r];
        k.border_step[i] = sum * H[i * S + i];
    }
}
// For systems that need not be definite: Gauss with pivots, one lane after the other. Of the matrix the lower triangle
// counts, the last column is the right-hand side; `a` is as large for one lane.
template <class V> void solve_pivoted(V* dense, double* a, V* solution, int N, int width) {
    int S = N + 1;
    for (int l = 0; l < width; l++) {
        for (int i = 0; i < N * S; i++) a[i] = lane(dense[i], l);
        for (int r = 0; r < N; r++)
            for (int c = r + 1; c < N; c++) a[r * S + c] = a[c * S + r];
        for (int i = 0; i < N; i++) {
            int best = i;
            for (int r = i + 1; r < N; r++)
                if (abs_(a[r * S + i]) > abs_(a[best * S + i])) best = r;
            for (int c = i; c < S && best != i; c++) {
                double swapped = a[i * S + c];
                a[i * S + c] = a[best * S + c];
                a[best * S + c] = swapped;
            }
            double pivot = a[i * S + i] != 0 ? a[i * S + i] : 1;
            for (int r = i + 1; r < N; r++) {
                double part = a[r * S + i] / pivot;
                for (int c = i; c < S; c++) a[r * S + c] -= part * a[i * S + c];
            }
        }
        for (int i = N - 1; i >= 0; i--) {
            double sum = a[i * S + N];
            for (int c = i + 1; c < N; c++) sum -= a[i * S + c] * a[c * S + N];
            a[i * S + N] = sum / (a[i * S + i] != 0 ? a[i * S + i] : 1);
            lane(solution[i], l) = a[i * S + N];
        }
    }
}
// Whether the border with references anywhere leaves a minimum: each force on a reference, a multiplier, has one negative
// pivot, and nothing else has (Sylvester). Eliminated are the translation, which holds forces, the forces, the references.
template <class V> void judge_pairs(const Tree<V>& t, int N) {
    const Problem<V>& p = *t.problem;
    Factor<V>& k = *t.factor;
    int S = N + 1, pairs = 3 + p.num_lengths, forces = 3 * p.num_pairs;
    auto place = [&](int i) {
        if (i < 3) return i;
        i -= 3;
        if (i < forces) return pairs + 6 * (i / 3) + 3 + i % 3;
        i -= forces;
        return i < forces ? pairs + 6 * (i / 3) + i % 3 : 3 + i - forces;
    };
    V *a = k.signs, negative = V{};
    for (int r = 0; r < N; r++)
        for (int c = 0; c <= r; c++) {
            int x = place(r), y = place(c);
            a[r * N + c] = x > y ? k.dense[x * S + y] : k.dense[y * S + x];
        }
    for (int i = 0; i < N; i++) {
        V pivot = a[i * N + i], inverse = all<V>(1) / select(pivot != V{}, pivot, all<V>(1));
        negative += select(pivot < V{}, all<V>(1), V{});
        for (int r = i + 1; r < N; r++) {
            V part = a[r * N + i] * inverse;
            for (int c = i + 1; c <= r; c++) a[r * N + c] -= part * a[c * N + i];
        }
    }
    k.is_definite = k.is_definite & (negative < all<V>(forces + 0.5));
}
// The unknowns of the border: translation, lengths, references anywhere; those on the root are gone.
template <class V> int count_border(const Problem<V>& p) { return 3 + p.num_lengths + 6 * p.num_pairs; }
template <class V> int border_source(const Problem<V>& p, int i) {  // the column behind one beyond the translation
    i -= 3;
    return i < p.num_lengths ? i : p.pair_column[(i - p.num_lengths) / 6] + (i - p.num_lengths) % 6;
}
// The steps of the border from the forces that have come up to it.
template <class V> void step_border(const Tree<V>& t, int width) {
    const Problem<V>& p = *t.problem;
    Factor<V>& k = *t.factor;
    int N = count_border(p), S = N + 1;
    Vec3<V> n = k.body[0].n;
    if (!p.call->free_transl) n = zero3<V>();
    k.dense[N] = -n.x; k.dense[S + N] = -n.y; k.dense[2 * S + N] = -n.z;
    for (int r = 3; r < N; r++) k.dense[r * S + N] = -k.corner_force[border_source(p, r)];
    if (p.num_pairs) solve_pivoted(k.dense, k.scalar, k.border_step, N, width);  // references anywhere
    else solve_border(t, N);
    // to the order of the columns; from the back, each goes up or stays
    for (int i = N - 1; i >= 3 + p.num_lengths; i--) k.border_step[3 + border_source(p, i)] = k.border_step[i];
}
// The damped step: (H + damping D) step = -gradient, where side_own and side_force stand for the limits.
template <class V> void eliminate(const Tree<V>& t, V damping, V use, int width) {
    const Problem<V>& p = *t.problem;
    Factor<V>& k = *t.factor;
    int C = p.num_columns;
    begin_sweep(t);
    k.is_definite = V{} == V{};
    for (int j = p.J - 1; j >= 0; j--) {
        if (j == 0)
            for (int i = 0; i < p.num_roots; i++) replace_reference(t, p.block[p.root_block[i]]);
        eliminate_joint(t, j, damping, use);
        add_link(t, j);
        if (p.elastic[j]) eliminate_stretch(t, j, damping);
        raise_lengths(t, j);
        if (j) hand_up(t, j);
    }
    int N = count_border(p), S = N + 1;
    const Body<V>& root = k.body[0];
    bool moves = p.call->free_transl;
    V* H = k.dense;
    const V A[3][3] = {{root.A.xx, root.A.xy, root.A.xz}, {root.A.xy, root.A.yy, root.A.yz}, {root.A.xz, root.A.yz, root.A.zz}};
    for (int r = 0; r < 3; r++)
        for (int c = 0; c <= r; c++) H[r * S + c] = moves ? A[r][c] : all<V>(r == c);
    for (int r = 3; r < N; r++) {
        int from = border_source(p, r);
        Vec3<V> y = k.shift[from];
        H[r * S] = moves ? y.x : V{}; H[r * S + 1] = moves ? y.y : V{}; H[r * S + 2] = moves ? y.z : V{};
        for (int c = 3; c <= r; c++) H[r * S + c] = k.corner[size_t(from) * C + border_source(p, c)];
    }
    if (!p.num_pairs) factor_border(t, N, damping);
    else
        for (int i = 0; i < 3 + p.num_lengths; i++)
            H[i * S + i] += damping * max_(k.border_diagonal[i], k.largest * LEAST_DIAGONAL);
    step_border(t, width);
}
// A number for each unknown.
template <class V> struct Unknowns {
    Vec3<V>* turn;  // (J + 1) of each joint's own rotation, and the translation
    V* length;      // (lengths) of the border
    V* stretch;     // (J) of elastic bones, where there are any
    size_t count;   // of all, one after the other

    void lay_out(Arena& arena, const Problem<V>& p) {
        size_t turns = 3 * size_t(p.J) + 3;
        V* all_of_them;
        count = turns + p.num_lengths;
        for (int j = 0; j < p.J; j++)
            if (p.elastic[j]) { count += p.J; break; }
        arena.take(all_of_them, count);
        turn = (Vec3<V>*)all_of_them;
        length = all_of_them + turns;
        stretch = length + p.num_lengths;
    }
    V& operator[](size_t i) const { return ((V*)turn)[i]; }
    void clear() const { memset((void*)turn, 0, count * sizeof(V)); }
};
// The same with other forces, on the unknowns themselves, by the factor that is there.
template <class V> void resolve(const Tree<V>& t, const Unknowns<V>& right, int width) {
    const Problem<V>& p = *t.problem;
    const Frame<V>& f = *t.frame;
    Factor<V>& k = *t.factor;
    int C = p.num_columns;
    for (int j = 0; j < p.J; j++) k.body[j].n = k.body[j].m = zero3<V>();
    for (int c = 0; c < C; c++) k.corner_force[c] = c < p.num_lengths ? right.length[c] : V{};
    for (int j = p.J - 1; j >= 0; j--) {
        Body<V>& b = k.body[j];
        if (j == 0) {
            for (int i = 0; i < p.num_roots; i++) {
                const Block<V>& block = p.block[p.root_block[i]];
                const V* c = k.corner_force + block.column;
                Vec3<V> force = {c[0], c[1], c[2]};
                b.n = b.n + force;
                b.m = b.m + cross(reference_arm(f, block), force);
                for (int e = 0; e < p.num_betas; e++) k.corner_force[e] += dot(reference_motion(t, block, e), force);
            }
        }
        const int* is_free = p.is_free + 3 * j;
        const Mat3<V>&zv = k.by_v[j], &zw = k.by_w[j];
        Vec3<V> force = mul_t(f.global[j], b.m) + right.turn[j];
        if (!is_free[0]) force.x = V{};
        if (!is_free[1]) force.y = V{};
        if (!is_free[2]) force.z = V{};
        k.lead[j] = mul(k.inverse[j], force);
        b.n = b.n - mul_t(zv, force);
        b.m = b.m - mul_t(zw, force);
        for (int c = 0; c < C; c++) k.corner_force[c] -= dot(k.by_border[size_t(j) * C + c], force);
        if (p.elastic[j]) {
            V along = dot(t.info->stretch[j], b.n) + right.stretch[j];
            k.stretch_lead[j] = along * k.stretch_inverse[j];
            b.n = b.n - k.stretch_by_v[j] * along;
            b.m = b.m - k.stretch_by_w[j] * along;
            for (int c = 0; c < C; c++) k.corner_force[c] -= k.stretch_by_border[size_t(j) * C + c] * along;
        }
        const Vec3<V>* motion = t.info->bone_motion + size_t(j) * p.num_lengths;
        for (int c = 0; c < p.num_lengths; c++)
            if (c < p.num_betas || c == p.group_column[j]) k.corner_force[c] += dot(motion[c], b.n);
        if (!j) break;
        Body<V>& to = k.body[p.parent[j]];
        to.n = to.n + b.n;
        to.m = to.m + b.m + cross(f.bone[j], b.n);
    }
    k.body[0].n = k.body[0].n + right.turn[p.J];
    step_border(t, width);
}
template <class V> void move_reference(const Tree<V>& t, const Block<V>& block) {  // with the root, which has moved
    const Problem<V>& p = *t.problem;
    const Frame<V>& f = *t.frame;
    Factor<V>& k = *t.factor;
    const ikol_general_block& s = *block.source;
    Vec3<V> sum = k.v[0];
    for (int q = 0; q < s.reference_count; q++) {
        int point = s.reference_index[q], own = p.point_joint[point];
        Vec3<V> m = cross(k.w[0], f.place[point] - f.joint[0]);
        for (int c = 0; c < p.num_betas; c++) {
            m = m + t.info->arm_motion[size_t(point) * p.num_betas + c] * k.border_step[3 + c];
            if (own) m = m + t.info->bone_motion[size_t(own) * p.num_lengths + c] * k.border_step[3 + c];
        }
        sum = sum + m * block.constants[q];
    }
    V* to = k.border_step + 3 + block.column;
    to[0] = sum.x; to[1] = sum.y; to[2] = sum.z;
}
// From the root down: all displacements and the step of every unknown.
template <class V> void substitute(const Tree<V>& t) {
    const Problem<V>& p = *t.problem;
    const Frame<V>& f = *t.frame;
    const Information<V>& info = *t.info;
    Factor<V>& k = *t.factor;
    int C = p.num_columns, nl = p.num_lengths;
    V* theta = k.border_step + 3;
    for (int i = 0; i < p.num_roots; i++)  // the root itself does not see them any more
        for (int a = 0; a < 3; a++) theta[p.block[p.root_block[i]].column + a] = V{};
    for (int j = 0; j < p.J; j++) {
        int up = p.parent[j];
        Vec3<V> v = up < 0 ? Vec3<V>{k.border_step[0], k.border_step[1], k.border_step[2]} : k.v[up] + cross(k.w[up], f.bone[j]);
        Vec3<V> w = up < 0 ? zero3<V>() : k.w[up];
        const Vec3<V>* motion = info.bone_motion + size_t(j) * nl;
        for (int c = 0; c < p.num_betas; c++) v = v + motion[c] * theta[c];
        int group = p.group_column[j];
        if (group >= 0) v = v + motion[group] * theta[group];
        if (p.elastic[j]) {
            V s = k.stretch_lead[j] + dot(k.stretch_by_v[j], v) + dot(k.stretch_by_w[j], w);
            for (int c = 0; c < C; c++) s += k.stretch_by_border[size_t(j) * C + c] * theta[c];
            k.stretch_step[j] = -s;
            v = v - info.stretch[j] * s;
        }
        Vec3<V> d = k.lead[j] + mul(k.by_v[j], v) + mul(k.by_w[j], w);
        for (int c = 0; c < C; c++) d = d + k.by_border[size_t(j) * C + c] * theta[c];
        d = d * all<V>(-1);
        k.step[j] = d;
        k.v[j] = v;
        k.w[j] = w + mul(f.global[j], d);
        for (int i = 0; j == 0 && i < p.num_roots; i++) move_reference(t, p.block[p.root_block[i]]);
    }
}

}  // namespace

#endif

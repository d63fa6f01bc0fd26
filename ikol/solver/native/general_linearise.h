// SPDX-License-Identifier: Apache-2.0
//
// Dense normal equations of each frame, for those who couple frames: J'WJ and J'Wr of the general solve's rows.
//
// Rows become parts of their bodies, bodies are summed over the subtree of each joint (composite rigid bodies), and the
// block of two joints comes from the sum of the lower one, moved up to the other. Rows that are measured from the mean
// of other points couple all bodies; they enter as rows on the points alone and are corrected by a product of rank 6.
//
// Columns: translation, three for each joint (right perturbations), whether they are free or not. Betas and bone scales
// are held. Robust rows are only reweighted. What ties frames to each other: tree_linearise.cpp.

#ifndef IKOL_GENERAL_LINEARISE_H
#define IKOL_GENERAL_LINEARISE_H

#include "general_pose.h"

// What ties frames to each other, and points to the floor. Row r speaks of the frames r, r + 1 ... r + width - 1.
enum ikol_link_kind {
    IKOL_POINT_LINK = 0,     // sum_k stencil_k x_{r + k} of points
    IKOL_ROTATION_LINK = 1,  // stencil_2 Log(R_{r+1}' R_{r+2}) - stencil_0 Log(R_r' R_{r+1}) of all joints; width 3
    IKOL_FLOOR = 2           // up . x - height of points; width 1
};
struct ikol_link {
    int32_t kind, loss, count, width;
    double loss_width;
    const int32_t* index;            // (count) points; null for rotations
    const double *weight, *stencil;  // (rows, count), or one row for all (stride 0); (rows, width), null for a floor
    int64_t weight_stride;
    double up[3], height, below;  // of a floor: `below` adds to the weight of what is under it
};

// What is asked for besides the call, whose outputs are not written to. The call's frames are those that are wanted.
struct ikol_linearise {
    int32_t links, reach, with_bending, unused;
    int64_t begin, end;  // of all frames that count: rows that touch others are left out
    int64_t origin;      // the frame that outputs begin with
    double convexity;
    const ikol_link* link;
    double* cost;                 // out or null: (frames) each frame's own and that of the rows that begin with it
    // out or null, both: (frames) rows of `reach` blocks, of the first one the upper triangle; (frames, 3 + 3 joints)
    double *hessian, *gradient;
    double* limits;               // out or null: (frames, limited joints, 18), see Block
    int64_t hessian_frame, hessian_row;  // strides
};

namespace {

constexpr int MOST_WIDTH = 3;

inline bool is_valid(const ikol_link& k, const ikol_general_call& c) {
    if (k.kind < IKOL_POINT_LINK || k.kind > IKOL_FLOOR || k.loss < 0 || k.loss > GEMAN_MCCLURE) return false;
    if (k.loss && !(k.loss_width > 0 && k.loss_width < 1e300)) return false;
    if (k.kind == IKOL_FLOOR ? k.width != 1 : !k.stencil || k.width < 1 || k.width > MOST_WIDTH) return false;
    if (k.weight_stride < 0 || (k.count && !k.weight)) return false;
    if (k.kind == IKOL_ROTATION_LINK) return k.width == 3 && k.count == c.joints;
    return k.count >= 0 && k.count <= MAX_POINTS && in_range(k.index, k.count, c.points);
}
inline bool is_valid(const ikol_linearise& to, const ikol_general_call& c) {
    if (!(to.convexity >= 1) || c.solve_shape || c.bone_groups || (!to.hessian != !to.gradient)) return false;
    int64_t columns = 3 + 3 * int64_t(c.joints);
    if (to.reach < 1 || to.reach > MOST_WIDTH || to.links < 0 || to.links > MAX_BLOCKS) return false;
    if (to.hessian && (to.hessian_row < to.reach * columns || to.hessian_frame < columns)) return false;
    if (to.begin < 0 || c.first < to.begin || c.first + c.frames > to.end || c.first < to.origin) return false;
    for (int i = 0; i < to.links; i++)
        if (!is_valid(to.link[i], c)) return false;
    return true;
}

template <class V> Mat3<V> crossed(Vec3<V> s, const Mat3<V>& m) {  // [s]x M
    return {m.r2 * s.y - m.r1 * s.z, m.r0 * s.z - m.r2 * s.x, m.r1 * s.x - m.r0 * s.y};
}
template <class V> Mat3<V> full(const Sym3<V>& s) { return {{s.xx, s.xy, s.xz}, {s.xy, s.yy, s.yz}, {s.xz, s.yz, s.zz}}; }
template <class V> Mat3<V> operator+(const Mat3<V>& a, const Mat3<V>& b) { return {a.r0 + b.r0, a.r1 + b.r1, a.r2 + b.r2}; }
template <class V> Sym3<V> half_sum(const Mat3<V>& m) {  // (m + m') / 2
    V h = all<V>(0.5);
    return {m.r0.x, (m.r0.y + m.r1.x) * h, (m.r0.z + m.r2.x) * h, m.r1.y, (m.r1.z + m.r2.y) * h, m.r2.z};
}

template <int W> struct Linearise {
    typedef typename Register<double, W>::V V;

    const ikol_linearise* to;
    const ikol_general_call* call;
    Problem<V> problem;
    Frame<V> frame;
    Information<V> info;
    int n;
    Mat3<V>* moment;     // (J) sum of (place - joint) force' over the points on and below a joint
    V *dense, *gradient;  // (n, n) the upper triangle, (n)
    V* columns;          // (C, n) of the border: for each relative block what its points' rows see (3), its reference (3)
    int32_t* is_carrier;  // (blocks, J) whether a reference hangs on the joint
    int64_t first, count;
    const double* extra;  // (frames from `extra_first` on, extras, 9): information xx xy xz yy yz zz, force; world
    const int32_t* extra_points;
    int64_t extra_first;
    int extras;

    void begin(const ikol_general_call* the_call, const ikol_linearise* the_output, Block<V>* blocks) {
        call = the_call;
        to = the_output;
        problem.call = call;
        problem.J = call->joints; problem.P = call->points; problem.B = call->betas;
        problem.parent = call->parents; problem.point_joint = call->point_joints;
        problem.block = blocks;
        n = 3 + 3 * call->joints;
    }
    void lay_out(Arena& arena) {
        problem.lay_out(arena);
        frame.lay_out(arena, problem.J, problem.P, problem.B);
        arena.take(moment, problem.J);
        arena.take(dense, size_t(n) * n); arena.take(gradient, n);
        arena.take(is_carrier, size_t(call->blocks) * problem.J);
    }
    // The solve's tables, with all relative rows in the border and every arm counted, however short.
    void tables() {
        make_tables(problem);
        problem.has_links = false;
        problem.num_columns = problem.num_pairs = problem.num_roots = 0;
        for (int p = 0; p < problem.P; p++) problem.is_center[p] = 0;
        for (int i = 0; i < call->blocks; i++) {
            Block<V>& b = problem.block[i];
            if (b.source->kind != IKOL_RELATIVE) continue;
            b.route = ON_ROOT;
            b.column = problem.num_columns;
            problem.num_columns += 6;
            for (int q = 0; q < b.source->reference_count; q++)
                for (int j = problem.point_joint[b.source->reference_index[q]]; j >= 0; j = problem.parent[j])
                    is_carrier[size_t(i) * problem.J + j] = 1;
        }
    }
    void lay_out_border(Arena& arena) {  // once the number of columns is known
        info.lay_out(arena, problem);
        arena.take(columns, size_t(problem.num_columns) * n);
    }

    // ---- sums over subtrees ----

    void add_extras() {
        for (int e = 0; e < extras; e++) {
            V x[9];
            for (int l = 0; l < W; l++) {
                const double* from = extra + (size_t(first - extra_first + (l < count ? l : 0)) * extras + e) * 9;
                for (int k = 0; k < 9; k++) lane(x[k], l) = from[k];
            }
            Sym3<V> C = {x[0], x[1], x[2], x[3], x[4], x[5]};
            int joint = problem.point_joint[extra_points[e]];
            Vec3<V> force = {x[6], x[7], x[8]}, arm = frame.arm[extra_points[e]];
            Body<V>& body = info.body[joint];
            Mat3<V> turned = cross_of(arm, C);
            add(body.A, C);
            body.B = body.B + transpose(turned);
            add_turned(body.D, turned, arm);
            body.n = body.n + force;
            body.m = body.m + cross(arm, force);
            add_outer(moment[joint], arm, force);
        }
    }
    void add_references() {
        size_t C = problem.num_columns;
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            if (b.source->kind != IKOL_RELATIVE) continue;
            for (int q = 0; q < b.source->reference_count; q++) {
                int p = b.source->reference_index[q];
                size_t at = problem.point_joint[p] * C + b.column + 3;
                for (int k = 0; k < 3; k++) {
                    Vec3<V> line = axis_of<V>(k) * b.constants[q];
                    info.shift[at + k] = info.shift[at + k] + line;
                    info.turn[at + k] = info.turn[at + k] + cross(frame.arm[p], line);
                }
            }
        }
    }
    void sum_below() {
        size_t C = problem.num_columns;
        memset((void*)moment, 0, problem.J * sizeof(Mat3<V>));
        for (int p = 0; p < problem.P; p++) add_outer(moment[problem.point_joint[p]], frame.arm[p], frame.force[p]);
        add_extras();
        add_references();
        for (int j = problem.J - 1; j > 0; j--) {
            int up = problem.parent[j];
            const Body<V>& own = info.body[j];
            Body<V>& above = info.body[up];
            Vec3<V> s = frame.bone[j];
            Mat3<V> B = own.B + transpose(cross_of(s, own.A));  // B - A [s]
            add(above.A, own.A);
            above.B = above.B + B;
            Mat3<V> D = full(own.D) + crossed(s, B) + transpose(crossed(s, own.B));
            add(above.D, half_sum(D));
            above.n = above.n + own.n;
            above.m = above.m + own.m + cross(s, own.n);
            moment[up] = moment[up] + moment[j];
            add_outer(moment[up], s, own.n);
            for (size_t c = 0; c < C; c++) {
                Vec3<V> shift = info.shift[j * C + c];
                info.shift[up * C + c] = info.shift[up * C + c] + shift;
                info.turn[up * C + c] = info.turn[up * C + c] + info.turn[j * C + c] + cross(s, shift);
            }
        }
    }

    // ---- blocks ----

    void put_block(int row, int at, const Mat3<V>& m) {
        const Vec3<V>* rows = &m.r0;
        for (int a = 0; a < 3; a++) put_three(dense + size_t(row + a) * n + at, rows[a]);
    }
    void put_three(V* line, Vec3<V> v) { line[0] = v.x; line[1] = v.y; line[2] = v.z; }
    void fill() {
        const Frame<V>& f = frame;
        size_t C = problem.num_columns;
        memset((void*)dense, 0, size_t(n) * n * sizeof(V));
        put_block(0, 0, full(info.body[0].A));
        put_three(gradient, info.body[0].n);
        for (size_t c = 0; c < C; c++) put_three(columns + c * n, info.shift[c]);
        for (int j = 0; j < problem.J; j++) {
            const Body<V>& own = info.body[j];
            const Mat3<V>& G = f.global[j];
            int at = 3 + 3 * j;
            put_three(gradient + at, mul_t(G, own.m) + f.own[j] + f.limited[j]);
            for (size_t c = 0; c < C; c++) put_three(columns + c * n + at, mul_t(G, info.turn[j * C + c]));
            Mat3<V> pushed = mul(own.B, G), turned = mul(full(own.D), G), bent = {};
            if (to->with_bending) {  // w_i' (r f' - (r . f) I) w_j
                Mat3<V> r = moment[j];
                V trace = r.r0.x + r.r1.y + r.r2.z;
                r.r0.x -= trace; r.r1.y -= trace; r.r2.z -= trace;
                bent = mul(r, G);
            }
            Sym3<V> diagonal = half_sum(mul(transpose(G), turned + bent));
            add(diagonal, info.own[j]);
            add(diagonal, info.limited[j]);
            put_block(at, at, full(diagonal));
            put_block(0, at, pushed);
            for (int below = j, up = problem.parent[j]; up >= 0; below = up, up = problem.parent[up]) {
                turned = turned + crossed(f.bone[below], pushed);
                put_block(3 + 3 * up, at, mul(transpose(f.global[up]), turned + bent));
            }
        }
    }
    // Rows on x_p - x_reference were entered as rows on x_p. With C their information, J and J_r the Jacobians:
    // sum (J - J_r)' C (J - J_r) = sum J'CJ - J_r'Y - Y'J_r with Y = sum CJ - 1/2 (sum C) J_r.
    void subtract_references() {
        size_t C = problem.num_columns;
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            if (b.source->kind != IKOL_RELATIVE) continue;
            V *held = columns + size_t(b.column) * n, *reference = held + 3 * n;
            for (int c = 0; c < n; c++)
                for (int k = 0; k < 3; k++) {  // the border has -C
                    const V* corner = info.corner + (b.column + k) * C + b.column;
                    V sum = corner[0] * reference[c] + corner[1] * reference[n + c] + corner[2] * reference[2 * n + c];
                    held[k * n + c] = -held[k * n + c] - sum * 0.5;
                }
            for (int r = 0; r < n; r++) {
                if (r >= 3 && !is_carrier[size_t(i) * problem.J + r / 3 - 1]) continue;
                V x = reference[r], y = reference[n + r], z = reference[2 * n + r];
                for (int c = 0; c <= r; c++)
                    dense[size_t(c) * n + r] -= x * held[c] + y * held[n + c] + z * held[2 * n + c];
                for (int c = r; c < n; c++)
                    dense[size_t(r) * n + c] -= x * held[c] + y * held[n + c] + z * held[2 * n + c];
            }
        }
    }
    void store() {
        constexpr int TILE = 8;  // columns that are read lane by lane while they are near
        for (int l = 0; l < count; l++)
            for (int c = 0; c < n; c++) to->gradient[(first + l - to->origin) * n + c] = lane(gradient[c], l);
        for (int r = 0; r < n; r++)
            for (int c = r; c < n; c += TILE)
                for (int l = 0; l < count; l++) {
                    double* line = to->hessian + (first + l - to->origin) * to->hessian_frame + r * to->hessian_row;
                    for (int k = c; k < n && k < c + TILE; k++) line[k] = lane(dense[size_t(r) * n + k], l);
                }
    }
    void store_limits() {
        int64_t groups = 0, before = 0;
        for (int i = 0; i < call->blocks; i++)
            if (call->block[i].kind == IKOL_LIMITS) groups += call->block[i].count;
        for (int i = 0; i < call->blocks; i++) {
            if (call->block[i].kind != IKOL_LIMITS) continue;
            int64_t size = 18 * int64_t(call->block[i].count);
            for (int l = 0; l < count; l++) {
                double* out = to->limits + (first + l - to->origin) * 18 * groups + before;
                for (int64_t k = 0; k < size; k++) out[k] = lane(problem.block[i].limits[k], l);
            }
            before += size;
        }
    }
    // Once, before anything else.
    void prepare() {
        for (int i = 0; i < call->blocks; i++) {
            Block<V>& b = problem.block[i];
            load_constants(problem, b, W);
            if (b.is_shared) load_block(problem, b, 0, 0, W);
        }
    }
    // Frames from `first_` on, up to a register of them: where everything is,
    void locate(int64_t first_, int64_t count_) {
        first = first_;
        count = count_;
        for (int l = 0; l < W; l++) load_state(problem, frame, first + (l < count ? l : 0), l);
        take_shape(problem, frame);
        place(problem, frame);
    }
    // then what it costs,
    void judge() {
        for (int i = 0; i < call->blocks; i++) {
            Block<V>& b = problem.block[i];
            for (int l = 0; l < W && !b.is_shared; l++) load_block(problem, b, first + (l < count ? l : 0), l, l + 1);
        }
        // a loss that is not yet itself is only reweighted by `robust`: that is wanted here for the loss itself as well
        V convexity = all<V>(to->convexity > 1 ? to->convexity : 1 + 1e-15);
        evaluate(problem, frame, &info, convexity, convexity);
    }
    // then its equations, with rows on points that are told from outside.
    void assemble() {
        sum_below();
        fill();
        subtract_references();
        store();
        if (to->limits) store_limits();
    }
};

}  // namespace

#endif

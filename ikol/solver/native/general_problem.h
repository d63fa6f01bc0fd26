// SPDX-License-Identifier: Apache-2.0
//
// The general solve's call, its tables, and the numbers of W frames in lanes.
//
// Every array is shared by all frames (stride 0) or has a row for each (stride in elements). Numbers come as float or
// double and are double inside. A row with weight 0 is missing: its target is not looked at.

#ifndef IKOL_GENERAL_PROBLEM_H
#define IKOL_GENERAL_PROBLEM_H

#include "general_rows.h"

#ifndef __CUDACC_RTC__
#include <stdlib.h>
#include <string.h>

#define IKOL_JOIN_(a, b) a##b
#define IKOL_JOIN(a, b) IKOL_JOIN_(a, b)
#endif

enum ikol_general_kind {
    IKOL_POINTS_3D = 0,     // index: points; target (count, 3), weight (count, 3)
    IKOL_RELATIVE = 1,      // the same; frame: axes (9); reference_index: points; constants: their weights
    IKOL_POINTS_2D = 2,     // index: points; target (count, 2), weight (count, 2); frame: see PixelRow
    IKOL_ORIENTATION = 3,   // index: joints; target (count, 9), weight (count, 3)
    IKOL_ANCHOR = 4,        // the same
    IKOL_TWIST = 5,         // index: joints; target (count), weight (count); constants: axes (count, 3)
    IKOL_LIMITS = 6,        // index: joints; weight (count, 3); constants (count, 16), see LimitRow
    IKOL_SHAPE = 7,         // count: betas; target (count), weight (count)
    IKOL_BONES = 8,         // count: joints; target (count), weight (count)
    IKOL_KINDS = 9
};

struct ikol_general_block {
    int32_t kind, loss, count, reference_count;
    double loss_width;
    const int32_t *index, *reference_index;
    const void *target, *weight, *frame, *constants;
    int64_t target_stride, weight_stride, frame_stride;
    void *residual, *robust;  // out, or null: (frames, count, rows) with 0 for missing rows, (frames, count)
};

struct ikol_general_call {
    int32_t joints, points, betas, blocks;
    int32_t is_double, solve_shape, free_transl, max_iterations;
    int64_t first, frames;  // solved are frames first ... first + frames - 1 of every array
    const int32_t *parents, *point_joints;
    const int32_t* bone_groups;  // (joints) or null: equal numbers >= 0 share one unknown, -1 is fixed
    const uint8_t* free_axes;    // (joints, 3)
    const void *joints_template, *joints_shapedirs;  // (joints, 3), (joints, 3, betas): shared
    const void *points_rest, *points_shapedirs;
    const ikol_general_block* block;
    const void *transl, *rotmat, *shape, *bone_scale;  // the start; bone_scale may be null: ones
    int64_t transl_stride, rotmat_stride, shape_stride, bone_scale_stride;
    double max_step, initial_damping, cost_tolerance, gradient_tolerance, gnc_start, gnc_factor;
    void *out_transl, *out_rotmat, *out_shape, *out_bone_scale;  // out_bone_scale may be null
    void *cost, *initial_cost, *gradient_norm;
    int32_t *status, *iterations;
};

namespace {

constexpr int32_t MAX_JOINTS = 4096, MAX_POINTS = 1 << 16, MAX_BETAS = 512, MAX_BLOCKS = 1024;
constexpr int32_t ROWS_OF[IKOL_KINDS] = {3, 3, 2, 3, 3, 1, 3, 1, 1}, TARGETS_OF[IKOL_KINDS] = {3, 3, 2, 9, 9, 1, 0, 1, 1};

inline bool in_range(const int32_t* index, int32_t count, int32_t size) {
    if (count && !index) return false;
    for (int32_t i = 0; i < count; i++)
        if (index[i] < 0 || index[i] >= size) return false;
    return true;
}
inline bool is_valid(const ikol_general_block& b, const ikol_general_call& c) {
    if (b.kind < 0 || b.kind >= IKOL_KINDS || b.loss < 0 || b.loss > GEMAN_MCCLURE || b.count < 0) return false;
    if (b.loss && !(b.loss_width > 0 && b.loss_width < 1e300)) return false;
    if (b.target_stride < 0 || b.weight_stride < 0 || b.frame_stride < 0) return false;
    bool on_points = b.kind <= IKOL_POINTS_2D, on_joints = !on_points && b.kind <= IKOL_LIMITS;
    if (b.count > (on_points ? MAX_POINTS : MAX_JOINTS)) return false;
    if (on_points && !in_range(b.index, b.count, c.points)) return false;
    if (on_joints && !in_range(b.index, b.count, c.joints)) return false;
    if ((b.kind == IKOL_SHAPE && b.count != c.betas) || (b.kind == IKOL_BONES && b.count != c.joints)) return false;
    if (b.count && (!b.weight || (TARGETS_OF[b.kind] && !b.target))) return false;
    if ((b.kind == IKOL_RELATIVE || b.kind == IKOL_POINTS_2D) && !b.frame) return false;
    if ((b.kind == IKOL_TWIST || b.kind == IKOL_LIMITS) && b.count && !b.constants) return false;
    if (b.kind != IKOL_RELATIVE) return true;
    return b.reference_count > 0 && b.reference_count <= MAX_POINTS && b.constants &&
           in_range(b.reference_index, b.reference_count, c.points);
}
inline bool is_valid(const ikol_general_call& c) {
    if (c.joints < 1 || c.joints > MAX_JOINTS || c.points < 0 || c.points > MAX_POINTS) return false;
    if (c.betas < 0 || c.betas > MAX_BETAS || c.blocks < 0 || c.blocks > MAX_BLOCKS) return false;
    if (c.first < 0 || c.frames < 0 || c.max_iterations < 0 || (c.blocks && !c.block)) return false;
    if (!c.parents || c.parents[0] != -1 || !c.free_axes || !c.joints_template) return false;
    for (int k = 1; k < c.joints; k++)
        if (c.parents[k] < 0 || c.parents[k] >= k) return false;
    for (int k = 0; c.bone_groups && k < c.joints; k++)
        if (c.bone_groups[k] < -1 || c.bone_groups[k] >= c.joints) return false;
    if (!in_range(c.point_joints, c.points, c.joints) || (c.points && !c.points_rest)) return false;
    if (c.betas && (!c.joints_shapedirs || (c.points && !c.points_shapedirs) || !c.shape || !c.out_shape)) return false;
    if (!c.transl || !c.rotmat || !c.out_transl || !c.out_rotmat || !c.cost || !c.initial_cost) return false;
    if (!c.gradient_norm || !c.status || !c.iterations) return false;
    if (c.transl_stride < 0 || c.rotmat_stride < 0 || c.shape_stride < 0 || c.bone_scale_stride < 0) return false;
    if (!(c.max_step > 0) || !(c.initial_damping > 0) || !(c.gnc_start >= 1) || !(c.gnc_factor > 1)) return false;
    for (int i = 0; i < c.blocks; i++)
        if (!is_valid(c.block[i], c)) return false;
    return true;
}

template <class U> U* allocate(size_t count) {  // on the boundary of a register; `release` it
    if (count > (size_t(1) << 30) / sizeof(U)) return nullptr;  // a gigabyte: nothing meant seriously takes more
    char* memory = (char*)calloc(1, count * sizeof(U) + 128);
    if (!memory) return nullptr;
    char* result = (char*)(((uintptr_t)memory + 128) / 64 * 64);
    ((void**)result)[-1] = memory;
    return (U*)result;
}
inline void release(void* result) {
    if (result) free(((void**)result)[-1]);
}

// Hands out parts of one piece of memory; counts first, with at = 0.
struct Arena {
    uintptr_t at;
    template <class U> void take(U*& to, size_t count) {
        to = (U*)at;
        at += (count * sizeof(U) + 63) / 64 * 64;
    }
};

// How the rows of a relative block, measured from the mean of reference points, enter the tree.
enum Route {
    LINKED,   // each row sees one body, or a body and its parent
    ON_ROOT,  // the reference moves with the root: 3 columns of the border, replaced by the root's motion at the end
    ANYWHERE  // 6 columns: the reference's motion and the force on it
};

template <class V> struct Block {
    const ikol_general_block* source;
    V *target, *weight, *frame, *constants, *residual, *robust;
    V* limits;          // LIMITS: per row above (3), below (3), side (3), jacobian (9)
    int32_t *near_, *far_;  // LINKED: the body of each row, and the child that the row reaches to, or -1
    int32_t column;
    Route route;
    bool is_shared;
};

// Columns of the border: betas, groups of several bones, then 3 or 6 for each relative block that is not LINKED.
template <class V> struct Problem {
    const ikol_general_call* call;
    int J, P, B, num_betas, num_groups, num_lengths, num_columns, num_pairs, num_roots;
    bool has_links, has_scale;
    const int32_t *parent, *point_joint;
    int32_t *group_column, *elastic;  // of a joint's bone: its column or -1; 1 where the bone is an unknown of its own
    int32_t *is_center;               // 1 for points at the centre of their joint
    int32_t *is_free;                 // (joints, 3)
    int32_t *pair_column, *root_block;
    V *joint_dirs, *arm_dirs;  // (joints, 3, B) of the bones, (points, 3, B) of the arms; the same in all lanes
    V *joint_rest, *arm_rest;  // (joints, 3), (points, 3) at betas = 0
    Mat3<V>* held_rotmat;      // the start's rotations: those of held joints stay to the bit
    Block<V>* block;

    double read(const void* from, int64_t at) const {
        return call->is_double ? ((const double*)from)[at] : (double)((const float*)from)[at];
    }
    void write(void* to, int64_t at, double value) const {
        if (call->is_double) ((double*)to)[at] = value;
        else ((float*)to)[at] = (float)value;
    }
    void lay_out(Arena& arena) {
        arena.take(group_column, J); arena.take(elastic, J); arena.take(is_center, P); arena.take(is_free, 3 * J);
        arena.take(pair_column, call->blocks); arena.take(root_block, call->blocks);
        arena.take(joint_dirs, 3 * size_t(J) * B); arena.take(arm_dirs, 3 * size_t(P) * B);
        arena.take(joint_rest, 3 * J); arena.take(arm_rest, 3 * P); arena.take(held_rotmat, J);
        for (int i = 0; i < call->blocks; i++) {
            const ikol_general_block& s = call->block[i];
            Block<V>& b = block[i];
            size_t n = s.count, rows = ROWS_OF[s.kind];
            arena.take(b.target, n * (s.kind == IKOL_ANCHOR ? 4 : TARGETS_OF[s.kind]));
            arena.take(b.weight, n * rows);
            arena.take(b.frame, s.kind == IKOL_RELATIVE ? 9 : (s.kind == IKOL_POINTS_2D ? 16 : 0));
            arena.take(b.constants, s.kind == IKOL_RELATIVE ? s.reference_count
                                    : s.kind == IKOL_TWIST  ? 3 * n
                                    : s.kind == IKOL_LIMITS ? 16 * n : 0);
            arena.take(b.residual, n * rows); arena.take(b.robust, n);
            arena.take(b.limits, s.kind == IKOL_LIMITS ? 18 * n : 0);
            arena.take(b.near_, s.kind == IKOL_RELATIVE ? n : 0); arena.take(b.far_, s.kind == IKOL_RELATIVE ? n : 0);
        }
    }
};

// ---- tables ----

// Whether a point moves as if fixed to a body: its own, or the parent's when it is the centre of its joint.
template <class V> bool moves_with(const Problem<V>& problem, int point, int body) {
    int own = problem.point_joint[point];
    return own == body || (problem.is_center[point] && !problem.has_scale && problem.parent[own] == body);
}
template <class V> bool all_move_with(const Problem<V>& problem, const ikol_general_block& source, int body) {
    for (int q = 0; q < source.reference_count; q++)
        if (!moves_with(problem, source.reference_index[q], body)) return false;
    return true;
}
template <class V> bool find_link(const Problem<V>& problem, const ikol_general_block& source, int point, int32_t& near_,
                                  int32_t& far_) {
    int own = problem.point_joint[point], first = problem.point_joint[source.reference_index[0]];
    const int of_point[2] = {own, problem.parent[own]}, of_reference[2] = {first, problem.parent[first]};
    far_ = -1;
    for (int body : of_point)
        if (body >= 0 && moves_with(problem, point, body) && all_move_with(problem, source, body)) {
            near_ = body;
            return true;
        }
    if (problem.has_scale) return false;  // a link across a joint would see the bone's length
    for (int body : of_point)
        for (int base : of_reference) {
            if (body < 0 || base < 0 || !moves_with(problem, point, body) || !all_move_with(problem, source, base)) continue;
            if (problem.parent[body] != base && problem.parent[base] != body) continue;
            near_ = problem.parent[body] == base ? base : body;
            far_ = problem.parent[body] == base ? body : base;
            return true;
        }
    return false;
}
template <class V> void route_blocks(Problem<V>& problem) {
    problem.num_columns = problem.num_lengths;
    problem.num_pairs = problem.num_roots = 0;
    problem.has_links = false;
    for (int i = 0; i < problem.call->blocks; i++) {
        Block<V>& b = problem.block[i];
        const ikol_general_block& s = problem.call->block[i];
        b.source = &s;
        b.is_shared = !(s.target_stride | s.weight_stride | s.frame_stride);
        if (s.kind != IKOL_RELATIVE) continue;
        b.route = LINKED;
        for (int r = 0; r < s.count && b.route == LINKED; r++)
            if (!find_link(problem, s, s.index[r], b.near_[r], b.far_[r])) b.route = ANYWHERE;
        if (b.route == LINKED) {
            problem.has_links = true;
            continue;
        }
        b.column = problem.num_columns;
        if (all_move_with(problem, s, 0)) {
            b.route = ON_ROOT;
            problem.root_block[problem.num_roots++] = i;
            problem.num_columns += 3;
        } else {
            problem.pair_column[problem.num_pairs++] = b.column;
            problem.num_columns += 6;
        }
    }
}
template <class V> void make_tables(Problem<V>& problem) {
    const ikol_general_call& call = *problem.call;
    int J = problem.J, P = problem.P, B = problem.B;
    problem.num_betas = call.solve_shape ? B : 0;
    problem.num_groups = 0;
    problem.has_scale = call.bone_scale != nullptr;
    for (int j = 0; j < 3 * J; j++) problem.is_free[j] = call.free_axes[j] != 0;
    for (int j = 0; j < J; j++) { problem.group_column[j] = -1; problem.elastic[j] = 0; }
    for (int j = 1; call.bone_groups && j < J; j++) {
        if (call.bone_groups[j] < 0) continue;
        problem.has_scale = true;
        int members = 0, column = -1;
        for (int k = 1; k < J; k++)
            if (call.bone_groups[k] == call.bone_groups[j]) {
                members++;
                if (k < j) column = problem.group_column[k];
            }
        if (members == 1) problem.elastic[j] = 1;
        else problem.group_column[j] = column >= 0 ? column : problem.num_betas + problem.num_groups++;
    }
    problem.num_lengths = problem.num_betas + problem.num_groups;
    for (int j = 0; j < J; j++)
        for (int a = 0; a < 3; a++) {
            int up = problem.parent[j];
            double base = up >= 0 ? problem.read(call.joints_template, 3 * up + a) : 0;
            problem.joint_rest[3 * j + a] = all<V>(problem.read(call.joints_template, 3 * j + a) - base);
            for (int k = 0; k < B; k++) {
                double dir = up >= 0 ? problem.read(call.joints_shapedirs, (3 * int64_t(up) + a) * B + k) : 0;
                dir = problem.read(call.joints_shapedirs, (3 * int64_t(j) + a) * B + k) - dir;
                problem.joint_dirs[(3 * int64_t(j) + a) * B + k] = all<V>(dir);
            }
        }
    for (int p = 0; p < P; p++) {
        double most = 0;
        for (int a = 0; a < 3; a++) {
            int j = problem.point_joint[p];
            double arm = problem.read(call.points_rest, 3 * p + a) - problem.read(call.joints_template, 3 * j + a);
            problem.arm_rest[3 * p + a] = all<V>(arm);
            most = arm > most ? arm : (-arm > most ? -arm : most);
            for (int k = 0; k < B; k++) {
                double dir = problem.read(call.points_shapedirs, (3 * int64_t(p) + a) * B + k) -
                             problem.read(call.joints_shapedirs, (3 * int64_t(j) + a) * B + k);
                problem.arm_dirs[(3 * int64_t(p) + a) * B + k] = all<V>(dir);
                most = dir > most ? dir : (-dir > most ? -dir : most);
            }
        }
        problem.is_center[p] = most < 1e-6;  // metres: this only shapes the Hessian, forces use the true place
    }
    route_blocks(problem);
}

// ---- the numbers of one frame, into lanes [from, to) ----

template <class V> bool put(const Problem<V>& problem, const void* source, int64_t at, V& to, int from, int end) {
    double value = problem.read(source, at);
    for (int l = from; l < end; l++) lane(to, l) = value;
    return value - value == 0;
}
inline void quaternion_of(const double (&m)[9], double (&q)[4]) {
    to_quat(Mat3<double>{{m[0], m[1], m[2]}, {m[3], m[4], m[5]}, {m[6], m[7], m[8]}}, q);
}
// Returns whether all numbers are usable.
template <class V> bool load_block(const Problem<V>& problem, Block<V>& b, int64_t frame, int from, int end) {
    const ikol_general_block& s = *b.source;
    int rows = ROWS_OF[s.kind], targets = TARGETS_OF[s.kind], lens = s.kind == IKOL_RELATIVE ? 9 : 16;
    bool good = true;
    for (int i = 0; i < s.count; i++) {
        bool any_used = false, is_used[3];
        for (int k = 0; k < rows; k++) {
            V& w = b.weight[i * rows + k];
            good &= put(problem, s.weight, frame * s.weight_stride + i * rows + k, w, from, end);
            good &= lane(w, from) >= 0;
            any_used |= is_used[k] = lane(w, from) != 0;
        }
        if (s.kind == IKOL_ANCHOR) {
            double m[9], q[4] = {1, 0, 0, 0};
            for (int k = 0; k < 9; k++) m[k] = problem.read(s.target, frame * s.target_stride + 9 * i + k);
            if (any_used) quaternion_of(m, q);
            for (int k = 0; k < 4; k++) {
                good &= q[k] - q[k] == 0;
                for (int l = from; l < end; l++) lane(b.target[4 * i + k], l) = q[k];
            }
            continue;
        }
        for (int k = 0; k < targets; k++) {
            V& t = b.target[i * targets + k];
            // a rotation is one target, of which every row sees all
            bool used = s.kind == IKOL_ORIENTATION ? any_used : is_used[k];
            if (used) good &= put(problem, s.target, frame * s.target_stride + i * targets + k, t, from, end);
            else for (int l = from; l < end; l++) lane(t, l) = s.kind == IKOL_ORIENTATION && k % 4 == 0;
        }
    }
    if (s.frame)
        for (int k = 0; k < lens; k++) good &= put(problem, s.frame, frame * s.frame_stride + k, b.frame[k], from, end);
    return good;
}
template <class V> bool load_constants(const Problem<V>& problem, Block<V>& b, int width) {
    const ikol_general_block& s = *b.source;
    int count = s.kind == IKOL_RELATIVE ? s.reference_count : s.count * (s.kind == IKOL_TWIST ? 3 : 16);
    bool good = true;
    if (s.kind == IKOL_RELATIVE || s.kind == IKOL_TWIST || s.kind == IKOL_LIMITS)
        for (int k = 0; k < count; k++) good &= put(problem, s.constants, k, b.constants[k], 0, width);
    return good;
}

}  // namespace

#endif

// SPDX-License-Identifier: Apache-2.0
//
// The general solve (any mix of evidence, ikol/solver/evidence.py) by Levenberg and Marquardt's method, linear in the
// joints, W frames side by side. The reference is PyTorch: ikol/solver/levenberg_marquardt.py and its neighbours; both end
// in the same optimum, not on the same path.
//
//   general_rows.h     residuals and derivatives of one row group                     any number X
//   general_problem.h  the call, tables of the tree, loading                          lanes V
//   general_pose.h     Frame<X>: a state, its cost and its forces; Information<V>     X and V
//   general_factor.h   Factor<V>: gradient, elimination, substitution                 lanes V
//   general_adjoint.h  the derivative of the optimum, a library of its own
//
// A lane that has ended is given the next frame at once; what a lane does depends on no other lane.
// Compiled once per instruction set like tree_newton.cpp. Plain C interface, no C++ library, no global state.

// every product and sum is rounded alike however many frames lie side by side
#ifdef __clang__
#pragma clang fp contract(on)
#endif

#include "general_factor.h"

namespace {

enum Status { CONVERGED = 0, STALLED = 1, MAX_ITERATIONS = 2, FAILED = 3 };  // ikol.solver.result.SolveStatus
constexpr double MIN_DAMPING = 1e-6, MAX_DAMPING = 1e10;                     // as in the reference
constexpr int MAX_ROUNDS = 1;  // of finding the limits that a step meets; they are mostly those of the step before

template <int W> struct Solver {
    typedef typename Register<double, W>::V V;
    typedef Mask<V> M;

    const ikol_general_call* call;
    Problem<V> problem;
    Frame<V> frame;
    Information<V> info;
    Factor<V> factor;
    Tree<V> tree;
    // what is taken back when a step fails
    Vec3<V> old_transl;
    Quat<V>* old_quat;
    V *old_betas, *old_scale;
    // of each lane
    int64_t at[W];       // its frame, or -1
    bool is_stale[W];    // its forces are not those of its state: it sits one round out
    bool is_fresh[W];    // its first cost is not known yet
    int ended[W];        // its status, or -1
    V cost, initial_cost, damping, growth, convexity, count, norm;
    V patience, waits;  // steps until Newton's matrix is tried again, and how many after the next failure
    int64_t next, *queue;  // the next frame: of this solver alone, or of all that work on the call where queue is not null
    bool has_gnc, has_new_shape, shared_is_bad;

    void begin(const ikol_general_call* the_call, Block<V>* blocks, int64_t* the_queue) {
        call = the_call;
        queue = the_queue;
        problem.call = call;
        problem.J = call->joints; problem.P = call->points; problem.B = call->betas;
        problem.parent = call->parents; problem.point_joint = call->point_joints;
        problem.block = blocks;
        next = call->first;
        tree = {&problem, &frame, &info, &factor};
    }
    void lay_out(Arena& arena) {
        problem.lay_out(arena);
        frame.lay_out(arena, problem.J, problem.P, problem.B);
        arena.take(old_quat, problem.J); arena.take(old_betas, problem.B); arena.take(old_scale, problem.J);
    }
    void lay_out_border(Arena& arena) {  // once the number of columns is known
        info.lay_out(arena, problem);
        factor.lay_out(arena, problem);
    }

    // ---- frames in and out of lanes ----
    int64_t take_frame() {
#ifndef IKOL_DEVICE
        if (queue) return __atomic_fetch_add(queue, 1, __ATOMIC_RELAXED);
#endif
        return next++;
    }
    // The next frame that can be solved, into a lane.
    void refill(int l) {
        at[l] = -1;
        for (int64_t f; (f = take_frame()) < call->first + call->frames;) {
            bool good = load_state(problem, frame, f, l) && !shared_is_bad;
            for (int i = 0; i < call->blocks; i++)
                if (!problem.block[i].is_shared) good &= load_block(problem, problem.block[i], f, l, l + 1);
            if (!good) {
                store_failure(f);
                continue;
            }
            at[l] = f;
            is_stale[l] = is_fresh[l] = has_new_shape = true;
            ended[l] = -1;
            lane(convexity, l) = 1;
            lane(count, l) = 0; lane(norm, l) = 0; lane(patience, l) = 0; lane(waits, l) = 1;
            return;
        }
    }
    void copy_start(const void* from, int64_t stride, void* to, int64_t f, int64_t size) {
        for (int64_t k = 0; to && k < size; k++) problem.write(to, f * size + k, from ? problem.read(from, f * stride + k) : 1);
    }
    void store_start(int64_t f) {
        const ikol_general_call& c = *call;
        copy_start(c.transl, c.transl_stride, c.out_transl, f, 3);
        copy_start(c.rotmat, c.rotmat_stride, c.out_rotmat, f, 9 * int64_t(problem.J));
        if (problem.B) copy_start(c.shape, c.shape_stride, c.out_shape, f, problem.B);
        copy_start(c.bone_scale, c.bone_scale_stride, c.out_bone_scale, f, problem.J);
    }
    void store_failure(int64_t f) {
        const double zero = 0, none_ = zero / zero;
        store_start(f);
        problem.write(call->cost, f, none_);
        problem.write(call->initial_cost, f, none_);
        problem.write(call->gradient_norm, f, none_);
        call->status[f] = FAILED;
        call->iterations[f] = 0;
        for (int i = 0; i < call->blocks; i++) {
            const ikol_general_block& s = call->block[i];
            int64_t size = int64_t(s.count) * ROWS_OF[s.kind];
            for (int64_t k = 0; s.residual && k < size; k++) problem.write(s.residual, f * size + k, none_);
            for (int64_t k = 0; s.robust && k < s.count; k++) problem.write(s.robust, f * s.count + k, 0);
        }
    }
    void store_residuals(int64_t f, int l) {
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            const ikol_general_block& s = *b.source;
            int rows = ROWS_OF[s.kind];
            for (int r = 0; r < s.count; r++) {
                bool is_used = false;
                for (int k = 0; k < rows; k++) {
                    int64_t at_row = int64_t(r) * rows + k;
                    double value = lane(b.residual[at_row], l);
                    // a limit counts where it is exceeded
                    bool used = s.kind == IKOL_LIMITS ? value != 0 : lane(b.weight[at_row], l) > 0;
                    is_used |= used;
                    if (s.residual) problem.write(s.residual, f * s.count * rows + at_row, used ? value : 0);
                }
                if (s.robust) problem.write(s.robust, f * s.count + r, is_used ? lane(b.robust[r], l) : 0);
            }
        }
    }
    void store(int l) {
        int64_t f = at[l];
        const ikol_general_call& c = *call;
        problem.write(c.initial_cost, f, lane(initial_cost, l));
        problem.write(c.cost, f, lane(cost, l));
        problem.write(c.gradient_norm, f, lane(norm, l));
        c.status[f] = ended[l];
        c.iterations[f] = (int32_t)lane(count, l);
        store_residuals(f, l);
        store_start(f);  // what is not free keeps its bits
        if (ended[l] == FAILED) return;
        if (c.free_transl)
            for (int a = 0; a < 3; a++) problem.write(c.out_transl, 3 * f + a, lane(((V*)&frame.transl)[a], l));
        for (int j = 0; j < problem.J; j++) {
            const int* is_free = problem.is_free + 3 * j;
            for (int k = 0; k < 9 && (is_free[0] | is_free[1] | is_free[2]); k++)
                problem.write(c.out_rotmat, (f * problem.J + j) * 9 + k, lane(((V*)&frame.local[j])[k], l));
            if (c.out_bone_scale && (problem.elastic[j] || problem.group_column[j] >= 0))
                problem.write(c.out_bone_scale, f * problem.J + j, lane(frame.scale[j], l));
        }
        for (int k = 0; k < problem.num_betas; k++) problem.write(c.out_shape, f * problem.B + k, lane(frame.betas[k], l));
    }

    // ---- one step ----
    // The limits that count: information and force of each joint for the sides now kept in the blocks.
    void take_sides(Sym3<V>* own, Vec3<V>* force) {
        for (int j = 0; j < problem.J; j++) {
            own[j] = {};
            force[j] = zero3<V>();
        }
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            for (int r = 0; b.source->kind == IKOL_LIMITS && r < b.source->count; r++) {
                int j = b.source->index[r];
                const V* kept = b.limits + 18 * r;
                for (int k = 0; k < 3; k++) {
                    V side = kept[6 + k], zero = V{};
                    if (!any(side != zero)) continue;
                    V w = select(side != zero, b.weight[3 * r + k], zero);
                    V e = select(side > zero, kept[k], select(side < zero, kept[3 + k], zero));
                    Vec3<V> line = {kept[9 + 3 * k], kept[10 + 3 * k], kept[11 + 3 * k]};
                    add_outer(own[j], line * w, line);
                    force[j] = force[j] + line * (w * e);
                }
            }
        }
    }
    V moved(const V* kept, int k, Vec3<V> d) {
        return kept[9 + 3 * k] * d.x + kept[10 + 3 * k] * d.y + kept[11 + 3 * k] * d.z;
    }
    // Which limits the step would exceed; says whether that differs from what it was solved with.
    bool take_crossed(M sits_out) {
        M changed = {};
        V zero = V{}, one = all<V>(1);
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            for (int r = 0; b.source->kind == IKOL_LIMITS && r < b.source->count; r++) {
                V* kept = b.limits + 18 * r;
                for (int k = 0; k < 3; k++) {
                    V by = moved(kept, k, factor.step[b.source->index[r]]);
                    V side = select(kept[k] + by > zero, one, select(kept[3 + k] + by < zero, -one, zero));
                    side = select(sits_out, kept[6 + k], side);
                    changed |= side != kept[6 + k];
                    kept[6 + k] = side;
                }
            }
        }
        return any(changed);
    }
    void find_step(M sits_out) {
        V one = all<V>(1), zero = V{}, use = select((patience > zero) | (convexity > one) | sits_out, zero, one);
        M tried = use > zero;
        for (int round = 0;; round++) {
            take_sides(factor.side_own, factor.side_force);
            eliminate(tree, damping, use, W);
            M lost = none(factor.is_definite) & (use > zero);
            if (any(lost)) {  // Newton's matrix has no minimum there: Gauss and Newton's, and for a while
                use = select(lost, zero, use);
                waits = select(lost, select(waits < all<V>(8), waits + waits, waits), waits);
                patience = select(lost, waits, patience);
                eliminate(tree, damping, use, W);
            }
            substitute(tree);
            if (round == MAX_ROUNDS || !take_crossed(sits_out)) break;
        }
        waits = select(use > zero, one, waits);
        patience = select(none(tried) & none(sits_out) & (patience > zero), patience - one, patience);
    }
    // How far to go, and by how much the model with one-sided limits falls on the way.
    V shorten(V& predicted) {
        V longest = V{}, slope = V{}, damped = V{}, floor = factor.largest * LEAST_DIAGONAL;
        auto take = [&](V step, V gradient, V diagonal) {
            slope += step * gradient;
            damped += step * step * max_(diagonal, floor);
        };
        for (int j = 0; j < problem.J; j++) {
            Vec3<V> d = factor.step[j], g = factor.gradient[j] - frame.limited[j];
            const int* is_free = problem.is_free + 3 * j;
            longest = max_(longest, dot(d, d));
            if (is_free[0]) take(d.x, g.x, factor.diagonal[j].x);
            if (is_free[1]) take(d.y, g.y, factor.diagonal[j].y);
            if (is_free[2]) take(d.z, g.z, factor.diagonal[j].z);
            if (problem.elastic[j]) take(factor.stretch_step[j], factor.stretch_gradient[j], factor.stretch_diagonal[j]);
        }
        for (int c = call->free_transl ? 0 : 3; c < 3 + problem.num_lengths; c++)
            take(factor.border_step[c], factor.border_gradient[c], factor.border_diagonal[c]);
        longest = sqrt_(longest);
        V most = all<V>(call->max_step), part = most / max_(longest, most), zero = V{};
        // step' (H + limits + damping D) step = -slope - limits' force, for the limits the step was solved with
        V curved = -slope - damping * damped, won = V{};
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            for (int r = 0; b.source->kind == IKOL_LIMITS && r < b.source->count; r++) {
                const V* kept = b.limits + 18 * r;
                for (int k = 0; k < 3; k++) {
                    V by = moved(kept, k, factor.step[b.source->index[r]]), w = b.weight[3 * r + k], side = kept[6 + k];
                    V e = select(side > zero, kept[k], select(side < zero, kept[3 + k], zero));
                    curved -= select(side != zero, w * by * (e + by), zero);
                    V before = max_(kept[k], zero) - max_(-kept[3 + k], zero);
                    V after = max_(kept[k] + part * by, zero) - max_(-(kept[3 + k] + part * by), zero);
                    won += w * (before * before - after * after);
                }
            }
        }
        predicted = won * 0.5 - part * slope - part * part * curved * 0.5;
        return part;
    }
    void move(V part) {
        old_transl = frame.transl;
        memcpy((void*)old_quat, (const void*)frame.quat, problem.J * sizeof(Quat<V>));
        memcpy((void*)old_betas, (const void*)frame.betas, problem.B * sizeof(V));
        memcpy((void*)old_scale, (const void*)frame.scale, problem.J * sizeof(V));
        if (call->free_transl)
            frame.transl = frame.transl + Vec3<V>{factor.border_step[0], factor.border_step[1], factor.border_step[2]} * part;
        for (int k = 0; k < problem.num_betas; k++) frame.betas[k] += factor.border_step[3 + k] * part;
        for (int j = 0; j < problem.J; j++) {
            const int* is_free = problem.is_free + 3 * j;
            if (problem.elastic[j]) frame.scale[j] += factor.stretch_step[j] * part;
            int group = problem.group_column[j];
            if (group >= 0) frame.scale[j] += factor.border_step[3 + group] * part;
            if (!(is_free[0] | is_free[1] | is_free[2])) continue;
            frame.quat[j] = turned_by(frame.quat[j], factor.step[j] * part);
        }
    }
    void take_back(M which) {
        frame.transl = pick(which, old_transl, frame.transl);
        for (int j = 0; j < problem.J; j++) {
            V *to = (V*)&frame.quat[j], *from = (V*)&old_quat[j];
            for (int k = 0; k < 4; k++) to[k] = select(which, from[k], to[k]);
            frame.scale[j] = select(which, old_scale[j], frame.scale[j]);
        }
        for (int k = 0; k < problem.num_betas; k++) frame.betas[k] = select(which, old_betas[k], frame.betas[k]);
    }
    M lanes_where(const bool (&flags)[W]) {
        M result = {};
        for (int l = 0; l < W; l++)
            if (flags[l]) mark(result, l);
        return result;
    }

    // ---- the iteration ----
    // Accept or not, and change the damping (Nielsen, Damping parameter in Marquardt's method, 1999).
    void steer(M is_stale_now, V predicted, V before_gnc) {
        V zero = V{}, one = all<V>(1), decrease = cost - frame.cost;
        M active = none(is_stale_now), accepted = active & (predicted > zero) & (decrease > zero);
        V gain = decrease / select(predicted > zero, predicted, one);
        gain = select(gain > zero, select(gain < one, gain, one), zero);
        V shape = gain * 2.0 - 1.0, shrink = max_(one - shape * shape * shape, all<V>(1.0 / 3));
        M gentle = damping < one, final_ = before_gnc <= one;
        V next_damping = max_(select(accepted, damping * shrink, damping * growth), all<V>(MIN_DAMPING));
        growth = select(active, select(accepted, all<V>(2), growth * 2.0), growth);
        damping = select(active, next_damping, damping);
        count = select(active, count + 1.0, count);
        M arrived = accepted & gentle & (decrease <= cost * call->cost_tolerance);
        // the cost is a sum of some hundred terms: changes below 16 eps cannot be told from rounding
        arrived = arrived | (active & none(accepted) & (predicted > zero) & gentle & (predicted <= cost * (16 * 2.2e-16)));
        arrived = arrived & final_;
        M stalled = active & none(accepted) & (damping > all<V>(MAX_DAMPING));
        M failed = active & none(accepted), softened = active & none(final_);
        cost = select(accepted, frame.next_cost, cost);
        // a loss that changes is a new problem: what the damping has learnt from the old one holds it back
        V most = all<V>(call->initial_damping);
        damping = select(softened, select(damping < most, damping, most), damping);
        growth = select(softened, all<V>(2), growth);
        take_back(failed);
        for (int l = 0; l < W; l++) {
            if (at[l] < 0) continue;
            if (is_stale[l]) { settle(l); continue; }
            is_stale[l] = is_marked(failed, l);
            if (is_marked(arrived, l)) ended[l] = CONVERGED;
            else if (is_marked(stalled, l)) ended[l] = STALLED;
        }
    }
    // A new frame's first step meets the limits that its start exceeds.
    void reset_sides(int l) {
        for (int i = 0; i < call->blocks; i++) {
            const Block<V>& b = problem.block[i];
            for (int r = 0; b.source->kind == IKOL_LIMITS && r < b.source->count; r++)
                for (int k = 0; k < 3; k++) {
                    V* kept = b.limits + 18 * r + k;
                    lane(kept[6], l) = lane(kept[0], l) > 0 ? 1 : (lane(kept[3], l) < 0 ? -1 : 0);
                }
        }
    }
    // The forces of a lane are those of its state now.
    void settle(int l) {
        is_stale[l] = false;
        lane(cost, l) = lane(frame.next_cost, l);
        if (!is_fresh[l]) return;
        is_fresh[l] = false;
        reset_sides(l);
        lane(initial_cost, l) = lane(frame.cost, l);
        lane(damping, l) = call->initial_damping;
        lane(growth, l) = 2;
        double first = lane(initial_cost, l), most = call->is_double ? 1e300 : 3e38;  // of the type of the call
        if (!(first < most && lane(cost, l) < most)) ended[l] = FAILED;
    }
    bool any_lane(bool is_working) {
        for (int l = 0; l < W; l++)
            if (at[l] >= 0 && (!is_working || !is_stale[l])) return true;
        return false;
    }
    // Store the lanes that have ended, give them new frames.
    void turn_over() {
        V flat = gradient_norm(tree);
        for (int l = 0; l < W; l++) {
            if (at[l] < 0 || is_stale[l]) continue;
            lane(norm, l) = lane(flat, l);
            bool is_final = lane(convexity, l) == 1;
            if (ended[l] < 0 && lane(count, l) >= call->max_iterations) {
                // the loss itself is what is reported
                ended[l] = MAX_ITERATIONS;
            }
            if (ended[l] < 0 && is_final && lane(flat, l) <= call->gradient_tolerance) ended[l] = CONVERGED;
            if (ended[l] < 0) continue;
            if (!is_final) {  // once more, with the loss itself
                lane(convexity, l) = 1;
                is_stale[l] = true;
                continue;
            }
            store(l);
            refill(l);
        }
    }
    void iterate() {
        for (int i = 0; i < call->blocks; i++) {
            Block<V>& b = problem.block[i];
            has_gnc |= b.source->loss == GEMAN_MCCLURE;
            shared_is_bad |= !load_constants(problem, b, W);
            if (b.is_shared) shared_is_bad |= !load_block(problem, b, 0, 0, W);
        }
        for (int l = 0; l < W; l++) refill(l);
        bool shape_is_free = problem.num_betas > 0;
        while (any_lane(false)) {
            V predicted = V{}, before_gnc = convexity, next_convexity = convexity;
            if (any_lane(true)) {
                compose(tree);
                turn_over();
                if (!any_lane(false)) return;
                before_gnc = next_convexity = convexity;
            }
            bool stale_now[W], is_working = any_lane(true);
            for (int l = 0; l < W; l++) {
                stale_now[l] = at[l] < 0 || is_stale[l];
                double c = lane(convexity, l);
                // a fresh lane's first cost is that of the loss itself
                if (at[l] >= 0 && is_fresh[l]) lane(next_convexity, l) = has_gnc && call->max_iterations ? call->gnc_start : 1;
                else if (!stale_now[l] && c > 1) lane(next_convexity, l) = c / call->gnc_factor > 1 ? c / call->gnc_factor : 1;
            }
            M sits_out = lanes_where(stale_now);
            if (is_working) {
                find_step(sits_out);
                V part = shorten(predicted);
                move(part);
                take_back(sits_out);
            }
            if (shape_is_free || has_new_shape) take_shape(problem, frame);
            has_new_shape = false;
            place(problem, frame);
            evaluate(problem, frame, &info, before_gnc, next_convexity);
            convexity = next_convexity;
            steer(sits_out, predicted, before_gnc);
        }
    }
};

#ifdef IKOL_DEVICE

}  // namespace

// A GPU's kernel: one thread a lane, each with a run of frames. `trouble` becomes 2 where IKOL_SCRATCH bytes of local memory
// are too few for the problem; the call is checked by whoever makes it.
extern "C" __global__ void __launch_bounds__(IKOL_BLOCK)
    ikol_general(const __grid_constant__ ikol_general_call call, int32_t* trouble) {
    alignas(16) unsigned char memory[IKOL_SCRATCH];
    const int64_t threads = (int64_t)gridDim.x * blockDim.x, thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t share = (call.frames + threads - 1) / threads, left = call.frames - share * thread;
    if (left <= 0) return;
    ikol_general_call own = call;
    own.first += share * thread;
    own.frames = left < share ? left : share;
    Solver<1> solver;
    solver.has_gnc = solver.shared_is_bad = false;
    Arena arena = {(uintptr_t)memory};
    const uintptr_t end = arena.at + sizeof(memory);
    Block<double>* blocks;
    arena.take(blocks, call.blocks + 1);
    solver.begin(&own, blocks, nullptr);
    Arena needed = arena;
    solver.lay_out(needed);
    if (needed.at <= end) {
        solver.lay_out(arena);
        make_tables(solver.problem);
        solver.lay_out_border(arena);
        if (arena.at <= end) {
            solver.iterate();
            return;
        }
    }
    *trouble = 2;
}

#else

template <int W> int run(const ikol_general_call* call, int64_t* queue) {
    typedef Solver<W> S;
    S* solver = allocate<S>(1);
    Block<typename S::V>* blocks = allocate<Block<typename S::V>>(call->blocks + 1);
    char *memory = nullptr, *border = nullptr;
    bool is_done = false;
    if (solver && blocks) {
        solver->begin(call, blocks, queue);
        Arena size = {0};
        solver->lay_out(size);
        memory = allocate<char>(size.at);
        if (memory) {
            Arena arena = {(uintptr_t)memory};
            solver->lay_out(arena);
            make_tables(solver->problem);
            size = {0};
            solver->lay_out_border(size);
            border = allocate<char>(size.at);
        }
        if (border) {
            Arena arena = {(uintptr_t)border};
            solver->lay_out_border(arena);
            solver->iterate();
            is_done = true;
        }
    }
    release(border);
    release(memory);
    release(blocks);
    release(solver);
    return is_done ? 0 : 2;
}

}  // namespace

#ifndef IKOL_LANES_BYTES
#define IKOL_LANES_BYTES 16
#endif
#if IKOL_LANES_BYTES == 32 || !defined(__x86_64__)
#define IKOL_SINGLE
#endif

// Returns 0; 1 for a call that makes no sense, 2 when there is no memory. `queue`: null, or a number that begins as
// call->first, for threads that work on one call together: each takes the next frame when it has room. `is_single`: for one
// frame, which is faster without lanes that repeat it; only where IKOL_SINGLE compiles that as well.
extern "C" int IKOL_JOIN(ikol_general_, IKOL_VARIANT)(const ikol_general_call* call, int64_t* queue, int is_single) {
    if (!is_valid(*call)) return 1;
#ifdef IKOL_SINGLE
    if (is_single) return run<1>(call, queue);
#endif
    (void)is_single;
    return run<IKOL_LANES_BYTES / 8>(call, queue);
}

#ifdef IKOL_ENTRY  // one variant of each library holds the entry points
#include "entry.h"

#if defined(__x86_64__)
extern "C" int ikol_general_avx2(const ikol_general_call*, int64_t*, int);
#ifndef IKOL_NO_AVX512
extern "C" int ikol_general_avx512(const ikol_general_call*, int64_t*, int);
#endif
#endif

IKOL_EXPORT int ikol_general_run(const ikol_general_call* call, int64_t* queue, int is_single, int variant) {
#if defined(__x86_64__)
#ifndef IKOL_NO_AVX512
    if (variant == 2 && !is_single) return ikol_general_avx512(call, queue, is_single);
#endif
    if (variant >= 1) return ikol_general_avx2(call, queue, is_single);
#endif
    (void)variant;
    return ikol_general_base(call, queue, is_single);
}
// So that whoever fills in the structures can tell whether he means the same.
IKOL_EXPORT int ikol_general_sizes() { return int(sizeof(ikol_general_call)) << 16 | int(sizeof(ikol_general_block)); }

#endif

#endif  // IKOL_DEVICE

// SPDX-License-Identifier: Apache-2.0
//
// A sequence's cost and normal equations: each frame's own (general_linearise.h), and what ties frames to each other.
//
// Seen from one frame, a link on a point is a spring to where its neighbours would have it: one more row on that point.
// Links on rotations add a 3x3 block for each joint. Between frames there are blocks of the joints that move linked
// points, and those of each joint with itself; everything else of the band is zero and is not written.
//
// Frames are taken a stretch at a time, with their neighbours placed anew, so that a call may be split anywhere and the
// sums are the same. Compiled once per instruction set like tree_newton.cpp. Plain C interface, no global state.

#include "general_linearise.h"

namespace {

constexpr int STRETCH = 48;  // frames: what links say of them stays in the second-level cache
constexpr int64_t HALO = MOST_WIDTH - 1;

// What the links say of a stretch of frames. Rotations lie side by side in registers, joint by joint.
template <int W> struct Links {
    typedef typename Register<double, W>::V V;
    struct Turn {  // from a frame to the next
        Vec3<V> by, force;
        V second;
    };
    struct Joints {  // W joints of a frame
        Quat<V> quat;
        Mat3<V> own, next, next_but_one;
        Vec3<V> force;
        Turn turn;
    };

    const ikol_linearise* to;
    Linearise<W>* own;
    int J, registers, entries, movers, longest;
    bool has_turns, is_tied[MOST_WIDTH], is_moved[MOST_WIDTH];  // with the frame so far ahead: by points, by turns of joints
    int64_t low;          // the frame that memory begins with
    int32_t *first_entry, *point, *mover_of, *joint_of;  // of a link; of an entry; of a joint or -1; of a mover
    int32_t* width;       // of an entry
    Joints* joints;       // (frames, registers)
    double *place;        // (frames, entries, 3)
    double *extra;        // (frames, entries, 9) see Linearise
    double *between;      // (frames, entries, HALO) weight to the frames after
    double *jacobian;     // (frames, entries, movers, 9) of the place, for turns of the joints that move it
    double *row_cost;     // (frames)
    double* block;        // (3 + 3 movers, 3 + 3 movers)

    void begin(const ikol_linearise* the_output, Linearise<W>* the_frames) {
        to = the_output;
        own = the_frames;
        J = own->problem.J;
        registers = (J + W - 1) / W;
        entries = 0;
        longest = 1;
        has_turns = false;
        for (int i = 0; i < to->links; i++) {
            const ikol_link& k = to->link[i];
            has_turns |= k.kind == IKOL_ROTATION_LINK;
            entries += k.kind == IKOL_ROTATION_LINK ? 0 : k.count;
            longest = k.width > longest ? k.width : longest;
        }
    }
    void lay_out_tables(Arena& arena) {
        arena.take(first_entry, to->links);
        arena.take(point, entries); arena.take(width, entries);
        arena.take(mover_of, J); arena.take(joint_of, J);
    }
    void tables() {
        int e = 0;
        movers = 0;
        for (int j = 0; j < J; j++) mover_of[j] = -1;
        for (int ahead = 0; ahead < MOST_WIDTH; ahead++) is_tied[ahead] = is_moved[ahead] = false;
        for (int i = 0; i < to->links; i++) {
            const ikol_link& k = to->link[i];
            first_entry[i] = e;
            for (int p = 0; p < k.count && k.kind != IKOL_ROTATION_LINK; p++, e++) {
                point[e] = k.index[p];
                width[e] = k.width;
                int j = own->problem.point_joint[k.index[p]];
                if (own->problem.is_center[k.index[p]]) j = own->problem.parent[j];
                for (int ahead = 0; ahead < k.width; ahead++) {
                    is_tied[ahead] = true;
                    is_moved[ahead] |= j >= 0;
                }
                for (; j >= 0; j = own->problem.parent[j])
                    if (k.width > 1) mover_of[j] = 0;
            }
        }
        for (int j = 0; j < J; j++)
            if (mover_of[j] == 0) {
                joint_of[movers] = j;
                mover_of[j] = movers++;
            }
    }
    void lay_out(Arena& arena) {
        int64_t most = own->call->frames < STRETCH ? own->call->frames : STRETCH;
        size_t frames = most + 2 * HALO + W, size = 3 + 3 * movers;
        arena.take(joints, frames * registers);
        arena.take(place, frames * entries * 3); arena.take(extra, frames * entries * 9);
        arena.take(between, frames * entries * HALO); arena.take(row_cost, frames);
        arena.take(jacobian, frames * entries * movers * 9); arena.take(block, size * size);
    }
    Joints* at(int64_t t) { return joints + (t - low) * registers; }
    double* jacobian_of(int64_t t, int e) { return jacobian + (size_t(t - low) * entries + e) * movers * 9; }

    // Forgets the stretch before.
    void clear(int64_t low_, int64_t high) {
        low = low_;
        size_t frames = high - low;
        memset((void*)extra, 0, frames * entries * 9 * sizeof(double));
        memset((void*)between, 0, frames * entries * HALO * sizeof(double));
        memset((void*)row_cost, 0, frames * sizeof(double));
        for (size_t i = 0; i < frames * registers && has_turns; i++) {
            joints[i] = {};
            joints[i].quat.w = all<V>(1);
        }
    }
    // Keeps what links need of the frames that were just placed.
    void keep(bool with_jacobians) {
        const Frame<V>& f = own->frame;
        for (int l = 0; l < own->count; l++) {
            int64_t t = own->first + l;
            for (int j = 0; j < J && has_turns; j++)
                for (int k = 0; k < 4; k++) lane(((V*)&at(t)[j / W].quat)[k], j % W) = lane(((V*)&f.quat[j])[k], l);
            for (int e = 0; e < entries; e++)
                for (int k = 0; k < 3; k++)
                    place[((t - low) * entries + e) * 3 + k] = lane(((V*)&f.place[point[e]])[k], l);
        }
        for (int e = 0; e < entries && with_jacobians; e++)
            for (int j = own->problem.point_joint[point[e]]; j >= 0; j = own->problem.parent[j]) {
                if (mover_of[j] < 0 || width[e] < 2) continue;
                Mat3<V> turned = crossed(f.joint[j] - f.place[point[e]], f.global[j]);
                for (int l = 0; l < own->count; l++)
                    for (int k = 0; k < 9; k++)
                        jacobian_of(own->first + l, e)[9 * mover_of[j] + k] = lane(((V*)&turned)[k], l);
            }
    }
    void find_turns(int64_t high) {
        for (int64_t t = low; t + 1 < high; t++)
            for (int i = 0; i < registers; i++) {
                Joints& here = at(t)[i];
                here.turn.by = log_quat(conjugate(here.quat) * at(t + 1)[i].quat, here.turn.second);
            }
    }

    // ---- rows ----

    void add_points(const ikol_link& k, int first, int64_t row) {
        for (int i = 0; i < k.count; i++) {
            double w = k.weight[row * k.weight_stride + i], e[3] = {0, 0, 0}, rho, weight, softening;
            if (!(w > 0)) continue;
            const double* stencil = k.stencil + row * k.width;
            size_t from = (row - low) * entries + first + i;
            for (int s = 0; s < k.width; s++)
                for (int a = 0; a < 3; a++) e[a] += stencil[s] * place[(from + s * entries) * 3 + a];
            robust(k.loss, k.loss_width, to->convexity, w * (e[0] * e[0] + e[1] * e[1] + e[2] * e[2]), rho, weight, softening);
            row_cost[row - low] += rho * 0.5;
            w *= weight;
            for (int s = 0; s < k.width; s++) {
                double* x = extra + (from + s * entries) * 9;
                double information = w * stencil[s] * stencil[s];
                x[0] += information; x[3] += information; x[5] += information;
                for (int a = 0; a < 3; a++) x[6 + a] += w * stencil[s] * e[a];
                for (int ahead = 1; s + ahead < k.width; ahead++)
                    between[(from + s * entries) * HALO + ahead - 1] += w * stencil[s] * stencil[s + ahead];
            }
        }
    }
    void add_floor(const ikol_link& k, int first, int64_t t) {
        for (int i = 0; i < k.count; i++) {
            size_t from = (t - low) * entries + first + i;
            const double *x = place + from * 3, *up = k.up;
            double above = x[0] * up[0] + x[1] * up[1] + x[2] * up[2] - k.height;
            double w = k.weight[t * k.weight_stride + i] + (above < 0 ? k.below : 0);
            row_cost[t - low] += 0.5 * w * above * above;
            double* to_ = extra + from * 9;
            for (int a = 0, at = 0; a < 3; a++) {
                for (int b = a; b < 3; b++) to_[at++] += w * up[a] * up[b];
                to_[6 + a] += w * above * up[a];
            }
        }
    }
    static void add_product(Mat3<V>& sum, const Mat3<V>& a, const Mat3<V>& b, V w) {  // w a' b
        Mat3<V> product = mul(transpose(a), b);
        sum.r0 = sum.r0 + product.r0 * w; sum.r1 = sum.r1 + product.r1 * w; sum.r2 = sum.r2 + product.r2 * w;
    }
    void add_turns(const ikol_link& k, int64_t row, bool with_equations) {
        V s0 = all<V>(k.stencil[row * 3]), s2 = all<V>(k.stencil[row * 3 + 2]);
        for (int i = 0; i < registers; i++) {
            Joints *frame[3] = {&at(row)[i], &at(row + 1)[i], &at(row + 2)[i]};
            Turn &before = frame[0]->turn, &after = frame[1]->turn;
            V w = {}, rho, weight, softening;
            for (int l = 0; l < W && i * W + l < J; l++) lane(w, l) = k.weight[row * k.weight_stride + i * W + l];
            Vec3<V> e = after.by * s2 - before.by * s0;
            robust(k.loss, k.loss_width, all<V>(to->convexity), dot(e, e) * w, rho, weight, softening);
            for (int l = 0; l < W && i * W + l < J; l++) row_cost[row - low] += 0.5 * lane(rho, l);
            if (!with_equations) continue;
            w = w * weight;
            Mat3<V> earlier = log_jacobian_rows(before.by, before.second), later = log_jacobian_rows(after.by, after.second);
            Mat3<V> J0 = scaled(transpose(earlier), s0), J2 = scaled(later, s2);
            Mat3<V> J1 = scaled(transpose(J0) + transpose(J2), all<V>(-1));
            Vec3<V> pull = e * w;
            add_product(frame[0]->own, J0, J0, w); add_product(frame[1]->own, J1, J1, w); add_product(frame[2]->own, J2, J2, w);
            add_product(frame[0]->next, J0, J1, w); add_product(frame[1]->next, J1, J2, w);
            add_product(frame[0]->next_but_one, J0, J2, w);
            frame[0]->force = frame[0]->force + mul_t(J0, pull);
            frame[1]->force = frame[1]->force + mul_t(J1, pull);
            frame[2]->force = frame[2]->force + mul_t(J2, pull);
            before.force = before.force - pull * s0;
            after.force = after.force + pull * s2;
        }
    }
    static Mat3<V> scaled(const Mat3<V>& m, V s) { return {m.r0 * s, m.r1 * s, m.r2 * s}; }
    void add_rows(int64_t begin, int64_t high, bool with_equations) {
        if (has_turns) find_turns(high);
        for (int i = 0; i < to->links; i++) {
            const ikol_link& k = to->link[i];
            for (int64_t row = begin; row + k.width <= high; row++) {
                if (k.kind == IKOL_POINT_LINK) add_points(k, first_entry[i], row);
                else if (k.kind == IKOL_FLOOR) add_floor(k, first_entry[i], row);
                else add_turns(k, row, with_equations);
            }
        }
    }
    // Turns in space do not add up like numbers: see RotationLink.bending.
    void add_bending(int64_t begin, int64_t stop) {
        for (int64_t t = begin; t < stop; t++)
            for (int i = 0; i < registers; i++) {
                Joints& here = at(t)[i];
                Vec3<V> on_turn = log_jacobian_t(here.turn.by, here.turn.second, here.turn.force) * all<V>(0.5);
                Mat3<V> between_ = unit_to_rotmat(conjugate(here.quat) * at(t + 1)[i].quat);
                here.next = here.next + Mat3<V>{cross(between_.r0, on_turn), cross(between_.r1, on_turn), cross(between_.r2, on_turn)};
            }
    }

    // ---- blocks ----

    void store_turns(int64_t t, double* hessian, double* gradient) {
        int64_t n = own->n, line = to->hessian_row;
        for (int j = 0; j < J; j++) {
            Joints& here = at(t)[j / W];
            const Mat3<V>* blocks[3] = {&here.own, &here.next, &here.next_but_one};
            for (int a = 0; a < 3; a++) gradient[3 + 3 * j + a] += lane(((V*)&here.force)[a], j % W);
            for (int ahead = 0; ahead < to->reach && t + ahead < to->end; ahead++) {
                bool is_added = ahead == 0 || (is_moved[ahead] && mover_of[j] >= 0);
                for (int k = 0; k < 9; k++) {
                    double value = lane(((V*)blocks[ahead])[k], j % W);
                    double& cell = hessian[(3 + 3 * j + k / 3) * line + ahead * n + 3 + 3 * j + k % 3];
                    cell = is_added ? cell + value : value;
                }
            }
        }
    }
    // J_t' w J_{t + ahead} of the linked points.
    void store_points(int64_t t, int ahead, double* hessian) {
        int turning = is_moved[ahead] ? movers : 0, size = 3 + 3 * turning;
        memset((void*)block, 0, size_t(size) * size * sizeof(double));
        for (int e = 0; e < entries; e++) {
            double w = width[e] > ahead ? between[((t - low) * entries + e) * HALO + ahead - 1] : 0;
            if (w == 0) continue;
            const double *left = jacobian_of(t, e), *right = jacobian_of(t + ahead, e);
            const int32_t* parent = own->problem.parent;
            int last = own->problem.point_joint[point[e]];
            for (int a = 0; a < 3; a++) block[a * size + a] += w;
            for (int j = last; j >= 0 && turning; j = parent[j]) {
                int i = mover_of[j];
                if (i < 0) continue;
                for (int a = 0; a < 3; a++)
                    for (int b = 0; b < 3; b++) {
                        block[a * size + 3 + 3 * i + b] += w * right[9 * i + 3 * a + b];
                        block[(3 + 3 * i + b) * size + a] += w * left[9 * i + 3 * a + b];
                    }
                for (int k = last; k >= 0; k = parent[k]) {
                    int o = mover_of[k];
                    if (o < 0) continue;
                    const double *l = left + 9 * i, *r = right + 9 * o;
                    for (int a = 0; a < 3; a++)
                        for (int b = 0; b < 3; b++)
                            block[(3 + 3 * i + a) * size + 3 + 3 * o + b] += w * (l[a] * r[b] + l[3 + a] * r[3 + b] + l[6 + a] * r[6 + b]);
                }
            }
        }
        double* out = hessian + ahead * own->n;
        for (int r = 0; r < size; r++) {
            double* line = out + (r < 3 ? r : 3 * joint_of[r / 3 - 1] + 3 + r % 3) * to->hessian_row;
            for (int c = 0; c < 3; c++) line[c] = block[r * size + c];
            for (int m = 0; m < turning; m++)
                for (int c = 0; c < 3; c++) line[3 + 3 * joint_of[m] + c] = block[r * size + 3 + 3 * m + c];
        }
    }
    void store(int64_t t) {
        double *hessian = to->hessian + (t - to->origin) * to->hessian_frame, *gradient = to->gradient + (t - to->origin) * own->n;
        for (int ahead = 1; ahead < to->reach && t + ahead < to->end; ahead++)
            if (is_tied[ahead]) store_points(t, ahead, hessian);
        if (has_turns) store_turns(t, hessian, gradient);
    }

    // ---- a stretch ----

    void run(int64_t first, int64_t stop) {
        bool with_equations = to->hessian != nullptr;
        int64_t before = longest - 1, begin = with_equations ? first - before : first, high = stop + before;
        if (begin < to->begin) begin = to->begin;
        if (high > to->end) high = to->end;
        clear(begin, high);
        for (int64_t t = begin; t < high; t += W) {
            own->locate(t, high - t < W ? high - t : W);
            keep(with_equations);
            if (!to->cost || t >= stop) continue;
            own->judge();
            for (int l = 0; l < own->count; l++)
                if (t + l >= first && t + l < stop) to->cost[t + l - to->origin] = lane(own->frame.cost, l);
        }
        add_rows(begin, high, with_equations);
        for (int64_t t = first; t < stop && to->cost; t++) to->cost[t - to->origin] += row_cost[t - begin];
        if (!with_equations) return;
        if (has_turns && to->with_bending) add_bending(begin, high - 1);
        own->extra = extra;
        own->extra_points = point;
        own->extra_first = low;
        own->extras = entries;
        for (int64_t t = first; t < stop; t += W) {
            own->locate(t, stop - t < W ? stop - t : W);
            own->judge();
            own->assemble();
            for (int l = 0; l < own->count; l++) store(t + l);
        }
    }
};

template <int W> int run(const ikol_general_call* call, const ikol_linearise* output) {
    typedef Linearise<W> L;
    L* kernel = allocate<L>(1);
    Links<W>* links = allocate<Links<W>>(1);
    Block<typename L::V>* blocks = allocate<Block<typename L::V>>(call->blocks + 1);
    char *memory = nullptr, *more = nullptr;
    if (kernel && links && blocks) {
        kernel->begin(call, output, blocks);
        links->begin(output, kernel);
        Arena size = {0};
        kernel->lay_out(size);
        links->lay_out_tables(size);
        memory = allocate<char>(size.at);
        if (memory) {
            Arena arena = {(uintptr_t)memory};
            kernel->lay_out(arena);
            links->lay_out_tables(arena);
            kernel->tables();
            links->tables();
            size = {0};
            kernel->lay_out_border(size);
            links->lay_out(size);
            more = allocate<char>(size.at);
        }
        if (more) {
            Arena arena = {(uintptr_t)more};
            kernel->lay_out_border(arena);
            links->lay_out(arena);
            kernel->prepare();
            int64_t stop = call->first + call->frames;
            for (int64_t t = call->first; t < stop; t += STRETCH) links->run(t, stop - t < STRETCH ? stop : t + STRETCH);
        }
    }
    bool is_done = more != nullptr;
    release(more);
    release(memory);
    release(blocks);
    release(links);
    release(kernel);
    return is_done ? 0 : 2;
}

}  // namespace

#ifndef IKOL_LANES_BYTES
#define IKOL_LANES_BYTES 16
#endif

// Returns 0; 1 for a call that makes no sense, 2 when there is no memory.
extern "C" int IKOL_JOIN(ikol_linearise_, IKOL_VARIANT)(const ikol_general_call* call, const ikol_linearise* output) {
    return is_valid(*call) && is_valid(*output, *call) ? run<IKOL_LANES_BYTES / 8>(call, output) : 1;
}

#ifdef IKOL_ENTRY  // one variant of each library holds the entry points
#include "entry.h"

#if defined(__x86_64__)
extern "C" int ikol_linearise_avx2(const ikol_general_call*, const ikol_linearise*);
#ifndef IKOL_NO_AVX512
extern "C" int ikol_linearise_avx512(const ikol_general_call*, const ikol_linearise*);
#endif
#endif

IKOL_EXPORT int ikol_linearise_run(const ikol_general_call* call, const ikol_linearise* output, int variant) {
#if defined(__x86_64__)
#ifndef IKOL_NO_AVX512
    if (variant == 2) return ikol_linearise_avx512(call, output);
#endif
    if (variant >= 1) return ikol_linearise_avx2(call, output);
#endif
    (void)variant;
    return ikol_linearise_base(call, output);
}
// So that whoever fills in the structures can tell whether he means the same.
IKOL_EXPORT int ikol_linearise_sizes() {
    return int(sizeof(ikol_general_call)) << 20 | int(sizeof(ikol_linearise)) << 10 | int(sizeof(ikol_link));
}

#endif

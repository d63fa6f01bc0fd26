// SPDX-License-Identifier: Apache-2.0
//
// Keypoints -> local rotations on any tree, and the derivative of that map. SIMD over frames: W frames of scalar T each.
//
// Unknowns, in global coordinates: the direction d of the bone of each joint with one child, the rotation G of each joint
// with several, the root's place unless it is held. Cost 1/2 sum w_k |p_k - y_k|^2. Each joint hands its parent the cost
// of its subtree as a quadratic 1/2 v'Cv + g'v of the joint's displacement v, so a Newton step is one sweep up and one
// sweep down. The mathematics is in docs/solver.md, the same algorithm in PyTorch in ikol/solver/directions/.
//
// Compiled once per instruction set with IKOL_VARIANT = its name (scripts/build_native.py); the variant `base` also holds
// the choice between them. With IKOL_DEVICE the same code is a GPU's kernel for one tree, one thread a frame
// (ikol/solver/directions/cuda.py). Plain C interface, no C++ library, no global state. Long, because
// it is one class; its algebra is lanes.h.

#include "lanes.h"

#ifndef IKOL_DEVICE
#include <stdlib.h>
#include <string.h>
#endif

// runs once a solve: small rather than fast
#if defined(__clang__) && !defined(IKOL_DEVICE)
#define IKOL_SMALL __attribute__((minsize, noinline))
#else
#define IKOL_SMALL
#endif

#define IKOL_JOIN_(a, b) a##b
#define IKOL_JOIN(a, b) IKOL_JOIN_(a, b)

// What a call reads and writes. Strides are in elements from frame to frame; 0 shares one array among all frames.
// Arrays of one frame are dense: keypoints, offsets (nodes, 3), weights (nodes), twist (joints), rotmat (joints, 3, 3),
// where the joints are the nodes that have children, in order.
struct ikol_tree_call {
    int32_t nodes, hold_root, max_iterations, reserved;
    int64_t frames;
    const int32_t* parents;
    const void *keypoints, *offsets, *weights, *twist;
    int64_t keypoints_stride, offsets_stride, weights_stride, twist_stride;
    double tolerance;
    void *rotmat, *root, *cost;
    int32_t *status, *iterations;
    // the derivative only: of the loss to rotmat and root in (root: null is zero), to the four inputs out (one row per
    // frame; null where nobody asks)
    const void *grad_rotmat, *grad_root;
    void *grad_keypoints, *grad_offsets, *grad_weights, *grad_twist;
};

namespace {

constexpr double NOISY = 0.15;
constexpr int STARTS = 5;  // where keypoints on a fork are missing; ikol/solver/directions/forks.py says why
enum Status { CONVERGED = 0, STALLED = 1, MAX_ITERATIONS = 2, INVALID = 4 };

// What follows from the parents of K nodes, in pointers or arrays of `t`.
// only[j]: the only child of j, or -1. multi[j]: number of j among the joints with several children, or -1.
// frame[j]: that number for j or its nearest ancestor that has one, or -1. child[begin[j] .. begin[j+1]]: children.
// joint[j]: number of j among the nodes with children, or -1.
template <class Tables> constexpr void make_tables(Tables& t, int K) {
    for (int j = 0; j <= K; j++) t.begin[j] = 0;
    for (int k = 1; k < K; k++) t.begin[t.parent[k] + 1]++;
    t.num_joints = t.num_multi = 0;
    for (int j = 0; j < K; j++) {
        int count = t.begin[j + 1];
        t.joint[j] = count ? t.num_joints++ : -1;
        t.multi[j] = count > 1 ? t.num_multi++ : -1;
        t.frame[j] = t.multi[j] >= 0 ? t.multi[j] : (j ? t.frame[t.parent[j]] : -1);
        t.only[j] = -1;
        t.begin[j + 1] += t.begin[j];
    }
    for (int k = K - 1; k > 0; k--) {  // from the back: begin[j + 1] is moved down to begin[j] while it is filled
        int j = t.parent[k];
        t.child[--t.begin[j + 1]] = k;
    }
    for (int j = 0; j < K; j++) t.begin[j] = t.begin[j + 1];
    t.begin[K] = K - 1;
    for (int j = 0; j < K; j++)
        if (t.begin[j + 1] - t.begin[j] == 1) t.only[j] = t.child[t.begin[j]];
}

template <class T, int W> struct Solver {
    typedef typename Register<T, W>::V V;
    typedef Mask<V> M;
    typedef Precision<T> P;
    typedef Vec3<V> V3;
    typedef Sym3<V> S3;
    typedef Mat3<V> M3;

    static V all(T x) { return V{} + x; }  // not ::all, which is something else to NVRTC
    static V3 zero3() { return {V{}, V{}, V{}}; }
    static M3 identity() { return ::identity<V>(); }

    static constexpr size_t GRAIN = W > 1 ? 64 : sizeof(T);  // arrays begin at whole registers

    // ---- the problem of W frames ----
    const ikol_tree_call* call;
    int K, num_joints, num_multi;
    const int32_t *parent, *only, *multi, *frame, *begin, *child, *joint;  // see make_tables
    V3 *y, *o, *b, *d, *d_old, *r, *p, *e, *F, *g, *v, *x, *dbar, *bone_bar, *N;
    S3* C;
    V *w, *L, *twist, *twist_bar, *reach;
    M3 *G, *G_old, *X, *R, *A, *taken;
    V3 *xh, *ell;
    V3 root, root_old, root_ell, root_v, origin;
    V extent, inverse_length, fork_size;
    M invalid, open;
    bool any_invalid;

    template <class... U> static void take(unsigned char*& at, size_t count, U*&... each) {
        ((each = (U*)at, at += (count * sizeof(U) + GRAIN - 1) / GRAIN * GRAIN), ...);
    }
    // Numbers that `lay_out` hands out: few, because the speed hangs on what fits into the caches. What is not alive at
    // the same time shares its place: the sums F over subtrees replace the forces e; directions and rotations before a
    // step (d_old, G_old) the step.
    static constexpr size_t room(size_t n, size_t m, bool backward) { return n * (backward ? 68 : 58) + m * (24 + 9 * (STARTS - 1)); }
    void lay_out(unsigned char*& at, bool backward) {
        size_t n = K, m = num_multi ? num_multi : 1;
        take(at, n, d, x, y, w, L, reach, p, e, g, C, v, r, o, b, twist, R, A);
        take(at, m, G, X, xh, ell);
        take(at, m * (STARTS - 1), taken);
        F = e;
        d_old = x;
        G_old = X;
        if (backward) take(at, n, dbar, bone_bar, N, twist_bar);
    }
    static void put(V3& a, int l, const T* from) { lane(a.x, l) = from[0]; lane(a.y, l) = from[1]; lane(a.z, l) = from[2]; }

    void load(int64_t first, bool again) {
        const int64_t last = call->frames - 1;
        M bad = {};
        V check = {};
        for (int l = 0; l < W; l++) {
            int64_t f = first + l < last ? first + l : last;  // lanes beyond the end repeat the last frame
            const T* weights = call->weights ? (const T*)call->weights + f * call->weights_stride : nullptr;
            const T* keypoints = (const T*)call->keypoints + f * call->keypoints_stride;
            int reference = 0;
            if (weights && !call->hold_root)
                while (reference < K - 1 && weights[reference] == 0) reference++;
            bool seen = call->hold_root || !weights || weights[reference] != 0;
            const T zero[3] = {0, 0, 0}, *at = seen ? keypoints + 3 * reference : zero;
            put(origin, l, at);
            for (int k = 0; k < K; k++) {
                T weight = weights ? weights[k] : T(1);
                if (!(weight >= 0)) mark(bad, l);
                lane(w[k], l) = weight;
                bool used = weight != 0 || (k == 0 && call->hold_root);
                const T place[3] = {used ? keypoints[3 * k] - at[0] : 0, used ? keypoints[3 * k + 1] - at[1] : 0,
                                    used ? keypoints[3 * k + 2] - at[2] : 0};
                put(y[k], l, place);
            }
            if (!again || call->twist_stride) {
                const T* angle = (const T*)call->twist + f * call->twist_stride;
                for (int j = 0; j < K; j++) lane(twist[j], l) = joint[j] >= 0 ? angle[joint[j]] : 0;
            }
            if (!again || call->offsets_stride) {
                const T* offsets = (const T*)call->offsets + f * call->offsets_stride;
                for (int k = 1; k < K; k++) put(o[k], l, offsets + 3 * k);
            }
        }
        V longest = {};
        extent = V{};
        fork_size = V{};  // mean square of the bones of forks
        int on_forks = 0;
        for (int k = 0; k < K; k++) {
            if (k) {
                V square = dot(o[k], o[k]);
                L[k] = sqrt_(square);
                longest = max_(longest, L[k]);
                if (multi[parent[k]] >= 0) { fork_size += square; on_forks++; }
                // a joint and its child at one place: any direction does, nothing depends on it
                M flat = square <= all(P::tiny);
                b[k] = pick(flat, V3{V{}, all(1), V{}}, o[k] * (all(1) / sqrt_(flat ? all(1) : square)));
            }
            check += (y[k].x + y[k].y + y[k].z + w[k] + twist[k] + (k ? L[k] : V{})) * T(0);
            extent = max_(extent, dot(y[k], y[k]));
        }
        extent = sqrt_(extent) + longest;
        fork_size = on_forks ? fork_size * T(1.0 / on_forks) : all(T(1e30));
        inverse_length = all(1) / max_(longest, all(P::tiny));
        invalid = bad | none(check == V{});
        any_invalid |= any(invalid);
        if (any(invalid))
            for (int k = 0; k < K; k++) {
                w[k] = invalid ? V{} : w[k];
                y[k] = pick(invalid, zero3(), y[k]);
                twist[k] = invalid ? V{} : twist[k];
                if (k) { L[k] = invalid ? all(1) : L[k]; b[k] = pick(invalid, V3{V{}, all(1), V{}}, b[k]); }
                o[k] = k ? pick(invalid, V3{V{}, all(1), V{}}, o[k]) : zero3();
            }
        if (call->hold_root) w[0] = V{};  // a constant of the cost
        for (int k = K - 1; k >= 0; k--) reach[k] = w[k];
        for (int k = K - 1; k > 0; k--) reach[parent[k]] += reach[k];
    }

    // ---- analytic start ----
    // What each node is aimed at: it lies on a shell around e[k] with these radii, 0 where its keypoint is known. The step's
    // quadratics, whose place this takes, do not exist yet.
    V& trust(int k) { return C[k].xx; }  // for the first guess
    V& low(int k) { return C[k].xy; }
    V& high(int k) { return C[k].xz; }
    V& weight(int k) { return C[k].yy; }  // 0 where nothing below is known
    IKOL_SMALL void find_aims() {
        for (int k = K - 1; k >= 0; k--) {
            M seen = w[k] > V{};
            V known = {}, far = {}, near = {};
            V3 mean = zero3(), arm = zero3();
            for (int i = begin[k]; i < begin[k + 1]; i++) {
                int c = child[i];
                V q = weight(c);
                known += q; far += high(c) * q; near += low(c) * q;
                mean = mean + e[c] * q; arm = arm + o[c] * q;
            }
            int count = begin[k + 1] - begin[k];
            V part = all(1) / max_(known, all(P::tiny)), length = sqrt_(dot(arm, arm)) * part;
            far *= part; near *= part;
            e[k] = pick(seen, y[k], mean * part);
            high(k) = seen ? V{} : far + length;
            low(k) = seen ? V{} : max_(max_(near - length, length - far), V{});
            weight(k) = seen ? w[k] : known * T(count ? 1.0 / count : 0.0);
            trust(k) = seen ? w[k] : weight(k) * T(1e-3);
        }
    }
    // A joint with several children that starts: at `place`, or `length` away from it, or (a free root) anywhere.
    struct Fork { int j; bool hangs, free; V3 place; V length; };
    V3 place_of(const Fork& f, const M3& turn) {  // that suits a rotation best
        if (!f.hangs && !f.free) return f.place;
        V total = f.free ? w[0] : V{};
        V3 wanted = y[0] * total;
        for (int i = begin[f.j]; i < begin[f.j + 1]; i++) {
            int k = child[i];
            total += trust(k); wanted = wanted + (e[k] - mul(turn, o[k])) * trust(k);
        }
        wanted = pick(total > V{}, wanted * (all(1) / max_(total, all(P::tiny))), f.place);
        return f.free ? wanted : f.place + unit(wanted - f.place) * f.length;
    }
    // How far the children of a fork are outside of their shells, squared; and one damped Gauss-Newton step that mends it.
    IKOL_SMALL V violation(const Fork& f, const M3& turn, M3* next) {
        V3 at = place_of(f, turn), torque = zero3();
        V score = f.free ? w[0] * dot(at - y[0], at - y[0]) : V{};
        S3 H = {};
        for (int i = begin[f.j]; i < begin[f.j + 1]; i++) {
            int k = child[i];
            V3 s = mul(turn, o[k]), gap = at + s - e[k];
            V distance = sqrt_(dot(gap, gap)), outside = max_(distance - high(k), V{}) - max_(low(k) - distance, V{});
            score += weight(k) * outside * outside;
            if (!next) continue;
            V3 row = cross(s, gap * (all(1) / max_(distance, all(T(1e-10)))));
            M seen = w[k] > V{};
            V q = weight(k) * (outside == V{} ? V{} : all(1)), full = seen ? weight(k) : V{};
            torque = torque + row * (q * outside);
            q = seen ? V{} : q;
            V square = dot(s, s);  // a known child counts with all three coordinates
            add(H, {q * row.x * row.x + full * (square - s.x * s.x), q * row.x * row.y - full * s.x * s.y,
                    q * row.x * row.z - full * s.x * s.z, q * row.y * row.y + full * (square - s.y * s.y),
                    q * row.y * row.z - full * s.y * s.z, q * row.z * row.z + full * (square - s.z * s.z)});
        }
        if (next) {
            V damp = (H.xx + H.yy + H.zz) * T(0.02) + T(P::tiny);
            H.xx += damp; H.yy += damp; H.zz += damp;
            V3 a = mul(inverse(H, all(P::tiny), MODIFIED), torque);
            a = a * (all(T(-0.3)) / max_(sqrt_(dot(a, a)), all(T(0.6))));  // half of a turn by 0.6 at most
            *next = mul(from_quat(all(1), a.x, a.y, a.z), turn);
        }
        return score;
    }
    // The best rotation of a fork that none of the starts before this one had: from some all around a first guess.
    IKOL_SMALL M3 scan(const Fork& f, const M3& first, int rank) {
        const M3 columns = transpose(first);
        const V3 column[3] = {columns.r0, columns.r1, columns.r2};
        M3 best = first;
        V lever = {}, lowest = {};
        for (int i = begin[f.j]; i < begin[f.j + 1]; i++) lever += weight(child[i]) * dot(o[child[i]], o[child[i]]);
        M found = {};
        for (int n = 0; n < 48; n++) {
            int i0 = n / 16, i1 = (n & 8) ? (i0 == 2 ? 1 : 2) : (i0 == 0 ? 1 : 0), i2 = 3 - i0 - i1;
            bool flip[3] = {(n & 4) != 0, (n & 2) != 0, (n & 1) != 0}, odd = (i1 - i0 + 3) % 3 != 1;
            if (odd || flip[0] != (flip[1] != flip[2])) continue;  // those of a tetrahedron: 12
            V3 to[3];
            to[i0] = column[0] * all(flip[0] ? -1 : 1);
            to[i1] = column[1] * all(flip[1] ? -1 : 1);
            to[i2] = column[2] * all(flip[2] ? -1 : 1);
            M3 turn = transpose(M3{to[0], to[1], to[2]});
            for (int it = 0; it < 3; it++) {
                M3 next;
                violation(f, turn, &next);
                turn = next;
            }
            V apart = all(6) - T(2) * inner(turn, first);  // squared distance of the matrices
            V score = violation(f, turn, nullptr) + lever * apart * T(1e-4);
            M better = (score < lowest) | none(found);
            for (int q = 0; q < rank; q++)  // more than 32 degrees away from it
                better = better & (inner(turn, taken[q * num_multi + multi[f.j]]) <= all(T(2.7)));
            best = pick(better, turn, best);
            lowest = better ? score : lowest;
            found = found | better;
        }
        return best;
    }
    static V inner(const M3& a, const M3& b) { return dot(a.r0, b.r0) + dot(a.r1, b.r1) + dot(a.r2, b.r2); }
    static void add_outer(V (&B)[3][3], V3 t, V3 s) {
        B[0][0] += t.x * s.x; B[0][1] += t.x * s.y; B[0][2] += t.x * s.z;
        B[1][0] += t.y * s.x; B[1][1] += t.y * s.y; B[1][2] += t.y * s.z;
        B[2][0] += t.z * s.x; B[2][1] += t.z * s.y; B[2][2] += t.z * s.z;
    }
    IKOL_SMALL M3 first_guess(const Fork& f, const M3& above, M centred) {  // Kabsch; about the common centre where `centred`
        V total = f.free ? w[0] : V{}, size = {}, B[3][3] = {};
        V3 mean_y = y[0] * total, mean_o = zero3();
        for (int i = begin[f.j]; i < begin[f.j + 1]; i++) {
            int k = child[i];
            total += trust(k); mean_y = mean_y + e[k] * trust(k); mean_o = mean_o + o[k] * trust(k);
        }
        V part = all(1) / max_(total, all(P::tiny));
        mean_y = pick(centred, mean_y * part, f.place);
        mean_o = pick(centred, mean_o * part, zero3());
        for (int i = begin[f.j]; i < begin[f.j + 1]; i++) {
            int k = child[i];
            add_outer(B, e[k] - mean_y, (o[k] - mean_o) * trust(k));
            size += trust(k) * dot(o[k], o[k]);
        }
        if (f.free) add_outer(B, y[0] - mean_y, mean_o * (-w[0]));
        // a slight pull towards the frame above settles what the keypoints leave open
        V pull = size * T(100 * P::eps) + T(P::tiny);
        const V3* row[3] = {&above.r0, &above.r1, &above.r2};
        for (int i = 0; i < 3; i++) { B[i][0] += pull * row[i]->x; B[i][1] += pull * row[i]->y; B[i][2] += pull * row[i]->z; }
        return align(B);
    }
    // The start number `rank`, the best one first; they differ where forks are unclear
    // (`open`): keypoints on them are missing, or as wrong as their bones are long (`noisy`).
    IKOL_SMALL void start(int rank, M noisy) {
        find_aims();
        open = M{};
        p[0] = call->hold_root ? y[0] : e[0];
        for (int j = 0; j < K; j++) {
            int m = multi[j], c = only[j], up = j ? parent[j] : 0, f = j ? frame[up] : -1;
            M3 above = f >= 0 ? G[f] : identity();
            if (m >= 0) {
                Fork fork = {j, j && only[up] >= 0, j == 0 && !call->hold_root, p[j], V{}};
                M moved = M{};
                if (fork.hangs) {
                    moved = none(w[j] > V{});
                    fork.place = pick(moved, p[up], p[j]);
                    fork.length = moved ? L[j] : V{};
                }
                G[m] = first_guess(fork, above, fork.free ? none(M{}) : moved);
                M unclear = moved | noisy;
                for (int i = begin[j]; i < begin[j + 1]; i++)
                    unclear = unclear | (none(w[child[i]] > V{}) & (weight(child[i]) > V{}));
                if (any(unclear)) {
                    M3 found = scan(fork, G[m], rank);
                    if (rank < STARTS - 1) taken[rank * num_multi + m] = found;
                    G[m] = pick(unclear, found, G[m]);
                    open = open | unclear;
                }
                p[j] = pick(fork.free ? none(M{}) : moved, place_of(fork, G[m]), p[j]);
                if (fork.hangs) {
                    V3 bone = p[j] - p[up];
                    d[j] = pick(moved & (dot(bone, bone) > all(P::tiny)), unit(bone), d[j]);
                }
                for (int i = begin[j]; i < begin[j + 1]; i++) p[child[i]] = p[j] + mul(G[m], o[child[i]]);
            } else if (c >= 0) {
                V3 rest = mul(above, b[c]);
                if (j == 0 && !call->hold_root) p[0] = pick(w[0] > V{}, p[0], e[c] - rest * L[c]);
                V3 aim = e[c] - p[j];
                V known = dot(aim, aim) > all(P::tiny) ? all(1) : V{};
                aim = unit(aim) * known;
                // a limb whose middle is missing starts bent: straight towards its end is a saddle
                V3 bent = aim * (weight(c) > V{} ? all(1) : V{}) + rest * all(T(0.5));
                bent = pick(dot(bent, bent) > all(T(1e-4)), bent, rest);
                d[c] = unit(pick((w[c] > V{}) & (known > V{}), aim, bent));
                p[c] = p[j] + d[c] * L[c];
            }
        }
        root = p[0];
    }

    // ---- one Newton step ----
    V place(int k, V3 at) {  // a node, and what twice the cost has of it
        V3 miss = at - y[k];
        p[k] = at;
        e[k] = miss * w[k];
        return dot(miss, e[k]);
    }
    V evaluate() {
        V cost = place(0, root);
        for (int k = 1; k < K; k++) {
            int j = parent[k], m = multi[j];
            if (m >= 0) r[k] = mul(G[m], o[k]);
            cost += place(k, p[j] + (m >= 0 ? r[k] : d[k] * L[k]));
        }
        return cost * T(0.5);
    }
    // Eliminate all joints, leaves first. Right side: the forces on the nodes; where `mode` is PSEUDO instead `dbar` on
    // bone directions, `ell` on rotations and `root_ell`.
    void eliminate(V damping, bool newton, V floor, int mode) {
        for (int j = K - 1; j >= 0; j--) {
            int m = multi[j], c = only[j];
            V3 force = e[j], pull = mode == PSEUDO ? zero3() : force;  // become F[j] and g[j]
            S3 mass = {w[j], V{}, V{}, w[j], V{}, w[j]};  // becomes C[j]
            if (c >= 0) {
                const S3 q = C[c];
                V3 t1, t2;
                tangents(d[c], t1, t2);
                V3 s1 = t1 * L[c], s2 = t2 * L[c], u1 = mul(q, s1), u2 = mul(q, s2);
                V a = dot(s1, u1), bb = dot(s1, u2), dd = dot(s2, u2), mean = (a + dd) * T(0.5), half = (a - dd) * T(0.5);
                V lever = max_(abs_(mean), T(0.01) * reach[c] * L[c] * L[c]);
                V limit = lever * floor + T(P::tiny), radius = sqrt_(half * half + bb * bb);
                mean += damping * lever;
                if (newton) mean -= L[c] * dot(F[c], d[c]);
                V i1 = reciprocal(mean + radius, limit, mode), i2 = reciprocal(mean - radius, limit, mode);
                V im = (i1 + i2) * T(0.5), is = (i1 - i2) * T(0.5) / max_(radius, all(P::tiny));
                V ia = im + is * half, ib = is * bb, id = im - is * half;
                V3 z1 = u1 * ia + u2 * ib, z2 = u1 * ib + u2 * id;
                V f1 = dot(s1, g[c]), f2 = dot(s2, g[c]);
                if (mode == PSEUDO) { f1 += dot(t1, dbar[c]); f2 += dot(t2, dbar[c]); }
                V y1 = ia * f1 + ib * f2, y2 = ib * f1 + id * f2;
                add(mass, {q.xx - (u1.x * z1.x + u2.x * z2.x), q.xy - (u1.x * z1.y + u2.x * z2.y),
                           q.xz - (u1.x * z1.z + u2.x * z2.z), q.yy - (u1.y * z1.y + u2.y * z2.y),
                           q.yz - (u1.y * z1.z + u2.y * z2.z), q.zz - (u1.z * z1.z + u2.z * z2.z)});
                force = force + F[c];
                pull = pull + g[c] - (u1 * y1 + u2 * y2);
                // for the way down: the step along t1 is minus (y1 + z1'v), along t2 the same
                C[c] = {z1.x, z1.y, z1.z, z2.x, z2.y, z2.z};
                g[c] = {y1, y2, V{}};
            } else if (m >= 0) {
                // displacement of child c: v + a x r_c
                S3 H = {}, Q = {};
                M3 Hv = {zero3(), zero3(), zero3()};
                V3 f = mode == PSEUDO ? ell[m] : zero3();
                V lever = {};
                for (int i = begin[j]; i < begin[j + 1]; i++) {
                    int k = child[i];
                    const V3 s = r[k];
                    const S3& q = C[k];
                    V3 c0 = {q.xx, q.xy, q.xz}, c1 = {q.xy, q.yy, q.yz}, c2 = {q.xz, q.yz, q.zz};
                    V3 a0 = c2 * s.y - c1 * s.z, a1 = c0 * s.z - c2 * s.x, a2 = c1 * s.x - c0 * s.y;  // rows of [r]x C
                    Hv = {Hv.r0 + a0, Hv.r1 + a1, Hv.r2 + a2};
                    V3 b0 = cross(s, a0), b1 = cross(s, a1), b2 = cross(s, a2);
                    add(H, {b0.x, b0.y, b0.z, b1.y, b1.z, b2.z});
                    f = f + cross(s, g[k]);
                    if (newton) {
                        V3 n = F[k];
                        V across = dot(s, n), h = all(T(0.5));
                        add(Q, {s.x * n.x - across, h * (s.x * n.y + s.y * n.x), h * (s.x * n.z + s.z * n.x),
                                s.y * n.y - across, h * (s.y * n.z + s.z * n.y), s.z * n.z - across});
                    }
                    lever += reach[k] * dot(s, s);
                    add(mass, q);
                    force = force + F[k];
                    pull = pull + g[k];
                }
                lever = max_(abs_(H.xx + H.yy + H.zz) * T(1.0 / 3), T(0.01) * lever);
                V damp = damping * lever;
                add(H, Q);
                H.xx += damp; H.yy += damp; H.zz += damp;
                S3 I = inverse(H, lever * floor + T(P::tiny), mode);
                M3 Ht = transpose(Hv);  // its rows are the columns of Hv
                V3 q0 = mul(I, Ht.r0), q1 = mul(I, Ht.r1), q2 = mul(I, Ht.r2);
                X[m] = transpose(M3{q0, q1, q2});
                xh[m] = mul(I, f);
                add(mass, {-dot(Ht.r0, q0), -dot(Ht.r0, q1), -dot(Ht.r0, q2), -dot(Ht.r1, q1), -dot(Ht.r1, q2), -dot(Ht.r2, q2)});
                pull = pull - mul(Ht, xh[m]);
            }
            F[j] = force; g[j] = pull; C[j] = mass;
        }
        root_v = zero3();
        if (!call->hold_root) {
            S3 H = C[0];
            V lever = max_(abs_(H.xx + H.yy + H.zz) * T(1.0 / 3), T(0.01) * reach[0]), damp = damping * lever;
            H.xx += damp; H.yy += damp; H.zz += damp;
            V3 f = mode == PSEUDO ? g[0] + root_ell : g[0];
            root_v = mul(inverse(H, lever * floor + T(P::tiny), mode), f) * all(-1);
        }
    }
    // Substitute, root first: displacements into v, the largest turn into `largest`. `moving`: make the step and return
    // the new cost; otherwise leave the changes of direction in x and the rotations in xh.
    V substitute(bool moving, V& largest) {
        V cost = {};
        v[0] = root_v;
        largest = sqrt_(dot(root_v, root_v)) * inverse_length;
        if (moving) {
            root_old = root;
            root = root + root_v;
            cost = place(0, root);
        }
        for (int j = 0; j < K; j++) {
            int m = multi[j], c = only[j];
            if (c >= 0) {
                V3 from = d[c], t1, t2;
                tangents(from, t1, t2);
                const S3 z = C[c];
                V a1 = -(g[c].x + dot(V3{z.xx, z.xy, z.xz}, v[j])), a2 = -(g[c].y + dot(V3{z.yy, z.yz, z.zz}, v[j]));
                V3 turn = t1 * a1 + t2 * a2;
                v[c] = v[j] + turn * L[c];
                largest = max_(largest, max_(abs_(a1), abs_(a2)));
                if (moving) {
                    V3 to = unit(from + turn);
                    d_old[c] = from;
                    d[c] = to;
                    cost += place(c, p[j] + to * L[c]);
                } else x[c] = turn;
            } else if (m >= 0) {
                V3 a = (xh[m] + mul(X[m], v[j])) * all(-1), h = a * all(T(0.5));
                M3 to = G[m];
                if (moving) {
                    to = mul(from_quat(all(1), h.x, h.y, h.z), to);  // Cayley's map: no trigonometry
                    G_old[m] = G[m];
                    G[m] = to;
                } else xh[m] = a;
                for (int i = begin[j]; i < begin[j + 1]; i++) {
                    int k = child[i];
                    v[k] = v[j] + cross(a, r[k]);
                    if (moving) {
                        r[k] = mul(to, o[k]);
                        cost += place(k, p[j] + r[k]);
                    }
                }
                largest = max_(largest, max_(abs_(a.x), max_(abs_(a.y), abs_(a.z))));
            }
        }
        return cost * T(0.5);
    }
    void take_back(M which) {
        root = pick(which, root_old, root);
        for (int j = 0; j < K; j++) {
            int m = multi[j], c = only[j];
            if (c >= 0) d[c] = pick(which, d_old[c], d[c]);
            else if (m >= 0) G[m] = pick(which, G_old[m], G[m]);
        }
    }
    void minimise(M skip, V& best, V& status, V& count) {
        best = evaluate();
        V damping = {}, evens = {}, last = all(1);
        M done = invalid | skip;
        status = done ? all(INVALID) : all(MAX_ITERATIONS);
        count = V{};
        V weight = reach[0], grain = T(P::eps) * extent;  // what rounding does to a place
        for (int it = 0; it < call->max_iterations && any(none(done)); it++) {
            // least curvature, as part of a joint's lever: near the end none is raised that is not needed to be positive
            V floor = it < 4 ? all(0.25) : (last < all(T(0.1)) ? all(T(1e-3)) : all(T(0.05)));
            eliminate(damping, it >= 2, floor, MODIFIED);
            V cost = substitute(true, last), step = last * (damping + T(1));
            M worse = none(cost <= best);
            // Costs that differ by rounding only cannot judge a step any more; a Newton step is better than they are.
            // Three such steps, undamped, are the last.
            // what the rounding of the sum, and of the places in it (first and second order), does to the cost
            V slack = best * (T(8) * T(P::eps)) + sqrt_(T(2) * weight * best) * grain + T(64) * weight * grain * grain;
            M even = worse & (step < all(T(1e-2))) & (cost <= best + slack);
            evens += even ? all(1) : V{};
            worse = worse & none(even);
            M small = (step < all(T(call->tolerance))) | (evens >= all(3)), stuck = worse & (damping > all(T(1e6)));
            count = done ? count : count + T(1);
            status = done ? status : (small ? all(CONVERGED) : (stuck ? all(STALLED) : status));
            M back = worse | done;
            best = back ? best : cost;
            V raised = max_(damping * T(4), all(T(0.1)));
            raised = raised < all(T(4e6)) ? raised : all(T(4e6));
            last = worse ? all(1) : last;
            damping = worse ? raised : (((damping > all(T(1e-3))) & none(even)) ? damping * T(0.25) : V{});
            if (any(back)) {
                take_back(back);
                evaluate();
            }
            done = done | small | stuck;
        }
    }

    // ---- local rotations from directions, rotations and twists ----
    void rebuild() {
        for (int j = 0; j < K; j++) {
            if (joint[j] < 0) continue;
            int m = multi[j], c = only[j];
            M3 above = j ? A[parent[j]] : identity();
            if (m >= 0) {
                A[j] = G[m];
                R[j] = j ? mul(transpose(above), G[m]) : G[m];
                continue;
            }
            V3 bone = b[c], u = unit(mul_t(above, d[c])), h = bone + u, n1, n2;
            tangents(bone, n1, n2);
            V square = dot(h, h);
            h = pick(square > all(4 * T(P::eps)), h, n1);
            V k = all(-2) / dot(h, h);
            // the swing as two reflections: orthonormal at every angle, half a turn included
            M3 S = {{all(1), V{}, V{}}, {V{}, all(1), V{}}, {V{}, V{}, all(1)}};
            V3 hb = h * (k * dot(h, bone)) + bone;  // reflection of the bone
            S.r0 = S.r0 + h * (k * h.x) - bone * (T(2) * hb.x);
            S.r1 = S.r1 + h * (k * h.y) - bone * (T(2) * hb.y);
            S.r2 = S.r2 + h * (k * h.z) - bone * (T(2) * hb.z);
            // near half a turn S b is wrong by eps/|h|: one small turn puts the bone on its direction
            V3 fix = cross(mul(S, bone), u) * all(T(0.5));
            S = mul(from_quat(all(1), fix.x, fix.y, fix.z), S);
            V sine, cosine;
            sincos(twist[j], sine, cosine);
            // S Rot(b, phi) = S (cos I + sin [b]x + (1 - cos) b b')
            V3 along = mul(S, bone) * (T(1) - cosine);
            R[j] = {S.r0 * cosine + cross(S.r0, bone) * sine + bone * along.x,
                    S.r1 * cosine + cross(S.r1, bone) * sine + bone * along.y,
                    S.r2 * cosine + cross(S.r2, bone) * sine + bone * along.z};
            A[j] = mul(above, R[j]);
        }
    }

    void store(int64_t first, M which, V cost, V status, V count) {
        V keep = which ? all(1) : V{};
        T *rotmat = (T*)call->rotmat, *place = (T*)call->root, *costs = (T*)call->cost;
        V3 at = root + origin;
        for (int l = 0; l < W && first + l < call->frames; l++) {
            if (lane(keep, l) == 0) continue;
            int64_t f = first + l;
            T* to = rotmat + f * num_joints * 9;
            for (int j = 0; j < K; j++)
                if (joint[j] >= 0) {
                    const T* from = (const T*)&R[j];
                    for (int i = 0; i < 9; i++) to[i] = from[i * W + l];
                    to += 9;
                }
            place[3 * f] = lane(at.x, l); place[3 * f + 1] = lane(at.y, l); place[3 * f + 2] = lane(at.z, l);
            costs[f] = lane(cost, l);
            call->status[f] = (int32_t)lane(status, l);
            call->iterations[f] = (int32_t)lane(count, l);
        }
    }
    void solve(int64_t begin, int64_t step) {  // the frames begin, begin + step, ...
        for (int64_t first = begin; first < call->frames; first += step) {
            load(first, first > begin);
            M todo = none(M{}), noisy = {};
            V kept = {};
            for (int rank = 0; rank < STARTS && any(todo); rank++) {
                start(rank, noisy);
                M unclear = open;
                V cost, status, count;
                minimise(none(todo), cost, status, count);
                // a root mean square of 1e-5 of the extent is not worth another start, nor a switch to one
                V small = reach[0] * extent * extent * T(0.5e-10);
                M better = rank ? todo & (cost < kept * T(0.999) - small) : todo;
                kept = better ? cost : kept;
                if (any(better)) {
                    rebuild();
                    store(first, better, cost, status, count);
                }
                noisy = kept * T(2) > reach[0] * fork_size * T(NOISY * NOISY);
                todo = todo & (unclear | noisy) & (kept > small) & none(invalid);
                if (call->max_iterations == 0) break;
            }
        }
    }

    // ---- the derivative, by the implicit function theorem ----
    void load_solution(int64_t first) {
        for (int l = 0; l < W; l++) {
            int64_t f = first + l < call->frames ? first + l : call->frames - 1;
            put(root, l, (const T*)call->root + 3 * f);
            const T none_[3] = {0, 0, 0};
            put(root_ell, l, call->grad_root ? (const T*)call->grad_root + 3 * f : none_);
            const T *from = (const T*)call->rotmat + f * num_joints * 9, *grad = (const T*)call->grad_rotmat + f * num_joints * 9;
            if (call->status[f] != CONVERGED) mark(invalid, l);
            for (int j = 0; j < K; j++)
                if (joint[j] >= 0) {
                    T *R_to = (T*)&R[j], *A_to = (T*)&A[j];
                    for (int i = 0; i < 9; i++) R_to[i * W + l] = from[9 * joint[j] + i];
                    for (int i = 0; i < 9; i++) A_to[i * W + l] = grad[9 * joint[j] + i];
                }
        }
        root = root - origin;
        root_ell = pick(invalid, zero3(), root_ell);
        for (int j = 0; j < K; j++) {
            if (joint[j] < 0) continue;
            // moment of the loss about joint j, in its parent's frame: <dL/dR, [m]x R>
            M3 B = mul(A[j], transpose(R[j]));
            V3 moment = {B.r2.y - B.r1.z, B.r0.z - B.r2.x, B.r1.x - B.r0.y};
            M3 above = j ? A[parent[j]] : identity();
            A[j] = j ? mul(above, R[j]) : R[j];
            // m about the turn of j, -m about the turn of its parent
            N[j] = pick(invalid, zero3(), mul(above, moment));
            v[j] = N[j];
            if (multi[j] >= 0) G[multi[j]] = A[j];
            else d[only[j]] = unit(mul(A[j], b[only[j]]));
        }
    }
    // Moments up the chain of joints: onto directions (dbar), rotations (ell), twists and rest bones. Formulas in docs/solver.md
    void reverse_rebuild() {
        for (int j = K - 1; j >= 0; j--) {
            if (joint[j] < 0) continue;
            int m = multi[j], c = only[j];
            if (j) N[parent[j]] = N[parent[j]] - v[j];
            if (m >= 0) { ell[m] = N[j]; continue; }
            M3 above = j ? A[parent[j]] : identity();
            V3 rest = mul(above, b[c]);
            V along = dot(N[j], d[c]), near = max_(dot(rest, d[c]) + T(1), all(T(1e-6)));  // bounded near half a turn
            V k = along / near;
            twist_bar[j] = along;
            dbar[c] = cross(N[j] - rest * k, d[c]);
            if (j) N[parent[j]] = N[parent[j]] + (rest + d[c]) * k;
            bone_bar[c] = cross(mul_t(above, d[c]) * k - mul_t(A[j], N[j]), b[c]);
        }
    }
    // `newton`: of the optimum; otherwise of a Gauss-Newton step more.
    void differentiate(int64_t begin, int64_t step, bool newton) {
        for (int64_t first = begin; first < call->frames; first += step) {
            load(first, first > begin);
            load_solution(first);
            reverse_rebuild();
            evaluate();
            V largest;
            eliminate(V{}, newton, all(P::hidden), PSEUDO);
            substitute(false, largest);  // v, x, xh are now minus H^-1 times the gradient of the loss
            for (int k = 0; k < K; k++) g[k] = v[k] * w[k];
            for (int k = K - 1; k > 0; k--) g[parent[k]] = g[parent[k]] + g[k];
            store_gradients(first);
        }
    }
    void store_gradients(int64_t first) {
        for (int k = 0; k < K; k++) {
            // signs: v is -zeta of the formulas
            V3 on_keypoint = v[k] * (-w[k]), on_offset = zero3();
            V on_weight = dot(v[k], p[k] - y[k]);
            if (k == 0 && call->hold_root) { on_keypoint = g[0] + root_ell; on_weight = V{}; }
            if (k) {
                int j = parent[k], m = multi[j];
                if (m >= 0) on_offset = mul_t(G[m], g[k] + cross(F[k], xh[m]));
                else {
                    V along = dot(g[k], d[k]) + dot(x[k], F[k]);
                    on_offset = b[k] * along + bone_bar[k] * (all(1) / max_(L[k], all(P::tiny)));
                    on_offset = pick(L[k] * L[k] > all(P::tiny), on_offset, zero3());
                }
            }
            on_keypoint = pick(invalid, zero3(), on_keypoint);
            on_offset = pick(invalid, zero3(), on_offset);
            on_weight = invalid ? V{} : on_weight;
            V on_twist = invalid ? V{} : twist_bar[k];
            bool single = only[k] >= 0;
            for (int l = 0; l < W && first + l < call->frames; l++) {
                int64_t f = first + l;
                auto put_out = [&](void* to, V3 value) {
                    if (!to) return;
                    T* row = (T*)to + (f * K + k) * 3;
                    row[0] = lane(value.x, l); row[1] = lane(value.y, l); row[2] = lane(value.z, l);
                };
                put_out(call->grad_keypoints, on_keypoint);
                put_out(call->grad_offsets, on_offset);
                if (call->grad_weights) ((T*)call->grad_weights)[f * K + k] = lane(on_weight, l);
                if (call->grad_twist && joint[k] >= 0)
                    ((T*)call->grad_twist)[f * num_joints + joint[k]] = single ? lane(on_twist, l) : 0;
            }
        }
    }
};

#ifdef IKOL_DEVICE

// One tree per compilation: its tables are constants. What a frame needs lies in the thread's local memory, which the
// hardware interleaves: the threads of a warp read the same array's same element from neighbouring addresses.
struct Tables {
    int32_t parent[IKOL_NODES] = {IKOL_PARENTS}, only[IKOL_NODES] = {}, multi[IKOL_NODES] = {}, frame[IKOL_NODES] = {};
    int32_t begin[IKOL_NODES + 1] = {}, child[IKOL_NODES] = {}, joint[IKOL_NODES] = {};
    int num_joints = 0, num_multi = 0;
    constexpr Tables() { make_tables(*this, IKOL_NODES); }
};
__constant__ constexpr Tables TREE;

}  // namespace

// `any_invalid` is set to 1 where run() of the other builds returns 3, to 2 by a mistake in this file.
extern "C" __global__ void __launch_bounds__(IKOL_BLOCK) ikol_tree(const __grid_constant__ ikol_tree_call call, int32_t* any_invalid) {
    typedef Solver<IKOL_SCALAR_TYPE, 1> S;
    constexpr bool backward = IKOL_BACKWARD;
    alignas(16) unsigned char memory[S::room(IKOL_NODES, TREE.num_multi ? TREE.num_multi : 1, backward) * sizeof(IKOL_SCALAR_TYPE)];
    S solver;
    solver.call = &call;
    solver.K = IKOL_NODES;
    solver.num_joints = TREE.num_joints;
    solver.num_multi = TREE.num_multi;
    solver.parent = TREE.parent; solver.only = TREE.only; solver.multi = TREE.multi; solver.frame = TREE.frame;
    solver.begin = TREE.begin; solver.child = TREE.child; solver.joint = TREE.joint;
    solver.any_invalid = false;
    unsigned char* at = memory;
    solver.lay_out(at, backward);
    if (at != memory + sizeof(memory)) {  // room() and lay_out() must agree; known when this is compiled
        *any_invalid = 2;
        return;
    }
    const int64_t thread = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, threads = (int64_t)gridDim.x * blockDim.x;
    if (backward) solver.differentiate(thread, threads, true);
    else solver.solve(thread, threads);
    if (solver.any_invalid) *any_invalid = 1;
}

#else

constexpr int ONE_STEP = 2;  // of `backward`; 1 for the optimum, 0 to solve

template <class T, int W> int run(const ikol_tree_call* call, int backward) {
    typedef Solver<T, W> S;
    struct { const int32_t* parent; int32_t *only, *multi, *frame, *begin, *child, *joint; int num_joints, num_multi; } t;
    const int K = call->nodes;
    t.parent = call->parents;
    S solver;
    memset((void*)&solver, 0, sizeof(solver));
    solver.call = call;
    solver.K = K;
    solver.num_multi = K / 2 + 1;  // each has two children at least
    unsigned char* end = nullptr;
    solver.lay_out(end, backward);
    S::take(end, K, t.only, t.multi, t.frame, t.child, t.joint);
    S::take(end, K + 1, t.begin);
    void* memory = calloc(1, (size_t)end + 64);
    if (!memory) return 2;
    unsigned char* at = (unsigned char*)(((uintptr_t)memory + 63) / 64 * 64);
    solver.lay_out(at, backward);
    S::take(at, K, t.only, t.multi, t.frame, t.child, t.joint);
    S::take(at, K + 1, t.begin);
    make_tables(t, K);
    solver.parent = t.parent; solver.only = t.only; solver.multi = t.multi; solver.frame = t.frame;
    solver.begin = t.begin; solver.child = t.child; solver.joint = t.joint;
    solver.num_joints = t.num_joints; solver.num_multi = t.num_multi;
    backward ? solver.differentiate(0, W, backward != ONE_STEP) : solver.solve(0, W);
    free(memory);
    return solver.any_invalid ? 3 : 0;
}

}  // namespace

#ifndef IKOL_LANES_BYTES
#define IKOL_LANES_BYTES 16
#endif

// A few frames are faster one by one: the lanes of a register would mostly repeat the last.
extern "C" int IKOL_JOIN(ikol_tree_, IKOL_VARIANT)(const ikol_tree_call* call, int is_double, int backward) {
    if (call->nodes < 2 || call->parents[0] != -1) return 1;
    for (int k = 1; k < call->nodes; k++)
        if (call->parents[k] < 0 || call->parents[k] >= k) return 1;
    if (is_double)
        return call->frames < 2 ? run<double, 1>(call, backward) : run<double, IKOL_LANES_BYTES / 8>(call, backward);
    return call->frames < 2 ? run<float, 1>(call, backward) : run<float, IKOL_LANES_BYTES / 4>(call, backward);
}

#endif  // IKOL_DEVICE

#ifdef IKOL_ENTRY  // one variant of each library holds the entry points

#include "entry.h"

#if defined(__x86_64__)
extern "C" int ikol_tree_avx2(const ikol_tree_call*, int, int);
#ifndef IKOL_NO_AVX512
extern "C" int ikol_tree_avx512(const ikol_tree_call*, int, int);
#endif
#endif

// Returns 0; 1 for a tree that is none, 2 when there is no memory, 3 when a frame holds numbers that are not finite or
// negative weights.
IKOL_EXPORT int ikol_tree_run(const ikol_tree_call* call, int is_double, int backward, int variant) {
#if defined(__x86_64__)
#ifndef IKOL_NO_AVX512
    if (variant == 2) return ikol_tree_avx512(call, is_double, backward);
#endif
    if (variant >= 1) return ikol_tree_avx2(call, is_double, backward);
#endif
    (void)variant;
    return ikol_tree_base(call, is_double, backward);
}

#endif

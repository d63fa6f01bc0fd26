// SPDX-License-Identifier: Apache-2.0
//
// Cholesky of a symmetric block band and its substitutions, see sequence/band.py: A = U^T U by rows.
//
// A frame's row of blocks, with what is added to its diagonal, is copied to aligned memory that stays in the second-level cache together with those of the
// frames that touch it. What earlier frames take off it, and what its own upper rows take off the lower ones, is then
// one product: C -= A^T B with all three by rows, so that nothing is packed. Frames are eliminated from both ends
// towards the middle, which may happen at the same time; the result is the same whether it does or not.
// Source: Golub and Van Loan, Matrix Computations, 2013, sec. 4.3.5; from both ends: van der Vorst, Parallel Comput. 5,
// 1987. Compiled once per instruction set like tree_newton.cpp. Plain C interface, no global state.

#include "lanes.h"

extern "C" {
void* malloc(size_t);
void free(void*);
}

struct ikol_band_call {
    const double* source;     // rows of frames: size x [A_tt, A_t,t+1, ..., sides]
    const double* diagonal;   // (frames, size) to be added to that of A, or null
    const double* right;      // (frames, size) one more side, the last one, or null
    const double* change;     // (changes, size, size) to be added to some A_tt, or null
    const int64_t* changed;   // (frames) which of these, or -1
    const int64_t* index;     // (frames) which frame of the source this is, or null: all, in order
    const int64_t* left;      // (frames) how many of those after it it may touch, or null: as many as there are
    void* factor;             // memory for U: frames x size x (reach times size rounded up to 8, sides rounded up to 8)
    double* solution;         // out: frames x size x sides rounded up to 8
    int64_t frames, size, reach, sides, source_frame, source_row;
    int64_t is_rough;  // U is kept as float, which halves what is written and read: x loses the digits that sqrt(cond) takes
};

namespace {

#ifndef IKOL_LANES_BYTES
#define IKOL_LANES_BYTES 16
#endif
constexpr int W = IKOL_LANES_BYTES / 8;  // numbers in a register
// A tile of C that stays in registers: 24 of 32, or 12 of 16, leave room for B and one number of A.
constexpr int ROWS = W == 8 ? 8 : 4, WIDTH = 3;
constexpr int64_t PAD = 8;
constexpr int64_t LEAST_SPLIT = 28;  // frames for which two ends pay: 28 take 1 ms, and the middle costs 0.3 ms
constexpr int64_t AHEAD = 2;  // rows of a block to ask memory for while a tile is computed: a frame has more than half as many
typedef Register<double, W>::V V;
typedef double Loose __attribute__((vector_size(sizeof(double) * W), aligned(8)));
typedef float Half __attribute__((vector_size(sizeof(float) * W), aligned(4 * W)));

inline int64_t padded(int64_t count) { return (count + PAD - 1) / PAD * PAD; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline V& at(double* p) { return *(V*)p; }
inline const V& at(const double* p) { return *(const V*)p; }

// C -= op(A) B for M rows and N registers; op transposes where IS_DOWN: A's rows run along those of B.
template <bool IS_DOWN, int M, int N, class A>
void take_tile(const A* a, int64_t lda, const double* b, int64_t ldb, double* c, int64_t ldc, int64_t depth) {
    V sum[M][N];
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++) sum[i][j] = at(c + i * ldc + j * W);
    for (int64_t k = 0; k < depth; k++) {
        V right[N];
#pragma unroll
        for (int j = 0; j < N; j++) right[j] = at(b + k * ldb + j * W);
#pragma unroll
        for (int i = 0; i < M; i++) {
            V left = all<V>(double(IS_DOWN ? a[k * lda + i] : a[i * lda + k]));
#pragma unroll
            for (int j = 0; j < N; j++) sum[i][j] -= left * right[j];
        }
    }
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++) at(c + i * ldc + j * W) = sum[i][j];
}
template <bool IS_DOWN, int M = ROWS, int N = WIDTH, class A>
void take(int64_t rows, int64_t width, const A* a, int64_t lda, const double* b, int64_t ldb, double* c, int64_t ldc,
          int64_t depth) {
    if constexpr (N > 1)
        if (width < N) return take<IS_DOWN, M, N - 1>(rows, width, a, lda, b, ldb, c, ldc, depth);
    if constexpr (M > 1)
        if (rows < M) return take<IS_DOWN, M - 1, N>(rows, width, a, lda, b, ldb, c, ldc, depth);
    take_tile<IS_DOWN, M, N>(a, lda, b, ldb, c, ldc, depth);
}

// U^-T of a small triangle onto the rows beside it.
template <int M> void solve_rows(int64_t rows, const double* u, const double* inverse, double* c, int64_t ld, int64_t columns) {
    if constexpr (M > 1)
        if (rows < M) return solve_rows<M - 1>(rows, u, inverse, c, ld, columns);
    for (int64_t j = 0; j < columns; j += W) {
        V x[M];
#pragma unroll
        for (int i = 0; i < M; i++) x[i] = at(c + i * ld + j);
#pragma unroll
        for (int i = 0; i < M; i++) {
            x[i] *= inverse[i];
#pragma unroll
            for (int k = i + 1; k < M; k++) x[k] -= x[i] * u[i * ld + k];
        }
#pragma unroll
        for (int i = 0; i < M; i++) at(c + i * ld + j) = x[i];
    }
}

// Eliminates frames in one direction; S: what U is kept as. Backwards, block d of frame t lies, transposed, in the row of
// frame t - d.
template <class S> struct Elimination {
    ikol_band_call call;
    int64_t direction, first, stop;  // frames that may be touched
    int64_t n, width, sides, columns, ld;
    int64_t next, fetched, to_fetch;  // the frame that comes next, and how many rows of its blocks are asked for
    double *ring, *stage;  // stage: rows as in the ring, of the frames between the two ends
    int64_t staged;        // the first of these

    void begin(const ikol_band_call& given, int64_t direction_, int64_t first_, int64_t stop_) {
        call = given; direction = direction_; first = first_; stop = stop_;
        n = call.size; width = padded(n); sides = padded(call.sides);
        columns = call.reach * width + sides;
        ld = columns | PAD;  // an odd number of cache lines: a column does not fall on a few sets of the cache
    }
    int64_t doubles() const { return call.reach * n * ld; }
    double* row(int64_t t) const { return ring + (t % call.reach) * n * ld; }
    const double* given(int64_t t, int64_t d) const {
        int64_t from = direction > 0 ? t : t - d;
        return call.source + (call.index ? call.index[from] : from) * call.source_frame + d * n;
    }
    S* stored(int64_t t, int64_t d) const {
        return (S*)call.factor + (direction > 0 ? t : t - d) * n * columns + d * width;
    }
    S* stored_sides(int64_t t) const { return (S*)call.factor + t * n * columns + call.reach * width; }
    double* solved(int64_t t) const { return call.solution + t * n * sides; }
    int64_t coupled(int64_t t) const {
        int64_t count = least(call.reach - 1, direction > 0 ? stop - 1 - t : t - first);
        if (call.left && direction > 0) count = least(count, call.left[t]);
        while (call.left && direction < 0 && count > 0 && call.left[t - count] < count) count--;
        return count;
    }

    static void copy(double* to, const double* from, int64_t count, int64_t room) {
        int64_t i = 0;
        for (; i + W <= count; i += W) *(Loose*)(to + i) = *(const Loose*)(from + i);
        for (; i < count; i++) to[i] = from[i];
        for (; i < room; i++) to[i] = 0;
    }
    void copy_across(double* to, const double* from) const {
        for (int64_t i = 0; i < n; i++) {
            int64_t k = 0;
            for (; k + W <= n; k += W) {
                V values;
#pragma unroll
                for (int l = 0; l < W; l++) values[l] = from[(k + l) * call.source_row + i];
                at(to + i * ld + k) = values;
            }
            for (; k < width; k++) to[i * ld + k] = k < n ? from[k * call.source_row + i] : 0;
        }
    }
    // A frame as it is given, with what is added to it.
    void load(int64_t t) const {
        double* to = row(t);
        int64_t own_sides = call.sides - (call.right != nullptr);
        for (int64_t d = 0; d < call.reach; d++) {
            const double* from = d <= coupled(t) ? given(t, d) : nullptr;
            if (from && direction < 0 && d > 0) copy_across(to + d * width, from);
            else
                for (int64_t i = 0; i < n; i++)
                    copy(to + i * ld + d * width, from ? from + i * call.source_row : from, from ? n : 0, width);
        }
        const double* from = given(t, 0) + call.reach * n;
        for (int64_t i = 0; i < n; i++) {
            double* line = to + i * ld;
            copy(line + call.reach * width, from + i * call.source_row, own_sides, sides);
            if (call.right) line[call.reach * width + own_sides] = call.right[t * n + i];
            if (call.diagonal) line[i] += call.diagonal[t * n + i];
        }
        if (!call.change || call.changed[t] < 0) return;
        const double* change = call.change + call.changed[t] * n * n;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i; j < n; j++) to[i * ld + j] += change[i * n + j];
    }
    // A frame's part of the factor, and back; numbers come by registers.
    void load_stored(int64_t t) const {
        for (int64_t d = 0; d <= call.reach; d++) {
            bool is_side = d == call.reach, is_there = is_side || d <= coupled(t);
            const S* from = is_side ? stored_sides(t) : stored(t, d);
            double* to = row(t) + d * width;
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < (is_side ? sides : width); j += W)
                    at(to + i * ld + j) = is_there ? wide(from + i * columns + j) : V{};
        }
    }
    void store(int64_t t) const {
        for (int64_t d = 0; d <= call.reach; d++) {
            if (d < call.reach && d > coupled(t)) continue;
            S* to = d == call.reach ? stored_sides(t) : stored(t, d);
            const double* from = row(t) + d * width;
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = d ? 0 : i / W * W; j < (d == call.reach ? sides : width); j += W)
                    narrow(to + i * columns + j, at(from + i * ld + j));
        }
    }
    static V wide(const double* from) { return at(from); }
    static V wide(const float* from) { return __builtin_convertvector(*(const Half*)from, V); }
    static void narrow(double* to, V value) { at(to) = value; }
    static void narrow(float* to, V value) { *(Half*)to = __builtin_convertvector(value, Half); }
    // Asks for some rows of the frame that comes next, which otherwise the processor would have to wait for.
    void fetch(int64_t rows) {
        for (int64_t stop_ = least(fetched + rows, to_fetch); fetched < stop_; fetched++) {
            const char* from = (const char*)(given(next, fetched / n) + fetched % n * call.source_row);
            for (int64_t i = 0; i < n * 8 + 64; i += 64) __builtin_prefetch(from + i, 0, 2);
        }
    }
    // What an earlier frame, d away, takes off `count` columns of this one.
    void take_frame(double* to, const double* earlier, int64_t d, int64_t from_column, int64_t to_column, int64_t count) {
        const double* left = earlier + d * width;
        for (int64_t j = 0; j < count; j += WIDTH * W)
            for (int64_t i = 0; i < n && i < to_column + j + WIDTH * W; i += ROWS) {
                fetch(AHEAD);
                take<true>(n - i, (count - j) / W, left + i, ld, earlier + from_column + j, ld, to + i * ld + to_column + j,
                           ld, n);
            }
    }
    bool factor_own(double* u) const {
        for (int64_t k = 0; k < n; k += ROWS) {
            int64_t rows = least(ROWS, n - k);
            double* own = u + k * ld + k;
            for (int64_t j = k; j < columns; j += WIDTH * W)
                take<true>(rows, (columns - j) / W, u + k, ld, u + j, ld, u + k * ld + j, ld, k);
            double inverse[ROWS];
            for (int64_t a = 0; a < rows; a++) {
                if (!(own[a * ld + a] > 0)) return false;
                own[a * ld + a] = sqrt_(own[a * ld + a]);
                inverse[a] = 1 / own[a * ld + a];
                for (int64_t b = a + 1; b < rows; b++) own[a * ld + b] *= inverse[a];
                for (int64_t b = a + 1; b < rows; b++)
                    for (int64_t c = b; c < rows; c++) own[b * ld + c] -= own[a * ld + b] * own[a * ld + c];
            }
            solve_rows<ROWS>(rows, own, inverse, own + ROWS, ld, columns - k - ROWS);
        }
        return true;
    }
    // Eliminates `count` frames, `begin` first; those before it are already. `is_staged`: they lie in the stage.
    bool factor(int64_t begin, int64_t count, int64_t before, bool is_staged = false) {
        for (int64_t d = 1; d <= least(before, call.reach - 1); d++) load_stored(begin - direction * d);
        for (int64_t step = 0; step < count; step++) {
            int64_t t = begin + direction * step;
            if (is_staged) __builtin_memcpy(row(t), stage + (t - staged) * n * ld, n * ld * sizeof(double));
            else load(t);
            next = t + direction; fetched = 0;
            to_fetch = step + 1 < count ? n * (coupled(next) + 1) : 0;
            for (int64_t d = least(before + step, call.reach - 1); d > 0; d--) {
                const double* earlier = row(t - direction * d);
                take_frame(row(t), earlier, d, d * width, 0, (call.reach - d) * width);
                take_frame(row(t), earlier, d, call.reach * width, call.reach * width, sides);
            }
            if (!factor_own(row(t))) return false;
            store(t);
        }
        return true;
    }
    void substitute(int64_t t) const {
        double* x = solved(t);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < sides; j += W) at(x + i * sides + j) = wide(stored_sides(t) + i * columns + j);
        for (int64_t d = 1; d <= coupled(t); d++)
            for (int64_t i = 0; i < n; i += ROWS)
                take_known(i, least(ROWS, n - i), stored(t, d) + i * columns, solved(t + direction * d), x, n);
        for (int64_t i = (n - 1) / ROWS * ROWS; i >= 0; i -= ROWS) {
            int64_t rows = least(ROWS, n - i), after = i + rows;
            const S* own = stored(t, 0) + i * columns + i;
            take_known(i, rows, own + rows, x + after * sides, x, n - after);
            for (int64_t a = rows - 1; a >= 0; a--)
                for (int64_t j = 0; j < sides; j += W) {
                    V value = at(x + (i + a) * sides + j) / double(own[a * columns + a]);
                    at(x + (i + a) * sides + j) = value;
                    for (int64_t b = 0; b < a; b++) at(x + (i + b) * sides + j) -= value * double(own[b * columns + a]);
                }
        }
    }
    void take_known(int64_t i, int64_t rows, const S* u, const double* known, double* x, int64_t depth) const {
        for (int64_t j = 0; j < sides; j += WIDTH * W)
            take<false>(rows, (sides - j) / W, u, columns, known + j, sides, x + i * sides + j, sides, depth);
    }
};

// Frames [0, left) are eliminated forwards, those from `right` on backwards, then those between.
struct Split {
    int64_t left, right;
    Split(const ikol_band_call& call) {
        bool is_split = call.frames >= LEAST_SPLIT;
        left = is_split ? (call.frames - call.reach + 1) / 2 : 0;
        right = is_split ? left + call.reach - 1 : call.frames;
    }
};

// What the frames that were eliminated backwards take off those between, which are in the stage.
template <class S> void take_right(const Elimination<S>& back, const Elimination<S>& forth, Split split) {
    int64_t n = back.n, width = back.width, s = back.columns;
    for (int64_t r = split.right; r < least(split.right + back.call.reach - 1, back.call.frames); r++)
        for (int64_t f = r - back.coupled(r); f < split.right; f++)
            for (int64_t k = 0; k < n; k++) {
                const S *left = back.stored(r, r - f) + k * s, *side = back.stored_sides(r) + k * s;
                for (int64_t i = 0; i < n; i++) {
                    double *to = forth.stage + ((f - forth.staged) * n + i) * forth.ld, factor = left[i];
                    for (int64_t g = f; g < split.right; g++) {
                        const S* right = back.stored(r, r - g) + k * s;
                        for (int64_t j = 0; j < n; j++) to[(g - f) * width + j] -= factor * right[j];
                    }
                    for (int64_t j = 0; j < back.call.sides; j++) to[back.call.reach * width + j] -= factor * side[j];
                }
            }
}

// Returns 0, 1 where the matrix is not positive definite, 2 when there is no memory.
template <class S> int run(const ikol_band_call& call, int phase) {
    Split split(call);
    Elimination<S> forth, back;
    forth.begin(call, 1, 0, split.right);
    back.begin(call, -1, split.left, call.frames);
    if (phase == 3) {
        for (int64_t t = split.left - 1; t >= 0; t--) forth.substitute(t);
        return 0;
    }
    if (phase == 4) {
        for (int64_t t = split.right; t < call.frames; t++) back.substitute(t);
        return 0;
    }
    int64_t between = phase == 2 ? (split.right - split.left) * (split.left > 0) : 0;
    char* memory = (char*)malloc(size_t(forth.doubles() + between * forth.n * forth.ld) * sizeof(double) + 64);
    if (!memory) return 2;
    forth.ring = back.ring = (double*)(((uintptr_t)memory + 63) / 64 * 64);
    forth.stage = forth.ring + forth.doubles();
    forth.staged = split.left;
    bool is_definite = true;
    if (phase == 0) is_definite = forth.factor(0, split.left, 0);
    if (phase == 1) is_definite = back.factor(call.frames - 1, call.frames - split.right, 0);
    if (phase == 2) {
        for (int64_t t = split.left; t < split.left + between; t++) {
            forth.load(t);
            __builtin_memcpy(forth.stage + (t - split.left) * forth.n * forth.ld, forth.row(t), forth.n * forth.ld * sizeof(double));
        }
        take_right(back, forth, split);
        is_definite = forth.factor(split.left, split.right - split.left, split.left, between > 0);
        for (int64_t t = split.right - 1; t >= split.left && is_definite; t--) forth.substitute(t);
    }
    free(memory);
    return is_definite ? 0 : 1;
}

}  // namespace

#define IKOL_JOIN_(a, b) a##b
#define IKOL_JOIN(a, b) IKOL_JOIN_(a, b)
#ifndef IKOL_VARIANT
#define IKOL_VARIANT base
#endif

extern "C" int IKOL_JOIN(ikol_band_, IKOL_VARIANT)(const ikol_band_call* call, int phase) {
    return call->is_rough ? run<float>(*call, phase) : run<double>(*call, phase);
}

#ifdef IKOL_ENTRY  // one variant of each library holds the entry points
#include "entry.h"

#if defined(__x86_64__)
extern "C" int ikol_band_avx2(const ikol_band_call*, int);
#ifndef IKOL_NO_AVX512
extern "C" int ikol_band_avx512(const ikol_band_call*, int);
#endif
#endif

// Phases: 0 and 1 from either end (at the same time if wanted), then 2, then 3 and 4 (at the same time if wanted).
IKOL_EXPORT int ikol_band_run(const ikol_band_call* call, int phase, int variant) {
#if defined(__x86_64__)
#ifndef IKOL_NO_AVX512
    if (variant == 2) return ikol_band_avx512(call, phase);
#endif
    if (variant >= 1) return ikol_band_avx2(call, phase);
#endif
    (void)variant;
    return ikol_band_base(call, phase);
}
IKOL_EXPORT int ikol_band_size() { return int(sizeof(ikol_band_call)); }

#endif

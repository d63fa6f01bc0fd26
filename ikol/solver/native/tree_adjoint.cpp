// SPDX-License-Identifier: Apache-2.0
//
// The derivative of what tree_general.cpp solves: see general_adjoint.h. A library of its own, because only those who
// train need it. Compiled once per instruction set like tree_newton.cpp. Plain C interface, no global state.

#include "general_adjoint.h"

namespace {

template <int W> int run(const ikol_general_call* call, const ikol_general_gradient* gradient) {
    typedef Adjoint<W> A;
    A* adjoint = allocate<A>(1);
    Block<typename A::V>* blocks = allocate<Block<typename A::V>>(call->blocks + 1);
    char *memory = nullptr, *border = nullptr;
    if (adjoint && blocks) {
        adjoint->begin(call, gradient, blocks);
        Arena size = {0};
        adjoint->lay_out(size);
        memory = allocate<char>(size.at);
        if (memory) {
            Arena arena = {(uintptr_t)memory};
            adjoint->lay_out(arena);
            make_tables(adjoint->problem);
            size = {0};
            adjoint->lay_out_border(size);
            border = allocate<char>(size.at);
        }
        if (border) {
            Arena arena = {(uintptr_t)border};
            adjoint->lay_out_border(arena);
            adjoint->run();
        }
    }
    bool is_done = border != nullptr;
    release(border);
    release(memory);
    release(blocks);
    release(adjoint);
    return is_done ? 0 : 2;
}

}  // namespace

#ifndef IKOL_LANES_BYTES
#define IKOL_LANES_BYTES 16
#endif

// Returns 0; 1 for a call that makes no sense, 2 when there is no memory.
extern "C" int IKOL_JOIN(ikol_adjoint_, IKOL_VARIANT)(const ikol_general_call* call, const ikol_general_gradient* gradient) {
    return is_valid(*call) && is_valid(*gradient, *call) ? run<IKOL_LANES_BYTES / 8>(call, gradient) : 1;
}

#ifdef IKOL_ENTRY  // one variant of each library holds the entry points
#include "entry.h"

#if defined(__x86_64__)
extern "C" int ikol_adjoint_avx2(const ikol_general_call*, const ikol_general_gradient*);
#ifndef IKOL_NO_AVX512
extern "C" int ikol_adjoint_avx512(const ikol_general_call*, const ikol_general_gradient*);
#endif
#endif

IKOL_EXPORT int ikol_adjoint_run(const ikol_general_call* call, const ikol_general_gradient* gradient, int variant) {
#if defined(__x86_64__)
#ifndef IKOL_NO_AVX512
    if (variant == 2) return ikol_adjoint_avx512(call, gradient);
#endif
    if (variant >= 1) return ikol_adjoint_avx2(call, gradient);
#endif
    (void)variant;
    return ikol_adjoint_base(call, gradient);
}
// So that whoever fills in the structures can tell whether he means the same.
IKOL_EXPORT int ikol_adjoint_sizes() {
    return int(sizeof(ikol_general_call)) << 16 | int(sizeof(ikol_general_gradient));
}

#endif

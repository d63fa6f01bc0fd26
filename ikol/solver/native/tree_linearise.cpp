// SPDX-License-Identifier: Apache-2.0
//
// Normal equations of each frame of a sequence: see general_linearise.h. Compiled once per instruction set like
// tree_newton.cpp. Plain C interface, no global state.

#include "general_linearise.h"

namespace {

template <int W> int run(const ikol_general_call* call, const ikol_linearise* output) {
    typedef Linearise<W> L;
    L* kernel = allocate<L>(1);
    Block<typename L::V>* blocks = allocate<Block<typename L::V>>(call->blocks + 1);
    char *memory = nullptr, *border = nullptr;
    if (kernel && blocks) {
        kernel->begin(call, output, blocks);
        Arena size = {0};
        kernel->lay_out(size);
        memory = allocate<char>(size.at);
        if (memory) {
            Arena arena = {(uintptr_t)memory};
            kernel->lay_out(arena);
            kernel->tables();
            size = {0};
            kernel->lay_out_border(size);
            border = allocate<char>(size.at);
        }
        if (border) {
            Arena arena = {(uintptr_t)border};
            kernel->lay_out_border(arena);
            kernel->run();
        }
    }
    bool is_done = border != nullptr;
    release(border);
    release(memory);
    release(blocks);
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
IKOL_EXPORT int ikol_linearise_sizes() { return int(sizeof(ikol_general_call)) << 16 | int(sizeof(ikol_linearise)); }

#endif

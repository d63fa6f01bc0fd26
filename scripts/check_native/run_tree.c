// SPDX-License-Identifier: Apache-2.0
//
// run_tree LIBRARY INPUT OUTPUT: load a compiled kernel, run one call that a file describes, write what it computed.
// Built for another platform by check_native.py and run there (or in an emulator). The file: int32 nodes, joints, frames,
// is_double, hold_root, max_iterations; float64 tolerance; int32 parents[nodes]; keypoints, offsets, twist as the kernel
// takes them. The output: rotmat, root, cost, status, iterations.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
#define LOAD(path) ((void*)LoadLibraryA(path))
#define FIND(library, name) ((void*)GetProcAddress((HMODULE)(library), name))
#else
#include <dlfcn.h>
#define LOAD(path) dlopen(path, RTLD_NOW)
#define FIND(library, name) dlsym(library, name)
#endif

struct ikol_tree_call {  // of tree_newton.cpp
    int32_t nodes, hold_root, max_iterations, reserved;
    int64_t frames;
    const int32_t* parents;
    const void *keypoints, *offsets, *weights, *twist;
    int64_t keypoints_stride, offsets_stride, weights_stride, twist_stride;
    double tolerance;
    void *rotmat, *root, *cost;
    int32_t *status, *iterations;
    const void *grad_rotmat, *grad_root;
    void *grad_keypoints, *grad_offsets, *grad_weights, *grad_twist;
};

static FILE* input;

static void* take(size_t count, size_t size) {
    void* data = malloc(count * size + 1);
    if (!data || fread(data, size, count, input) != count) { fputs("the input ends too early\n", stderr); exit(1); }
    return data;
}

int main(int count, char** arguments) {
    if (count != 4) { fputs("usage: run_tree LIBRARY INPUT OUTPUT\n", stderr); return 1; }
    void* library = LOAD(arguments[1]);
    if (!library) { fputs("the library cannot be loaded\n", stderr); return 1; }
    int (*best)(void) = (int (*)(void))FIND(library, "ikol_best_variant");
    int (*run)(const struct ikol_tree_call*, int, int, int) =
        (int (*)(const struct ikol_tree_call*, int, int, int))FIND(library, "ikol_tree_run");
    if (!best || !run) { fputs("the library has no kernel\n", stderr); return 1; }
    input = fopen(arguments[2], "rb");
    FILE* output = fopen(arguments[3], "wb");
    if (!input || !output) { fputs("a file cannot be opened\n", stderr); return 1; }
    int32_t* head = take(6, 4);
    double* tolerance = take(1, 8);
    size_t nodes = head[0], joints = head[1], frames = head[2], item = head[3] ? 8 : 4;
    struct ikol_tree_call call = {0};
    call.nodes = head[0], call.frames = head[2], call.hold_root = head[4], call.max_iterations = head[5];
    call.tolerance = *tolerance;
    call.parents = take(nodes, 4);
    call.keypoints = take(frames * nodes * 3, item), call.keypoints_stride = 3 * nodes;
    call.offsets = take(nodes * 3, item);
    call.twist = take(frames * joints, item), call.twist_stride = joints;
    call.rotmat = malloc(frames * joints * 9 * item), call.root = malloc(frames * 3 * item);
    call.cost = malloc(frames * item), call.status = malloc(frames * 4), call.iterations = malloc(frames * 4);
    int variant = best(), code = run(&call, head[3], 0, variant);
    printf("variant %d, code %d\n", variant, code);
    if (code) return 1;
    fwrite(call.rotmat, item, frames * joints * 9, output);
    fwrite(call.root, item, frames * 3, output);
    fwrite(call.cost, item, frames, output);
    fwrite(call.status, 4, frames, output);
    fwrite(call.iterations, 4, frames, output);
    return fclose(output) ? 1 : 0;
}

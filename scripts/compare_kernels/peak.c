// SPDX-License-Identifier: Apache-2.0
//
// What one core of this machine can do: fused multiply-adds of float32 a second, bytes a second through memory.
// Prints GFLOP/s and GB/s (read and written). Built for this machine's own processor by limits.py.

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LANES 16
#define CHAINS 12  // independent ones: two units with a latency of four or five cycles
typedef float vector __attribute__((vector_size(4 * LANES)));

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static float multiply_add(long rounds, float start) {
    vector sums[CHAINS], factor, term;
    for (int l = 0; l < LANES; l++) factor[l] = 0.999f, term[l] = 1e-3f;
    for (int c = 0; c < CHAINS; c++)
        for (int l = 0; l < LANES; l++) sums[c][l] = start + c;
    for (long round = 0; round < rounds; round++)
#pragma clang loop unroll(full)
        for (int c = 0; c < CHAINS; c++) sums[c] = sums[c] * factor + term;
    float sum = 0;
    for (int c = 0; c < CHAINS; c++) sum += sums[c][0];
    return sum;
}

int main(void) {
    const long rounds = 20 * 1000 * 1000, count = 32 * 1000 * 1000;  // 128 MB each way: no cache holds it
    double fastest = 1e9, copied = 1e9;
    float sum = 0, *from = malloc(4 * count), *to = malloc(4 * count);
    if (!from || !to) return 1;
    for (long i = 0; i < count; i++) from[i] = to[i] = i;
    for (int repeat = 0; repeat < 7; repeat++) {
        double start = seconds();
        sum += multiply_add(rounds, repeat);
        double end = seconds();
        if (end - start < fastest) fastest = end - start;
        for (long i = 0; i < count; i++) to[i] = from[i] + sum;
        start = seconds();
        if (start - end < copied) copied = start - end;
    }
    if (to[7] == sum) printf(" ");  // so that nothing is left out
    printf("%.3f %.3f\n", 2e-9 * LANES * CHAINS * rounds / fastest, 8e-9 * count / copied);
    return 0;
}

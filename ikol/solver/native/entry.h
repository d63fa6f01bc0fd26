// SPDX-License-Identifier: Apache-2.0
//
// What the entry of a library needs besides its kernel: which instruction set to take, and which source it is made from.

#ifndef IKOL_ENTRY_H
#define IKOL_ENTRY_H

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(_WIN32)
#define IKOL_EXPORT extern "C" __declspec(dllexport)
#else
#define IKOL_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// The best variant that this processor and its operating system run: 0 base, 1 AVX2, 2 AVX-512.
IKOL_EXPORT int ikol_best_variant() {
#if defined(__x86_64__)
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)) || !(c & (1u << 12))) return 0;  // OSXSAVE, FMA
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 5))) return 0;
    const unsigned wanted = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // AVX-512 F, DQ, BW, VL
#ifdef IKOL_NO_AVX512
    (void)wanted;
    return 1;
#else
    return (low & 0xe6) == 0xe6 && (b & wanted) == wanted ? 2 : 1;
#endif
#else
    return 0;
#endif
}

// SHA-256 of the sources that this library was made from.
IKOL_EXPORT const char* ikol_source_hash() { return IKOL_SOURCE_HASH; }

#endif

// SPDX-License-Identifier: Apache-2.0
//
// run_call LIBRARY INPUT OUTPUT: load a compiled kernel, repeat calls that were recorded elsewhere, write what they wrote.
// Built for another platform by check.py and run there (or in an emulator). The input, all numbers int64: the number of
// memory regions; of each its old address, its size and whether it is a structure, then its bytes; the length of the
// function's name and the name; the number of calls and of their arguments, of each its value and whether it is an
// address. The output: the bytes of all regions after the calls. Words of structures that are old addresses are replaced by the new ones.

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

enum { MOST = 512 };
static FILE* input;
static int64_t count, bases[MOST], sizes[MOST], is_structure[MOST];
static char* places[MOST];

static void fail(const char* text) {
    fprintf(stderr, "%s\n", text);
    exit(1);
}
static void take(void* to, size_t size) {
    if (fread(to, 1, size, input) != size) fail("the input ends too early");
}
static int64_t number(void) {
    int64_t value;
    take(&value, 8);
    return value;
}
static int64_t moved(int64_t address) {
    for (int64_t r = 0; r < count; r++)
        if (address >= bases[r] && address < bases[r] + sizes[r]) return (int64_t)(intptr_t)places[r] + (address - bases[r]);
    return address;
}

int main(int arguments, char** argument) {
    if (arguments != 4) fail("usage: run_call LIBRARY INPUT OUTPUT");
    void* library = LOAD(argument[1]);
    if (!library) fail("the library cannot be loaded");
    input = fopen(argument[2], "rb");
    if (!input) fail("the input cannot be opened");
    count = number();
    if (count > MOST) fail("too many regions");
    for (int64_t r = 0; r < count; r++) {
        bases[r] = number(), sizes[r] = number(), is_structure[r] = number();
        char* room = malloc(sizes[r] + 64);
        if (!room) fail("there is not enough memory");
        places[r] = room + (64 - (uintptr_t)room % 64);
        take(places[r], sizes[r]);
    }
    for (int64_t r = 0; r < count; r++)
        for (int64_t k = 0; is_structure[r] && k + 8 <= sizes[r]; k += 8) *(int64_t*)(places[r] + k) = moved(*(int64_t*)(places[r] + k));
    char name[64] = {0};
    int64_t length = number(), calls, given, values[6] = {0};
    if (length >= 64) fail("the name is too long");
    take(name, length);
    calls = number(), given = number();
    if (given < 1 || given > 6) fail("that many arguments are not known");
    int (*best)(void) = (int (*)(void))FIND(library, "ikol_best_variant");
    // whole numbers and addresses go the same way: in registers or places of 64 bits, whatever the platform
    int (*run)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t) =
        (int (*)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t))FIND(library, name);
    if (!best || !run) fail("the library has no such kernel");
    for (int64_t c = 0; c < calls; c++) {
        for (int64_t k = 0; k < given; k++) {
            int64_t value = number();
            values[k] = number() ? moved(value) : value;
        }
        values[given - 1] = best();
        if (run(values[0], values[1], values[2], values[3], values[4], values[5])) fail("the kernel failed");
    }
    FILE* output = fopen(argument[3], "wb");
    if (!output) fail("the output cannot be opened");
    for (int64_t r = 0; r < count; r++) fwrite(places[r], 1, sizes[r], output);
    return fclose(output) ? 1 : 0;
}

// SPDX-License-Identifier: Apache-2.0
//
// A number that counts what is done with it, in the place of the kernels' doubles: each addition, multiplication,
// comparison, division and root is one operation; a change of sign or taking it away is none.
// Included before a kernel's source, which is then compiled with IKOL_SCALAR and one lane.

#define IKOL_SCALAR
#include "lanes.h"

extern "C" long long ikol_operations;
long long ikol_operations;

namespace {

struct Counted {
    double value;
    Counted() : value(0) {}
    Counted(double v) : value(v) {}
};
inline double count(double value) { ikol_operations++; return value; }
inline Counted operator+(Counted a, Counted b) { return count(a.value + b.value); }
inline Counted operator-(Counted a, Counted b) { return count(a.value - b.value); }
inline Counted operator*(Counted a, Counted b) { return count(a.value * b.value); }
inline Counted operator/(Counted a, Counted b) { return count(a.value / b.value); }
inline Counted operator-(Counted a) { return Counted(-a.value); }
inline Counted& operator+=(Counted& a, Counted b) { return a = a + b; }
inline Counted& operator-=(Counted& a, Counted b) { return a = a - b; }
inline Counted& operator*=(Counted& a, Counted b) { return a = a * b; }
struct Flag {  // what a comparison gives: a mask of one lane
    bool value;
    operator bool() const { return value; }
    bool operator[](int) const { return value; }
};
inline Flag flag(bool value) { ikol_operations++; return {value}; }
inline Flag operator<(Counted a, Counted b) { return flag(a.value < b.value); }
inline Flag operator>(Counted a, Counted b) { return flag(a.value > b.value); }
inline Flag operator<=(Counted a, Counted b) { return flag(a.value <= b.value); }
inline Flag operator>=(Counted a, Counted b) { return flag(a.value >= b.value); }
inline Flag operator==(Counted a, Counted b) { return flag(a.value == b.value); }
inline Flag operator!=(Counted a, Counted b) { return flag(a.value != b.value); }
inline Flag operator&(Flag a, Flag b) { return {a.value && b.value}; }
inline Flag operator|(Flag a, Flag b) { return {a.value || b.value}; }
inline Flag& operator&=(Flag& a, Flag b) { return a = a & b; }
inline Flag& operator|=(Flag& a, Flag b) { return a = a | b; }
inline bool any(Flag m) { return m.value; }
inline Flag none(Flag m) { return {!m.value}; }
inline void mark(Flag& m, int) { m.value = true; }
inline Counted sqrt_(Counted a) { return count(sqrt(a.value)); }
inline Counted abs_(Counted a) { return fabs(a.value); }
inline double& lane(Counted& a, int) { return a.value; }
template <> struct Register<double, 1> { typedef Counted V; };
template <> struct Register<float, 2> { typedef float V; };  // compiled with the rest, not to be run
template <> struct ScalarOf<Counted> { typedef double T; };

}  // namespace

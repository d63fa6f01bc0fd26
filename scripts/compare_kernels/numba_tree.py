# SPDX-License-Identifier: Apache-2.0
"""The Newton method of ikol/solver/native/tree_newton.cpp in numba, for comparison: all keypoints seen, root held.

One frame after the other, float32, the same start, safeguards and stopping rule; the mathematics is in docs/solver.md.
Vectors are tuples, because a slice of an array costs numba more than the arithmetic on it. Here: the algebra, the start
and the cost; the steps and the solve are in numba_newton.py.
"""

import math
from collections import namedtuple

import numpy as np
from numba import njit

MAX_ITERATIONS = 50
TOLERANCE = 5e-5
ROUNDING = np.float32(1e-6)  # 8 eps
CHUNK = 64  # frames that a thread takes at once
TINY = np.float32(1e-20)
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
ZERO3 = (ZERO, ZERO, ZERO)
EYE = ((ONE, ZERO, ZERO), (ZERO, ONE, ZERO), (ZERO, ZERO, ONE))

# only: the only child or -1; multi: number among the joints with several children, or -1;
# children of j: child[begin[j]:begin[j + 1]]; joints: nodes that have children
Tables = namedtuple("Tables", "parents only multi begin child joints")
Work = namedtuple("Work", "y p d d_old r e F g v t1 t2 x1 x2 h b L C turned G G_old X xh A Q")
compiled = njit(cache=True, fastmath=True, error_model="numpy")


def make_tables(parents: np.ndarray) -> Tables:
    """Return what the kernel needs to know of the tree."""
    children = [np.flatnonzero(parents == joint) for joint in range(len(parents))]
    only = np.array([each[0] if len(each) == 1 else -1 for each in children])
    is_fork = np.array([len(each) > 1 for each in children])
    multi = np.where(is_fork, np.cumsum(is_fork) - 1, -1)
    begin = np.concatenate(([0], np.cumsum([len(each) for each in children])))
    joints = np.array([joint for joint, each in enumerate(children) if len(each)])
    return Tables(parents, only, multi, begin, np.concatenate(children), joints)


@compiled
def make_work(tables, offsets):
    n, m = len(tables.parents), tables.multi.max() + 2
    a, f = np.zeros((15, n, 3), np.float32), np.zeros((3, m, 3, 3), np.float32)
    small = np.zeros((2, 4, 4), np.float32)
    w = Work(
        a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14],
        np.zeros(n, np.float32), np.zeros((n, 6), np.float32), np.zeros((n, 3, 3), np.float32),
        f[0], f[1], f[2], np.zeros((m, 3), np.float32), small[0], small[1],
    )  # fmt: skip
    for k in range(1, n):
        o = get(offsets, k)
        w.L[k] = math.sqrt(dot(o, o))
        put(w.b, k, unit(o))
    return w


@compiled
def get(a, k):
    return a[k, 0], a[k, 1], a[k, 2]


@compiled
def put(a, k, v):
    a[k, 0], a[k, 1], a[k, 2] = v


@compiled
def get3(a, k):
    return (
        (a[k, 0, 0], a[k, 0, 1], a[k, 0, 2]),
        (a[k, 1, 0], a[k, 1, 1], a[k, 1, 2]),
        (a[k, 2, 0], a[k, 2, 1], a[k, 2, 2]),
    )


@compiled
def put3(a, k, m):
    for i in range(3):
        a[k, i, 0], a[k, i, 1], a[k, i, 2] = m[i]


@compiled
def add(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@compiled
def sub(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@compiled
def scale(a, s):
    return a[0] * s, a[1] * s, a[2] * s


@compiled
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@compiled
def unit(a):
    return scale(a, ONE / math.sqrt(max(dot(a, a), TINY)))


@compiled
def mul(m, a):
    return dot(m[0], a), dot(m[1], a), dot(m[2], a)


@compiled
def transpose(m):
    return (m[0][0], m[1][0], m[2][0]), (m[0][1], m[1][1], m[2][1]), (m[0][2], m[1][2], m[2][2])


@compiled
def matmul(a, b):
    t = transpose(b)
    return mul(t, a[0]), mul(t, a[1]), mul(t, a[2])


@compiled
def rows(s):
    """A symmetric 3x3 from its six numbers."""
    return (s[0], s[1], s[2]), (s[1], s[3], s[4]), (s[2], s[4], s[5])


@compiled
def tangents(d):
    """Two unit normals of d and of each other (Duff et al., JCGT 6(1), 2017)."""
    s = ONE if d[2] >= 0 else -ONE
    a = -ONE / (s + d[2])
    b = d[0] * d[1] * a
    return (ONE + s * d[0] * d[0] * a, s * b, -s * d[0]), (b, s + d[1] * d[1] * a, -d[1])


@compiled
def from_quat(w, x, y, z):
    s = TWO / (w * w + x * x + y * y + z * z)
    return (
        (ONE - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), ONE - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), ONE - s * (x * x + y * y)),
    )


@compiled
def jacobi(A, Q, size):
    """Eigenvalues of the symmetric A onto its diagonal, eigenvectors into the columns of Q."""
    for i in range(size):
        for j in range(size):
            Q[i, j] = ONE if i == j else ZERO
    for _ in range(4):
        for p in range(size - 1):
            for q in range(p + 1, size):
                d, o = (A[q, q] - A[p, p]) * HALF, A[p, q]
                t = o / (abs(d) + math.sqrt(d * d + o * o) + TINY)
                t = -t if d < 0 else t
                c = ONE / math.sqrt(t * t + ONE)
                s = t * c
                for k in range(size):
                    A[k, p], A[k, q] = c * A[k, p] - s * A[k, q], s * A[k, p] + c * A[k, q]
                for k in range(size):
                    A[p, k], A[q, k] = c * A[p, k] - s * A[q, k], s * A[p, k] + c * A[q, k]
                    Q[k, p], Q[k, q] = c * Q[k, p] - s * Q[k, q], s * Q[k, p] + c * Q[k, q]


@compiled
def raised_inverse(h, floor, w):
    """Inverse of a symmetric 3x3 with eigenvalues below `floor` raised to it."""
    p2 = h[0] * h[3] - h[1] * h[1]
    i0, i1, i2 = h[3] * h[5] - h[4] * h[4], h[2] * h[4] - h[1] * h[5], h[1] * h[4] - h[2] * h[3]
    det = h[0] * i0 + h[1] * i1 + h[2] * i2
    if h[0] > floor and p2 > floor * h[0] and det > floor * p2:
        a = ONE / det
        i3, i4 = h[0] * h[5] - h[2] * h[2], h[1] * h[2] - h[0] * h[4]
        return rows((i0 * a, i1 * a, i2 * a, i3 * a, i4 * a, p2 * a))
    for i in range(3):
        put(w.A, i, rows(h)[i])
    jacobi(w.A, w.Q, 3)
    q0, q1, q2 = get(w.Q, 0), get(w.Q, 1), get(w.Q, 2)
    inverse = ONE / max(w.A[0, 0], floor), ONE / max(w.A[1, 1], floor), ONE / max(w.A[2, 2], floor)
    s0 = (q0[0] * inverse[0], q0[1] * inverse[1], q0[2] * inverse[2])
    s1 = (q1[0] * inverse[0], q1[1] * inverse[1], q1[2] * inverse[2])
    s2 = (q2[0] * inverse[0], q2[1] * inverse[1], q2[2] * inverse[2])
    return rows((dot(s0, q0), dot(s0, q1), dot(s0, q2), dot(s1, q1), dot(s1, q2), dot(s2, q2)))


@compiled
def start(tables, w, offsets):
    """Each bone at its keypoint from where its joint was put; Horn's alignment at joints with several."""
    put(w.p, 0, ZERO3)
    for j in tables.joints:
        m, c, place = tables.multi[j], tables.only[j], get(w.p, j)
        if c >= 0:
            put(w.d, c, unit(sub(get(w.y, c), place)))
            put(w.p, c, add(place, scale(get(w.d, c), w.L[c])))
            continue
        b0, b1, b2 = ZERO3, ZERO3, ZERO3
        for k in tables.child[tables.begin[j] : tables.begin[j + 1]]:
            t, o = sub(get(w.y, k), place), get(offsets, k)
            b0, b1, b2 = add(b0, scale(o, t[0])), add(b1, scale(o, t[1])), add(b2, scale(o, t[2]))
        A = w.A
        A[0, 0], A[0, 1], A[0, 2], A[0, 3] = b0[0] + b1[1] + b2[2], b2[1] - b1[2], b0[2] - b2[0], b1[0] - b0[1]
        A[1, 1], A[1, 2], A[1, 3] = b0[0] - b1[1] - b2[2], b1[0] + b0[1], b0[2] + b2[0]
        A[2, 2], A[2, 3], A[3, 3] = b1[1] - b0[0] - b2[2], b2[1] + b1[2], b2[2] - b0[0] - b1[1]
        for i in range(4):
            for k in range(i):
                A[i, k] = A[k, i]
        jacobi(A, w.Q, 4)
        best = 0
        for i in range(1, 4):
            best = i if A[i, i] > A[best, best] else best
        turn = from_quat(w.Q[0, best], w.Q[1, best], w.Q[2, best], w.Q[3, best])
        put3(w.G, m, turn)
        for k in tables.child[tables.begin[j] : tables.begin[j + 1]]:
            put(w.p, k, add(place, mul(turn, get(offsets, k))))


@compiled
def evaluate(tables, w, offsets):
    cost = ZERO
    for k in range(1, len(tables.parents)):
        j = tables.parents[k]
        m = tables.multi[j]
        r = mul(get3(w.G, m), get(offsets, k)) if m >= 0 else scale(get(w.d, k), w.L[k])
        place = add(get(w.p, j), r)
        miss = sub(place, get(w.y, k))
        put(w.r, k, r)
        put(w.p, k, place)
        put(w.e, k, miss)
        cost += dot(miss, miss)
    return cost * HALF

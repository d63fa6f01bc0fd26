# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP018, RUF046 - float(0.0) is how Warp declares a variable that changes in a loop
"""The Newton method of ikol/solver/native/tree_newton.cpp in NVIDIA Warp, to compare: all keypoints seen, root held.

One thread a frame, float32, the same start, safeguards and stopping rule; the mathematics is in docs/solver.md. What a
frame remembers between sweeps lies in global arrays of [node, frame], so that neighbouring threads read side by side.
"""

import numpy as np
import warp as wp

MAX_ITERATIONS = wp.constant(50)
TOLERANCE = wp.constant(5e-5)
ROUNDING = wp.constant(1e-6)  # 8 eps
TINY = wp.constant(1e-20)
vectors = wp.array2d(dtype=wp.vec3)
matrices = wp.array2d(dtype=wp.mat33)


@wp.struct
class Tables:
    """parents; the only child or -1; children of j: child[begin[j]] to child[begin[j + 1] - 1]."""

    parents: wp.array(dtype=int)
    only: wp.array(dtype=int)
    begin: wp.array(dtype=int)
    child: wp.array(dtype=int)
    offsets: wp.array(dtype=wp.vec3)


@wp.struct
class Work:
    """d: directions of single bones; G: rotations of forks; r: arms; the rest as in tree_newton.cpp."""

    p: vectors
    d: vectors
    d_old: vectors
    r: vectors
    e: vectors
    F: vectors
    g: vectors
    v: vectors
    t1: vectors
    t2: vectors
    x1: vectors
    x2: vectors
    h: vectors
    xh: vectors
    C: matrices
    G: matrices
    G_old: matrices
    X: matrices
    turned: matrices


@wp.func
def tangent(d: wp.vec3, second: bool):
    s = wp.where(d[2] >= 0.0, 1.0, -1.0)
    a = -1.0 / (s + d[2])
    b = d[0] * d[1] * a
    if second:
        return wp.vec3(b, s + d[1] * d[1] * a, -d[1])
    return wp.vec3(1.0 + s * d[0] * d[0] * a, s * b, -s * d[0])


@wp.func
def unit(a: wp.vec3):
    return a / wp.sqrt(wp.max(wp.dot(a, a), TINY))


@wp.func
def raised_inverse(H: wp.mat33, floor: float):
    p2 = H[0, 0] * H[1, 1] - H[0, 1] * H[0, 1]
    det = wp.determinant(H)
    if H[0, 0] > floor and p2 > floor * H[0, 0] and det > floor * p2:
        return wp.inverse(H)
    Q = wp.mat33()
    values = wp.vec3()
    wp.eig3(H, Q, values)
    for i in range(3):
        values[i] = 1.0 / wp.max(values[i], floor)
    return Q * wp.diag(values) * wp.transpose(Q)


@wp.func
def start(t: Tables, w: Work, y: vectors, f: int):
    w.p[0, f] = wp.vec3()
    for j in range(t.parents.shape[0]):
        c = t.only[j]
        if c >= 0:
            w.d[c, f] = unit(y[f, c] - y[f, 0] - w.p[j, f])
            w.p[c, f] = w.p[j, f] + w.d[c, f] * wp.length(t.offsets[c])
        elif t.begin[j + 1] > t.begin[j]:
            B = wp.mat33()
            for i in range(t.begin[j], t.begin[j + 1]):
                k = t.child[i]
                B += wp.outer(y[f, k] - y[f, 0] - w.p[j, f], t.offsets[k])
            U = wp.mat33()
            sigma = wp.vec3()
            V = wp.mat33()
            wp.svd3(B, U, sigma, V)
            sign = wp.sign(wp.determinant(U) * wp.determinant(V))
            w.G[j, f] = U * wp.diag(wp.vec3(1.0, 1.0, sign)) * wp.transpose(V)
            for i in range(t.begin[j], t.begin[j + 1]):
                w.p[t.child[i], f] = w.p[j, f] + w.G[j, f] * t.offsets[t.child[i]]


@wp.func
def evaluate(t: Tables, w: Work, y: vectors, f: int):
    cost = float(0.0)
    for k in range(1, t.parents.shape[0]):
        j = t.parents[k]
        if t.only[j] == k:
            w.r[k, f] = w.d[k, f] * wp.length(t.offsets[k])
        else:
            w.r[k, f] = w.G[j, f] * t.offsets[k]
        w.p[k, f] = w.p[j, f] + w.r[k, f]
        w.e[k, f] = w.p[k, f] - (y[f, k] - y[f, 0])
        cost += wp.dot(w.e[k, f], w.e[k, f])
    return 0.5 * cost


@wp.func
def eliminate_bone(t: Tables, w: Work, f: int, j: int, c: int, damping: float, newton: bool, least: float):
    length = wp.length(t.offsets[c])
    C = w.C[c, f]
    t1 = tangent(w.d[c, f], False)
    t2 = tangent(w.d[c, f], True)
    u1 = C * t1 * length
    u2 = C * t2 * length
    a = length * wp.dot(t1, u1)
    b = length * wp.dot(t1, u2)
    d = length * wp.dot(t2, u2)
    mean = 0.5 * (a + d)
    skew = 0.5 * (a - d)
    lever = wp.abs(mean)
    limit = lever * least + TINY
    radius = wp.sqrt(skew * skew + b * b)
    mean += damping * lever
    if newton:
        mean -= length * wp.dot(w.F[c, f], w.d[c, f])
    i1 = 1.0 / wp.max(mean + radius, limit)
    i2 = 1.0 / wp.max(mean - radius, limit)
    split = 0.5 * (i1 - i2) / wp.max(radius, TINY)
    ia = 0.5 * (i1 + i2) + split * skew
    ib = split * b
    id = 0.5 * (i1 + i2) - split * skew
    z1 = u1 * ia + u2 * ib
    z2 = u1 * ib + u2 * id
    f1 = length * wp.dot(t1, w.g[c, f])
    f2 = length * wp.dot(t2, w.g[c, f])
    y1 = ia * f1 + ib * f2
    y2 = ib * f1 + id * f2
    w.t1[c, f] = t1
    w.t2[c, f] = t2
    w.x1[c, f] = z1
    w.x2[c, f] = z2
    w.h[c, f] = wp.vec3(y1, y2, 0.0)
    w.C[j, f] = w.C[j, f] + C - wp.outer(u1, z1) - wp.outer(u2, z2)
    w.g[j, f] = w.g[j, f] + w.g[c, f] - u1 * y1 - u2 * y2
    w.F[j, f] = w.F[j, f] + w.F[c, f]


@wp.func
def eliminate_fork(t: Tables, w: Work, f: int, j: int, damping: float, newton: bool, least: float):
    H = wp.mat33()
    Q = wp.mat33()
    Hv = wp.mat33()
    turn = wp.vec3()
    eye = wp.identity(n=3, dtype=float)
    for i in range(t.begin[j], t.begin[j + 1]):
        k = t.child[i]
        s = w.r[k, f]
        S = wp.skew(s)
        arm = S * w.C[k, f]
        Hv += arm
        H -= arm * S
        turn += wp.cross(s, w.g[k, f])
        n = w.F[k, f]
        Q += 0.5 * (wp.outer(s, n) + wp.outer(n, s)) - wp.dot(s, n) * eye
        w.C[j, f] = w.C[j, f] + w.C[k, f]
        w.g[j, f] = w.g[j, f] + w.g[k, f]
        w.F[j, f] = w.F[j, f] + n
    lever = wp.abs(wp.trace(H)) / 3.0
    H += damping * lever * eye
    if newton:
        H += Q
    inverse = raised_inverse(H, lever * least + TINY)
    w.X[j, f] = inverse * Hv
    w.xh[j, f] = inverse * turn
    w.C[j, f] = w.C[j, f] - wp.transpose(Hv) * w.X[j, f]
    w.g[j, f] = w.g[j, f] - wp.transpose(Hv) * w.xh[j, f]


@wp.func
def step(t: Tables, w: Work, f: int):
    largest = float(0.0)
    w.v[0, f] = wp.vec3()
    for j in range(t.parents.shape[0]):
        c = t.only[j]
        v = w.v[j, f]
        if c >= 0:
            a1 = -(w.h[c, f][0] + wp.dot(w.x1[c, f], v))
            a2 = -(w.h[c, f][1] + wp.dot(w.x2[c, f], v))
            change = w.t1[c, f] * a1 + w.t2[c, f] * a2
            w.v[c, f] = v + change * wp.length(t.offsets[c])
            w.d_old[c, f] = w.d[c, f]
            w.d[c, f] = unit(w.d[c, f] + change)
            largest = wp.max(largest, wp.max(wp.abs(a1), wp.abs(a2)))
        elif t.begin[j + 1] > t.begin[j]:
            a = -(w.xh[j, f] + w.X[j, f] * v)
            for i in range(t.begin[j], t.begin[j + 1]):
                k = t.child[i]
                w.v[k, f] = v + wp.cross(a, w.r[k, f])
            w.G_old[j, f] = w.G[j, f]
            q = wp.normalize(wp.quat(0.5 * a[0], 0.5 * a[1], 0.5 * a[2], 1.0))  # Cayley's map
            w.G[j, f] = wp.quat_to_matrix(q) * w.G[j, f]
            largest = wp.max(largest, wp.max(wp.abs(a[0]), wp.max(wp.abs(a[1]), wp.abs(a[2]))))
    return largest


@wp.func
def minimise(t: Tables, w: Work, y: vectors, f: int):
    nodes = t.parents.shape[0]
    best = evaluate(t, w, y, f)
    damping = float(0.0)
    last = float(1.0)
    evens = int(0)
    iteration = int(0)
    done = bool(False)
    extent = float(0.0)
    for k in range(1, nodes):
        extent = wp.max(extent, wp.length(y[f, k] - y[f, 0]) + wp.length(t.offsets[k]))
    grain = float(nodes) * (ROUNDING * extent) * (ROUNDING * extent)
    while iteration < MAX_ITERATIONS and not done:
        least = wp.where(iteration < 4, 0.25, wp.where(last < 0.1, 1e-3, 0.05))
        for k in range(nodes):
            w.F[k, f] = w.e[k, f]
            w.g[k, f] = w.e[k, f]
            w.C[k, f] = wp.diag(wp.vec3(1.0, 1.0, 1.0))
        for back in range(nodes):
            j = nodes - 1 - back
            if t.only[j] >= 0:
                eliminate_bone(t, w, f, j, t.only[j], damping, iteration >= 2, least)
            elif t.begin[j + 1] > t.begin[j]:
                eliminate_fork(t, w, f, j, damping, iteration >= 2, least)
        last = step(t, w, f)
        size = last * (damping + 1.0)
        cost = evaluate(t, w, y, f)
        worse = cost > best
        # costs that differ by rounding only cannot judge a step any more
        even = worse and size < 1e-2 and cost <= best * (1.0 + ROUNDING) + grain
        if even:
            evens += 1
        worse = worse and not even
        done = size < TOLERANCE or evens >= 3 or (worse and damping > 1e6)
        if worse:
            for j in range(nodes):
                w.d[j, f] = w.d_old[j, f]
                w.G[j, f] = w.G_old[j, f]
            evaluate(t, w, y, f)
            damping = wp.min(wp.max(4.0 * damping, 0.1), 4e6)
            last = 1.0
        else:
            best = cost
            damping = wp.where(damping > 1e-3 and not even, 0.25 * damping, 0.0)
        iteration += 1
    return iteration


@wp.kernel
def solve_kernel(
    t: Tables, w: Work, y: vectors, twist: wp.array2d(dtype=float), rotmat: matrices, iterations: wp.array(dtype=int)
):
    f = wp.tid()
    start(t, w, y, f)
    iterations[f] = minimise(t, w, y, f)
    at = int(0)
    for j in range(t.parents.shape[0]):
        if t.begin[j + 1] > t.begin[j]:
            above = wp.diag(wp.vec3(1.0, 1.0, 1.0))
            if j > 0:
                above = w.turned[t.parents[j], f]
            c = t.only[j]
            if c < 0:
                w.turned[j, f] = w.G[j, f]
            else:
                bone = unit(t.offsets[c])
                u = unit(wp.transpose(above) * w.d[c, f])
                h = bone + u
                if wp.dot(h, h) < ROUNDING:
                    h = tangent(bone, False)
                swing = wp.diag(wp.vec3(1.0, 1.0, 1.0)) - wp.outer(h, h) * (2.0 / wp.dot(h, h))  # two reflections
                swing = swing - 2.0 * wp.outer(swing * bone, bone)
                w.turned[j, f] = above * swing * wp.quat_to_matrix(wp.quat_from_axis_angle(bone, twist[f, at]))
            rotmat[f, at] = wp.transpose(above) * w.turned[j, f]
            at += 1


class Solver:
    """Arrays for a number of frames; `solve` may be called again and again."""

    def __init__(self, parents: np.ndarray, offsets: np.ndarray, frames: int, device: str = "cpu") -> None:
        self.device, self.frames = device, frames
        children = [np.flatnonzero(parents == joint) for joint in range(len(parents))]
        self.tables = Tables()
        self.tables.parents = wp.array(parents, dtype=int, device=device)
        only = [each[0] if len(each) == 1 else -1 for each in children]
        self.tables.only = wp.array(only, dtype=int, device=device)
        begin = np.concatenate(([0], np.cumsum([len(each) for each in children])))
        self.tables.begin = wp.array(begin, dtype=int, device=device)
        self.tables.child = wp.array(np.concatenate(children), dtype=int, device=device)
        self.tables.offsets = wp.array(offsets.astype(np.float32), dtype=wp.vec3, device=device)
        self.work = Work()
        for name in ("p", "d", "d_old", "r", "e", "F", "g", "v", "t1", "t2", "x1", "x2", "h", "xh"):
            setattr(self.work, name, wp.zeros((len(parents), frames), dtype=wp.vec3, device=device))
        for name in ("C", "G", "G_old", "X", "turned"):
            setattr(self.work, name, wp.zeros((len(parents), frames), dtype=wp.mat33, device=device))
        joints = sum(len(each) > 0 for each in children)
        self.rotmat = wp.zeros((frames, joints), dtype=wp.mat33, device=device)
        self.iterations = wp.zeros(frames, dtype=int, device=device)

    def solve(self, keypoints: np.ndarray, twist: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return local rotations (frames, joints, 3, 3) and the number of steps. All float32."""
        y = wp.array(keypoints, dtype=wp.vec3, device=self.device, copy=False)
        angle = wp.array(twist, dtype=float, device=self.device, copy=False)
        inputs = [self.tables, self.work, y, angle, self.rotmat, self.iterations]
        wp.launch(solve_kernel, dim=self.frames, inputs=inputs, device=self.device)
        return self.rotmat.numpy(), self.iterations.numpy()

# SPDX-License-Identifier: Apache-2.0
"""The Newton steps on what numba_tree.py has, and the solve: `solve`."""

import math

import numpy as np
from numba import njit, prange
from numba_tree import (
    CHUNK,
    EYE,
    HALF,
    MAX_ITERATIONS,
    ONE,
    ROUNDING,
    TINY,
    TOLERANCE,
    TWO,
    ZERO,
    ZERO3,
    Tables,
    add,
    compiled,
    cross,
    dot,
    evaluate,
    from_quat,
    get,
    get3,
    make_work,
    matmul,
    mul,
    put,
    put3,
    raised_inverse,
    rows,
    scale,
    start,
    sub,
    tangents,
    transpose,
    unit,
)  # fmt: skip


@compiled
def eliminate(tables, w, damping, newton, least):
    """Leaves first: each joint hands its parent C, g, the quadratic of what hangs on it, and F, its forces."""
    for k in range(len(tables.parents)):
        put(w.F, k, get(w.e, k))
        put(w.g, k, get(w.e, k))
        own = ONE if k else ZERO
        w.C[k, 0], w.C[k, 1], w.C[k, 2], w.C[k, 3], w.C[k, 4], w.C[k, 5] = own, ZERO, ZERO, own, ZERO, own
    for at in range(len(tables.joints) - 1, -1, -1):
        j = tables.joints[at]
        c = tables.only[j]
        if c >= 0:
            eliminate_bone(w, j, c, damping, newton, least)
        else:
            eliminate_fork(tables, w, j, damping, newton, least)


@compiled
def get6(a, k):
    return a[k, 0], a[k, 1], a[k, 2], a[k, 3], a[k, 4], a[k, 5]


@compiled
def grow(C, j, s, u1, z1, u2, z2):
    """C_j += s - u1 z1' - u2 z2' of symmetric parts."""
    C[j, 0] += s[0] - (u1[0] * z1[0] + u2[0] * z2[0])
    C[j, 1] += s[1] - (u1[0] * z1[1] + u2[0] * z2[1])
    C[j, 2] += s[2] - (u1[0] * z1[2] + u2[0] * z2[2])
    C[j, 3] += s[3] - (u1[1] * z1[1] + u2[1] * z2[1])
    C[j, 4] += s[4] - (u1[1] * z1[2] + u2[1] * z2[2])
    C[j, 5] += s[5] - (u1[2] * z1[2] + u2[2] * z2[2])


@compiled
def eliminate_bone(w, j, c, damping, newton, least):
    L, d, s, force, g = w.L[c], get(w.d, c), get6(w.C, c), get(w.F, c), get(w.g, c)
    t1, t2 = tangents(d)
    s1, s2 = scale(t1, L), scale(t2, L)
    u1, u2 = mul(rows(s), s1), mul(rows(s), s2)
    a, b, e = dot(s1, u1), dot(s1, u2), dot(s2, u2)
    mean, skew = (a + e) * HALF, (a - e) * HALF
    lever, radius = abs(mean), math.sqrt(skew * skew + b * b)
    limit = lever * least + TINY
    mean += damping * lever
    if newton:
        mean -= L * dot(force, d)
    i1, i2 = ONE / max(mean + radius, limit), ONE / max(mean - radius, limit)
    middle, split = (i1 + i2) * HALF, (i1 - i2) * HALF / max(radius, TINY)
    ia, ib, ie = middle + split * skew, split * b, middle - split * skew
    z1, z2 = add(scale(u1, ia), scale(u2, ib)), add(scale(u1, ib), scale(u2, ie))
    f1, f2 = dot(s1, g), dot(s2, g)
    y1, y2 = ia * f1 + ib * f2, ib * f1 + ie * f2
    put(w.t1, c, t1)
    put(w.t2, c, t2)
    put(w.x1, c, z1)
    put(w.x2, c, z2)
    w.h[c, 0], w.h[c, 1] = y1, y2
    grow(w.C, j, s, u1, z1, u2, z2)
    put(w.g, j, sub(add(get(w.g, j), g), add(scale(u1, y1), scale(u2, y2))))
    put(w.F, j, add(get(w.F, j), force))


@compiled
def eliminate_fork(tables, w, j, damping, newton, least):
    m = tables.multi[j]
    hv0, hv1, hv2, f, g_sum, force_sum = ZERO3, ZERO3, ZERO3, ZERO3, ZERO3, ZERO3
    h0, h1, h2, h3, h4, h5 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    q0, q1, q2, q3, q4, q5 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for k in tables.child[tables.begin[j] : tables.begin[j + 1]]:
        s, n, g = get(w.r, k), get(w.F, k), get(w.g, k)
        c0, c1, c2 = rows(get6(w.C, k))
        a0 = sub(scale(c2, s[1]), scale(c1, s[2]))  # rows of [s]x C
        a1 = sub(scale(c0, s[2]), scale(c2, s[0]))
        a2 = sub(scale(c1, s[0]), scale(c0, s[1]))
        hv0, hv1, hv2 = add(hv0, a0), add(hv1, a1), add(hv2, a2)
        b0, b1, b2 = cross(s, a0), cross(s, a1), cross(s, a2)
        h0, h1, h2, h3, h4, h5 = h0 + b0[0], h1 + b0[1], h2 + b0[2], h3 + b1[1], h4 + b1[2], h5 + b2[2]
        f = add(f, cross(s, g))
        if newton:
            across = dot(s, n)
            q0, q3, q5 = q0 + s[0] * n[0] - across, q3 + s[1] * n[1] - across, q5 + s[2] * n[2] - across
            q1 += HALF * (s[0] * n[1] + s[1] * n[0])
            q2 += HALF * (s[0] * n[2] + s[2] * n[0])
            q4 += HALF * (s[1] * n[2] + s[2] * n[1])
        grow(w.C, j, get6(w.C, k), ZERO3, ZERO3, ZERO3, ZERO3)
        g_sum, force_sum = add(g_sum, g), add(force_sum, n)
    lever = abs(h0 + h3 + h5) / np.float32(3)
    damp = damping * lever
    inverse = raised_inverse(
        (h0 + q0 + damp, h1 + q1, h2 + q2, h3 + q3 + damp, h4 + q4, h5 + q5 + damp), lever * least + TINY, w
    )
    t0, t1, t2 = transpose((hv0, hv1, hv2))
    x0, x1, x2 = mul(inverse, t0), mul(inverse, t1), mul(inverse, t2)
    turn = mul(inverse, f)
    put3(w.X, m, transpose((x0, x1, x2)))
    put(w.xh, m, turn)
    w.C[j, 0] -= dot(t0, x0)
    w.C[j, 1] -= dot(t0, x1)
    w.C[j, 2] -= dot(t0, x2)
    w.C[j, 3] -= dot(t1, x1)
    w.C[j, 4] -= dot(t1, x2)
    w.C[j, 5] -= dot(t2, x2)
    put(w.g, j, add(get(w.g, j), sub(g_sum, mul((t0, t1, t2), turn))))
    put(w.F, j, add(get(w.F, j), force_sum))


@compiled
def step(tables, w):
    """Root first: displacements, and the unknowns moved. Returns the largest turn in radians."""
    largest = ZERO
    put(w.v, 0, ZERO3)
    for j in tables.joints:
        m, c, v = tables.multi[j], tables.only[j], get(w.v, j)
        if c >= 0:
            a1, a2 = -(w.h[c, 0] + dot(get(w.x1, c), v)), -(w.h[c, 1] + dot(get(w.x2, c), v))
            change, d = add(scale(get(w.t1, c), a1), scale(get(w.t2, c), a2)), get(w.d, c)
            put(w.v, c, add(v, scale(change, w.L[c])))
            put(w.d_old, c, d)
            put(w.d, c, unit(add(d, change)))
            largest = max(largest, abs(a1), abs(a2))
        else:
            a = scale(add(get(w.xh, m), mul(get3(w.X, m), v)), -ONE)
            for k in tables.child[tables.begin[j] : tables.begin[j + 1]]:
                put(w.v, k, add(v, cross(a, get(w.r, k))))
            turned = get3(w.G, m)
            put3(w.G_old, m, turned)
            put3(w.G, m, matmul(from_quat(ONE, HALF * a[0], HALF * a[1], HALF * a[2]), turned))  # Cayley's map
            largest = max(largest, abs(a[0]), abs(a[1]), abs(a[2]))
    return largest


@compiled
def minimise(tables, w, offsets):
    best = evaluate(tables, w, offsets)
    damping, last, evens, extent, longest = ZERO, ONE, 0, ZERO, ZERO
    for k in range(len(tables.parents)):
        extent, longest = max(extent, dot(get(w.y, k), get(w.y, k))), max(longest, w.L[k])
    grain = np.float32(len(tables.parents)) * (ROUNDING * (math.sqrt(extent) + longest)) ** 2
    for iteration in range(MAX_ITERATIONS):
        least = np.float32(0.25) if iteration < 4 else (np.float32(1e-3) if last < 0.1 else np.float32(0.05))
        eliminate(tables, w, damping, iteration >= 2, least)
        last = step(tables, w)
        size = last * (damping + ONE)
        cost = evaluate(tables, w, offsets)
        worse = not cost <= best
        # costs that differ by rounding only cannot judge a step any more
        even = worse and size < 1e-2 and cost <= best * (ONE + ROUNDING) + grain
        evens += even
        worse = worse and not even
        done = size < TOLERANCE or evens >= 3 or (worse and damping > 1e6)
        if worse:
            w.d[:] = w.d_old
            w.G[:] = w.G_old
            evaluate(tables, w, offsets)
            damping, last = min(max(damping * np.float32(4), np.float32(0.1)), np.float32(4e6)), ONE
        else:
            best = cost
            damping = damping * np.float32(0.25) if damping > 1e-3 and not even else ZERO
        if done:
            return iteration + 1
    return MAX_ITERATIONS


@compiled
def rebuild(tables, w, twist, out, frame):
    """Local rotations from directions, rotations and twists; the swing as two reflections."""
    for at in range(len(tables.joints)):
        j = tables.joints[at]
        m, c = tables.multi[j], tables.only[j]
        above = get3(w.turned, tables.parents[j]) if j else EYE
        if m >= 0:
            turned = get3(w.G, m)
            local = matmul(transpose(above), turned)
        else:
            bone, u = get(w.b, c), unit(mul(transpose(above), get(w.d, c)))
            h = add(bone, u)
            square = dot(h, h)
            if square < ROUNDING:
                h, square = tangents(bone)[0], ONE
            k = -TWO / square
            mirrored = add(scale(h, k * dot(h, bone)), bone)
            s0 = sub(add(EYE[0], scale(h, k * h[0])), scale(bone, TWO * mirrored[0]))
            s1 = sub(add(EYE[1], scale(h, k * h[1])), scale(bone, TWO * mirrored[1]))
            s2 = sub(add(EYE[2], scale(h, k * h[2])), scale(bone, TWO * mirrored[2]))
            sine, cosine = math.sin(twist[frame, at]), math.cos(twist[frame, at])
            along = scale(mul((s0, s1, s2), bone), ONE - cosine)
            local = (
                add(add(scale(s0, cosine), scale(cross(s0, bone), sine)), scale(bone, along[0])),
                add(add(scale(s1, cosine), scale(cross(s1, bone), sine)), scale(bone, along[1])),
                add(add(scale(s2, cosine), scale(cross(s2, bone), sine)), scale(bone, along[2])),
            )
            turned = matmul(above, local)
        put3(w.turned, j, turned)
        for i in range(3):
            out[frame, at, i, 0], out[frame, at, i, 1], out[frame, at, i, 2] = local[i]


@compiled
def solve_range(tables, keypoints, offsets, twist, rotmat, iterations, first, last):
    w = make_work(tables, offsets)
    for frame in range(first, last):
        for k in range(len(offsets)):
            for i in range(3):
                w.y[k, i] = keypoints[frame, k, i] - keypoints[frame, 0, i]
        start(tables, w, offsets)
        iterations[frame] = minimise(tables, w, offsets)
        rebuild(tables, w, twist, rotmat, frame)


@njit(cache=True, parallel=True)
def solve_parallel(tables, keypoints, offsets, twist, rotmat, iterations):
    for chunk in prange((len(keypoints) + CHUNK - 1) // CHUNK):
        first = chunk * CHUNK
        last = min(first + CHUNK, len(keypoints))
        solve_range(tables, keypoints, offsets, twist, rotmat, iterations, first, last)


def solve(
    tables: Tables, keypoints: np.ndarray, offsets: np.ndarray, twist: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return local rotations (frames, joints, 3, 3) and the number of steps. All float32."""
    frames = len(keypoints)
    rotmat, iterations = np.empty((frames, len(tables.joints), 3, 3), np.float32), np.empty(frames, np.int32)
    if frames <= CHUNK:
        solve_range(tables, keypoints, offsets, twist, rotmat, iterations, 0, frames)
    else:
        solve_parallel(tables, keypoints, offsets, twist, rotmat, iterations)
    return rotmat, iterations

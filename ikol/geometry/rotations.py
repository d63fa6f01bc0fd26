# SPDX-License-Identifier: Apache-2.0
"""Rotation forms and the maps between them, for any batch shape, in float32 and float64.

Every function is differentiable with finite gradients everywhere: singular points are guarded on the input of the
operation, not on its output. Here: conversions, the derivative of the exponential, the rotation between two vectors,
the best rotation between two sets of vectors. Not here: swing and twist. Imports: torch only.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALL_ANGLE_SQUARED = 4e-3  # (0.063 rad)^2: four series terms are exact to 1e-15 below it. Above it the closed forms
# divide a rounding by angle^2 or more, but what they give is multiplied by angle^2 again


def skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the matrix [v]x with [v]x u = v x u."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def rotvec_to_rotmat(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation Exp(v) about v by |v| radians.

    Exp(v) = I + A [v]x + B [v]x^2 with A = sin(t)/t, B = (1 - cos t)/t^2, t = |v|.
    """
    angle_squared = rotvec.square().sum(-1)
    first, second = _sine_ratio(angle_squared), _cosine_ratio(angle_squared)
    cross = skew(rotvec)
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return identity + first[..., None, None] * cross + second[..., None, None] * (cross @ cross)


def rotmat_to_rotvec(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Return Log(R): the rotation vector with angle in [0, pi] radians.

    Through the quaternion, which keeps all digits of the axis near half a turn.

    Gradient: at exactly half a turn the axis has two signs; the gradient is that of the sign returned.
    """
    quat = rotmat_to_quat(rotmat)
    w, v = quat[..., 0], quat[..., 1:]
    sine_squared = v.square().sum(-1)
    is_small = sine_squared < 1e-4  # then the first series term left out is below 2e-14 of the result
    sine = torch.where(is_small, torch.ones_like(w), sine_squared).sqrt()
    closed = 2.0 * torch.atan2(sine, w) / sine
    # asin(s)/s as a series in s^2: w is not used, so nothing is lost where w is rounded to 1
    s = torch.where(is_small, sine_squared, torch.zeros_like(sine_squared))
    series = 2.0 + s * (1 / 3 + s * (3 / 20 + s * (5 / 56)))
    return torch.where(is_small, series, closed)[..., None] * v


def quat_to_rotmat(quat: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation of a quaternion (w, x, y, z) of any length; the zero quaternion gives the identity.

    Gradient: zero at the zero quaternion.
    """
    norm_squared = quat.square().sum(-1, keepdim=True)
    is_zero = norm_squared < torch.finfo(quat.dtype).tiny
    unit = quat / torch.where(is_zero, torch.ones_like(norm_squared), norm_squared).sqrt()
    w, x, y, z = unit.unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rotmat_to_quat(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Return the unit quaternion (w, x, y, z) with w >= 0.

    The matrix 4 q q^T is linear in R. Its row of the largest diagonal entry is never shorter than 2, so normalising
    that row loses no digits at any angle.

    Source: Shepperd, Quaternion from rotation matrix, J. Guidance and Control 1(3), 1978.
    """
    m = rotmat
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xx, yy, zz = (1.0 + 2.0 * m[..., k, k] - trace for k in range(3))
    outer = torch.stack((1.0 + trace, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz), dim=-1)
    outer = outer.unflatten(-1, (4, 4))
    largest = outer.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(outer, largest[..., None, None], dim=-2).squeeze(-2)
    quat = row / torch.linalg.vector_norm(row, dim=-1, keepdim=True)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def rotmat_to_6d(rotmat: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """Return the first column of R, then the second.

    Source: Zhou et al., On the continuity of rotation representations in neural networks, CVPR 2019, eq. 14.
    """
    return rotmat[..., :2].transpose(-1, -2).flatten(-2)


def sixd_to_rotmat(sixd: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the rotation whose first column points along the first vector, the second in the plane of both.

    A zero first vector counts as (1, 0, 0), a second one that is zero or parallel to the first as any normal of it.

    Gradient: zero with respect to a vector that was replaced.
    Source: Zhou et al., On the continuity of rotation representations in neural networks, CVPR 2019, eq. 15.
    """
    first, second = sixd[..., :3], sixd[..., 3:]
    x = _normalize(first, torch.eye(3, dtype=sixd.dtype, device=sixd.device)[0])
    # the part of `second` along x is rounding when it is parallel: judge what is left against what was there
    rest = second - (x * second).sum(-1, keepdim=True) * x
    is_parallel = rest.square().sum(-1) <= 64 * torch.finfo(sixd.dtype).eps ** 2 * second.square().sum(-1)
    rest = torch.where(is_parallel[..., None], torch.zeros_like(rest), rest)
    y = _normalize(rest, _any_normal(x))
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)


def right_jacobian(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return J_r with Exp(v + d) = Exp(v) Exp(J_r d) to first order in d.

    J_r = I - (1 - cos t)/t^2 [v]x + (t - sin t)/t^3 [v]x^2, t = |v|.

    Source: Sola et al., A micro Lie theory for state estimation in robotics, 2018, eq. 143.
    """
    angle_squared = rotvec.square().sum(-1)
    second, third = _cosine_ratio(angle_squared), _remainder_ratio(angle_squared)
    cross = skew(rotvec)
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return identity - second[..., None, None] * cross + third[..., None, None] * (cross @ cross)


def right_jacobian_inverse(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return J_r^-1 with Log(Exp(v) Exp(d)) = v + J_r^-1 d to first order in d; for |v| below 2 pi.

    J_r^-1 = I + [v]x / 2 + (1 - (t/2) cot(t/2))/t^2 [v]x^2, t = |v|.

    Source: Sola et al., A micro Lie theory for state estimation in robotics, 2018, eq. 144.
    """
    angle_squared = rotvec.square().sum(-1)
    is_small, safe, s = _split(angle_squared)
    half = 0.5 * safe.sqrt()
    closed = (1.0 - half / half.tan()) / safe
    series = 1 / 12 + s * (1 / 720 + s * (1 / 30240 + s * (1 / 1209600)))
    cross = skew(rotvec)
    identity = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return identity + 0.5 * cross + torch.where(is_small, series, closed)[..., None, None] * (cross @ cross)


def rotation_between(source: Float[Tensor, "*#batch 3"], target: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "..."]:
    """Return the smallest rotation (*batch, 3, 3) that points `source` along `target`; lengths do not matter.

    S = (I - 2 h h^T)(I - 2 a a^T) with a, b the unit vectors and h = (a + b)/|a + b|. As a product of two reflections
    it is orthonormal to rounding at every angle; the usual form with 1/(1 + cos) is not near half a turn.
    A zero vector gives the identity.

    Gradient: zero at opposite vectors (any half turn about a normal is as small, one is chosen) and at zero vectors.
    """
    eye = torch.eye(3, dtype=source.dtype, device=source.device)
    is_zero = (source.square().sum(-1) == 0) | (target.square().sum(-1) == 0)
    a = _normalize(torch.where(is_zero[..., None], eye[0], source), eye[0])
    b = _normalize(torch.where(is_zero[..., None], eye[0], target), eye[0])
    total = a + b
    # h is wrong by eps/|a + b| rad, calling the angle half a turn is wrong by |a + b|: they meet at sqrt(eps)
    is_opposite = total.square().sum(-1) < 4 * torch.finfo(source.dtype).eps
    total = torch.where(is_opposite[..., None], torch.zeros_like(total), total)
    h = _normalize(total, _any_normal(a))
    return _reflection(h) @ _reflection(a)


def kabsch(
    source: Float[Tensor, "*#batch points 3"],
    target: Float[Tensor, "*#batch points 3"],
    weights: Float[Tensor, "*#batch points"],
) -> Float[Tensor, "..."]:
    """Return the rotation R (*batch, 3, 3) minimising sum_i w_i |R s_i - t_i|^2.

    The vectors are taken as they are: to align two clouds subtract their weighted centres first. What the vectors leave
    open (all parallel, or no weight at all) is filled with the choice nearest the identity.

    Gradient: exact to first order wherever R is unique, equal singular values included, which the gradient of an SVD
    is not: R is held fixed and corrected by one differentiable Newton step, whose value is zero. Zero along directions
    that the vectors leave open. Second derivatives are not defined.
    Source: Kabsch, Acta Cryst. A32, 1976; Umeyama, PAMI 13(4), 1991 (the sign of the determinant).
    """
    eye = torch.eye(3, dtype=source.dtype, device=source.device)
    covariance = (weights[..., None] * target).transpose(-1, -2) @ source
    # a pull towards the identity, at the level of the rounding of the sum, settles what the data leave open
    scale = torch.linalg.matrix_norm(covariance.detach())[..., None, None]
    pull = (16 * torch.finfo(source.dtype).eps * scale + torch.finfo(source.dtype).tiny) * eye
    covariance = covariance + pull
    with torch.no_grad():
        u, singular, vh = torch.linalg.svd(covariance)
        sign = torch.linalg.det(u @ vh).sign()
        signed = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
        rotmat = (u * signed[..., None, :]) @ vh
        singular = singular * signed
        # vee(R^T dH - dH^T R) = (tr(M) I - M) omega with M = R^T H, diagonal in the basis of V
        stiffness = singular.sum(-1, keepdim=True) - singular
        is_open = stiffness <= 64 * torch.finfo(source.dtype).eps * singular[..., :1]
        compliance = torch.where(is_open, 0.0, 1.0 / torch.where(is_open, 1.0, stiffness))
        inverse = vh.transpose(-1, -2) @ (compliance[..., :, None] * vh)
    aligned = rotmat.transpose(-1, -2) @ covariance
    omega = (inverse @ _vee(aligned - aligned.transpose(-1, -2))[..., None]).squeeze(-1)
    return rotmat @ rotvec_to_rotmat(omega)


def _vee(antisymmetric: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    a = antisymmetric
    return torch.stack((a[..., 2, 1], a[..., 0, 2], a[..., 1, 0]), dim=-1)


def _split(
    angle_squared: Float[Tensor, "*batch"],
) -> tuple[Bool[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return where t^2 is small, t^2 for the closed form (1 where small) and t^2 for the series (0 where not)."""
    is_small = angle_squared < SMALL_ANGLE_SQUARED
    return is_small, torch.where(is_small, 1.0, angle_squared), torch.where(is_small, angle_squared, 0.0)


def _sine_ratio(angle_squared: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return sin(t)/t from t^2."""
    is_small, safe, s = _split(angle_squared)
    angle = safe.sqrt()
    series = 1.0 - s * (1 / 6 - s * (1 / 120 - s * (1 / 5040)))
    return torch.where(is_small, series, angle.sin() / angle)


def _cosine_ratio(angle_squared: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return (1 - cos t)/t^2 from t^2, as 2 sin(t/2)^2/t^2, which does not cancel."""
    is_small, safe, s = _split(angle_squared)
    series = 0.5 - s * (1 / 24 - s * (1 / 720 - s * (1 / 40320)))
    return torch.where(is_small, series, 2.0 * (0.5 * safe.sqrt()).sin().square() / safe)


def _remainder_ratio(angle_squared: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return (t - sin t)/t^3 from t^2."""
    is_small, safe, s = _split(angle_squared)
    angle = safe.sqrt()
    series = 1 / 6 - s * (1 / 120 - s * (1 / 5040 - s * (1 / 362880)))
    return torch.where(is_small, series, (angle - angle.sin()) / (safe * angle))


def _normalize(vector: Float[Tensor, "*#batch 3"], fallback: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*#batch 3"]:
    """Return the unit vector, or the (unit) fallback where the vector is zero."""
    # scaled by the largest component, so that squares neither overflow nor vanish
    largest = vector.detach().abs().amax(-1, keepdim=True)
    is_zero = largest < torch.finfo(vector.dtype).tiny
    safe = torch.where(is_zero, fallback, vector / torch.where(is_zero, torch.ones_like(largest), largest))
    return safe / torch.linalg.vector_norm(safe, dim=-1, keepdim=True)


def _any_normal(unit: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Return a constant unit vector at a right angle to a unit vector."""
    unit = unit.detach()
    basis = torch.eye(3, dtype=unit.dtype, device=unit.device)[unit.abs().argmin(-1)]
    normal = torch.linalg.cross(unit, basis)
    return normal / torch.linalg.vector_norm(normal, dim=-1, keepdim=True)


def _reflection(unit: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return torch.eye(3, dtype=unit.dtype, device=unit.device) - 2.0 * unit[..., :, None] * unit[..., None, :]

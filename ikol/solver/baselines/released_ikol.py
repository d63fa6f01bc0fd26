# SPDX-License-Identifier: Apache-2.0
"""The IKOL layer as its authors released it: one swing angle a joint, five damped Gauss-Newton steps from zero.

    p_c = P_c - P_i,  w_i = t_c x (G_parent^T p_c),  n_i = w_i / (|w_i| + 1e-8)
    R_i = Rodrigues(n_i, alpha_i) Rodrigues(t_c / |t_c|, phi_i),  G_i = G_parent R_i
    alpha <- alpha - (J^T J + u I)^-1 J^T r,  r = f(alpha) - P in metres,  u = 0.1,  alpha = 0 at first

Unknown is one angle for each joint but the root and the leaves, 18 of SMPL's 24; the axis n_i is tied to the target.
The root and the chest (spine3) take the rotation of their children's bones by SVD: the chest's column of J is zero and
its angle stays there, damping alone keeps the system regular. Twists and leaf rotations come from a network.

Known of the original: all of the above, from the released code at test time. In training the chest is an ordinary
joint that follows the neck (an option here), and the root is aligned to the spine first, then to the hips (not repeated
here). The published figure has 23 angles where the code has 18. Not known: which damping and how many steps the paper's
tables used, and whether the released hand-written Jacobian lets the joints above the chest turn what hangs on it; here
it is exact (they do not: the SVD undoes any turn from above). The inverse of the released code is a linear solve here.
Imports: torch, ikol.geometry, the problem.

Source: Zhang et al., IKOL: Inverse kinematics optimization layer for 3D human pose and shape estimation via
Gauss-Newton differentiation, AAAI 2023 (arXiv 2302.01058), fig. 2, and its released code.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ikol.errors import InputError
from ikol.geometry.rotations import rotvec_to_rotmat, skew
from ikol.solver.baselines.problem import BaselineProblem, BaselineResult, FlatProblem

AXIS_EPSILON = 1e-8  # the released guard: where rest and target bone are parallel the axis is noise, or zero


@dataclass(frozen=True)
class ReleasedIkolConfig:
    """The released settings, each open to change."""

    iterations: int = 5
    """Steps, all of them taken: nothing tests for convergence."""
    damping: float = 0.1
    """u in square metres, constant."""
    fork: Literal["svd", "first_child"] = "svd"
    """The chest: from all its children, as at test time, or an angle like the others that follows the neck, as in
    training."""
    differentiate_hessian: bool = False
    """How the steps are unrolled. False: the Gauss-Newton operator is a constant, as in the released code. True: it is
    differentiated, the term dH/dP (f - P) of the published formula."""

    def __post_init__(self) -> None:
        if self.iterations < 0 or not self.damping > 0:
            raise InputError(
                f"iterations must not be negative and damping must be positive, got {self.iterations} and "
                f"{self.damping}"
            )


def solve_released_ikol(problem: BaselineProblem, config: ReleasedIkolConfig | None = None) -> BaselineResult:
    """Return the pose after the released number of steps. Weights are not part of the method: all targets count.

    Args:
        problem: targets, twist, leaf rotations.
        config: settings; None for the released ones.

    Gradient: of the unrolled steps. As released, the root's rotation is a constant with respect to the targets.
    """
    config = ReleasedIkolConfig() if config is None else config
    flat = problem.flat()
    root = flat.root_rotation().detach()
    turning = [joint for joint, children in enumerate(flat.tree.children) if joint and children]
    forks = {joint for joint in turning if config.fork == "svd" and len(flat.tree.children[joint]) > 1}
    alpha = flat.target.new_zeros(len(flat.target), len(turning))
    eye = torch.eye(len(turning), dtype=alpha.dtype, device=alpha.device)
    for _ in range(config.iterations):
        posed = _pose(flat, root, turning, forks, alpha)
        residual = (posed.joints - flat.target).flatten(1)
        jacobian = posed.jacobian.flatten(2).transpose(1, 2)
        if not config.differentiate_hessian:
            jacobian = jacobian.detach()
        normal = jacobian.mT @ jacobian + config.damping * eye
        alpha = alpha - torch.linalg.solve(normal, (jacobian.mT @ residual[..., None]).squeeze(-1))
    return problem.result(flat, _pose(flat, root, turning, forks, alpha).local_rotmat)


@dataclass(frozen=True, eq=False)
class _Posed:
    local_rotmat: Float[Tensor, "n joints 3 3"]
    joints: Float[Tensor, "n joints 3"]
    jacobian: Float[Tensor, "n angles joints 3"]
    """d joints / d alpha."""


def _pose(
    flat: FlatProblem,
    root: Float[Tensor, "n 3 3"],
    turning: list[int],
    forks: set[int],
    alpha: Float[Tensor, "n angles"],
) -> _Posed:
    """Pose the tree and carry the derivative by every angle along, from the root to the leaves.

    Args:
        flat: the problem.
        root: global rotation of the root.
        turning: the joint of each angle.
        forks: those of them that take the rotation of all their children's bones instead.
        alpha: radians.
    """
    count, angles = alpha.shape
    tree = flat.tree
    leaf_number = {leaf: k for k, leaf in enumerate(flat.leaves)}
    local, rotmats, places = [root], [root], [flat.target[:, 0]]
    d_rotmats = [alpha.new_zeros(count, angles, 3, 3)]
    d_places = [alpha.new_zeros(count, angles, 3)]
    for joint in range(1, tree.num_joints):
        parent, children = tree.parents[joint], tree.children[joint]
        bone, above, d_above = flat.bone(joint), rotmats[parent], d_rotmats[parent]
        places.append(places[parent] + (above @ bone[..., None]).squeeze(-1))
        d_places.append(d_places[parent] + (d_above @ bone[:, None, :, None]).squeeze(-1))
        if not children:
            turned = flat.leaf_rotmat[:, leaf_number[joint]]
            d_rotmats.append(d_above @ turned[:, None])
        elif joint in forks:
            turned = flat.fork_rotation(joint, flat.target[:, joint], above)
            # the best rotation in the world is the same whatever the parent's is
            d_rotmats.append(torch.zeros_like(d_above))
        else:
            k = turning.index(joint)
            turned, d_turned = _swing_and_twist(flat, joint, alpha[:, k], above, d_above, k)
            d_rotmats.append(d_above @ turned[:, None] + above[:, None] @ d_turned)
        local.append(turned)
        rotmats.append(above @ turned)
    return _Posed(torch.stack(local, dim=1), torch.stack(places, dim=1), torch.stack(d_places, dim=2))


def _swing_and_twist(
    flat: FlatProblem,
    joint: int,
    angle: Float[Tensor, "n"],
    above: Float[Tensor, "n 3 3"],
    d_above: Float[Tensor, "n angles 3 3"],
    k: int,
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n angles 3 3"]]:
    """Return the rotation of a joint that follows its first child, and its derivative; its own angle is number k."""
    child = flat.tree.children[joint][0]
    bone, target_bone = flat.bone(child), flat.target[:, child] - flat.target[:, joint]
    w = torch.linalg.cross(bone, (above.mT @ target_bone[..., None]).squeeze(-1))
    d_w = torch.linalg.cross(bone[:, None], (d_above.mT @ target_bone[:, None, :, None]).squeeze(-1))
    norm = torch.linalg.vector_norm(w, dim=-1, keepdim=True) + AXIS_EPSILON
    n = w / norm
    # the axis depends on all angles above: they turn the frame in which the target bone is seen
    d_n = (d_w - n[:, None] * (n[:, None] * d_w).sum(-1, keepdim=True)) / norm[:, None]
    cross, d_cross = skew(n), skew(d_n)
    sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
    eye = torch.eye(3, dtype=bone.dtype, device=bone.device)
    swing = eye + sine * cross + (1 - cosine) * (cross @ cross)
    d_swing = sine[:, None] * d_cross + (1 - cosine)[:, None] * (d_cross @ cross[:, None] + cross[:, None] @ d_cross)
    own = torch.nn.functional.one_hot(torch.tensor(k, device=bone.device), d_above.shape[1]).to(bone.dtype)
    d_swing = d_swing + own[:, None, None] * (cosine * cross + sine * (cross @ cross))[:, None]
    length = torch.linalg.vector_norm(bone, dim=-1, keepdim=True)
    twist = rotvec_to_rotmat(flat.twist[:, joint, None] * bone / length)
    return swing @ twist, d_swing @ twist[:, None]

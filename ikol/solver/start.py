# SPDX-License-Identifier: Apache-2.0
"""Where a solve starts: a pose from 3D points in closed form, and a translation from their pixels.

Gauss-Newton finds the nearest minimum; a body that starts facing the wrong way keeps facing it. So the torso is
aligned by Kabsch first, then each joint down the limbs turns its bone, from where it already is, to its target.
Where the points are joints, most of them seen, and no limits are given, the least-squares pose itself is taken.
Imports: torch, ikol.geometry, ikol.body, ikol.camera, ikol.errors, the solver of the paper's problem.

Source: Li et al., HybrIK, CVPR 2021, sec. 3.3 (the adaptive swing), with least squares at joints that carry several
points and the bending plane of hinges instead of a given twist.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints
from ikol.camera import Camera
from ikol.errors import InputError
from ikol.geometry.rotations import kabsch, rotation_between, rotvec_to_rotmat
from ikol.solver.directions import DirectionConfig, solve_directions
from ikol.solver.directions.config import TOLERANCE
from ikol.solver.evidence import Twist
from ikol.solver.limits import JointLimits, clamp_rotations
from ikol.solver.residuals import MIN_DEPTH
from ikol.solver.skeleton import Skeleton
from ikol.solver.state import SolveState

# joints that hardly move against each other, so that points on them give the root's rotation; at the start they rest
TORSO = ("Pelvis", "Spine1", "Spine2", "Spine3", "L_Collar", "R_Collar")
AT_CENTER = 1e-3  # metres
AT_JOINT = (
    0.1  # of a bone: a point on the next joint but off its centre by this much counts half for the bone's direction
)
PULL = 0.01  # to the rest pose, relative to a fully weighted bone; decides what points leave open
BEND_UNSEEN, BEND_SEEN = math.sin(math.radians(15)), math.sin(math.radians(45))  # a hinge bent less gives no plane
MAX_HINGE_TURN_COS = math.cos(math.radians(110))  # a bend that would twist the bone above by more is noise
MOST_SEEN = 0.5  # of the joints: with fewer, the least-squares pose takes turns of the torso for limbs out of sight
FAR_AWAY = 3.0  # metres: the distance where pixels do not tell it
"""Of a person photographed from head to foot, give or take."""


def start_from_points(
    skeleton: Skeleton,
    points: AttachedPoints,
    target: Float[Tensor, "*#batch points 3"],
    weights: Float[Tensor, "*#batch points"],
    betas: Float[Tensor, "*#batch betas"],
    *,
    limits: JointLimits | None = None,
    twist: Twist | None = None,
    root: Float[Tensor, "*#batch 3"] | None = None,
) -> SolveState:
    """Return a pose near the given points.

    Args:
        skeleton: the rig. With SMPL's names its torso is known; of another rig only the root counts as torso.
        points: of the body.
        target: where they are, metres, world; ignored where the weight is zero.
        weights: 0 for missing, relative otherwise.
        betas: the shape.
        limits: where given, the pose stays inside of them, and the bend of their hinges turns the bone above (the plane
            of an elbow turns the upper arm).
        twist: known twists. Those joints turn their bones by the points and themselves by the twist; of the torso only
            what is above all of them is taken to be rigid.
        root: where the root joint is held, metres, world (a solve with `free_transl=False`); None where it may move.

    Raises:
        InputError: numbers are not finite, or weights are negative.
    """
    batch = torch.broadcast_shapes(target.shape[:-2], weights.shape[:-1], betas.shape[:-1])
    if root is not None:
        batch = torch.broadcast_shapes(batch, root.shape[:-1])
    if twist is not None:
        batch = torch.broadcast_shapes(batch, twist.angle.shape[:-1], twist.sigma.shape[:-1])
        angle, sigma = (
            part.expand(*batch, -1).reshape(math.prod(batch), len(twist.axis)) for part in (twist.angle, twist.sigma)
        )
        twist = replace(twist, angle=torch.where(torch.isfinite(sigma), angle, 0.0), sigma=sigma)
    size = math.prod(batch)
    if size == 0 or len(points) == 0:
        return skeleton.rest_state(batch)
    weights = weights.expand(*batch, -1).reshape(size, len(points))
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise InputError("the weights of points must be finite and not negative; give missing points the weight 0")
    is_used = weights > 0
    target = torch.where(is_used[..., None], target.expand(*batch, -1, -1).reshape(size, len(points), 3), 0.0)
    if not bool(torch.isfinite(target).all()):
        raise InputError("target points hold NaN or infinite numbers; give missing points the weight 0")
    # relative to the largest, so that the pull to rest means the same whatever the scale of the weights
    weights = weights / weights.amax(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    flat_betas = betas.expand(*batch, -1).reshape(size, skeleton.num_betas)
    held = None if root is None else root.expand(*batch, 3).reshape(size, 3)
    walk = _Walk(
        skeleton.tree, skeleton.rest_joints(flat_betas), points, points.rest_points(flat_betas), target, weights, held
    )
    local_rotmat, place = walk.find(limits, twist)
    return SolveState(
        transl=(place - walk.rest_joints[:, 0]).reshape(*batch, 3),
        local_rotmat=local_rotmat.reshape(*batch, skeleton.tree.num_joints, 3, 3),
        betas=betas.expand(*batch, -1).clone(),
    )


@dataclass(frozen=True, eq=False)
class _Walk:
    """The way from the root to the leaves, for a flat batch of n."""

    tree: JointTree
    rest_joints: Float[Tensor, "n joints 3"]
    points: AttachedPoints
    rest_points: Float[Tensor, "n points 3"]
    target: Float[Tensor, "n points 3"]
    weights: Float[Tensor, "n points"]
    held: Float[Tensor, "n 3"] | None
    """Where the root joint stays; None where it may move."""

    def find(
        self, limits: JointLimits | None, twist: Twist | None
    ) -> tuple[Float[Tensor, "n joints 3 3"], Float[Tensor, "n 3"]]:
        """Return the local rotations and the place of the root joint."""
        is_best = (self.weights > 0).double().mean(-1) * len(self.points) > MOST_SEEN * self.tree.num_joints
        if limits is not None or not bool(is_best.any()) or not self._is_of_joints():
            return self.down(limits, twist)
        best, root = self._least_squares(twist)
        if bool(is_best.all()):
            return best, root
        walked, walked_root = self.down(None, twist)
        return torch.where(is_best[:, None, None, None], best, walked), torch.where(is_best[:, None], root, walked_root)

    def _is_of_joints(self) -> bool:
        """Say whether the points are the centres of joints, each once."""
        index: list[int] = self.points.joint_index.tolist()
        if len(set(index)) < len(index) or self.tree.num_joints < 2 or self.target.dtype not in TOLERANCE:
            return False
        return float((self.rest_points - self.rest_joints[:, index]).norm(dim=-1).amax()) < AT_CENTER

    def _least_squares(self, twist: Twist | None) -> tuple[Float[Tensor, "n joints 3 3"], Float[Tensor, "n 3"]]:
        """Return the pose whose joints come nearest to the points, with the twists that are known and no others."""
        tree, index, (count, joints) = self.tree, self.points.joint_index, self.rest_joints.shape[:2]
        offsets = self.rest_joints - self.rest_joints[:, [0, *tree.parents[1:]]]
        turning = [joint for joint, children in enumerate(tree.children) if children]
        angle = self.target.new_zeros(count, joints)
        if twist is not None:
            first = [tree.children[joint][0] if tree.children[joint] else 0 for joint in twist.joint_index.tolist()]
            bones = offsets[:, first] / offsets[:, first].norm(dim=-1, keepdim=True).clamp(min=1e-9)
            angle = angle.index_copy(1, twist.joint_index.long(), twist.angle * (bones * twist.axis).sum(-1))
        keypoints = self.target.new_zeros(count, joints, 3).index_copy(1, index, self.target)
        weights = self.target.new_zeros(count, joints).index_copy(1, index, self.weights)
        if self.held is not None:
            keypoints = torch.cat((self.held[:, None], keypoints[:, 1:]), dim=1)
        config = DirectionConfig(hold_root=self.held is not None)
        found = solve_directions(tree, keypoints, offsets, angle[:, turning], weights=weights, config=config)
        eye = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(count, joints, 1, 1)
        return eye.index_copy(1, torch.tensor(turning, device=angle.device), found.local_rotmat), found.root

    def down(
        self, limits: JointLimits | None, twist: Twist | None
    ) -> tuple[Float[Tensor, "n joints 3 3"], Float[Tensor, "n 3"]]:
        """Return them joint by joint."""
        count, size = len(self.target), self.tree.num_joints
        eye = torch.eye(3, dtype=self.target.dtype, device=self.target.device)
        twisted: list[int] = [] if twist is None else twist.joint_index.tolist()
        torso = {0}
        for joint, name in enumerate(self.tree.names):
            if name in TORSO and joint not in twisted and self.tree.parents[joint] in torso:
                torso.add(joint)
        root_rotmat, root = self._root(torso)
        local = [eye.expand(count, 3, 3)] * size
        rotmats, places = [root_rotmat] * size, [root] * size
        local[0] = root_rotmat
        offsets = self._offsets()
        for level in self.tree.levels[1:]:
            for joint in level:
                parent = self.tree.parents[joint]
                bone = self.rest_joints[:, joint] - self.rest_joints[:, parent]
                places[joint] = places[parent] + (rotmats[parent] @ bone[..., None]).squeeze(-1)
                rotmats[joint] = rotmats[parent]
            turning = [joint for joint in level if joint not in torso]
            if not turning:
                continue
            above = torch.stack([rotmats[joint] for joint in turning], dim=1)
            turned = self._turn(
                turning, torch.stack([places[joint] for joint in turning], dim=1), above, offsets, limits
            )
            if twist is not None:
                turned = _twisted(turning, turned, twist)
            if limits is not None:
                turned = _clamp(turning, turned, limits)
            for k, joint in enumerate(turning):
                local[joint] = turned[:, k]
                rotmats[joint] = rotmats[joint] @ turned[:, k]
        return torch.stack(local, dim=1), root

    def _root(self, torso: set[int]) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"]]:
        """Align what moves with the torso; place the body by all points where the torso is not seen."""
        arms = (self.rest_points - self.rest_joints[:, self.points.joint_index]).norm(dim=-1).amax(0)
        joints: list[int] = self.points.joint_index.tolist()
        is_torso = torch.tensor(
            [
                joint in torso or (self.tree.parents[joint] in torso and arm < AT_CENTER)
                for joint, arm in zip(joints, arms.tolist(), strict=True)
            ],
            dtype=torch.bool,
            device=self.target.device,
        )
        on_torso = self.weights * is_torso
        weights = torch.where(on_torso.sum(-1, keepdim=True) > 0, on_torso, self.weights)
        share = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        rest_center = (share[..., None] * self.rest_points).sum(-2)
        center = (share[..., None] * self.target).sum(-2)
        if self.held is not None:
            rest_center, center = self.rest_joints[:, 0], self.held
        # limbs say nothing about where the torso faces: without a torso point the rotation stays the identity
        rotmat = kabsch(self.rest_points - rest_center[:, None], self.target - center[:, None], on_torso)
        if self.held is not None:
            return rotmat, self.held
        arm = (rotmat @ (self.rest_joints[:, 0] - rest_center)[..., None]).squeeze(-1)
        is_seen = self.weights.sum(-1, keepdim=True) > 0
        return rotmat, torch.where(is_seen, center + arm, self.rest_joints[:, 0])

    def _offsets(self) -> Float[Tensor, "joints points"]:
        """How much each point says about each joint's rotation: its own points fully, those of children by place."""
        own = torch.nn.functional.one_hot(self.points.joint_index, self.tree.num_joints).T.to(self.target.dtype)
        parents = torch.tensor((0, *self.tree.parents[1:]), device=self.target.device)
        bone = (self.rest_joints - self.rest_joints[:, parents]).norm(dim=-1).amax(0).clamp(min=1e-6)
        arm = (self.rest_points - self.rest_joints[:, self.points.joint_index]).norm(dim=-1).amax(0)
        share = 1.0 / (1.0 + (arm / (AT_JOINT * bone[self.points.joint_index])).square())
        on_child = torch.zeros_like(own)
        carrier = parents[self.points.joint_index]
        on_child[carrier, torch.arange(len(self.points), device=carrier.device)] = share
        on_child[0] *= self.points.joint_index != 0
        return own + on_child

    def _turn(
        self,
        joints: Sequence[int],
        places: Float[Tensor, "n level 3"],
        above: Float[Tensor, "n level 3 3"],
        offsets: Float[Tensor, "joints points"],
        limits: JointLimits | None,
    ) -> Float[Tensor, "n level 3 3"]:
        """Return the local rotations that turn the joints' points to their targets, in the parents' frames."""
        index = list(joints)
        source = self.rest_points[:, None] - self.rest_joints[:, index, None]
        wanted = (self.target[:, None] - places[:, :, None]) @ above
        length = source.norm(dim=-1)
        # directions only: another person's bones are longer or shorter
        wanted = wanted * (length / wanted.norm(dim=-1).clamp(min=1e-9))[..., None]
        weights = self.weights[:, None] * offsets[index]
        weights = weights * (length > 1e-6)
        reach = (weights * length.square()).amax(-1)
        eye = torch.eye(3, dtype=source.dtype, device=source.device).expand(*reach.shape, 3, 3)
        pull = torch.where(reach > 0, PULL * reach, torch.ones_like(reach))[..., None].expand(*reach.shape, 3)
        sources, targets, shares = [source, eye], [wanted, eye], [weights, pull]
        if limits is not None:
            hinge = self._bends(index, above, (source, wanted, weights, reach), limits)
            for total, part in zip((sources, targets, shares), hinge, strict=True):
                total.append(part)
        return kabsch(torch.cat(sources, dim=-2), torch.cat(targets, dim=-2), torch.cat(shares, dim=-1))

    def _bends(
        self,
        joints: list[int],
        above: Float[Tensor, "n level 3 3"],
        bones: tuple[Tensor, Tensor, Tensor, Tensor],
        limits: JointLimits,
    ) -> tuple[Float[Tensor, "n level 1 3"], Float[Tensor, "n level 1 3"], Float[Tensor, "n level 1"]]:
        """Where a joint's only child is a bent hinge: the hinge's axis, the normal of the bend and its weight."""
        source, wanted, weights, reach = bones
        hinge_rows = {int(joint): row for row, joint in enumerate(limits.joint_index) if bool(limits.is_hinge[row])}
        axis = torch.zeros_like(source[..., 0, :])
        normal, share = torch.zeros_like(axis), torch.zeros_like(reach)
        for k, joint in enumerate(joints):
            children = self.tree.children[joint]
            hinge = children[0] if len(children) == 1 else -1
            if hinge not in hinge_rows or len(self.tree.children[hinge]) != 1:
                continue
            near, is_near_seen = self._seen_at(hinge)
            far, is_far_seen = self._seen_at(self.tree.children[hinge][0])
            # the bone above by its best point, the bone below between the two centres
            best = (weights[:, k] * source[:, k].square().sum(-1)).argmax(-1)
            upper = wanted[torch.arange(len(best)), k, best]
            lower = ((far - near)[:, None] @ above[:, k]).squeeze(1)
            upper = upper / upper.norm(dim=-1, keepdim=True).clamp(min=1e-9)
            lower = lower / lower.norm(dim=-1, keepdim=True).clamp(min=1e-9)
            cross = torch.linalg.cross(upper, lower)
            sine = cross.norm(dim=-1)
            axis[:, k] = limits.axes[hinge_rows[hinge], 1]
            normal[:, k] = cross / sine.clamp(min=1e-9)[:, None]
            rest_bone = self.rest_joints[:, hinge] - self.rest_joints[:, joint]
            swung = (rotation_between(rest_bone, upper) @ axis[:, k, :, None]).squeeze(-1)
            is_sane = (swung * normal[:, k]).sum(-1) > MAX_HINGE_TURN_COS
            clarity = ((sine - BEND_UNSEEN) / (BEND_SEEN - BEND_UNSEEN)).clamp(0.0, 1.0)
            share[:, k] = clarity * reach[:, k] * (is_sane & is_near_seen & is_far_seen)
        return axis[..., None, :], normal[..., None, :], share[..., None]

    def _seen_at(self, joint: int) -> tuple[Float[Tensor, "n 3"], Bool[Tensor, "n"]]:
        """Return the mean target of the points at a joint's centre, and whether there is one."""
        arm = (self.rest_points - self.rest_joints[:, joint, None]).norm(dim=-1).amax(0)
        at_center = self.weights * ((self.points.joint_index == joint) & (arm < AT_CENTER))
        total = at_center.sum(-1, keepdim=True)
        mean = (at_center[..., None] * self.target).sum(-2) / total.clamp(min=torch.finfo(total.dtype).tiny)
        return mean, total.squeeze(-1) > 0


def _twisted(joints: list[int], rotmat: Float[Tensor, "n level 3 3"], twist: Twist) -> Float[Tensor, "n level 3 3"]:
    """Return the rotations of some joints, with the known twists in the place of their own."""
    known: list[int] = twist.joint_index.tolist()
    rows = [known.index(joint) for joint in joints if joint in known]
    if not rows:
        return rotmat
    index = torch.tensor([k for k, joint in enumerate(joints) if joint in known], device=rotmat.device)
    own, axis = rotmat[:, index], twist.axis[rows]
    swing = rotation_between(axis.expand(own.shape[:-1]), (own @ axis[..., None]).squeeze(-1))
    turned = swing @ rotvec_to_rotmat(twist.angle[:, rows, None] * axis)
    is_known = torch.isfinite(twist.sigma[:, rows])[..., None, None]
    return rotmat.index_copy(1, index, torch.where(is_known, turned, own))


def _clamp(
    joints: list[int], rotmat: Float[Tensor, "n level 3 3"], limits: JointLimits
) -> Float[Tensor, "n level 3 3"]:
    """Return the rotations of some joints, inside of their limits if they have any.

    Noise of a few centimetres turns a hand or a foot by a right angle; from far outside the solver finds back slowly.
    """
    rows = {int(joint): row for row, joint in enumerate(limits.joint_index)}
    limited = [k for k, joint in enumerate(joints) if joint in rows]
    if not limited:
        return rotmat
    own = limits.take([rows[joints[k]] for k in limited])
    index = torch.tensor(limited, device=rotmat.device)
    return rotmat.index_copy(1, index, clamp_rotations(own, rotmat[:, index]))


def translation_from_projection(
    points_camera: Float[Tensor, "*#batch points 3"],
    pixels: Float[Tensor, "*#batch points 2"],
    weights: Float[Tensor, "*#batch points"],
    camera: Camera,
) -> Float[Tensor, "..."]:
    """Return t (*batch, 3) such that the lens sees points + t at the pixels, by weighted least squares.

    x + t_x = m (z + t_z) with m = (u - c) / f is linear in t. Its error is that of the pixel times depth / f, so it is
    solved three times, each with the depths of the one before. What the pixels leave open (one point, all points at
    one place) is filled with a distance of 3 m. All weighted points come to lie in front of the camera.

    Args:
        points_camera: metres, in camera axes, from any origin.
        pixels: ignored where the weight is zero.
        weights: 1/sigma^2 of the pixels, or anything relative; 0 for missing.
        camera: its lens; its place is not used.

    Raises:
        InputError: numbers are not finite, or weights are negative.
    """
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise InputError("the weights of pixels must be finite and not negative; give missing pixels the weight 0")
    is_used = (weights > 0)[..., None]
    slope = (pixels - camera.center[..., None, :]) / camera.focal[..., None, :]
    slope = torch.where(is_used, slope, 0.0)
    points = torch.where(is_used, points_camera, 0.0)
    if not bool(torch.isfinite(slope).all() and torch.isfinite(points).all()):
        raise InputError("points or pixels hold NaN or infinite numbers; give missing ones the weight 0")
    share = weights / weights.amax(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    nearest = torch.where(is_used.squeeze(-1), points[..., 2], math.inf).amin(-1)
    # with no point at all: any distance
    least = torch.where(torch.isfinite(nearest), MIN_DEPTH - nearest, FAR_AWAY)
    distance = torch.maximum(torch.full_like(least, FAR_AWAY), least)
    for _ in range(3):
        depth = (points[..., 2] + distance[..., None]).clamp(min=MIN_DEPTH)
        distance = torch.maximum(_distance(points, slope, share / depth.square()), least)
    depth = (points[..., 2] + distance[..., None]).clamp(min=MIN_DEPTH)
    share = (share / depth.square())[..., None]
    total = share.sum(-2).clamp(min=torch.finfo(share.dtype).tiny)
    sideways = (share * (slope * (points[..., 2:] + distance[..., None, None]) - points[..., :2])).sum(-2) / total
    return torch.cat((sideways, distance[..., None]), dim=-1)


def _distance(
    points: Float[Tensor, "*#batch points 3"],
    slope: Float[Tensor, "*#batch points 2"],
    share: Float[Tensor, "*#batch points"],
) -> Float[Tensor, "..."]:
    """Return t_z of the least-squares solution: t_x and t_y are eliminated by centring."""
    share = share[..., None]
    total = share.sum(-2, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
    wanted = slope * points[..., 2:] - points[..., :2]
    slope_spread = slope - (share * slope).sum(-2, keepdim=True) / total
    wanted_spread = wanted - (share * wanted).sum(-2, keepdim=True) / total
    # t_x - m t_z = m z - x: regress on -m, pulled to FAR_AWAY by the rounding level of the slopes
    curvature = (share * slope_spread.square()).sum((-1, -2))
    pull = 1e-6 * total.squeeze(-1).squeeze(-1)  # as if a milliradian of spread were seen at FAR_AWAY
    return (pull * FAR_AWAY - (share * slope_spread * wanted_spread).sum((-1, -2))) / (curvature + pull)

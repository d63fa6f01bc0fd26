# SPDX-License-Identifier: Apache-2.0
"""A body: joint tree, mesh, shape directions, skin weights, and the points that evidence speaks of.

Here: the data and what is linear in the shape. Not here: reading files (default_body), posing (kinematics, skinning).
Imports: torch, ikol.errors, ikol.body.{skeleton, points}.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ikol.body.joint_tree import JointTree
from ikol.body.points import AttachedPoints, check_betas
from ikol.errors import InputError

ROW_SUM_TOLERANCE = (
    1e-3  # files carry float32 weights cut to a few influences; published SMPL files are off by some 1e-5
)


@dataclass(frozen=True, eq=False)
class BodyModel:
    """A skinned body in SMPL's format: Y up, facing +Z, metres.

    All tensors share one device and one floating-point type. Build it with `from_arrays`, which checks the numbers and
    derives the joints.
    """

    name: str
    """What to call the body in messages."""
    tree: JointTree
    """The joint tree."""
    v_template: Float[Tensor, "vertices 3"]
    """Vertices of the mean body in the rest pose, metres."""
    faces: Int[Tensor, "faces 3"]
    """Triangles, counter-clockwise seen from outside."""
    shapedirs: Float[Tensor, "vertices 3 betas"]
    """Metres per unit of each beta."""
    J_regressor: Float[Tensor, "joints vertices"]
    """Rest joints as weighted means of rest vertices."""
    lbs_weights: Float[Tensor, "vertices joints"]
    """How far each vertex follows each joint; rows sum to one."""
    posedirs: Float[Tensor, "vertices 3 features"] | None
    """Pose blend shapes, metres per entry of R - I of the joints 1 ...; None where the body has none."""
    joints_template: Float[Tensor, "joints 3"]
    """J_regressor applied to v_template."""
    joints_shapedirs: Float[Tensor, "joints 3 betas"]
    """J_regressor applied to shapedirs: joints need no mesh."""
    points: AttachedPoints
    """The joints, by their names, then the landmarks."""

    @classmethod
    def from_arrays(  # shapes are checked below, in words, not by their annotations
        cls,
        name: str,
        tree: JointTree,
        v_template: Float[Tensor, "..."],
        faces: Int[Tensor, "..."],
        shapedirs: Float[Tensor, "..."],
        J_regressor: Float[Tensor, "..."],
        lbs_weights: Float[Tensor, "..."],
        posedirs: Float[Tensor, "..."] | None = None,
        landmarks: AttachedPoints | None = None,
    ) -> "BodyModel":
        """Check the arrays, regress the joints, and put joints and landmarks together as points.

        Args:
            name: what to call the body in messages.
            tree: the joint tree.
            v_template: (vertices, 3), metres, rest pose.
            faces: (faces, 3), triangles.
            shapedirs: (vertices, 3, betas), metres per unit of each beta.
            J_regressor: (joints, vertices), rows sum to one.
            lbs_weights: (vertices, joints), rows sum to one.
            posedirs: (vertices, 3, 9 (joints - 1)), pose blend shapes, or None.
            landmarks: points beside the joints, with as many betas as `shapedirs`; names differ from the joints'.

        Raises:
            InputError: the arrays do not fit together.
        """
        _check_arrays(name, tree, v_template, faces, shapedirs, J_regressor, lbs_weights, posedirs)
        joints = AttachedPoints.from_regressor(
            tree.names,
            torch.arange(tree.num_joints, device=v_template.device),
            J_regressor,
            v_template,
            shapedirs,
        )
        if landmarks is not None:
            _check_landmarks(name, tree, landmarks, joints)
        return cls(
            name=name,
            tree=tree,
            v_template=v_template,
            faces=faces,
            shapedirs=shapedirs,
            J_regressor=J_regressor,
            lbs_weights=lbs_weights,
            posedirs=posedirs,
            joints_template=joints.rest,
            joints_shapedirs=joints.shapedirs,
            points=joints if landmarks is None else joints.joined(landmarks),
        )

    @property
    def num_betas(self) -> int:
        """How many shape coefficients the body has."""
        return self.shapedirs.shape[-1]

    @property
    def num_vertices(self) -> int:
        """How many vertices the mesh has."""
        return self.v_template.shape[0]

    def rest_joints(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch joints 3"]:
        """Return the joints of the rest pose for a shape, metres, model frame.

        Raises:
            InputError: the number of betas is wrong.
        """
        check_betas(betas, self.num_betas)
        return self.joints_template + torch.einsum("jik,...k->...ji", self.joints_shapedirs, betas)

    def rest_vertices(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch vertices 3"]:
        """Return the vertices of the rest pose for a shape, metres, model frame, without pose blend shapes.

        Raises:
            InputError: the number of betas is wrong.
        """
        check_betas(betas, self.num_betas)
        return self.v_template + torch.einsum("vik,...k->...vi", self.shapedirs, betas)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "BodyModel":
        """Return the body on another device, in another floating-point type. Integers keep their type."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype)

        return replace(
            self,
            v_template=moved(self.v_template),
            faces=self.faces.to(device=device),
            shapedirs=moved(self.shapedirs),
            J_regressor=moved(self.J_regressor),
            lbs_weights=moved(self.lbs_weights),
            posedirs=None if self.posedirs is None else moved(self.posedirs),
            joints_template=moved(self.joints_template),
            joints_shapedirs=moved(self.joints_shapedirs),
            points=self.points.to(device=device, dtype=dtype),
        )


def _check_arrays(
    name: str,
    tree: JointTree,
    v_template: Tensor,
    faces: Tensor,
    shapedirs: Tensor,
    J_regressor: Tensor,
    lbs_weights: Tensor,
    posedirs: Tensor | None,
) -> None:
    """Raise InputError where the arrays of a body disagree with each other or hold impossible numbers."""
    vertices, joints = len(v_template), tree.num_joints
    expected = {
        "v_template": (v_template, (vertices, 3)),
        "faces": (faces, (len(faces), 3)),
        "shapedirs": (shapedirs, (vertices, 3, *shapedirs.shape[2:3])),
        "J_regressor": (J_regressor, (joints, vertices)),
        "weights": (lbs_weights, (vertices, joints)),
    }
    if posedirs is not None:
        expected["posedirs"] = (posedirs, (vertices, 3, 9 * (joints - 1)))
    for key, (array, shape) in expected.items():
        if array.shape != shape:
            raise InputError(f"{name}: {key} must have shape {shape}, got {tuple(array.shape)}")
        if array.is_floating_point() and not bool(torch.isfinite(array).all()):
            raise InputError(f"{name}: {key} holds infinite or undefined numbers; the file is damaged")
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < vertices:
        raise InputError(
            f"{name}: faces must name vertices 0 to {vertices - 1}, got {int(faces.min())} to {int(faces.max())}"
        )
    for key, rows in (("weights", lbs_weights), ("J_regressor", J_regressor)):
        worst = float((rows.sum(-1) - 1).abs().max())
        if worst > ROW_SUM_TOLERANCE:
            raise InputError(f"{name}: the rows of {key} must sum to one, got a row that is off by {worst:.3g}")


def _check_landmarks(name: str, tree: JointTree, landmarks: AttachedPoints, joints: AttachedPoints) -> None:
    """Raise InputError where landmarks do not belong to the body."""
    if landmarks.num_betas != joints.num_betas:
        raise InputError(
            f"{name}: landmarks must have {joints.num_betas} betas like the body, got {landmarks.num_betas}"
        )
    index = landmarks.joint_index
    if len(landmarks) and not 0 <= int(index.min()) <= int(index.max()) < tree.num_joints:
        raise InputError(
            f"{name}: landmarks must ride on joints 0 to {tree.num_joints - 1}, got {int(index.min())} to "
            f"{int(index.max())}"
        )

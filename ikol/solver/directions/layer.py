# SPDX-License-Identifier: Apache-2.0
"""The layer: keypoints, twists and shape in, rotations out, gradients back. Imports: torch, the skeleton, the solve."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikol.body.points import check_betas
from ikol.errors import InputError
from ikol.solver.checks import check_tensor
from ikol.solver.directions.config import DirectionConfig, DirectionResult
from ikol.solver.directions.solve import Shape, solve_directions, solve_shaped
from ikol.solver.skeleton import Skeleton


class IKOLLayer(nn.Module):
    """Inverse kinematics as a layer of a network: an optimisation inside, exact derivatives outside.

    A network predicts 3D keypoints, twists and the shape; the layer returns the local rotations whose joints come
    nearest to the keypoints, so that a loss on rotations trains the network end to end. The layer has no parameters; it
    follows `.to(device, dtype)`. Items that did not converge get no gradient; count them by `status`.

    Example:
        >>> body = load_default_body()
        >>> layer = IKOLLayer(Skeleton.from_body(body).with_ends(end_points(body)))
        >>> result = layer(keypoints, twist, betas)       # (256, 29, 3), (256, 24), (256, 10)
        >>> loss = (result.local_rotmat - true_rotmat).square().sum()        # (256, 24, 3, 3)
        >>> loss.backward()                               # to keypoints, twist, betas
    """

    offset_template: Tensor
    offset_directions: Tensor
    own_offsets: Tensor

    def __init__(self, skeleton: Skeleton, config: DirectionConfig | None = None) -> None:
        """Make the layer.

        Args:
            skeleton: one node a keypoint; a joint needs a keypoint below it to be turned, see `Skeleton.with_ends`.
                Its betas are the shape where `forward` gets none.
            config: settings; `DirectionConfig(hold_root=True)` keeps the root on its keypoint, as the paper does.
        """
        super().__init__()
        self.tree = skeleton.tree
        self.config = config or DirectionConfig()
        parents = torch.tensor(self.tree.parents[1:], device=skeleton.joints_template.device)

        def from_parent(joints: Tensor) -> Tensor:
            return torch.cat((torch.zeros_like(joints[:1]), joints[1:] - joints[parents]))

        betas = skeleton.rest_state().betas
        self.register_buffer("offset_template", from_parent(skeleton.joints_template), persistent=False)
        shapedirs = from_parent(skeleton.joints_shapedirs).flatten(0, 1)
        self.register_buffer("offset_directions", shapedirs, persistent=False)
        self.register_buffer("own_offsets", from_parent(skeleton.rest_joints(betas)), persistent=False)

    def offsets(self, betas: Float[Tensor, "*batch betas"] | None = None) -> Float[Tensor, "*batch nodes 3"]:
        """Return the rest bones, each from its parent to its node, metres; linear in the betas. The root's is zero.

        Raises:
            InputError: the number of betas is wrong.
        """
        if betas is None:
            return self.own_offsets
        return self._shape(betas).offsets(betas)

    def _shape(self, betas: Float[Tensor, "*batch betas"]) -> Shape:
        check_tensor("betas", betas)
        directions = self.offset_directions
        check_betas(betas, directions.shape[1])
        if betas.dtype != directions.dtype or betas.device != directions.device:
            raise InputError(
                f"betas are {betas.dtype} on {betas.device}, the layer is {directions.dtype} on {directions.device}; "
                "convert one of them with .to()"
            )
        return Shape(self.offset_template, directions)

    def forward(
        self,
        keypoints: Float[Tensor, "*batch nodes 3"],
        twist: Float[Tensor, "..."],
        betas: Float[Tensor, "..."] | None = None,
        weights: Float[Tensor, "..."] | None = None,
        offsets: Float[Tensor, "..."] | None = None,
    ) -> DirectionResult:
        """Solve. Batch dimensions lead, any number; those of all but the keypoints may be left out.

        Args:
            keypoints: metres.
            twist: (*batch, joints), radians about the bone, of the nodes that have children.
            betas: (*batch, betas); None for the skeleton's own.
            weights: (*batch, nodes), 0 where a keypoint is missing; None for ones.
            offsets: (*batch, nodes, 3), rest bones instead of those that follow from the betas.

        Raises:
            InputError: both betas and offsets are given, or something does not fit, see `solve_directions`.
        """
        if torch.compiler.is_compiling():
            # One clean break of the graph. Traced, the call of the library would break it at each pointer. Not as a
            # decorator: that would load the compiler with this module, two seconds.
            untraced = cast("Callable[..., DirectionResult]", torch.compiler.disable(self._solve))
            return untraced(keypoints, twist, betas, weights, offsets)
        return self._solve(keypoints, twist, betas, weights, offsets)

    def _solve(
        self, keypoints: Tensor, twist: Tensor, betas: Tensor | None, weights: Tensor | None, offsets: Tensor | None
    ) -> DirectionResult:
        check_tensor("keypoints", keypoints)
        device = keypoints.device.type
        if torch.is_autocast_enabled(device):
            # what a network says is of half precision here, in which no solver converges
            optional = [None if each is None else self._whole(each) for each in (betas, weights, offsets)]
            with torch.autocast(device, enabled=False):
                return self._solve(self._whole(keypoints), self._whole(twist), *optional)
        if betas is not None:
            if offsets is not None:
                raise InputError("betas and offsets were given, which say the same; give one of them")
            shape = self._shape(betas)
            if not (shape.template.requires_grad or shape.directions.requires_grad):
                return solve_shaped(self.tree, keypoints, shape, betas, twist, weights=weights, config=self.config)
            offsets = shape.offsets(betas)
        elif offsets is None:
            offsets = self.own_offsets
        return solve_directions(self.tree, keypoints, offsets, twist, weights=weights, config=self.config)

    def _whole(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.own_offsets.dtype) if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

    def extra_repr(self) -> str:
        """Say what the layer is made for."""
        return f"nodes={self.tree.num_joints}, betas={self.offset_directions.shape[1]}, config={self.config}"

# SPDX-License-Identifier: Apache-2.0
"""The layer: keypoints and twists in, rotations out, gradients back. Imports: torch, the skeleton, the solve."""

from jaxtyping import Float
from torch import Tensor, nn

from ikol.body.joint_tree import JointTree
from ikol.solver.directions.config import DirectionConfig, DirectionResult
from ikol.solver.directions.solve import solve_directions


class IKOLLayer(nn.Module):
    """Inverse kinematics as a layer of a network: an optimisation inside, exact derivatives outside.

    A network predicts 3D keypoints, twists and (through betas) bone offsets; the layer returns the local rotations
    whose joints come nearest to the keypoints, so that a loss on rotations trains the network end to end. The layer has
    no parameters. Items that did not converge get no gradient; count them by `status`.

    Example:
        >>> layer = IKOLLayer(skeleton, DirectionConfig(hold_root=True))
        >>> result = layer(keypoints, offsets, twist)   # (256, 29, 3), (29, 3), (256, 24)
        >>> loss = (result.local_rotmat - true_rotmat).square().sum()
        >>> loss.backward()                             # to keypoints, offsets, twist
    """

    def __init__(self, tree: JointTree, config: DirectionConfig | None = None) -> None:
        super().__init__()
        self.tree = tree
        self.config = config or DirectionConfig()

    def forward(
        self,
        keypoints: Float[Tensor, "*batch nodes 3"],
        offsets: Float[Tensor, "..."],
        twist: Float[Tensor, "..."],
        weights: Float[Tensor, "..."] | None = None,
    ) -> DirectionResult:
        """Solve; arguments as of `solve_directions`."""
        return solve_directions(self.tree, keypoints, offsets, twist, weights=weights, config=self.config)

    def extra_repr(self) -> str:
        """Say what the layer is made for."""
        return f"nodes={self.tree.num_joints}, config={self.config}"

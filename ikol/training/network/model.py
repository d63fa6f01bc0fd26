# SPDX-License-Identifier: Apache-2.0
"""The paper's model: picture network, camera, layer; one forward pass from crops to rotations.

Imports: torch, the network, the layer.
"""

import torch
from torch import Tensor, nn

from ikol.body.model import BodyModel
from ikol.camera import Camera
from ikol.geometry.rotations import quat_to_rotmat, sixd_to_rotmat
from ikol.regressor.crops import Crops
from ikol.regressor.networks import NetworkConfig, NetworkOutput, PoseNetwork
from ikol.regressor.networks.camera_space import root_depth, uvd_to_camera
from ikol.regressor.networks.joints import LEAVES, SMPL24
from ikol.regressor.networks.pose_network import INITIAL_SCALE
from ikol.training.network.batches import Batch
from ikol.training.network.config import Layer
from ikol.training.network.losses import Prediction
from ikol.training.network.posing import PosingLayer


class PoseModel(nn.Module):
    """A network and the layer behind it."""

    def __init__(self, config: NetworkConfig, layer: Layer, body: BodyModel) -> None:
        """Make the model with random weights."""
        super().__init__()
        self.network = PoseNetwork(config)
        self.posing = PosingLayer(body, layer, config.num_joints)
        # the order of the network's leaves is not the tree's
        self._leaves = [LEAVES.index(name) for name in SMPL24 if name in LEAVES]

    def forward(self, batch: Batch) -> Prediction:
        """Return what is predicted for a batch.

        In training the root is at its true depth where it is known, as in the paper; otherwise where the network's
        camera puts it.
        """
        output: NetworkOutput = self.network(self.network.prepare(batch.pictures))
        # autocast would multiply rotations in half precision: millimetres, and solvers that do not converge
        with torch.autocast(batch.pictures.device.type, enabled=False):
            return self._posed(output, batch)

    def _posed(self, output: NetworkOutput, batch: Batch) -> Prediction:
        config = self.network.config
        camera, crops = camera_of(batch), batch.crops
        scale = None if output.camera is None else output.camera[:, 0]
        usual = torch.full_like(batch.crop_side, INITIAL_SCALE)
        place = root_depth(usual if scale is None else scale, crops, camera)
        if self.training:
            place = torch.where(batch.has_joints[:, 0], batch.joints[:, 0, 2], place)
        points = uvd_to_camera(output.uvd, crops, config.input_size, config.depth_extent, camera, place)
        keypoints = points - points[:, :1]
        twist = torch.cat((torch.zeros_like(output.twist_angle[:, :1]), output.twist_angle), 1)
        if self.posing.settings.solver == "regression":
            assert output.rotation_6d is not None  # the configuration has been checked for it
            rotmat = _turned_back(sixd_to_rotmat(output.rotation_6d), crops)
        else:
            rotmat = self.posing(keypoints, twist, output.betas, self._leaf_rotmat(output))
        posed = self.posing.joints(rotmat, output.betas)
        return Prediction(output.uvd, output.sigma, output.betas, output.twist, scale, keypoints, rotmat, posed)

    def _leaf_rotmat(self, output: NetworkOutput) -> Tensor | None:
        """Return the leaves' rotations in the tree's order, where the network says them and no keypoint does."""
        if output.leaf_quat is None or self.network.config.num_joints > len(SMPL24):
            return None
        return quat_to_rotmat(nn.functional.normalize(output.leaf_quat, dim=-1))[:, self._leaves]


def _turned_back(local_rotmat: Tensor, crops: Crops) -> Tensor:
    """Return rotations whose root is in the picture's axes, given those in the axes of turned crops."""
    cosine, sine = crops.rotation.cos(), crops.rotation.sin()
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    turn = torch.stack((cosine, -sine, zero, sine, cosine, zero, zero, zero, one), -1).unflatten(-1, (3, 3))
    return torch.cat((turn[:, None] @ local_rotmat[:, :1], local_rotmat[:, 1:]), 1)


def camera_of(batch: Batch) -> Camera:
    """Return the lenses of the pictures, at the origin."""
    eye = torch.eye(3, device=batch.focal.device).expand(len(batch.focal), 3, 3)
    zeros = torch.zeros_like(batch.joints[:, 0])
    # the pictures' sizes do not matter: nothing here asks what lies inside
    return Camera(batch.focal, batch.center, eye, zeros, 1, 1)

# SPDX-License-Identifier: Apache-2.0
"""A network learns to lift flat skeletons, with a loss on rotations only, which reaches it through the layer.

    python docs/examples/train_through_layer.py

In: x and y of 29 keypoints. Out of the network: their depths and 24 twists. Out of the layer: 24 rotations.
"""

import torch
from torch import Tensor, nn

from ikol import IKOLLayer
from ikol.body import forward_kinematics, load_default_body
from ikol.body.ends import end_points
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import Skeleton

STEPS, BATCH = 400, 128
torch.manual_seed(0)
body = load_default_body()
skeleton = Skeleton.from_body(body).with_ends(end_points(body))  # 24 joints and the 5 ends
layer = IKOLLayer(skeleton)
network = nn.Sequential(nn.Linear(2 * 29, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 29 + 24))
optimizer = torch.optim.Adam([*network.parameters()], lr=3e-3)
rest = skeleton.rest_joints(torch.zeros(skeleton.num_betas))
habits = 0.12 * torch.randn(4, 29 * 3)  # people move in few ways: four numbers say a pose


def random_poses(count: int) -> tuple[Tensor, Tensor]:
    """Return rotations (count, 24, 3, 3) of 20 degrees or so, and their keypoints (count, 29, 3)."""
    rotmat = rotvec_to_rotmat((torch.randn(count, 4) @ habits).reshape(count, 29, 3))
    return rotmat[:, :24], forward_kinematics(skeleton.tree, rest, rotmat, torch.zeros(count, 3)).joints


def solve(keypoints: Tensor) -> Tensor:
    """Return the rotations (count, 24, 3, 3) that the network and the layer find from x and y alone."""
    depth, twist = network(keypoints[..., :2].flatten(1)).split((29, 24), dim=-1)
    return layer(torch.cat((keypoints[..., :2], depth[..., None]), -1), twist).local_rotmat


for step in range(STEPS):
    rotmat, keypoints = random_poses(BATCH)
    loss = (solve(keypoints) - rotmat).square().sum((-1, -2)).mean()  # 8 sin^2 of half the angle between them
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0 or step == STEPS - 1:
        degrees = torch.rad2deg(2 * torch.asin((loss.detach() / 8).sqrt()))
        print(f"step {step:3d}: rotations off by {degrees.item():.1f} degrees")

# SPDX-License-Identifier: Apache-2.0
"""Keypoints and a photograph's landmarks become a pose, with its uncertainty and its gradient.

    .venv/bin/python docs/examples/solve_pose.py docs/pictures/solve_pose.png

Left: the solved skeleton (blue) over the keypoints that it was given (orange; of the right wrist only pixels are
known), two standard deviations of every joint, and the true pose (grey). Right: what moves (red) when the keypoint of
the left wrist is dragged up by 25 cm, to first order.
"""

import math
import sys

import torch
from PIL import Image, ImageDraw

from ikol.body import load_default_body
from ikol.camera import camera_from_fov
from ikol.geometry.rotations import rotvec_to_rotmat
from ikol.solver import Anchor, Huber, Limits, Points2D, Points3D, Skeleton, SolveState, default_limits, solve
from ikol.solver.uncertainty import covariance, sensitivity

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
body = load_default_body(dtype=torch.float64)
skeleton = Skeleton.from_body(body)
index = skeleton.tree.index

# A pose, and what a detector would say of it: joints in space, landmarks in a picture.
rotvec = torch.zeros(24, 3)
rotvec[index("L_Shoulder")] = torch.tensor((0.2, -0.3, 0.9))
rotvec[index("L_Elbow")] = torch.tensor((0.0, -1.2, 0.0))
rotvec[index("R_Shoulder")] = torch.tensor((0.0, 0.2, 0.5))
rotvec[index("R_Elbow")] = torch.tensor((0.0, 0.3, -0.3))
rotvec[index("L_Hip")] = torch.tensor((-0.9, 0.0, 0.2))
rotvec[index("L_Knee")] = torch.tensor((1.1, 0.0, 0.0))
truth = SolveState(torch.zeros(3), rotvec_to_rotmat(rotvec), torch.zeros(body.num_betas))

sides = ("Shoulder", "Wrist", "Hip", "Knee", "Ankle")
joints = body.points.select(("Head", "R_Elbow", *(f"{side}_{name}" for side in "LR" for name in sides)))
keypoints = skeleton.posed_points(joints, truth) + 0.015 * torch.randn(len(joints), 3)
sigma = torch.full((len(joints),), 0.015)
sigma[joints.index("R_Wrist")] = math.inf  # missing: whatever its target holds is not looked at
camera = camera_from_fov(1280, 960, 45.0, dtype=torch.float64)
camera = camera.with_extrinsics(camera.R_camera_world, torch.tensor((0.0, 0.9, 4.0)))
wrists = body.points.select(("right_wrist", "left_wrist"))
pixels = camera.project(skeleton.posed_points(wrists, truth)) + 2.0 * torch.randn(2, 2)

# Everything that is known, each with a standard deviation. The solve weighs it.
keypoints.requires_grad_()
evidence = [
    Points3D(joints, keypoints, sigma, Huber(3.0)),
    Points2D(wrists, pixels, torch.full((2,), 3.0), camera),
    Anchor(torch.eye(3).expand(24, 3, 3), torch.full((24,), 0.6)),
    Limits(default_limits(skeleton.tree)),
]
result = solve(skeleton, evidence)
found = skeleton.pose(result.state).joints
error = (found - skeleton.pose(truth).joints).norm(dim=-1)
millimetres = 1e3 * error.detach()
print(f"status {int(result.status)} after {int(result.iterations)} iterations")
print(f"distance to the truth: mean {millimetres.mean():.0f} mm, right wrist {millimetres[index('R_Wrist')]:.0f} mm")

# The gradient of any loss on the pose: the exact one, of the optimum.
(gradient,) = torch.autograd.grad(error.square().sum(), keypoints)
print("gradient to the left wrist's keypoint:", [f"{part:.4f}" for part in gradient[joints.index("L_Wrist")]])

# How sure each joint is, and what moves if one keypoint is dragged.
marginals = covariance(skeleton, evidence, result)
spread = 1e3 * marginals.position.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()
print(f"standard deviation: left wrist {spread[index('L_Wrist')]:.0f} mm, right {spread[index('R_Wrist')]:.0f} mm")
moves = sensitivity(skeleton, evidence, result, "points_3d")
found = found.detach()
dragged = found + moves[:, :, joints.index("L_Wrist")] @ torch.tensor((0.0, 0.25, 0.0))

# The picture, seen from the front: x to the right, y up.
SCALE, WIDTH, HEIGHT = 780, 1440, 1640
image = Image.new("RGB", (2 * WIDTH, HEIGHT), "white")
draw = ImageDraw.Draw(image)


def place(point: torch.Tensor, panel: int) -> tuple[float, float]:
    """Return where a point is in the picture."""
    return WIDTH * (panel + 0.5) + SCALE * float(point[0]), HEIGHT * 0.42 - SCALE * float(point[1])


def bones(points: torch.Tensor, panel: int, colour: str, width: int) -> None:
    """Draw a skeleton."""
    for joint, parent in enumerate(skeleton.tree.parents[1:], start=1):
        draw.line((*place(points[parent], panel), *place(points[joint], panel)), fill=colour, width=width)


around = torch.linspace(0, 2 * math.pi, 60)
for joint in range(24):
    values, vectors = torch.linalg.eigh(marginals.position[joint, :2, :2])
    ring = (vectors * (2 * values.sqrt())) @ torch.stack((around.cos(), around.sin()))
    draw.polygon([place(found[joint, :2] + point, 0) for point in ring.T], fill="#dbe7fb", outline="#7ea6e6")
bones(skeleton.pose(truth).joints, 0, "#b9b9b9", 8)
bones(found, 0, "#1f4e9c", 10)
for point in keypoints.detach()[torch.isfinite(sigma)]:
    x, y = place(point, 0)
    draw.ellipse((x - 11, y - 11, x + 11, y + 11), fill="#f08a24")
bones(found, 1, "#1f4e9c", 10)
bones(dragged, 1, "#8fc7a0", 6)
for joint in range(24):
    draw.line((*place(found[joint], 1), *place(dragged[joint], 1)), fill="#d0342c", width=6)
image = image.resize((WIDTH, HEIGHT // 2), Image.Resampling.LANCZOS)
image.save(sys.argv[1] if len(sys.argv) > 1 else "solve_pose.png")

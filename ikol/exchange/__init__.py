# SPDX-License-Identifier: Apache-2.0
"""Motions, markers and keypoints in the files of other programs: one format a file, docs/exchange.md has the list."""

from ikol.exchange.amass import read_amass as read_amass
from ikol.exchange.amass import write_amass as write_amass
from ikol.exchange.bvh import Rig as Rig
from ikol.exchange.bvh import read_bvh as read_bvh
from ikol.exchange.bvh import write_bvh as write_bvh
from ikol.exchange.c3d import read_c3d as read_c3d
from ikol.exchange.c3d import write_c3d as write_c3d
from ikol.exchange.hybrik import read_hybrik as read_hybrik
from ikol.exchange.hybrik import write_hybrik as write_hybrik
from ikol.exchange.keypoint_json import read_keypoint_json as read_keypoint_json
from ikol.exchange.keypoint_json import write_keypoint_json as write_keypoint_json
from ikol.exchange.motion import Keypoints as Keypoints
from ikol.exchange.motion import Motion as Motion
from ikol.exchange.points_file import read_points as read_points
from ikol.exchange.points_file import write_points as write_points
from ikol.exchange.pose_file import read_pose_file as read_pose_file
from ikol.exchange.smpl_codec import read_smpl_codec as read_smpl_codec
from ikol.exchange.smpl_codec import write_smpl_codec as write_smpl_codec
from ikol.exchange.trc import read_trc as read_trc
from ikol.exchange.trc import write_trc as write_trc

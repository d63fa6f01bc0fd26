# SPDX-License-Identifier: Apache-2.0
"""The body: joint tree, kinematics, mesh and skinning, the default body and the points that ride on it."""

from ikol.body.default_body import load_default_body as load_default_body
from ikol.body.joint_tree import JointTree as JointTree
from ikol.body.kinematics import BodyPose as BodyPose
from ikol.body.kinematics import forward_kinematics as forward_kinematics
from ikol.body.measurements import Measurer as Measurer
from ikol.body.model import BodyModel as BodyModel
from ikol.body.points import AttachedPoints as AttachedPoints
from ikol.body.skinning import linear_blend_skinning as linear_blend_skinning
from ikol.body.smpl_convert import convert_smpl_file as convert_smpl_file
from ikol.body.smpl_file import load_smpl_body as load_smpl_body

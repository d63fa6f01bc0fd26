# SPDX-License-Identifier: Apache-2.0
"""Rotations in three dimensions: conversions, swing and twist, best alignment."""

from ikol.geometry.rotations import kabsch as kabsch
from ikol.geometry.rotations import quat_to_rotmat as quat_to_rotmat
from ikol.geometry.rotations import right_jacobian as right_jacobian
from ikol.geometry.rotations import right_jacobian_inverse as right_jacobian_inverse
from ikol.geometry.rotations import rotation_between as rotation_between
from ikol.geometry.rotations import rotmat_to_6d as rotmat_to_6d
from ikol.geometry.rotations import rotmat_to_quat as rotmat_to_quat
from ikol.geometry.rotations import rotmat_to_rotvec as rotmat_to_rotvec
from ikol.geometry.rotations import rotvec_to_rotmat as rotvec_to_rotmat
from ikol.geometry.rotations import sixd_to_rotmat as sixd_to_rotmat
from ikol.geometry.rotations import skew as skew
from ikol.geometry.swing_twist import SwingTwist as SwingTwist
from ikol.geometry.swing_twist import swing_twist as swing_twist
from ikol.geometry.swing_twist import twist_angle as twist_angle
from ikol.geometry.swing_twist import twist_gradient as twist_gradient

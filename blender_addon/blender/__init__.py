# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on inside Blender: panel, operators, armature, camera, keypoint objects. The only package that sees bpy."""

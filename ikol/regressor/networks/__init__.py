# SPDX-License-Identifier: Apache-2.0
"""The paper's picture network and its relatives: backbones, 3D heat maps, heads, and published weights by name."""

from ikol.regressor.networks.checkpoint import LoadReport as LoadReport
from ikol.regressor.networks.checkpoint import config_of as config_of
from ikol.regressor.networks.checkpoint import load_pose_network as load_pose_network
from ikol.regressor.networks.checkpoint import load_tensors as load_tensors
from ikol.regressor.networks.checkpoint import read_tensors as read_tensors
from ikol.regressor.networks.pose_network import NetworkConfig as NetworkConfig
from ikol.regressor.networks.pose_network import NetworkOutput as NetworkOutput
from ikol.regressor.networks.pose_network import PoseNetwork as PoseNetwork

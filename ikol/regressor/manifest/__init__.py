# SPDX-License-Identifier: Apache-2.0
"""Networks that users bring: HybrIK and IKOL weights, NLF, any ONNX or TorchScript keypoint network, by a manifest."""

from ikol.regressor.manifest.manifest import Manifest as Manifest
from ikol.regressor.manifest.manifest import read_manifest as read_manifest
from ikol.regressor.manifest.own_network import OwnNetwork as OwnNetwork
from ikol.regressor.manifest.own_network import load_own_network as load_own_network
from ikol.regressor.manifest.person import NetworkPerson as NetworkPerson

# SPDX-License-Identifier: Apache-2.0
"""Everything that decides how the head is trained; kept as JSON beside the weights. Imports: the parts' settings."""

from dataclasses import dataclass, field

from ikol.errors import InputError
from ikol.training.head.examples import AugmentationConfig
from ikol.training.head.losses import LossWeights, Through
from ikol.training.head.simulation import SimulationConfig


@dataclass(frozen=True)
class TrainingConfig:
    """How the head is trained."""

    seed: int = 0
    steps: int = 3200
    batch: int = 512
    rendered: float = 0.5
    """Share of a batch that comes from rendered pictures, where there are any."""
    transplanted: float = 0.35
    """Share of new poses with the errors of rendered people; the rest of the batch is simulated."""
    learning_rate: float = 1e-3
    warmup: int = 200
    """Steps until the full learning rate; it then falls along half a cosine."""
    weight_decay: float = 0.02
    clip: float = 1.0
    """Norm of the gradient that is not exceeded."""
    average: float = 0.998
    """Share that the averaged weights keep of themselves in a step; they are the result."""
    width: int = 384
    depth: int = 5
    dropout: float = 0.1
    through: Through = "end_to_end"
    poses: int = 60000
    """How many poses new people are drawn from, before the next."""
    captured: float = 0.3
    """Share that is kept of the poses of captured motion, which is mostly acrobatics: people on photographs mostly
    stand, sit and walk."""
    losses: LossWeights = field(default_factory=LossWeights)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.width, self.depth, self.poses) < 1:
            raise InputError("steps, batch, width, depth and poses must be 1 or more")
        if min(self.rendered, self.transplanted) < 0 or self.rendered + self.transplanted > 1:
            raise InputError("rendered and transplanted are shares of a batch: at least 0, together at most 1")
        if not (0 <= self.dropout < 1 and 0 <= self.average < 1):
            raise InputError("dropout and average must be at least 0 and below 1")

# SPDX-License-Identifier: Apache-2.0
"""The training of the head: batches of simulated and rendered people, steps, averaged weights.

Imports: torch, the head, the IKOL layer, the modules beside it.
"""

import copy
import functools
import logging
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ikol.body.model import BodyModel
from ikol.regressor.head import HeadNetwork
from ikol.regressor.head.inputs import canonical
from ikol.regressor.head.network import InnerComponents
from ikol.solver.directions import IKOLLayer
from ikol.training.head.config import TrainingConfig
from ikol.training.head.examples import HeadExamples, augmented
from ikol.training.head.losses import Losses, head_losses
from ikol.training.head.simulation import simulate
from ikol.training.head.transplant import transplanted
from ikol.training.head.truth import PosedBodies
from ikol.training.poses import PoseSample

Report = Callable[[int, Losses], None]
_logger = logging.getLogger(__name__)
_FEATURE_BATCHES = 8  # whose features give the mean and the spread that the network expects


class HeadTrainer:
    """Trains one head; the same for the same arguments."""

    def __init__(
        self,
        config: TrainingConfig,
        body: BodyModel,
        poses: PoseSample,
        rendered: HeadExamples | None = None,
        components: InnerComponents | None = None,
    ) -> None:
        """Prepare a training.

        Args:
            config: settings.
            body: the body of all people, float32.
            poses: to simulate landmarks of.
            rendered: landmarks that a network saw on rendered pictures.
            components: those of its inner values that the rendered people have.
        """
        torch.manual_seed(config.seed)
        self.config, self._poses, self._rendered = config, poses, rendered
        self._generator = torch.Generator().manual_seed(config.seed)
        self._bodies = PosedBodies(body)
        self.layer = IKOLLayer(self._bodies.skeleton)
        # only of rendered people is it known how little a picture says of the shape
        self._shaped = slice(None) if rendered is None else slice(round(config.rendered * config.batch) or None)
        self.network = HeadNetwork(config.width, config.depth, config.dropout)
        if components is not None:
            self.network.components = components
        batches = [canonical(self._batch().landmarks).features for _ in range(_FEATURE_BATCHES)]
        self.network.standardise(torch.cat(batches))
        self.averaged = copy.deepcopy(self.network).eval()
        decayed = [value for value in self.network.parameters() if value.ndim > 1]
        other = [value for value in self.network.parameters() if value.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": other, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)

    def run(self, report: Report, every: int = 100) -> HeadNetwork:
        """Train, and return the averaged network.

        Args:
            report: told the step and its losses.
            every: how many steps lie between two reports.
        """
        for step in range(self.config.steps):
            losses = self.step(step)
            if step % every == 0 or step == self.config.steps - 1:
                report(step, losses)
        return self.averaged

    def step(self, number: int) -> Losses:
        """Do one step and return its losses."""
        config, network = self.config, self.network.train()
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(number, config)
        batch = self._batch()
        frame = canonical(batch.landmarks)
        output = network(frame.features)
        truth = batch.truth.turned(frame.R_ray_camera)
        losses = head_losses(
            output, truth, frame.distance, self._bodies.parents, self.layer, config.through, self._shaped
        )
        self._optimizer.zero_grad(set_to_none=True)
        losses.total(config.losses).backward()
        norm = clip_grad_norm_(network.parameters(), config.clip)
        if bool(norm.isfinite()):
            self._optimizer.step()
        else:
            _logger.warning("step %d has no finite gradient and is left out", number)
        self._average(number)
        return losses

    def _average(self, number: int) -> None:
        # early on the average must not remember the random beginning
        keep = min(self.config.average, (1 + number) / (10 + number))
        with torch.no_grad():
            for mean, value in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1.0 - keep)

    def _batch(self) -> HeadExamples:
        config, rendered = self.config, self._rendered
        counts = (
            [0, 0] if rendered is None else [round(n * config.batch) for n in (config.rendered, config.transplanted)]
        )
        parts: list[HeadExamples] = []
        if counts[0]:
            assert rendered is not None
            index = torch.randint(len(rendered), (counts[0],), generator=self._generator)
            parts.append(self._changed(rendered[index], is_rendered=True))
        if counts[1]:
            assert rendered is not None
            poses = self._draw(counts[1])
            people = transplanted(self._bodies, *poses, rendered, self._generator)
            parts.append(self._changed(people, is_rendered=True))
        if sum(counts) < config.batch:
            poses = self._draw(config.batch - sum(counts))
            people = simulate(self._bodies, *poses, self._generator, config.simulation)
            parts.append(self._changed(HeadExamples(*people), is_rendered=False))
        return functools.reduce(HeadExamples.joined, parts)

    def _draw(self, count: int) -> tuple[Float[Tensor, "people 24 3 3"], Float[Tensor, "people 10"]]:
        pose, shape = torch.randint(len(self._poses.betas), (2, count), generator=self._generator)
        return self._poses.local_rotmat[pose], self._poses.betas[shape]

    def _changed(self, people: HeadExamples, *, is_rendered: bool) -> HeadExamples:
        return augmented(people, self._generator, self.config.augmentation, is_rendered=is_rendered)


def _schedule(step: int, config: TrainingConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1.0 + math.cos(math.pi * done))

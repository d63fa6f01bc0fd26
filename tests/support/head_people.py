# SPDX-License-Identifier: Apache-2.0
"""Landmarks of people who do not exist, and small heads that nobody has trained."""

import torch

from ikol.regressor.hands import HAND_SHAPES, HandLandmarks
from ikol.regressor.head import HeadInput, HeadNetwork
from ikol.regressor.head.forearm_network import ForearmNetwork
from ikol.regressor.person import PersonLandmarks


def some_people(count: int, seed: int = 0) -> HeadInput:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(count, 33, *shape, generator=generator)

    return HeadInput(
        rays=0.1 * draw(2) + torch.tensor([0.2, -0.1]),
        rays_sigma=0.01 * draw().exp(),
        world=0.4 * draw(3),
        world_sigma=0.05 * draw(3).exp(),
        visibility=draw().sigmoid(),
        in_picture=draw() > -1.5,
    )


def random_network(seed: int = 0) -> HeadNetwork:
    """A small network whose answer depends on all that it is told."""
    torch.manual_seed(seed)
    network = HeadNetwork(width=32, depth=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def one_person(seed: int = 0) -> PersonLandmarks:
    """A person of about 600 px whose landmarks are all sure."""
    world = torch.randn(33, 3, generator=torch.Generator().manual_seed(seed)) * 0.4
    return PersonLandmarks(
        score=0.9,
        box=torch.tensor([100.0, 200.0, 300.0, 800.0]),
        image_points=500 + 350 * world[:, :2],
        image_sigma=torch.full((33,), 3.0),
        world_points=world,
        world_sigma=torch.full((33, 3), 0.05),
        visibility=torch.ones(33),
        confidence=torch.ones(33),
        in_picture=torch.ones(33, dtype=torch.bool),
    )


def some_hands(seed: int = 0) -> HandLandmarks:
    """Hands of about 10 cm of which nothing is alike."""
    generator = torch.Generator().manual_seed(seed)
    world, presence, handedness, points = (torch.randn(shape, generator=generator) for shape in HAND_SHAPES.values())
    return HandLandmarks(0.05 * world, presence.sigmoid(), handedness.sigmoid(), 100.0 * points)


def random_forearm(seed: int = 0) -> ForearmNetwork:
    """A small network whose answer depends on all that it reads."""
    torch.manual_seed(seed)
    network = ForearmNetwork(width=32, depth=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network

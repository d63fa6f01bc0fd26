# SPDX-License-Identifier: Apache-2.0
"""Everything at once for a while: no reply is missing, memory and descriptors stay where they are.

The short form of scripts/soak, with the control that shows that the check can fail.
"""

import random

import protocol_cases
import psutil
import pytest
from soak import soak

from solver_server import protocol

SECONDS = 20
MAX_SLOPE = 0.5  # MiB a minute, as in the long form
MAX_GROWTH = 2.0  # MiB; in 14 s the allocator's ups and downs are a slope of several MiB a minute
LEAK = 50_000  # bytes for each request: a sixth of a picture

needs_fds = pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="no count of descriptors on this system")


@needs_fds
def test_mixed_load_loses_no_reply_and_leaks_nothing() -> None:
    report = soak(SECONDS)
    print(report.summary())
    assert report.problems(MAX_SLOPE, MAX_GROWTH) == []


@needs_fds
def test_leak_is_found() -> None:
    """The control: without it the test above could pass whatever happens."""
    report = soak(SECONDS / 2, FAKE_LEAK=str(LEAK))
    print(report.summary())
    (problem,) = report.problems(MAX_SLOPE, MAX_GROWTH)
    assert problem.startswith("the server grows by")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_hundred_thousand_damaged_messages_never_crash_the_decoder(seed: int) -> None:
    rng = random.Random(1000 + seed)
    originals = [protocol_cases.encoded(name) for name in protocol_cases.cases()]
    refused = 0
    for _ in range(100_000):
        parts = protocol_cases.damaged(rng, rng.choice(originals))
        try:
            protocol.decode_request(parts)
        except protocol.ProtocolError:
            refused += 1
    assert refused > 50_000

# SPDX-License-Identifier: Apache-2.0
"""Half a minute of everything at once: no reply is missing, memory and descriptors stay where they are."""

import random
import sys
import time
from collections import Counter

import protocol_cases
import psutil
import pytest
from server_client import Client, ServerProcess

from solver_server import protocol

SECONDS = 30
WARM_UP = 8
PICTURE_BYTES = 300_000
pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="no count of descriptors on this system")
def test_mixed_load_leaks_nothing() -> None:
    rng = random.Random(0)
    sent: Counter[str] = Counter()
    with ServerProcess() as server:
        client = server.client()
        client.wait_until_ready()
        process = psutil.Process(server.process.pid)
        start = time.monotonic()
        samples: list[tuple[float, float, int]] = []
        while (now := time.monotonic() - start) < SECONDS:
            draw = rng.random()
            if draw < 0.3:
                client.socket.send_multipart([rng.randbytes(50)])
                assert isinstance(client.receive(), protocol.Error)
                sent["bad"] += 1
            elif draw < 0.6:
                assert isinstance(client.receive_for(client.detect("x" * PICTURE_BYTES)), protocol.DetectReply)
                sent["picture"] += 1
            elif draw < 0.9:
                assert isinstance(client.receive_for(client.solve()), protocol.SolveReply)
                sent["solve"] += 1
            elif draw < 0.96:
                request = client.detect("work 5")
                client.send(protocol.Cancel(id=client.next_id(), target=request))
                assert (client.receive().code, client.receive().found) == ("cancelled", True)
                sent["cancel"] += 1
            else:
                with server.client() as visitor:  # goes away in the middle of its request
                    visitor.detect("work 5")
                sent["visitor"] += 1
                if sent["visitor"] == 3:
                    psutil.Process(client.stats().worker_pid).kill()
                wait_until_idle(client)
            samples.append((now, process.memory_info().rss / 2**20, process.num_fds()))
        counts = client.stats().counts
    late = [sample for sample in samples if sample[0] > WARM_UP]
    first, last = late[: len(late) // 4], late[-len(late) // 4 :]
    growth = min(memory for _, memory, _ in last) - max(memory for _, memory, _ in first)
    print(sent, counts, f"growth {growth:.2f} MiB", file=sys.stderr)
    # 30 s at several hundred requests a second; a leak of one picture in a hundred would be over 10 MiB
    assert growth < 2, f"{growth:.1f} MiB"
    assert max(fds for *_, fds in last) <= max(fds for *_, fds in first) + 2


def wait_until_idle(client: Client) -> None:
    deadline = time.monotonic() + 20
    while (pong := client.ping()).busy or not pong.ready:
        assert time.monotonic() < deadline
        time.sleep(0.01)


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

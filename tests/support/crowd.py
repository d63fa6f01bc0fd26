# SPDX-License-Identifier: Apache-2.0
"""Many clients at once, each with ids of its own: for the tests and for scripts/soak."""

import time

import zmq
from server_client import Client, ServerProcess

from solver_server import protocol

OUTSTANDING = 4  # requests of one client that are not answered yet
PATIENCE = 30_000  # milliseconds without any reply after which what is missing is lost


def run(num_clients: int, num_requests: int) -> tuple[float, int, int]:
    """Let clients ask a server of their own; give the seconds it took, lost and foreign replies."""
    with ServerProcess() as server:
        clients = [server.client() for _ in range(num_clients)]
        start = time.monotonic()
        lost, foreign = exchange(clients, num_requests)
        return time.monotonic() - start, lost, foreign


def exchange(clients: list[Client], num_requests: int) -> tuple[int, int]:
    """Let every client send requests, nine pings for each solve; give lost and foreign replies."""
    poller = zmq.Poller()
    by_socket = {client.socket: client for client in clients}
    out: dict[Client, set[int]] = {client: set() for client in clients}
    left = dict.fromkeys(clients, num_requests)
    foreign = 0
    for number, client in enumerate(clients, start=1):
        client.last_id = number * 10**9
        poller.register(client.socket, zmq.POLLIN)
    while any(left.values()) or any(out.values()):
        for client in clients:
            while left[client] and len(out[client]) < OUTSTANDING:
                left[client] -= 1
                is_ping = left[client] % 10 > 0
                out[client].add(client.send(protocol.Ping(client.next_id())) if is_ping else client.solve())
        ready = poller.poll(PATIENCE)
        if not ready:
            break
        for socket, _ in ready:
            client = by_socket[socket]
            while socket.poll(0):
                reply, _ = protocol.decode_reply(socket.recv_multipart())
                if not isinstance(reply, protocol.Progress):
                    foreign += reply.id not in out[client]
                    out[client].discard(reply.id)
    return sum(map(len, out.values())), foreign

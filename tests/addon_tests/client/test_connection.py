# SPDX-License-Identifier: Apache-2.0
import time

import pytest
import zmq

from blender_addon.client.connection import Connection


@pytest.fixture
def server():
    """A ROUTER with CURVE; gives socket, port and public key."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    public, secret = zmq.curve_keypair()
    socket.linger = 0
    socket.curve_secretkey, socket.curve_publickey, socket.curve_server = secret, public, True
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    yield socket, port, public
    socket.close(0)
    context.term()


def connect(port, server_key):
    public, secret = zmq.curve_keypair()
    return Connection(port, server_key, public, secret)


def receive(connection, seconds=5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        parts = connection.receive()
        if parts is not None:
            return parts
        time.sleep(0.002)
    return None


def test_messages_go_there_and_back(server):
    socket, port, key = server
    connection = connect(port, key)
    try:
        assert connection.receive() is None
        assert connection.send([b"head", b"", b"\0" * 10000])
        identity, *parts = socket.recv_multipart()
        assert parts == [b"head", b"", b"\0" * 10000]
        socket.send_multipart([identity, b"answer"])
        assert receive(connection) == [b"answer"]
    finally:
        connection.close()


def test_a_wrong_server_key_delivers_nothing(server):
    socket, port, _ = server
    wrong, _ = zmq.curve_keypair()
    connection = connect(port, wrong)
    try:
        connection.send([b"hello"])
        assert socket.poll(300) == 0  # the time in which Jupyter's own tests expect nothing
    finally:
        connection.close()


def test_closing_with_unsent_messages_does_not_wait():
    connection = connect(9, zmq.curve_keypair()[0])  # nobody listens on the discard port
    for _ in range(100):
        connection.send([b"x" * 1000])
    begin = time.monotonic()
    connection.close()
    assert time.monotonic() - begin < 1


def test_sending_never_waits_when_nobody_takes_it():
    connection = connect(9, zmq.curve_keypair()[0])
    try:
        begin = time.monotonic()
        taken = [connection.send([b"x"]) for _ in range(5000)]
        assert time.monotonic() - begin < 5
        assert not all(taken)  # the queue has an end, and its end is told
    finally:
        connection.close()

# SPDX-License-Identifier: Apache-2.0
"""The version of the wire and the rule that decides who may talk to whom. Imports nothing but the errors."""

from collections.abc import Sequence

from .errors import VersionError

PROTOCOL_VERSION = (1, 6)
"""(major, minor). A new optional field or message raises the minor; anything else raises the major."""


def check_version(theirs: Sequence[int], request_id: int | None = None) -> None:
    """Refuse a peer of another major version.

    Args:
        theirs: (major, minor) of the peer.
        request_id: The request that carried it, for the error reply.

    Raises:
        VersionError: Names both versions and says which side is older.
    """
    if theirs[0] == PROTOCOL_VERSION[0]:
        return
    mine, other = (".".join(map(str, version)) for version in (PROTOCOL_VERSION, theirs))
    fix = "update the server" if theirs[0] > PROTOCOL_VERSION[0] else "update the client"
    text = f"protocol {other} cannot talk to protocol {mine}: the major versions must be equal; {fix}"
    raise VersionError(text, request_id)

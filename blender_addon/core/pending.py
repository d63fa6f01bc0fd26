# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests wait for an answer: ids are never used twice, and an answer nobody waits for is dropped."""

from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class PendingTable(Generic[Owner]):
    """Requests in flight with the one who waits for each."""

    def __init__(self) -> None:
        self._next_id = 1
        self._owners: dict[int, Owner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def open(self, owner: Owner) -> int:
        """Return the id for a new request of `owner`."""
        request_id = self._next_id
        self._next_id += 1
        self._owners[request_id] = owner
        return request_id

    def new_id(self) -> int:
        """Return an id for a request whose answer nobody waits for."""
        request_id = self._next_id
        self._next_id += 1
        return request_id

    def owner(self, request_id: int | None) -> Owner | None:
        """Return who waits for this request; None for a stale one."""
        return None if request_id is None else self._owners.get(request_id)

    def take(self, request_id: int | None) -> Owner | None:
        """Return who waits for this request and forget it; None for a stale one."""
        return None if request_id is None else self._owners.pop(request_id, None)

    def drop(self, owner: Owner) -> tuple[int, ...]:
        """Forget the requests of `owner` and return their ids: later answers to them are stale."""
        ids = tuple(request_id for request_id, other in self._owners.items() if other is owner)
        for request_id in ids:
            del self._owners[request_id]
        return ids

    def take_all(self) -> tuple[Owner, ...]:
        """Return who waits for an answer and forget all requests: later answers to them are stale."""
        owners = tuple(self._owners.values())
        self._owners.clear()
        return owners

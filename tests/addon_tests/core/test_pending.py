# SPDX-License-Identifier: Apache-2.0
from blender_addon.core.pending import PendingTable


def test_an_answer_finds_its_owner_once():
    table = PendingTable()
    first, second = table.open("first"), table.open("second")
    assert first != second
    assert table.owner(second) == "second"
    assert table.take(second) == "second"
    assert table.take(second) is None
    assert len(table) == 1


def test_dropped_requests_are_stale_and_their_ids_are_named():
    table = PendingTable()
    old = object()
    ids = (table.open(old), table.open(old))
    other = table.open("other")
    assert table.drop(old) == ids
    assert [table.owner(request_id) for request_id in (*ids, other)] == [None, None, "other"]


def test_ids_are_never_used_twice():
    table = PendingTable()
    ids = []
    for _ in range(50):
        ids.append(table.open("someone"))
        table.take(ids[-1])
        ids.append(table.new_id())
    assert len(set(ids)) == 100


def test_an_answer_without_an_id_belongs_to_nobody():
    table = PendingTable()
    table.open("someone")
    assert table.take(None) is None
    assert table.owner(None) is None


def test_all_can_be_taken_at_once():
    table = PendingTable()
    ids = [table.open(name) for name in ("first", "second")]
    assert table.take_all() == ("first", "second")
    assert [table.owner(request_id) for request_id in ids] == [None, None]

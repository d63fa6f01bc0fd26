# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from ikol.errors import IkolError
from ikol.training.network.processes import agree

LONG = timedelta(seconds=30)


def _meet(store: HashStore, world_size: int) -> set[str]:
    with ThreadPoolExecutor(world_size) as pool:
        found = [pool.submit(agree, store, rank, world_size, LONG) for rank in range(world_size)]
        return {each.result() for each in found}


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_all_agree_on_one_name(world_size: int):
    assert len(_meet(HashStore(), world_size)) == 1


def test_each_start_has_a_name_of_its_own_in_the_same_store():
    store = HashStore()
    assert len({name for _ in range(4) for name in _meet(store, 3)}) == 4


@pytest.mark.parametrize("early", [0, 1, 2])
def test_who_comes_early_does_not_agree_with_the_dead(early: int):
    store = HashStore()
    (old,) = _meet(store, 3)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(agree, store, early, 3, LONG)
        with pytest.raises(TimeoutError):
            first.result(0.5)  # ten looks into the store, in which all that the dead have said is there
        others = [pool.submit(agree, store, rank, 3, LONG) for rank in range(3) if rank != early]
        names = {each.result() for each in (first, *others)}
    assert len(names) == 1
    assert names != {old}


def test_a_process_that_waits_in_vain_says_so():
    with pytest.raises(IkolError, match=r"process 1 of 2 waited 0\.2 s for the others"):
        agree(HashStore(), 1, 2, timedelta(seconds=0.2))

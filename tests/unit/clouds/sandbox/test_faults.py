from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moestro.clouds.sandbox import Home
from moestro.clouds.sandbox.faults import Fault, FaultKind, Faults
from moestro.errors import InvalidInput


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(Home(tmp_path))


def test_a_fault_strikes_as_often_as_it_was_armed(faults: Faults) -> None:
    faults.arm("no_stock", times=2)
    struck = [faults.take(FaultKind.NO_STOCK) is not None for _ in range(3)]
    assert struck == [True, True, False]
    assert faults.armed() == []


def test_a_fault_without_number_strikes_until_it_is_taken_back(faults: Faults) -> None:
    faults.arm("no_stock", times=None)
    faults.arm("list_failure")
    assert all(faults.take(FaultKind.NO_STOCK) for _ in range(5))
    faults.disarm("no_stock")
    assert faults.take(FaultKind.NO_STOCK) is None
    assert [fault.kind for fault in faults.armed()] == [FaultKind.LIST_FAILURE]
    faults.disarm()
    assert faults.armed() == []


def test_the_name_is_a_pattern(faults: Faults) -> None:
    faults.arm("slow_post", name="web-*", seconds=5)
    assert faults.take(FaultKind.SLOW_POST, "db-0") is None
    assert faults.take(FaultKind.SLOW_POST, "") is None
    assert faults.take(FaultKind.SLOW_POST, "web-1") == Fault(FaultKind.SLOW_POST, 1, "web-*", 5.0)


def test_other_processes_see_it(faults: Faults, tmp_path: Path) -> None:
    faults.arm("no_stock")
    assert Faults(Home(tmp_path)).take(FaultKind.NO_STOCK) is not None
    assert faults.armed() == []


def test_it_strikes_once_however_many_ask(faults: Faults) -> None:
    faults.arm("no_stock", times=3)
    with ThreadPoolExecutor(16) as pool:
        struck = list(pool.map(lambda _: faults.take(FaultKind.NO_STOCK), range(32)))
    assert sum(fault is not None for fault in struck) == 3


def test_an_unknown_kind_names_the_known_ones(faults: Faults) -> None:
    with pytest.raises(InvalidInput, match=r"'earthquake' is not known; known faults: no_stock, .*unknown_state"):
        faults.arm("earthquake")

from typing import Any

import pytest

from provider.differences import Difference, differences
from provider.wire import UNKNOWN
from tests.unit.provider.fakes import HOST, ThingInputs

BASE: dict[str, Any] = {"host": HOST, "size": 1}


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(it.path, it.kind, it.replaces) for it in differences(ThingInputs, BASE | old, BASE | new)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({}, {"size": 2}, [("size", "UPDATE", False)]),
        ({}, {"place": "south"}, [("place", "UPDATE", True)]),
        ({}, {"place": "north"}, []),  # the default, spelled out
        ({"place": "south"}, {}, [("place", "UPDATE", True)]),
        ({}, {"patience": 60}, []),  # quiet
        ({}, {"size": UNKNOWN}, [("size", "UPDATE", False)]),
        ({}, {"place": UNKNOWN}, [("place", "UPDATE", True)]),
        ({"env": {"A": "1", "B C": "2"}}, {"env": {"A": "3", "D": "4"}}, [
            ("env.A", "UPDATE", False), ('env["B C"]', "DELETE", False), ("env.D", "ADD", False)]),
        ({"parts": [{"perUser": 1}, {"perUser": 2}]}, {"parts": [{"perUser": 3}]}, [
            ("parts[0].perUser", "UPDATE", False), ("parts[1]", "DELETE", False)]),
        ({}, {"limits": {"perUser": 1}}, [("limits", "ADD", False)]),
        ({"limits": {"perUser": 1}}, {}, [("limits", "DELETE", False)]),
        ({}, {"password": "new"}, [("password", "UPDATE", False)]),
    ],
)  # fmt: skip
def test_a_change_asks_for(old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, str, bool]]) -> None:
    assert changes(old, new) == expected


class TestHost:
    @pytest.mark.parametrize(
        "rotated", [{"privateKey": "ANOTHER"}, {"privateKey": UNKNOWN}, {"user": "root"}, {"port": 22}]
    )
    def test_login_and_key_may_rotate(self, rotated: dict[str, Any]) -> None:
        assert changes({}, {"host": HOST | rotated}) == []

    @pytest.mark.parametrize("part", ["address", "port", "hostKey"])
    @pytest.mark.parametrize("value", ["other", UNKNOWN])
    def test_another_machine_replaces(self, part: str, value: Any) -> None:
        assert changes({}, {"host": HOST | {part: value}}) == [(f"host.{part}", "UPDATE", True)]

    def test_a_host_not_known_yet_replaces(self) -> None:
        assert changes({}, {"host": UNKNOWN}) == [("host", "UPDATE", True)]


def test_drift_noted_by_a_read_asks_for_an_update() -> None:
    found = differences(ThingInputs, BASE | {"drift": "edited by hand"}, BASE)
    assert found == [Difference("drift", "drift", "DELETE", False)]

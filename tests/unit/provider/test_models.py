from typing import Any

import pytest

from provider.models import Host, Mark, marked, mistakes, secret_paths
from provider.wire import UNKNOWN
from tests.unit.provider.fakes import HOST, ThingInputs

GOOD: dict[str, Any] = {"host": HOST, "size": 1}


class TestMistakes:
    @pytest.mark.parametrize("values", [{}, {"size": UNKNOWN}, {"host": UNKNOWN}, {"host": HOST | {"port": UNKNOWN}}])
    def test_known_good_and_unknown_values_pass(self, values: dict[str, Any]) -> None:
        assert mistakes(ThingInputs, GOOD | values) == []

    @pytest.mark.parametrize(
        ("values", "where", "what"),
        [
            ({"sice": 1}, "sice", "unknown property 'sice': remove it or use one of host, size, place"),
            ({"host": HOST | {"adress": "x"}}, "host.adress", "use one of address, port, user, privateKey, hostKey"),
            ({"size": "1"}, "size", "input should be a valid integer"),
            ({"size": 0}, "size", "greater than or equal to 1"),
            ({"size": True}, "size", "valid integer"),
            ({"parts": [{"perUser": 1, "secretWord": "w"}, {"perUser": "x", "secretWord": "w"}]}, "parts[1].perUser",
             "valid integer"),
            ({"limits": {"perUser": 1}}, "limits.secretWord", "is required: set it"),
        ],
    )  # fmt: skip
    def test_each_is_named_with_its_fix(self, values: dict[str, Any], where: str, what: str) -> None:
        [(path, reason)] = mistakes(ThingInputs, GOOD | values)
        assert path == where
        assert what in reason

    def test_all_come_at_once_and_a_missing_one_beside_an_unknown_one_too(self) -> None:
        found = mistakes(ThingInputs, {"host": UNKNOWN, "sice": 1})
        assert sorted(path for path, _ in found) == ["sice", "size"]

    def test_no_value_is_repeated(self) -> None:
        found = mistakes(ThingInputs, GOOD | {"password": ["hunter2-hunter2"], "host": HOST | {"privateKey": 7}})
        assert len(found) == 2
        assert "hunter2" not in str(found)


def test_marks_are_found_by_wire_name() -> None:
    assert marked(ThingInputs, Mark.REPLACES) == {"host", "place"}
    assert marked(ThingInputs, Mark.QUIET) == {"patience"}


def test_secrets_are_found_inside_objects() -> None:
    assert secret_paths(ThingInputs) >= {("host", "privateKey"), ("password",), ("limits", "secretWord")}


def test_a_host_shows_no_key() -> None:
    assert "PRIVATE" not in repr(Host.model_validate(HOST))

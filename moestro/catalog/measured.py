"""Measured figures, from a JSON file."""

import json
from pathlib import Path
from typing import Any

from moestro.errors import InvalidInput
from moestro.planning.plan import Layout
from moestro.planning.throughput import Measured

_FORM = "docs/planner.md shows the form of --measured"


def load_measured(path: Path) -> tuple[Measured, ...]:
    """The results of a file: a list of objects with ``model``, ``gpu``, ``layout`` (``tp``, ``pp``, ``dp``, ``ep``,
    ``dcp``, ``nodes``), ``tokens_per_second`` (output, of the replica), ``p95_seconds``, ``batch`` and ``date``.

    Raises:
        InvalidInput: the file cannot be read, or an entry is not of that form.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} cannot be read as JSON ({error}): see moestro/catalog/measured.py for its form"
        ) from None
    if not isinstance(raw, list):
        raise InvalidInput(f"{path} holds no list of results: {_FORM}")
    return tuple(_result(path, number, one) for number, one in enumerate(raw))


def _result(path: Path, number: int, raw: Any) -> Measured:
    try:
        return Measured(
            model=str(raw["model"]),
            gpu=str(raw["gpu"]),
            layout=_layout(raw["layout"]),
            tokens_per_second=_positive("tokens_per_second", raw["tokens_per_second"]),
            p95_seconds=None if raw.get("p95_seconds") is None else _positive("p95_seconds", raw["p95_seconds"]),
            batch=None if raw.get("batch") is None else int(_positive("batch", raw["batch"])),
            date=str(raw["date"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"{path}: result {number} is no benchmark result ({error!r}): {_FORM}") from None


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name} {value!r} is not positive")
    return float(value)


def _layout(raw: dict[str, Any]) -> Layout:
    sizes = {name: value for name, value in raw.items() if name != "ep"}
    wrong = next((f"{name} {value!r}" for name, value in sizes.items() if type(value) is not int or value < 1), None)
    if wrong:
        raise ValueError(f"{wrong} is no size of a layout")
    return Layout(**sizes, ep=bool(raw.get("ep", False)))

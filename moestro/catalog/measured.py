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
        rate = float(raw["tokens_per_second"])
        if rate <= 0:
            raise ValueError(f"tokens_per_second {rate} is not positive")
        return Measured(
            model=str(raw["model"]),
            gpu=str(raw["gpu"]),
            layout=Layout(**raw["layout"]),
            tokens_per_second=rate,
            p95_seconds=None if raw.get("p95_seconds") is None else float(raw["p95_seconds"]),
            batch=None if raw.get("batch") is None else int(raw["batch"]),
            date=str(raw["date"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: result {number} is no benchmark result ({error!r}): {_FORM}") from None

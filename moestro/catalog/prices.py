"""Price lists, dated: the seed's in prices.yaml, and those that `moestro prices --live` writes in the same form."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from moestro.catalog.files import load
from moestro.errors import InvalidInput
from moestro.planning.cost import Price, Prices, by_name
from moestro.planning.plan import Label

FILE = "prices.yaml"


@cache
def prices() -> Prices:
    """USD an hour of one GPU, by the GPU's name, as the seed quotes it."""
    return _listed(load(FILE))


def read_prices(path: Path) -> Prices:
    """The prices of a file, in place of the seed's; the sandbox stays free.

    Raises:
        InvalidInput: the file cannot be read or is no price list.
    """
    import yaml

    from moestro.catalog.schema import check  # pydantic takes long to import

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"prices {path} cannot be read: {getattr(error, 'strerror', None) or 'no text'}") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"prices {path} are no YAML: {' '.join(str(error).split())}") from None
    check(FILE, raw, where=str(path))
    return _listed({**raw, "free": load(FILE)["free"]})


def write_prices(path: Path, found: Sequence[Price]) -> None:
    """Write prices of one source and date, so that `read_prices` gives them back.

    Raises:
        InvalidInput: the file cannot be written.
    """
    import yaml

    first = found[0]
    rows = [
        {"gpu": one.gpu, "on_demand": one.on_demand, "spot": one.spot, "regions": list(one.regions)} for one in found
    ]
    document = {"source": first.source, "date": first.date, "label": str(first.label), "prices": rows, "free": []}
    text = "# USD an hour of one GPU.\n" + yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"prices {path} cannot be written: {error.strerror}") from None


def _listed(raw: Mapping[str, Any]) -> Prices:
    source, date, label = str(raw["source"]), str(raw["date"]), Label(raw.get("label", Label.ILLUSTRATIVE))
    listed = [
        Price(one["gpu"], one["on_demand"], one["spot"], source, date, label, tuple(one.get("regions", ())))
        for one in raw["prices"]
    ]
    free = [Price(name, 0.0, 0.0, "the sandbox rents nothing", date, Label.DERIVED) for name in raw["free"]]
    return by_name([*listed, *free])

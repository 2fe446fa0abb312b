"""What the seed says about a plan: its illustrative figures, what it puts on spot, its production checklist.

Read without the schema (moestro.catalog.checklist), which every plan would have to wait for; the tests check the file.
"""

from typing import Any, NamedTuple

from moestro.catalog.files import load
from moestro.catalog.models import canonical

FILE = "checklist.yaml"


class Illustrative(NamedTuple):
    """A row of the seed's cost table: figures of a whole replica, quoted."""

    setup: str
    tokens_per_second: float
    usd_per_million_tokens: float
    purchase: str


class SpotUse(NamedTuple):
    """The workloads that the seed puts on spot machines, and those that it keeps off them."""

    on_spot: tuple[str, ...]
    on_demand: tuple[str, ...]


class Item(NamedTuple):
    """A step of the seed's checklist; ``today`` is what holds on today's engines where that differs."""

    key: str
    item: str
    check: str
    today: str


def illustrative(model: str, gpu: str, count: int) -> Illustrative | None:
    """The seed's figures for a checkpoint (catalog name or repository) on so many GPUs, where it has any."""
    name = canonical(model)
    for row in load(FILE)["costs"]:
        if name in (row["checkpoint"], *row.get("also", ())) and (row["gpu"], row["count"]) == (gpu, count):
            return Illustrative(row["setup"], row["tokens_per_second"], row["usd_per_million"], row["purchase"])
    return None


def spot_use() -> SpotUse:
    """Which work goes where."""
    raw: dict[str, Any] = load(FILE)["spot"]
    return SpotUse(tuple(raw["use_spot_for"]), tuple(raw["use_on_demand_for"]))


def checklist_items() -> tuple[Item, ...]:
    """The steps before production, in the seed's order."""
    return tuple(Item(**row) for row in load(FILE)["checklist"])

"""The price list of prices.yaml, dated; live offers take its place where a cloud is asked."""

from functools import cache

from moestro.catalog.files import load
from moestro.planning.cost import Price, Prices, by_name
from moestro.planning.plan import Label

FILE = "prices.yaml"


@cache
def prices() -> Prices:
    """USD an hour of one GPU, by the GPU's name."""
    raw = load(FILE)
    source, date = str(raw["source"]), str(raw["date"])
    listed = [Price(one["gpu"], one["on_demand"], one["spot"], source, date) for one in raw["prices"]]
    free = [Price(name, 0.0, 0.0, "the sandbox rents nothing", date, Label.DERIVED) for name in raw["free"]]
    return by_name([*listed, *free])

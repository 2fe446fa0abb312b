"""Money: USD an hour, a month and a million tokens, on-demand and spot, and the arithmetic of batch jobs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from moestro.planning.plan import BatchJob, Cost, Label

HOURS_PER_MONTH = 730  # 8760 hours a year over 12
HOURS_PER_DAY, DAYS_PER_MONTH = 10.0, 30  # the seed's batch job and its month
ON_DEMAND, SPOT = "on-demand", "spot"


@dataclass(frozen=True, slots=True)
class Price:
    """USD an hour of one GPU. ``spot`` or ``on_demand`` is None where it is not offered."""

    gpu: str
    on_demand: float | None
    spot: float | None
    source: str
    date: str
    label: Label = Label.ILLUSTRATIVE
    regions: tuple[str, ...] = ()

    def of(self, purchase: str) -> float | None:
        """USD an hour of one GPU bought so."""
        return self.spot if purchase == SPOT else self.on_demand


Prices = Mapping[str, Price]  # by the GPU's catalog name
NO_PRICES: Prices = {}


def cost_of(
    prices: Prices,
    gpu: str,
    count: int,
    purchase: str,
    tokens_per_second: float | None,
    hours_per_day: float = HOURS_PER_DAY,
    rate_label: Label = Label.ESTIMATED,
) -> Cost:
    """The cost of ``count`` GPUs; None figures where the price list does not have them.

    Args:
        rate_label: where ``tokens_per_second`` comes from, and with it the cost of a million tokens.
    """
    price = prices.get(gpu)
    each = price.of(purchase) if price else None
    labels = {"usd_per_hour": price.label if price else Label.DERIVED}
    labels |= dict.fromkeys(("usd_per_month", "on_demand_usd_per_hour", "batch_job"), labels["usd_per_hour"])
    labels |= {"spot_usd_per_hour": labels["usd_per_hour"], "usd_per_million_tokens": rate_label}
    if price is None:
        return Cost(None, None, None, purchase, labels, "no price known")
    hourly = _times(each, count)
    return Cost(
        usd_per_hour=hourly,
        usd_per_month=_times(hourly, HOURS_PER_MONTH),
        usd_per_million_tokens=usd_per_million(hourly, tokens_per_second) if hourly and tokens_per_second else None,
        purchase=purchase,
        labels=labels,
        source="no price known" if each is None else f"{price.source}, {price.date}",
        on_demand_usd_per_hour=_times(price.on_demand, count),
        spot_usd_per_hour=_times(price.spot, count),
        batch_job=batch_job(price, count, hours_per_day),
    )


def _times(usd: float | None, factor: float) -> float | None:
    return None if usd is None else usd * factor


def usd_per_million(usd_per_hour: float, tokens_per_second: float) -> float:
    """USD for a million tokens at a steady rate."""
    return usd_per_hour / 3600 / tokens_per_second * 1e6


def batch_job(price: Price, count: int, hours_per_day: float) -> BatchJob | None:
    """On-demand against spot for a daily job; None where one of the two is not offered."""
    if price.on_demand is None or price.spot is None:
        return None
    hours = count * hours_per_day
    saved = (price.on_demand - price.spot) * hours
    return BatchJob(hours_per_day, price.on_demand * hours, price.spot * hours, saved, saved * DAYS_PER_MONTH)


def price_warnings(prices: Prices, gpu: str, purchase: str) -> tuple[str, ...]:
    """What to know before buying: a dearer spot, a purchase that is not offered, no price at all."""
    price = prices.get(gpu)
    if price is None:
        return (f"no price known of {gpu}: `moestro prices --live spheron --save FILE` asks, `--prices FILE` uses it",)
    if price.of(purchase) is None:
        return (f"{gpu} has no {purchase} price in the list of {price.date}",)
    if purchase == SPOT and price.on_demand is not None and price.spot is not None and price.spot > price.on_demand:
        more = (price.spot / price.on_demand - 1) * 100
        return (f"spot {gpu} is {more:.1f} % dearer than on-demand and can be taken away: buy on-demand",)
    return ()


def spot_saving(price: Price) -> float | None:
    """The share that spot saves, negative where it is dearer; None where one price is missing."""
    if price.on_demand is None or price.spot is None:
        return None
    return 1 - price.spot / price.on_demand


def by_name(prices: Iterable[Price]) -> dict[str, Price]:
    """A price list keyed by GPU."""
    return {price.gpu: price for price in prices}

"""``moestro prices --live``: what one GPU costs now, from the offers of a cloud."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from moestro.catalog import gpus
from moestro.clouds import Cloud
from moestro.clouds.base import Offer, OfferQuery, Purchase
from moestro.errors import InvalidInput
from moestro.planning.cost import Price
from moestro.planning.gpu import GpuSpec
from moestro.planning.plan import Label
from moestro.waiting import Wait

LIMIT_SECONDS = 120.0
_SIZES = (1, 8)  # a single GPU and a whole machine; every further size is 20 requests more


def live_prices(cloud_name: str, regions: Sequence[str] = ()) -> list[Price]:
    """The lowest offer of every GPU type of the catalog.

    Raises:
        InvalidInput: no such cloud, or it offers nothing of the catalog.
        CloudError: it does not answer.
    """
    from moestro.clouds import open_cloud

    wait = Wait.of(LIMIT_SECONDS, report=lambda line: print(line, file=sys.stderr))
    types, today = tuple(gpus().values()), datetime.now(UTC).date().isoformat()
    return prices_of(open_cloud(cloud_name), types, wait, today, regions)


def prices_of(
    cloud: Cloud, types: Iterable[GpuSpec], wait: Wait, date: str, regions: Sequence[str] = ()
) -> list[Price]:
    """See ``live_prices``; a price is of one GPU, the lowest over machines of the sizes that are asked for.

    Raises:
        InvalidInput: the cloud offers nothing of these types.
    """
    found = [price for gpu in types if (price := _price(cloud, gpu, wait, date, regions)) is not None]
    if not found:
        raise InvalidInput(f"cloud '{cloud.name}' offers no GPU type of the catalog right now: try again later")
    return found


def _price(cloud: Cloud, gpu: GpuSpec, wait: Wait, date: str, regions: Sequence[str]) -> Price | None:
    by_purchase = {kind: _offers(cloud, gpu, kind, wait, regions) for kind in Purchase}
    every = [one for offers in by_purchase.values() for one in offers]
    if not every:
        return None
    on_demand, spot = (_lowest(by_purchase[kind]) for kind in (Purchase.ON_DEMAND, Purchase.SPOT))
    places = tuple(sorted({one.region for one in every}))
    return Price(gpu.name, on_demand, spot, f"live offers of {cloud.name}", date, Label.MEASURED, places)


def _offers(cloud: Cloud, gpu: GpuSpec, purchase: Purchase, wait: Wait, regions: Sequence[str]) -> list[Offer]:
    name = gpu.name.upper()  # the marketplace's token
    queries = [OfferQuery(name, size, purchase, regions) for size in _SIZES]
    return [one for query in queries for one in cloud.list_offers(query, wait)]


def _lowest(offers: Sequence[Offer]) -> float | None:
    return min((round(one.usd_per_hour / one.gpu_count, 4) for one in offers), default=None)

"""Which offers of Spheron's catalogue satisfy a query, and in which order to try them. Pure."""

import re
from collections.abc import Iterable, Sequence

from moestro.clouds.base import Offer, OfferQuery, Purchase
from moestro.clouds.spheron.wire import OfferWire

INSTANCE_TYPES = {Purchase.ON_DEMAND: "DEDICATED", Purchase.SPOT: "SPOT"}

# What an engine is set up on with the least work comes first; what cannot be a host at all has no rank.
_SYSTEMS = (r"ubuntu.*24\.04", r"ubuntu.*22\.04", r"ubuntu", r"debian", r"^(?!.*windows)")


def candidates(gpu_type: str, offers: Iterable[OfferWire], query: OfferQuery) -> list[Offer]:
    """Every acceptable (offer, region) of one GPU group, cheapest first and otherwise in a fixed order.

    The cloud's own filter works on groups, so a query for dedicated machines also brings spot ones: all is checked
    again here.
    """
    found = [
        offer
        for wire in offers
        if _acceptable(wire, query)
        for region in _regions(wire, query)
        if (offer := _offer(gpu_type, wire, region, query)) is not None
    ]
    return sorted(found, key=lambda offer: (offer.usd_per_hour, offer.provider, offer.offer_id, offer.region))


def choose_image(options: Sequence[str], wanted: str | None) -> str | None:
    """The operating system to order: exactly the wanted one, else one with CUDA, else Ubuntu 24.04, 22.04, others.

    Returns ``None`` where the wanted image, or any usable one, is missing.
    """
    if wanted is not None:
        return wanted if wanted in options else None
    usable = [option for option in options if _system_rank(option) < len(_SYSTEMS)]
    return min(usable, key=_image_preference, default=None)


def price(wire: OfferWire) -> float | None:
    """USD per hour of the whole instance. Only a spot offer's ``spot_price`` means anything."""
    if wire.instance_type == "SPOT" and wire.spot_price is not None:
        return wire.spot_price
    return wire.price


def _acceptable(wire: OfferWire, query: OfferQuery) -> bool:
    cost = price(wire)
    return (
        wire.instance_type == INSTANCE_TYPES[query.purchase]
        and wire.gpu_count == query.gpu_count
        and wire.available
        and not wire.maintenance
        and (not query.providers or wire.provider in query.providers)
        and cost is not None
        and (query.max_usd_per_hour is None or cost <= query.max_usd_per_hour)
    )


def _regions(wire: OfferWire, query: OfferQuery) -> list[str]:
    known = wire.clusters or ([wire.region] if wire.region else [])
    return [region for region in known if not query.regions or region in query.regions]


def _offer(gpu_type: str, wire: OfferWire, region: str, query: OfferQuery) -> Offer | None:
    image, cost = choose_image(wire.os_options or [], query.image), price(wire)
    if image is None or cost is None:
        return None
    return Offer(
        provider=wire.provider,
        offer_id=wire.offer_id,
        gpu_type=gpu_type,
        gpu_count=wire.gpu_count,
        region=region,
        image=image,
        purchase=query.purchase,
        usd_per_hour=cost,
        vcpus=wire.vcpus or 0,
        memory_gb=wire.memory or 0.0,
        storage_gb=wire.storage or 0.0,
        gpu_memory_gb=wire.gpu_memory or 0.0,
        interconnect=wire.interconnect_type,
        minimum_runtime_minutes=wire.minimum_runtime_minutes,
    )


def _system_rank(option: str) -> int:
    matches = (rank for rank, pattern in enumerate(_SYSTEMS) if re.search(pattern, option, re.IGNORECASE))
    return next(matches, len(_SYSTEMS))


def _image_preference(option: str) -> tuple[bool, int, float, int, str]:
    version = re.search(r"cuda[ _-]*(\d+(?:\.\d+)?)", option, re.IGNORECASE)
    has_cuda = "cuda" in option.lower()
    return not has_cuda, _system_rank(option), -float(version[1]) if version else 0.0, len(option), option

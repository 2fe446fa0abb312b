"""Prices of now: from a cloud's offers into a dated list, and from the list into plans."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from moestro import clouds
from moestro.catalog import gpus, read_prices
from moestro.clouds.base import Offer, OfferQuery, Purchase
from moestro.commands.live_prices import prices_of
from moestro.errors import InvalidInput
from moestro.planning.plan import Label
from moestro.waiting import Wait
from tests.unit.cli.running import Shell
from tests.unit.clouds.fake_cloud import FakeCloud, offer


class Market(FakeCloud):
    """Filters its offers as a real cloud does."""

    def list_offers(self, query: OfferQuery, wait: Wait) -> list[Offer]:
        wanted = (query.gpu_type, query.gpu_count, query.purchase)
        return [
            one for one in super().list_offers(query, wait) if (one.gpu_type, one.gpu_count, one.purchase) == wanted
        ]


def h200(count: int, usd: float, purchase: Purchase = Purchase.ON_DEMAND, region: str = "r1") -> Offer:
    return replace(offer(region, usd), gpu_type="H200_SXM5", gpu_count=count, purchase=purchase)


@pytest.fixture
def market(monkeypatch: pytest.MonkeyPatch) -> Market:
    found = Market(offers=(h200(1, 3.50), h200(8, 24.0, region="r2"), h200(8, 12.8, Purchase.SPOT)))
    monkeypatch.setattr(clouds, "open_cloud", lambda name: replace(found, name=name))
    return found


def test_the_lowest_of_one_gpu(market: Market) -> None:
    found = prices_of(market, gpus().values(), Wait(), "2026-11-24")
    assert [(one.gpu, one.on_demand, one.spot, one.label) for one in found] == [
        ("H200_SXM5", 3.0, 1.6, Label.MEASURED),
    ]
    assert found[0].regions == ("r1", "r2")


def test_of_a_region(market: Market) -> None:
    found = prices_of(market, gpus().values(), Wait(), "2026-11-24", ("r1",))
    assert (found[0].on_demand, found[0].regions) == (3.5, ("r1",))


def test_nothing_on_offer(market: Market) -> None:
    with pytest.raises(InvalidInput, match="offers no GPU type of the catalog"):
        prices_of(market, gpus().values(), Wait(), "2026-11-24", ("elsewhere",))


@pytest.mark.usefixtures("market")
def test_a_plan_uses_the_list_that_was_saved(shell: Shell, tmp_path: Path) -> None:
    listed = tmp_path / "prices.yaml"
    outcome = shell("prices", "--live", "spheron", "--save", listed)
    assert outcome.code == 0
    assert "live offers of spheron" in outcome.out
    assert "No price known: H100_PCIE" in outcome.out
    cost = json.loads(shell("plan", "deepseek-v3.2", "--prices", listed, "--json").out)["cost"]
    assert cost["usd_per_hour"] == pytest.approx(24.0)
    assert cost["labels"]["usd_per_hour"] == "measured"
    assert cost["source"].startswith("live offers of spheron, 2")


def test_the_sandbox_stays_free(shell: Shell, tmp_path: Path) -> None:
    listed = tmp_path / "prices.yaml"
    assert shell("prices", "--save", listed).code == 0
    found = read_prices(listed)
    assert found["cpu"].on_demand == 0
    assert found["B200_SXM6"].on_demand == 7.43


def test_what_has_no_price_is_null_and_told(shell: Shell) -> None:
    asked = ("plan", "deepseek-v3.2", "--gpu", "H200")
    cost = json.loads(shell(*asked, "--json").out)["cost"]
    assert [cost[key] for key in ("usd_per_hour", "usd_per_month", "usd_per_million_tokens")] == [None, None, None]
    assert "no price known" in shell(*asked).out
    out = shell("prices").out
    assert "No price known: H100_SXM5" in out
    assert "moestro prices --live spheron --save FILE" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prices: [", "are no YAML"),
        ("[]", "valid dictionary"),
        ("{source: s, date: 2026-11-24, prices: [{gpu: B200_SXM6, on_demand: -1, spot: null}], free: []}", "on_demand"),
        ("{source: s, prices: [], free: []}", "date"),
    ],
)
def test_a_file_that_is_no_price_list(text: str, message: str, shell: Shell, tmp_path: Path) -> None:
    listed = tmp_path / "prices.yaml"
    listed.write_text(text)
    outcome = shell("plan", "mixtral-8x7b", "--gpu", "B200", "--prices", listed)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_no_such_file_or_cloud(shell: Shell, tmp_path: Path) -> None:
    missing = shell("plan", "mixtral-8x7b", "--gpu", "B200", "--prices", tmp_path / "none.yaml")
    assert (missing.code, "cannot be read" in missing.err) == (2, True)
    unknown = shell("prices", "--live", "nimbus")
    assert (unknown.code, "known clouds: sandbox, spheron" in unknown.err) == (2, True)

"""Cost, throughput and the search for the cheapest plan."""

from dataclasses import replace

import pytest

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model, load_prices, plan_catalog
from moestro.catalog.checklist import checklist
from moestro.errors import InvalidInput
from moestro.planning.cost import HOURS_PER_MONTH, Price, batch_job, by_name, cost_of, spot_saving, usd_per_million
from moestro.planning.plan import Label, Layout
from moestro.planning.planner import Measured, Request, plan
from moestro.planning.search import Constraints, Target, search
from moestro.planning.throughput import estimate

CARDS = tuple(gpu for gpu in gpus().values() if gpu.device == "cuda")


class TestCost:
    def test_month(self) -> None:
        cost = cost_of(load_prices(), "B200_SXM6", 8, "on-demand", None)
        assert cost.usd_per_hour == pytest.approx(59.44)
        assert cost.usd_per_month == pytest.approx(59.44 * HOURS_PER_MONTH)
        assert cost.usd_per_million_tokens is None

    @pytest.mark.parametrize("row", checklist().costs, ids=lambda row: row.setup)
    def test_million_tokens_as_in_the_seed(self, row: object) -> None:
        price = row.spot if row.purchase == "spot" else row.on_demand  # type: ignore[attr-defined]
        per_million = usd_per_million(price, row.tokens_per_second)  # type: ignore[attr-defined]
        assert per_million == pytest.approx(row.usd_per_million, abs=0.001)  # type: ignore[attr-defined]

    def test_batch_job_as_in_the_seed(self) -> None:
        seed = checklist().batch_job
        job = batch_job(load_prices()[seed.gpu], seed.count, seed.hours_per_day)
        assert job is not None
        assert job.on_demand_usd_per_day == pytest.approx(seed.on_demand_usd_per_day)
        assert job.spot_usd_per_day == pytest.approx(seed.spot_usd_per_day)
        assert job.saved_usd_per_day == pytest.approx(seed.saved_usd_per_day)
        assert job.saved_usd_per_month == pytest.approx(seed.saved_usd_per_month)

    def test_no_batch_job_without_spot(self) -> None:
        assert batch_job(load_prices()["H100_PCIE"], 1, 10) is None

    def test_a_plan_has_both_ways_to_buy(self) -> None:
        cost = plan_catalog("deepseek-v3.2", "B200", Request(count=8)).cost
        assert (cost.on_demand_usd_per_hour, cost.spot_usd_per_hour) == (pytest.approx(59.44), pytest.approx(13.36))
        assert cost.batch_job is not None
        assert cost.batch_job.saved_usd_per_month == pytest.approx(13824)

    def test_hours_of_the_batch_job(self) -> None:
        cost = plan_catalog("mixtral-8x22b-fp8", "A100", Request(count=4, hours_per_day=2)).cost
        assert cost.batch_job is not None
        assert cost.batch_job.saved_usd_per_day == pytest.approx((1.07 - 1.14) * 4 * 2)

    def test_spot_that_is_not_offered_has_no_price(self) -> None:
        cost = cost_of(load_prices(), "H100_PCIE", 2, "spot", 100.0)
        assert (cost.usd_per_hour, cost.usd_per_million_tokens, cost.batch_job) == (None, None, None)
        assert cost.on_demand_usd_per_hour == pytest.approx(4.02)

    def test_savings_as_in_the_seed(self) -> None:
        assert spot_saving(load_prices()["B200_SXM6"]) == pytest.approx(0.78, abs=0.01)
        assert spot_saving(load_prices()["A100_80G_PCIE"]) == pytest.approx(-0.065, abs=0.001)

    def test_dearer_spot_warns(self) -> None:
        found = plan_catalog("mixtral-8x22b-fp8", "A100", Request(count=4, purchase="spot"))
        assert any("6.5 % dearer than on-demand" in warning for warning in found.warnings)

    def test_unknown_price_is_none_and_said(self) -> None:
        found = plan_catalog("deepseek-v3.2", "H200", Request(count=8))
        assert found.cost.usd_per_hour is None
        assert any("no price known of H200_SXM5" in warning for warning in found.warnings)

    def test_the_sandbox_is_free(self) -> None:
        assert cost_of(load_prices(), "cpu", 2, "on-demand", None).usd_per_hour == 0


class TestThroughput:
    def test_larger_batches_give_more_and_take_longer(self) -> None:
        model, gpu, layout = load_model("deepseek-v3.2"), load_gpu("H200"), Layout(tp=8, ep=True)
        memory = plan(model, gpu, Request(count=8, context=4096)).memory
        found = [estimate(model, gpu, layout, memory, 4096, batch) for batch in (1, 16, 64)]
        rates = [one.tokens_per_second for one in found if one]
        steps = [one.step_seconds for one in found if one]
        assert rates == sorted(rates)
        assert steps == sorted(steps)

    def test_never_beyond_the_memory_bandwidth(self) -> None:
        """One request cannot be faster than reading its active weights once a token."""
        model, gpu = load_model("llama-3.3-70b-fp8"), load_gpu("H200")
        found = plan(model, gpu, Request(count=1, context=8192, concurrency=1))
        assert found.throughput_tokens_per_second is not None
        assert found.throughput_tokens_per_second < gpu.bandwidth_gb_s * 1e9 / (67.7 * 2**30)

    def test_measured_figures_take_the_estimates_place(self) -> None:
        layout = Layout(tp=8, ep=True)
        bench = Measured("deepseek-v3.2", "H200_SXM5", layout, 5000.0, 3.5, 64, "2026-11-24")
        found = plan(
            load_model("deepseek-v3.2"), load_gpu("H200"), Request(count=8), {}, decision_matrix(), measured=[bench]
        )
        assert (found.throughput_tokens_per_second, found.throughput_label) == (5000.0, Label.MEASURED)
        assert found.p95_seconds == 3.5


class TestSearch:
    def test_cheapest_first(self) -> None:
        found = search([load_model("deepseek-v3.2")], Request(context=32768), Constraints(CARDS), load_prices())
        prices = [one.cost.usd_per_hour for one in found if one.cost.usd_per_hour is not None]
        assert prices == sorted(prices)
        assert all(one.memory.fits for one in found)

    def test_spot_where_it_is_allowed(self) -> None:
        model, asked = load_model("deepseek-v3.2"), Request(context=32768)
        with_spot = search([model], asked, Constraints(CARDS, spot=True), load_prices())[0]
        without = search([model], asked, Constraints(CARDS), load_prices())[0]
        assert with_spot.cost.purchase == "spot"
        assert (with_spot.cost.usd_per_hour or 0) < (without.cost.usd_per_hour or 0)

    def test_impossible_budget_says_what_the_cheapest_costs(self) -> None:
        with pytest.raises(InvalidInput, match=r"is known to cost at most \$5/h; the cheapest is .* at \$\d") as caught:
            search(
                [load_model("deepseek-v3.2")],
                Request(context=32768),
                Constraints(CARDS, spot=True, max_usd_per_hour=5.0),
                load_prices(),
            )
        assert "\n" not in str(caught.value)

    def test_impossible_target_says_what_the_fastest_is(self) -> None:
        with pytest.raises(InvalidInput, match="reaches the target; the fastest is"):
            search(
                [load_model("mixtral-8x7b-fp8")],
                Request(context=8192),
                Constraints(CARDS),
                load_prices(),
                target=Target(tokens_per_second=1e9),
            )

    def test_nothing_fits(self) -> None:
        with pytest.raises(InvalidInput, match="fits on none of L40S_PCIE with up to 1 nodes"):
            search([load_model("kimi-k2")], Request(), Constraints((load_gpu("L40S"),), max_nodes=1), load_prices())

    def test_regions(self) -> None:
        prices = by_name([Price("H100_PCIE", 2.0, None, "offers", "2026-11-24", Label.MEASURED, ("Iceland 1",))])
        cards = (load_gpu("H100_PCIE"),)
        model, asked = load_model("mixtral-8x7b-fp8"), Request(context=8192)
        assert search([model], asked, Constraints(cards, regions=("Iceland 1",)), prices)
        with pytest.raises(InvalidInput, match="allow more types or regions"):
            search([model], asked, Constraints(cards, regions=("Mars 1",)), prices)

    def test_latency_target(self) -> None:
        asked = Request(context=8192, concurrency=8)
        found = search(
            [load_model("mixtral-8x7b-fp8")], asked, Constraints(CARDS), load_prices(), target=Target(p95_seconds=10)
        )
        assert all((one.p95_seconds or 99) <= 10 for one in found)

    def test_a_latency_target_lowers_the_requests_in_flight(self) -> None:
        model, asked = load_model("mixtral-8x7b-fp8"), Request(context=4096)
        limit, cards = 5.0, Constraints((load_gpu("H100"),))
        free = search([model], asked, cards, load_prices())[0]
        found = search([model], replace(asked, p95_seconds=limit), cards, load_prices(), target=Target(None, limit))[0]
        assert (found.count, free.count) == (1, 1)
        assert (found.p95_seconds or 99) <= limit < (free.p95_seconds or 0)
        batch = found.throughput_batch or 0
        one_more = estimate(model, load_gpu("H100"), found.layout, found.memory, 4096, batch + 1)
        assert one_more is not None
        assert one_more.p95_seconds > limit
        assert f"with up to {batch} requests in flight" in " ".join(found.warnings)

    def test_concurrency_that_is_asked_for_stays(self) -> None:
        asked = Request(count=2, context=4096, concurrency=64, p95_seconds=0.1)
        assert plan(load_model("mixtral-8x7b-fp8"), load_gpu("H100"), asked).throughput_batch == 64

    def test_impossible_latency_says_what_the_soonest_is(self) -> None:
        with pytest.raises(InvalidInput, match=r"the fastest is .*tokens/s, p95 \d") as caught:
            search(
                [load_model("mixtral-8x7b-fp8")],
                Request(context=8192, p95_seconds=0.01),
                Constraints(CARDS),
                load_prices(),
                target=Target(p95_seconds=0.01),
            )
        assert "\n" not in str(caught.value)

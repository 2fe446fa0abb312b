"""How many GPUs are looked at where nobody says, and that each of them can be rented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.catalog import gpus, load_gpu, load_model, load_prices, plan_catalog
from moestro.catalog.models import entries
from moestro.planning.counts import counts_for
from moestro.planning.layout import Wanted
from moestro.planning.plan import Layout
from moestro.planning.planner import Request, plan
from moestro.planning.search import Constraints, search

RENTED = {1, 2, 4, 8, 16, 24, 32}


@pytest.mark.parametrize(
    ("wanted", "counts"),
    [
        (Wanted(), (1, 2, 4, 8, 16, 24, 32)),
        (Wanted(tp=4), (4, 8, 16, 24, 32)),
        (Wanted(tp=8, pp=2), (16, 32)),
        (Wanted(tp=3), (3, 24)),
        (Wanted(nodes=1), (1, 2, 4, 8)),
        (Wanted(nodes=2), (16,)),
        (Wanted(tp=4, pp=2, nodes=2), (8, 16)),
        (Wanted(tp=2, pp=3, dp=1), (6,)),
    ],
)
def test_counts(wanted: Wanted, counts: tuple[int, ...]) -> None:
    assert counts_for(load_gpu("H100"), Request(wanted=wanted)) == counts


def test_a_count_that_is_asked_for_may_be_any() -> None:
    assert counts_for(load_gpu("H100"), Request(count=7)) == (7,)


def test_sizes_on_the_cpu_are_refused_by_their_own_reason() -> None:
    found = plan_catalog("mixtral-8x7b", "cpu", Request(wanted=Wanted(pp=2)))
    assert (found.count, found.memory.fits) == (2, False)
    assert "only TP works" in found.reasons[0]


def test_nodes_at_most() -> None:
    assert counts_for(load_gpu("H100"), Request(max_nodes=1))[-1] == 8
    assert counts_for(load_gpu("H100"), Request(max_nodes=1), max_nodes=2)[-1] == 16


@pytest.mark.parametrize(
    ("model", "gpu", "count", "layout"),
    [
        ("kimi-k2", "B200", 8, Layout(tp=8, ep=True)),
        ("deepseek-v3.2", "H200", 8, Layout(tp=8, ep=True)),
        ("llama-4-maverick-fp8", "H100", 8, Layout(tp=8, ep=True)),
        ("mixtral-8x22b-fp8", "H100", 2, Layout(tp=2, ep=True)),
    ],
)
def test_the_fewest(model: str, gpu: str, count: int, layout: Layout) -> None:
    found = plan_catalog(model, gpu)
    assert (found.count, found.layout, found.memory.fits) == (count, layout, True)


@given(
    name=st.sampled_from(sorted(entries())),
    gpu=st.sampled_from([name for name, one in gpus().items() if one.device == "cuda"]),
    context=st.sampled_from([None, 1024, 8192]),
)
def test_always_rentable_and_no_stages_inside_a_node_that_tensor_parallelism_could_do(
    name: str, gpu: str, context: int | None
) -> None:
    found = plan(load_model(name), load_gpu(gpu), Request(context=context))
    assert found.count in RENTED
    if found.memory.fits and found.layout.pp > found.layout.nodes:
        others = [one.reason for one in found.rejected if one.layout.pp == found.layout.nodes]
        assert not any(reason.startswith("runs") and "crosses nodes" not in reason for reason in others)


def test_the_search_looks_at_the_same() -> None:
    cards = tuple(one for one in gpus().values() if one.device == "cuda")
    found = search([load_model("deepseek-v3.2")], Request(), Constraints(cards), load_prices(), limit=100)
    assert {one.count for one in found} <= RENTED


def test_the_search_keeps_to_sizes_that_are_asked_for() -> None:
    asked = Request(context=4096, wanted=Wanted(tp=2))
    found = search([load_model("mixtral-8x7b-fp8")], asked, Constraints((load_gpu("H100"),)), load_prices())
    assert {one.layout.tp for one in found} == {2}


def test_what_is_refused_everywhere_is_told_of_the_smallest() -> None:
    assert plan_catalog("deepseek-v3.2", "L40S").count == 1
    assert plan_catalog("mixtral-8x7b", "H100", Request(wanted=Wanted(tp=3))).count == 3

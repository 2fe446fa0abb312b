import pytest

from moestro.catalog import load_model, plan_catalog
from moestro.planning.plan import Label
from moestro.planning.planner import Request
from moestro.report.explain import Line, explain

CASES = [
    ("mixtral-8x22b-fp8", "A100_80G_PCIE", Request(count=4, context=16384)),
    ("kimi-k2", "H100_SXM5", Request(count=16, context=8192)),
    ("deepseek-v3.2", "H100_SXM5", Request(count=8, context=8192)),
    ("mixtral-8x7b", "cpu", Request(context=512)),
]


def lines_of(case: tuple[str, str, Request]) -> list[Line]:
    return explain(plan_catalog(*case), load_model(case[0]))


def figure(lines: list[Line], name: str) -> float:
    return float(next(one.value for one in lines if one.name == name).split()[0].replace(",", ""))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_every_line_has_a_label_and_a_source(case: tuple[str, str, Request]) -> None:
    for line in lines_of(case):
        assert line.label in set(Label)
        assert line.source
        assert line.value


@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: f"{case[0]} {case[1]}")
def test_the_lines_add_up(case: tuple[str, str, Request]) -> None:
    lines = lines_of(case)
    names = [line.name for line in lines]
    weights = lines[names.index("usable") + 1 : names.index("weights")]
    overhead = lines[names.index("weights") + 1 : names.index("overhead")]
    assert sum(float(one.value.split()[0]) for one in weights) == pytest.approx(figure(lines, "weights"), abs=0.06)
    assert sum(float(one.value.split()[0]) for one in overhead) == pytest.approx(figure(lines, "overhead"), abs=0.06)
    left = figure(lines, "usable") - figure(lines, "weights") - figure(lines, "overhead")
    assert figure(lines, "left for the KV cache") == pytest.approx(left, abs=0.02)


def test_price_is_arithmetic_over_the_hour() -> None:
    lines = lines_of(CASES[0])
    assert figure(lines, "a month") == pytest.approx(figure(lines, "an hour") * 730)
    speed = figure(lines, "output of the replica")
    assert figure(lines, "a million tokens") == pytest.approx(figure(lines, "an hour") / 3600 / speed * 1e6, rel=0.01)

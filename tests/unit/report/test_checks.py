"""The seed's checklist and figures, held against plans."""

import json

import pytest

from moestro.catalog import plan_catalog
from moestro.catalog.seed import checklist_items
from moestro.planning.planner import Request
from moestro.report.checks import MET, NOTHING, OPEN, VIOLATED, checks
from moestro.report.data import plan_data
from moestro.report.text import plan_text


def state(key: str, model: str, gpu: str, **asked: object) -> str:
    found = plan_catalog(model, gpu, Request(**asked))  # type: ignore[arg-type]
    return next(one.state for one in checks(found) if one.key == key)


def test_every_step_has_a_verdict() -> None:
    found = checks(plan_catalog("deepseek-v3.2", "H200", Request(count=8)))
    assert [one.key for one in found] == [one.key for one in checklist_items()]
    assert all(one.detail for one in found)


@pytest.mark.parametrize(("share", "verdict"), [(0.85, MET), (0.90, MET), (0.92, OPEN), (0.96, VIOLATED)])
def test_utilization(share: float, verdict: str) -> None:
    assert state("utilization", "mixtral-8x7b-fp8", "H100", count=1, gpu_memory_utilization=share) == verdict


def test_fp8_cache() -> None:
    assert state("fp8-kv", "mixtral-8x7b-fp8", "H100", count=1) == OPEN
    assert state("fp8-kv", "mixtral-8x7b-fp8", "H100", count=1, kv_cache_dtype="fp8") == MET
    assert state("fp8-kv", "mixtral-8x7b-fp8", "A100", count=1) == NOTHING


def test_what_has_to_be_seen_on_the_machine() -> None:
    assert state("topology", "mixtral-8x7b-fp8", "H100", count=2) == OPEN
    assert state("topology", "mixtral-8x7b-fp8", "H100", count=1) == NOTHING
    assert state("expert-collapse", "llama-3.3-70b-fp8", "H100", count=2) == NOTHING
    assert state("max-model-len", "mixtral-8x7b-fp8", "H100", count=1) == MET


class TestFigures:
    def test_the_seeds_stand_beside_the_estimate(self) -> None:
        found = plan_catalog("mixtral-8x22b-fp8", "A100", Request(count=4))
        text = plan_text(found)
        assert "4,000 output tokens/s, 0.297 USD per million on-demand (illustrative)" in text
        assert "of a whole answer" in text
        assert "(all estimated)" in text
        data = json.loads(json.dumps(plan_data(found)))
        assert data["seed"]["illustrative"]["tokens_per_second"] == 4000
        assert data["seed"]["illustrative"]["label"] == "illustrative"
        assert "batch inference" in data["seed"]["use_spot_for"]
        assert len(data["seed"]["checklist"]) == len(checklist_items())

    def test_not_beside_what_the_seed_does_not_speak_of(self) -> None:
        assert plan_data(plan_catalog("kimi-k2", "B200", Request(count=8)))["seed"]["illustrative"] is None

    def test_spot_says_what_it_is_for(self) -> None:
        found = plan_catalog("deepseek-v3.2", "B200", Request(count=8, purchase="spot"))
        assert "batch inference" in plan_text(found)
        assert "not for production interactive APIs" in plan_text(found)

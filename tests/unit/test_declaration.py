"""From a declaration to a plan: what the stack's plan says beyond the planner's."""

from typing import Any

import pytest

from moestro.declaration import plan_for
from moestro.settings import Settings

STACK: dict[str, Any] = {
    "cloud": {"name": "spheron"},
    "model": {"repo": "mixtral-8x7b"},
    "gpu": {"type": "H100_SXM5", "count": 2},
}


@pytest.mark.parametrize(("engine", "warned"), [("vllm", False), ("sglang", True)])
def test_a_stack_with_sglang_is_told_that_there_is_no_mutual_tls(engine: str, warned: bool) -> None:
    plan = plan_for(Settings.model_validate(STACK | {"engine": {"name": engine}}))

    assert plan.engine.engine == engine
    assert any("cannot demand client certificates" in warning for warning in plan.warnings) is warned

"""From a declaration to a plan: what the stack's plan says beyond the planner's."""

from typing import Any

import pytest

from moestro.declaration import plan_for
from moestro.errors import InvalidInput
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


def test_an_unknown_model_and_an_unknown_gpu_are_told_together_with_their_keys() -> None:
    wrong = STACK | {"model": {"repo": "mixtral-8x77b"}, "gpu": {"type": "H100_SMX5"}}
    with pytest.raises(InvalidInput) as caught:
        plan_for(Settings.model_validate(wrong))
    _, model, gpu = str(caught.value).splitlines()
    assert model.startswith("  moe:model.repo: ")
    assert gpu == "  moe:gpu.type: GPU 'H100_SMX5' is not in the catalog; did you mean 'H100_SXM5'?"


def test_a_directory_that_is_not_there_is_not_looked_up_elsewhere() -> None:
    wrong = STACK | {"model": {"directory": "/nowhere/model"}}
    with pytest.raises(InvalidInput, match=r"moe:model.directory: there is no directory '/nowhere/model'"):
        plan_for(Settings.model_validate(wrong))

"""Whatever a configuration holds: a plan, or one line that says what is wrong with it."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from moestro.catalog import gpus, load_gpu
from moestro.catalog.files import load
from moestro.errors import InvalidInput
from moestro.planning.planner import Request, plan
from moestro.planning.spec import spec_from_config

FILE = load("models.yaml")
CONFIGS: list[dict[str, Any]] = [
    family["config"] | {"quantization_config": FILE["quantizations"][checkpoint["quantization"]]}
    for family in FILE["families"]
    for checkpoint in family["checkpoints"]
    if "quantization" in checkpoint
]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 300),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.integers(-3, 300), st.text(max_size=3), st.none()), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
GPUS = st.sampled_from(sorted(gpus()))


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The paths of every field, nested ones too."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [deep for key, one in inner for deep in places(one, (*path, key))]


def put(config: Any, path: tuple[Any, ...], value: object) -> None:
    for key in path[:-1]:
        config = config[key]
    config[path[-1]] = value


def answer(config: dict[str, Any], gpu: str, count: int | None) -> str:
    """The plan's first reason, or why there is none."""
    try:
        return plan(spec_from_config(config, "broken"), load_gpu(gpu), Request(count=count)).reasons[0]
    except InvalidInput as error:
        return str(error)


@given(config=st.sampled_from(CONFIGS), data=st.data(), gpu=GPUS, count=st.sampled_from([None, 1, 8, 16]))
@settings(max_examples=400, deadline=None)
def test_a_plan_or_one_line(config: dict[str, Any], data: st.DataObject, gpu: str, count: int | None) -> None:
    broken = copy.deepcopy(json.loads(json.dumps(config)))
    for _ in range(data.draw(st.integers(1, 2))):
        put(broken, data.draw(st.sampled_from(places(broken))), data.draw(JUNK))
    told = answer(broken, gpu, count)
    assert told
    assert "\n" not in told

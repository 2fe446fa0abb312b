"""Every model of the catalog on every GPU that holds it: the launch lines, checked by the engines themselves."""

from functools import cache
from typing import Any

import pytest

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model
from moestro.catalog.files import load
from moestro.catalog.models import entries
from moestro.errors import InvalidInput
from moestro.planning.layout import Wanted
from moestro.planning.plan import Plan
from moestro.planning.planner import Request, plan
from moestro.serving import sglang, vllm
from moestro.serving.launch import Endpoint, Node
from tests.contract.serving.oracles import Verdict, ask_sglang, ask_vllm

MODELS = list(entries())
GPUS = [name for name in gpus() if name != "cpu"]


def _plans(engine: str) -> dict[str, Plan]:
    """The plans that fit, by ``model on gpu``."""
    found = {}
    for model in MODELS:
        for gpu in GPUS:
            asked = Request(context=4096, concurrency=4, engine=engine)
            one = plan(load_model(model), load_gpu(gpu), asked, matrix=decision_matrix(), explain=False)
            if one.memory.fits:
                found[f"{model} on {gpu}"] = one
    return found


def _nodes(one: Plan) -> list[Node]:
    count = one.layout.nodes
    return [Node(rank, count, "10.0.0.1", f"10.0.0.{rank + 1}") for rank in range(count)]


def _endpoint(one: Plan) -> Endpoint:
    return Endpoint(one.model, one.model, certificate="/etc/e.crt", private_key="/etc/e.key")


def _config(model: str) -> dict[str, Any]:
    """The model's config.json as the catalog has it; of a multimodal model its language part, which needs no images."""
    entry = entries()[model]
    config = dict(entry.parent["config"])
    if "text_config" in config:
        config = {**config["text_config"], "architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text"}
    if "max_position_embeddings" in entry.raw:
        config["max_position_embeddings"] = entry.raw["max_position_embeddings"]
    return config


@cache
def _vllm() -> tuple[dict[str, Plan], dict[str, Verdict]]:
    plans, checked = _plans("vllm"), set[tuple[str, object]]()
    lines: list[dict[str, Any]] = [_impossible()]
    for name, one in plans.items():
        for node in _nodes(one):
            line = {"name": f"{name} #{node.rank}", "argv": vllm.render(one, _endpoint(one), node).argv[2:]}
            shape = (entries()[name.split(" on ")[0]].family, one.layout)
            if shape not in checked:  # the rules are of the architecture and the layout, not of the checkpoint
                checked.add(shape)
                line["config"] = _config(name.split(" on ")[0])
            lines.append(line)
    return plans, ask_vllm(lines)


def _impossible() -> dict[str, Any]:
    """What vLLM must refuse, so that silence is not taken for consent: TP 8 over 28 heads."""
    argv = ["m", "--tensor-parallel-size", "8", "--max-model-len", "4096"]
    return {"name": "impossible", "argv": argv, "config": _config("qwen2-57b-a14b")}


def test_every_model_has_a_plan() -> None:
    assert {name.split(" on ")[0] for name in _plans("vllm")} == set(MODELS)


@pytest.mark.docker
@pytest.mark.parametrize("model", MODELS)
def test_vllm_accepts_every_plan(model: str) -> None:
    plans, verdicts = _vllm()
    mine = {name: one for name, one in verdicts.items() if name.startswith(f"{model} on ")}
    assert mine
    assert {name: one.error for name, one in mine.items() if one.error} == {}
    for name, one in plans.items():
        if name.startswith(f"{model} on "):
            parsed = verdicts[f"{name} #0"].parsed
            layout = one.layout
            sizes = [parsed[f"{kind}_parallel_size"] for kind in ("tensor", "pipeline", "data")]
            assert sizes == [layout.tp, layout.pp, layout.dp]
            assert parsed["enable_expert_parallel"] == layout.ep


@pytest.mark.docker
def test_vllm_refuses_what_the_planner_refuses() -> None:
    assert "divisible by tensor parallel size (8)" in (_vllm()[1]["impossible"].error or "")
    refused = plan(load_model("qwen2-57b-a14b"), load_gpu("H100_SXM5"), Request(count=8, wanted=Wanted(tp=8)))
    assert not refused.memory.fits


def test_sglang_accepts_every_plan() -> None:
    lines = []
    for name, one in _plans("sglang").items():
        for node in _nodes(one):
            lines.append({"name": f"{name} #{node.rank}", "argv": sglang.render(one, _endpoint(one), node).argv[2:]})
    verdicts = ask_sglang(lines)
    assert len(verdicts) == len(lines) > len(MODELS)
    assert {name: one.error for name, one in verdicts.items() if one.error} == {}


def test_sglang_refuses_the_sandbox_device() -> None:
    one = plan(load_model("mixtral-8x7b"), load_gpu("cpu"), Request(engine="sglang", context=512))
    with pytest.raises(InvalidInput, match="CUDA GPUs only"):
        sglang.render(one, _endpoint(one))


def test_catalog_configurations_are_what_vllm_is_given() -> None:
    assert {entry["family"] for entry in load("models.yaml")["families"]} == {one.family for one in entries().values()}

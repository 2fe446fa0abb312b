"""Plans for the renderers' tests: figures of DeepSeek V3.2 on 8x H200, changed where a test needs it."""

from dataclasses import replace
from typing import Any

from moestro.planning.plan import Cost, EngineChoice, Layout, Memory, Plan
from moestro.serving.launch import Endpoint, Launch, Node

ENDPOINT = Endpoint(model_path="/var/lib/moestro/weights/m", served_name="m")
TLS_ENDPOINT = replace(ENDPOINT, certificate="/etc/moestro/e.crt", private_key="/etc/moestro/e.key")
MUTUAL_ENDPOINT = replace(TLS_ENDPOINT, authority="/etc/moestro/ca.crt")
SECOND = Node(rank=1, count=2, leader_address="10.0.0.1", own_address="10.0.0.2", network_interface="eth1")
FIRST = replace(SECOND, rank=0, own_address="10.0.0.1")

MEMORY = Memory(
    weights_gib_per_gpu=(80.4,),
    kv_bytes_per_token_per_gpu=48068,
    kv_tokens=800_000,
    overhead_gib_per_gpu=8.0,
    usable_gib_per_gpu=125.83,
    fits=True,
    labels={},
)
COST = Cost(usd_per_hour=30.0, usd_per_month=21900.0, usd_per_million_tokens=None, purchase="on-demand", labels={})


def plan(layout: Layout | None = None, **engine: Any) -> Plan:
    """A plan with this layout (TP 8 by default) and these engine choices."""
    layout = layout or Layout(tp=8, ep=True)
    choice = EngineChoice(**{"use_deep_gemm": True, "max_model_len": 32768, **engine})
    return Plan("deepseek-ai/DeepSeek-V3.2", None, "H200 SXM5", layout.gpus, layout, MEMORY, choice, COST, ("test",))


def value(launch: Launch, flag: str) -> str | None:
    """What follows ``flag`` in the argv, or None where the flag is missing."""
    return launch.argv[launch.argv.index(flag) + 1] if flag in launch.argv else None

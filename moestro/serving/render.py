"""One door to the launch renderers: the plan says which engine."""

from moestro.errors import InvalidInput
from moestro.planning.plan import Plan
from moestro.serving import sglang, vllm
from moestro.serving.arguments import ONLY_NODE
from moestro.serving.launch import Endpoint, Launch, Node

_RENDERERS = {"vllm": vllm.render, "sglang": sglang.render}


def render(plan: Plan, endpoint: Endpoint, node: Node = ONLY_NODE, program: str | None = None) -> Launch:
    """The argv and environment of one engine process of this plan.

    Raises:
        InvalidInput: the plan's engine is unknown, or has no equivalent for something the plan needs.
    """
    renderer = _RENDERERS.get(plan.engine.engine)
    if renderer is None:
        raise InvalidInput(f"engine '{plan.engine.engine}' is unknown: use {' or '.join(_RENDERERS)}")
    return renderer(plan, endpoint, node, program or plan.engine.engine)

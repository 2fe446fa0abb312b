"""What the stack says about itself when it is up."""

import asyncio
import contextlib
import dataclasses
import json
import operator
import shlex
from collections.abc import Mapping
from typing import Any

import grpc
import pulumi
from pulumi import Output
from pulumi.runtime import rpc
from pulumi.runtime.proto.resource_pb2 import RegisterResourceOutputsRequest
from pulumi.runtime.settings import get_monitor, get_root_resource

from components.replica import endpoint_of, served_name
from moestro.hosts.layout import weights_path
from moestro.planning.plan import Plan
from moestro.serving.render import render
from moestro.settings import Settings


def export(early: Mapping[str, Any], late: Mapping[str, Any]) -> None:
    """Export all of these; the ``early`` ones are kept even when the program ends before the ``late`` ones are known.

    Pulumi takes a stack's outputs in one piece, when every one of them is known: an engine that fails would cost the
    address of the gateway, which serves all the same. So the early ones are registered on their own first.
    """
    registered: Output[bool] = Output.from_input(_registered(early))
    for name, value in early.items():
        pulumi.export(name, value)
    for name, value in late.items():
        pulumi.export(name, Output.all(value, registered).apply(operator.itemgetter(0)))  # never before the early ones


async def _registered(outputs: Mapping[str, Any]) -> bool:
    stack, monitor = get_root_resource(), get_monitor()
    if stack is None or monitor is None or pulumi.runtime.is_dry_run():
        return False
    urn = await stack.urn.future() or ""
    request = RegisterResourceOutputsRequest(urn=urn, outputs=await rpc.serialize_properties(dict(outputs), {}))
    with contextlib.suppress(grpc.RpcError):  # the engine stopped: what it has to say of that, it says itself
        await asyncio.get_running_loop().run_in_executor(None, monitor.RegisterResourceOutputs, request)
    return True


def curl(endpoint: Output[str], stack: str, settings: Settings, plan: Plan) -> Output[str]:
    """A completion request ready to paste into a shell; the key is read from the state when it runs."""
    body = json.dumps({"model": served_name(settings, plan), "prompt": "Mixture of Experts means", "max_tokens": 16})
    key = f'"Authorization: Bearer $(pulumi stack output apiKey --show-secrets -s {stack})"'
    return Output.concat(
        "curl -sS ", endpoint, f"/v1/completions -H {key} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )


def plan_summary(settings: Settings, plan: Plan) -> dict[str, Any]:
    """The plan in JSON's terms, with the launch line of a replica as far as it is known before a host is."""
    summary: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(plan)))
    revision = settings.model.revision or plan.revision
    launch = render(plan, endpoint_of(settings, plan, weights_path(plan.model, revision)))
    return summary | {"layoutText": str(plan.layout), "launch": {"argv": list(launch.argv), "env": launch.env}}

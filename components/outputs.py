"""What the stack says about itself when it is up."""

import dataclasses
import json
import shlex
from typing import Any

from pulumi import Output

from components.replica import endpoint_of, served_name
from moestro.hosts.layout import weights_path
from moestro.planning.plan import Plan
from moestro.serving.render import render
from moestro.settings import Settings


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

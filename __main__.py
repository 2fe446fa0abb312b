"""The Pulumi program: what the stack declares becomes a plan, and the plan becomes a service."""

import pulumi
from pulumi.runtime import get_config_env, get_config_secret_keys_env

from components.inference_service import InferenceService
from components.outputs import curl, export, plan_summary
from moestro.declaration import plan_for
from moestro.errors import MoestroError
from moestro.settings import in_the_clear, parse_settings


def main() -> None:
    """Declare the stack; a mistake in it is one readable message, not a traceback."""
    try:
        settings = parse_settings(get_config_env())
        plan = plan_for(settings)
    except MoestroError as error:
        raise pulumi.RunError(str(error)) from None
    for key in in_the_clear(settings, get_config_secret_keys_env()):
        pulumi.warn(f"{key} is readable in the stack's file: encrypt it, `pulumi config set --secret --path '{key}'`")
    service = InferenceService(settings.name, settings, plan)
    early = {
        "endpoint": service.endpoint,
        "curl": curl(service.endpoint, pulumi.get_stack(), settings, plan),
        "apiKey": next(iter(service.api_keys.values())),
        "apiKeys": service.api_keys,
        "usdPerHour": service.usd_per_hour,
        "plan": plan_summary(settings, plan),
    }
    export(early, late={"replicas": service.replicas})


main()

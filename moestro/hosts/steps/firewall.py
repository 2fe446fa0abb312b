"""Who may reach a TCP port where the image comes with an active ufw, as many GPU clouds' images do (only SSH is open).

Without an active firewall there is nothing to open. What protects vLLM's port everywhere is that it demands a client
certificate; these rules are the second wall. SGLang demands none: besides its API key they alone keep others out.
"""

import ipaddress
from collections.abc import Sequence

from moestro.errors import InvalidInput
from moestro.hosts.facts import Facts
from moestro.hosts.steps import Command, Reason, Step, nothing

ACTIVE = "ufw"  # what the facts name where it is active


def open_port(facts: Facts, port: int, sources: Sequence[str] = ()) -> Step:
    """Let ``sources`` (addresses or networks; empty: everybody) reach ``port``. ufw goes on refusing the others."""
    return _rules(facts, "allow", port, sources, f"let {', '.join(sources) or 'everybody'} reach port {port}")


def close_port(facts: Facts, port: int, sources: Sequence[str] = ()) -> Step:
    """Take back the rules of :func:`open_port` with the same arguments."""
    return _rules(facts, "delete allow", port, sources, f"close port {port}")


def _rules(facts: Facts, verb: str, port: int, sources: Sequence[str], why: str) -> Step:
    networks = [_network(source) for source in sources] or ["any"]
    if facts.firewall != ACTIVE:
        return nothing("firewall", Reason.NOT_APPLICABLE, "ufw is not active")
    lines = [f"ufw {verb} proto tcp from {network} to any port {port}\n" for network in networks]
    return Step("firewall", (Command("".join(lines), why),))


def _network(source: str) -> str:
    try:
        return str(ipaddress.ip_network(source, strict=False))
    except ValueError:
        raise InvalidInput(f"{source!r} is neither an IP address nor a network") from None

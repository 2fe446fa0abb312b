"""Who may reach a TCP port where the image comes with an active ufw, as many GPU clouds' images do (only SSH is open).

Without an active firewall there is nothing to open. What protects vLLM's port everywhere is that it demands a client
certificate; these rules are the second wall. SGLang demands none: besides its API key they alone keep others out.

Every rule carries its owner (a unit's name) as ufw's comment. So a changed port or a changed visitor closes what was
open before, and rules of other people are neither taken over nor taken away.
"""

import ipaddress
from collections.abc import Sequence

from moestro.errors import InvalidInput
from moestro.hosts.facts import Facts
from moestro.hosts.scripts import script
from moestro.hosts.steps import Command, Reason, Step, nothing

ACTIVE = "ufw"  # what the facts name where it is active


def let_in(facts: Facts, owner: str, port: int, sources: Sequence[str] = ()) -> Step:
    """Let ``sources`` (addresses or networks; empty: everybody) reach ``port``, and end what the owner had open before.

    Raises:
        InvalidInput: a source is neither an address nor a network.
    """
    rules = [_rule(source, port) for source in sources] or [f"ufw allow {port}/tcp"]
    return _rules(facts, owner, rules, f"let {', '.join(sources) or 'everybody'} reach port {port}")


def keep_out(facts: Facts, owner: str) -> Step:
    """End everything that the owner had open."""
    return _rules(facts, owner, [], f"close what {owner} had open")


def _rules(facts: Facts, owner: str, rules: Sequence[str], why: str) -> Step:
    if facts.firewall != ACTIVE:
        return nothing("firewall", Reason.NOT_APPLICABLE, "ufw is not active")
    return Step("firewall", (Command(script("firewall_rules", owner, *rules), why),))


def _rule(source: str, port: int) -> str:
    """The rule as ``ufw show added`` writes it."""
    try:
        network = ipaddress.ip_network(source, strict=False)
    except ValueError:
        raise InvalidInput(f"{source!r} is neither an IP address nor a network") from None
    shown = network.network_address if network.num_addresses == 1 else network
    return f"ufw allow from {shown} to any port {port} proto tcp"

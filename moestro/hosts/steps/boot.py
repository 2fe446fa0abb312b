"""The first boot: cloud-init may still be writing sources, users and disks while sshd already answers."""

from moestro.hosts.facts import Facts
from moestro.hosts.steps import Command, Reason, Step, nothing

CLOUD_INIT_SECONDS = 1200.0


def finish_boot(facts: Facts) -> Step:
    """Wait for cloud-init. Its failure is not ours: what matters is checked by the steps that follow."""
    if facts.cloud_init is None:
        return nothing("boot", Reason.NOT_APPLICABLE, "no cloud-init")
    if facts.cloud_init != "running":
        return nothing("boot", Reason.PRESENT, f"cloud-init is {facts.cloud_init}")
    script = "cloud-init status --wait || true\n"
    return Step("boot", (Command(script, "wait for cloud-init", CLOUD_INIT_SECONDS, detached=True),))

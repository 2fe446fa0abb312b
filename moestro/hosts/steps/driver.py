"""The NVIDIA driver: CUDA 13, which today's engines are built for, needs branch 580 or later."""

from moestro.errors import HostError
from moestro.hosts.facts import Facts
from moestro.hosts.steps import Command, Reason, Step, nothing
from moestro.hosts.steps.packages import apt_install, dpkg

MINIMUM_BRANCH = 580  # NVIDIA, CUDA 13.0 release notes, table of minimum driver versions
INSTALL_SECONDS = 2400.0

_CONTAINERS = {"docker", "lxc", "lxc-libvirt", "podman", "container-other", "systemd-nspawn", "openvz"}
_NVIDIA_REPOSITORY = "https://developer.download.nvidia.com/compute/cuda/repos"


def install_driver(facts: Facts, device: str) -> Step:
    """Bring the driver to :data:`MINIMUM_BRANCH` or later; restart the host where the loaded module is another one.

    Raises:
        HostError: the host has no NVIDIA GPU, or one that is split, or nobody can install a driver from inside it.
    """
    if device != "cuda":
        return nothing("driver", Reason.NOT_APPLICABLE, f"device {device}")
    split = [gpu.name for gpu in facts.gpus if gpu.mig]
    if split:
        raise HostError(
            f"{len(split)} x {split[0]} of this host are split by MIG, and an engine would see one slice: "
            "run 'nvidia-smi -mig 0' as root there, or choose an offer of whole GPUs"
        )
    if facts.gpus and branch(facts.driver_version) >= MINIMUM_BRANCH:
        return nothing("driver", Reason.PRESENT, f"{facts.driver_version}, {len(facts.gpus)} x {facts.gpus[0].name}")
    if not facts.gpus and not facts.nvidia_devices:
        raise HostError('this host has no NVIDIA GPU; rent one with a GPU, or declare device "cpu"')
    if facts.virtualization in _CONTAINERS:
        present = facts.driver_version or facts.driver_error or "none"
        raise HostError(
            f"this host is a container, its driver ({present}) belongs to the machine under it: "
            f"choose an offer whose driver is {MINIMUM_BRANCH} or later"
        )
    if _waits_for_restart(facts):
        return Step("driver", reboot=True)
    why = f"install NVIDIA driver {MINIMUM_BRANCH} (now: {facts.driver_version or 'none'})"
    return Step("driver", (Command(_script(facts), why, INSTALL_SECONDS, detached=True),), reboot=True)


def branch(version: str | None) -> int:
    """The driver branch, 580 of "580.126.09"; 0 where there is no version."""
    head = (version or "").partition(".")[0]
    return int(head) if head.isdigit() else 0


def _waits_for_restart(facts: Facts) -> bool:
    """A new enough driver is installed but not the one that is loaded, as after an unattended upgrade."""
    return "version mismatch" in (facts.driver_error or "") and _installed_branch(facts) >= MINIMUM_BRANCH


def _installed_branch(facts: Facts) -> int:
    versions = [version for name, version in facts.packages.items() if name.startswith("libnvidia-compute")]
    return max((branch(version.partition(":")[2] or version) for version in versions), default=0)


def _script(facts: Facts) -> str:
    # A driver from NVIDIA's own installer would shadow the packages.
    lines = "if [ -x /usr/bin/nvidia-uninstall ]; then /usr/bin/nvidia-uninstall --silent || true; fi\n"
    if facts.os_id == "ubuntu" and not facts.has("cuda-keyring"):
        return lines + apt_install(facts, _ubuntu_packages(facts)) + _services(facts)
    return lines + _nvidia_repository(facts) + apt_install(facts, _nvidia_packages(facts)) + _services(facts)


def _ubuntu_packages(facts: Facts) -> list[str]:
    names = [
        f"linux-headers-{facts.kernel}",
        f"nvidia-headless-{MINIMUM_BRANCH}-server-open",
        f"nvidia-utils-{MINIMUM_BRANCH}-server",
    ]
    return names + ([f"nvidia-fabricmanager-{MINIMUM_BRANCH}"] if facts.nvswitches else [])


def _nvidia_packages(facts: Facts) -> list[str]:
    return [f"linux-headers-{facts.kernel}", "nvidia-open"] + (["nvidia-fabricmanager"] if facts.nvswitches else [])


def _nvidia_repository(facts: Facts) -> str:
    if facts.has("cuda-keyring"):
        return ""
    system = f"{facts.os_id}{facts.os_version.replace('.', '')}"
    arch = {"aarch64": "sbsa"}.get(facts.arch, facts.arch)
    url = f"{_NVIDIA_REPOSITORY}/{system}/{arch}/cuda-keyring_1.1-1_all.deb"
    return (
        apt_install(facts, ["ca-certificates", "curl"])
        + f"curl -fsSL --retry 3 -o /tmp/cuda-keyring.deb {url}\n{dpkg('-i /tmp/cuda-keyring.deb')}"
        + "rm -f /tmp/cuda-keyring.deb\n"
    )


def _services(facts: Facts) -> str:
    # Without its fabric manager an NVSwitch machine shows its GPUs but CUDA cannot use them.
    return "systemctl enable nvidia-fabricmanager\n" if facts.nvswitches else ""

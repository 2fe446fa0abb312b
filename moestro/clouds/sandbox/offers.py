"""What the sandbox has to rent: this machine, said truthfully."""

import os
import shutil

TEAM_ID = "sandbox-team"
TEAM_NAME = "Sandbox"
GPU_TYPE = "CPU"
IMAGE = "Debian 12 with vLLM for CPU"
PLACES = {"sandbox": ("local-1", "local-2"), "sandbox-annex": ("local-3",)}
INSTANCE_TYPES = ("DEDICATED", "SPOT")


def providers() -> list[str]:
    """Provider ids."""
    return list(PLACES)


def offers(instance_type: str | None = None) -> list[dict[str, object]]:
    """Every offer in the contract's form. The filter works on groups, as the real cloud's does.

    There is one group and it has both instance types, so filtering by either leaves everything in place.
    """
    if instance_type not in {None, *INSTANCE_TYPES}:
        return []
    return [_offer(provider, regions, kind) for provider, regions in PLACES.items() for kind in INSTANCE_TYPES]


def group(instance_type: str | None = None) -> dict[str, object] | None:
    """The catalogue's one group, or ``None`` where the filter leaves nothing."""
    found = offers(instance_type)
    if not found:
        return None
    return {
        "gpuType": GPU_TYPE,
        "gpuModel": "none",
        "displayName": "CPU only",
        "popularity": 1,
        "totalAvailable": len(found),
        "lowestPrice": 0.0,
        "highestPrice": 0.0,
        "averagePrice": 0.0,
        "providers": providers(),
        "offers": found,
    }


def machine() -> dict[str, int]:
    """CPUs, memory and disk of this machine, which every host of the sandbox shares (GB are 10^9 bytes)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "vcpus": os.cpu_count() or 1,
        "memory": memory // 10**9,
        "storage": shutil.disk_usage("/").total // 10**9,
    }


def _offer(provider: str, regions: tuple[str, ...], kind: str) -> dict[str, object]:
    facts = machine()
    return {
        "provider": provider,
        # Real ids hold spaces and colons too.
        "offerId": f"{provider} {kind.lower()}::cpu-{facts['vcpus']}vcpu-{facts['memory']}gb",
        "name": "Docker host",
        "description": "A Linux container with systemd and sshd on this machine; it has no GPU",
        **facts,
        "gpuCount": 1,
        "gpu_memory": 0,
        "price": 0.0,
        **({"spot_price": 0.0} if kind == "SPOT" else {}),
        "available": True,
        "maintenance": False,
        "clusters": list(regions),
        "os_options": [IMAGE],
        "instanceType": kind,
        "supportsCloudInit": False,
        "supportsPause": False,
    }

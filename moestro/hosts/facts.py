"""What a host is and has, learned in one round trip. The script prints sections; a pure function reads them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from moestro.errors import HostError
from moestro.hosts.scripts import script
from moestro.hosts.ssh import Host

GATHER_SECONDS = 120.0  # nvidia-smi without persistence mode takes seconds a GPU


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU as nvidia-smi reports it; memory in MiB. With ``mig`` it is split, and programs see one slice."""

    name: str
    memory_mib: int
    compute_capability: str | None = None
    mig: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit of ours."""

    name: str
    active: str  # active, activating, inactive, failed, ...
    sub: str  # running, dead, auto-restart, ...


@dataclass(frozen=True, slots=True)
class Engine:
    """An installed inference engine: ``root`` is its virtual environment, ``ours`` whether Moestro put it there."""

    root: str
    name: str
    version: str
    ours: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """A host's properties at one moment. Memory and disk in GiB (2**30 bytes)."""

    os_id: str
    os_version: str
    os_name: str
    arch: str
    kernel: str
    cpus: int
    memory_gib: float
    disk_free_gib: float
    virtualization: str  # "none" on bare metal, else kvm, docker, ...
    boot_id: str
    nvidia_devices: int = 0  # on the PCI bus, with or without a driver
    nvswitches: int = 0  # on the PCI bus
    gpus: tuple[Gpu, ...] = ()
    driver_version: str | None = None  # of the loaded kernel module
    driver_error: str | None = None  # what nvidia-smi said when it failed
    cuda_version: str | None = None  # the newest CUDA that the driver supports
    all_nvlink: bool | None = None  # whether every pair of GPUs is joined by NVLink; None with less than two
    units: tuple[Unit, ...] = ()
    engines: tuple[Engine, ...] = ()
    engine_link: str | None = None  # which of our installed engines is in use
    python: str | None = None
    nvcc: str | None = None  # the toolkit's version
    apt_locked: bool = False
    cloud_init: str | None = None  # done, running, error, disabled; None where it is not installed
    reboot_required: bool = False
    firewall: str | None = None  # "ufw" where it is active, else "nft" where that is installed
    packages: Mapping[str, str] = field(default_factory=dict, repr=False)  # installed, with their versions

    def has(self, *packages: str) -> bool:
        """Whether all these Debian packages are installed."""
        return all(name in self.packages for name in packages)


def gather(host: Host) -> Facts:
    """The host's facts, in one command.

    Raises:
        CommandFailed: the host cannot run the script.
        HostError: the host answers something that is no such report.
    """
    return parse(host.run(script("facts"), timeout=GATHER_SECONDS).stdout)


def parse(report: str) -> Facts:
    """Read what the script printed."""
    sections = _sections(report)
    system = _pairs(sections["os"])
    smi = sections["nvidia-smi"]
    gpus = _gpus(sections["gpus"])
    return Facts(
        os_id=system.get("ID", "unknown"),
        os_version=system.get("VERSION_ID", ""),
        os_name=system.get("PRETTY_NAME", system.get("ID", "unknown")),
        arch=sections["arch"],
        kernel=sections["kernel"],
        cpus=int(sections["cpus"]),
        memory_gib=_first_number(sections["memory"]) / 2**20,
        disk_free_gib=_first_number(sections["disk"]) / 2**30,
        virtualization=sections["virtualization"] or "none",
        boot_id=sections["boot"],
        nvidia_devices=_pci_count(sections["pci"], "30[02]"),
        nvswitches=_pci_count(sections["pci"], "680"),
        gpus=gpus,
        driver_version=_driver(sections["driver"], sections["gpus"]),
        driver_error=_driver_error(sections["gpus"]),
        cuda_version=_match(r"CUDA (?:UMD )?Version\s*:\s*([\d.]+)", smi),
        all_nvlink=all_nvlink(sections["topology"], len(gpus)),
        units=_units(sections["units"]),
        engines=_engines(sections["engines"]),
        engine_link=sections["engine-link"] or None,
        python=_match(r"Python (\S+)", sections["python"]),
        nvcc=_match(r"release ([\d.]+)", sections["nvcc"]),
        apt_locked=sections["apt-lock"] == "held",
        cloud_init=_match(r"status: (\w+)", sections["cloud-init"]),
        reboot_required=sections["reboot"] == "required",
        firewall=sections["firewall"] or None,
        packages=dict(line.split(" ", 1) for line in sections["packages"].splitlines() if " " in line),
    )


def all_nvlink(topology: str, gpus: int) -> bool | None:
    """Whether the matrix of ``nvidia-smi topo -m`` shows NVLink (NV1, NV18, ...) between every pair of GPUs."""
    if gpus < 2:
        return None
    rows = [line.split()[1 : 1 + gpus] for line in topology.splitlines() if re.match(r"\s*GPU\d+\s+(X|NV|[A-Z])", line)]
    rows = [row for row in rows if "X" in row]
    if len(rows) != gpus:
        return None
    return all(cell == "X" or re.fullmatch(r"NV\d+", cell) for row in rows for cell in row)


def _sections(report: str) -> "_Sections":
    found = _Sections()
    name = None
    for line in report.splitlines():
        if line.startswith("==moestro== "):
            name = line.removeprefix("==moestro== ").strip()
            found[name] = ""
        elif name is not None:
            found[name] += line + "\n"
    return _Sections({key: text.strip() for key, text in found.items()})


class _Sections(dict[str, str]):
    def __missing__(self, name: str) -> str:
        raise HostError(f"the host's report lacks the section {name!r}; it ended after {list(self)[-1:]}")


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value.strip("\"'") for key, _, value in pairs}


def _gpus(text: str) -> tuple[Gpu, ...]:
    rows = [row for row in map(_row, text.splitlines()) if row and row[1].isdigit()]
    return tuple(Gpu(row[0], int(row[1]), row[3], row[4] == "Enabled") for row in rows)


def _driver(module: str, gpus: str) -> str | None:
    loaded = _match(r"Kernel Module(?: for \S+)?\s+(\d+[\d.]+)", module)
    rows = [row for row in map(_row, gpus.splitlines()) if row]
    return loaded or (rows[0][2] if rows else None)


def _driver_error(gpus: str) -> str | None:
    said = [line for line in gpus.splitlines() if not _row(line)]
    return " ".join(said) or None


def _row(line: str) -> list[str] | None:
    """Name, memory, driver, compute capability and MIG mode of a GPU; None where nvidia-smi says something else."""
    cells = [cell.strip() for cell in line.split(",")]
    return cells if len(cells) == 5 else None


def _units(text: str) -> tuple[Unit, ...]:
    rows = (line.replace("●", " ").split(None, 4) for line in text.splitlines())
    return tuple(Unit(row[0], row[2], row[3]) for row in rows if len(row) >= 4)


def _engines(text: str) -> tuple[Engine, ...]:
    rows = (line.split("\t") for line in text.splitlines())
    return tuple(Engine(row[0], row[1], row[2], row[3] == "ours") for row in rows if len(row) == 4)


def _pci_count(text: str, device_class: str) -> int:
    """NVIDIA devices of a PCI class: 300 display, 302 3D controller, 680 bridge (NVSwitch)."""
    return len(re.findall(rf"^{device_class}\d\d 10DE:", text, re.MULTILINE | re.IGNORECASE))


def _first_number(text: str) -> float:
    found = re.search(r"\d+", text)
    return float(found.group()) if found else 0.0


def _match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1) if found else None

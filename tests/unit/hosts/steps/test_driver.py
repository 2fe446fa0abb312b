from dataclasses import replace

import pytest

from moestro.errors import HostError
from moestro.hosts.steps import Reason
from moestro.hosts.steps.driver import branch, install_driver
from tests.unit.hosts.test_facts import recorded

H200 = recorded("ubuntu-2204-8xh200")
BARE = recorded("ubuntu-2204-no-driver")
OLD = recorded("ubuntu-2204-2x4090-pcie")
MISMATCH = recorded("ubuntu-2404-driver-mismatch")


def test_a_cpu_device_needs_no_driver() -> None:
    step = install_driver(recorded("sandbox-debian-12"), "cpu")
    assert step.noop is not None
    assert step.noop.reason is Reason.NOT_APPLICABLE


def test_a_new_enough_driver_stays() -> None:
    step = install_driver(H200, "cuda")
    assert not step.needed
    assert str(step.noop) == "already there: 580.126.09, 8 x NVIDIA H200"


def test_ubuntu_gets_its_own_packages_and_the_fabric_manager_for_nvswitch() -> None:
    step = install_driver(BARE, "cuda")
    script = step.commands[0].script
    assert step.reboot
    assert step.commands[0].detached
    assert "linux-headers-5.15.0-157-generic nvidia-headless-580-server-open nvidia-utils-580-server" in script
    assert "nvidia-fabricmanager-580" in script
    assert script.rstrip().endswith("systemctl enable nvidia-fabricmanager")
    assert "download.nvidia.com" not in script


def test_no_fabric_manager_without_nvswitch() -> None:
    assert "fabricmanager" not in install_driver(OLD, "cuda").commands[0].script


def test_an_old_driver_is_replaced() -> None:
    step = install_driver(OLD, "cuda")
    assert step.commands[0].why == "install NVIDIA driver 580 (now: 570.195.03)"
    assert "nvidia-uninstall" in step.commands[0].script


@pytest.mark.parametrize(
    ("os_id", "os_version", "arch", "path"),
    [("debian", "12", "x86_64", "debian12/x86_64"), ("debian", "13", "aarch64", "debian13/sbsa")],
)
def test_debian_gets_nvidias_packages(os_id: str, os_version: str, arch: str, path: str) -> None:
    facts = replace(BARE, os_id=os_id, os_version=os_version, arch=arch)
    script = install_driver(facts, "cuda").commands[0].script
    assert f"/repos/{path}/cuda-keyring_1.1-1_all.deb" in script
    assert "nvidia-open nvidia-fabricmanager" in script


def test_a_host_that_uses_nvidias_repository_keeps_to_it() -> None:
    facts = replace(OLD, packages={**OLD.packages, "cuda-keyring": "1.1-1"})
    script = install_driver(facts, "cuda").commands[0].script
    assert "nvidia-open" in script
    assert "nvidia-headless" not in script
    assert "curl" not in script


def test_a_mismatch_with_a_new_enough_driver_on_disk_only_needs_a_restart() -> None:
    step = install_driver(MISMATCH, "cuda")
    assert step.reboot
    assert step.commands == ()
    assert step.needed


def test_a_mismatch_with_an_old_driver_on_disk_needs_the_new_one() -> None:
    facts = replace(MISMATCH, packages={"libnvidia-compute-550-server": "550.163.01-0ubuntu0.24.04.1"})
    assert install_driver(facts, "cuda").commands


def test_no_gpu_at_all() -> None:
    with pytest.raises(HostError, match="no NVIDIA GPU"):
        install_driver(recorded("sandbox-debian-12"), "cuda")


def test_split_gpus_are_refused() -> None:
    split = tuple(replace(gpu, mig=True) for gpu in H200.gpus[:2])
    with pytest.raises(HostError, match="2 x NVIDIA H200 of this host are split by MIG"):
        install_driver(replace(H200, gpus=(*split, *H200.gpus[2:])), "cuda")


def test_a_container_cannot_get_a_driver() -> None:
    with pytest.raises(HostError, match=r"container, its driver \(570\.195\.03\)"):
        install_driver(replace(OLD, virtualization="docker"), "cuda")


def test_a_container_with_a_good_driver_is_fine() -> None:
    assert not install_driver(replace(H200, virtualization="docker"), "cuda").needed


@pytest.mark.parametrize(
    ("version", "expected"), [("580.126.09", 580), ("1:575.57-1", 0), (None, 0), ("", 0), ("590", 590)]
)
def test_branch(version: str | None, expected: int) -> None:
    assert branch(version) == expected

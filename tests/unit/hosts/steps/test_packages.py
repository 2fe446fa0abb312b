from dataclasses import replace

import pytest

from moestro.hosts.steps import Reason
from moestro.hosts.steps.boot import finish_boot
from moestro.hosts.steps.packages import install_packages
from tests.unit.hosts.test_facts import recorded

DEBIAN = recorded("sandbox-debian-12")


class TestInstallPackages:
    def test_nothing_is_asked_for(self) -> None:
        step = install_packages(DEBIAN, [])
        assert step.noop is not None
        assert step.noop.reason is Reason.NOT_ASKED

    def test_everything_is_there(self) -> None:
        step = install_packages(DEBIAN, ["libnuma1", "curl"])
        assert not step.needed
        assert str(step.noop) == "already there: curl, libnuma1"

    def test_only_what_is_missing_is_installed(self) -> None:
        (command,) = install_packages(DEBIAN, ["libnuma1", "nginx", "build-essential", "nginx"]).commands
        assert command.script.rstrip().endswith("install build-essential nginx")
        assert "libnuma1" not in command.script
        assert command.detached
        assert command.why == "install build-essential, nginx"

    def test_locks_of_others_are_waited_for(self) -> None:
        (command,) = install_packages(DEBIAN, ["nginx"]).commands
        assert "DPkg::Lock::Timeout=600" in command.script
        assert command.script.index("dpkg --configure -a") < command.script.index(" install ")

    def test_a_name_cannot_become_a_command(self) -> None:
        (command,) = install_packages(DEBIAN, ["x; reboot"]).commands
        assert "'x; reboot'" in command.script


class TestFinishBoot:
    @pytest.mark.parametrize("status", [None, "done", "error", "disabled"])
    def test_nothing_to_wait_for(self, status: str | None) -> None:
        assert not finish_boot(replace(DEBIAN, cloud_init=status)).needed

    def test_cloud_init_is_waited_for(self) -> None:
        (command,) = finish_boot(replace(DEBIAN, cloud_init="running")).commands
        assert "cloud-init status --wait" in command.script
        assert command.detached

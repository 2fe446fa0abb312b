import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from moestro.errors import HostError
from moestro.hosts.steps import Reason
from moestro.hosts.steps.boot import finish_boot
from moestro.hosts.steps.packages import apt_install, install_packages
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
        assert " install build-essential nginx; do\n" in command.script
        assert "libnuma1" not in command.script
        assert command.detached
        assert command.why == "install build-essential, nginx"

    def test_a_host_without_debian_packages_is_named(self) -> None:
        rocky = replace(DEBIAN, os_id="rocky", os_name="Rocky Linux 9.6", packages={})
        with pytest.raises(HostError, match=r"runs Rocky Linux 9\.6, .* and nginx must be installed: choose an image"):
            install_packages(rocky, ["nginx"])

    def test_a_name_cannot_become_a_command(self) -> None:
        (command,) = install_packages(DEBIAN, ["x; reboot"]).commands
        assert "'x; reboot'" in command.script


class TestOnAHost:
    """The script, run with stand-ins for apt-get and dpkg that fail as the real ones do, as often as they are told."""

    STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> calls
for what in update install configure; do
  [[ " $* " == *"$what "* || "$* " == *"$what -a "* ]] || continue
  left=$(cat "$what" 2> /dev/null || echo "0 0")
  [ "${left% *}" -gt 0 ] || exit 0
  echo "$((${left% *} - 1)) ${left#* }" > "$what"
  exit "${left#* }"
done
"""

    def run(self, directory: Path, **failures: str) -> tuple[int, list[str]]:
        """``failures``: how often a verb fails, and with which exit status. Gives the exit status and the calls."""
        for name, text in {"apt-get": self.STAND_IN, "dpkg": self.STAND_IN, "sleep": "#!/bin/sh\n"}.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        for verb, often in failures.items():
            (directory / verb).write_text(often)
        script = f"set -eu -o pipefail\n{apt_install(DEBIAN, ['nginx'])}echo next >> calls\n"
        path = f"{directory}:/usr/bin:/bin"
        ran = subprocess.run(["bash", "-c", script], cwd=directory, env={"PATH": path}, capture_output=True, timeout=60)
        calls = (directory / "calls").read_text().splitlines()
        return ran.returncode, [line.replace(" install nginx", "").split()[-1] for line in calls]

    def test_goes_straight_through(self, tmp_path: Path) -> None:
        assert self.run(tmp_path) == (0, ["update", "-a", "Dpkg::Options::=--force-confold", "next"])

    def test_waits_for_the_lock_of_the_lists(self, tmp_path: Path) -> None:
        code, calls = self.run(tmp_path, update="5 100")
        assert (code, calls.count("update")) == (0, 6)

    def test_waits_for_the_lock_of_dpkg_that_unattended_upgrades_hold(self, tmp_path: Path) -> None:
        code, calls = self.run(tmp_path, configure="5 2")
        assert (code, calls.count("-a"), calls[-1]) == (0, 6, "next")

    def test_a_broken_package_is_not_waited_for(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, configure="9 1") == (1, ["update", "-a"])

    def test_a_mirror_that_was_left_out_is_asked_again(self, tmp_path: Path) -> None:
        code, calls = self.run(tmp_path, install="2 100")
        assert (code, calls.count("update"), calls[-1]) == (0, 3, "next")

    @pytest.mark.parametrize("verb", ["update", "install", "configure"])
    def test_gives_up_in_the_end(self, tmp_path: Path, verb: str) -> None:
        code, calls = self.run(tmp_path, **{verb: "1000 2"})
        assert code in (2, 100)
        assert calls[-1] != "next"


class TestFinishBoot:
    @pytest.mark.parametrize("status", [None, "done", "error", "disabled"])
    def test_nothing_to_wait_for(self, status: str | None) -> None:
        assert not finish_boot(replace(DEBIAN, cloud_init=status)).needed

    def test_cloud_init_is_waited_for(self) -> None:
        (command,) = finish_boot(replace(DEBIAN, cloud_init="running")).commands
        assert "cloud-init status --wait" in command.script
        assert command.detached

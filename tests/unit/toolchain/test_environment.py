"""scripts/env: defaults for whoever has nothing, and no change for whoever has something."""

import os
import pwd
import stat
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
SYSTEM_PATH = "/usr/bin:/bin"


def environment(home: Path, times: int = 1, **given: str) -> dict[str, str]:
    """The variables after sourcing scripts/env in a shell that had only these."""
    script = f"{f'. {CHECKOUT}/scripts/env; ' * times} env -0"
    printed = subprocess.run(
        ["bash", "-euc", script],
        env={"HOME": str(home), "PATH": SYSTEM_PATH} | given,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(entry.split("=", 1) for entry in printed.rstrip("\0").split("\0"))


def executable(path: Path, says: str = "v3.999.0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


class TestLocalBackend:
    def test_is_in_the_cache_under_a_passphrase_that_only_the_user_reads(self, tmp_path: Path) -> None:
        found = environment(tmp_path)
        cache = tmp_path / ".cache" / "moestro"
        passphrase = Path(found["PULUMI_CONFIG_PASSPHRASE_FILE"])
        assert found["MOESTRO_CACHE"] == str(cache)
        assert found["PULUMI_BACKEND_URL"] == f"file://{cache}/state"
        assert found["PULUMI_HOME"] == f"{cache}/pulumi"
        assert passphrase.parent == cache
        assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
        assert len(passphrase.read_text()) >= 40

    def test_passphrase_is_made_once(self, tmp_path: Path) -> None:
        first = Path(environment(tmp_path)["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text()
        assert Path(environment(tmp_path)["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text() == first
        assert [each.name for each in (tmp_path / ".cache/moestro").glob("passphrase*")] == ["passphrase"]

    @pytest.mark.parametrize("variable", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
    def test_keeps_a_passphrase_of_the_users(self, tmp_path: Path, variable: str) -> None:
        found = environment(tmp_path, **{variable: "mine"})
        given = {key: value for key, value in found.items() if key.startswith("PULUMI_CONFIG_PASSPHRASE")}
        assert given == {variable: "mine"}

    def test_an_empty_passphrase_is_the_users_choice(self, tmp_path: Path) -> None:
        assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in environment(tmp_path, PULUMI_CONFIG_PASSPHRASE="")

    def test_follows_the_cache_directory(self, tmp_path: Path) -> None:
        found = environment(tmp_path, MOESTRO_CACHE=f"{tmp_path}/elsewhere")
        assert found["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/elsewhere/state"


class TestOwnBackend:
    @pytest.mark.parametrize("variable", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"])
    def test_named_in_the_environment_is_kept(self, tmp_path: Path, variable: str) -> None:
        found = environment(tmp_path, **{variable: "theirs"})
        touched = {"PULUMI_BACKEND_URL", "PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(found) - {variable}
        assert found[variable] == "theirs"
        assert not touched
        assert not (tmp_path / ".cache/moestro/passphrase").exists()

    @pytest.mark.parametrize("home_variable", [None, "PULUMI_HOME"])
    def test_logged_in_to_is_kept(self, tmp_path: Path, home_variable: str | None) -> None:
        pulumi_home = tmp_path / ("pulumi-home" if home_variable else ".pulumi")
        pulumi_home.mkdir()
        (pulumi_home / "credentials.json").write_text('{\n  "current": "https://api.example.com"\n}')
        given = {home_variable: str(pulumi_home)} if home_variable else {}
        assert "PULUMI_BACKEND_URL" not in environment(tmp_path, **given)

    def test_logged_out_of_counts_as_none(self, tmp_path: Path) -> None:
        (tmp_path / ".pulumi").mkdir()
        (tmp_path / ".pulumi/credentials.json").write_text('{"current": "", "accessTokens": {}}')
        assert environment(tmp_path)["PULUMI_BACKEND_URL"].startswith("file://")


class TestPath:
    def test_a_complete_pulumi_on_path_is_used(self, tmp_path: Path) -> None:
        theirs = executable(tmp_path / "theirs/pulumi").parent
        executable(theirs / "pulumi-language-python")
        assert "toolchain/pulumi-" not in environment(tmp_path, PATH=f"{theirs}:{SYSTEM_PATH}")["PATH"]

    def test_a_linked_pulumi_with_its_language_host_beside_it_is_used(self, tmp_path: Path) -> None:
        executable(tmp_path / "opt/pulumi-language-python")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/pulumi").symlink_to(executable(tmp_path / "opt/pulumi"))
        assert "toolchain/pulumi-" not in environment(tmp_path, PATH=f"{tmp_path}/bin:{SYSTEM_PATH}")["PATH"]

    def test_an_engine_without_language_host_comes_after_the_caches(self, tmp_path: Path) -> None:
        bare = executable(tmp_path / "bare/pulumi").parent
        path = environment(tmp_path, PATH=f"{bare}:{SYSTEM_PATH}")["PATH"].split(":")
        assert path[0].startswith(f"{tmp_path}/.cache/moestro/toolchain/pulumi-3.")
        assert path.index(str(bare)) > 0

    @pytest.mark.parametrize("version", ["v3.50.0", "v2.25.2", "Segmentation fault"])
    def test_one_that_is_too_old_or_broken_comes_after_the_caches(self, tmp_path: Path, version: str) -> None:
        theirs = executable(tmp_path / "theirs/pulumi", version).parent
        executable(theirs / "pulumi-language-python")
        path = environment(tmp_path, PATH=f"{theirs}:{SYSTEM_PATH}")["PATH"].split(":")
        assert path[0].startswith(f"{tmp_path}/.cache/moestro/toolchain/pulumi-3.")

    def test_sourcing_twice_changes_nothing(self, tmp_path: Path) -> None:
        once, twice = environment(tmp_path), environment(tmp_path, times=2)
        assert {key: once[key] for key in once if key != "_"} == {key: twice[key] for key in twice if key != "_"}


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    script = f". {CHECKOUT}/scripts/env; echo went on"
    given = {"HOME": str(tmp_path), "PATH": SYSTEM_PATH, "MOESTRO_CACHE": "/dev/null/cache"}
    ran = subprocess.run(["bash", "-euc", script], env=given, capture_output=True, text=True)
    assert ran.returncode != 0
    assert ran.stderr == "  /dev/null/cache cannot be written: set MOESTRO_CACHE to a directory that can\n"
    assert ran.stdout == ""


def test_the_users_cdpath_does_not_lead_astray(tmp_path: Path) -> None:
    script = f"CDPATH={tmp_path}:..; cd {CHECKOUT}; . scripts/env; echo $MOESTRO_CHECKOUT"
    (tmp_path / "scripts").mkdir()
    given = {"HOME": str(tmp_path), "PATH": SYSTEM_PATH}
    ran = subprocess.run(["bash", "-euc", script], env=given, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{CHECKOUT}\n"


def test_a_home_that_is_not_set_is_the_users_own(tmp_path: Path) -> None:
    script = f". {CHECKOUT}/scripts/env; echo $HOME"
    given = {"PATH": SYSTEM_PATH, "MOESTRO_CACHE": str(tmp_path), "PULUMI_BACKEND_URL": "theirs"}
    ran = subprocess.run(["bash", "-euc", script], env=given, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == pwd.getpwuid(os.getuid()).pw_dir


def test_the_users_own_parallelism_is_kept(tmp_path: Path) -> None:
    assert environment(tmp_path)["PULUMI_PARALLEL"] == "64"
    assert environment(tmp_path, PULUMI_PARALLEL="3")["PULUMI_PARALLEL"] == "3"


def test_launcher_says_what_to_do_without_the_environment() -> None:
    launched = subprocess.run(
        [CHECKOUT / "scripts/toolchain/pulumi-language-python"],
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 1
    assert "source scripts/env" in launched.stderr
    assert len(launched.stderr.splitlines()) == 1

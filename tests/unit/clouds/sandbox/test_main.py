from pathlib import Path

import pytest
from typer.testing import CliRunner

from moestro.clouds.sandbox import Home
from moestro.clouds.sandbox.__main__ import main
from moestro.clouds.sandbox.faults import Fault, FaultKind, Faults


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    monkeypatch.setenv("MOESTRO_SANDBOX_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_settings_change_one_by_one() -> None:
    run("configure", "--contract-only")
    assert "contract_only=True, deploy_seconds=3.0" in run("configure", "--deploy-seconds", "3")


def test_faults_are_armed_shown_and_taken_back(home: Home) -> None:
    run("fault", "arm", "list_failure", "--times", "0")
    run("fault", "arm", "late_ssh", "--name", "web-*", "--seconds", "60")
    assert Faults(home).armed() == [
        Fault(FaultKind.LIST_FAILURE, None, "*", 0.0),
        Fault(FaultKind.LATE_SSH, 1, "web-*", 60.0),
    ]
    assert "late_ssh 1 x name=web-* seconds=60" in run("fault", "list")
    run("fault", "disarm", "list_failure")
    assert [fault.kind for fault in Faults(home).armed()] == [FaultKind.LATE_SSH]


def test_destroy_leaves_nothing(home: Home) -> None:
    run("configure", "--contract-only")
    run("list", "--all")
    run("destroy")
    assert not home.path.exists()

import subprocess
import sys

import pytest

from moestro.clouds import cloud_names, open_cloud
from moestro.errors import InvalidInput


def test_known_names() -> None:
    assert cloud_names() == ["sandbox", "spheron"]


def test_a_client_is_opened_without_credentials_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPHERON_API_KEY", raising=False)
    assert open_cloud("spheron").name == "spheron"
    assert open_cloud("spheron") is open_cloud("spheron")


@pytest.mark.parametrize(
    ("name", "hint"), [("sferon", "did you mean 'spheron'"), ("aws", "known clouds: sandbox, spheron")]
)
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{name}' is not known; {hint}"):
        open_cloud(name)


def test_importing_clouds_loads_no_client() -> None:
    heavy = "httpx", "fastapi", "docker", "pydantic", "uvicorn"
    program = (
        f"import sys, moestro.clouds, moestro.clouds.ordering; print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"

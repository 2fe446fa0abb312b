"""The installation of an engine as it runs on a GPU host, with a small package in the engine's place and no index."""

import io
import tarfile
import zipfile
from dataclasses import replace

import pytest

from moestro.errors import CommandFailed
from moestro.hosts.converge import converge
from moestro.hosts.facts import Facts, gather
from moestro.hosts.ssh import Host
from moestro.hosts.steps.engine import EngineRequest, find_engine, install_engine, remove_engines
from tests.integration.hosts.conftest import Machine

pytestmark = pytest.mark.docker

REQUEST = EngineRequest("cuda", "vllm", "9.9.1")

# Does what Moestro asks of uv with the system's own tools, from a directory of wheels.
UV = """#!/bin/bash
set -eu
case "$1" in
  venv) python3 -m venv "${@: -1}" ;;
  pip) shift 3; python=$1; shift 2; "$python" -m pip install -q --no-index --find-links /srv/wheels "$@" ;;
esac
"""


@pytest.fixture(scope="module", autouse=True)
def uv_and_wheels(machine: Machine) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "opt/moestro/tools/bin/uv", UV.encode(), 0o755)
        for version in ("9.9.1", "9.9.2", "9.9.3"):
            _add(archive, f"srv/wheels/vllm-{version}-py3-none-any.whl", _wheel(version), 0o644)
    machine.container.put_archive("/", buffer.getvalue())


def install(host: Host, version: str) -> Facts:
    request = replace(REQUEST, version=version)
    return converge(host, lambda facts: install_engine(facts, request), gather(host), host.wait)


def test_the_first_version_is_installed_and_then_nothing_is_done(machine: Machine, host: Host) -> None:
    facts = install(host, "9.9.1")
    found = find_engine(facts, REQUEST)
    assert found is not None
    assert found.ours
    assert machine.inside(f"{found.root}/bin/vllm") == "vllm 9.9.1"
    assert machine.inside("cat /srv/kernels") == "9.9.1", "the kernels were fetched, once"
    lines = len(machine.lines)
    install(host, "9.9.1")
    assert len(machine.lines) == lines


def test_a_next_version_takes_the_link_and_the_one_before_stays(machine: Machine, host: Host) -> None:
    install(host, "9.9.2")
    assert machine.inside("/opt/moestro/engine/bin/vllm") == "vllm 9.9.2"
    assert machine.inside("/opt/moestro/engines/vllm-9.9.1/bin/vllm") == "vllm 9.9.1"
    install(host, "9.9.3")
    assert machine.inside("ls /opt/moestro/engines") == "vllm-9.9.2\nvllm-9.9.3"


def test_going_back_switches_the_link_without_another_installation(machine: Machine, host: Host) -> None:
    install(host, "9.9.2")
    assert machine.inside("/opt/moestro/engine/bin/vllm") == "vllm 9.9.2"
    assert machine.inside("tail -n 1 /srv/kernels") == "9.9.3"


def test_an_installation_that_fails_leaves_the_one_in_use(machine: Machine, host: Host) -> None:
    with pytest.raises(CommandFailed, match=r"step engine failed.*\n(.*\n)*.*vllm==9\.9\.9"):
        install(host, "9.9.9")
    assert machine.inside("/opt/moestro/engine/bin/vllm") == "vllm 9.9.2"


def test_a_lost_engine_is_installed_again(machine: Machine, host: Host) -> None:
    machine.inside("rm -rf /opt/moestro/engines/vllm-9.9.2")
    install(host, "9.9.2")
    assert machine.inside("/opt/moestro/engine/bin/vllm") == "vllm 9.9.2"


def test_removing_takes_all_of_ours(machine: Machine, host: Host) -> None:
    host.run(remove_engines().script)
    assert machine.inside("ls -d /opt/*") == "/opt/vllm"


def _wheel(version: str) -> bytes:
    program = (
        "import sys\n\n\ndef main():\n    if sys.argv[1:] == ['download-kernels']:\n"
        f"        open('/srv/kernels', 'a').write('{version}\\n')\n    else:\n        print('vllm {version}')\n"
    )
    info = f"vllm-{version}.dist-info"
    parts = {
        "vllm_stand_in.py": program,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nvllm = vllm_stand_in:main\n",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for name, text in parts.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*parts, f"{info}/RECORD"]))
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))

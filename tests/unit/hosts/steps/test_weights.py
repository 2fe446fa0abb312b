from dataclasses import replace

from moestro.hosts.steps.weights import download_weights
from tests.unit.hosts.test_facts import recorded

H200 = recorded("ubuntu-2204-8xh200")
PATH = "/var/lib/moestro/weights/org--model/main"


def test_the_engines_python_downloads() -> None:
    command = download_weights(H200, "org/model", "main", PATH)
    assert f"/opt/moestro/engines/vllm-0.33.0/bin/python {PATH}.py org/model main {PATH} {PATH}.json" in command.script
    assert "pip install" not in command.script
    assert command.detached


def test_without_an_engine_the_hub_client_is_installed_first() -> None:
    command = download_weights(replace(H200, engines=()), "org/model", "main", PATH)
    assert "-m pip install --quiet 'huggingface_hub>=0.34'" in command.script
    assert f"/opt/moestro/tools/bin/python {PATH}.py" in command.script


def test_a_name_cannot_become_a_command() -> None:
    assert "'org/model; reboot'" in download_weights(H200, "org/model; reboot", "main", PATH).script

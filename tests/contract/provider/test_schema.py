"""The package's schema against Pulumi's own rules, and what is made from it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pulumi
import pytest

from components import resources as programs
from provider import docs
from provider.models import wire_name
from provider.registry import resources
from provider.schema import schema

CHECKOUT = Path(__file__).parents[3]
METASCHEMA = CHECKOUT / "tests" / "fixtures" / "pulumi" / "package-metaschema.json"


@pytest.fixture(scope="module")
def package() -> dict[str, Any]:
    return schema(resources())


def test_is_a_valid_pulumi_package(package: dict[str, Any]) -> None:
    named_groups = re.compile(r"\(\?<(?![=!])")  # as ECMA writes them; Python wants a P
    metaschema = json.loads(named_groups.sub("(?P<", METASCHEMA.read_text()))
    jsonschema.validators.validator_for(metaschema)(metaschema).validate(package)


def test_every_reference_leads_somewhere(package: dict[str, Any]) -> None:
    references = {part.split('"')[0] for part in json.dumps(package).split('"#/types/')[1:]}
    assert references == set(package["types"])


def test_everything_is_described(package: dict[str, Any]) -> None:
    described = [*package["resources"].values(), *package["types"].values()]
    for each in described:
        assert each["description"]
        for part in ("properties", "inputProperties"):
            assert all(prop["description"] for prop in each.get(part, {}).values())


@pytest.mark.parametrize(
    ("token", "where", "names"),
    [
        ("moestro:identity:Token", "properties", {"value"}),
        ("moestro:identity:KeyPair", "properties", {"privateKey"}),
        ("moestro:identity:Certificate", "properties", {"privateKeyPem"}),
        ("moestro:serve:Engine", "inputProperties", {"apiKey", "privateKeyPem"}),
        ("moestro:gateway:Gateway", "inputProperties", {"apiKeys", "engineApiKey", "privateKeyPem"}),
    ],
)
def test_secrets_are_declared(package: dict[str, Any], token: str, where: str, names: set[str]) -> None:
    assert {name for name, it in package["resources"][token][where].items() if it.get("secret")} == names


def test_the_page_of_the_resources_is_up_to_date() -> None:
    assert docs.PAGE.read_text() == docs.page(), "run `python -m provider.docs`"


@pytest.mark.parametrize("resource", resources(), ids=lambda resource: resource.token)
def test_programs_have_a_class_with_the_same_outputs_and_secrets(resource: Any) -> None:
    program = getattr(programs, resource.token.rsplit(":", 1)[1])
    assert issubclass(program, pulumi.CustomResource)
    assert program.token == resource.token
    named = {wire_name(name, info) for name, info in resource.outputs.model_fields.items()}
    assert set(program.outputs) <= named


@pytest.mark.pulumi
def test_the_real_engine_gets_the_schema(tmp_path: Path, package: dict[str, Any]) -> None:
    engine = shutil.which("pulumi")
    assert engine, "pulumi is not on PATH: source scripts/env"
    done = subprocess.run(
        [engine, "package", "get-schema", str(CHECKOUT / "provider")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["resources"].keys() == package["resources"].keys()
    assert got["types"] == package["types"]

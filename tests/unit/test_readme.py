"""What the README shows is so: its declaration is accepted, its commands exist, its links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from moestro.cli import app
from moestro.settings import parse_settings

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
DOCUMENTS = [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def test_its_declaration_is_a_shorter_form_of_the_stacks_own() -> None:
    shown = yaml.safe_load(README.split("```yaml\n")[1].split("```")[0])["config"]
    whole = yaml.safe_load((CHECKOUT / "stacks/Pulumi.deepseek-prod.yaml").read_text())["config"]
    parse_settings({key: value if isinstance(value, str) else json.dumps(value) for key, value in shown.items()})
    for key, value in shown.items():
        if isinstance(value, dict):
            assert value.items() <= whole[key].items(), key
        else:
            assert value == whole[key], key


@pytest.mark.parametrize("line", re.findall(r"^    (moestro .*?)(?: +#.*)?$", README, re.MULTILINE))
def test_its_plans_are_made(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_its_scripts_are_there() -> None:
    for script in set(re.findall(r"\bscripts/[a-z]+", README)):
        assert (CHECKOUT / script).is_file(), script

"""The stack's declaration: what is accepted, and that every mistake is named with its key, value and fix."""

import datetime
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from moestro.errors import InvalidInput
from moestro.settings import Settings, in_the_clear, parse_settings
from provider import certificates

STACKS = Path(__file__).parents[2] / "stacks"
GOOD: dict[str, Any] = {
    "cloud": {"name": "spheron"},
    "model": {"repo": "mistralai/Mixtral-8x7B-Instruct-v0.1"},
    "gpu": {"type": "H100_PCIE", "count": 2},
}
AUTHORITY = certificates.authority("test", 1, datetime.datetime.now(datetime.UTC))
TLS = {"certificate": AUTHORITY.certificate_pem, "privateKey": AUTHORITY.private_key_pem}
OTHER = certificates.authority("other", 1, datetime.datetime.now(datetime.UTC))
KEY = "sk-0123456789abcdef"


def wire(config: dict[str, Any]) -> dict[str, str]:
    """The configuration as the engine hands it over: scalars as text, everything else as JSON text."""
    return {f"moe:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}


def parse(**changes: Any) -> Settings:
    return parse_settings(wire(GOOD | changes))


def mistakes(**changes: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse(**changes)
    return str(caught.value).splitlines()[1:]


class TestAccepted:
    @pytest.mark.parametrize("path", sorted(STACKS.glob("Pulumi.*.yaml")), ids=lambda path: path.stem)
    def test_every_stack_of_the_repository(self, path: Path) -> None:
        config = {key.removeprefix("moe:"): value for key, value in yaml.safe_load(path.read_text())["config"].items()}
        assert parse_settings(wire(config)).name == config["name"]

    def test_other_namespaces_are_not_ours(self) -> None:
        assert parse_settings(wire(GOOD) | {"aws:region": "eu-west-1"}).gpu.count == 2

    def test_defaults_are_one_on_demand_replica_behind_port_80(self) -> None:
        settings = parse()
        assert (settings.replicas, settings.gpu.purchase, settings.gateway.listen_port) == (1, "on-demand", 80)

    def test_tls_moves_the_port_to_443(self) -> None:
        assert parse(gateway={"tls": TLS}).gateway.listen_port == 443

    def test_sglang_may_serve_on_gpus(self) -> None:
        assert parse(engine={"name": "sglang"}).engine.name == "sglang"


class TestMistakes:
    def test_sglang_on_the_sandbox(self) -> None:
        [found] = mistakes(engine={"name": "sglang"}, gpu={"type": "cpu"}, cloud={"name": "sandbox"})
        assert found == "  moe:engine.name 'sglang' needs CUDA GPUs, and gpu.type is 'cpu': use 'vllm'"

    def test_all_of_them_in_one_message(self) -> None:
        found = mistakes(replicas=0, gpu={"type": "H100_PCIE", "counts": 2}, cloud={"name": "aws"})
        assert len(found) == 3

    @pytest.mark.parametrize(
        ("changes", "key", "words"),
        [
            ({"replcas": 3}, "moe:replcas", "did you mean 'replicas'?"),
            ({"gpu": {"type": "H100_PCIE", "cuont": 2}}, "moe:gpu.cuont", "did you mean 'count'?"),
            (
                {"gateway": {"tls": TLS | {"certifcate": "x"}}},
                "moe:gateway.tls.certifcate",
                "did you mean 'certificate'?",
            ),
            ({"gpu": {"count": 1}}, "moe:gpu.type", "is missing"),
            ({"gpu": {"type": "auto"}}, "moe:gpu", "moestro plan --pin"),
            ({"replicas": "two"}, "moe:replicas", "'two' should be a valid integer"),
            ({"replicas": 65}, "moe:replicas", "65 should be less than or equal to 64"),
            ({"model": {"repo": "a", "directory": "b"}}, "moe:model", "exactly one of"),
            ({"model": {"directory": "b", "revision": "c"}}, "moe:model", "'revision' belongs to 'repo'"),
            ({"gateway": {"apiKeys": {}}}, "moe:gateway.apiKeys", "leave the key out"),
            ({"gpu": {"type": "cpu"}}, "moe:gpu.type 'cpu'", "'cpu' is what the sandbox rents"),
            ({"gateway": {"placement": "own-host"}}, "moe:gateway", "'gpuType' is missing"),
            ({"gateway": {"gpuType": "A4000_PCIE"}}, "moe:gateway", "'gpuType' means nothing"),
            (
                {"gateway": {"placement": "own-host", "gpuType": "cpu"}},
                "moe:gateway.gpuType 'cpu'",
                "'cpu' is what the sandbox rents",
            ),
            ({"engine": {"maxUnavailable": 2}}, "moe:engine.maxUnavailable 2", "more than replicas 1"),
            ({"gateway": {"port": 8000}}, "moe:gateway.port 8000", "engine.port too"),
            ({"engine": {"port": 8089}}, "moe:engine.port 8089", "nginx's status"),
            ({"name": "Bad_Name"}, "moe:name", "'Bad_Name' should be 2 to 40 lower-case letters"),
            ({"name": "good-name\n"}, "moe:name", "should be 2 to 40 lower-case letters"),
            ({"engine": {"version": "latest"}}, "moe:engine.version", "'latest' should be a full version such as"),
            ({"gpu": "H100_PCIE"}, "moe:gpu", "'H100_PCIE' should be a section with the keys type, count, purchase"),
            ({"gpu": ["H100_PCIE"]}, "moe:gpu", "should be a section with the keys type"),
            ({"engine": {"layout": 2}}, "moe:engine.layout", "2 should be a section with the keys tp, pp, dp, ep"),
            ({"cloud": {"name": "spheron", "regions": "us"}}, "moe:cloud.regions", "'us' should be a list"),
            ({"cloud": {"name": "spheron", "image": 5}}, "moe:cloud.image", "5 should be text"),
            ({"engine": {"enforceEager": "yes"}}, "moe:engine.enforceEager", "'yes' should be a boolean"),
            ({"engine": {"port": None}}, "moe:engine.port", "has no value; give it one or leave the key out"),
            ({"replicas": True}, "moe:replicas", "true should be a valid integer"),
            ({"gateway": {"tls": "x"}}, "moe:gateway.tls", "should be a section with the keys certificate, privateKey"),
            (
                {"model": {"repo": "a", "servedName": "my model"}},
                "moe:model.servedName",
                "letters, digits and . _ / : -",
            ),
            (
                {"gateway": {"apiKeys": {"alice": "sk short"}}},
                "moe:gateway.apiKeys.alice",
                "(secret) should be 16 to 512",
            ),
            (
                {"gateway": {"apiKeys": {"alice": KEY, "bob": KEY}}},
                "moe:gateway",
                "two users of 'apiKeys' have the same",
            ),
            ({"gateway": {"tls": TLS | {"privateKey": "k"}}}, "moe:gateway.tls", "needs PEM texts"),
            (
                {"gateway": {"tls": TLS | {"privateKey": certificates.ssh_key_pair("")[1]}}},
                "moe:gateway.tls",
                "needs PEM texts",
            ),
            (
                {"gateway": {"tls": TLS | {"privateKey": OTHER.private_key_pem}}},
                "moe:gateway.tls",
                "'privateKey' is not the key of the first certificate",
            ),
            ({"gateway": {"apiKeys": ["x"]}}, "moe:gateway.apiKeys", "should be a section"),
        ],
    )
    def test_names_the_key_and_the_fix(self, changes: dict[str, Any], key: str, words: str) -> None:
        [line] = mistakes(**changes)
        assert key in line
        assert words in line

    def test_contradictions_are_told_beside_mistakes_in_other_sections(self) -> None:
        found = mistakes(
            load={"context": -5}, replcas=2, engine={"maxUnavailable": 2}, gateway={"port": 8000}, gpu={"type": "cpu"}
        )
        assert len(found) == 5

    def test_a_section_with_a_mistake_contradicts_nothing(self) -> None:
        assert len(mistakes(engine={"port": 80, "maxUnavailable": 2}, gateway={"port": 8000})) == 1

    def test_the_plugins_namespace_is_not_the_programs(self) -> None:
        with pytest.raises(InvalidInput, match=r"moestro:replicas: has another namespace .* write moe:"):
            parse_settings(wire(GOOD) | {"moestro:replicas": "2"})

    def test_a_secret_with_a_wrong_name_is_not_shown(self) -> None:
        [found] = mistakes(gateway={"apiKeys": {"Bad Name": "sk-very-secret-0123"}})
        assert found.startswith("  moe:gateway.apiKeys.Bad Name: 'Bad Name' should be 2 to 40 lower-case letters")
        assert "sk-very-secret" not in found

    @pytest.mark.parametrize("tls", [{"certificate": "-----BEGIN PRIVATE KEY-----\nMII", "privateKey": "k"}, "MII", 5])
    def test_a_private_key_in_a_wrong_place_is_not_shown(self, tls: Any) -> None:
        assert "MII" not in "\n".join(mistakes(gateway={"tls": tls}))

    def test_secrets_of_wrong_type_are_not_shown(self) -> None:
        assert "4242" not in "\n".join(mistakes(gateway={"apiKeys": {"alice": 4242}}))


class TestInTheClear:
    GATEWAY: ClassVar = {"apiKeys": {"alice": KEY}, "tls": TLS}

    def test_names_what_to_encrypt(self) -> None:
        found = in_the_clear(parse(gateway=self.GATEWAY), [])
        assert found == ["moe:gateway.apiKeys.alice", "moe:gateway.tls.privateKey"]

    def test_what_is_encrypted_is_fine(self) -> None:
        assert in_the_clear(parse(gateway=self.GATEWAY), ["moe:gateway"]) == []

    def test_without_secrets_there_is_nothing_to_say(self) -> None:
        assert in_the_clear(parse(), []) == []

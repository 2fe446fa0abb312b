import json
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub

from provider.registry import resources
from provider.schema import VERSION
from tests.unit.provider.fakes import HOST, Thing
from tests.unit.provider.harness import Client, FakeEngine, served, struct


@pytest.fixture
def stub() -> Iterator[ResourceProviderStub]:
    with served(resources()) as running:
        yield running


def test_understands_secrets_and_previews(stub: ResourceProviderStub) -> None:
    answer = stub.Configure(pb.ConfigureRequest(acceptSecrets=True))
    assert (answer.acceptSecrets, answer.supportsPreview, answer.acceptResources) == (True, True, False)


def test_after_the_handshake_things_are_shown_at_that_engine(fake_engine: tuple[FakeEngine, str]) -> None:
    thing = Thing(lambda call, context, inputs: context.warn(f"{call} {inputs.size}"))
    with served([thing]) as stub:
        assert stub.Handshake(pb.ProviderHandshakeRequest(engine_address=fake_engine[1])).accept_secrets
        Client(stub, thing.token).create({"host": HOST, "size": 2})
    assert [shown.message for shown in fake_engine[0].shown] == ["create 2"]


def test_says_its_version_and_schema(stub: ResourceProviderStub) -> None:
    assert stub.GetPluginInfo(Empty()).version == VERSION
    schema = json.loads(stub.GetSchema(pb.GetSchemaRequest()).schema)
    assert set(schema["resources"]) == {resource.token for resource in resources()}


def test_takes_its_configuration_as_it_is(stub: ResourceProviderStub) -> None:
    checked = stub.CheckConfig(pb.CheckRequest(news=struct({"version": "0.1.0"})))
    assert (checked.inputs, list(checked.failures)) == (struct({"version": "0.1.0"}), [])
    assert stub.DiffConfig(pb.DiffRequest()).changes == pb.DiffResponse.DIFF_NONE


def test_unknown_types_are_refused_with_the_known_ones(stub: ResourceProviderStub) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub.Create(pb.CreateRequest(urn="urn:pulumi:dev::project::moestro:host:Fridge::it"))
    assert "moestro:host:Runtime" in str(failed.value)

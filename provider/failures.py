"""Errors as the engine understands them, without any secret in them."""

import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import provider_pb2, status_pb2

from moestro.errors import MoestroError
from provider.resource import Incomplete

_SHORTEST_SECRET: Final = 6  # shorter texts would blank out ordinary words


@dataclass(frozen=True)
class Failure:
    """How one RPC ends when it fails; ``trailing`` is gRPC's trailing metadata."""

    message: str
    trailing: tuple[tuple[str, bytes], ...] = ()
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN


def redacted(text: str, secrets: Iterable[str]) -> str:
    """``text`` with every secret line blanked out."""
    for secret in sorted({line.strip() for line in secrets}, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "[secret]")
    return text


def failure(error: Exception, secrets: Iterable[str]) -> Failure:
    """An error that leaves nothing behind: the operation simply failed."""
    if isinstance(error, MoestroError):
        return Failure(redacted(str(error), secrets))
    known = list(secrets)
    print(redacted("".join(traceback.format_exception(error)), known), file=sys.stderr, flush=True)
    return Failure(redacted(f"this is a bug in moestro: {type(error).__name__}: {error}", known))


def init_failed(error: Incomplete, properties: Struct, inputs: Struct, secrets: Iterable[str]) -> Failure:
    """An error after something came to exist: the engine keeps it in the state and updates it next time."""
    reason = redacted(str(error), secrets)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason)
    detail = provider_pb2.ErrorResourceInitFailed(id=error.id, properties=properties, reasons=[reason], inputs=inputs)
    status.details.add().Pack(detail)
    return Failure(reason, (("grpc-status-details-bin", status.SerializeToString()),))

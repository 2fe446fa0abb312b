import grpc
import pytest

from moestro.errors import HostError
from provider.failures import failure, redacted


class TestRedacted:
    def test_longer_secrets_first_so_that_no_rest_is_left(self) -> None:
        assert redacted("token-1-long token-1", ["token-1", "token-1-long"]) == "[secret] [secret]"

    def test_short_and_blank_lines_of_a_secret_stay(self) -> None:
        assert redacted("a -- b", ["", "--", " "]) == "a -- b"

    def test_a_private_key_is_blanked_line_by_line(self) -> None:
        key = ["-----BEGIN KEY-----", "c2VjcmV0IGJ5dGVz"]
        assert redacted("got c2VjcmV0IGJ5dGVz", key) == "got [secret]"


def test_an_error_of_ours_is_one_line_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    failed = failure(HostError("no space on 192.0.2.1"), [])
    assert (failed.message, failed.code, failed.trailing) == ("no space on 192.0.2.1", grpc.StatusCode.UNKNOWN, ())
    assert capfd.readouterr().err == ""

from pathlib import Path

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moestro.errors import CommandFailed, ConnectionLost, HostError, InvalidInput
from moestro.hosts import upload
from moestro.hosts.upload import LocalFile, RemoteFile, digest_of, local_tree, parse_survey, tree_digest, upload_tree
from tests.unit.hosts.clock import FakeClock
from tests.unit.hosts.fake_host import FakeHost

HASHES = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
TREES = st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["C"]), min_size=1), HASHES, min_size=1)


def tree(contents: dict[str, str]) -> dict[str, LocalFile]:
    return {name: LocalFile(Path(name), 1, sha256) for name, sha256 in contents.items()}


class TestDigest:
    @given(TREES)
    def test_does_not_depend_on_the_order(self, contents: dict[str, str]) -> None:
        backwards = dict(reversed(list(contents.items())))
        assert tree_digest(tree(contents)) == tree_digest(tree(backwards))

    @given(TREES, TREES)
    def test_tells_different_trees_apart(self, one: dict[str, str], other: dict[str, str]) -> None:
        assert (tree_digest(tree(one)) == tree_digest(tree(other))) == (one == other)

    def test_is_over_names_and_contents_only(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        for root, mode in ((one, 0o600), (other, 0o644)):
            (root / "sub").mkdir(parents=True)
            (root / "sub" / "a.bin").write_bytes(b"content")
            (root / "sub" / "a.bin").chmod(mode)
        (other / "empty").mkdir()
        assert digest_of(one) == digest_of(str(other))
        (other / "sub" / "a.bin").rename(other / "sub" / "b.bin")
        assert digest_of(one) != digest_of(other)

    def test_a_link_counts_as_the_file(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        one.mkdir()
        other.mkdir()
        (one / "config.json").write_text("{}")
        (other / "config.json").symlink_to(one / "config.json")
        assert digest_of(one) == digest_of(other)

    def test_stays_what_it_is(self, tmp_path: Path) -> None:
        # A change of this value would upload every model again.
        (tmp_path / "config.json").write_text("{}")
        assert digest_of(tmp_path) == "bef6acf233bd20dd9e6db488ed06d5f0e0cf0e3730765a3ef7f28c7de705b168"

    @pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "\udcff"])
    def test_a_name_that_cannot_be_sent(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("x")
        with pytest.raises(InvalidInput, match="cannot be printed"):
            local_tree(tmp_path)

    @pytest.mark.parametrize("make", [False, True])
    def test_nothing_to_read(self, tmp_path: Path, make: bool) -> None:
        directory = tmp_path / "weights"
        if make:
            directory.mkdir()
        with pytest.raises(InvalidInput, match="holds no files" if make else "is not a directory"):
            local_tree(directory)


class TestResume:
    @pytest.fixture
    def file(self, tmp_path: Path) -> LocalFile:
        path = tmp_path / "part"
        path.write_bytes(b"0123456789")
        return LocalFile(path, 10, upload.sha256_of(path))

    def test_goes_on_after_a_part_with_the_right_beginning(self, file: LocalFile) -> None:
        assert upload._resume_at(file, RemoteFile(4, upload.sha256_of(file.path, 4))) == 4

    @pytest.mark.parametrize(
        "there", [None, RemoteFile(0, "x"), RemoteFile(4, "x"), RemoteFile(10, "x"), RemoteFile(11, "x")]
    )
    def test_starts_anew_otherwise(self, file: LocalFile, there: RemoteFile | None) -> None:
        assert upload._resume_at(file, there) == 0


def test_parse_survey_keeps_names_with_blanks() -> None:
    survey = parse_survey("staged 5 abc sub/a file.bin\nfinal 7 def b.bin\nfinal 9 fed sub/a file.bin\n")
    assert survey.staged == {"sub/a file.bin": RemoteFile(5, "abc")}
    assert survey.final == {"b.bin": RemoteFile(7, "def"), "sub/a file.bin": RemoteFile(9, "fed")}


class TestUploadTree:
    def test_what_is_there_is_not_sent(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("content")
        files = local_tree(tmp_path)
        host = FakeHost(lambda command: f"final 7 {files['a'].sha256} a\n" if "survey" in command else "")
        result = upload_tree(host, files, "/remote", FakeClock().wait(60))
        assert (result.files, result.bytes, result.sent) == (1, 7, 0)

    def test_what_was_staged_completely_only_moves(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("content")
        files = local_tree(tmp_path)
        host = FakeHost(lambda command: f"staged 7 {files['a'].sha256} a\nfinal 1 x a\n" if "survey" in command else "")
        assert upload_tree(host, files, "/remote", FakeClock().wait(60)).sent == 0
        assert host.commands[-1].startswith("set -- /.upload-remote /remote\n")

    def test_gives_up_when_nothing_gets_through(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("content")
        host = FakeHost(lambda _: ConnectionLost("the connection dropped"))
        with pytest.raises(HostError, match="given up after 5 attempts"):
            upload_tree(host, local_tree(tmp_path), "/remote", FakeClock().wait())
        assert len(host.commands) == upload.MOST_FRUITLESS

    def test_a_failure_on_the_host_is_not_tried_again(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("content")
        host = FakeHost(lambda _: CommandFailed("read-only file system", 1, ""))
        with pytest.raises(CommandFailed):
            upload_tree(host, local_tree(tmp_path), "/remote", FakeClock().wait())
        assert len(host.commands) == 1


class TestFailure:
    @pytest.mark.parametrize("error", [EOFError(), TimeoutError("timed out"), paramiko.SSHException("dropped")])
    def test_the_end_of_the_stream_is_a_lost_connection_before_the_channel_is_marked(self, error: Exception) -> None:
        assert isinstance(self.failure(error, closed=False), ConnectionLost)

    def test_anything_on_a_closed_channel_is_a_lost_connection(self) -> None:
        assert isinstance(self.failure(OSError("Socket is closed"), closed=True), ConnectionLost)

    def test_what_the_server_objects_to_is_not(self) -> None:
        failure = self.failure(OSError("Failure"), closed=False)
        assert not isinstance(failure, ConnectionLost)
        assert "(Failure); is the disk full?" in str(failure)

    def test_a_host_that_says_something_else_than_sftp_is_named(self) -> None:
        failure = self.failure(paramiko.SFTPError("Garbage packet received"), closed=False)
        assert not isinstance(failure, ConnectionLost)
        assert "this is no SFTP (Garbage packet received)" in str(failure)

    def failure(self, error: Exception, closed: bool) -> HostError:
        channel = paramiko.Channel(0)
        channel.closed = closed
        return upload._Upload(FakeHost(lambda _: ""), {}, "/remote", FakeClock().wait())._failure(channel, error)

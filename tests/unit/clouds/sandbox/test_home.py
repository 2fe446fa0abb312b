import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moestro.clouds.sandbox import Home, Settings, configure, destroy, reset
from moestro.clouds.sandbox.store import Deployment, Store, StoredKey


class TestHome:
    def test_where_it_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("MOESTRO_SANDBOX_HOME", raising=False)
        monkeypatch.setenv("MOESTRO_CACHE", str(tmp_path))
        assert Home.current().path == tmp_path / "sandbox"
        monkeypatch.setenv("MOESTRO_SANDBOX_HOME", str(tmp_path / "mine"))
        assert Home.current().path == tmp_path / "mine"

    def test_two_homes_are_two_clouds(self, tmp_path: Path) -> None:
        first, second = Home(tmp_path / "a"), Home(tmp_path / "b")
        assert first.id != second.id
        assert first.id == Home(tmp_path / "x" / ".." / "a").id
        assert first.token() != second.token()

    def test_the_token_is_the_owners_and_stays(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "a")
        with ThreadPoolExecutor(8) as pool:
            tokens = set(pool.map(lambda _: home.token(), range(16)))
        assert len(tokens) == 1
        assert stat.S_IMODE((home.path / "token").stat().st_mode) == 0o600

    def test_locks(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        with (
            home.locked("a", shared=True),
            home.locked("a", shared=True),
            home.locked("b"),
            home.locked("a", patient=False) as alone,
        ):
            assert not alone
        with home.locked("a", patient=False) as alone:
            assert alone

    def test_nothing_is_left(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "a")
        configure(home, Settings(contract_only=True))
        home.token()
        destroy(home)
        assert list(tmp_path.iterdir()) == []

    def test_reset_keeps_the_settings_only(self, tmp_path: Path) -> None:
        home, store = Home(tmp_path / "a"), Store(Home(tmp_path / "a"))
        configure(home, Settings(contract_only=True, balance_usd=5.0))
        store.add_key(StoredKey("k", "me", "ssh-ed25519 AAA", 0.0))
        reset(home)
        assert store.ssh_keys() == []
        assert store.settings() == Settings(contract_only=True, balance_usd=5.0)


class TestStore:
    def test_many_writers_at_once_from_the_first_moment(self, tmp_path: Path) -> None:
        def write(number: int) -> None:
            Store(Home(tmp_path / "a")).add_key(StoredKey(str(number), "me", "ssh-ed25519 AAA", float(number)))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(write, range(64)))
        assert [key.id for key in Store(Home(tmp_path / "a")).ssh_keys()] == [str(number) for number in range(64)]

    def test_what_has_ended_stays_as_it_ended(self, tmp_path: Path) -> None:
        store = Store(Home(tmp_path / "a"))
        terms: dict[str, object] = {"region": "local-1"}
        machine = store.add_deployment(Deployment("d", "web-0", terms, "ssh-ed25519 AAA", "deploying", 0.0))
        store.change_deployment(machine, status="terminated", stopped_at=5.0)
        late = store.change_deployment(machine, status="running")  # another process, which has not heard of it
        assert (late.status, late.stopped_at, late.terms) == ("terminated", 5.0, terms)

    def test_an_interrupted_change_is_no_change(self, tmp_path: Path) -> None:
        store = Store(Home(tmp_path / "a"))
        store.add_key(StoredKey("k", "me", "ssh-ed25519 AAA", 0.0))

        def change_and_die() -> None:
            with store.transaction(write=True) as db:
                db.execute("DELETE FROM ssh_keys")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            change_and_die()
        assert len(store.ssh_keys()) == 1

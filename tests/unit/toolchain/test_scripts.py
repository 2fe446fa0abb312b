"""The steps of scripts/setup: one clear line when something is missing, nothing done that need not be."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
LIBRARY = f". {CHECKOUT}/scripts/env; . {CHECKOUT}/scripts/lib.sh; set +e; cd {CHECKOUT}; "


def bash(lines: str, cache: Path, sources: str = "") -> subprocess.CompletedProcess[str]:
    """Run lines of bash with the library (and parts of setup) sourced, as a machine with nothing but a base system."""
    parts = "".join(f". {CHECKOUT}/scripts/setup.d/{part}.sh; " for part in sources.split())
    return subprocess.run(
        ["bash", "-uc", LIBRARY + parts + lines],
        env={"HOME": str(cache), "MOESTRO_CACHE": str(cache), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestEnvironment:
    def test_proxies_are_kept_out_of_the_loopback(self, tmp_path: Path) -> None:
        proxied = f"export https_proxy=http://proxy:1 no_proxy=internal; . {CHECKOUT}/scripts/env; echo $no_proxy"
        assert bash(proxied, tmp_path).stdout == "internal,localhost,127.0.0.1\n"

    def test_nothing_is_set_where_there_is_no_proxy(self, tmp_path: Path) -> None:
        assert bash('echo "${no_proxy-unset}"', tmp_path).stdout == "unset\n"


class TestStep:
    def test_shows_a_name_and_a_time_and_logs_the_rest(self, tmp_path: Path) -> None:
        ran = bash('work() { echo details; echo more >&2; }; step "Some work" work', tmp_path)
        assert ran.returncode == 0
        assert ran.stdout == ""
        assert ran.stderr.split() == ["Some", "work", "0", "s"]
        log = (tmp_path / "logs/setup.log").read_text()
        assert "details\nmore\n" in log

    def test_any_failing_command_ends_it_and_shows_what_it_wrote(self, tmp_path: Path) -> None:
        ran = bash('work() { echo why; false; touch "$HOME/after"; }; step Work work; touch "$HOME/next"', tmp_path)
        assert ran.returncode == 1
        assert ran.stderr.splitlines()[-2:] == ["why", f"  all of it: {tmp_path}/logs/setup.log"]
        assert not (tmp_path / "after").exists()
        assert not (tmp_path / "next").exists()

    def test_what_is_missing_is_said_in_one_line(self, tmp_path: Path) -> None:
        ran = bash('work() { echo noise; fail "no compass: buy one"; }; step Work work', tmp_path)
        assert ran.returncode == 69
        assert "  no compass: buy one" in ran.stderr.splitlines()
        assert "noise" not in ran.stderr

    def test_an_interrupt_ends_what_it_started(self, tmp_path: Path) -> None:
        lines = 'work() { sleep 50 & echo $! >"$HOME/pid"; wait; }; (sleep 0.5; kill -INT $$) & step Work work'
        assert bash(lines, tmp_path).returncode == 130
        sleeper = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/cmdline")
        deadline = time.monotonic() + 5
        while sleeper.exists() and sleeper.read_bytes():  # a zombie's is empty
            assert time.monotonic() < deadline, "the step's child still runs"
            time.sleep(0.01)


class TestPackages:
    def test_are_named_before_they_are_installed(self, tmp_path: Path) -> None:
        lines = 'apt-get() { echo "apt-get $*" >&3; }; id() { echo 0; }; debian_packages Docker docker.io iptables'
        shown = bash(lines, tmp_path).stderr
        assert shown.index("installing Debian packages: docker.io iptables") < shown.index("apt-get install")

    @pytest.mark.parametrize(
        ("machine", "advice"),
        [
            ("is_debian() { true; }; id() { echo 1000; }", "Docker is missing: run 'sudo apt-get install docker.io'"),
            ("is_debian() { false; }", "Docker is missing: install it (on Debian: docker.io)"),
        ],
    )
    def test_are_left_to_whoever_may_install_them(self, tmp_path: Path, machine: str, advice: str) -> None:
        ran = bash(f"{machine}; debian_packages Docker docker.io", tmp_path)
        assert (ran.returncode, ran.stderr.strip()) == (69, advice)


@pytest.mark.parametrize(
    ("wanted", "version", "enough"),
    [("1.21", "1.21", True), ("1.21", "1.9.7", False), ("1.21", "1.26.8", True), ("1.21", "1.19~1", False)],
)
def test_versions_are_compared_by_their_numbers(tmp_path: Path, wanted: str, version: str, enough: bool) -> None:
    assert (bash(f"at_least {wanted} {version}", tmp_path).returncode == 0) is enough


@pytest.mark.parametrize(("program", "kept"), [("bash", True), ("dockerd", False)])
def test_a_noted_process_number_counts_only_while_that_program_has_it(tmp_path: Path, program: str, kept: bool) -> None:
    noted = tmp_path / "noted.pid"
    bash(f"echo $$ >{noted}; forget_stale_pid {program} {noted}", tmp_path, sources="docker")
    assert noted.exists() is kept


class TestDocker:
    def test_that_answers_is_left_alone(self, tmp_path: Path) -> None:
        lines = "docker_answers() { true; }; docker_start() { echo started; }; docker_engine"
        ran = bash(lines, tmp_path, sources="docker")
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")

    @pytest.mark.parametrize(
        ("situation", "advice"),
        [
            ("DOCKER_HOST=tcp://192.0.2.1", "Docker does not answer at DOCKER_HOST=tcp://192.0.2.1: start it"),
            ("id() { [ $1 = -u ] && echo 1000 || echo ann; }", "let ann use it ('sudo usermod -aG docker ann'"),
        ],
    )
    def test_that_cannot_be_started_from_here_is_said_in_one_line(
        self, tmp_path: Path, situation: str, advice: str
    ) -> None:
        ran = bash(f"docker_answers() {{ false; }}; {situation}; docker_engine", tmp_path, sources="docker")
        assert ran.returncode == 69
        assert advice in ran.stderr
        assert len(ran.stderr.strip().splitlines()) == 1

    def test_is_installed_and_started_where_it_is_missing(self, tmp_path: Path) -> None:
        lines = (
            "docker_answers() { [ -e $HOME/started ]; }; have() { false; }; id() { echo 0; };"
            "debian_packages() { echo packages $*; }; docker_start() { touch $HOME/started; }; docker_engine"
        )
        ran = bash(lines, tmp_path, sources="docker")
        assert (ran.returncode, ran.stdout) == (0, "packages Docker docker.io iptables\n")


class TestPulumi:
    OFFLINE = "moestro_pulumi_usable() { false; }; pulumi_official() { return 1; };"
    INSTALL = (
        "install_into() { mkdir -p $1/bin; touch $1/bin/pulumi-language-python-exec;"
        'printf "#!/bin/sh\\necho $2\\n" >$1/bin/pulumi; chmod +x $1/bin/*; };'
    )

    def test_in_the_cache_is_not_fetched_again(self, tmp_path: Path) -> None:
        lines = (
            f"{self.INSTALL} install_into $PULUMI_DIRECTORY v$MOESTRO_PULUMI_VERSION;"
            "pulumi_official() { echo fetched; }; pulumi_engine"
        )
        assert bash(lines, tmp_path, sources="pulumi").stdout == ""

    @pytest.mark.parametrize(
        "damage", ["rm $1/pulumi-language-python-exec", ": >$1/pulumi", "rm -r $1", "echo >$1/pulumi"]
    )
    def test_that_is_damaged_in_the_cache_is_fetched_again(self, tmp_path: Path, damage: str) -> None:
        lines = (
            f"{self.INSTALL} install_into $PULUMI_DIRECTORY v$MOESTRO_PULUMI_VERSION;"
            f"harm() {{ {damage}; }}; harm $PULUMI_DIRECTORY/bin; pulumi_official() {{ echo fetched; }}; pulumi_engine"
        )
        assert bash(lines, tmp_path, sources="pulumi").stdout == "fetched\n"

    def test_is_built_where_there_is_no_curl_to_fetch_it(self, tmp_path: Path) -> None:
        bare = "moestro_pulumi_usable() { false; }; have() { false; }; is_debian() { false; };"
        assert bash(f"{bare} pulumi_build() {{ echo built; }}; pulumi_engine", tmp_path, "pulumi").stdout == "built\n"

    def test_takes_its_place_only_when_it_is_whole(self, tmp_path: Path) -> None:
        lines = (
            "have() { true; }; curl() { true; }; touch $HOME/interrupted;"
            "sh() { mkdir -p $5/bin; touch $5/bin/pulumi; [ ! -e $HOME/interrupted ]; };"
            "pulumi_official || ls $PULUMI_DIRECTORY; rm $HOME/interrupted; pulumi_official && ls $PULUMI_DIRECTORY/bin"
        )
        ran = bash(lines, tmp_path, sources="pulumi")
        assert ran.stdout == "pulumi\n", ran.stderr

    def test_is_built_only_where_the_official_one_cannot_be_reached(self, tmp_path: Path) -> None:
        assert (
            bash(f"{self.OFFLINE} pulumi_build() {{ echo built; }}; pulumi_engine", tmp_path, "pulumi").stdout
            == "built\n"
        )

    @pytest.mark.parametrize("go", ["have() { false; }", "have() { true; }; go_version() { echo 1.19.8; }"])
    def test_without_a_go_that_is_new_enough_is_one_clear_line(self, tmp_path: Path, go: str) -> None:
        lines = f"{self.OFFLINE} {go}; debian_candidate() {{ echo 2:1.19~1; }}; setup_pulumi"
        ran = bash(lines, tmp_path, sources="pulumi")
        assert ran.returncode == 69
        assert (
            "  Pulumi is missing and neither get.pulumi.com nor Go 1.21 or later to build it with is at hand: "
            "install one of them"
        ) in ran.stderr.splitlines()


def test_an_unknown_part_or_kind_is_refused_with_the_choice(tmp_path: Path) -> None:
    setup = bash("scripts/setup kettle", tmp_path)
    assert (setup.returncode, setup.stderr.strip()) == (
        69,
        "there is no part 'kettle': choose from python pulumi docker image model nginx",
    )
    test = bash("scripts/test slow", tmp_path)
    assert (test.returncode, test.stderr.strip()) == (
        69,
        "there is no kind of test 'slow': choose from lint unit contract integration e2e",
    )


class TestPythonEnvironment:
    MAKE = "cd $HOME; python3 -m venv --without-pip .venv; "

    @pytest.mark.parametrize(
        ("happens", "works"),
        [
            ("true", True),
            ("ln -sf /nowhere .venv/bin/python", False),
            ("mv .venv/lib/python3.* .venv/lib/python3.1", False),
            ("mkdir moved; mv .venv moved; cd moved", False),
            ("rm -r .venv", False),
        ],
    )
    def test_is_made_again_where_its_python_or_its_place_is_another(
        self, tmp_path: Path, happens: str, works: bool
    ) -> None:
        ran = bash(f"{self.MAKE} {happens}; python_works", tmp_path, sources="python")
        assert (ran.returncode == 0) is works

    def test_what_an_interrupted_setup_left_is_not_made_the_base_of_the_next(self, tmp_path: Path) -> None:
        look = "python_interpreter() { [ -e .venv ] || echo gone >&2; echo true; }; python_create"
        assert "gone" in bash(f"{self.MAKE} {look}", tmp_path, sources="python").stderr

    @pytest.mark.parametrize("part", ["image", "model"])
    def test_what_needs_it_says_so_in_one_line(self, tmp_path: Path, part: str) -> None:
        ran = bash(f"cd $HOME; setup_{part}", tmp_path, sources=f"python {part}")
        assert ran.returncode == 69
        assert (
            f"  {tmp_path}/.venv is missing or not yours: run 'scripts/setup python' first" in ran.stderr.splitlines()
        )

    def test_of_somebody_else_is_named_in_one_line(self, tmp_path: Path) -> None:
        ran = bash(f"{self.MAKE} rm() {{ return 1; }}; rm .venv/bin/python; python_create", tmp_path, sources="python")
        assert ran.returncode == 69
        assert "/.venv cannot be made anew by " in ran.stderr

    def test_nothing_is_cached_outside_of_the_cache(self, tmp_path: Path) -> None:
        ran = bash("env", tmp_path, sources="python")
        assert f"UV_CACHE_DIR={tmp_path}/uv" in ran.stdout.splitlines()
        assert f"PIP_CACHE_DIR={tmp_path}/pip" in ran.stdout.splitlines()


class TestNginx:
    LIBRARY = "NGINX_DIRECTORY=$HOME/nginx; "
    PACKAGES = (
        'apt-get() { [ "$1" = download ] && [ "$3" = nginx-core ] && touch nginx-core_1.deb; };'
        'dpkg() { mkdir -p usr/sbin; printf "#!/bin/sh\\n" >usr/sbin/nginx; chmod +x usr/sbin/nginx; };'
    )

    def test_of_the_system_is_used(self, tmp_path: Path) -> None:
        ran = bash(f"{self.LIBRARY} have() {{ true; }}; nginx_unpack() {{ echo; }}; nginx_program", tmp_path, "nginx")
        assert (ran.returncode, ran.stdout) == (0, "")

    def test_is_unpacked_and_not_installed_where_there_is_none(self, tmp_path: Path) -> None:
        lines = f"{self.LIBRARY} {self.PACKAGES} have() {{ false; }}; is_debian() {{ true; }}; nginx_program"
        for _ in range(2):
            assert bash(lines, tmp_path, "nginx").returncode == 0
        assert sorted(path.name for path in tmp_path.glob("nginx*")) == ["nginx"]
        assert (tmp_path / "nginx/usr/sbin/nginx").exists()

    def test_elsewhere_is_asked_for_in_one_line(self, tmp_path: Path) -> None:
        ran = bash(f"{self.LIBRARY} have() {{ false; }}; is_debian() {{ false; }}; nginx_program", tmp_path, "nginx")
        assert ran.returncode == 69
        assert ran.stderr.strip().splitlines()[-1] == "  nginx, which tests start on loopback, is missing: install it"


class TestBaseImage:
    TOOLS = (
        "have() { true; }; id() { echo 0; }; docker() { cat >/dev/null; };"
        'debootstrap() { echo "$3"; mkdir -p "$3/etc/apt/sources.list.d"; touch "$3/etc/apt/sources.list"; };'
    )

    def test_is_made_in_a_cache_with_blanks_and_leaves_nothing(self, tmp_path: Path) -> None:
        cache = tmp_path / "the cache"
        (cache / "debootstrap.killed").mkdir(parents=True)
        ran = bash(f"{self.TOOLS} base_from_packages", cache, sources="python image")
        assert ran.returncode == 0, ran.stderr
        assert " " not in ran.stdout.strip()
        assert list(cache.glob("debootstrap.*")) == []
        assert not Path(ran.stdout.strip()).parent.exists()


class TestAtTheSameTime:
    def test_what_a_killed_setup_left_running_keeps_its_lock(self, tmp_path: Path) -> None:
        lines = (
            'exec >/dev/null 2>&1 3>&1 9>"$HOME/lock"; flock 9; work() { echo $BASHPID >"$HOME/pid"; exec sleep 50; };'
            "(until [ -s $HOME/pid ]; do sleep 0.05; done; kill -KILL $$) & step Work work"
        )
        assert bash(lines, tmp_path).returncode == -9
        free = ["flock", "-n", str(tmp_path / "lock"), "true"]
        try:
            assert subprocess.run(free, check=False).returncode == 1
        finally:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while subprocess.run(free, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class TestUp:
    """scripts/up in a checkout of its own, with a Pulumi and a setup that do nothing but say so."""

    PULUMI = """#!/bin/sh
[ "$1" != version ] || { echo v3.999.0; exit; }
echo "$*" >>"$HOME/calls"
[ "$1 $2" != "stack export" ] || cat "$HOME/export" 2>/dev/null
[ "$1" != up ] || [ ! -e "$HOME/slow" ] || { touch "$HOME/begun"; sleep 50; }
"""

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        checkout = tmp_path / "a checkout"
        for name in ("scripts/up", "scripts/env", "requirements.txt"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, checkout / name)
        for name, text in {
            "scripts/setup": "#!/bin/sh\n",
            ".venv/bin/python": "#!/bin/sh\ncat >/dev/null\n",
            ".venv/bin/pulumi": self.PULUMI,
            ".venv/bin/pulumi-language-python": "#!/bin/sh\n",
        }.items():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_text(text)
            (checkout / name).chmod(0o755)
        return checkout

    def environment(self, home: Path, **given: str) -> dict[str, str]:
        return {"HOME": str(home), "PATH": "/usr/bin:/bin", "MOESTRO_CACHE": f"{home}/the cache"} | given

    def up(self, checkout: Path, home: Path, **given: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment(home, **given)
        line = [checkout / "scripts/up"]
        return subprocess.run(line, env=environment, cwd="/", capture_output=True, text=True, timeout=60)

    def test_from_anywhere_and_where_there_are_blanks(self, checkout: Path, tmp_path: Path) -> None:
        ran = self.up(checkout, tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert "up --stack local --yes --skip-preview --suppress-outputs" in (tmp_path / "calls").read_text()

    def test_in_a_backend_that_the_user_is_logged_in_to(self, checkout: Path, tmp_path: Path) -> None:
        (tmp_path / ".pulumi").mkdir()
        (tmp_path / ".pulumi/credentials.json").write_text('{"current": "https://api.example.com"}')
        ran = self.up(checkout, tmp_path)
        assert ran.returncode == 0, ran.stderr

    @pytest.mark.parametrize("size", [0, 200_000])
    def test_interrupted_creates_are_forgotten_however_long_the_state_is(
        self, checkout: Path, tmp_path: Path, size: int
    ) -> None:
        (tmp_path / "export").write_text('"pending_operations": [\n' + "x\n" * size)
        assert self.up(checkout, tmp_path).returncode == 0
        assert "refresh --stack local --yes" in (tmp_path / "calls").read_text()

    def test_twice_at_once_is_refused_in_one_line(self, checkout: Path, tmp_path: Path) -> None:
        (tmp_path / "slow").touch()
        line = [checkout / "scripts/up"]
        first = subprocess.Popen(
            line, env=self.environment(tmp_path), start_new_session=True, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = self.up(checkout, tmp_path)
        first.kill()  # as with kill -9: Pulumi goes on
        first.wait()
        third = self.up(checkout, tmp_path)
        os.killpg(first.pid, signal.SIGKILL)
        for ran in (second, third):
            said = f"  another scripts/up is at work with {tmp_path}/the cache: wait for it to end\n"
            assert (ran.returncode, ran.stderr) == (69, said)


def test_a_failed_check_does_not_keep_the_others_from_being_made(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("scripts/test", "scripts/env", "scripts/lib.sh", "requirements.txt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, checkout / name)
    for name, text in {
        "scripts/setup": "",
        ".venv/bin/ruff": "exit 1",
        ".venv/bin/pytest": 'touch "$HOME/tested"',
    }.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(f"#!/bin/sh\n{text}\n")
        (checkout / name).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    line = [checkout / "scripts/test", "lint", "unit"]
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 69
    assert ran.stderr.splitlines()[-1] == "  failed: lint"
    assert (tmp_path / "tested").exists()


class TestRoomForHosts:
    def room(self, tmp_path: Path, limit: str) -> tuple[str, str]:
        file = tmp_path / "max_user_instances"
        file.write_text(limit)
        return bash(f'room_for_hosts "{file}"', tmp_path, sources="docker").stderr, file.read_text().strip()

    def test_a_low_limit_is_raised_and_said(self, tmp_path: Path) -> None:
        said, limit = self.room(tmp_path, "128")
        assert "raising fs.inotify.max_user_instances from 128 to 1024" in said
        assert limit == "1024"

    def test_a_higher_one_stays(self, tmp_path: Path) -> None:
        assert self.room(tmp_path, "65536") == ("", "65536")

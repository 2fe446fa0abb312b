# shellcheck shell=bash
# The virtual environment .venv: every package of requirements.lock, and this checkout itself.

OLDEST_PYTHON=3.11
export UV_CACHE_DIR="${UV_CACHE_DIR:-$MOESTRO_CACHE/uv}" PIP_CACHE_DIR="${PIP_CACHE_DIR:-$MOESTRO_CACHE/pip}"

setup_python() {
    step "Python environment" python_environment
}

python_environment() {
    local stamp
    stamp="$(sha256 requirements.lock pyproject.toml)"
    if [ "$(cat .venv/moestro-stamp 2>/dev/null)" = "$stamp" ] && python_works; then
        return
    fi
    python_create
    .venv/bin/uv pip sync --python .venv/bin/python --require-hashes requirements.lock
    .venv/bin/uv pip install --python .venv/bin/python --no-deps --editable .
    echo "$stamp" >.venv/moestro-stamp
}

# For the parts that come after this one.
python_needed() {
    [ -x .venv/bin/python ] || fail "$PWD/.venv is missing or not yours: run 'scripts/setup python' first"
}

# An environment with the locked uv in it, which installs the rest in seconds (and takes pip away again).
python_create() {
    ! { python_works && .venv/bin/uv --version; } || return 0
    local python
    # Before the search for an interpreter: what is left of the environment is the first on PATH.
    { [ -w . ] && rm -rf .venv; } || fail "$PWD/.venv cannot be made anew by $(id -un): use a checkout of your own"
    python="$(python_interpreter)"
    "$python" -m venv .venv
    sed -n '/^uv==/,/^ *# via/p' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.lock
}

# Whether the environment was made here and with the interpreter that it has now: neither a moved checkout nor a system
# that got another Python can use it.
python_works() {
    grep -qsF -- " $(pwd -P)/.venv" .venv/pyvenv.cfg &&
        .venv/bin/python -I -c 'import os, sys, sysconfig; sys.exit(not os.path.isdir(sysconfig.get_path("purelib")))'
}

# An interpreter that is new enough and can make virtual environments, installed where there is none.
python_interpreter() {
    local found
    found="$(python_find)" && echo "$found" && return
    debian_packages "Python $OLDEST_PYTHON or later with venv" python3 python3-venv >&2
    python_find || fail "Python $OLDEST_PYTHON or later is needed, and this system's is $(python3 --version 2>&1): install a newer one"
}

python_find() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if have "$name" && "$name" -c "import sys, ensurepip, venv; sys.exit(sys.version_info < (${OLDEST_PYTHON/./, }))"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# shellcheck shell=bash
# Sourced by the scripts beside it: steps with a name and a time, one clear line when something is missing.
# File descriptor 3 is the terminal; what a step prints otherwise goes to the log.

shopt -s inherit_errexit
exec 3>&2
EXPLAINED=69 # exit status after a line that says it all
LOG="$MOESTRO_CACHE/logs/setup.log"
if ! mkdir -p "$MOESTRO_CACHE/logs" 2>/dev/null || [ ! -w "$MOESTRO_CACHE/logs" ]; then
    printf '  %s\n' "$MOESTRO_CACHE cannot be written: set MOESTRO_CACHE to a directory that can" >&3
    exit "$EXPLAINED"
fi

# Say one line to the user.
say() {
    printf '%s\n' "$*" >&3
}

# End the step (or the script) with the one line that says what is missing and what to do.
fail() {
    printf '\n  %s\n' "$*" >&3
    exit "$EXPLAINED"
}

# A note under the running step: what takes long, what is about to be installed.
note() {
    printf '\n    %s ' "$*" >&3
}

# step NAME COMMAND...: run it, its output in the log, and show how long it took.
step() {
    local name="$1" child status=0 start="$SECONDS"
    shift
    printf '  %-22s' "$name" >&3
    printf '\n== %s, %s\n' "$name" "$(date -u +%FT%TZ)" >>"$LOG"
    # In a process group of its own, so that an interrupt ends all of it; and not in an `if`, which would turn off -e.
    set -m
    (set -e && "$@") >>"$LOG" 2>&1 </dev/null &
    child=$!
    set +m
    trap 'kill -TERM -- "-$child" 2>/dev/null; exit 130' INT TERM
    wait "$child" || status=$?
    trap - INT TERM
    [ "$status" -eq 0 ] || step_failed "$status"
    printf '%4d s\n' "$((SECONDS - start))" >&3
}

# The end of what the failed step wrote, unless it has explained itself.
step_failed() {
    if [ "$1" -ne "$EXPLAINED" ]; then
        say "  failed:"
        awk '/^== / { text = ""; next } { text = text $0 "\n" } END { printf "%s", text }' "$LOG" | tail -n 40 >&3
    fi
    say "  all of it: $LOG"
    exit "$1"
}

have() {
    command -v "$1" >/dev/null 2>&1
}

is_debian() {
    have apt-get && have dpkg
}

# debian_packages WHY PACKAGE...: install them, and say so first; one clear line where that cannot be done.
debian_packages() {
    local why="$1"
    shift
    is_debian || fail "$why is missing: install it (on Debian: $*)"
    [ "$(id -u)" -eq 0 ] || fail "$why is missing: run 'sudo apt-get install $*'"
    note "installing Debian packages: $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# The version that Debian would install, empty when there is none.
debian_candidate() {
    is_debian || return 0
    apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p'
}

# at_least WANTED VERSION
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

sha256() {
    cat "$@" | sha256sum | cut -c1-64
}

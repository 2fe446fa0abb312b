# shellcheck shell=bash
# Docker: the one that runs, else the system's own started, else Debian's installed and started by hand.

INOTIFY_INSTANCES=1024

setup_docker() {
    step "Docker" docker_ready
}

docker_ready() {
    docker_engine
    room_for_hosts
}

# A host's systemd, dbus and logind hold about 8 inotify instances. The kernel's usual limit of 128 is reached with 16
# hosts, and then services of the next one fail at boot, its sshd among them.
room_for_hosts() {
    local limit="${1:-/proc/sys/fs/inotify/max_user_instances}"
    [ -r "$limit" ] && [ "$(cat "$limit")" -lt "$INOTIFY_INSTANCES" ] || return 0
    if [ -w "$limit" ]; then
        note "raising fs.inotify.max_user_instances from $(cat "$limit") to $INOTIFY_INSTANCES, until the next boot"
        echo "$INOTIFY_INSTANCES" >"$limit"
    else
        note "more than 16 hosts at once need 'sudo sysctl fs.inotify.max_user_instances=$INOTIFY_INSTANCES'"
    fi
}

docker_engine() {
    ! docker_answers || return 0
    [ -z "${DOCKER_HOST:-}" ] || fail "Docker does not answer at DOCKER_HOST=$DOCKER_HOST: start it, or unset DOCKER_HOST"
    [ "$(id -u)" -eq 0 ] || fail "Docker does not answer: start it, and let $(id -un) use it ('sudo usermod -aG docker $(id -un)', then log in again)"
    have dockerd || debian_packages "Docker" docker.io iptables
    docker_start
    docker_wait
}

docker_answers() {
    have docker && timeout 20 docker info >/dev/null 2>&1
}

# Under systemd the system's own service; elsewhere by hand, with its data in the cache.
docker_start() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
        return
    fi
    mkdir -p "$MOESTRO_CACHE/docker"
    forget_stale_pid dockerd "$MOESTRO_CACHE/docker/dockerd.pid"
    forget_stale_pid containerd /var/run/docker/containerd/containerd.pid
    setsid nohup dockerd --data-root "$MOESTRO_CACHE/docker/data" --pidfile "$MOESTRO_CACHE/docker/dockerd.pid" \
        </dev/null >>"$MOESTRO_CACHE/logs/dockerd.log" 2>&1 3>&- 8>&- 9>&- &
}

# forget_stale_pid PROGRAM FILE: after a crash, Docker takes any process that has got the noted number for its own.
forget_stale_pid() {
    local pid
    pid="$(cat "$2" 2>/dev/null)" || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] || rm -f "$2"
}

docker_wait() {
    local deadline=$((SECONDS + 60))
    until docker_answers; do
        [ "$SECONDS" -lt "$deadline" ] || fail "Docker did not start within a minute: see $MOESTRO_CACHE/logs/dockerd.log"
        sleep 0.5
    done
}

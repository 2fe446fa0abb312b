# shellcheck shell=bash
# The image of the sandbox's hosts, built from moestro/clouds/sandbox/image.

BASE_IMAGE=debian:bookworm-slim

setup_image() {
    step "Sandbox host image" host_image
}

host_image() {
    local reference
    python_needed
    reference="$(.venv/bin/python -c 'from moestro.clouds.sandbox.image import reference; print(reference())')"
    ! docker image inspect "$reference" >/dev/null || return 0
    base_image
    note "building $reference (about 3 minutes; with vLLM's CPU build, 5 GB)"
    build_image "$reference"
    docker image prune --force --filter label=moestro.stage=engine
    remove_older_images "$reference"
}

base_image() {
    ! docker image inspect "$BASE_IMAGE" >/dev/null || return 0
    timeout 300 docker pull --quiet "$BASE_IMAGE" || base_from_packages
}

# Where no image registry can be reached: the same Debian from its packages.
base_from_packages() (
    have debootstrap || debian_packages "debootstrap" debootstrap debian-archive-keyring
    [ "$(id -u)" -eq 0 ] || fail "no image registry can be reached, and debootstrap needs root: run 'sudo scripts/setup image'"
    note "no image registry can be reached: making $BASE_IMAGE with debootstrap"
    local root link
    link="$(mktemp -d)" # a way to the cache without blanks: debootstrap cannot do with them
    ln -s "$MOESTRO_CACHE" "$link/cache"
    rm -rf "$MOESTRO_CACHE"/debootstrap.* # what a killed setup left
    root="$(mktemp -d "$link/cache/debootstrap.XXXXXX")"
    trap 'rm -rf "$root" "$link"' EXIT
    debootstrap --variant=minbase bookworm "$root"
    sed 's/ bookworm / bookworm-updates /; s/\r//' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/updates.list"
    sed -e 's/ bookworm / bookworm-security /' -e 's#/debian/* bookworm-security#/debian-security bookworm-security#' \
        "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/security.list"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$BASE_IMAGE"
)

build_image() (
    local context arguments=() name
    rm -rf "$MOESTRO_CACHE"/build.*
    context="$(mktemp -d "$MOESTRO_CACHE/build.XXXXXX")"
    trap 'rm -rf "$context"' EXIT
    cp -r moestro/clouds/sandbox/image/. "$context"
    certificates >"$context/ca.crt"
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
        [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
    done
    docker build ${arguments[@]+"${arguments[@]}"} --tag "$1" "$context"
)

# The certificates that this machine's own package tools were told to trust; nothing where they were told nothing.
certificates() {
    local bundle="${PIP_CERT:-${SSL_CERT_FILE:-${REQUESTS_CA_BUNDLE:-${CURL_CA_BUNDLE:-}}}}"
    [ -z "$bundle" ] || cat "$bundle"
}

# Images of earlier Dockerfiles, but for those that a host still runs on.
remove_older_images() {
    local older
    docker images --format '{{.Repository}}:{{.Tag}}' "${1%:*}" | { grep -vxF "$1" || true; } | while read -r older; do
        docker rmi "$older" || true
    done
}

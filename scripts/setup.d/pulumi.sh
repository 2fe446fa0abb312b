# shellcheck shell=bash
# Pulumi: the one on PATH or in the cache, else the official one, else the engine built from its Go modules together
# with the language host of scripts/toolchain.

PULUMI_DIRECTORY="$MOESTRO_CACHE/toolchain/pulumi-$MOESTRO_PULUMI_VERSION"
OLDEST_GO=1.21 # from here on, Go fetches the newer toolchain that a module asks for by itself
ENGINE_MODULE=github.com/pulumi/pulumi/pkg/v3
SDK_MODULE=github.com/pulumi/pulumi/sdk/v3

setup_pulumi() {
    step "Pulumi" pulumi_engine
}

pulumi_engine() {
    if ! pulumi_in_cache && ! moestro_pulumi_usable; then
        ! have pulumi || note "the Pulumi on PATH will not do (older than $MOESTRO_PULUMI_VERSION, or without its language host)"
        pulumi_official || pulumi_build
    fi
    [ ! -e "$PULUMI_DIRECTORY/built" ] || install -m 755 scripts/toolchain/pulumi-language-python "$PULUMI_DIRECTORY/bin/"
}

# Whole, as it was installed: what was interrupted or damaged is made again.
pulumi_in_cache() {
    [ -x "$PULUMI_DIRECTORY/bin/pulumi-language-python-exec" ] &&
        [ "$("$PULUMI_DIRECTORY/bin/pulumi" version)" = "v$MOESTRO_PULUMI_VERSION" ]
}

# The official installer, given five seconds to be reached. It writes nowhere else.
pulumi_official() {
    local installer="$MOESTRO_CACHE/toolchain/install-pulumi.sh" unfinished="$PULUMI_DIRECTORY.unfinished"
    have curl || { is_debian && [ "$(id -u)" -eq 0 ] && debian_packages "curl" curl ca-certificates; } || return 1
    mkdir -p "$(dirname "$installer")"
    curl -fsSL --connect-timeout 5 --max-time 60 -o "$installer" https://get.pulumi.com || return 1
    note "downloading Pulumi $MOESTRO_PULUMI_VERSION"
    rm -rf "$unfinished"
    sh "$installer" --version "$MOESTRO_PULUMI_VERSION" --install-root "$unfinished" --no-edit-path || return 1
    rm -rf "$PULUMI_DIRECTORY" && mv "$unfinished" "$PULUMI_DIRECTORY"
}

pulumi_build() (
    go_environment
    local source="$MOESTRO_CACHE/toolchain/pulumi-source"
    note "building Pulumi $MOESTRO_PULUMI_VERSION from its Go modules (about 4 minutes on 2 cores)"
    rm -rf "$source"
    mkdir -p "$source/bin"
    cd "$source" || exit
    go mod init moestro.local/pulumi-engine
    go get "$ENGINE_MODULE/cmd/pulumi@v$MOESTRO_PULUMI_VERSION"
    go build -trimpath -o bin/pulumi \
        -ldflags "-s -w -X $SDK_MODULE/go/common/version.Version=v$MOESTRO_PULUMI_VERSION" "$ENGINE_MODULE/cmd/pulumi"
    install -m 755 "$(go list -m -f '{{.Dir}}' "$SDK_MODULE")/python/cmd/pulumi-language-python-exec" bin/
    touch built && rm go.mod go.sum
    rm -rf "$PULUMI_DIRECTORY" && mv "$source" "$PULUMI_DIRECTORY"
    [ -z "${OWN_GO_DIRECTORY:-}" ] || rm -rf "$OWN_GO_DIRECTORY"
)

# A Go that is new enough; its modules and build cache go to a directory that is removed after the build.
go_environment() {
    # What Go notes about its own use goes there too; the user's settings stay what they are.
    export GOENV="${GOENV:-${XDG_CONFIG_HOME:-$HOME/.config}/go/env}" XDG_CONFIG_HOME="$MOESTRO_CACHE/toolchain/go-notes"
    if ! have go || ! at_least "$OLDEST_GO" "$(go_version)"; then
        local offered
        offered="$(debian_candidate golang-go)"
        at_least "$OLDEST_GO" "${offered#*:}" || fail "Pulumi is missing and $(go_needed): install one of them"
        debian_packages "Go" golang-go
    fi
    export GOFLAGS=-modcacherw
    [ -z "${GOPATH:-}${GOMODCACHE:-}${GOCACHE:-}" ] || return 0
    OWN_GO_DIRECTORY="$MOESTRO_CACHE/toolchain/go"
    export GOPATH="$OWN_GO_DIRECTORY/path" GOCACHE="$OWN_GO_DIRECTORY/build"
}

go_version() {
    go env GOVERSION | sed 's/^go//'
}

go_needed() {
    echo "neither get.pulumi.com nor Go $OLDEST_GO or later to build it with is at hand"
}

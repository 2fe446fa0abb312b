# shellcheck shell=bash
# The nginx that tests start on loopback: the system's, else the program alone from Debian's package, unpacked in the
# cache. The package itself is not installed, because it would open a web server on port 80.

NGINX_DIRECTORY="$MOESTRO_CACHE/toolchain/nginx"

setup_nginx() {
    step "nginx for tests" nginx_program
}

nginx_program() {
    ! PATH="$PATH:/usr/sbin" have nginx || return 0
    ! "$NGINX_DIRECTORY/usr/sbin/nginx" -v || return 0
    is_debian || fail "nginx, which tests start on loopback, is missing: install it"
    nginx_unpack
    "$NGINX_DIRECTORY/usr/sbin/nginx" -v || fail "Debian's nginx does not run here: install nginx"
}

# Which package holds the program differs: nginx itself in Debian 12 and later, nginx-core or nginx-light before.
nginx_unpack() (
    local unfinished="$NGINX_DIRECTORY.unfinished" package
    rm -rf "$unfinished"
    mkdir -p "$unfinished"
    cd "$unfinished" || exit
    [ "$(id -u)" -ne 0 ] || apt-get update -qq
    for package in nginx nginx-core nginx-light; do
        apt-get download -q "$package" || continue
        dpkg -x "$package"_*.deb . && [ ! -x usr/sbin/nginx ] || break
    done
    rm -f ./*.deb
    rm -rf "$NGINX_DIRECTORY" && mv "$unfinished" "$NGINX_DIRECTORY"
)

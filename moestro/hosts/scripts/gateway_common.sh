# Shared by the gateway's scripts.
# One GET on loopback without any tool; prints the answer's body, nothing where nobody listens.
ask() {
  (exec 3<> "/dev/tcp/127.0.0.1/$1" && printf 'GET /%s HTTP/1.0\r\n\r\n' "$2" >&3 && sed '1,/^\r*$/d' <&3) 2> /dev/null
}
# The status port of the configuration in directory $1.
status_port() { sed -n 's/^ *listen 127\.0\.0\.1:\([0-9]*\);$/\1/p' "$1/nginx.conf" 2> /dev/null; }
# The workers of unit $1 that take requests.
workers() {
  main=$(systemctl show --property=MainPID --value "$1")
  [ "${main:-0}" != 0 ] || return 0
  for status in $(grep -lsx "PPid:[[:space:]]*$main" /proc/[0-9]*/status); do
    retired "$(basename "${status%/status}")" || basename "${status%/status}"
  done
}
# Whether none of the workers $@ takes requests any more. After a reload old ones do for some moments beside the new.
retired() {
  for worker in "$@"; do
    [ ! -e "/proc/$worker" ] || grep -qs 'shutting down' "/proc/$worker/cmdline" || return 1
  done
}
# Until nginx runs generation $2 on status port $1 and the workers $4 are retired; fails after $3 tenths of a second.
runs() {
  tries=0
  # shellcheck disable=SC2086 # several workers
  until [ "$(ask "$1" generation)" = "$2" ] && retired $4; do
    tries=$((tries + 1))
    [ "$tries" -lt "$3" ] || return 1
    sleep 0.1
  done
}

# Shared by the gateway's scripts.
# One GET on loopback without any tool; prints the answer's body, nothing where nobody listens.
ask() {
  (exec 3<> "/dev/tcp/127.0.0.1/$1" && printf 'GET /%s HTTP/1.0\r\n\r\n' "$2" >&3 && sed '1,/^\r*$/d' <&3) 2> /dev/null
}
# The status port of the configuration in directory $1.
status_port() { sed -n 's/^ *listen 127\.0\.0\.1:\([0-9]*\);$/\1/p' "$1/nginx.conf" 2> /dev/null; }
# Until nginx runs generation $2 on status port $1; fails after $3 tenths of a second.
runs() {
  tries=0
  until [ "$(ask "$1" generation)" = "$2" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt "$3" ] || return 1
    sleep 0.1
  done
}

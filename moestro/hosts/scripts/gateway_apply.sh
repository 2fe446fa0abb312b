# Puts a release of a gateway in place. Standard input: a tar archive with the release, $7 bytes.
# $1 directory, $2 unit, $3 unit file, $4 logrotate file, $5 service, $6 generation.
# The running gateway is touched only after nginx accepted the release, and gets its old one back where the new one
# does not come to life. Exit 65: nginx refuses the configuration; 66: it does not run with it.
set -eu
directory=$1 unit=$2 unit_file=$3 rotate_file=$4 service=$5 generation=$6 size=$7
umask 022
mkdir -p "${directory%/*}" "/var/cache/moestro/$service/gateway" "/var/log/moestro/$service/gateway"
umask 077
mkdir -p "$directory/releases" "$directory/state"
exec 9> "$directory/lock"
flock -w 120 9

release=$(mktemp -d "$directory/releases/XXXXXXXXXX")
trap 'rm -rf "$release"' EXIT
cat > "$release/.tar"
[ "$(stat -c %s "$release/.tar")" = "$size" ] || { echo 'only a part of the configuration arrived' >&2; exit 1; }
tar -x --no-same-owner --same-permissions -C "$release" -f "$release/.tar"
rm -f "$release/.tar"

# A replica that is new here takes requests; one that is drained stays drained.
for fresh in "$release"/state/*.conf; do
  [ -e "$directory/state/${fresh##*/}" ] || cp "$fresh" "$directory/state/"
done
cp "$release/state/generation.inc" "$directory/state/generation.inc"
/usr/sbin/nginx -t -q -c "$release/nginx.conf" 2> "$release/.said" || { cat "$release/.said" >&2; exit 65; }
rm -f "$release/.said"

point_to() { ln -sfn "$1" "$directory/.current" && mv -fT "$directory/.current" "$directory/current"; }
install_unit() {
  cmp -s "$release/unit.service" "$unit_file" || install -m 644 "$release/unit.service" "$unit_file"
  install -D -m 644 "$release/logrotate.conf" "$rotate_file"
  systemctl daemon-reload
  systemctl enable --quiet "$unit"
}
bring_to_life() {
  if systemctl is-active --quiet "$unit"; then systemctl reload "$unit"; else systemctl restart "$unit"; fi
}
old_workers=$(workers "$unit")
previous=$(readlink "$directory/current" || true)
point_to "$release"
install_unit
if bring_to_life && runs "$(status_port "$release")" "$generation" 150 "$old_workers"; then
  trap - EXIT
  for old in "$directory"/releases/*; do [ "$old" = "$release" ] || rm -rf "$old"; done
  for state in "$directory"/state/*.conf; do [ -e "$release/state/${state##*/}" ] || rm -f "$state"; done
  exit 0
fi
{
  tail -n 15 "/var/log/moestro/$service/gateway/error.log" || journalctl --unit="$unit" -n 15 -o cat --no-pager
} >&2 2> /dev/null
if [ -n "$previous" ]; then
  point_to "$previous"
  bring_to_life || true
else
  systemctl disable --quiet --now "$unit" || true
  rm -f "$directory/current"
fi
exit 66

# Stops the gateway's unit $2 and removes what belongs to it. $1 directory, $3 unit file, $4 logrotate file, $5 service.
# nginx itself stays installed: somebody else may use it.
set -eu
directory=$1 unit=$2 unit_file=$3 rotate_file=$4 service=$5
systemctl disable --quiet --now "$unit" 2> /dev/null || true
rm -f "$unit_file" "$rotate_file"
rm -rf "$directory" "/var/cache/moestro/$service/gateway" "/var/log/moestro/$service/gateway"
for empty in "${directory%/*}" "/var/cache/moestro/$service" "/var/log/moestro/$service"; do
  rmdir --ignore-fail-on-non-empty "$empty" 2> /dev/null || true
done
systemctl daemon-reload
systemctl reset-failed "$unit" 2> /dev/null || true

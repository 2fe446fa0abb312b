# Stops the unit $1 (it may drain for $4 seconds) and removes its file $2 and what belongs to it in the directory $3.
set -eu
unit=$1 unit_file=$2 directory=$3 service=$5
systemctl disable --quiet "$unit" 2> /dev/null || true
timeout "$4" systemctl stop "$unit" 2> /dev/null || systemctl kill --signal=SIGKILL "$unit" 2> /dev/null || true
rm -f "$unit_file" "$directory"/{engine.env,engine.yaml,logging.json,engine.crt,engine.key,authority.crt,engine.json}
rm -rf "/var/cache/moestro/$service/engine" "/var/log/moestro/$service/engine"
for empty in "$directory" "/var/cache/moestro/$service" "/var/log/moestro/$service"; do
  rmdir --ignore-fail-on-non-empty "$empty" 2> /dev/null || true
done
systemctl daemon-reload
systemctl reset-failed "$unit" 2> /dev/null || true

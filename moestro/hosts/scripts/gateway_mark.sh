# Takes a replica out of the rotation or puts it back. $1 directory, $2 unit, $3 replica, $4 generation, $5 generation file's
# text; standard input: the text of the replica's state file. Prints "unknown", "same", "asleep" or "done".
set -eu
directory=$1 unit=$2 replica=$3 generation=$4 generation_text=$5
state=$directory/state/$replica.conf
if [ ! -e "$state" ] || [ ! -e "$directory/current/servers/$replica.up.conf" ]; then echo unknown; exit 0; fi
umask 077
exec 9> "$directory/lock"
flock -w 120 9
cat > "$directory/.state"
[ -s "$directory/.state" ] || { echo 'nothing arrived' >&2; exit 1; }
if cmp -s "$directory/.state" "$state"; then rm -f "$directory/.state"; echo same; exit 0; fi
mv -f "$directory/.state" "$state"
printf '%s' "$generation_text" > "$directory/state/generation.inc"
# A gateway that does not run reads the state when it starts.
if ! systemctl is-active --quiet "$unit"; then echo asleep; exit 0; fi
old_workers=$(workers "$unit")
systemctl reload "$unit"
if runs "$(status_port "$directory/current")" "$generation" 150 "$old_workers"; then echo 'done'; exit 0; fi
echo "nginx does not run with the changed state of $replica" >&2
exit 66

# Starts a detached job, or finds it. Standard input: the script ($4 bytes), then its secrets ($5 bytes).
# Answers "finished", "running" or "started". Safe to repeat: whoever comes second finds what the first one started.
set -eu
directory=$1 unit=$2 limit=$3 script_size=$4 secrets_size=$5
(umask 022; mkdir -p "${directory%/*}")
umask 077
mkdir -p "$directory"
cd "$directory"
exec 9> lock
flock 9
if grep -qsx 'exited 0 success' exit; then echo finished; exit 0; fi
under_way() {
  case $(systemctl show --property=ActiveState --value "$unit.service") in
    active | activating | deactivating | reloading) ;;
    *) return 1 ;;
  esac
}
if under_way; then echo running; exit 0; fi

head -c "$script_size" > script
head -c "$secrets_size" > secrets
if [ "$(stat -c %s script)" != "$script_size" ] || [ "$(stat -c %s secrets)" != "$secrets_size" ]; then
  rm -f secrets
  echo 'only a part of the script arrived' >&2
  exit 1
fi
cat > main << END
exec >> $directory/log 2>&1 < /dev/null
export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
set -a; . $directory/secrets; set +a
rm -f $directory/secrets
exec bash -eu -o pipefail $directory/script
END
cat > finish << END
rm -f $directory/secrets
printf '%s %s %s\n' "\${EXIT_CODE:-unknown}" "\${EXIT_STATUS:-unknown}" "\${SERVICE_RESULT:-unknown}" > $directory/exit.new
mv -f $directory/exit.new $directory/exit
END
rm -f exit
: > log
systemctl reset-failed "$unit.service" 2> /dev/null || true
# A script that fails at once makes systemd call its start a failure, now and then: it has begun all the same, and its
# record tells how it ended. The record is written before the unit becomes inactive.
systemd-run --quiet --collect --unit="$unit" --description="Moestro: $unit" --service-type=exec \
  --property="RuntimeMaxSec=$limit" --property=TimeoutStopSec=20 \
  --property="ExecStopPost=/bin/bash $directory/finish" /bin/bash "$directory/main" 9>&- < /dev/null \
  || under_way || [ -f exit ]
echo started

# Prints what moestro.hosts.steps.unit reads about an engine. $1 unit, $2 directory, $3 unit file, $4 the user to run as;
# from $5 on: every absolute path of the launch line, the program first.
unit=$1 directory=$2 unit_file=$3 user=$4
shift 4
systemctl show "$unit" --property=LoadState,ActiveState,SubState,Result,NRestarts,InvocationID,ExecMainStatus,Job
# An engine that nobody can run and read must run as root, e.g. a Python or a model below /root.
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@" 2> /dev/null; }
interpreter=$(head -c 256 "$1" 2> /dev/null | tr -d '\0' | sed -n '1s/^#! *\([^ ]*\).*/\1/p')
for program in "$1" ${interpreter:+"$interpreter"}; do
  nobody test -x "$program" || user=root
done
shift
for path in "$@"; do
  [ -e "$path" ] || continue
  case $path in "$directory"/*) continue ;; esac
  nobody test -r "$path" && [ -z "$(nobody find -L "$path" -maxdepth 1 ! -readable -print -quit)" ] || user=root
done
echo "User=$user"
command -v curl > /dev/null && echo Curl=yes || echo Curl=no
printf 'Record=%s\n' "$(cat "$directory/engine.json" 2> /dev/null)"
echo '==files=='
sha256sum -- "$unit_file" "$directory"/{engine.env,engine.yaml,logging.json,engine.crt,engine.key,authority.crt} 2> /dev/null
exit 0

# Prints what moestro.hosts.steps.nginx reads about a gateway. $1 directory, $2 unit, $3 unit file.
directory=$1 unit=$2 unit_file=$3
systemctl show "$unit" --property=LoadState,ActiveState
[ -x /usr/sbin/nginx ] && echo Nginx=yes
port=$(status_port "$directory/current")
[ -n "$port" ] && echo "Served=$(ask "$port" digest)"
cmp -s "$directory/current/unit.service" "$unit_file" && echo UnitInPlace=yes
for state in "$directory"/state/*.conf; do
  [ -e "$state" ] || continue
  name=${state##*/}
  if grep -q '\.down\.conf;' "$state"; then echo "Down=${name%.conf}"; fi
done
echo '==files=='
cd "$directory/current" 2> /dev/null || exit 0
find . -type f ! -path './state/*' -printf '%P\n' | while read -r file; do sha256sum -- "$file"; done
exit 0

# Prepares the staging directory $1 for user $3 and prints "place size sha256 name" of every file in it and in $2.
set -eu
staging=$1 final=$2 user=$3
install -d -m 755 "$(dirname "$staging")"
install -d -m 700 "$staging"
chown -R "$user" "$staging"
survey() {
  cd "$2"
  find . -type f -printf '%P\n' | while IFS= read -r name; do
    sum=$(sha256sum < "$name")
    printf '%s %s %s %s\n' "$1" "$(stat -c %s "$name")" "${sum%% *}" "$name"
  done
}
survey staged "$staging"
if [ -d "$final" ]; then survey final "$final"; fi

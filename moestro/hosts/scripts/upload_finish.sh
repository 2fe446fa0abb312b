# Moves every file of the staging directory $1 to its place under $2, owned by root, and removes the staging directory.
set -eu
staging=$1 final=$2
chown -R root:root "$staging"
chmod -R u=rwX,go=rX "$staging"
install -d -m 755 "$final"
cd "$staging"
find . -mindepth 1 -type d -printf '%P\n' | while IFS= read -r name; do install -d -m 755 "$final/$name"; done
find . -type f -printf '%P\n' | while IFS= read -r name; do mv -fT "$name" "$final/$name"; done
rm -rf "$staging"

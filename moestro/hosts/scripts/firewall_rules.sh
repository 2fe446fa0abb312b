# Makes ufw's rules of one owner, $1 (they carry it as their comment), exactly these: $2, ..., written as ufw shows them.
# A rule that is there under another comment or none is somebody else's: it does the same, and stays theirs.
owner=$1
shift
added=$(ufw show added)
sed -n "s/ comment '$owner'\$//p" <<< "$added" | while read -r rule; do
  for wanted in "$@"; do
    if [ "$rule" = "$wanted" ]; then continue 2; fi
  done
  # shellcheck disable=SC2086 # a rule is several words
  ufw delete ${rule#ufw } < /dev/null
done
present=$(sed "s/ comment '.*'\$//" <<< "$added")
for wanted in "$@"; do
  if grep -qxF -e "$wanted" <<< "$present"; then continue; fi
  # shellcheck disable=SC2086
  $wanted comment "$owner"
done

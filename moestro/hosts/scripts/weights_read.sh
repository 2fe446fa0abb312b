# Prints the manifest $2 on one line, then "size name" of every file under $1; nothing where there is no manifest.
[ -f "$2" ] || exit 0
tr -d '\n' < "$2"
echo
cd "$1" 2> /dev/null && find . -type f -not -path './.cache/*' -printf '%s %P\n'
exit 0

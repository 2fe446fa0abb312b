# One look at a starting engine: its unit, its log's tail, and one HTTP request. $1 unit, $2 lines of log, $3 tail file,
# $4 the invocation that is to be replaced. Standard input: curl's configuration, so that no secret is an argument.
unit=$1 lines=$2 tail_file=$3 replaced=$4
shown=$(systemctl show "$unit" --property=LoadState,ActiveState,SubState,Result,NRestarts,InvocationID,ExecMainStatus,Job)
printf '%s\n' "$shown"
echo '==log=='
log=$(journalctl --unit="$unit" --lines="$lines" --output=cat --no-pager 2> /dev/null)
if [ -n "$log" ]; then printf '%s\n' "$log"; else tail -n "$lines" "$tail_file" 2> /dev/null; fi
echo '==http=='
# Until systemd has replaced the old process, an answer would be that one's.
case $shown in
  *"InvocationID=$replaced"*) [ -n "$replaced" ] && exit 0 ;;
esac
case $shown in
  *ActiveState=active*) curl --config - 2>&1 ;;
esac
exit 0

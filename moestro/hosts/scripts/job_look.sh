# Looks at a detached job: answers at once when it has ended, after a second when its log has grown past $3 bytes,
# after $5 seconds in any case. First line: state, log size, exit record; then the log from $3 on, its last $4 bytes.
directory=$1 unit=$2 offset=$3 most=$4 seconds=$5
state=running
record=-
for round in $(seq $((seconds * 10))); do
  if [ -f "$directory/exit" ]; then state=ended; break; fi
  if [ $((round % 10)) = 1 ]; then
    case $(systemctl show --property=ActiveState --value "$unit.service") in
      active | activating | deactivating | reloading) ;;
      # The record is written before the unit becomes inactive: no record now means there will be none.
      *) if [ -f "$directory/exit" ]; then state=ended; else state=gone; fi; break ;;
    esac
  fi
  if [ "$round" -ge 10 ] && [ "$(stat -c %s "$directory/log" 2> /dev/null || echo 0)" -gt "$offset" ]; then break; fi
  sleep 0.1
done
if [ "$state" = ended ]; then record=$(cat "$directory/exit"); fi
size=$(stat -c %s "$directory/log" 2> /dev/null || echo 0)
if [ "$offset" -gt "$size" ]; then offset=0; fi
if [ $((size - offset)) -gt "$most" ]; then offset=$((size - most)); fi
echo "$state $size $record"
if [ "$size" -gt "$offset" ]; then tail -c "+$((offset + 1))" "$directory/log" | head -c "$((size - offset))"; fi
exit 0

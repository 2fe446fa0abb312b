# Makes the system user $1 that engines run as. Groups video and render give access to GPUs where device files ask for it.
set -eu
id "$1" > /dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$1"
for group in video render; do
  if getent group "$group" > /dev/null; then usermod --append --groups "$group" "$1"; fi
done

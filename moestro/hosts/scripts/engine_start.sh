# Starts the unit $1, or restarts it, and does not wait: the old process may take its shutdown timeout to end.
set -eu
systemctl daemon-reload
systemctl reset-failed "$1" 2> /dev/null || true
systemctl enable --quiet "$1"
systemctl restart --no-block "$1"

# Prints what moestro.hosts.facts reads. Every part may fail without stopping the rest.
say() { printf '\n==moestro== %s\n' "$1"; }
say os; cat /etc/os-release
say arch; uname -m
say kernel; uname -r
say cpus; nproc
say memory; grep MemTotal: /proc/meminfo
say disk; d=/var/lib/moestro; [ -d "$d" ] || d=/var/lib; df -B1 --output=avail "$d" | tail -n 1
say virtualization; systemd-detect-virt 2>/dev/null
say boot; cat /proc/sys/kernel/random/boot_id
# Class and vendor:device of every PCI device of NVIDIA, whether or not a driver is loaded.
say pci
for device in /sys/bus/pci/devices/*/uevent; do
  [ -e "$device" ] && sed -n 's/^PCI_CLASS=//p; s/^PCI_ID=//p' "$device" | paste -sd ' ' | grep -i ' 10DE:'
done
say gpus
if command -v nvidia-smi >/dev/null; then
  timeout 60 nvidia-smi --format=csv,noheader,nounits \
    --query-gpu=name,memory.total,driver_version,compute_cap,mig.mode.current 2>&1
fi
say nvidia-smi; command -v nvidia-smi >/dev/null && timeout 30 nvidia-smi 2>&1 | head -n 8
say driver; cat /proc/driver/nvidia/version 2>/dev/null
say topology; command -v nvidia-smi >/dev/null && timeout 30 nvidia-smi topo -m 2>/dev/null | sed 's/\x1b\[[0-9;]*m//g'
say units; systemctl list-units 'moestro-*' --all --plain --no-legend --no-pager 2>/dev/null
say engines
for root in /opt/moestro/engines/* /opt/vllm "$(dirname "$(dirname "$(readlink -f "$(command -v vllm)")")")"; do
  [ -x "$root/bin/python" ] || [ -x "$root/bin/python3" ] || continue
  for info in "$root"/lib/python3*/{site,dist}-packages/{vllm,sglang}-*.dist-info; do
    [ -d "$info" ] || continue
    base=${info##*/}; base=${base%.dist-info}
    if [ -e "$root/.moestro.json" ]; then whose=ours; else whose=other; fi
    printf '%s\t%s\t%s\t%s\n' "$root" "${base%%-*}" "${base#*-}" "$whose"
  done
done | sort -u
say engine-link; readlink /opt/moestro/engine 2>/dev/null
say python; python3 --version 2>/dev/null
say nvcc; { nvcc --version || /usr/local/cuda/bin/nvcc --version; } 2>/dev/null
# apt takes POSIX locks; /proc/locks names them by inode.
say apt-lock
for lock in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock; do
  [ -e "$lock" ] && grep -qE "POSIX .*:$(stat -c %i "$lock") " /proc/locks && echo held && break
done
say cloud-init; command -v cloud-init >/dev/null && timeout 20 cloud-init status 2>/dev/null
say reboot; [ -e /run/reboot-required ] && echo required
say firewall
if command -v ufw >/dev/null && ufw status 2>/dev/null | grep -q '^Status: active'; then echo ufw
elif command -v nft >/dev/null; then echo nft; fi
say packages; dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\n' 2>/dev/null | sed -n 's/^ii //p'
exit 0

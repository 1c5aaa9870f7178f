#!/usr/bin/env bash
# Makes an initial RAM disk from busybox: its /init prints a marker, a few lines on the machine, and powers off.
#   scripts/initramfs.sh FILE        writes FILE, a gzipped cpio archive; needs busybox (static) and cpio
set -euo pipefail
out=$(realpath -m "${1:?usage: scripts/initramfs.sh FILE}")
for tool in busybox cpio gzip; do
	command -v "$tool" >/dev/null || { echo "initramfs.sh: $tool is not installed (Debian: busybox-static, cpio, gzip)" >&2; exit 77; }
done
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh mount cat echo grep uname poweroff head wc; do ln -s busybox "$root/bin/$applet"; done
cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t devtmpfs dev /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
echo "reenter: init runs, $(uname -r), $(grep -c ^processor /proc/cpuinfo) CPU, clocksource $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "reenter: booted"
poweroff -f
INIT
chmod +x "$root/init"
# The same bytes each time: order, owners and times are fixed.
(cd "$root" && find . -exec touch -hd @0 {} + && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible) | gzip -n9 >"$out"

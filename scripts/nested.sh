#!/usr/bin/env bash
# Runs the built package on a KVM of its own: Linux with kvm_amd inside of QEMU's TCG, which emulates SVM and nested paging.
# For computers without /dev/kvm, or whose KVM is neither kvm_intel nor kvm_amd. Slow: minutes.
#   npm run build && npm run test:nested [-- COMMANDS]    COMMANDS are lines for a shell; default below
#   KERNEL=… MODULES=… TIMEOUT_S=…                        a kernel, its modules' folder, and how long it may take
# Ends with 77, and one line, where something is missing; with 1 if a command in the guest fails or does not end.
set -euo pipefail
cd "$(dirname "$0")/.."
skip() { echo "nested.sh: $1" >&2; exit 77; }
for tool in qemu-system-x86_64 busybox cpio gzip node; do
	command -v "$tool" >/dev/null || skip "$tool is not installed"
done
kernel=${KERNEL:-$(find /boot -maxdepth 1 -name 'vmlinuz-*' | sort -V | tail -1)}
[ -n "$kernel" ] && [ -r "$kernel" ] || skip "no kernel in /boot (Debian: linux-image-cloud-amd64)"
modules=${MODULES:-/lib/modules/${kernel##*/vmlinuz-}}
amd=$(find "$modules" -name 'kvm-amd.ko' | head -1)
[ -n "$amd" ] || skip "no uncompressed kvm-amd.ko in $modules"
[ -f dist/cli/entry.js ] || skip "not built: npm run build"
commands=${*:-"reenter doctor
reenter run /guests/cpuid.elf --backend dev
reenter run /guests/mixed.elf --backend dev"}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,guests,modules,reenter/node_modules}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh mount insmod cat echo poweroff; do ln -s busybox "$root/bin/$applet"; done
cp "$(command -v node)" "$root/bin/node"
for library in $(ldd "$(command -v node)" | grep -o '/[^ ]*'); do
	mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"
done
for module in irqbypass kvm kvm-amd; do
	find "$modules" -name "$module.ko" -exec cp {} "$root/modules/" \;
done
cp -r dist bin package.json "$root/reenter/"
for dependency in $(node -p 'const p = require("./package.json"); Object.keys({ ...p.dependencies, ...p.optionalDependencies }).join(" ")') @koromix; do
	[ -e "node_modules/$dependency" ] || continue
	mkdir -p "$root/reenter/node_modules/$(dirname "$dependency")"
	cp -rL "node_modules/$dependency" "$root/reenter/node_modules/$dependency"
done
node --input-type=module -e '
	import { writeFileSync } from "node:fs";
	const { PROGRAMS, programBytes } = await import(process.argv[1]);
	for (const program of PROGRAMS) writeFileSync(`${process.argv[2]}/${program.name}.elf`, programBytes(program));
' "$PWD/dist/guests/programs.js" "$root/guests"
cat >"$root/init" <<INIT
#!/bin/sh
export NO_COLOR=1
mount -t devtmpfs dev /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
insmod /modules/irqbypass.ko 2>/dev/null
insmod /modules/kvm.ko && insmod /modules/kvm-amd.ko
reenter() { echo "\$ reenter \$*"; node /reenter/bin/reenter.js "\$@" 2>&1 || { code=\$?; echo "nested: code \$code"; failed=1; }; }
failed=0
$commands
[ "\$failed" = 0 ] && echo "nested: all commands ended well"
poweroff -f
INIT
chmod +x "$root/init"
image=$(mktemp)
trap 'rm -rf "$root" "$image" "$image.log"' EXIT
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) | gzip -1 >"$image"
timeout "${TIMEOUT_S:-600}" qemu-system-x86_64 -accel tcg -cpu EPYC,+svm -m 2048 -nographic -no-reboot -nodefaults \
	-serial stdio -kernel "$kernel" -initrd "$image" -append "console=ttyS0 loglevel=3 panic=-1" </dev/null | tee "$image.log" || true
grep -q "nested: all commands ended well" "$image.log"

#!/bin/sh
# Boots systemd as PID 1 of namespaces of its own, over a copy-on-write view of this machine's file system, and ends it when stdin ends.
# The network is this machine's, so that fakes on loopback can be reached.
#   boot.sh BINARY   prints "pid N" (the machine's PID 1, as seen from here) once it is started, or "unable: …" and ends with 3.
set -eu
binary=$1
unable() { echo "unable: $*"; exit 3; }
[ -x /lib/systemd/systemd ] || unable "there is no systemd (Debian package systemd)"
[ "$(id -u)" = 0 ] || unable "only root may make these namespaces"

# A control group of its own, so that its PID 1 finds an empty tree to manage.
unified=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
[ -n "$unified" ] || unable "there is no cgroup2 file system"
group=$unified/switchboard-test-$$
mkdir "$group" 2>/dev/null || unable "no control group can be made in $unified"
clean() { find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; }
trap clean EXIT
root=$(mktemp -d)

inside='
set -eu
root=$1 binary=$2
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/upper" "$root/work" "$root/new"
mount -t overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" overlay "$root/new"
cd "$root/new"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 sys/fs/cgroup
# Nothing but what a test starts.
for units in etc/systemd/system lib/systemd/system usr/lib/systemd/system etc/systemd/user usr/lib/systemd/user; do
  [ -d "$units" ] && find "$units" -maxdepth 1 -name "*.wants" -exec rm -rf {} +
done
mkdir -p etc/systemd/system/sockets.target.wants etc/systemd/system/sysinit.target.wants
for socket in systemd-journald.socket systemd-journald-dev-log.socket dbus.socket; do
  [ -e "lib/systemd/system/$socket" ] && ln -s "/lib/systemd/system/$socket" "etc/systemd/system/sockets.target.wants/$socket"
done
ln -s /lib/systemd/system/systemd-journald.service etc/systemd/system/sysinit.target.wants/systemd-journald.service
for unit in getty@.service console-getty.service systemd-udevd.service systemd-timesyncd.service systemd-networkd.service \
  systemd-resolved.service systemd-logind.service systemd-remount-fs.service dev-hugepages.mount dev-mqueue.mount \
  systemd-update-utmp.service systemd-sysctl.service systemd-modules-load.service systemd-firstboot.service; do
  ln -sf /dev/null "etc/systemd/system/$unit"
done
rm -f etc/fstab etc/machine-id etc/systemd/system/default.target
: >etc/fstab
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
ln -s /lib/systemd/system/multi-user.target etc/systemd/system/default.target
# Only what belongs to the machine: an installation of this one is none of its.
rm -rf var/log/journal opt/switchboard var/lib/switchboard var/lib/private/switchboard etc/switchboard var/lib/systemd/linger
mkdir -p var/log/journal old usr/local/bin
touch usr/local/bin/switchboard
mount --bind "$binary" usr/local/bin/switchboard
mkdir etc/systemd/journald.conf.d 2>/dev/null || true
printf "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n" >etc/systemd/journald.conf.d/test.conf
hostname switchboard-test
pivot_root . old
umount -l old
mount --make-rshared /
exec env -i container=switchboard-test PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal --show-status=no
'
sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
  unshare --pid --mount --uts --ipc --cgroup --fork --kill-child=SIGKILL --propagation private sh -c "$inside" sh "$root" "$binary" \
  </dev/null >/dev/null 2>"$root.err" &
outer=$!
# Its PID 1 is the child of unshare: a shell at first, which may fail at what it has to mount.
inner=
tries=0
while [ "$tries" -lt 600 ]; do
  tries=$((tries + 1))
  inner=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null | tr -d ' ' || true)
  [ -n "$inner" ] && [ "$(cat "/proc/$inner/comm" 2>/dev/null)" = systemd ] && break
  inner=
  kill -0 "$outer" 2>/dev/null || break
  sleep 0.05
done
if [ -z "$inner" ]; then
  kill -KILL "$outer" 2>/dev/null || true
  reason=$(tr '\n' ' ' <"$root.err"); rm -rf "$root.err"; rmdir "$root" 2>/dev/null || true
  unable "no systemd came up: $reason"
fi
echo "pid $inner"
# Whoever started us holds the other end; when that is gone, so is the machine.
cat >/dev/null
kill -KILL "$inner" 2>/dev/null || true
wait "$outer" 2>/dev/null || true
rm -rf "$root.err"
rmdir "$root" 2>/dev/null || true

#!/usr/bin/env bash
# Makes rootfs.tar, from which the Dockerfile beside it builds: a release build of the program, Debian's C library and certificates, and the
# directory of the state. Needs cargo and dpkg-deb; downloads packages through apt. Usage: deploy/container/rootfs.sh [PROGRAM]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-}
if [ -z "$program" ]; then
  (cd "$here/../.." && cargo build --release --locked)
  program=${CARGO_TARGET_DIR:-$here/../../target}/release/switchboard
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root" "$work/packages"
(cd "$work/packages" && apt-get download libc6 libgcc-s1 ca-certificates)
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$root"; done
# What runs needs the loader and four libraries; the rest of the packages stays behind.
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/lintian "$root"/usr/lib/*/gconv "$root"/usr/share/bug
mkdir -p "$root"/{etc/ssl/certs,usr/bin,var/lib/switchboard,tmp}
find "$root/usr/share/ca-certificates" -name '*.crt' -exec cat {} + > "$root/etc/ssl/certs/ca-certificates.crt"
install -m 0755 "$program" "$root/usr/bin/switchboard"
printf 'switchboard:x:65532:65532::/var/lib/switchboard:/sbin/nologin\n' > "$root/etc/passwd"
chmod 1777 "$root/tmp"
chmod 0700 "$root/var/lib/switchboard"
chroot "$root" /usr/bin/switchboard --version
# The state directory belongs to the user that the image runs as, everything else to root.
tar --create --file "$here/rootfs.tar.part" --directory "$root" --sort=name --owner=0 --group=0 --numeric-owner --exclude=./var/lib/switchboard .
tar --append --file "$here/rootfs.tar.part" --directory "$root" --owner=65532 --group=65532 --numeric-owner ./var/lib/switchboard
mv "$here/rootfs.tar.part" "$here/rootfs.tar"
ls -l "$here/rootfs.tar"

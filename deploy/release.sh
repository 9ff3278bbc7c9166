#!/usr/bin/env bash
# Makes a release that `switchboard update` can fetch: the programs, manifest.json with their checksums, and its signature; and beside them a list of
# what the programs are made of (an SBOM), whose checksum is signed too.
#
#   cargo build --release --locked
#   minisign -G -p switchboard.pub -s switchboard.key        once; the second line of the .pub file is update.public_key
#   deploy/release.sh OUT switchboard.key x86_64-unknown-linux-gnu=target/release/switchboard [TARGET=PROGRAM …]
#
# Then copy OUT to where update.source leads: the programs first, manifest.json and its signature last. A copy of OUT in a directory named after
# the version below that place keeps the version for `update --to VERSION`. Signs with minisign, else with rsign (rsign2).
#
# A manifest is believed for RELEASE_DAYS days (180): so long can whoever stands between hold back what is newer. Run this again with the same
# programs to make a new one before that. To change the key: tell everybody the new one, as update.next_public_key; sign with it; when nobody needs
# the old one any more, the new one is update.public_key.
#
# The list is by cargo-cyclonedx (cargo install --locked cargo-cyclonedx), from Cargo.lock as it stands here; without it there is none, which is said.
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
out=$1 key=$2
shift 2
mkdir -p "$out"

# The first program that runs here says what the release is.
version='' reader=''
for pair in "$@"; do
  if said=$("${pair#*=}" --version 2>/dev/null); then
    version=$(sed -n 's/^switchboard \([^ ]*\) .*/\1/p' <<<"$said")
    reader=$(sed -n 's/.*oldest reader \([0-9]*\)).*/\1/p' <<<"$said")
    break
  fi
done
if [ -z "$version" ] || [ -z "$reader" ]; then
  echo "release.sh: none of the programs says which version it is; one of them must run on this machine" >&2
  exit 1
fi

artifacts=''
for pair in "$@"; do
  target=${pair%%=*} program=${pair#*=} name=switchboard-$version-${pair%%=*}
  install -m 0755 "$program" "$out/$name"
  sum=$(sha256sum "$out/$name" | cut -d' ' -f1)
  size=$(stat -c %s "$out/$name")
  artifacts+="${artifacts:+,}
    { \"target\": \"$target\", \"url\": \"$name\", \"sha256\": \"$sum\", \"size\": $size }"
done

# cargo-cyclonedx writes beside every Cargo.toml: a copy of what it reads takes that.
sbom='' here=$(cd "$(dirname "$0")/.." && pwd) name=switchboard-$version.cdx.json
if cargo cyclonedx --version >/dev/null 2>&1; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  (cd "$here" && tar --create --exclude=./target --exclude=./.git --exclude=./fuzz .) | tar --extract --directory "$work"
  (cd "$work" && cargo cyclonedx --quiet --format json --override-filename sbom) >&2
  sed "s|file://$work|file:///switchboard|g" "$work/sbom.json" > "$out/$name"
  sbom="
  \"sbom\": { \"url\": \"$name\", \"sha256\": \"$(sha256sum "$out/$name" | cut -d' ' -f1)\" },"
else
  rm -f "$out/$name"
  echo "release.sh: cargo-cyclonedx is not here: the release says nothing of what its programs are made of" >&2
fi

expires=$(date --utc --date="+${RELEASE_DAYS:-180} days" +%Y-%m-%dT%H:%M:%SZ)
cat > "$out/manifest.json" <<JSON
{
  "version": "$version",
  "oldest_reader": $reader,
  "expires": "$expires",$sbom
  "artifacts": [$artifacts
  ]
}
JSON

rm -f "$out/manifest.json.minisig"
if command -v minisign >/dev/null; then
  minisign -S -s "$key" -m "$out/manifest.json" -x "$out/manifest.json.minisig" -t "switchboard $version" >&2
elif command -v rsign >/dev/null; then
  rsign sign -s "$key" -x "$out/manifest.json.minisig" -t "switchboard $version" "$out/manifest.json" >&2
else
  echo "release.sh: neither minisign nor rsign is here: sign $out/manifest.json elsewhere, into manifest.json.minisig beside it" >&2
  exit 1
fi
echo "version $version is in $out"

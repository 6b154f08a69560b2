#!/usr/bin/env bash
# Installs a release of k3s-boot on a runner; `action.yml` runs it.
#
# Takes VERSION and RELEASES from the inputs, and the other variables from the runner. A runner that keeps its tools downloads
# each version once.
set -euo pipefail

: "${VERSION?}" "${RELEASES?}"

fail() {
  echo "::error title=k3s-boot::$1"
  exit 1
}

cargo_toml=$GITHUB_ACTION_PATH/Cargo.toml
version=${VERSION#v}
version=${version:-$(sed -n 's/^version = "\(.*\)"$/\1/p' "$cargo_toml" | head -n 1)}
[[ $version =~ ^[0-9][0-9A-Za-z.-]*$ ]] || fail 'the input version is not a version, such as 0.1.0'

repository=$(sed -n 's/^repository = "\(.*\)"$/\1/p' "$cargo_toml" | head -n 1)
releases=${RELEASES:-${repository:+$repository/releases/download}}
[[ -n $releases ]] || fail 'this version of the action does not know where its releases are; set the input releases'

case $RUNNER_OS-$RUNNER_ARCH in
  Linux-X64) target=x86_64-unknown-linux-musl ;;
  Linux-ARM64) target=aarch64-unknown-linux-musl ;;
  macOS-X64) target=x86_64-apple-darwin ;;
  macOS-ARM64) target=aarch64-apple-darwin ;;
  *) fail "k3s-boot has no release for $RUNNER_OS on $RUNNER_ARCH" ;;
esac

folder=$RUNNER_TOOL_CACHE/k3s-boot/$version/$target
if [[ ! -x $folder/k3s-boot ]]; then
  name=k3s-boot-$version-$target
  temp=$(mktemp -d "$RUNNER_TEMP/k3s-boot.XXXXXX")
  for file in "$name.tar.gz" SHA256SUMS; do
    curl --fail --silent --show-error --location --retry 3 --output "$temp/$file" "$releases/v$version/$file" ||
      fail "cannot download $releases/v$version/$file"
  done
  cd "$temp"
  # macOS has no sha256sum(1).
  sha256=(sha256sum)
  type sha256sum > /dev/null 2>&1 || sha256=(shasum --algorithm 256)
  # Lines of other files are no checksums of this one, and a file without a line is not verified.
  awk -v name="$name.tar.gz" '$2 == name || $2 == "*" name' SHA256SUMS > expected
  [[ -s expected ]] || fail "SHA256SUMS has no checksum of $name.tar.gz"
  "${sha256[@]}" --check expected || fail "$name.tar.gz does not have the checksum in SHA256SUMS"
  tar -xzf "$name.tar.gz"
  mkdir -p "${folder%/*}"
  rm -rf "$folder"
  mv "$name" "$folder"
fi

echo "$folder" >> "$GITHUB_PATH"
echo "version=$version" >> "$GITHUB_OUTPUT"

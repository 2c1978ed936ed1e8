#!/usr/bin/env bash
# Makes sure that Berth can be compiled and tested: cargo, a C compiler with the
# libraries that libgit2 links to, git, and the test runner cargo-nextest.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=compose/setup/shell.sh
source "$here/shell.sh"

command -v cargo >/dev/null || fail "cargo is missing" \
  "Berth is written in Rust, and this script does not choose where Rust comes from" \
  "install it as https://rustup.rs says, open a new shell, and run this again"

# In the repository, so that rust-toolchain.toml counts.
cd "$here/../.."
cargo --version >/dev/null || fail "cargo does not start" \
  "most likely the version in rust-toolchain.toml is not installed" \
  "run 'rustup toolchain install' here, or choose another with RUSTUP_TOOLCHAIN=stable"

has_build_needs() {
  command -v cc >/dev/null && command -v make >/dev/null && command -v git >/dev/null &&
    command -v pkg-config >/dev/null && pkg-config --exists openssl zlib
}

if ! has_build_needs; then
  is_debian_root || fail "something needed for the build is missing" \
    "it takes cc, make, git, pkg-config, and the headers of OpenSSL and zlib" \
    "on Debian: apt-get install gcc libc6-dev make git pkg-config libssl-dev zlib1g-dev"
  packages=(pkg-config libssl-dev zlib1g-dev)
  command -v cc >/dev/null || packages+=(gcc libc6-dev)
  command -v make >/dev/null || packages+=(make)
  command -v git >/dev/null || packages+=(git)
  apt_install "${packages[@]}"
fi

if ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest from source; this takes some minutes"
  cargo install cargo-nextest --locked
fi
say "$(cargo --version), $(cargo nextest --version | head -n 1)"

# shellcheck shell=bash
# What the scripts share; sourced by them. Nothing here is for calling directly.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '\n== %s\n' "$*"; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# as_root runs a command as root: directly, or through sudo.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root or sudo: $*"
	fi
}

# need_packages installs Debian packages that are missing.
need_packages() {
	local missing=() p
	for p in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return
	command -v apt-get >/dev/null || die "please install: ${missing[*]} (names of Debian's packages)"
	say "installing ${missing[*]}"
	as_root apt-get -qq update
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# need_nginx installs nginx without leaving a server of the system's running.
need_nginx() {
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] && return
	need_packages nginx-light
	as_root systemctl disable --now nginx >/dev/null 2>&1 || as_root service nginx stop >/dev/null 2>&1 || true
}

# need_libvips installs what the decoder is built with, and its encoder of AVIF.
need_libvips() {
	need_packages libvips-dev pkg-config gcc libc6-dev
	local p
	p=$(avif_packages)
	[ -z "$p" ] || need_packages "$p"
}

# avif_packages prints the package that libheif has its encoder of AVIF from, where
# that is not in libheif itself, as it is in Debian 12.
avif_packages() {
	dpkg-query -W -f '${Depends} ${Recommends} ${Suggests}' libheif1 2>/dev/null | grep -o -m 1 'libheif-plugin-aomenc' | head -n 1 || true
}

# on_tmpfs puts temporary files into memory where there is room, until we end.
on_tmpfs() {
	if [ -z "${TMPDIR:-}" ] && [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1 || echo 0)" -gt 4000000 ]; then
		TMPDIR=$(mktemp -d /dev/shm/imgkeep.XXXXXX)
		chmod 755 "$TMPDIR" # nginx' workers are somebody else
		export TMPDIR
		trap 'rm -rf "$TMPDIR"' EXIT
	fi
}

need_go() {
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "Go is missing: install it (https://go.dev/doc/install), version $(awk '$1 == "go" {print $2}' go.mod) or later"
}

# build makes both programs in bin/. The server must not link C.
build() {
	need_go
	need_libvips
	CGO_ENABLED=0 go build -o bin/imgkeep ./cmd/imgkeep
	CGO_ENABLED=1 go build -o bin/imgkeep-resize ./cmd/imgkeep-resize
}

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

# need_object_store builds the object store that tests of several nodes run against, once, in
# a cache outside of the tree.
need_object_store() {
	export VERSITYGW=${VERSITYGW:-${XDG_CACHE_HOME:-$HOME/.cache}/imgkeep/versitygw-1.8.0}
	[ -x "$VERSITYGW" ] && return
	say "build versitygw, for the tests of several nodes"
	local dir
	dir=$(mktemp -d)
	CGO_ENABLED=0 GOBIN=$dir go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	mkdir -p "${VERSITYGW%/*}"
	mv "$dir/versitygw" "$VERSITYGW"
	rmdir "$dir"
}

# need_seaweed builds SeaweedFS, for the long tests of several nodes, in the same cache: 164 MB, and
# minutes. WEED names its program. Its go.mod replaces a module, which `go install` refuses, so it
# is built where it lies.
need_seaweed() {
	local version=v0.0.0-20261109003541-7506e5f91cd6 # of `go list -m github.com/seaweedfs/seaweedfs@latest`
	export WEED=${WEED:-${XDG_CACHE_HOME:-$HOME/.cache}/imgkeep/seaweedfs-$version}
	[ -x "$WEED" ] && return
	say "build SeaweedFS, for the long tests of several nodes (six minutes of a processor)"
	local source dir
	source=$(go mod download -json "github.com/seaweedfs/seaweedfs@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	dir=$(mktemp -d)
	CGO_ENABLED=0 go build -C "$source" -trimpath -ldflags=-s -o "$dir/weed" ./weed
	mkdir -p "${WEED%/*}"
	mv "$dir/weed" "$WEED"
	rmdir "$dir"
}

# need_libvips installs what the decoder is built with, and its encoder of AVIF: for
# this machine, or for the architecture that scripts/debian says.
need_libvips() {
	if [ -n "${DEB_HOST_ARCH:-}" ]; then
		need_packages "libvips-dev:$DEB_HOST_ARCH" "pkgconf:$DEB_HOST_ARCH" "gcc-${CC%-gcc}" "libc6-dev:$DEB_HOST_ARCH"
	else
		need_packages libvips-dev pkg-config gcc libc6-dev
	fi
	local p
	p=$(avif_packages)
	[ -z "$p" ] || need_packages "$p${DEB_HOST_ARCH:+:$DEB_HOST_ARCH}"
}

# avif_packages prints the package that libheif has its encoder of AVIF from, where
# that is not in libheif itself, as it is in Debian 12.
avif_packages() {
	dpkg-query -W -f '${Depends} ${Recommends} ${Suggests}' "libheif1${DEB_HOST_ARCH:+:$DEB_HOST_ARCH}" 2>/dev/null | grep -o -m 1 'libheif-plugin-aomenc' | head -n 1 || true
}

# need_promtool names the program that tests alerts in PROMTOOL. It is taken out of its
# package, which on Debian 12 is that of a server which would begin to run, and stays in
# bin/. Where it cannot be had, its test is passed over, and says so.
need_promtool() {
	local work package=promtool
	command -v promtool >/dev/null && return
	PROMTOOL=$PWD/bin/promtool
	if [ ! -x "$PROMTOOL" ] && command -v apt-get >/dev/null; then
		apt-cache show "$package" >/dev/null 2>&1 || package=prometheus
		say "fetching promtool, of Debian's package $package"
		work=$(mktemp -d)
		(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package" && dpkg-deb -x "$package"_*.deb .) &&
			mkdir -p bin && cp "$work/usr/bin/promtool" "$PROMTOOL" || echo "it cannot be had: alerts are not tested" >&2
		rm -rf "$work"
	fi
	if [ -x "$PROMTOOL" ]; then
		export PROMTOOL
	else
		unset PROMTOOL
	fi
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

# building notes what `go build -v` tells on its standard error, the name of each
# package that it has compiled: a figure that grows, where the first build takes a minute
# or two. All else, such as errors, is passed on.
building() {
	local line n=0 end=$'\n' every=100
	if [ -t 2 ]; then
		end=$'\r' every=1
	fi
	while IFS= read -r line; do
		if [[ $line == *[[:space:]:]* || -z $line ]]; then
			printf '%s\n' "$line" >&2
			continue
		fi
		n=$((n + 1))
		[ $((n % every)) -ne 0 ] || printf '   %d packages compiled%s' "$n" "$end" >&2
	done
	[ "$n" -eq 0 ] || printf '   %d packages compiled\n' "$n" >&2
}

# writable tells whether files can be made in a folder, which is made if need be.
writable() {
	mkdir -p "$1" 2>/dev/null && [ -w "$1" ]
}

# build makes both programs in a folder. The server must not link C.
build() {
	local bin=$1 vcs=()
	need_go
	need_libvips
	writable "$bin" || die "the programs cannot be written to $(realpath -m "$bin"), which you (uid $(id -u)) may not write to or which is read-only: copy the checkout to a folder of yours and run $0 there"
	# git refuses a checkout of another user, and go build then has no commit to note.
	if command -v git >/dev/null && [ -e .git ] && ! git rev-parse HEAD >/dev/null 2>&1; then
		say "git does not trust this checkout (it is $(stat -c %U .)'s): the programs will not name their commit" >&2
		vcs=(-buildvcs=false)
	fi
	say "building in $bin (a minute or two the first time)" >&2
	{
		CGO_ENABLED=0 go build -v "${vcs[@]}" -o "$bin/imgkeep" ./cmd/imgkeep &&
			CGO_ENABLED=1 go build -v "${vcs[@]}" -o "$bin/imgkeep-resize" ./cmd/imgkeep-resize
	} 2>&1 | building
}

#!/bin/sh
# Installs what the tests with the build tag interop need, where missing, on Debian and its
# kin. Needs root only if something is missing.
set -eu

# lua-unbound gives Prosody a resolver on a port of one's choice, erlang-p1-sqlite3
# gives ejabberd SQLite: both are mere recommendations of the packages.
packages="prosody lua-unbound ejabberd erlang-p1-sqlite3 sqlite3"
# Foreign clients, and what compiles one of them.
packages="$packages python3-slixmpp libstrophe-dev pkg-config gcc libc6-dev"
# Another implementation of attribute certificates; its driver is a source file, which takes
# the compiler of a JDK to start.
command -v javac >/dev/null || packages="$packages default-jdk-headless"
packages="$packages libbcprov-java libbcpkix-java openssl"
# What issues and verifies attribute certificates beside internal/attrcert.
packages="$packages libbcprov-java libbcpkix-java openssl"
command -v javac >/dev/null || packages="$packages default-jdk-headless"
# xmpp.js wants Node.js 20.10 or newer, from wherever it was installed.
command -v npm >/dev/null || packages="$packages nodejs npm"

missing=""
for p in $packages; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing" >&2
if [ "$(id -u)" != 0 ]; then
	echo "not root: run this script as root, or: apt-get install$missing" >&2
	exit 1
fi
# The tests start servers of their own: the packages must not start any.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086 # a list of names
apt-get install -q -y --no-install-recommends $missing

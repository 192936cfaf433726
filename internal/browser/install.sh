#!/bin/sh
# Installs what the tests with the build tag browser need, where missing, on Debian and its
# kin. Needs root only if something is missing.
set -eu

for name in chromium chromium-browser google-chrome; do
	command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" != 0 ]; then
	echo "not root: run this script as root, or: apt-get install chromium fonts-dejavu-core" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=900 chromium fonts-dejavu-core

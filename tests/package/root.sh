#!/usr/bin/env bash
# Makes a minimal Debian 12 in FOLDER, with the package sources and settings of this machine's own apt.
#
#   root.sh FOLDER
set -euo pipefail
folder=$1
shopt -s nullglob
sources=(/etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list)
[ ! -s /etc/apt/sources.list ] || sources+=(/etc/apt/sources.list)
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
apt-config dump | grep '^Acquire::[^:]*Check\|^Acquire::http\|^Acquire::https\|^Acquire::Retries' >"$settings" || true
mmdebstrap --quiet --mode=root --variant=apt --include=ca-certificates --aptopt="$settings" bookworm "$folder" "${sources[@]}"
# No service is started by a package: there is no init in here.
printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
chmod 755 "$folder/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$folder/etc/resolv.conf"
chroot "$folder" apt-get -qq update

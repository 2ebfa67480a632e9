#!/bin/sh
# Fetches newer HAProxy builds from the Debian archive this machine already uses, beside the system's own, without installing them:
#   tests/e2e/haproxy-versions.sh            both
#   tests/e2e/haproxy-versions.sh 3.0|3.2    one
# Result: .cache/haproxy/3.0/haproxy and .cache/haproxy/3.2/haproxy, to be started like /usr/sbin/haproxy.
# 3.0 is Debian 13's, 3.2 is Debian testing's; the base system's packages and lists stay as they are.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$root/.cache/haproxy
arch=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)

mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n -e 's/^URIs: *\([^ ]*\).*/\1/p' -e 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' |
    grep -v -e security | head -n 1)
[ -n "$mirror" ] || { echo "haproxy-versions: no Debian archive found in this machine's apt sources" >&2; exit 1; }

fetch() {
    version=$1 suite=$2
    dir=$cache/$version
    [ -x "$dir/haproxy" ] && "$dir/haproxy" -v >/dev/null 2>&1 && { echo "haproxy $version: present"; return; }
    mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/root"
    : > "$dir/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$dir/sources.list"
    set -- -q -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists" \
        -o "Dir::Cache=$dir" -o "Dir::Cache::archives=$dir/archives" -o "Dir::State::status=$dir/status" \
        -o APT::Install-Recommends=false -o APT::Sandbox::User=root
    echo "haproxy $version: fetching from $suite"
    apt-get "$@" update
    apt-get "$@" -d -y install haproxy
    for deb in "$dir"/archives/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
    case $arch in amd64) loader=ld-linux-x86-64.so.2 ;; arm64) loader=ld-linux-aarch64.so.1 ;; *) loader=ld.so ;; esac
    cat > "$dir/haproxy" <<WRAP
#!/bin/sh
root=\$(cd "\$(dirname "\$0")" && pwd)/root
exec "\$root/usr/lib/$multiarch/$loader" --library-path "\$root/usr/lib/$multiarch:\$root/lib/$multiarch" "\$root/usr/sbin/haproxy" "\$@"
WRAP
    chmod +x "$dir/haproxy"
    rm -rf "$dir/archives" "$dir/lists"
    "$dir/haproxy" -v | head -n 1
}

for want in "${@:-3.0 3.2}"; do
    for version in $want; do
        case $version in
            3.0) fetch 3.0 trixie ;;
            3.2) fetch 3.2 forky ;;
            *) echo "haproxy-versions: unknown version $version (3.0 or 3.2)" >&2; exit 2 ;;
        esac
    done
done

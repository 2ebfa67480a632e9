# What ./check and ./demo share: install what is missing, make the Python and Node environments, build. Sourced by bash scripts that
# have set `root` to the top of the tree. Everything that is not a system package stays in the tree: .cache/, build*/, node_modules/.

say() { printf '\n== %s\n' "$*"; }
die() { printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Debian packages to build and run tollgate; `test_packages` only to test it.
packages=(build-essential cmake ninja-build pkg-config libev-dev libjwt-dev libmsgpack-dev libcjson-dev libcyaml-dev libyaml-dev libmicrohttpd-dev
          libcmocka-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev libseccomp-dev zlib1g-dev uthash-dev haproxy sqlite3 python3 procps curl tzdata ca-certificates)
test_packages=(clang systemd groff-base man-db python3-venv chromium fonts-dejavu-core)
package_packages=(mmdebstrap lintian dpkg-dev file) # for ./check package

# What the caller's environment must not change: modes of files, the language of messages, where programs keep their own files, and
# the folder of temporary files, whose unix sockets have paths of at most 107 bytes.
settle_environment() {
    umask 022
    export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin # haproxy's folder, which users other than root may lack
    unset LANGUAGE
    if ! [ -d "${HOME-}" ] || ! [ -w "$HOME" ]; then
        export HOME=$root/.cache/home
        mkdir -p "$HOME" || die "cannot write to $root: run it in a copy of the tree that $(id -un 2>/dev/null || id -u) owns"
    fi
    local folder=${TMPDIR:-/tmp}
    if [ ${#folder} -gt 40 ] || ! [ -d "$folder" ] || ! [ -w "$folder" ]; then
        [ -w /tmp ] || die "no folder for temporary files: set TMPDIR to one that can be written, with a path of at most 40 bytes"
        unset TMPDIR TMP TEMP
    fi
}

# clean COMMAND...: with this environment only: none of the caller's proxies, keys, colours, time zones or services' variables.
clean() {
    local kept=() name
    for name in PATH HOME LC_ALL TMPDIR PYTHONPATH PYTHONDONTWRITEBYTECODE PYTEST_ADDOPTS $(compgen -e | grep -E '^(TOLLGATE|ASAN|UBSAN)_'); do
        [ -z "${!name+x}" ] || kept+=("$name=${!name}")
    done
    env -i "${kept[@]}" "$@"
}

# The processor cores that may be used: as many as there are, or fewer when a control group's quota says so.
cores() {
    local most folder quota period
    most=$(nproc)
    for folder in "" "$(sed -n 's/^0:://p' /proc/self/cgroup)"; do # version 2: "QUOTA PERIOD" or "max PERIOD"
        read -r quota period 2>/dev/null <"/sys/fs/cgroup$folder/cpu.max" || continue
        [ "$quota" = max ] || [ $(((quota + period - 1) / period)) -ge "$most" ] || most=$(((quota + period - 1) / period))
    done
    for folder in "" "$(sed -n 's/^[0-9]*:\([^:]*,\)\{0,1\}cpu\(,[^:]*\)\{0,1\}://p' /proc/self/cgroup)"; do # version 1; -1: no quota
        folder=/sys/fs/cgroup/cpu$folder
        { read -r quota <"$folder/cpu.cfs_quota_us" && read -r period <"$folder/cpu.cfs_period_us"; } 2>/dev/null || continue
        [ "$quota" -le 0 ] || [ $(((quota + period - 1) / period)) -ge "$most" ] || most=$(((quota + period - 1) / period))
    done
    echo "$most"
}

# retry COMMAND...: a package source may be away for a moment: up to four times, with growing pauses. What failed is on the output.
retry() {
    local try pause=5
    for try in 1 2 3; do
        "$@" && return
        printf '%s: failed (try %d of 4), again in %d s: %s\n' "$(basename "$0")" "$try" "$pause" "$*" >&2
        sleep "$pause"
        pause=$((pause * 3))
    done
    "$@"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "installing packages needs root: run it as root, install sudo, or install them yourself: $*"
    fi
}

# apt_get ARGUMENTS...: as root, without questions; waits for another program that is installing.
apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600 "$@"; }

# The lists of packages are renewed before each try: they may be empty or old. A source that has none of ours may fail.
apt_install() {
    apt_get update
    apt_get -y --no-install-recommends install "$@" >/dev/null
}

install_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${Status}\n' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    # Node may come from elsewhere than Debian, and then brings npm with it.
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing Debian packages: ${missing[*]}"
        retry apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]}"
    fi
}

# install_npm FOLDER WHAT: the packages of FOLDER in the versions of its lock file.
install_npm() {
    local folder=$root/$1
    cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed" && return
    say "installing $2 (npm)"
    retry npm --prefix "$folder" ci --no-audit --no-fund --no-update-notifier --loglevel=error || die "npm could not install $2"
    cp "$folder/package-lock.json" "$folder/node_modules/.installed"
}

# The OpenID provider of tests and demonstration.
install_idp() { install_npm tests/e2e/idp "the OpenID provider"; }

# What the console's tests need: the library its page has built in, the bundler, the accessibility rules.
install_console() { install_npm agent/console/web "the console's page tools"; }

# Python of the tests: .cache/venv with what tests/e2e/requirements.txt names.
install_python() {
    venv=$root/.cache/venv
    local wanted=$root/tests/e2e/requirements.txt
    cmp -s "$wanted" "$venv/.installed" && "$venv/bin/python" -c 'import pytest' 2>/dev/null && return
    say "making the tests' Python environment (pip)"
    rm -rf "$venv"
    mkdir -p "$root/.cache"
    python3 -m venv "$venv" || die "python3 -m venv failed"
    retry "$venv/bin/python" -m pip --quiet --disable-pip-version-check install -r "$wanted" || die "pip could not install the tests' packages"
    cp "$wanted" "$venv/.installed"
}

# The FinOps Foundation's rules for FOCUS exports (tests/e2e/focus_rules.py). The package's program is not run: it needs Python 3.12.
install_focus_rules() {
    local folder=$root/.cache/focus version=2.2.1
    [ -f "$folder/focus_validator-$version.dist-info/METADATA" ] && return
    say "fetching the rules of FOCUS (pip)"
    rm -rf "$folder"
    retry "$venv/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --ignore-requires-python --no-compile --target "$folder" \
        "focus-validator==$version" || die "pip could not fetch the rules of FOCUS"
}

# Prometheus and promtool of the tests, from the Debian package but not installed: no service starts. Result: .cache/prometheus/usr/bin.
install_prometheus() {
    local folder=$root/.cache/prometheus
    [ -x "$folder/usr/bin/promtool" ] && return
    say "fetching Prometheus (not installed)"
    retry fetch_prometheus "$folder" || die "apt-get could not fetch the package prometheus"
}

fetch_prometheus() {
    rm -rf "$1" "$1.part"
    mkdir -p "$1.part"
    if ! (cd "$1.part" && apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root download prometheus); then
        apt_get update # the lists of packages may be empty or old
        return 1
    fi
    dpkg-deb -x "$1.part"/prometheus_*.deb "$1.part" && rm -f "$1.part"/prometheus_*.deb && mv "$1.part" "$1"
}

# build_tree FOLDER [cmake options]: configures when needed and builds everything.
build_tree() {
    local folder=$1 generator=()
    shift
    say "building in $(basename "$folder")/"
    # A tree that was copied or moved: CMake refuses what it made for another place.
    grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$folder/CMakeCache.txt" || rm -rf "$folder"
    [ -f "$folder/CMakeCache.txt" ] || generator=(-G Ninja)
    cmake "${generator[@]}" -S "$root" -B "$folder" "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; die "cmake failed"; }
    cmake --build "$folder" --parallel "${JOBS:-$(cores)}" >"$folder.log" 2>&1 ||
        { grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' "$folder.log" | head -n 200; die "the build failed"; }
    rm -f "$folder.log"
}

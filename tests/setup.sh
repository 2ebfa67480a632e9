# What ./check and ./demo share: install what is missing, make the Python and Node environments, build. Sourced by bash scripts that
# have set `root` to the top of the tree. Everything that is not a system package stays in the tree: .cache/, build*/, node_modules/.

say() { printf '\n== %s\n' "$*"; }
die() { printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Debian packages to build and run tollgate; `test_packages` only to test it.
packages=(build-essential cmake ninja-build pkg-config libev-dev libjwt-dev libmsgpack-dev libcjson-dev libcyaml-dev libmicrohttpd-dev
          libcmocka-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev libseccomp-dev uthash-dev haproxy sqlite3 python3 procps curl tzdata ca-certificates)
test_packages=(clang systemd groff-base man-db python3-venv chromium fonts-dejavu-core)
package_packages=(mmdebstrap lintian dpkg-dev file) # for ./check package

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "installing packages needs root: run it as root, install sudo, or install them yourself: $*"
    fi
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
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null ||
            die "apt-get could not install ${missing[*]}"
    fi
}

# install_npm FOLDER WHAT: the packages of FOLDER in the versions of its lock file.
install_npm() {
    local folder=$root/$1
    cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed" && return
    say "installing $2 (npm)"
    (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error) || die "npm could not install $2"
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
    cmp -s "$wanted" "$venv/.installed" && "$venv/bin/python" -c '' 2>/dev/null && return
    say "making the tests' Python environment (pip)"
    rm -rf "$venv"
    mkdir -p "$root/.cache"
    python3 -m venv "$venv" || die "python3 -m venv failed"
    "$venv/bin/pip" --quiet --disable-pip-version-check install -r "$wanted" || die "pip could not install the tests' packages"
    cp "$wanted" "$venv/.installed"
}

# The FinOps Foundation's rules for FOCUS exports (tests/e2e/focus_rules.py). The package's program is not run: it needs Python 3.12.
install_focus_rules() {
    local folder=$root/.cache/focus version=2.2.1
    [ -f "$folder/focus_validator-$version.dist-info/METADATA" ] && return
    say "fetching the rules of FOCUS (pip)"
    rm -rf "$folder"
    "$root/.cache/venv/bin/pip" --quiet --disable-pip-version-check install --no-deps --ignore-requires-python --no-compile --target "$folder" \
        "focus-validator==$version" || die "pip could not fetch the rules of FOCUS"
}

# Prometheus and promtool of the tests, from the Debian package but not installed: no service starts. Result: .cache/prometheus/usr/bin.
install_prometheus() {
    local folder=$root/.cache/prometheus
    [ -x "$folder/usr/bin/promtool" ] && return
    say "fetching Prometheus (not installed)"
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && apt-get -qq download prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb) ||
        die "apt-get could not fetch the package prometheus"
}

# build_tree FOLDER [cmake options]: configures when needed and builds everything.
build_tree() {
    local folder=$1 generator=()
    shift
    say "building in $(basename "$folder")/"
    [ -f "$folder/CMakeCache.txt" ] || generator=(-G Ninja)
    cmake "${generator[@]}" -S "$root" -B "$folder" "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; die "cmake failed"; }
    cmake --build "$folder" --parallel "${JOBS:-$(nproc)}" >"$folder.log" 2>&1 ||
        { grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking)' "$folder.log" | head -n 200; die "the build failed"; }
    rm -f "$folder.log"
}

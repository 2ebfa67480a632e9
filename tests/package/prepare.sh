# What `./check package` needs beside the tests: the package in two versions, and a minimal Debian 12. Sourced by ./check, as root; sets
# TOLLGATE_PACKAGES and TOLLGATE_PACKAGE_ROOT.

[ "$(id -u)" = 0 ] || die "./check package needs root: it makes a Debian root and mounts into it"
build=$root/build-package
build_tree "$build" -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS=-Werror
number=$(sed -n 's/^CMAKE_PROJECT_VERSION:[A-Z]*=//p' "$build/CMakeCache.txt")
TOLLGATE_PACKAGES=
say "making the package"
for version in "$number" "$number+next"; do
    (cd "$build" && cpack -G DEB -D CPACK_PACKAGE_VERSION="$version") >"$build/cpack.log" 2>&1 || { cat "$build/cpack.log"; die "cpack failed"; }
    TOLLGATE_PACKAGES+=${TOLLGATE_PACKAGES:+:}$build/tollgate_${version}_$(dpkg --print-architecture).deb
done
say "making a minimal Debian 12"
TOLLGATE_PACKAGE_ROOT=$(mktemp -d)
trap 'rm -rf --one-file-system "$TOLLGATE_PACKAGE_ROOT"' EXIT
tests/package/root.sh "$TOLLGATE_PACKAGE_ROOT" || die "mmdebstrap failed"
export TOLLGATE_PACKAGES TOLLGATE_PACKAGE_ROOT

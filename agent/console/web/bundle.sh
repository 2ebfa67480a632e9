#!/usr/bin/env bash
# Makes vendor/ from npm's uPlot: one module, minified. Its content is committed, so that building tollgate needs neither npm nor a
# network; tests/e2e/test_console_bundle.py makes it again and compares.
#
#   bundle.sh [OUT]     OUT: another folder than vendor/
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/vendor}
cmp -s "$here/package-lock.json" "$here/node_modules/.installed" || {
    (cd "$here" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$here/package-lock.json" "$here/node_modules/.installed"
}
mkdir -p "$out"
uplot=$here/node_modules/uplot
version=$(sed -n 's/^ *"version": "\(.*\)",*$/\1/p' "$uplot/package.json")
notice="/* uPlot $version. $(sed -n 3p "$uplot/LICENSE"). MIT licence, see LICENSE.uPlot */"
"$here/node_modules/.bin/esbuild" "$uplot/dist/uPlot.esm.js" --bundle --format=esm --minify --target=es2020 --charset=utf8 \
    --banner:js="$notice" --log-level=warning --outfile="$out/uplot.js"
"$here/node_modules/.bin/esbuild" "$uplot/dist/uPlot.min.css" --minify --banner:css="$notice" --log-level=warning --outfile="$out/uplot.css"
cp "$uplot/LICENSE" "$out/LICENSE.uPlot"

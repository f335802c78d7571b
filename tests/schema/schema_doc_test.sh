#!/usr/bin/env bash
# docs/SCHEMA.md says what schema/ says, and every answer in it is the demo database's. With --write
# it is made anew.
set -euo pipefail
root=${PARCHMILL_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${PARCHMILL_BUILD:-$root/build/dev}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$build/bin/parchmill" demo --out "$folder/demo" --workers 2 >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
if [ "${1:-}" = --write ]; then
    "$build/tests/schema_doc" "$root" "$folder/demo/demo.db" >"$folder/page"
    mv "$folder/page" "$root/docs/SCHEMA.md"
else
    "$build/tests/schema_doc" "$root" "$folder/demo/demo.db" --check
fi

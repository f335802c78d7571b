#!/usr/bin/env bash
# docs/SCHEMA.md says what schema/ says, and every answer in it is the demo database's. With --write
# it is made anew. So are the answers of commands on the demo's database in the pages named below.
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

export PATH=$build/bin:$PATH
cd "$folder"
mv demo parchmill-demo
bad=0
for page in README docs/SQL docs/CLI docs/EXPERIMENTS; do
    mkdir -p "$page"
    awk -v folder="$page" -f "$root/tests/schema/examples.awk" "$root/$page.md"
    [ -e "$page/01.command" ] || { echo "$page.md: no example is run"; exit 1; }
    for command in "$page"/*.command; do
        bash "$command" >got 2>&1 || true
        if ! "$build/tests/schema_doc" --compare "${command%.command}.answer" got; then
            echo "$page.md: not the answer (<) but (>) of: $(cat "$command")"
            diff "${command%.command}.answer" got || true
            bad=1
        fi
    done
done
exit $bad

#!/usr/bin/env bash
# The recipes of docs/EXPORT.md under "pandas" and "R", as they stand there, give the means that
# `parchmill sql` gives; what stands under "Python" runs. Exit status 77 means skipped.
set -euo pipefail
if ! /usr/bin/python3 -c 'import pandas' 2>/dev/null || ! command -v Rscript >/dev/null ||
    ! Rscript -e 'library(RSQLite)' >/dev/null 2>&1; then
    echo "skipped: needs Debian's python3-pandas, r-base-core and r-cran-rsqlite"
    exit 77
fi
parchmill=$PARCHMILL_BIN_DIR/parchmill
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cp "$MADE/r.db" results.db
"$parchmill" export 1 --db results.db --format csv --out run1 >/dev/null 2>&1
"$parchmill" sql --db results.db --format csv \
    'SELECT configuration, avg(mu_in_w) FROM result_wide WHERE run = 1 GROUP BY 1 ORDER BY 1' |
    tr -d '\r' | tail -n +2 | tr , ' ' >want
[ "$(wc -l <want)" = 5 ]

# The blocks of code under a heading of this name: block-LANGUAGE-1, -2 ...
awk -v heading="## Python|## pandas|## R" '
    /^## / { on = match($0, "^(" heading ")$") }
    /^```/ && on { if (file) { close(file); file = "" } else { file = "block-" substr($0, 4) "-" ++n }; next }
    file { print > file }' "$PARCHMILL_SOURCE_DIR/docs/EXPORT.md"
for block in block-*; do
    case $block in
    block-python-1)
        PYTHONPATH=$PARCHMILL_SOURCE_DIR/python /usr/bin/python3 -B "$block"
        grep -q 'import parchmill' "$block"
        continue
        ;;
    block-python-*) /usr/bin/python3 "$block" >got ;;
    block-r-*) Rscript --vanilla "$block" >got ;;
    *) echo "$block: what is that?"; exit 1 ;;
    esac
    # Sums of other orders differ in the last digits.
    paste -d ' ' want got | awk -v block="$block" '
        $1 != $3 || ($2 - $4) > 1e-12 * $2 || ($4 - $2) > 1e-12 * $2 || NF != 4 { print block ": " $0; bad = 1 }
        END { exit bad || NR != 5 }'
done
[ "$(ls block-* | wc -l)" = 5 ] || { echo "there are not five blocks"; exit 1; }

#!/usr/bin/env bash
# Networks with real weights over 900 real photographs, by `parchmill run` with two workers: every
# prediction is PyTorch's (tests/data/make_top1.py), no row is missing and none is double.
# Needs PARCHMILL_DATA; exit status 77 means skipped.
set -euo pipefail
if [ ! -d "${PARCHMILL_DATA:-}/ilsvrc_val" ]; then
    echo "skipped: PARCHMILL_DATA does not point at the photographs"
    exit 77
fi
parchmill=$PARCHMILL_BIN_DIR/parchmill
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

for model in resnet18 mobilenet_v2 squeezenet1_1; do
    "$parchmill" run --model "$model" --weights "$PARCHMILL_DATA/weights/$model.pth" \
        --images "$PARCHMILL_DATA/ilsvrc_val" --method grad --mask off --db "$dir/$model.db" --workers 2
    sql() { "$parchmill" sql --db "$dir/$model.db" --format csv "$1"; }
    sql "SELECT replace(image, 'images/', '') AS name, predicted AS top1 FROM result_wide ORDER BY image" >"$dir/ours.csv"
    tr -d '\r' <"$dir/ours.csv" | diff "$PARCHMILL_SOURCE_DIR/tests/data/${model}_ilsvrc_val_top1.csv" - |
        head -n 20 | tee "$dir/difference"
    [ ! -s "$dir/difference" ] || { echo "$model: predictions differ from PyTorch's"; exit 1; }
    rows=$(sql "SELECT count(*) || ' ' || count(DISTINCT image) FROM result_wide WHERE error IS NULL" | tail -n 1 | tr -d '\r"')
    [ "$rows" = "900 900" ] || { echo "$model: rows and images: $rows, expected 900 900"; exit 1; }
done

#!/usr/bin/env bash
# make_database.sh BIN DIR: DIR/r.db with three runs, by the programs in BIN. 1: as the demo's. 2: other
# photographs, evaluated, with all that can be awkward: a name with comma, quote and umlaut, a photograph
# that is damaged, one without label or box. 3: some of the demo's photographs again: all reused.
# DIR/single.db: some of run 1 once more, with heat maps in float32.
set -euo pipefail
bin=$1 dir=$2
rm -rf "$dir"
mkdir -p "$dir"
"$bin/parchmill" demo --limit 40 --out "$dir/demo" --workers 2 >/dev/null
"$bin/parchmill" demo --images-only --seed 3 --limit 12 --out "$dir/more" >/dev/null
images=$dir/more
[ -f "$images/labels.csv" ] || images=$dir/more/images
cp "$images/00000.png" "$images/we,\"ird ü.png"
head -c 300 "$images/00001.png" >"$images/damaged.png"
cp "$dir/demo/images/00007.png" "$images/plain.png"
{
    cat "$images/labels.csv"
    printf '"we,""ird ü.png",3,1,2,30,40\ndamaged.png,1,1,2,30,40\nplain.png,,,,,\n'
} >"$images/labels.new"
mv "$images/labels.new" "$images/labels.csv"
common=(--model cifar_resnet20 --weights "$dir/demo/demo_resnet20.safetensors" --resize 0 --crop 64
    --db "$dir/r.db" --workers 2 --quiet)
"$bin/parchmill" run "${common[@]}" --images "$dir/demo/images" --classes "$dir/demo/classes.csv" --mask off,cls \
    --quantile 0.05,0.1 --variance-conservation on,off --stats "$dir/demo/demo_statistics.safetensors" \
    --channels full --heatmaps f16
"$bin/parchmill" run "${common[@]}" --images "$images" --mask off,cls --quantile 0.1 --gamma inf,2 \
    --stats "$dir/demo/demo_statistics.safetensors" --evaluate --channels full --heatmaps f32 \
    --name 'second "run"'
"$bin/parchmill" run "${common[@]}" --images "$dir/demo/images" --limit 10 --mask off \
    --channels none --heatmaps none
"$bin/parchmill" run "${common[@]/r.db/single.db}" --images "$dir/demo/images" --limit 10 --mask off --heatmaps f32

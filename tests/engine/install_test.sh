#!/bin/sh
# The engine installs on its own, and its example builds against the installed copy with nothing but
# pkg-config, and runs: CMAKE BUILD CC SOURCE; CFLAGS as the build has them.
set -eu
cmake=$1 build=$2 cc=$3 source=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$cmake" --install "$build" --prefix "$folder/usr" --component engine >/dev/null
pc=$(find "$folder/usr" -name parchgrad.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
flags() { pkg-config --define-variable=prefix="$folder/usr" "$@" parchgrad; }
for header in parchgrad.h lib/base/status.h lib/base/attribution.h; do
    test -f "$folder/usr/include/parchgrad-1/$header"
done
# shellcheck disable=SC2046,SC2086
"$cc" -std=c17 -Wall -Wextra -Werror $CFLAGS "$source/worker/engine/example/attribute.c" \
    $(flags --cflags --libs) -o "$folder/attribute"
if "$folder/attribute" 2>"$folder/usage"; then echo "no usage error"; exit 1; fi
grep -q '^usage: ' "$folder/usage"
if "$folder/attribute" resnet18 "$folder/none.pth" 2>"$folder/error"; then echo "no error"; exit 1; fi
test "$(wc -l <"$folder/error")" -eq 1
if [ -n "${PARCHMILL_DATA:-}" ]; then
    "$folder/attribute" resnet18 "$PARCHMILL_DATA/weights/resnet18.pth" | grep -q '^class '
fi

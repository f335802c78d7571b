#!/usr/bin/env bash
# The units as they are installed: systemd finds nothing wrong with them, the broker is exposed to 1.5 at most, and every
# option that they give is one that the program has. BUILD SOURCE
set -euo pipefail
build=$1 source=$2
if ! command -v systemd-analyze >/dev/null; then
    echo "skipped: there is no systemd-analyze here"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for unit in parchmill-broker.service parchmill-worker@.service; do
    sed "s#@CMAKE_INSTALL_FULL_BINDIR@#$build/bin#" "$source/deploy/systemd/$unit.in" >"$folder/$unit"
    # Says nothing where nothing is wrong.
    said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$folder/${unit/@/@2}" 2>&1 || true)
    if [ "${unit/@/}" != "$unit" ]; then
        cp "$folder/$unit" "$folder/${unit/@/@2}"
        said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$folder/${unit/@/@2}" 2>&1 || true)
    fi
    if [ -n "$said" ]; then
        echo "$unit: $said"
        exit 1
    fi
    program=$(sed -n 's#^ExecStart=\([^ ]*\).*#\1#p' "$folder/$unit")
    "$program" --help >"$folder/help"
    options=$(sed -n '/^ExecStart=/,/[^\\]$/p' "$folder/$unit" | grep -oE -- ' --[a-z-]+' | sort -u)
    [ -n "$options" ]
    for option in $options; do
        if ! grep -q -- "$option" "$folder/help"; then
            echo "$unit: $program has no $option"
            exit 1
        fi
    done
done
systemd-analyze security --offline=true --threshold=15 "$folder/parchmill-broker.service" >"$folder/security" || {
    cat "$folder/security"
    exit 1
}
tail -n 1 "$folder/security"

# A secret key as systemd hands it over: root's, with an access list that shows as mode 0440. Elsewhere that is refused.
if [ "$(id -u)" = 0 ]; then
    mkdir "$folder/credentials"
    "$build/bin/parchmill" keygen --role broker --out "$folder/credentials/broker" >/dev/null 2>&1
    "$build/bin/parchmill" keygen --role worker --out "$folder/worker" >"$folder/allow" 2>/dev/null
    chmod 440 "$folder/credentials/broker.key"
    broker() {
        "$build/bin/parchmill-broker" --db "$folder/r.db" --listen tcp://127.0.0.1:21330 --allow "$folder/allow" \
            --key "$folder/credentials/broker.key" 2>"$folder/log" &
    }
    broker
    if wait $!; then echo "a key that a group may read is taken"; exit 1; fi
    grep -q 'chmod 600' "$folder/log"
    export CREDENTIALS_DIRECTORY=$folder/credentials
    broker
    for _ in $(seq 100); do
        if grep -q broker.ready "$folder/log"; then break; fi
        sleep 0.1
    done
    kill $! && wait $!
    grep -q broker.ready "$folder/log"
fi

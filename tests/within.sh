# shellcheck shell=bash
# within SECONDS COMMAND...: until it succeeds.
within() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $until ]; then
            echo "did not come to be: $*"
            return 1
        fi
        sleep 0.1
    done
}

# Shared by tools/quickstart and tools/check: says what it does, installs what is missing.
# Sourced, not run.

# What building and running needs, by Debian's names.
packages_build="gcc libc6-dev cmake ninja-build pkg-config libczmq-dev libzmq3-dev libprotobuf-c-dev
protobuf-c-compiler libsqlite3-dev libvips-dev libseccomp-dev libsodium-dev libjansson-dev
libzip-dev libexpat1-dev libzstd-dev libgsl-dev libpng-dev libedit-dev"
# What the tests need on top.
packages_check="libcmocka-dev strace clang libclang-rt-14-dev clang-format clang-tidy
slurmctld slurmd slurm-client munge iproute2 tcpdump systemd libgearman-dev sqlite3 chromium
python3-numpy python3-pandas zstd r-base-core r-cran-rsqlite postgresql"

say() { printf '\n== %s\n' "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s ' "$name"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "needs root to install packages; run this as root: $*"
    fi
}

install_packages() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        cat <<END
This is not a Debian or Ubuntu system, so nothing is installed here. Install these, by their Debian
names, with your package manager, then run this again with PARCHMILL_SKIP_DEPS=1:
  $(echo $*)
END
        [ "${PARCHMILL_SKIP_DEPS:-}" = 1 ] || exit 1
        return 0
    fi
    local missing
    missing=$(missing_packages "$@")
    if [ -z "$missing" ]; then
        echo "all there"
        return 0
    fi
    echo "installing: $missing"
    local log
    log=$(mktemp)
    if ! { as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "apt-get failed; its whole output is in $log"
    fi
    rm -f "$log"
}

# build PRESET [TARGET]: configure and build, quiet unless it fails.
build() {
    local preset=$1 log
    log=$(mktemp)
    if ! { cmake --preset "$preset" && cmake --build --preset "$preset" ${2:+--target "$2"}; } >"$log" 2>&1; then
        grep -E 'error|Error|FAILED|warning' "$log" | head -n 40 >&2
        tail -n 15 "$log" >&2
        fail "the $preset build failed; its whole output is in $log"
    fi
    rm -f "$log"
}

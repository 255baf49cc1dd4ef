#!/bin/sh
# The tests start private servers from Debian's redis-server. Install it where that is possible, else say what is skipped.
set -u

command -v redis-server >/dev/null 2>&1 && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "! redis-server is missing: every test that is marked [redis] will be SKIPPED (those on Valkey run)."
    echo "  To run them too: install redis-server (Debian and Ubuntu: sudo apt-get install redis-server)."
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server </dev/null >>"$log" 2>&1
}

echo "→ installing redis-server with apt-get, for the tests"
if ! install && ! { apt-get update >>"$log" 2>&1 && install; }; then
    cat "$log"
    echo "! redis-server could not be installed (see above): every test that is marked [redis] will be SKIPPED."
    exit 0
fi
# The package starts a service on port 6379. This run brought it, so this run ends it; the tests never use it.
if command -v service >/dev/null 2>&1; then service redis-server stop >/dev/null 2>&1 || true; fi
if [ -d /run/systemd/system ]; then systemctl disable redis-server >/dev/null 2>&1 || true; fi

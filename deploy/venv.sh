#!/usr/bin/env bash
# Makes .venv with Python >= 3.11 and the locked requirements, or says in a line why not.
# Usage: deploy/venv.sh DIRECTORY (PYTHON overrides python3).
set -euo pipefail
venv=$1
python=${PYTHON:-python3}
megabytes=500 # of free disk, for the requirements

fail() {
    echo "setup: $*" >&2
    exit 1
}

left() { df -m --output=avail "$1" | tail -n 1 | tr -d ' '; }

# What a package client said, in a line. Usage: explain CLIENT OUTPUT DIRECTORY
explain() {
    local client=$1 said=$2 directory=$3
    if grep -qi 'No space left on device\|enough free space' <<<"$said"; then
        fail "$client failed, the disk is full: $directory has $(left "$directory") MB left. Make room, then do the same again"
    elif grep -q 'DO NOT MATCH THE HASHES\|THESE PACKAGES DO NOT MATCH' <<<"$said"; then
        fail "$client was given something else than requirements.txt names, and refused it: $(grep -m 1 'from http\|(from ' <<<"$said" | tr -s ' ')"
    elif grep -qi 'NewConnectionError\|NameResolutionError\|name resolution\|Max retries exceeded\|ProxyError\|Temporary failure resolving\|Could not connect\|Connection refused\|timed out' <<<"$said"; then
        fail "$client cannot download. See that the network is there (\`pip config list\` and /etc/apt show the sources), then do the same again"
    fi
    fail "$client failed: $(tail -n 20 <<<"$said")"
}

# Packages of Debian: installed when we may, else named.
apt() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "$* missing. On Debian or Ubuntu: sudo apt-get install $*"
    fi
    echo "setup: installing $* with apt-get"
    local said
    said=$( (apt-get update -qq || true; DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get install -y -qq --no-install-recommends "$@") 2>&1) ||
        explain apt-get "$said" /var
}

if ! command -v "$python" >/dev/null; then
    [ "$python" = python3 ] || fail "there is no $python here"
    apt python3 python3-venv
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    fail "$("$python" --version) is too old, 3.11 is needed. Name another one: make setup PYTHON=python3.12"
fi
# Debian ships venv without ensurepip, its other half, in a package of its own.
"$python" -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
# A .venv of a moved checkout or of a removed interpreter cannot be mended; one that was killed while pip wrote is not trusted.
if [ -e "$venv/unfinished" ] || [ "$("$venv/bin/python" -c 'import sys; print(sys.prefix)' 2>/dev/null || true)" != "$PWD/$venv" ]; then
    [ "$(left .)" -ge "$megabytes" ] || fail "$venv takes $megabytes MB of disk, $PWD has $(left .) MB left. Make room, then do the same again"
    said=$("$python" -m venv --clear "$venv" 2>&1) || explain venv "$said" .
fi
touch "$venv/unfinished" 2>/dev/null || explain venv 'No space left on device' .
echo "setup: installing requirements.txt with pip"
# Wheels only: what is built from source would fetch what builds it, which no hash covers.
said=$("$venv/bin/python" -m pip install --quiet --require-hashes --only-binary :all: -r requirements.txt 2>&1) || explain pip "$said" "$venv"
rm "$venv/unfinished"

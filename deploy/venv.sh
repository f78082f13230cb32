#!/usr/bin/env bash
# Makes .venv with Python >= 3.11, or names what is missing. Usage: deploy/venv.sh DIRECTORY (PYTHON overrides python3).
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

# Packages of Debian: installed when we may, else named.
apt() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $* with apt-get"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    else
        echo "setup: $* missing. On Debian or Ubuntu: sudo apt-get install $*" >&2
        exit 1
    fi
}

if ! command -v "$python" >/dev/null; then
    [ "$python" = python3 ] || { echo "setup: there is no $python here" >&2; exit 1; }
    apt python3 python3-venv
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: $("$python" --version) is too old, 3.11 is needed. Name another one: make setup PYTHON=python3.12" >&2
    exit 1
fi
# Debian ships venv without ensurepip, its other half, in a package of its own.
"$python" -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
# A .venv of a moved checkout or of a removed interpreter cannot be mended.
[ "$("$venv/bin/python" -c 'import sys; print(sys.prefix)' 2>/dev/null || true)" = "$PWD/$venv" ] || "$python" -m venv --clear "$venv"

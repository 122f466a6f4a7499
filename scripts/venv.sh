# Sourced by the scripts beside it: a virtual environment, and the system packages that are needed.

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "This needs root, and there is no sudo: run as root: $*" >&2
        exit 1
    fi
}

# need PACKAGE PATTERN...: note the Debian package as missing unless a program of that name, or a file that the
# pattern matches, is there. How it came there does not matter.
missing=""
need() {
    package=$1
    shift
    for pattern in "$@"; do
        if PATH="$PATH:/usr/sbin" command -v "$pattern" >/dev/null; then return 0; fi
        for file in $pattern; do
            if [ -e "$file" ]; then return 0; fi
        done
    done
    missing="$missing $package"
}

# install: the packages noted as missing.
install() {
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "Please install, by this system's own package manager:$missing" >&2
        exit 1
    fi
    echo "Installing system packages:$missing" >&2
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    missing=""
}

# make_venv FOLDER: a virtual environment of Python 3.11 or later.
make_venv() {
    python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Burrow needs Python 3.11 or later; set PYTHON=/path/to/python3 if it is not the first on the PATH" >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        missing="$missing python3-venv"
        install
    fi
    [ -x "$1/bin/python" ] || "$python" -m venv "$1"
}

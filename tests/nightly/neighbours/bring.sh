#!/bin/sh
# Brings Jaeger, otelcol and telemetrygen into .cache/neighbours: `make neighbours`.
# From a folder that holds them, packed by xz, with SHA256SUMS; else by building them with Go.
set -eu
from=$1
to=.cache/neighbours
here=$(dirname "$0")
jaeger=v1.76.0
collector=v0.161.0
mkdir -p "$to"
are_here() { [ -x "$to/jaeger" ] && [ -x "$to/otelcol" ] && [ -x "$to/telemetrygen" ]; }

if [ -n "$from" ]; then
  test -f "$from/SHA256SUMS" || { echo "There is no SHA256SUMS in $from"; exit 1; }
  are_here && cmp -s "$from/SHA256SUMS" "$to/SHA256SUMS" && exit 0
  (cd "$from" && sha256sum --check --quiet --strict SHA256SUMS) || {
    echo "The programs in $from are not those of its SHA256SUMS"; exit 1; }
  for name in jaeger otelcol telemetrygen; do
    xz --decompress --stdout "$from/$name.xz" >"$to/$name.new"
    chmod +x "$to/$name.new"
    mv "$to/$name.new" "$to/$name"
  done
  cp -f "$from/SHA256SUMS" "$to/SHA256SUMS"
elif are_here; then
  exit 0
elif command -v go >/dev/null; then
  to=$PWD/$to
  export CGO_ENABLED=0 GOFLAGS=-trimpath
  contrib=github.com/open-telemetry/opentelemetry-collector-contrib
  GOBIN=$to go install -ldflags="-s -w" "$contrib/cmd/telemetrygen@$collector"
  go run "go.opentelemetry.io/collector/cmd/builder@$collector" \
    --config "$here/builder.yaml" --ldflags="-s -w"
  mv "$to/build/otelcol" "$to/otelcol"
  # Its go.mod replaces a module, which `go install` of a version refuses.
  source=$(go mod download -json "github.com/jaegertracing/jaeger@$jaeger" |
    sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
  rm -rf "$to/source"
  cp -R "$source" "$to/source"
  chmod -R u+w "$to/source"
  (cd "$to/source" && go build -ldflags="-s -w" -o "$to/jaeger" ./cmd/jaeger)
  rm -rf "$to/source" "$to/build"
else
  echo "Jaeger, otelcol and telemetrygen are not here: name a folder that holds them" \
    "(make neighbours NEIGHBOURS=dir), or install Go to build them"
  exit 1
fi

#!/bin/sh
# Starts nginx with the name servers of this pod. nginx reads no /etc/resolv.conf itself, and where
# a cluster's DNS is differs: a Service, a cache on the node, the node.
set -eu
folder="${1:-/var/run/edge}"
names="${2:-/etc/resolv.conf}"
servers=""
while read -r word address _; do
    [ "$word" = nameserver ] || continue
    case "$address" in
        *:*) servers="$servers [${address%%%*}]" ;;
        *) servers="$servers $address" ;;
    esac
done <"$names"
[ -n "$servers" ] || { echo "no name server in $names" >&2; exit 1; }
echo "resolver$servers valid=5s ipv6=off;" >"$folder/resolver.conf"
exec nginx -p "$folder/" -c "${3:-/etc/kintsugi/edge/nginx.conf}"

#!/bin/sh
# Debian's PostgreSQL, for the tests of deploy/; does nothing where it is there.
set -eu
for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done
command -v initdb >/dev/null && command -v postgres >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "PostgreSQL is missing and cannot be installed" >&2; exit 1; }
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql >/dev/null

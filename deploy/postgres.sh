#!/bin/sh
# A PostgreSQL for Prefect in a folder of its own, in the foreground until it is told to end.
#
#   deploy/postgres.sh FOLDER [PORT]
#
# BARDLET_DB_PASSWORD is the password of its one user, `prefect`. Started as root it runs as the user `postgres`, or as
# `nobody`, because PostgreSQL refuses root. It listens on this machine only: Prefect's server runs beside it.
set -eu
folder=${1:?usage: postgres.sh FOLDER [PORT]}
port=${2:-5432}
: "${BARDLET_DB_PASSWORD:?set it to the password that the database is to have}"

# Debian keeps initdb out of PATH.
for version in /usr/lib/postgresql/*/bin; do PATH="$PATH:$version"; done
command -v initdb >/dev/null || { echo "postgres.sh: initdb is not installed: apt-get install postgresql" >&2; exit 2; }

mkdir -p "$folder"
as=""
if [ "$(id -u)" = 0 ]; then
  user=postgres
  id "$user" >/dev/null 2>&1 || user=nobody
  chown "$user" "$folder"
  as="setpriv --reuid $user --regid $(id -g "$user") --clear-groups --"
fi
cd "$folder"
if [ ! -s "$folder/data/PG_VERSION" ]; then
  $as sh -c "umask 077 && cat >password" <<END
$BARDLET_DB_PASSWORD
END
  $as initdb --pgdata="$folder/data" --username=prefect --pwfile="$folder/password" --auth=scram-sha-256 \
    --encoding=UTF8 --no-locale >/dev/null
  rm password
fi
# The database is there before anyone can ask for it; from the second time on this fails, silently.
echo "CREATE DATABASE prefect" | $as postgres --single -D "$folder/data" postgres >/dev/null 2>&1
exec $as postgres -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder"

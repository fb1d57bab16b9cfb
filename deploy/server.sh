#!/bin/sh
# Prefect's server on PostgreSQL, in the foreground until it is told to end.
#
#   deploy/server.sh [ADDRESS [PORT]]
#
# BARDLET_DB_PASSWORD is the database's password; BARDLET_DB is where it is, `127.0.0.1:5432/prefect` by default. ADDRESS is
# what the server listens on: that of the network of builds and workers. It asks nobody who they are: keep it inside.
set -eu
address=${1:-127.0.0.1}
port=${2:-4200}
: "${BARDLET_DB_PASSWORD:?set it to the password of the database}"
export PREFECT_SERVER_DATABASE_CONNECTION_URL="postgresql+asyncpg://prefect:$BARDLET_DB_PASSWORD@${BARDLET_DB:-127.0.0.1:5432/prefect}"
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
# The page in the browser asks the address from which it came.
export PREFECT_UI_API_URL=/api
exec prefect server start --host "$address" --port "$port"

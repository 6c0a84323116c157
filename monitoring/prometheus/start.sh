#!/bin/sh
# Start Prometheus, and tell it how many daemons were asked for, and in containers where each
# Redis is. Used by the container and by the local fleet:
#
#     ECHOD_REPLICAS=4 REDIS_NODES="redis:6379 …" start.sh --config.file=…
#
# Prometheus reads no variable. So the number becomes a rule, the constant series
# `fleet:daemons:expected`, in a file that its configuration names; the alert DaemonsMissing
# compares what is there with it. It changes with ECHOD_REPLICAS, and only Prometheus is
# started again for it: neither daemons nor HAProxy, whose clients would be cut.
set -eu
: "${ECHOD_REPLICAS:?how many daemons are expected}"
# It becomes a part of an expression.
case $ECHOD_REPLICAS in
  *[!0-9]*)
    echo "start.sh: ECHOD_REPLICAS=$ECHOD_REPLICAS: must be a whole number" >&2
    exit 2
    ;;
esac
rules="${TMPDIR:-/tmp}/expected"
mkdir -p "$rules"
cat >"$rules/daemons.yml" <<RULES
groups:
  - name: expected
    rules:
      - record: fleet:daemons:expected
        expr: vector($ECHOD_REPLICAS)
RULES
targets=
for node in ${REDIS_NODES-}; do
  targets="$targets${targets:+, }\"$node\""
done
echo "[{\"targets\": [$targets]}]" >"$rules/redis.json"
exec prometheus "$@"

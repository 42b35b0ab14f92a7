#!/usr/bin/env bash
# {{ name }}, on a VM of Google's cloud.
#
# Runs when the VM stops, taken away or turned off: tells startup.sh, and waits until the trainer has
# put its checkpoint into the bucket.
set -uo pipefail

ROOT="${ANIMALS_ROOT:-/var/lib/animals}"

pid=$(cat "$ROOT/startup.pid" 2> /dev/null) || exit 0
kill -TERM "$pid" || exit 0
# It removes the file when all is done.
while [[ -e $ROOT/startup.pid ]] && kill -0 "$pid" 2> /dev/null; do sleep 0.2; done

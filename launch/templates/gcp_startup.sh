#!/usr/bin/env bash
# {{ name }}, on a VM of Google's cloud.
#
# Runs as root at each start of the VM: trains, or goes on where the run was; keeps the run in a
# bucket; powers the VM off when it is done or has failed.
set -euo pipefail

COMMIT='{{ commit }}' # Of the project, as source.
SOURCE='{{ source }}'
EXTRAS='{{ extras }}'
GPUS='{{ gpus }}'
DATA='{{ data }}'
RUN='{{ run }}'
SYNC_SECONDS='{{ sync_seconds }}'
FLAGS=(
#% for flag in flags
  '{{ flag | in_quotes }}'
#% endfor
)

ROOT="${ANIMALS_ROOT:-/var/lib/animals}" # All that this script writes.
PYTHON="$ROOT/$COMMIT/bin/python"
export HOME="${HOME:-/root}" PATH="$PATH:/snap/bin" # What a VM's start may leave out.
PREEMPTED=42 # Exit code: a checkpoint is written, start the same command again.
trainer=     # Its process id, while it runs.
stopping=    # Set once the VM is to stop.

say() { echo "$(date --utc +%FT%TZ) $*"; }

main() {
  mkdir -p "$ROOT/data" "$ROOT/run"
  exec > >(tee -a "$ROOT/startup.log") 2>&1
  echo "$$" > "$ROOT/startup.pid" # shutdown.sh tells us here that the VM stops.

  install_project
  local num_gpus=0
  if ((GPUS > 0)); then num_gpus=$(count_gpus); fi
  say "Getting $DATA"
  gcloud storage rsync --recursive "$DATA" "$ROOT/data"
  "$PYTHON" -m data_prep.verify --data_dir="$ROOT/data" --quick
  if is_begun; then
    say "Going on with $RUN"
    gcloud storage rsync --recursive "$RUN" "$ROOT/run"
  fi
  sync_periodically &

  local code=$PREEMPTED
  while [[ $code == "$PREEMPTED" && -z $stopping ]] && ! is_taken_away; do
    train --num_gpus="$num_gpus" && code=0 || code=$?
    say "The trainer ended with exit code $code"
    sync_run || say "The run could not be copied to $RUN"
  done
  return "$code"
}

install_project() {
  [[ -e $ROOT/$COMMIT/installed ]] && return
  say "Installing the project at $COMMIT"
  python3 -c 'import ensurepip' 2> /dev/null || install_venv
  rm -rf "$ROOT/source"
  mkdir -p "$ROOT/source"
  gcloud storage cp "$SOURCE" "$ROOT/source.tar.gz"
  tar -xzf "$ROOT/source.tar.gz" -C "$ROOT/source"
  python3 -m venv "$ROOT/$COMMIT"
  "$PYTHON" -m pip install --quiet --constraint "$ROOT/source/docker/constraints.txt" \
    "$ROOT/source$EXTRAS"
  touch "$ROOT/$COMMIT/installed"
}

# A new VM looks for updates by itself, and holds apt's locks meanwhile.
install_venv() {
  local left=30
  until apt-get update; do # It waits for no lock.
    ((left-- > 0)) || return 1
    sleep 10
  done
  apt-get -o DPkg::Lock::Timeout=300 install -y python3-venv
}

count_gpus() {
  local visible
  visible=$(nvidia-smi --query-gpu=index --format=csv,noheader | wc -l)
  if ((visible < GPUS)); then
    say "Of $GPUS GPUs $visible are visible: see what nvidia-smi says on this VM" >&2
    return 1
  fi
  echo "$visible"
}

# Whether the bucket holds a run already. Where that cannot be told, nothing is written over it.
is_begun() {
  local message
  message=$(gcloud storage ls "$RUN/**" 2>&1 > /dev/null) && return 0
  [[ $message == *"matched no objects"* ]] && return 1
  say "$message"
  exit 1
}

# Runs the trainer to its end, with the flags given and then those of the launch, which win.
train() {
  "$PYTHON" -m trainer.main --data_dir="$ROOT/data" --workdir="$ROOT/run" "$@" "${FLAGS[@]}" &
  trainer=$!
  [[ -z $stopping ]] || kill -TERM "$trainer" 2> /dev/null || true
  local code
  # A signal to this script would end `wait` before its time, and bash then may lose the exit code.
  while kill -0 "$trainer" 2> /dev/null; do sleep 0.5; done
  wait "$trainer" && code=0 || code=$?
  trainer=
  return "$code"
}

# Whether Google takes this spot VM away: the trainer has heard it too, and a new one would be lost.
is_taken_away() {
  local host="${GCE_METADATA_HOST:-metadata.google.internal}"
  [[ $(curl --silent --max-time 5 --header 'Metadata-Flavor: Google' \
    "http://$host/computeMetadata/v1/instance/preempted") == TRUE ]]
}

# Files are renamed into their place whole, so that a copy is good at any time.
sync_run() {
  gcloud storage cp "$ROOT/startup.log" "$RUN.launch/startup.log" || return
  gcloud storage rsync --recursive "$ROOT/run" "$RUN" || return
  if [[ -d $ROOT/run/checkpoints ]]; then # The trainer deletes old ones; nothing else is deleted.
    gcloud storage rsync --recursive --delete-unmatched-destination-objects \
      "$ROOT/run/checkpoints" "$RUN/checkpoints"
  fi
}

sync_periodically() {
  trap - EXIT INT
  trap 'kill "$!"; exit' TERM
  while sleep "$SYNC_SECONDS" & wait "$!"; do
    sync_run || say "The run could not be copied to $RUN; next try in $SYNC_SECONDS s"
  done
}

# The trainer writes a checkpoint within 20 s of SIGTERM; a spot VM has 30 s.
stop() {
  stopping=yes
  say "The VM is to stop"
  # It may have heard the notice itself, and be gone.
  [[ -z $trainer ]] || kill -TERM "$trainer" 2> /dev/null || true
}

finish() {
  local code=$?
  trap '' TERM INT
  jobs -p | xargs --no-run-if-empty kill 2> /dev/null || true
  say "Done with exit code $code; powering off"
  gcloud storage cp "$ROOT/startup.log" "$RUN.launch/startup.log" || true
  rm -f "$ROOT/startup.pid"
  poweroff
}

trap finish EXIT
trap stop TERM INT
main

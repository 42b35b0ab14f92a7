#!/usr/bin/env bash
# {{ name }}, on a VM of Google's cloud.
#
# Runs as root at each start of the VM: trains, or goes on where the run in the bucket was. When it
# is done or has failed, the VM deletes itself or powers itself off.
set -euo pipefail

COMMIT='{{ commit }}' # Of the project, as source.
SOURCE='{{ source | in_quotes }}'
EXTRAS='{{ extras }}'
GPUS='{{ gpus }}'
DATA='{{ data | in_quotes }}'
RUN='{{ run | in_quotes }}'
ZONE='{{ zone | in_quotes }}'
GROUP='{{ group }}'         # Creates the VM again when it is taken away; empty: there is none.
WHEN_DONE='{{ when_done }}' # delete or stop.
MAX_SECONDS='{{ max_seconds }}'
FLAGS=(
#% for flag in flags
  '{{ flag | in_quotes }}'
#% endfor
)

ROOT="${ANIMALS_ROOT:-/var/lib/animals}" # All that this script writes.
PYTHON="$ROOT/$COMMIT/bin/python"
export HOME="${HOME:-/root}" PATH="$PATH:/snap/bin" # What a VM's start may leave out.
export XDG_CACHE_HOME="$ROOT/cache"                 # The copies of the data and the run.
PREEMPTED=42 # Exit code: a checkpoint is written, start the same command again.
LOG_SECONDS=60
trainer=  # Its process id, while it runs.
stopping= # Why the trainer is to end: `vm`, which is being stopped, or `time`, which is over.

say() { echo "$(date --utc +%FT%TZ) $*"; }

main() {
  mkdir -p "$ROOT"
  [[ -e $ROOT/startup.log ]] || get_log
  exec > >(tee -a "$ROOT/startup.log") 2>&1
  echo "$$" > "$ROOT/startup.pid" # shutdown.sh tells us here that the VM stops.
  say "Started on $(metadata name)"
  save_log_periodically &
  if [[ -n $MAX_SECONDS ]]; then limit_time & fi

  create_again
  install_project
  local num_gpus=0 code=$PREEMPTED
  if ((GPUS > 0)); then num_gpus=$(count_gpus); fi
  while [[ $code == "$PREEMPTED" && -z $stopping ]] && ! is_taken_away; do
    train --num_gpus="$num_gpus" && code=0 || code=$?
    say "The trainer ended with exit code $code"
  done
  return "$code"
}

# From now on the group replaces the VM. One without the rights to say so could not end the group
# either, and would be replaced for ever.
create_again() {
  [[ -n $GROUP ]] || return 0
  gcloud compute instance-groups managed update "$GROUP" --zone="$ZONE" \
    --default-action-on-vm-failure=repair && return
  say "The VM's service account may not change the group $GROUP: once taken away, the VM is not" \
    "created again. Give it the role roles/compute.instanceAdmin.v1"
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

# Runs the trainer to its end, with the flags given and then those of the launch, which win.
train() {
  "$PYTHON" -m trainer.main --data_dir="$DATA" --workdir="$RUN" "$@" "${FLAGS[@]}" &
  trainer=$!
  [[ -z $stopping ]] || kill -TERM "$trainer" 2> /dev/null || true
  local code
  # A signal to this script would end `wait` before its time, and bash then may lose the exit code.
  while kill -0 "$trainer" 2> /dev/null; do sleep 0.5; done
  wait "$trainer" && code=0 || code=$?
  trainer=
  return "$code"
}

# What the VM knows of itself.
metadata() {
  local host="${GCE_METADATA_HOST:-metadata.google.internal}"
  curl --silent --max-time 5 --retry 3 --header 'Metadata-Flavor: Google' \
    "http://$host/computeMetadata/v1/instance/$1"
}

# Whether Google takes this spot VM away: the trainer has heard it too, and a new one would be lost.
is_taken_away() { [[ $(metadata preempted) == TRUE ]]; }

# The log of the VM that was here before goes on. There may be none.
get_log() { gcloud storage cp "$RUN.launch/startup.log" "$ROOT/startup.log" 2> /dev/null || true; }

save_log() {
  gcloud storage cp --no-user-output-enabled "$ROOT/startup.log" "$RUN.launch/startup.log"
}

save_log_periodically() {
  trap - EXIT INT USR1
  trap 'kill "$!"; exit' TERM
  while sleep "$LOG_SECONDS" & wait "$!"; do
    save_log || say "The log could not be copied to $RUN.launch"
  done
}

limit_time() {
  trap - EXIT INT USR1
  trap 'kill "$!"; exit' TERM
  sleep "$MAX_SECONDS" & wait "$!"
  kill -USR1 "$$"
}

# The trainer writes a checkpoint within 20 s of SIGTERM; a spot VM has 30 s.
stop() {
  stopping=$1
  # It may have heard the notice itself, and be gone.
  [[ -z $trainer ]] || kill -TERM "$trainer" 2> /dev/null || true
}

finish() {
  local code=$?
  trap '' TERM INT USR1
  jobs -p | xargs --no-run-if-empty kill 2> /dev/null || true
  if [[ $stopping == vm ]] || is_taken_away; then
    say "The VM is taken away or stopped; powering off"
    save_log || true
    rm -f "$ROOT/startup.pid"
    poweroff
    return
  fi
  say "Done with exit code $code"
  rm -f "$ROOT/startup.pid" # shutdown.sh has nothing to wait for.
  # What failed for good is not to be created again either.
  if leave_group && [[ $WHEN_DONE == delete ]]; then
    say "Deleting the VM"
    if ! save_log; then # Without it nobody would know what happened.
      say "The log could not be copied to $RUN.launch and is on this VM alone, which is kept for it:" \
        "its disk is paid for. May its service account write there? Delete $(metadata name) by hand"
    elif gcloud compute instances delete "$(metadata name)" --zone="$ZONE" --quiet; then
      return
    else
      say "The VM could not be deleted, and its disk is paid for: does its service account have the" \
        "role roles/compute.instanceAdmin.v1? Delete it by hand"
    fi
  fi
  say "Powering off"
  save_log || true
  poweroff
}

# The VM is then one like any other, which nothing replaces; and nothing else is left behind.
leave_group() {
  [[ -n $GROUP ]] || return 0
  local managed=(gcloud compute instance-groups managed)
  if ! "${managed[@]}" abandon-instances "$GROUP" --instances="$(metadata name)" --zone="$ZONE" ||
    ! "${managed[@]}" wait-until "$GROUP" --stable --timeout=300 --zone="$ZONE"; then
    say "The VM could not leave the group $GROUP: end it with python -m launch.stop --name=$GROUP"
    return 1
  fi
  { "${managed[@]}" delete "$GROUP" --zone="$ZONE" --quiet &&
    gcloud compute instance-templates delete "$GROUP" --quiet; } ||
    say "The group $GROUP is empty and costs nothing, but could not be removed"
}

trap finish EXIT
trap 'say "The VM is to stop"; stop vm' TERM INT
trap 'say "The job has run for $MAX_SECONDS s"; stop time' USR1
main

# Stages of scripts/test that run beside each other. Needs lib.sh, and LIMIT: the seconds that all of them may take.
# shellcheck shell=bash
declare -A STARTED=()
FAILED=()

# left: the seconds that this run may still take, at least one.
left() { echo $((SECONDS < LIMIT ? LIMIT - SECONDS : 1)); }

# start NAME COMMAND...: run it in the background, its output in a file.
start() {
  local name=$1
  shift
  info "$name: started in the background"
  set -m
  ("$@") > "$STATE/stage-$name.log" 2>&1 < /dev/null &
  STARTED[$name]=$!
  set +m
}

# end NAME: end what was started, within a minute.
end() {
  local process=${STARTED[$1]}
  # It may have ended meanwhile, and its status no longer counts.
  kill -TERM -- "-$process" 2> /dev/null || true
  timeout 60 tail --pid="$process" --follow /dev/null || kill -KILL -- "-$process" 2> /dev/null || true
  wait "$process" || true
}

# finish NAME: show the output of what was started until it ends. A pipe would stay open with a process that is left over.
finish() {
  local status=0 process=${STARTED[$1]}
  info "$1: its output"
  if ! timeout "$(left)" tail --pid="$process" --lines=+1 --follow "$STATE/stage-$1.log"; then
    info "$1: not done $LIMIT s after the start of this run, ended"
    end "$1"
    status=1
  fi
  wait "$process" || status=$?
  # What it has left over.
  kill -TERM -- "-$process" 2> /dev/null || true
  unset "STARTED[$1]"
  [ "$status" -eq 0 ] || FAILED+=("$1")
}

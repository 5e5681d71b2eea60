# Stages of scripts/test that run beside each other. Needs lib.sh, and LIMIT: the seconds that all of them may take.
# shellcheck shell=bash
declare -A STARTED=()
FAILED=()
# Seconds from SIGTERM to SIGKILL.
GRACE=60

# check_limit: the limit comes from whoever starts the tests.
check_limit() {
  [[ $LIMIT =~ ^[1-9][0-9]{0,6}$ ]] || die "IB_GATEWAY_ANSIBLE_TEST_LIMIT is '$LIMIT'. Give whole seconds, such as 9000, or unset it."
}

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

# signal NAME SIGNAL: send it to all processes of what was started; whether there are any.
signal() { kill "-$2" -- "-${STARTED[$1]}" 2> /dev/null; }

# end NAME: end what was started, at the latest after GRACE seconds.
end() {
  local status=0 process=${STARTED[$1]}
  if signal "$1" TERM && ! timeout "$GRACE" tail --pid="$process" --follow /dev/null; then
    info "$1: still there $GRACE s after SIGTERM, killed"
    signal "$1" KILL || info "$1: it ended at that moment"
  fi
  wait "$process" || status=$?
  info "$1: ended with status $status"
}

# finish NAME: show the output of what was started until it ends. A pipe would stay open with a process that is left over.
finish() {
  local status=0 process=${STARTED[$1]}
  info "$1: its output"
  timeout "$(left)" tail --pid="$process" --lines=+1 --follow "$STATE/stage-$1.log" || status=$?
  if [ "$status" -eq 0 ]; then
    wait "$process" || status=$?
    if signal "$1" TERM; then info "$1: what it had left running was ended"; fi
  else
    # timeout's own status is 124.
    [ "$status" -eq 124 ] || info "$1: its output could not be shown, see $STATE/stage-$1.log"
    [ "$status" -ne 124 ] || info "$1: not done $LIMIT s after the start of this run"
    end "$1"
  fi
  unset "STARTED[$1]"
  [ "$status" -eq 0 ] || FAILED+=("$1")
}

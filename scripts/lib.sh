# Shared by the scripts: paths, messages, running commands as root. Sourced by bash with set -euo pipefail.
# shellcheck shell=bash disable=SC2034
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=$ROOT/.sandbox
VENV=$ROOT/.venv

# The project's own Docker engine, used only where no other answers.
ENGINE_DATA=/var/lib/ib-gateway-ansible/engine
ENGINE_RUN=/run/ib-gateway-ansible
ENGINE_SOCKET=$ENGINE_RUN/docker.sock

info() { printf '==> %s\n' "$*" >&2; }
die() { printf 'ERROR: %s\n' "$*" >&2; exit 1; }

# Run a command as root: directly, or through sudo.
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Write stdin to a file only if that changes it, so that a rerun changes nothing.
write_if_changed() {
  local file=$1 text
  text=$(cat)
  [ -f "$file" ] && [ "$(<"$file")" = "$text" ] && return
  mkdir -p "$(dirname "$file")"
  printf '%s\n' "$text" > "$file.new"
  mv "$file.new" "$file"
}

# Run a long command quietly; its output is shown only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" > "$log" 2>&1 < /dev/null || status=$?
  [ "$status" -eq 0 ] || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

# Install packages of the distribution, one call at a time; apt's output is shown only if it fails.
apt_install() (
  exec 8> "$STATE/apt.lock"
  flock 8
  info "Installing packages: $*"
  quietly as_root apt-get update || info "Some package lists could not be refreshed; continuing with the existing ones"
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install --option DPkg::Lock::Timeout=300 --yes \
    --no-install-recommends "$@"
)

# Node 18 or newer with npm, from the distribution where there is none; node's own error is that there is none.
has_npm() { command -v npm > /dev/null && node --eval 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)' 2> /dev/null; }
install_npm() {
  has_npm && return
  apt_install nodejs npm \
    || die "Node.js and npm could not be installed; see apt's message above. Any Node.js from 18 on with npm is sufficient."
  has_npm || die "Node.js $(node --version) in PATH is older than 18, or has no npm. Remove it from PATH, or install a newer one."
}

# timed NAME COMMAND...: run it, and record the whole seconds it took in the set-up's record (`python -m bench.first_deploy`).
# The command must itself end at the first failure, since the shell does not in a condition.
timed() {
  local name=$1 start=$SECONDS
  shift
  "$@" || return
  printf '%s\t%s\n' "$name" $((SECONDS - start)) >> "$STATE/setup.times.new"
}

# Complete the record of a set-up. One with nothing to do retains that of the last one that had.
store_times() {
  if [ ! -f "$STATE/setup.times" ] || grep --quiet --invert-match $'\t0$' "$STATE/setup.times.new"; then
    mv "$STATE/setup.times.new" "$STATE/setup.times"
  else
    rm "$STATE/setup.times.new"
  fi
}

# A short hash of the named files and directories (their names and contents) and of stdin.
content_hash() {
  { cat; cd "$ROOT" || exit; find "$@" -type f -not -path '*/__pycache__/*' -not -path '*.egg-info/*' -print0 \
      | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-12
}

load_engine() {
  [ -f "$STATE/engine.env" ] || die "No Docker engine is set up for this project. Run: make setup"
  # shellcheck disable=SC1091
  . "$STATE/engine.env"
  export DOCKER_HOST
}

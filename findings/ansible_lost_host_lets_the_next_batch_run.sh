#!/usr/bin/env bash
# ansible-core 2.19.14, Python 3.11.
#
# Behaviour: a rolling play with `serial` and `max_fail_percentage: 0` ends after a batch in which a host failed, but
# not after one in which a host could not be reached, as long as another host of that batch is left. So a change that
# cuts off its host, such as a firewall rule, is rolled out to the batches after it. The play needs a last task that
# compares ansible_play_hosts_all with ansible_play_hosts.
#
# Output seen:
#   a host that fails: the second batch does not run
#   a host that cannot be reached: the second batch runs
set -euo pipefail
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ansible-core==2.19.14
cd "$work"
cat > play.yml <<'YAML'
- hosts: first:second:third
  gather_facts: false
  serial: 2
  max_fail_percentage: 0
  tasks:
    - name: Fail on the second host, if asked to
      ansible.builtin.fail:
      when: inventory_hostname == broken | default('')
    - name: Change the host
      ansible.builtin.raw: echo changed
YAML

# second_batch RECAP CONNECTION [SETTING...]: whether the third host is changed although the second, with this connection, is lost.
second_batch() {
  local recap=$1
  printf 'first ansible_connection=local\nsecond %s\nthird ansible_connection=local\n' "$2" > hosts.ini
  venv/bin/ansible-playbook -i hosts.ini play.yml "${@:3}" > output 2>&1 || true
  grep --quiet "second.*$recap=1" output
  if grep --quiet '^changed: \[third\]' output; then echo runs; else echo "does not run"; fi
}

failed=$(second_batch failed ansible_connection=local -e broken=second)
echo "a host that fails: the second batch $failed"
# Nothing listens on this port.
unreachable=$(second_batch unreachable "ansible_host=127.0.0.1 ansible_port=1")
echo "a host that cannot be reached: the second batch $unreachable"
[ "$failed" = "does not run" ] && [ "$unreachable" = runs ]

#!/usr/bin/env bash
# Slurm's daemons and commands for tests/slurm, and its database, on Debian and Ubuntu. Where that is not possible,
# says so and ends well: the tests are skipped then.
set -u
privileged=""
[ "$(id -u)" = 0 ] || privileged="sudo --non-interactive"
export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin"

# provide COMMAND PACKAGE...: install the packages unless the command exists. No daemon of them may start: the
# tests start their own.
provide() {
    command -v "$1" >/dev/null && return
    if command -v apt-get >/dev/null &&
        $privileged apt-get update --quiet --quiet &&
        $privileged env RUNLEVEL=1 apt-get install --quiet --quiet --yes --no-install-recommends "${@:2}" >/dev/null; then
        echo "tests/slurm: installed ${*:2}"
    else
        echo "tests/slurm: ${*:2} could not be installed here (it takes apt-get and root); its tests are skipped"
    fi
}

provide slurmctld slurm-wlm munge
provide slurmdbd slurmdbd
provide mariadbd mariadb-server
exit 0

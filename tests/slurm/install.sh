#!/usr/bin/env bash
# Slurm's daemons and commands for tests/slurm, on Debian and Ubuntu. Where that is not possible, says so
# and ends well: the tests are skipped then.
set -u
if command -v slurmctld slurmd sbatch munged >/dev/null; then
    exit 0
fi
privileged=""
[ "$(id -u)" = 0 ] || privileged="sudo --non-interactive"
export DEBIAN_FRONTEND=noninteractive
# No daemon of the package may start: the tests start their own.
if command -v apt-get >/dev/null &&
    $privileged apt-get update --quiet --quiet &&
    $privileged env RUNLEVEL=1 apt-get install --quiet --quiet --yes --no-install-recommends \
        slurm-wlm munge >/dev/null; then
    echo "tests/slurm: installed $(slurmctld -V || /usr/sbin/slurmctld -V)"
else
    echo "tests/slurm: Slurm could not be installed here (it takes apt-get and root); its tests are skipped"
fi
exit 0

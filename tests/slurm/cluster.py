"""A Slurm cluster on this machine: munged, slurmctld and two slurmd as child processes."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

NODES = ("n1", "n2")
GPUS = 8  # of each node; plain files stand for them
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
DATABASE = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacct", "sacctmgr")
ACCOUNT = "site"  # of the tests' user, in a cluster with a database


def missing(programs=PROGRAMS):
    """The programs that are not installed; tests/slurm/install.sh installs them on Debian."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    return [name for name in programs if shutil.which(name, path=path) is None]


class Cluster:
    """Two nodes of eight GPUs, a partition `main`, `short`, whose jobs last three minutes at most, and
    `urgent`, whose jobs preempt those of the others.

    Everything lies in `folder`; its path must be short, because that of a socket is limited. With a
    database it has accounts, as most sites: jobs without an association are refused, and the tests' user
    has the default account `ACCOUNT`.
    """

    def __init__(self, folder: Path, *, database=False):
        self.folder, self.database = folder, database
        self.processes = {}
        self.environment = {
            **os.environ,
            "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin",
            "SLURM_CONF": str(folder / "slurm.conf"),
            "MYSQL_UNIX_PORT": str(folder / "db.socket"),
        }

    def start(self):
        for name in ("bin", "munge", "state", *NODES):
            (self.folder / name).mkdir(parents=True)
        self._configure()
        self._start_munge()
        if self.database:
            self._start_database()
        self.start_controller()
        for node in NODES:
            self._start(node, "slurmd", "-D", "-N", node)
        self.wait_for(lambda: self.states() == dict.fromkeys(NODES, "idle"), "idle nodes")

    def stop(self):
        """End every daemon and what it started; those that do not listen are killed."""
        if self.processes:
            with suppress(subprocess.SubprocessError, RuntimeError, TimeoutError):
                self.cancel()
        for name in reversed(list(self.processes)):
            self._end(name)

    def start_controller(self):
        self._start("slurmctld", "slurmctld", "-D", "-i")
        answers = "Slurmctld(primary) at"
        self.wait_for(lambda: answers in self.run("scontrol", "ping").stdout, "slurmctld")

    def stop_controller(self):
        self._end("slurmctld")

    def run(self, *command, timeout=60):
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout
        )

    def states(self):
        """{node: state} as sinfo prints it, without the marks that it adds."""
        lines = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T")
        return {n: s.rstrip("*~#$@") for n, s in map(str.split, lines.stdout.splitlines())}

    def drain(self):
        """Let no job start; those that run go on."""
        self.run("scontrol", "update", f"nodename={','.join(NODES)}", "state=drain", "reason=test")

    def resume(self):
        self.run("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")

    def cancel(self):
        """Cancel all jobs and wait for their end."""
        self.run("scancel", "--user", getpass.getuser(), timeout=10)
        self.wait_for(lambda: not self.queue(), "an empty queue")

    def queue(self, *states):
        """{job id: comment} of the jobs in these states, by default of all that have not ended."""
        chosen = [f"--states={','.join(states)}"] if states else []
        lines = self.run("squeue", "--noheader", "--format=%i %k", *chosen).stdout.splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def job(self, identity):
        """What scontrol shows of a job: {key: value}."""
        shown = self.run("scontrol", "--oneliner", "show", "job", str(identity)).stdout
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def jobs(self):
        """As `job`, of all that the controller remembers, by id."""
        shown = self.run("scontrol", "--oneliner", "show", "job").stdout
        found = (
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in shown.splitlines()
        )
        known = {int(job["JobId"]): job for job in found if "JobId" in job}
        return dict(sorted(known.items()))

    def wait_for(self, condition, what, seconds=60):
        """The first true answer of `condition`, asked five times a second."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} has ended:\n{self.log(name)}")
            if answer := condition():
                return answer
            time.sleep(0.2)
        raise TimeoutError(f"no {what} within {seconds} s:\n{self.log('slurmctld')}")

    def log(self, name):
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace")[-3000:] if file.exists() else ""

    def _start(self, name, *command):
        with (self.folder / f"{name}.log").open("a") as log:
            # Not to outlive tests that are killed.
            self.processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, name):
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_munge(self):
        folder = self.folder / "munge"
        folder.chmod(0o700)
        self.run("mungekey", "--create", f"--keyfile={folder / 'key'}")
        self._start(
            "munged",
            "munged",
            "--foreground",
            "--force",  # a folder of the tests may be open to others
            f"--key-file={folder / 'key'}",
            f"--socket={self.folder / 'munge.socket'}",
            f"--pid-file={folder / 'pid'}",
            f"--log-file={folder / 'log'}",
            f"--seed-file={folder / 'seed'}",
        )
        self.wait_for((self.folder / "munge.socket").exists, "munge socket")

    def _start_database(self):
        """MariaDB on a socket alone, slurmdbd, and an account with this user."""
        folder, user = self.folder, getpass.getuser()
        data = f"--datadir={folder / 'db'}"
        install = ["mariadb-install-db", "--no-defaults", data, f"--user={user}", "--skip-test-db"]
        made = self.run(*install, "--auth-root-authentication-method=normal", timeout=120)
        assert made.returncode == 0, made.stdout + made.stderr
        socket_file = folder / "db.socket"
        options = [f"--socket={socket_file}", "--skip-networking", f"--user={user}"]
        self._start("mariadbd", "mariadbd", "--no-defaults", data, *options)
        self.wait_for(socket_file.exists, "database")
        self._start("slurmdbd", "slurmdbd", "-D")
        self.wait_for(
            lambda: self.run("sacctmgr", "--noheader", "list", "cluster").returncode == 0,
            "slurmdbd",
        )
        for words in (
            "cluster tests",
            f"account {ACCOUNT} cluster=tests",
            f"user {user} account={ACCOUNT} defaultaccount={ACCOUNT} cluster=tests",
        ):
            added = self.run("sacctmgr", "--immediate", "add", *words.split())
            assert added.returncode == 0, added.stdout + added.stderr

    def _configure_database(self, port):
        """Write slurmdbd.conf; return the lines of slurm.conf about it."""
        file = self.folder / "slurmdbd.conf"
        file.touch(mode=0o600)
        file.write_text(
            f"""\
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
DbdHost=localhost
DbdPort={port}
SlurmUser={getpass.getuser()}
PidFile={self.folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""
        )
        return f"""
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={self.folder}/munge.socket
AccountingStorageEnforce=associations
"""

    def _configure(self):
        folder, user, host = self.folder, getpass.getuser(), socket.gethostname()
        controller, storage, *ports = free_ports(2 + len(NODES))
        accounting = self._configure_database(storage) if self.database else ""
        for node in NODES:
            for i in range(GPUS):
                (folder / node / f"gpu{i}").touch()
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs=64 RealMemory=4000000 Gres=gpu:{GPUS} State=UNKNOWN"
            for node, port in zip(NODES, ports, strict=True)
        )
        (folder / "slurm.conf").write_text(
            f"""\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
{nodes}
{accounting}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
PartitionName=short Nodes=ALL MaxTime=3 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 State=UP
"""
        )
        # Inside a job snakemake takes SLURM_CONF, as most SLURM_ variables, from what it starts.
        for name in ("srun", "squeue", "scontrol"):
            command = folder / "bin" / name
            command.write_text(
                f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(name)} "$@"\n'
            )
            command.chmod(0o755)
        (folder / "gres.conf").write_text(
            "AutoDetect=off\n"
            + "".join(
                f"NodeName={node} Name=gpu File={folder}/{node}/gpu[0-{GPUS - 1}]\n"
                for node in NODES
            )
        )


def free_ports(number):
    """Ports that nobody listened on a moment ago."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

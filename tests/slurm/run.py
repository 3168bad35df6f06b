"""Any study on a cluster of the tests' own: `python -m tests.slurm.run --configfile config/smoke.yaml`.

Its arguments go to `snakemake --profile slurm`, which has what tests change of the profile. Ctrl-C ends both.
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.study import HERE, OVERRIDES
from tests.support.paths import ROOT


def main(arguments):
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    command = [sys.executable, str(HERE / "driver.py"), "--profile", "slurm", *OVERRIDES]
    command += ["--slurm-status-command=squeue"]
    environment = {**cluster.environment, "PYTHONPATH": str(ROOT / "src")}
    try:
        cluster.start()
        done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment)
        ended = Counter(
            f"{job['Comment'].partition('_wildcards_')[0]}: {job['JobState']}"
            for job in cluster.jobs().values()
        )
        print(*(f"{number} of {what}" for what, number in sorted(ended.items())), sep="\n")
        return done.returncode
    finally:
        cluster.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

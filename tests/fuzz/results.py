"""Damage every kind of result of a finished study, and run the jobs that read it.

    python -m vlmscale.jobs.import_server python -m tests.fuzz.results config/smoke.yaml

Of each rule one job is run, by its own script, once for each file that it reads and each damage: flipped, cut
short, emptied. A damage is noticed (the job fails, names the file or its folder, and sets it aside) or of no
effect (the outputs are the same bytes). Anything else is a bad case: another result, a traceback, a failure that
does not name the file. Runs in a copy of the study; prints the bad cases, and ends with status 1 if there are any.
"""

import argparse
import os
import runpy
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from tests.support.paths import ROOT
from tests.support.trees import COPIED
from vlmscale.study.load import load_study


def flip(content):
    at = len(content) * 2 // 3
    return content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]


DAMAGES = {"flipped": flip, "cut short": lambda c: c[: len(c) // 2], "emptied": lambda c: b""}


def plan_jobs(config):
    """Return the jobs of a study with inputs below results/, one of each rule."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        OutputSettings,
        Quietness,
        ResourceSettings,
    )

    jobs = {}
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        planned = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config={"study": config}),
            snakefile=Path("Snakefile"),
        )
        planned.dag(dag_settings=DAGSettings(targets={"all"}, forceall=True))
        workflow = planned._workflow
        workflow._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        for job in sorted(workflow.dag.jobs, key=lambda job: list(job.output)):
            if job.rule.script and job.rule.name not in jobs:
                parts = ("input", "output", "params", "wildcards", "log", "threads", "resources")
                values = {part: getattr(job, part) for part in parts}
                script = (Path(job.rule.basedir) / job.rule.script).resolve()
                jobs[job.rule.name] = (script, SimpleNamespace(**values, rule=job.rule.name))
    return jobs


def list_files(paths):
    """Return the files of inputs or outputs below results/, of folders all of them."""
    files = []
    for path in map(Path, paths):
        if path.parts[0] == "results":
            files += [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [file for file in files if not file.name.startswith(".snakemake")]


def run_job(script, snakemake):
    """Run a script as snakemake does, in a process of its own; return its status and its log."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            runpy.run_path(str(script), init_globals={"snakemake": snakemake})
            status = 0
        except SystemExit as error:
            print(error, flush=True)
            status = 0 if error.code in (None, 0) else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return status, Path(snakemake.log[0]).read_text(errors="replace")


def restore(kept, files):
    """Put files as they were, and remove what the job or its failure left of them."""
    for file in files:
        for folder in (file, *file.parents):
            if folder.with_name(f"{folder.name}.damaged").exists():
                aside = folder.with_name(f"{folder.name}.damaged")
                shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
                if not folder.exists() and (kept / folder).is_dir():
                    shutil.copytree(kept / folder, folder)
            if folder.parent == Path("results"):
                break
        if not file.exists() or file.read_bytes() != (kept / file).read_bytes():
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(kept / file, file)


def judge(status, log, file, kept, outputs):
    """Return what became of a damage, in a word or two; a bad case in capitals."""
    if "Traceback (most recent call last)" in log:
        return "TRACEBACK"
    if status:
        # The last line names the file, or the folder that a rule makes as a whole.
        said = [line for line in log.splitlines() if line.startswith("error: ")]
        places = (file, *file.parents)[: len(file.parts) - 2]
        if not any(str(place) in line for place in places for line in said):
            return "FAILED WITHOUT NAMING IT"
        if not any(p.with_name(f"{p.name}.damaged").exists() for p in places):
            return "NAMED, NOT SET ASIDE"
        return "noticed"
    # The record of a training holds its seconds.
    compared = [out for out in outputs if out.name != "run.json"]
    same = all(out.read_bytes() == (kept / out).read_bytes() for out in compared)
    return "no effect" if same else "ANOTHER RESULT"


def try_damages(config, rules=None, damages=DAMAGES, most=None):
    """Damage what each job of `rules` reads, `most` files of it; return {(rule, file, damage): verdict}.

    To be called in a copy of a checkout with the finished study.
    """
    verdicts = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder)
        shutil.copytree("results", kept / "results")
        for rule, (script, snakemake) in plan_jobs(config).items():
            if rules is not None and rule not in rules:
                continue
            outputs = list_files(snakemake.output)
            kinds = {}  # of many equal inputs, as of all cells, the first
            for file in list_files(snakemake.input):
                kinds.setdefault((file.name, len(file.parts), file.parts[2]), file)
            for file in list(kinds.values())[:most]:
                for name, damage in damages.items():
                    content = file.read_bytes()
                    if damage(content) == content:
                        continue
                    file.write_bytes(damage(content))
                    status, log = run_job(script, snakemake)
                    verdict = verdicts[rule, str(file), name] = judge(
                        status, log, file, kept, outputs
                    )
                    print(f"{rule}: {file} {name}: {verdict}", file=sys.stderr, flush=True)
                    restore(kept, [file, *outputs])
    return verdicts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="config/smoke.yaml")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="where the finished study is")
    parser.add_argument("--rules", nargs="*", help="default: all")
    parser.add_argument("--most", type=int, help="files that a job reads, default: all")
    given = parser.parse_args()
    study = load_study(given.checkout / given.config).study
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, Path(folder, name)) if source.is_dir() else shutil.copy2(
                source, folder
            )
        shutil.copy2(given.checkout / given.config, Path(folder, given.config))
        for name in (study, "published"):
            shutil.copytree(given.checkout / "results" / name, Path(folder, "results", name))
        os.chdir(folder)
        verdicts = try_damages(given.config, given.rules, most=given.most)
        os.chdir(ROOT)
    bad = {
        case: verdict for case, verdict in verdicts.items() if verdict.isupper() or "," in verdict
    }
    for (rule, file, damage), verdict in bad.items():
        print(f"{rule}: {file} {damage}: {verdict}")
    print(f"results: {len(verdicts)} damages")
    for verdict, count in Counter(verdicts.values()).most_common():
        print(f"{count:6} {verdict}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()

# What snakemake does before the first job and after the last one.
import os
import shutil

import vlmscale
from vlmscale.jobs.failures import FailedJob, format_failures
from vlmscale.jobs.process import refuse_future
from vlmscale.jobs.slurm import make_comment, end_leftover_jobs


def failed_jobs():
    """Return the jobs that failed in their last attempt, in the order of their files."""
    jobs = [
        job
        for failed in workflow.scheduler.failed
        for job in (failed.jobs if failed.is_group() else [failed])
    ]
    found = [FailedJob(job.rule.name, [*job.output], [*job.log]) for job in jobs]
    return sorted(found, key=lambda job: job.outputs)


def this_command():
    """Return this run's command without its targets; with the file of a job it runs that job alone."""
    from snakemake.cli import get_argument_parser

    typed = vars(get_argument_parser().parse_args(sys.argv[1:]))
    kept = ["snakefile", "directory", "profile", "configfile", "config"]
    if not typed["profile"]:
        typed["cores"] = typed["cores"] or 1
        kept.append("cores")
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        words = [sys.executable, "-m", "snakemake"]
    elif shutil.which(program.name) == str(program):
        words = [program.name]
    else:  # as of `make`, whose environment is not activated
        here = program.absolute().is_relative_to(Path.cwd())
        words = [os.path.relpath(program) if here else str(program)]
    for name in kept:
        if value := typed[name]:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(str, values)]
    return [*words, "--"]


onstart:
    gc.freeze()
    gc.enable()
    library, here = (
        Path(path).resolve()
        for path in (vlmscale.__path__[0], CHECKOUT / "src/vlmscale")
    )
    if here.is_dir() and library != here:
        print(f"This environment runs the code of {library}, not of {here}.")
    if lawless := STUDY.methods_without_law:
        print(f"Without a law, since in none of laws.series: {', '.join(lawless)}.")
    jobs = list(workflow.dag.needrun_jobs())
    try:
        inputs = {str(file) for job in jobs for file in job.input}
        refuse_future(map(Path, filter(os.path.exists, sorted(inputs))))
        if "released" in STUDY.rule_files:
            announce_downloads(jobs)
    except UserError as error:
        sys.exit(f"error: {error}")
    # A killed snakemake could not cancel its jobs in Slurm, which would write to the files of this run.
    if workflow.executor_plugin.name == "slurm":
        comments = [make_comment(job.name, job.wildcards) for job in jobs]
        if left := end_leftover_jobs(Path.cwd(), comments):
            print(
                f"Ended the jobs that an earlier run left in Slurm: {', '.join(left)}."
            )


onerror:
    print(format_failures(failed_jobs(), this_command()))


onsuccess:
    print("Done. Results and their README are in results/.")

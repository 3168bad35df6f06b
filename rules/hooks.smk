# What snakemake does before the first job and after the last one.
from vlmscale.jobs.failures import FailedJob, format_failures
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
    words = ["snakemake"]
    for name in kept:
        if value := typed[name]:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(str, values)]
    return [*words, "--"]


onstart:
    gc.freeze()
    gc.enable()
    if "released" in STUDY.rule_files:
        try:
            announce_downloads(workflow.dag.needrun_jobs())
        except UserError as error:
            sys.exit(f"error: {error}")
    # A killed snakemake could not cancel its jobs in Slurm, which would write to the files of this run.
    if workflow.executor_plugin.name == "slurm":
        jobs = [
            make_comment(job.name, job.wildcards)
            for job in workflow.dag.needrun_jobs()
        ]
        if left := end_leftover_jobs(Path.cwd(), jobs):
            print(
                f"Ended the jobs that an earlier run left in Slurm: {', '.join(left)}."
            )


onerror:
    print(format_failures(failed_jobs(), this_command()))


onsuccess:
    print("Done. Results and their README are in results/.")

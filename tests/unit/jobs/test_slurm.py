"""Jobs that an earlier run left in Slurm."""

from pathlib import Path

from vlmscale.jobs.slurm import find_leftover_jobs, make_comment


def test_leftover_jobs_are_those_of_this_folder_with_the_comments():
    listing = "\n".join(
        [
            "1|RUNNING|/study|rule_train_stage2_wildcards_a",
            "2|PENDING|/study|rule_evaluate_cell_wildcards_b",
            "3|RUNNING|/other|rule_train_stage2_wildcards_a",
            "4|RUNNING|/study|rule_train_stage2_wildcards_c",
            "5|RUNNING|/study|(null)",
        ]
    )
    mine = [make_comment("train_stage2", ["a"]), make_comment("evaluate_cell", ["b"])]
    assert find_leftover_jobs(listing, Path("/study"), mine) == {"1": "RUNNING", "2": "PENDING"}
    assert find_leftover_jobs("", Path("/study"), mine) == {}

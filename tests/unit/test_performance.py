"""docs/performance.md tells what was measured, row by row, and no more than that."""

from pathlib import Path

import pandas as pd

from vlmscale.planning.trainings import planned_trainings
from vlmscale.records.parquet import read_provenance
from vlmscale.study.load import load_study

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "src/vlmscale/resources/measured"
PAGE = (ROOT / "docs/performance.md").read_text()


def measured(name):
    return pd.read_parquet(MEASURED / f"speed_{name}.parquet")


def spread(row):
    return f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"


def share(row, name):
    low, high = getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
    return f"{getattr(row, name):.0%} ({low:.0%} to {high:.0%})"


def assert_told(rows):
    """Each row stands in the page, cell by cell."""
    lines = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in PAGE.splitlines()}
    for row in rows:
        assert tuple(map(str, row)) in lines


def test_whole_studies():
    table = measured("studies")
    assert_told(
        (
            f"`make {row.target}`",
            row.checkout,
            f"`{row.commit}`",
            row.jobs,
            f"{row.seconds:.0f}",
            f"{row.processor_seconds:.0f}",
            f"{row.times_seconds:.2f}",
            f"{row.times_processor_seconds:.2f}",
        )
        for row in table.itertuples()
    )
    new = table[table["checkout"] == "new"]
    assert set(new["target"]) == {"run", "smoke"}
    assert (new["times_seconds"] >= 1.5).all()


def test_steps_of_training():
    table = measured("training")
    assert_told(
        (
            row.batch,
            row.model,
            row.visual_tokens,
            f"{row.tokens_per_second:.0f}",
            f"{row.mfu:.0%}",
            spread(row),
            f"{row.of_ideal:.2f}",
        )
        for row in table.itertuples()
    )
    ours = table[table["model"] != "plain LLaVA"]
    assert (ours.loc[ours["visual_tokens"] == 576, "ratio"] >= 1).all()
    assert (ours.loc[ours["visual_tokens"] <= 36, "of_ideal"] >= 0.8).all()


def test_loading():
    assert_told(
        (
            row.llm,
            f"{row.step_ms:.0f}",
            f"{row.first_ms:.1f}",
            share(row, "first_share"),
            f"{row.again_ms:.1f}",
            f"{row.again_share:.0%}",
        )
        for row in measured("loading").itertuples()
    )
    assert (measured("loading")[["first_share", "again_share"]] < 0.1).all(axis=None)


def test_photographs():
    table = measured("photographs")
    assert_told(
        (row.workers, f"{row.samples_per_second:.0f}", spread(row)) for row in table.itertuples()
    )
    trainings = pd.DataFrame(planned_trainings(load_study(ROOT / "config/paper.yaml")))
    one = trainings.query(
        "llm == 'Qwen1.5-0.5B' and method == 'tokenpacker' and visual_tokens == 1"
    )
    one = one.drop_duplicates("stage").set_index("stage")
    taken = 0.4 * 312e12 / (one["flops"] / one["samples"])
    assert taken.round(-1).to_dict() == {"stage1": 270, "stage2": 100}


def test_questions():
    table = measured("evaluation")
    assert_told(
        (row.adapter, row.questions, f"{row.same_answers:.0%}", spread(row))
        for row in table.itertuples()
    )
    assert (table["same_answers"] == 1).all()
    assert table["ratio"].max() >= 2


def test_compressors():
    table = measured("compressors")
    assert_told((f"`{row.method}`", row.setting, spread(row)) for row in table.itertuples())
    assert (table["ratio"] > 0.985).all()  # "within 1 % or below"


def test_planning():
    table = pd.read_parquet(MEASURED / "planning.parquet")
    assert_told(
        (
            row.study,
            f"{row.cells:,}",
            f"`{row.command}`",
            f"{row.seconds:.1f}",
            f"{row.after_imports:.1f}",
            f"{row.times_bare:.1f}",
        )
        for row in table.itertuples()
    )


def test_measurements_say_on_what_they_were_made():
    for file in sorted(MEASURED.glob("*.parquet")):
        about = read_provenance(file)
        assert about["versions"], file
        assert about.get("device") or about.get("processor"), file

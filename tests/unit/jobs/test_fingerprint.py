"""The fingerprint follows code that matters, and nothing else."""

import shutil
from pathlib import Path

import pytest

from vlmscale.jobs import fingerprint as module
from vlmscale.jobs.fingerprint import find_imported_modules, fingerprint

ROOTS = ["vlmscale.training.stages", "vlmscale.models.projectors.quecc"]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package that may be edited."""
    shutil.copytree(module.PACKAGE, tmp_path / "src" / "vlmscale")
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "src" / "vlmscale")

    def edit(file, old, new):
        path = tmp_path / "src" / "vlmscale" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        module._read.cache_clear()

    module._read.cache_clear()
    yield edit
    module._read.cache_clear()


def test_closure_reaches_imports_and_no_other_method():
    found = find_imported_modules(ROOTS)
    assert "vlmscale.models.attention" in found
    assert "vlmscale.models.vlm" in found
    assert "vlmscale.models.projectors.tokenpacker" not in found
    assert "vlmscale.analysis.laws.power_law" not in found


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("models/projectors/quecc.py", "groups=d", "groups=1", True),
        ("models/attention.py", "HEADS = 8", "HEADS = 4", True),
        ("training/trainer.py", "max_grad_norm=1.0", "max_grad_norm=2.0", True),
        ("models/projectors/quecc.py", "The paper, section 4", "The paper, sec. 4", False),
        (
            "models/projectors/quecc.py",
            "import Tensor, nn\n",
            "import Tensor, nn  # why\n\n",
            False,
        ),
        ("models/projectors/quecc.py", 'section 4"', 'Section 4"', False),
        ("models/projectors/quecc.py", "n*d + 3*d", "n*d + 4*d", False),
        ("models/projectors/quecc.py", 'needs = ("multilayer"', 'needs = ("pixels"', True),
        ("models/projectors/quecc.py", '("asked", "constant")', '("constant", "asked")', True),
        (
            "models/projectors/base.py",
            'positions: ClassVar[str] = "v"',
            'positions: ClassVar[str] = "p"',
            False,
        ),
        ("models/projectors/tokenpacker.py", "std=0.02", "std=0.03", False),
        ("study/parts.py", "class Evaluation(", "class Evaluate(", False),
        ("analysis/laws/least_squares.py", "_NODES = 15", "_NODES = 11", False),
    ],
)
def test_what_changes_it(copied, file, old, new, changes):
    before = fingerprint(ROOTS)
    copied(file, old, new)
    assert (fingerprint(ROOTS) != before) is changes


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("quecc.py", "n*d + 3*d", "n*d + 4*d", True),
        ("quecc.py", "2*p*d*d", "3*p*d*d", True),
        ("m3.py", 'stage2_copies = "f + 1"', 'stage2_copies = "f"', True),
        ("quecc.py", 'section 4"', 'Section 4"', False),
        ("quecc.py", "groups=d", "groups=1", False),
    ],
)
def test_formulas_count_for_code_that_computes_costs(copied, file, old, new, changes):
    before = fingerprint(["vlmscale.costs.flops"])
    copied(f"models/projectors/{file}", old, new)
    assert (fingerprint(["vlmscale.costs.flops"]) != before) is changes


def test_laws_do_not_depend_on_the_costs_of_projectors(copied):
    before = fingerprint(["vlmscale.analysis.study"])
    copied("models/projectors/quecc.py", "n*d + 3*d", "n*d + 4*d")
    assert fingerprint(["vlmscale.analysis.study"]) == before


@pytest.mark.usefixtures("copied")
def test_a_file_without_a_projector_changes_no_cost():
    before = fingerprint(["vlmscale.costs.flops"])
    (module.PACKAGE / "models/projectors/stranger.py").write_text("raise ImportError")
    assert fingerprint(["vlmscale.costs.flops"]) == before


def test_only_the_formulas_of_named_projectors_count(copied):
    timed = ["vlmscale.latency.measure", "vlmscale.models.projectors.quecc"]
    before = fingerprint(timed)
    copied("models/projectors/mqt.py", "v*d*n", "2*v*d*n")
    assert fingerprint(timed) == before
    copied("models/projectors/quecc.py", "n*d + 3*d", "n*d + 4*d")
    assert fingerprint(timed) != before


def test_a_broken_projector_stops_no_other_code(copied):
    copied("models/projectors/mqt.py", "class Mqt(Projector):", "class Mqt(Projector:")
    fingerprint(ROOTS)
    fingerprint(["vlmscale.costs.flops"])


def test_a_script_counts_with_what_it_imports(tmp_path, copied):
    script = tmp_path / "fit.py"
    script.write_text("from vlmscale.analysis.laws.power_law import fit_power_law\n")
    before = fingerprint(scripts=[script])
    copied("analysis/laws/least_squares.py", "_NODES = 15", "_NODES = 11")
    assert fingerprint(scripts=[script]) != before
    copied("analysis/laws/least_squares.py", "_NODES = 11", "_NODES = 15")
    assert fingerprint(scripts=[script]) == before
    script.write_text("from vlmscale.analysis.laws.power_law import PowerLaw\n")
    module._read.cache_clear()
    assert fingerprint(scripts=[script]) != before


def test_files_and_locked_versions_count(tmp_path, monkeypatch):
    extra = tmp_path / "task.yaml"
    extra.write_text("a: 1\n")
    before = fingerprint(ROOTS, files=[extra], packages=["transformers", "torch"])
    extra.write_text("a: 2\n")
    assert fingerprint(ROOTS, files=[extra], packages=["transformers", "torch"]) != before
    lock = tmp_path / "lock.txt"
    lock.write_text(module.LOCK.read_text().replace("transformers==", "transformers==99."))
    with_old_lock = fingerprint(ROOTS, packages=["transformers"])
    monkeypatch.setattr(module, "LOCK", Path(lock))
    module._locked_versions.cache_clear()
    assert fingerprint(ROOTS, packages=["transformers"]) != with_old_lock
    module._locked_versions.cache_clear()

"""A study's file at the workflow's door: read strictly, and never run."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

SMOKE = (ROOT / "config/smoke.yaml").read_text()
PROGRAM = "__use_yte__: true\n__definitions__:\n  - open('ran', 'w').close()\nstudy: x\n"
EXPRESSION = "__use_yte__: true\nstudy: ?open('ran', 'w').name\n"
KEY_IN_ESCAPES = '"\\x5f_use_yte__": true\nstudy: ?open("ran", "w").name\n'
MERGED = "x: &x {__use_yte__: true}\n<<: *x\nstudy: ?open('ran', 'w').name\n"
TAG = "study: !!python/name:os.system\n"
BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize("way", ["--configfile", "--config"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMOKE + "stage2: {steps: 3}\n", "key 'stage2' stands twice, in lines"),
        (
            SMOKE.replace("latency: true", "latency: yes"),
            "latency: Input should be a valid boolean",
        ),
        ("{}", "stage1: Field required"),
        (PROGRAM, "__definitions__, __use_yte__ makes it a program"),
        (EXPRESSION, "__use_yte__ makes it a program"),
        (KEY_IN_ESCAPES, "__use_yte__ makes it a program"),
        (MERGED, "__use_yte__ makes it a program"),
        (TAG, "line 1: remove the tag"),
        (BOMB, "with aliases written out"),
        (SMOKE.encode("utf-16"), "is not text in UTF-8"),
        ("study: é\n".encode("latin-1"), "is not text in UTF-8"),
        ("study: x\0\n", "cannot be read as YAML"),
    ],
)
def test_a_bad_config_is_one_error_whatever_names_it(empty, way, text, words):
    (empty.path / "x.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    chosen = ["--config", "study=x.yaml"] if way == "--config" else ["--configfile", "x.yaml"]
    done = empty.snakemake("-n", *chosen, config=None)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert done.stdout.count("error: ") == 1
    assert words in done.stdout
    assert not (empty.path / "ran").exists()


def test_a_target_behind_configfile_is_named(empty):
    done = empty.snakemake("-n", "--configfile", "config/smoke.yaml", "published", config=None)
    assert done.returncode != 0
    (line,) = done.stdout.splitlines()
    assert line.startswith("error: --configfile: there is no file 'published'. If it is a target")


def test_a_file_named_by_config_has_the_plan_of_one_named_by_configfile(empty):
    done = empty.snakemake("-n", "--config", "study=config/smoke.yaml", config=None)
    assert done.returncode == 0, done.stdout
    same = empty.snakemake("-n")
    shown = [  # snakemake lists jobs that do not wait for each other in any order
        sorted(line for line in run.stdout.splitlines() if line.startswith(("rule ", "localrule ")))
        for run in (done, same)
    ]
    assert shown[0] == shown[1] != []


def test_single_keys_may_be_changed_on_the_command_line(empty):
    arguments = ("-n", "--quiet", "rules", "--config", "latency=false", "laws={seed: 5}")
    done = empty.snakemake(*arguments)
    assert done.returncode == 0, done.stdout
    assert "measure_latency" not in done.stdout


def test_placeholders_of_a_profile_are_refused_before_the_first_job(empty):
    profile = empty.path / "mine"
    profile.mkdir()
    (profile / "config.yaml").write_text("default-resources:\n  slurm_account: CHANGE_ME\n")
    done = empty.snakemake("-n", "--profile", "mine")
    assert done.returncode != 0
    assert "line 2: slurm_account: CHANGE_ME" in done.stdout


def run_make(folder, *arguments):
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=100
    )


@pytest.fixture
def checkout(tmp_path):
    """A folder with a Makefile and an environment that counts as complete."""
    shutil.copy2(ROOT / "Makefile", tmp_path)
    for name in ("requirements", "config", "src", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT}/src exec {sys.executable} "$@"\n'
    )
    (tmp_path / ".venv/bin/python").chmod(0o755)
    complete = tmp_path / ".venv/complete"
    complete.touch()
    os.utime(complete, (2**32, 2**32))
    return tmp_path


def test_make_study_names_a_missing_or_bad_file_and_starts_nothing(checkout):
    for config, words in (("no.yaml", "no.yaml cannot be read"), ("x.yaml", "'a' stands twice")):
        (checkout / "x.yaml").write_text("a: 1\na: 2\n")
        done = run_make(checkout, "study", f"CONFIG={config}")
        assert done.returncode != 0
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert not (checkout / ".snakemake").exists()


def test_make_clean_follows_links_and_keeps_the_page_about_results(checkout, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    for name in ("results", "work"):
        (disk / name / "mini/deep").mkdir(parents=True)
        (disk / name / "mini/deep/README.md").touch()
        (checkout / name).symlink_to(disk / name)
    (disk / "results/README.md").touch()
    assert run_make(checkout, "clean").returncode == 0
    assert [path.name for path in (disk / "results").iterdir()] == ["README.md"]
    assert list((disk / "work").iterdir()) == []
    assert (checkout / "results").is_symlink()


@pytest.mark.parametrize("name", ["with space", "it's", "a$b", "a(b)"])
def test_make_setup_refuses_a_folder_that_jobs_cannot_be_started_in(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy2(ROOT / "Makefile", folder)
    (folder / "requirements").symlink_to(ROOT / "requirements")
    (folder / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    done = run_make(folder, "setup")
    assert done.returncode != 0
    assert "Move the checkout to a folder without spaces and quotes" in done.stdout
    assert not (folder / ".venv").exists()


def test_a_copied_checkout_gets_an_environment_of_its_own(checkout):
    """`make` says that it would make one anew; in the folder of the first it would not."""
    complete = checkout / ".venv/complete"
    for place, anew in ((checkout, False), (checkout / "elsewhere", True)):
        complete.write_text(f"{place}\n")
        os.utime(complete, (2**32, 2**32))
        assert ("-m venv --clear .venv" in run_make(checkout, "--dry-run", "setup").stdout) is anew

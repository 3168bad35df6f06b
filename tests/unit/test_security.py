"""No code of the project runs what it reads; see docs/security.md."""

import ast
import re

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.support.paths import ROOT
from vlmscale.study.parts import Name

FILES = sorted(
    file for folder in ("src", "workflow", "benchmarks") for file in (ROOT / folder).rglob("*.py")
)
# What runs text or starts a shell, and readers that run what they read.
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execl", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *(
        "pickle.load",
        "pickle.loads",
        "pd.read_pickle",
        "joblib.load",
        "marshal.loads",
        "shelve.open",
    ),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "np.fromfile", "tarfile.open"),
    *("tempfile.mktemp", "Image.open"),
}
ALLOWED = {
    ("src/vlmscale/images.py", "Image.open"),
    ("src/vlmscale/study/reader.py", "yaml.load"),
    # Of one package, after its SHA-256; members are read, never unpacked.
    ("src/vlmscale/data/photographs/archive.py", "tarfile.open"),
}


def calls(file):
    """The calls of a file: (name as written, node)."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_runs_what_it_reads(file):
    found = {name for name, _ in calls(file)} & FORBIDDEN
    assert {(str(file.relative_to(ROOT)), name) for name in found} <= ALLOWED
    for name, node in calls(file):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert given.get("shell", "False") == "False", name
        assert given.get("allow_pickle", "False") == "False", name
        assert given.get("trust_remote_code", "False") == "False", name
        if name in ("torch.load", "np.load"):
            assert given.get("weights_only") == "True" or name == "np.load", name
        if re.search(r"\bAuto\w+\.from_pretrained$", name):
            assert given.get("trust_remote_code") == "False", name


def test_rules_put_no_name_into_a_shell():
    for file in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        assert not re.search(r"^\s*(shell|run):|\bshell\(", file.read_text(), re.M), file


@pytest.mark.parametrize(
    "name",
    [
        "<script>",
        "a;ls",
        "$(ls)",
        "`ls`",
        "a b",
        "../a",
        "a/b",
        "-rf",
        ".a",
        "a|b",
        "a\nb",
        "\x1b[31m",
        "a'",
        "\\input",
        "",
    ],
)
def test_names_of_a_study_have_no_character_of_shells_paths_or_pages(name):
    assert TypeAdapter(Name).validate_python("Qwen1.5-0.5B_x") == "Qwen1.5-0.5B_x"
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({}) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_chat_template_runs_in_a_sandbox(template, tmp_path, monkeypatch):
    from jinja2.exceptions import SecurityError, UndefinedError
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    monkeypatch.chdir(tmp_path)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, "a")))
    tokenizer.chat_template = template
    with pytest.raises((SecurityError, UndefinedError, TypeError)):
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert not (tmp_path / "ran").exists()

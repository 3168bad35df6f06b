"""`import vlmscale.analysis as va`: names that load their module when they are used."""

import ast
import subprocess
import sys

from tests.support.paths import ROOT
from vlmscale import analysis
from vlmscale.jobs.fingerprint import find_imported_modules


def test_importing_it_imports_no_module_of_it():
    code = (
        "import sys, vlmscale.analysis as va\n"
        "assert 'pandas' not in sys.modules and set(va.__all__) <= set(dir(va))\n"
        "sys.modules['torch'] = None  # as if not installed\n"
        "for name in va.__all__: assert callable(getattr(va, name))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert find_imported_modules(["vlmscale.analysis"]) == {"vlmscale", "vlmscale.analysis"}


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(analysis, "fit_law")


def test_type_checkers_see_the_same_names():
    stub = ast.parse((ROOT / "src/vlmscale/analysis/__init__.pyi").read_text())
    assert [alias.asname for node in stub.body for alias in node.names] == analysis.__all__
    for node in stub.body:
        assert getattr(analysis, node.names[0].name).__module__.startswith(node.module)

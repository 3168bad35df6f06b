"""A hash of the code a job runs, so that editing a method reruns that method's cells and no others.

Snakemake notices neither edits of imported modules nor other package versions. Every rule therefore has
`fingerprint(...)` of its script and modules among its params.
"""

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
LOCK = PACKAGE.parents[1] / "requirements" / "lock.txt"
_METHODS = (
    "vlmscale.methods"  # evaluates the formulas of projectors, which it reads from their source
)
_PROJECTORS = "vlmscale.models.projectors"
_FORMULAS = ("weights", "multiply_adds", "positions", "stage2_copies")


def fingerprint(
    modules: Iterable[str] = (),
    *,
    scripts: Iterable[Path] = (),
    files: Iterable[Path] = (),
    packages: Iterable[str] = (),
) -> str:
    """Hash `modules`, `scripts`, what they import from vlmscale, `files`, and versions of `packages`.

    Comments, docstrings and formatting do not count; imports inside functions do. Name modules that are
    imported by a name made at run time yourself. Versions are those of requirements/lock.txt.

    What a projector declares of its source and its costs counts only for code that imports
    vlmscale.methods: formulas of the projectors among `modules`, or of all if there are none.
    """
    digest = hashlib.sha256()
    scripts = sorted(scripts, key=lambda path: path.name)  # wherever the checkout is
    imported = [module for script in scripts for module in _read(script)[0]]
    code = [(script.name, script) for script in scripts]
    code += [(name, _path(name)) for name in sorted(find_imported_modules([*modules, *imported]))]
    for name, path in code:
        digest.update(f"{name}\n{_read(path)[1]}\n".encode())
    if _METHODS in dict(code):
        projectors = sorted((PACKAGE / "models" / "projectors").glob("*.py"))
        named = [path for name, path in code if name.startswith(f"{_PROJECTORS}.")]
        for path in named or projectors:
            if formulas := _read(path)[2]:
                digest.update(f"{path.name}\n{formulas}\n".encode())
    for file in sorted(files):
        digest.update(file.name.encode() + b"\n" + file.read_bytes())
    for package in sorted(packages):
        digest.update(f"{package}=={_locked_versions()[package]}\n".encode())
    return digest.hexdigest()[:16]


def find_imported_modules(modules: Iterable[str]) -> frozenset[str]:
    """Return `modules` and all of vlmscale that they import, directly or not, with parent packages."""
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            parent = name.rpartition(".")[0]
            todo += [parent] if parent and _path(parent).exists() else []
            todo += _read(_path(name))[0]
    return frozenset(seen)


def _path(name: str) -> Path:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _read(path: Path) -> tuple[tuple[str, ...], str, str]:
    """Return the modules of vlmscale that a file imports, its syntax, and that of declared formulas.

    The syntax is without docstrings and, in a projector, without its source and its formulas.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        if path.parent.name != "projectors":
            raise
        return (), "", ""  # vlmscale.methods names the file if the study uses it
    found = []
    formulas = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
        if isinstance(node, ast.ClassDef) and path.parent.name == "projectors":
            formulas += [part for part in node.body if _find_name(part) in _FORMULAS]
            node.body = [p for p in node.body if _find_name(p) not in ("source", *_FORMULAS)]
    modules = (name for name in found if name.partition(".")[0] == PACKAGE.name)
    own = tuple(name for name in modules if _path(name).exists())
    return own, ast.dump(tree), "\n".join(map(ast.dump, formulas))


def _find_name(statement: ast.stmt) -> str:
    """Return the name that a statement assigns; "" for other statements."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


@cache
def _locked_versions() -> dict[str, str]:
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)$", LOCK.read_text(), re.M))
    versions["torch"] = re.findall(r"torch==([\w.]+)", LOCK.read_text())[0]
    return versions

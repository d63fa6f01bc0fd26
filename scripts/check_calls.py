# SPDX-License-Identifier: Apache-2.0
"""Refuse code that runs what strangers send, or lets them in: `check_calls.py [FILE ...]`; without files, all of ours.

Looks at the syntax tree, so that a comment or a docstring about pickle is no finding. What is allowed is in ALLOWED.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ikol", "solver_server", "blender_addon", "scripts", "tests")

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
SHELLS = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
}  # fmt: skip
UNPICKLING_NAMES = {"recv_pyobj", "send_pyobj", "read_pickle", "unsafe_load", "full_load"}
SAFE_VALUES = {"allow_pickle": False, "weights_only": True, "shell": False}
ALL_INTERFACES = ("0.0.0.0", "tcp://*", "tcp://[::]")  # text to be found, nothing binds it
POSITION_OF_ALLOW_PICKLE = 2  # of np.load's arguments

ALLOWED = {
    ("scripts/check_calls.py", "all interfaces"): "the rule itself",
    ("tests/server_tests/test_check_calls.py", "all interfaces"): "the code that the check must find",
    ("scripts/bench_peers/peer_smplfitter.py", "unpickler"): "writes the only kind of body file that this peer reads",
    ("tests/ikol_tests/body/test_default_body.py", "allow_pickle"): "writes the hostile file",
    ("tests/ikol_tests/exchange/test_points_file.py", "allow_pickle"): "writes the hostile file",
    ("tests/ikol_tests/body/test_array_archive.py", "unpickler"): "makes the hostile file, and shows that it works",
    ("tests/ikol_tests/restricted_pickle/test_read.py", "unpickler"): "makes the files, and shows that one works",
    ("tests/ikol_tests/exchange/test_motion_files.py", "unpickler"): "makes the files, and shows that ours can be read",
    ("ikol/regressor/networks/checkpoint.py", "unpickler"): "names the error of torch.load(weights_only=True)",
    ("tests/ikol_tests/regressor/networks/test_checkpoint.py", "unpickler"): "makes the hostile file",
    ("tests/ikol_tests/regressor/manifest/test_own_network.py", "unpickler"): "makes the hostile file",
    ("tests/support/pickles.py", "unpickler"): "writes files as other programs do",
    ("tests/support/hostile_files.py", "unpickler"): "makes the hostile files",
    ("tests/addon_tests/core/test_keypoint_files.py", "unpickler"): "makes the hostile file",
    ("tests/server_tests/test_hostile_input.py", "unpickler"): "makes the hostile file",
    ("tests/server_tests/test_corrupted_files.py", "unpickler"): "makes the hostile file",
    ("tests/addon_tests/test_self_contained.py", "all interfaces"): "the add-on's own text search",
}
"""File and rule, with the reason. An entry that allows nothing any more is an error too."""


class Finding(NamedTuple):
    """Something that is not allowed."""

    path: str
    line: int
    rule: str
    what: str


def findings(source: str, path: str) -> Iterator[Finding]:
    """Give what is wrong with the text of a Python file."""
    tree = ast.parse(source, path)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Import(names):
                for alias in names:
                    if alias.name.split(".")[0] in UNPICKLERS:
                        yield Finding(path, line, "unpickler", alias.name)
            case ast.ImportFrom(module=str(module), level=0):
                if module.split(".")[0] in UNPICKLERS:
                    yield Finding(path, line, "unpickler", module)
                for name in (f"{module}.{alias.name}" for alias in node.names):
                    if name in SHELLS:
                        yield Finding(path, line, "shell", name)
                    if name.removeprefix("builtins.") in RUNNERS:
                        yield Finding(path, line, "runs text", name)
                    if name == "torch.load":  # then nobody sees at the call what it is
                        yield Finding(path, line, "weights_only", name)
            case ast.Call():
                yield from _findings_in_call(node, path)
            case ast.Dict(keys, values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and not _is_safe(key.value, value):
                        yield Finding(path, line, str(key.value), "in a dictionary of arguments")
            case ast.Attribute(attr=name) if name in UNPICKLING_NAMES:
                yield Finding(path, line, "unpickler", name)
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                if any(address in text for address in ALL_INTERFACES):
                    yield Finding(path, line, "all interfaces", text[:60])
            case _:
                pass


def _findings_in_call(node: ast.Call, path: str) -> Iterator[Finding]:
    name = ast.unparse(node.func)
    if name.removeprefix("builtins.") in RUNNERS:
        yield Finding(path, node.lineno, "runs text", name)
    if name in SHELLS:
        yield Finding(path, node.lineno, "shell", name)
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    for keyword, value in keywords.items():
        if not _is_safe(keyword, value):
            yield Finding(path, node.lineno, str(keyword), ast.unparse(value))
    if name in {"np.load", "numpy.load"} and len(node.args) > POSITION_OF_ALLOW_PICKLE:
        yield Finding(path, node.lineno, "allow_pickle", ast.unparse(node.args[POSITION_OF_ALLOW_PICKLE]))
    if name in {"importlib.import_module", "import_module", "runpy.run_module"} and node.args:
        module = node.args[0]
        if isinstance(module, ast.Constant) and str(module.value).split(".")[0] in UNPICKLERS:
            yield Finding(path, node.lineno, "unpickler", str(module.value))
    if name.endswith(".bind") and node.args and isinstance(node.args[0], ast.Tuple):
        host = node.args[0].elts[0] if node.args[0].elts else None
        if isinstance(host, ast.Constant) and host.value in ("", "::"):
            yield Finding(path, node.lineno, "all interfaces", ast.unparse(node.args[0]))
    if name == "torch.load" and "weights_only" not in keywords:
        yield Finding(path, node.lineno, "weights_only", "not said")


def _is_safe(keyword: object, value: ast.expr) -> bool:
    """Say whether an argument is none that matters, or has the one value that is allowed."""
    return keyword not in SAFE_VALUES or (isinstance(value, ast.Constant) and value.value is SAFE_VALUES[str(keyword)])


def our_files() -> Iterator[Path]:
    """Give every Python file of the project, also scripts whose name does not end in .py."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".py" or (path.is_file() and not path.suffix and _is_python(path)):
                yield path


def _is_python(path: Path) -> bool:
    with path.open("rb") as file:
        first_line = file.readline(100)
    return first_line.startswith(b"#!") and b"python" in first_line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="look at these only, and allow nothing")
    files = parser.parse_args().files
    allowed = {} if files else ALLOWED
    used: set[tuple[str, str]] = set()
    wrong: list[str] = []
    for path in files or our_files():
        name = str(path) if files else path.relative_to(ROOT).as_posix()
        for finding in findings(path.read_text(encoding="utf-8"), name):
            if (name, finding.rule) in allowed:
                used.add((name, finding.rule))
            else:
                wrong.append(f"{finding.path}:{finding.line}: {finding.rule}: {finding.what}")
    unused = [(name, rule) for name, rule in sorted(allowed.keys() - used) if (ROOT / name).exists()]
    wrong += [f"{name}: {rule} is allowed, but does not occur" for name, rule in unused]
    print("\n".join(wrong) if wrong else "no forbidden calls")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Benchmarks are run by hand, so nothing else notices when what they import has moved."""

import ast
import importlib
from importlib.util import find_spec

import pytest
from support.comfy import ROOT

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    ours = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    for node in ours:
        if node.module.split(".")[0] != "svfr_model":
            continue
        module = importlib.import_module(node.module)
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            assert hasattr(module, alias.name) or find_spec(name), name

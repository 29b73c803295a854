"""What the layout of the code measures: rooms, the imports between them, circles, long functions, mypy's errors.

    python benchmarks/structure.py                 # this checkout
    python benchmarks/structure.py 8163d63         # another revision beside it
    python benchmarks/structure.py --mypy          # and what mypy says of each, where it is installed (minutes)
    python benchmarks/structure.py --draw          # draw the rooms anew in docs/architecture.md

A room is a package of `svfr_model`, or a package in one (`faces/detectors`), or a module that lies directly under
`svfr_model`, or `nodes`. Only the text of the code is read: imports inside functions and those for types count too.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY, NODES = "svfr_model", "nodes"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by benchmarks/structure.py --draw -->", "<!-- end of rooms -->"
MOST_PARAMETERS = 7
OPTION_CLASSES = "Options", "WindowPlan"
WIDGETS = "Int", "Float", "Combo", "Boolean", "String"
MYPY_CONFIG = """[mypy]
strict = True
explicit_package_bases = True
[mypy-accelerate.*,insightface.*,onnxruntime.*]
ignore_missing_imports = True
[mypy-diffusers.*]
follow_imports = skip
"""
"""As pyproject.toml has it, but for modules that it may let off. The packages named have no types that mypy can see."""
Edges = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Function:
    """A function or method: its qualified name, its length in lines, and how many parameters a caller sees."""

    name: str
    lines: int
    parameters: int


class Structure:
    """The modules under a checkout's svfr_model and nodes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = [path for folder in (LIBRARY, NODES) for path in sorted((root / folder).rglob("*.py"))]
        self._trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
        self._packages = {_dotted(path.parent, root) for path in paths if path.name == "__init__.py"}

    @cached_property
    def modules(self) -> dict[str, set[str]]:
        """The modules, each with the modules that it imports."""
        names = {_module(path, self.root): tree for path, tree in self._trees.items()}
        return {name: set(self._imports(name, tree, names)) - {name} for name, tree in names.items()}

    def _imports(self, name: str, tree: ast.AST, known: Collection[str]) -> Iterator[str]:
        package = name if name in self._packages else name.rpartition(".")[0]
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            parts = package.split(".")
            parts = parts[: len(parts) - node.level + 1]
            home = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{home}.{alias.name}".lstrip(".")
                if full in known or home in known:
                    yield full if full in known else home

    def room(self, module: str) -> str:
        """The room that a module lies in, as a path: "faces/detectors", "nodes"; "." for svfr_model's own files."""
        if module.split(".")[0] == NODES:
            return NODES
        package = module if module in self._packages else module.rpartition(".")[0]
        if module in (LIBRARY, f"{LIBRARY}.__main__"):
            return "."
        home = module if package == LIBRARY else package
        return home.removeprefix(f"{LIBRARY}.").replace(".", "/")

    @cached_property
    def rooms(self) -> dict[str, set[str]]:
        """The rooms, each with the rooms that it imports from."""
        edges: dict[str, set[str]] = defaultdict(set)
        for module, imported in self.modules.items():
            home = self.room(module)
            edges[home] |= {self.room(name) for name in imported} - {home, "."}
        edges.pop(".")
        return dict(edges)

    @cached_property
    def purposes(self) -> dict[str, str]:
        """The first sentence of each room's docstring."""
        documented = {_module(path, self.root): ast.get_docstring(tree) or "" for path, tree in self._trees.items()}
        return {self.room(name): text.split("\n\n")[0] for name, text in documented.items() if name in self._packages}

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method."""
        return [f for path, tree in self._trees.items() for f in _functions(tree, _module(path, self.root))]

    @property
    def crowded(self) -> list[Function]:
        """Functions with more than seven parameters; a node's execute has one for each of its inputs."""
        return [f for f in self.functions if f.parameters > MOST_PARAMETERS and not f.name.endswith(".execute")]

    @cached_property
    def declarations(self) -> dict[str, int]:
        """The options (class.field), each with how many places state its default or help: field, flag and node input.

        A flag or a widget counts where it bears the field's name and is written out, not derived, in a module that
        names the class: another node's `mode` is another thing.
        """
        counted: dict[str, int] = {}
        for group in (node for tree in self._trees.values() for node in ast.walk(tree)):
            if not isinstance(group, ast.ClassDef) or not group.name.endswith(OPTION_CLASSES):
                continue
            written = [_written(tree) for tree in self._trees.values() if _names(tree, group.name)]
            for field in _fields(group):
                flags = any(field in flags for flags, _ in written)
                inputs = any(field in inputs for _, inputs in written)
                counted[f"{group.name}.{field}"] = 1 + flags + inputs
        return counted

    @property
    def loose(self) -> list[str]:
        """Modules directly under svfr_model."""
        return [path.name for path in sorted((self.root / LIBRARY).glob("*.py"))]


def _dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).parts)


def _module(path: Path, root: Path) -> str:
    return _dotted(path.parent if path.name == "__init__.py" else path.with_suffix(""), root)


def _written(tree: ast.Module) -> tuple[set[str], set[str]]:
    """The names of the flags, and of the widgets, that a module writes out."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    flags = {_first(call).lstrip("-").replace("-", "_") for call in calls if call.func.attr == "add_argument"}
    widgets = {_first(call) for call in calls if call.func.attr == "Input" and _kind(call.func) in WIDGETS}
    return flags, widgets


def _kind(function: ast.Attribute) -> str:
    """The last name before the dot: Int of io.Int.Input."""
    value = function.value
    return value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")


def _names(tree: ast.Module, name: str) -> bool:
    """Whether a module speaks of a class, or has it."""
    found = (getattr(node, "id", getattr(node, "name", "")) for node in ast.walk(tree))
    return any(word == name for word in found)


def _fields(group: ast.ClassDef) -> list[str]:
    """The fields of a class that have a default."""
    own = [field for field in group.body if isinstance(field, ast.AnnAssign) and field.value is not None]
    return [field.target.id for field in own if isinstance(field.target, ast.Name)]


def _first(call: ast.Call) -> str:
    """A call's first argument, where it is a text."""
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _functions(tree: ast.AST, prefix: str) -> Iterator[Function]:
    for node in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{prefix}.{node.name}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            seen = [argument for argument in given if argument.arg not in ("self", "cls")]
            yield Function(inner, node.end_lineno - node.lineno + 1, len(seen))
        yield from _functions(node, inner)


def circles(edges: Edges) -> list[list[str]]:
    """Groups of more than one name that import each other, directly or through others."""
    reached = {name: _reached(name, edges) for name in edges}
    groups = {tuple(sorted({a} | {b for b in reached[a] if a in reached[b]})) for a in edges}
    return sorted(list(group) for group in groups if len(group) > 1)


def _reached(start: str, edges: Edges) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in edges.get(waiting.pop(), ()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def declared_floors(root: Path) -> list[set[str]]:
    """The rooms of each floor, top down, as import-linter's contract in pyproject.toml has them; none without one."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r"^layers = (\[\n.*?^\])", text, re.S | re.M)
    if not layers:
        return []
    return [{NODES}, *({name.strip() for name in floor.split("|")} for floor in ast.literal_eval(layers[1]))]


def upward(rooms: Edges, declared: Iterable[Collection[str]]) -> list[tuple[str, str]]:
    """The imports (from, to) that do not lead to a floor declared to be lower.

    declared: the floors, top down. A room within a room lies on its floor; what those two import of each other is left
    to the search for circles.
    """
    level = {room: number for number, floor in enumerate(declared) for room in floor}
    pairs = [(home, room) for home, imported in rooms.items() for room in imported]
    outer = {room: room.split("/")[0] for room in rooms}
    return sorted((a, b) for a, b in pairs if outer[a] != outer[b] and level[outer[a]] >= level[outer[b]])


def floors(rooms: Edges) -> dict[str, int]:
    """The floor of each room: 1 where nothing is imported, else one above the highest room imported from."""
    level: dict[str, int] = {}
    while len(level) < len(rooms):
        ready = {home for home in rooms if home not in level and level.keys() >= set(rooms[home])}
        if not ready:
            raise ValueError(f"These rooms import each other in a circle: {circles(rooms)}.")
        level |= {home: 1 + max((level[room] for room in rooms[home]), default=0) for home in ready}
    return level


def drawn(structure: Structure) -> str:
    """The rooms for docs/architecture.md: a Mermaid flowchart, and a table with every import."""
    rooms = structure.rooms
    level = floors(rooms)
    order = sorted(rooms, key=lambda home: (-level[home], home))
    lines = ["```mermaid", "flowchart TD", *(f'    {_id(home)}["{home}"]' for home in order)]
    for home in order:
        implied = {far for near in rooms[home] for far in _reached(near, rooms)}
        lines += [f"    {_id(home)} --> {_id(room)}" for room in sorted(rooms[home] - implied)]
    lines += ["```", "", "| floor | room | what it holds | imports from |", "|---|---|---|---|"]
    for home in order:
        imported = ", ".join(sorted(rooms[home], key=lambda room: (-level[room], room))) or "nothing"
        lines.append(f"| {level[home]} | `{home}` | {_cell(structure.purposes[home])} | {imported} |")
    return "\n".join(lines)


def _id(room: str) -> str:
    return room.replace("/", "_")


def _cell(text: str) -> str:
    """Text as a cell of a Markdown table."""
    return text.replace("\n", " ").replace("|", "\\|")


def redrawn(page: str, drawing: str) -> str:
    """The page with the drawing between its marks."""
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    return f"{before}{BEGIN}\n{drawing}\n{END}{after}"


def mypy_errors(root: Path) -> str:
    """How many errors mypy --strict finds in the library under root, none of them hidden by a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mypy.ini"
        config.write_text(MYPY_CONFIG, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            str(config),
            "--cache-dir",
            f"{folder}/cache",
            LIBRARY,
        ]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    found = re.search(r"^(?:Found (\d+) error|Success)", done.stdout, re.M)
    return (found[1] or "0") if found else "mypy did not run"


def measures(root: Path, mypy: bool) -> dict[str, str]:
    """What is measured of a checkout, by name."""
    structure = Structure(root)
    rooms, declared = structure.rooms, declared_floors(root)
    figures: dict[str, object] = {
        "rooms": len(rooms),
        "floors": max(floors(rooms).values()),
        "imports between rooms": sum(len(imported) for imported in rooms.values()),
        "circles": len(circles(structure.modules)) + len(circles(rooms)),
        "upward imports": len(upward(rooms, declared)) if declared else "no floors declared",
        "modules directly under svfr_model": len(structure.loose),
        "functions": len(structure.functions),
        "functions with more than seven parameters": len(structure.crowded),
        "options": len(structure.declarations),
        "declarations per option, at most": max(structure.declarations.values()),
        "options declared more than once": sum(count > 1 for count in structure.declarations.values()),
        "longest function, lines": max(function.lines for function in structure.functions),
    }
    if mypy:
        figures["mypy errors, svfr_model, strict"] = mypy_errors(root)
    return {name: str(figure) for name, figure in figures.items()}


def unpack(revision: str, folder: Path) -> Path:
    """The tree of a revision of this repository, in folder."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def main() -> None:
    """Print the table, or the picture."""
    parser = argparse.ArgumentParser(description="Measure the layout of the code.")
    parser.add_argument("revision", nargs="?", help="a revision to measure beside this checkout")
    parser.add_argument("--mypy", action="store_true", help="count mypy's errors too")
    parser.add_argument("--draw", action="store_true", help="draw the rooms in docs/architecture.md instead")
    options = parser.parse_args()
    if options.draw:
        PAGE.write_text(redrawn(PAGE.read_text(encoding="utf-8"), drawn(Structure(ROOT))), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        places = {options.revision: unpack(options.revision, Path(folder))} if options.revision else {}
        places["here"] = ROOT
        columns = {name: measures(root, options.mypy) for name, root in places.items()}
    print(f"| | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for row in columns["here"]:
        print(f"| {row} | {' | '.join(column[row] for column in columns.values())} |")
    for function in Structure(ROOT).crowded:
        print(f"{function.parameters} parameters: {function.name}")
    for circle in circles(Structure(ROOT).modules):
        print(f"circle: {', '.join(circle)}")


if __name__ == "__main__":
    main()

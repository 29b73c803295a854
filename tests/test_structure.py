"""The layout of the code stays as docs/architecture.md draws it: no circle, no import upwards, nothing overlong."""

import importlib.util
import sys

import pytest


@pytest.fixture(scope="module")
def measure(root):
    spec = importlib.util.spec_from_file_location("structure", root / "benchmarks" / "structure.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["structure"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["structure"]


@pytest.fixture(scope="module")
def structure(measure, root):
    return measure.Structure(root)


def test_no_modules_and_no_rooms_import_each_other_in_a_circle(measure, structure):
    assert measure.circles(structure.modules) == []
    assert measure.circles(structure.rooms) == []


def test_no_room_imports_from_above(measure, structure, root):
    assert measure.upward(structure.rooms, measure.declared_floors(root)) == []


def test_only_the_packages_own_files_lie_directly_in_it(structure):
    assert structure.loose == ["__init__.py", "__main__.py"]


def test_no_function_is_longer_than_60_lines(structure):
    assert [function for function in structure.functions if function.lines > 60] == []


def test_no_more_than_four_functions_take_more_than_seven_parameters(structure):
    assert len(structure.crowded) <= 4, structure.crowded


def planted(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


FLOORS = """layers = [
    "high | stray",
    "low",
]
"""
LAZY = """def f(a, b, c, d, e, f, g, h, *, i):
    from ..low import thing


class A:
    def execute(self, a, b, c, d, e, f, g, h):
        pass
"""


@pytest.fixture
def small(measure, tmp_path):
    """Two rooms that import each other, in a function and for types only, and a node."""
    files = {
        "pyproject.toml": FLOORS,
        "svfr_model/__init__.py": "from .high.one import f\n",
        "svfr_model/stray.py": "",
        "svfr_model/high/__init__.py": '"""High."""\n',
        "svfr_model/high/one.py": LAZY,
        "svfr_model/low/__init__.py": '"""Low,\nand | wide.\n\nMore."""\nfrom .thing import T\n',
        "svfr_model/low/thing.py": "if TYPE_CHECKING:\n    from ..high.one import A\n",
        "svfr_model/low/inner/__init__.py": "from ..thing import T\n",
        "nodes/__init__.py": "from ..svfr_model.high import one\nimport numpy\n",
    }
    return measure.Structure(planted(tmp_path, files))


def test_imports_of_every_kind_are_seen(small):
    assert small.rooms == {
        "stray": set(),
        "high": {"low"},
        "low": {"high"},
        "low/inner": {"low"},
        "nodes": {"high"},
    }
    assert small.modules["svfr_model.high.one"] == {"svfr_model.low.thing"}
    assert small.modules["svfr_model.low"] == {"svfr_model.low.thing"}


def test_circles_strays_and_long_lists_are_found(measure, small):
    assert measure.circles(small.rooms) == [["high", "low"]]
    assert measure.circles(small.modules) == [["svfr_model.high.one", "svfr_model.low.thing"]]
    assert small.loose == ["__init__.py", "stray.py"]
    assert [(f.name, f.parameters, f.lines) for f in small.crowded] == [("svfr_model.high.one.f", 9, 2)]


def test_flags_and_inputs_that_repeat_an_option_are_counted(measure, tmp_path):
    code = """class CropOptions:
    crop_size: int = 512
    margin: float = 0.4
    roll: bool = False
    needed: int


class Other:
    margin: float = 0.4


parser.add_argument("--crop-size", "-c", default=512)
parser.add_argument(names)
io.Int.Input("crop_size", default=512)
io.Float.Input("margin", default=0.4)
"""
    stranger = 'parser.add_argument("--roll")\nio.Boolean.Input("roll")\nwire = io.Image.Input("margin")\n'
    files = {"svfr_model/__init__.py": code, "svfr_model/stranger.py": stranger}
    structure = measure.Structure(planted(tmp_path, files))
    assert structure.declarations == {"CropOptions.crop_size": 3, "CropOptions.margin": 2, "CropOptions.roll": 1}


def test_upward_imports_are_those_that_do_not_lead_to_a_lower_floor(measure, small):
    floors = measure.declared_floors(small.root)
    assert floors == [{"nodes"}, {"high", "stray"}, {"low"}]
    rooms = {**small.rooms, "low/inner": {"low", "stray"}, "stray": {"high", "nodes"}}
    wrong = [("low", "high"), ("low/inner", "stray"), ("stray", "high"), ("stray", "nodes")]
    assert measure.upward(rooms, floors) == wrong


def test_the_page_draws_the_rooms_as_they_are(measure, structure, root):
    """Else: python benchmarks/structure.py --draw"""
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert measure.redrawn(page, measure.drawn(structure)) == page


def test_a_drawing_has_every_import_and_an_arrow_for_those_that_no_other_implies(measure, tmp_path):
    files = {
        "svfr_model/__init__.py": "",
        "svfr_model/low/__init__.py": '"""Low |\nand wide.\n\nMore."""',
        "svfr_model/mid/__init__.py": '"""Mid."""\nfrom ..low import a',
        "svfr_model/mid/inner/__init__.py": '"""Inner."""\nfrom ...low import a\nfrom .. import b',
    }
    drawing = measure.drawn(measure.Structure(planted(tmp_path, files)))
    assert [line.strip() for line in drawing.splitlines() if "-->" in line] == ["mid_inner --> mid", "mid --> low"]
    assert "| 3 | `mid/inner` | Inner. | mid, low |" in drawing
    assert "| 1 | `low` | Low \\| and wide. | nothing |" in drawing

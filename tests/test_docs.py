"""The papers in the house: what is cited is there, and every link leads somewhere."""

import ast
import re

import pytest

from svfr_model.base.version import VERSION

CITATION = re.compile(r"\b(docs/[\w/.-]+\.md)(?:#([\w-]+))?")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = "svfr_model", "nodes", "tests", "benchmarks"
PAGES = "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/reference/*.md", "web/docs/*.md"


def anchors(page):
    """What `#...` can name in a Markdown page: its own `<a id>` and, by GitHub's rule, its headings."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", re.sub(r"<[^>]*>", "", h)).strip().lower().replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def citations(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            for page, anchor in CITATION.findall(path.read_text(encoding="utf-8")):
                yield path.relative_to(root), page, anchor


def test_every_page_and_anchor_that_the_code_cites_is_there(root):
    cited = list(citations(root))
    assert len({anchor for _, _, anchor in cited}) > 20
    for path, page, anchor in cited:
        assert (root / page).is_file(), f"{path} cites {page}"
        assert not anchor or anchor in anchors(root / page), f"{path} cites {page}#{anchor}"


def pages(root):
    return [path for pattern in PAGES for path in sorted(root.glob(pattern))]


def test_every_link_between_the_pages_leads_somewhere(root):
    seen = 0
    for page in pages(root):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.relative_to(root)} links to {link}"
            assert not anchor or anchor in anchors(target), f"{page.relative_to(root)} links to {link}"
            seen += 1
    assert seen >= 5


@pytest.mark.parametrize(
    ("heading", "slug"), [("## Set up, test", "set-up-test"), ("### 1.1 UNet (big) [V]", "11-unet-big-v")]
)
def test_headings_are_anchors_by_githubs_rule(tmp_path, heading, slug):
    page = tmp_path / "page.md"
    page.write_text(f'{heading}\n- <a id="own"></a>text\n')
    assert anchors(page) == {slug, "own"}


NAME = re.compile(r"`([a-z_]+(?:\.\w+)+)`")


def defined(path):
    """The names that a module's own lines define or import."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def is_there(root, name):
    """Whether "engine.windows.WindowPlan" is a package, a module, or something that one of them has."""
    base = root if name.startswith("nodes.") else root / "svfr_model"
    *parents, last = name.split(".")
    place = base.joinpath(*parents)
    if (place / last).is_dir() or (place / f"{last}.py").is_file():
        return True
    homes = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    return any(last in defined(home) for home in homes)


def named(root, page):
    rooms = {path.parent.name for path in (root / "svfr_model").glob("*/__init__.py")} | {"nodes"}
    names = NAME.findall((root / page).read_text(encoding="utf-8"))
    return [name for name in names if name.split(".")[0] in rooms and not name.endswith((".py", ".md"))]


def test_the_architecture_names_only_what_is_there(root):
    names = named(root, "docs/architecture.md")
    assert len(names) > 50
    assert [name for name in names if not is_there(root, name)] == []


def test_a_name_that_is_not_there_is_seen(root):
    there = (
        "engine",
        "engine.windows",
        "engine.windows.WindowPlan",
        "weights.find",
        "faces.detectors.load",
        "nodes.NODES",
    )
    assert all(is_there(root, name) for name in there)
    gone = "engine.window", "engine.windows.Plan", "weights.lost", "nodes.windows", "media.reader.open_clip.x"
    assert not any(is_there(root, name) for name in gone)


def test_the_changelog_sends_scripts_to_modules_that_are_there(root):
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    moved = re.findall(r"^\|.*\| `([\w.]+)` \|$", text, re.M)
    assert len(moved) > 50
    assert [name for name in moved if not is_there(root, name)] == []


def test_the_changelog_begins_with_the_version_of_the_pack(root):
    newest = re.search(r"^## (\S+)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert f'version = "{newest}"' in (root / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert newest == VERSION

"""The papers in the house: what is cited is there, and every link leads somewhere."""

import re

import pytest

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

"""The pack in other languages: what a server says of the nodes, translated sentence by sentence.

    python tests/support/help_pages.py

writes `locales/` (in the form that ComfyUI reads) and the Chinese help pages, besides the English ones. A translation
lies in `translations/<language>.json` under its English text, so that a text is translated once for all nodes that have
it, and one whose English has changed counts as missing. tests/comfy/server/test_locales.py names what is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .comfy import ROOT

FOLDER = ROOT / "locales"
MEMORY = Path(__file__).with_name("translations")
LANGUAGES = ("zh", "ja", "ko")
ENGLISH = json.loads((FOLDER / "en" / "main.json").read_text(encoding="utf-8"))
"""What our scripts say in the page (`svfr`), and what they translate of what the server tells (`svfr_told`), with {0},
{1}... for what differs from time to time."""
DEFAULT = re.compile(r" Default: (?P<value>[^.;:]+(?:\.\d+)?)\.$")
UNSET = re.compile(r" (?P<value>\S+) means the default\.$")
LONGEST_DEFAULT = 3
"""Words; a longer sentence about the default is translated with its text."""
HEADS = {
    "## Inputs": "## 输入",
    "## Outputs": "## 输出",
    "## Tips": "## 提示",
    "| input | what it does |": "| 输入 | 作用 |",
    "| output | what it is |": "| 输出 | 内容 |",
}
OWN_TIPS = "## 提示"


@dataclass
class Translator:
    """Looks texts of one language up, and notes what there is no translation of, and what was used."""

    language: str
    missing: list[str] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.memory = json.loads((MEMORY / f"{self.language}.json").read_text(encoding="utf-8"))

    def find(self, kind: str, english: str) -> str:
        """The translation of one entry; the English where there is none."""
        self.used.add((kind, english))
        found = self.memory[kind].get(english)
        if not found:
            self.missing.append(f"{kind}: {english}")
        return found or english

    def text(self, english: str) -> str:
        """A tooltip or description: what it says, and what it says of the default."""
        forms = self.memory["forms"]
        for pattern, form in ((DEFAULT, forms["default"]), (UNSET, forms["unset"])):
            tail = pattern.search(english)
            if tail and len(tail["value"].split()) <= LONGEST_DEFAULT and tail.start():
                value = tail["value"]
                shown = self.find("defaults", value) if value in self.memory["defaults"] or " " in value else value
                return self.find("texts", english[: tail.start()]) + forms["joint"] + form.format(shown)
        return self.find("texts", english)

    def stale(self) -> list[str]:
        """Entries whose English nothing says any more."""
        kinds = ("nodes", "names", "texts", "defaults", "categories", "words", "told")
        return [f"{kind}: {key}" for kind in kinds for key in self.memory[kind] if (kind, key) not in self.used]


def node_entry(info: dict[str, Any], translator: Translator) -> dict[str, Any]:
    """A node's entry in nodeDefs.json. Keys as ComfyUI's frontend forms them: a point in a name would part it."""
    inputs = {
        name: {"name": translator.find("names", name), "tooltip": translator.text(options["tooltip"])}
        for name, options in inputs_of(info)
    }
    outputs = {
        str(number): {"name": translator.find("names", name), "tooltip": translator.text(tip)}
        for number, (name, tip) in enumerate(zip(info["output_name"], info["output_tooltips"], strict=True))
    }
    return {
        "display_name": translator.find("nodes", info["display_name"]),
        "description": translator.text(info["description"]),
        "inputs": inputs,
        "outputs": outputs,
    }


def inputs_of(info: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The inputs of a node with their options."""
    for kind in ("required", "optional"):
        for name, (_, options) in info["input"].get(kind, {}).items():
            yield name, options


def files_of(nodes: dict[str, Any], translator: Translator) -> dict[Path, str]:
    """The files of one language by path, as they should be."""
    parts = {part for info in nodes.values() for part in info["category"].split("/")} - {"SVFR"}
    words = {key: translator.find("words", english) for key, english in ENGLISH["svfr"].items()}
    main = {
        "nodeCategories": {part: translator.find("categories", part) for part in sorted(parts)},
        "svfr": words,
        "svfr_told": {english: translator.find("told", english) for english in ENGLISH["svfr_told"]},
    }
    definitions = {name: node_entry(info, translator) for name, info in sorted(nodes.items())}
    folder = FOLDER / translator.language
    return {folder / "main.json": _dumped(main), folder / "nodeDefs.json": _dumped(definitions)}


def chinese_page(english: str, info: dict[str, Any], before: str, translator: Translator) -> str:
    """The Chinese help page from the English one; the tips stay as they were translated by hand.

    They end with the digest of the English tips that they were made from, which the page does not show.
    """
    head = english.partition("## Tips")[0]
    for text, own in HEADS.items():
        head = head.replace(text, own)
    head = _in_cells(head, info, translator)
    tips = before.partition(OWN_TIPS)[2] or f"\n\n<!-- {digest('')} -->\n"
    return f"{head}{OWN_TIPS}{tips}"


def digest(page: str) -> str:
    """Of the tips of an English page."""
    tips = page.partition("## Tips")[2].strip()
    return hashlib.sha256(tips.encode()).hexdigest()[:12]


def _in_cells(head: str, info: dict[str, Any], translator: Translator) -> str:
    """The title, description and table cells of a page, translated."""
    texts = [info["description"], *(options["tooltip"] for _, options in inputs_of(info)), *info["output_tooltips"]]
    for text in sorted(set(texts), key=len, reverse=True):
        own = translator.text(text)
        head = head.replace(f"{cell(text)} |\n", f"{cell(own)} |\n").replace(f"{text}\n\n", f"{own}\n\n")
    for name in {*dict(inputs_of(info)), *info["output_name"]}:
        own = translator.find("names", name)
        head = head.replace(f"| `{name}` |", f"| `{name}` |" if own == name else f"| {own} `{name}` |")
    kinds = {"| *choice": "| *选项", "| *file": "| *文件", ", optional.* ": "，可选。* ", " (list).* ": "（列表）。* "}
    for english, own in kinds.items():
        head = head.replace(english, own)
    head = re.sub(r"(?m)^(\| .*? \| \*[^*]+)\.\* ", r"\1。* ", head)
    title = f"# {info['display_name']}\n"
    own = translator.find("nodes", info["display_name"])
    return head.replace(title, f"# {own}\n", 1)


def cell(text: str) -> str:
    """As the cell of a page has it. Long names may be parted, or the table would be wider than its panel."""
    return text.replace("|", "\\|").replace("\n", " ").replace("_", "_<wbr>")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"

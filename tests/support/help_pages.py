"""The nodes' help pages: what a server says of a node, as the head of its page; the tips below are written by hand.

    python tests/support/help_pages.py

starts ComfyUI and writes web/docs and locales anew, and lists what has no translation.
tests/comfy/server/test_nodes.py sees whether that has been done.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import locales
from support.comfy import PACK, ROOT, find_comfyui, running_server
from support.workflows import WIDGET_TYPES

FOLDER = ROOT / "web" / "docs"
TIPS = "## Tips"


def page(info: dict[str, Any], before: str) -> str:
    """A node's page: its description and tables from what the server says of it, its tips as they were."""
    return f"{_head(info)}\n{TIPS}{before.partition(TIPS)[2]}"


def _head(info: dict[str, Any]) -> str:
    inputs = [
        _input(name, *entry, optional=kind == "optional")
        for kind in ("required", "optional")
        for name, entry in info["input"].get(kind, {}).items()
    ]
    lists = info["output_is_list"]
    kinds = [f"*{kind}{' (list)' if listed else ''}.* " for kind, listed in zip(info["output"], lists, strict=True)]
    outputs = [
        f"| `{name}` | {locales.cell(kind + tip)} |"
        for name, kind, tip in zip(info["output_name"], kinds, info["output_tooltips"], strict=True)
    ]
    tables = [
        "## Inputs\n\n| input | what it does |\n|---|---|\n" + "\n".join(inputs),
        "## Outputs\n\n| output | what it is |\n|---|---|\n" + "\n".join(outputs),
    ]
    return "\n\n".join([f"# {info['display_name']}", info["description"], *tables]) + "\n"


def _input(name: str, kind: str | list, options: dict[str, Any], *, optional: bool) -> str:
    """A row of two cells, since the panel beside the graph has no room for more; the tooltip tells the default."""
    kind = "COMBO" if isinstance(kind, list) else kind
    shown = "file" if name.endswith("_name") else {"COMBO": "choice"}.get(kind, kind.replace(",", ", "))
    left = ", optional" if optional and kind not in WIDGET_TYPES else ""
    return f"| `{name}` | {locales.cell(f'*{shown}{left}.* ' + options['tooltip'])} |"


def main() -> None:
    """Write every page anew, and what is translated of the nodes."""
    with tempfile.TemporaryDirectory() as base, running_server(find_comfyui(), Path(base)) as server:
        nodes = ours(json.loads(server.get("/object_info")))
    for name, info in nodes.items():
        path = FOLDER / f"{name}.md"
        path.write_text(page(info, path.read_text(encoding="utf-8")), encoding="utf-8")
    translators = {language: locales.Translator(language) for language in locales.LANGUAGES}
    for translator in translators.values():
        for path, text in locales.files_of(nodes, translator).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path, text in chinese_pages(nodes, translators["zh"]).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for translator in translators.values():
        for entry in sorted(set(translator.missing)):
            sys.stdout.write(f"{translator.language}: no translation of {entry}\n")


def ours(nodes: dict[str, Any]) -> dict[str, Any]:
    """The pack's nodes among those that a server knows."""
    return {name: info for name, info in nodes.items() if info["python_module"] == f"custom_nodes.{PACK}"}


def chinese_pages(nodes: dict[str, Any], translator: locales.Translator) -> dict[Path, str]:
    """The Chinese help pages by path, as they should be."""
    pages = {}
    for name, info in nodes.items():
        english, path = (FOLDER / f"{name}.md").read_text(encoding="utf-8"), FOLDER / name / "zh.md"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        pages[path] = locales.chinese_page(english, info, before, translator)
    return pages


if __name__ == "__main__":
    main()

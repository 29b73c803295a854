"""Chinese, Japanese and Korean: every text of every node has a translation in that language, and none is left over."""

from __future__ import annotations

import json
import re

import pytest
from support.comfy import PACK, ROOT
from support.graphs import node
from support.help_pages import FOLDER as PAGES
from support.help_pages import chinese_pages, ours
from support.locales import ENGLISH, LANGUAGES, Translator, digest, files_of

SCRIPTS = {"zh": "\u4e00-\u9fff", "ja": "\u3040-\u30ff\u4e00-\u9fff", "ko": "\uac00-\ud7a3"}
NAMES = re.compile(r"(SVFR|STC|VAE|LoRA|JSON|Sigmas?|Latent)")
"""What has no other name in any language: a label may consist of them."""
ENGLISH_SENTENCE = re.compile(r"(?:[A-Za-z][a-z'-]+ ){4,}[a-z]+")
"""Five words in a row are a sentence that nobody has translated; names have fewer."""
FIND = {
    "人脸": "SVFR 人脸裁剪",
    "人脸修复": "SVFR 人脸修复",
    "视频": "SVFR 视频人脸修复",
    "增强": "STC 增强",
    "闪烁": "STC 增强",
}
"""What is typed in Chinese, and a node that must be among those shown."""


@pytest.fixture(scope="module")
def nodes(object_info):
    return ours(object_info)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_missing_and_nothing_is_stale(language, nodes):
    translator = Translator(language)
    files = files_of(nodes, translator)
    assert sorted(set(translator.missing)) == []
    assert translator.stale() == []
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `make docs`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_value_is_in_its_language(language):
    for name in ("main", "nodeDefs"):
        stored = json.loads((ROOT / "locales" / language / f"{name}.json").read_text(encoding="utf-8"))
        for place, text in values(stored):
            own = re.search(f"[{SCRIPTS[language]}]", text)
            assert own or not re.search(r"\w", NAMES.sub("", text)), f"{name} {place}: {text}"
            assert not ENGLISH_SENTENCE.search(text), f"{name} {place}: {text}"


def values(tree, place=""):
    for key, value in tree.items():
        yield from values(value, f"{place}.{key}") if isinstance(value, dict) else [(f"{place}.{key}", value)]


def test_numbers_are_those_of_the_english_text():
    """A figure that is changed in English and not in the translation would be a wrong one."""
    for language in LANGUAGES:
        for english, own in Translator(language).memory["texts"].items():
            figures = re.findall(r"\d+(?:\.\d+)?", english)
            assert set(figures) <= set(re.findall(r"\d+(?:\.\d+)?", own)) | {"1", "2", "0.5"}, (language, english)


def test_the_chinese_help_pages_follow_the_english_ones(nodes, server):
    translator = Translator("zh")
    for path, page in chinese_pages(nodes, translator).items():
        name = path.parent.name
        english = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert path.is_file(), f"{path} is missing: run `make docs`, and translate its tips"
        assert path.read_text(encoding="utf-8") == page, f"{path}: run `make docs`"
        assert f"<!-- {digest(english)} -->" in page, f"{path}: the English tips have changed"
        assert page.count("\n| ") == english.count("\n| "), path
        assert not ENGLISH_SENTENCE.search(re.sub(r"`[^`]*`|\*[^*]*\*|\(http[^)]*\)|\[[^\]]*\]", "", page)), path
        assert server.get(f"/extensions/{PACK}/docs/{name}/zh.md").decode() == page
    assert translator.missing == []


STRING = re.compile(r"""(?<![\w/])("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)""")
READ = re.compile(r"[A-Za-z]{2,} [a-z]{2,}|^[A-Z][a-z]+$|^[A-Z][a-z]+ ")
"""Words as a person reads them: two in a row, or one with a capital letter."""
CODE = re.compile(r"[{;=]|: |sans-serif|^switches below$|\d(px|%)|^(Shift|Home|End)$|^svfr-|^(resize|pointer)")
"""Styles, selectors, names of keys, and the value of a widget."""


@pytest.mark.parametrize("path", sorted((ROOT / "web" / "js").glob("*.js")), ids=lambda path: path.name)
def test_a_script_has_no_words_of_its_own(path):
    """What a person reads comes from locales/."""
    code = re.sub(r"(?m)(^|\s)//.*$", "", path.read_text(encoding="utf-8"))
    texts = [re.sub(r"\$\{[^}]*\}", "", text[1:-1]) for text in STRING.findall(code)]
    assert texts
    assert [text for text in texts if READ.search(text) and not CODE.search(text)] == []


def test_every_key_is_said_by_a_script_and_every_script_says_keys_that_there_are():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "web" / "js").glob("*.js"))
    keys = set(ENGLISH["svfr"])
    assert set(re.findall(r'\bsay\("(\w+)"', code)) <= keys
    assert {key for key in keys if f'"{key}"' not in code and not key.startswith("compare_")} == set()


def test_comfyui_hands_them_to_the_frontend(server, nodes):
    told = json.loads(server.get("/i18n"))
    assert set(LANGUAGES) <= set(told)
    for language in LANGUAGES:
        assert set(told[language]["nodeDefs"]) >= set(nodes)
        assert set(told[language]["svfr"]) == set(told["en"]["svfr"])


@pytest.fixture(scope="module")
def chinese(server):
    server.post("/settings", {"Comfy.Locale": "zh"})
    yield
    server.post("/settings", {"Comfy.Locale": "en"})


def test_what_our_scripts_show_is_in_the_users_language(browse, server, chinese, tmp_path):
    """Compare, the button of the advanced inputs, a warning and the table of a run."""
    task = ["restore", True, False, True]  # unlike test_frontend.py's: a node whose result is cached says nothing
    size = [64, 64, 3]
    nodes = [
        node(1, "SVFRTaskVector", task, outputs={"task": ("SVFR_TASK", [1])}),
        node(2, "EmptyImage", [*size, 0x646464], outputs={"IMAGE": ("IMAGE", [2, 4, 5])}),
        node(3, "SVFRDegrade", [0, 0, 0], {"task": ("SVFR_TASK", 1), "frames": ("IMAGE", 2)}, {"": ("IMAGE", [3])}),
        node(4, "SVFRMetrics", [], {"restored": ("IMAGE", 3), "truth": ("IMAGE", 4)}),
        node(5, "SVFRCompare", ["a", "b", 25.0], {"before": ("IMAGE", 5), "after": ("IMAGE", 6)}),
        node(6, "EmptyImage", [*size, 0x646464], outputs={"IMAGE": ("IMAGE", [6])}),
    ]
    links = [
        [1, 1, 0, 3, 0, "SVFR_TASK"], [2, 2, 0, 3, 1, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"],
        [4, 2, 0, 4, 1, "IMAGE"], [5, 2, 0, 5, 0, "IMAGE"], [6, 6, 0, 5, 1, "IMAGE"],
    ]  # fmt: skip
    path = tmp_path / "spoken.json"
    path.write_text(json.dumps({"last_node_id": 6, "last_link_id": 6, "nodes": nodes, "links": links, "version": 0.4}))
    shown = browse(server, tmp_path, "--run", path)["spoken"]
    said = [*shown["said"], *shown["texts"]]
    assert "显示高级输入（1）" in said  # of SVFR Compare
    assert {"划像", "运行工作流即可比较", "播放或暂停（空格键）"} <= set(said)
    assert any(text.startswith("由预设决定：“restore”。下面的开关（restore + inpaint）") for text in said)
    (table,) = [text for text in said if "PSNR" in text]
    assert "3 帧，64x64，与真值逐帧比较" in table
    assert "未计算：遮罩内 PSNR，因为没有给出遮罩" in table
    assert [text for text in said if READ.search(text) and not re.search(f"[{SCRIPTS['zh']}]", text)] == []
    assert [line for text in said for line in text.splitlines() if ENGLISH_SENTENCE.search(line)] == []


def test_chinese_words_find_our_nodes(browse, server, object_info, chinese, tmp_path):
    found = browse(server, tmp_path, "--search", *FIND)
    assert {word: FIND[word] in shown for word, shown in found.items()} == dict.fromkeys(FIND, True), found


WIDEST = ("SVFRFaceCrop", "SVFRRestoreVideo", "SVFRLoadIdentityEncoder", "STCEnhance")
"""Nodes whose inputs have the longest names and types."""


def test_a_help_page_fits_its_panel_in_chinese(browse, server, chinese, tmp_path):
    """No table has to be scrolled sideways."""
    found = browse(server, tmp_path, "--help-of", *WIDEST)
    for kind, seen in found.items():
        assert re.search(f"[{SCRIPTS['zh']}]", seen["heading"]), kind
        assert len(seen["tables"]) >= 2, kind
        assert all(wide <= shown + 1 for wide, shown in seen["tables"]), (kind, seen)

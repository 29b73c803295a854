"""Chinese, Japanese and Korean: every text of every node has a translation in that language, and none is left over."""

from __future__ import annotations

import json
import re

import pytest
from support.comfy import PACK, ROOT
from support.help_pages import FOLDER as PAGES
from support.help_pages import chinese_pages, ours
from support.locales import LANGUAGES, Translator, digest, files_of

SCRIPTS = {"zh": "\u4e00-\u9fff", "ja": "\u3040-\u30ff\u4e00-\u9fff", "ko": "\uac00-\ud7a3"}
NAMES = re.compile(r"(SVFR|STC|VAE|LoRA|JSON|Sigmas?|Latent)")
"""What has no other name in any language: a label may consist of them."""
ENGLISH = re.compile(r"(?:[A-Za-z][a-z'-]+ ){4,}[a-z]+")
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
            assert not ENGLISH.search(text), f"{name} {place}: {text}"


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
        assert not ENGLISH.search(re.sub(r"`[^`]*`|\*[^*]*\*|\(http[^)]*\)|\[[^\]]*\]", "", page)), path
        assert server.get(f"/extensions/{PACK}/docs/{name}/zh.md").decode() == page
    assert translator.missing == []


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


def test_chinese_words_find_our_nodes(browse, server, object_info, chinese, tmp_path):
    found = browse(server, tmp_path, "--search", *FIND)
    assert {word: FIND[word] in shown for word, shown in found.items()} == dict.fromkeys(FIND, True), found

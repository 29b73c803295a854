"""From a fresh page to a result, by clicks alone: what somebody does who has just installed the pack.

    python first_minute.py CHROMIUM SERVER-URL FOLDER PACK "TEMPLATE'S NAME"

Runs in ComfyUI's Python. Leaves screenshots in FOLDER and prints one JSON object: "clicks", how many there were;
"tracks", how many faces SVFR Compare draws; "edge": the pixel of the picture in the middle of the first face's upper
edge, without and with the overlay; "zoom": how much the face is enlarged; "scale": that of the graph; "frames": of the
result, and of one with Trim switched on; "cards": the templates of the pack in their order.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

from browser import READY, driven, wait_for
from compare_page import LOADED, PAIR, PICTURE, key_press, press, settle

PLACE = """
(words => {
  const shown = e => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0; };
  const all = [...document.querySelectorAll('button, [role=button], a, div, span, h3, p')].filter(shown);
  const last = all.filter(e => (e.innerText ?? '').trim() === words).at(-1) // the innermost
    ?? all.find(e => e.getAttribute('aria-label') === words);
  if (!last) return null;
  last.scrollIntoView({ block: 'center' });
  const b = last.getBoundingClientRect();
  return [b.x + b.width / 2, b.y + b.height / 2];
})
"""
SHUFFLED = """
(api => {
  const plain = api.fetchApi;
  api.fetchApi = async function (route, ...rest) {
    const answer = await plain.call(this, route, ...rest);
    if (route !== '/workflow_templates') return answer;
    const all = await answer.json();
    for (const names of Object.values(all)) names.sort().reverse();
    return new Response(JSON.stringify(all));
  };
})(window.comfyAPI.api.api)
"""
"""Lets the server list templates in an order that no disk has by chance."""
CARDS = """
[...new Set([...document.querySelectorAll('h3, span, div, p')].filter(e => !e.children.length)
  .map(e => e.textContent.trim()).filter(text => /^\\d\\d [A-Z]/.test(text)))]
"""
TRIM = "app.graph.nodes.find(n => n.type === 'Video Slice')"
EDGE = f"""
(() => {{
  const p = {PICTURE}, place = p.placeOf(p.panes[0]), scale = place.width / p.size[0];
  const [x1, y1, x2] = p.tracks[0].box;
  const x = place.x + (x1 + x2) / 2 * scale, y = place.y + y1 * scale;
  return [...p.canvas.getContext('2d').getImageData(Math.round(x), Math.round(y), 1, 1).data].slice(0, 3);
}})()
"""


async def work(page, url: str, folder: Path, pack: str, name: str) -> dict:
    """Templates, the pack, the card, Run."""
    await page.call("Page.navigate", url=url)
    await wait_for(page, READY)
    await asyncio.sleep(3)
    await page.ask(SHUFFLED)
    clicks = 0
    for number, words in enumerate(("Templates", pack, name)):
        await click(page, words)
        clicks += 1
        await asyncio.sleep(3)
        await shoot(page, folder, f"click{number + 1}")
        if words == pack:
            cards = await page.ask(CARDS)
    await wait_for(page, "app.graph.nodes.some(n => n.comfyClass === 'SVFRCompare')")
    await asyncio.sleep(1)
    await click(page, "Run")
    clicks += 1
    await wait_for(page, LOADED, 600)
    await page.ask(f"{PAIR}.seek(4)")
    await settle(page)
    await shoot(page, folder, "result")
    edge = [await page.ask(EDGE)]
    box = f"{PICTURE}.canvas.getBoundingClientRect()"
    x, y, width, height = await page.ask(f"(b => [b.x, b.y, b.width, b.height])({box})")
    await press(page, x + width / 2, y + height / 2)
    await key_press(page, "o")
    await asyncio.sleep(0.5)
    edge.append(await page.ask(EDGE))
    await shoot(page, folder, "overlay")
    await key_press(page, "z")
    await asyncio.sleep(0.5)
    await shoot(page, folder, "face")
    zoom = await page.ask(f"{PICTURE}.lookOf({PICTURE}.panes[0]).zoom")
    scale = await page.ask("app.canvas.ds.scale")
    tracks = await page.ask(f"{PICTURE}.marks.tracks.length")
    seen = {"clicks": clicks, "tracks": tracks, "edge": edge, "zoom": zoom, "scale": scale, "cards": cards}
    return {**seen, "frames": await trimmed(page, folder)}


async def trimmed(page, folder: Path) -> list[int]:
    """How many frames Compare has, before and after Trim is switched on by its keys and the workflow is run again."""
    frames = [await page.ask(f"{PAIR}.count")]
    await page.ask(f"app.canvas.selectNode({TRIM}); app.canvas.canvas.focus()")
    for kind in ("keyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, key="b", code="KeyB", modifiers=2)
    await wait_for(page, f"{TRIM}.mode === 0")
    await click(page, "Run")
    await wait_for(page, f"{PAIR}.count !== {frames[0]} && {LOADED}", 600)
    await shoot(page, folder, "trimmed")
    return [*frames, await page.ask(f"{PAIR}.count")]


async def click(page, words: str) -> None:
    """The middle of what says these words."""
    for _ in range(40):
        place = await page.ask(f"{PLACE}({json.dumps(words)})")
        if place:
            await press(page, *place)
            return
        await asyncio.sleep(0.5)
    raise TimeoutError(f"nothing on the page says {words}")


async def shoot(page, folder: Path, name: str) -> None:
    shot = await page.call("Page.captureScreenshot", format="png")
    (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    chromium, url, folder, pack, name = sys.argv[1:]
    result = asyncio.run(driven(chromium, lambda page: work(page, url, Path(folder), pack, name)))
    sys.stdout.write(json.dumps(result))

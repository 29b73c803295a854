"""Works SVFR Compare in ComfyUI's frontend as a person would, and says what the page's pixels were.

    python compare_page.py CHROMIUM SERVER-URL FOLDER workflow.json

The workflow's clips are those of tests/comfy/server/test_compare.py, with a mask. Runs in ComfyUI's Python. Leaves
screenshots in FOLDER and prints one JSON object, see `work`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path

from browser import READY, driven, wait_for

PLAYER = "app.graph.nodes.find(n => n.comfyClass === 'SVFRCompare').svfrCompare"
LOADED = f"{PLAYER}.data && {PLAYER}.marks && {PLAYER}.videos.every(v => v.readyState >= 2) && !{PLAYER}._done"
READER = """
window.svfrRead = (player) => {
  const { canvas, wipe } = player, pen = canvas.getContext('2d');
  const pane = player._panes()[0], scale = player._scale(pane), [w, h] = player._size();
  const left = pane.x + (pane.width - w * scale) / 2, top = pane.y + (pane.height - h * scale) / 2;
  const at = (x, y) => [...pen.getImageData(Math.round(left + x * scale), Math.round(top + y * scale), 1, 1).data];
  const code = (from, channel) => {
    let number = 0;
    for (let bit = 0; bit < 8; bit++) number = number * 2 + (at(from + bit * 16 + 8, h / 2)[channel] > 145);
    return number;
  };
  return { before: code(0, 0), after: code(w / 2, 2), at };
};
"""
"""Reads the numbers of the frames that stand left and right of the middle: bits as bars of 16 pixels, red and blue."""


async def work(page, url: str, workflow: Path, folder: Path) -> dict:
    """What a person saw: "codes" by what was done, "pixels" by place, "played" as pairs of numbers while it played."""
    await page.call("Page.navigate", url=url)
    await wait_for(page, READY)
    await asyncio.sleep(2)
    await page.ask(f"app.loadGraphData({workflow.read_text()}, true, true, 'compare')")
    await asyncio.sleep(2)
    await page.ask(READER)
    await page.ask("app.canvas.ds.scale = 1; app.canvas.ds.offset = [100, 150]; app.canvas.setDirty(true, true)")
    await page.ask("app.queuePrompt(0)")
    await wait_for(page, LOADED)
    await asyncio.sleep(1)
    seen = {"codes": {}, "pixels": {}, "screen": {}}
    await read(page, seen, "first")
    await shoot(page, folder, "wipe", seen)
    box = await page.ask(f"(b => [b.x, b.y, b.width, b.height])({PLAYER}.canvas.getBoundingClientRect())")
    await press(page, box[0] + box[2] / 4, box[1] + box[3] / 2)
    seen["wipe"] = await page.ask(f"{PLAYER}.wipe")
    await read(page, seen, "wiped")
    await shoot(page, folder, "wiped", seen)
    await page.ask(f"{PLAYER}.setWipe(0.5)")
    for frame in (137, 12):
        await page.ask(f"{PLAYER}.bar.value = {frame}; {PLAYER}.bar.dispatchEvent(new Event('input'))")
        await settle(page)
        await read(page, seen, f"scrubbed {frame}")
    for key, times in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 1), ("Home", 1)):
        for _ in range(times):
            await key_press(page, key)
            await settle(page)
        await read(page, seen, f"{key} {times}")
    for key, name in (("o", "overlay"), ("s", "side"), ("f", "flicker"), ("x", "flipped"), ("w", "again")):
        await key_press(page, key)
        await asyncio.sleep(0.3)
        await shoot(page, folder, name, seen)
    await key_press(page, "o")
    seen["played"] = await play(page)
    seen["api"] = json.loads(await page.ask("app.graphToPrompt().then(p => JSON.stringify(p.output))"))
    seen["console"] = list(page.complaints)
    return seen


async def play(page) -> list[list[int]]:
    """The numbers on both sides, read from the picture at every frame that the page draws, to the end of the clips."""
    return await page.ask(
        f"""new Promise((done) => {{
          const player = {PLAYER}, pairs = [];
          player.loop = false;
          player.start();
          const look = () => {{
            if (!player.playing && pairs.length > 3) return done(pairs);
            const found = svfrRead(player);
            pairs.push([found.before, found.after]);
            requestAnimationFrame(look);
          }};
          requestAnimationFrame(look);
        }})"""
    )


async def read(page, seen: dict, name: str) -> None:
    """The numbers that both sides show, and some pixels of the canvas: x and y are in the clip's pixels."""
    found = await page.ask(
        f"(f => ({{codes: [f.before, f.after], pixels: [[4, 4], [100, 4], [140, 4], [250, 4]].map(p => f.at(...p))}}))"
        f"(svfrRead({PLAYER}))"
    )
    seen["codes"][name], seen["pixels"][name] = found["codes"], found["pixels"]


async def settle(page) -> None:
    await wait_for(page, f"!{PLAYER}._done")
    await asyncio.sleep(0.2)


async def shoot(page, folder: Path, name: str, seen: dict) -> None:
    """A screenshot of the page, and where the canvas is on it."""
    shot = await page.call("Page.captureScreenshot", format="png")
    (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
    seen["screen"][name] = await page.ask(
        f"(p => {{ const b = p.canvas.getBoundingClientRect(), wide = p._size()[0] * p._scale(p._panes()[0]); "
        f"return [b.x, b.y, b.width, b.height, wide * b.width / p.canvas.width]; }})({PLAYER})"
    )


async def press(page, x: float, y: float) -> None:
    for kind in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1, buttons=1)


async def key_press(page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
        await page.call("Input.dispatchKeyEvent", type=kind, key=key, **text)


if __name__ == "__main__":
    chromium, url, folder, workflow = sys.argv[1:]
    result = asyncio.run(driven(chromium, lambda page: work(page, url, Path(workflow), Path(folder))))
    sys.stdout.write(json.dumps(result))

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
PAIR, PICTURE = f"{PLAYER}.pair", f"{PLAYER}.picture"
LOADED = f"{PLAYER}.data && {PICTURE}.marks && {PAIR}.videos.every(v => v.readyState >= 2) && !{PAIR}.moving"
READER = """
window.svfrRead = (player) => {
  const { canvas, panes, size: [w, h] } = player.picture, pen = canvas.getContext('2d');
  const place = player.picture.placeOf(panes[0]), scale = place.width / w;
  const dot = (x, y) => [...pen.getImageData(Math.round(x), Math.round(y), 1, 1).data];
  const at = (x, y) => dot(place.x + x * scale, place.y + y * scale);
  const code = (from, channel) => {
    let number = 0;
    for (let bit = 0; bit < 8; bit++) number = number * 2 + (at(from + bit * 16 + 8, h / 2)[channel] > 145);
    return number;
  };
  return { before: code(0, 0), after: code(w / 2, 2), at };
};
window.svfrEdges = ({ canvas }) => {
  const { data } = canvas.getContext('2d').getImageData(0, canvas.height / 4, canvas.width, 1);
  const bright = [...Array(canvas.width).keys()].map(x => Math.max(data[4 * x], data[4 * x + 2]) > 145);
  return bright.filter((is, x) => x && is !== bright[x - 1]).length;
};
window.svfrWatch = (player, ended, seconds) => new Promise((done) => {
  const numbers = [], start = performance.now();
  const look = () => {
    numbers.push(svfrRead(player).before);
    if (ended(numbers, player.pair.playing) || performance.now() - start > 1000 * seconds) return done(numbers);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
});
"""
"""svfrRead: the numbers of the frames that stand left and right of the middle: bits as bars of 16 pixels, red and blue.
svfrEdges: how often dark and bright change along a row of the canvas. svfrWatch: the numbers before, at every frame
that the page draws, until something has happened."""


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
    box = await page.ask(f"(b => [b.x, b.y, b.width, b.height])({PICTURE}.canvas.getBoundingClientRect())")
    await press(page, box[0] + box[2] / 4, box[1] + box[3] / 2)
    seen["wipe"] = await page.ask(f"{PICTURE}.wipe")
    await read(page, seen, "wiped")
    await shoot(page, folder, "wiped", seen)
    await page.ask(f"{PICTURE}.setWipe(0.5)")
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
    seen["zoom"] = await zoom(page, box)
    seen["loop"] = await loop(page)
    seen["api"] = json.loads(await page.ask("app.graphToPrompt().then(p => JSON.stringify(p.output))"))
    seen["console"] = list(page.complaints)
    return seen


async def play(page) -> list[list[int]]:
    """The numbers on both sides, read from the picture at every frame that the page draws, to the end of the clips."""
    return await page.ask(
        f"""new Promise((done) => {{
          const player = {PLAYER}, pairs = [];
          player.pair.loop = false;
          player.pair.start();
          const look = () => {{
            if (!player.pair.playing && pairs.length > 3) return done(pairs);
            const found = svfrRead(player);
            pairs.push([found.before, found.after]);
            requestAnimationFrame(look);
          }};
          requestAnimationFrame(look);
        }})"""
    )


async def zoom(page, box: list[float]) -> dict:
    """How often dark and bright change in a row, as a part of what the whole picture has, by what was done; and the
    graph's own scale. Frame 85 has bars that alternate."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 4
    await page.ask(f"{PAIR}.seek(85)")
    await settle(page)
    whole = await page.ask(f"svfrEdges({PICTURE})")
    seen = {"whole": whole, "scale": [await page.ask("app.canvas.ds.scale")]}
    for name, turned in (("in", -277), ("out", 138)):  # 400 is e times
        await page.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turned)
        await asyncio.sleep(0.5)
        seen[name] = await page.ask(f"svfrEdges({PICTURE})") / whole
        if name == "in":
            await drag(page, x, y, 40)
            seen["moved"] = await page.ask(f"{PICTURE}.view.x") * 256
            seen["pixel"] = await page.ask(f"{PICTURE}.placeOf({PICTURE}.panes[0]).width / {PICTURE}.canvas.width")
    for clicks in (1, 2):
        await press(page, x, y, clicks)
    await asyncio.sleep(0.3)
    seen["again"] = await page.ask(f"svfrEdges({PICTURE})") / whole
    seen["scale"].append(await page.ask("app.canvas.ds.scale"))
    return seen


async def drag(page, x: float, y: float, right: float) -> None:
    """With Shift held, by so many pixels."""
    for kind, place in (("mousePressed", x), ("mouseMoved", x + right), ("mouseReleased", x + right)):
        told = {"type": kind, "x": place, "y": y, "button": "left", "buttons": 1, "clickCount": 1, "modifiers": 8}
        await page.call("Input.dispatchMouseEvent", **told)


async def loop(page) -> dict:
    """What was seen from frame 190 on: with Loop, until it is at the beginning again; without, until it stands; and
    after the next Space, from that end."""
    await page.ask(f"{PICTURE}.setWipe(0.5)")
    seen, on = {}, await page.ask(f"{PLAYER}.switches.loop.ariaPressed")
    if on != "true":
        await key_press(page, "l")
    for name, ended in (
        ("on", "(numbers) => numbers.at(-1) < 50 && numbers.length > 3"),
        ("off", "(numbers, playing) => !playing && numbers.length > 3"),
    ):
        await page.ask(f"{PAIR}.seek(190)")
        await settle(page)
        await key_press(page, " ")
        seen[name] = await page.ask(f"svfrWatch({PLAYER}, {ended}, 20)")
        seen[f"{name} playing"] = await page.ask(f"{PAIR}.playing")
        if name == "on":
            await key_press(page, " ")
            await settle(page)
            await key_press(page, "l")
    await settle(page)
    await key_press(page, " ")
    seen["anew"] = await page.ask(f"svfrWatch({PLAYER}, (numbers) => numbers.at(-1) > 20 && numbers.at(-1) < 50, 20)")
    await key_press(page, " ")
    return seen


async def read(page, seen: dict, name: str) -> None:
    """The numbers that both sides show, and some pixels of the canvas: x and y are in the clip's pixels."""
    found = await page.ask(
        f"(f => ({{codes: [f.before, f.after], pixels: [[4, 4], [100, 4], [140, 4], [250, 4]].map(p => f.at(...p))}}))"
        f"(svfrRead({PLAYER}))"
    )
    seen["codes"][name], seen["pixels"][name] = found["codes"], found["pixels"]


async def settle(page) -> None:
    await wait_for(page, f"!{PAIR}.moving")
    await asyncio.sleep(0.2)


async def shoot(page, folder: Path, name: str, seen: dict) -> None:
    """A screenshot of the page, and where the canvas is on it."""
    shot = await page.call("Page.captureScreenshot", format="png")
    (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
    seen["screen"][name] = await page.ask(
        f"(p => {{ const b = p.canvas.getBoundingClientRect(), wide = p.placeOf(p.panes[0]).width; "
        f"return [b.x, b.y, b.width, b.height, wide * b.width / p.canvas.width]; }})({PICTURE})"
    )


async def press(page, x: float, y: float, clicks: int = 1) -> None:
    """clicks: 2 for the second press of a double click."""
    for kind in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=clicks, buttons=1)


async def key_press(page, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
        await page.call("Input.dispatchKeyEvent", type=kind, key=key, **text)


if __name__ == "__main__":
    chromium, url, folder, workflow = sys.argv[1:]
    result = asyncio.run(driven(chromium, lambda page: work(page, url, Path(workflow), Path(folder))))
    sys.stdout.write(json.dumps(result))

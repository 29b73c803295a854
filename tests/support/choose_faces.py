"""Chooses faces by eye in ComfyUI's own frontend, in headless Chromium, saves the workflow, opens it again and runs it.

    python choose_faces.py CHROMIUM SERVER-URL FOLDER WORKFLOW NODE-TYPE [--throughout] TRACK ...

Runs in ComfyUI's Python. Clicks the button of the node of that type and the faces with these numbers, with the mouse.
Leaves FOLDER/dialog.png and prints one JSON object: the dialog's text, the faces that it showed, what was pressed in it
when it was opened again after the workflow was saved and loaded, the widget's value, the node's button, the graph as it
was queued, what the console complained of, and the history entry of the run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from browser import READY, Page, driven, shoot, wait_for

OPEN = """
(() => {
  const node = app.graph.nodes.find(n => n.type == %s);
  node.widgets.find(w => w.name == 'choose_faces').callback();
})()
"""
SHOWN = """
[...document.querySelectorAll('dialog .face')].map(f => [f.innerText, f.getAttribute('aria-pressed') == 'true'])
"""
FACES = "document.querySelectorAll('dialog .save, dialog .error').length > 0"
CENTRE = """
(() => {
  const face = [...document.querySelectorAll('dialog .face')].find(f => f.innerText == %s);
  face.scrollIntoView({ block: 'center' });
  const box = face.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""


async def main(chromium: str, url: str, folder: Path, workflow: Path, kind: str, arguments: list[str]) -> dict:
    """Choose, save, open again, run."""
    tracks = [argument for argument in arguments if not argument.startswith("--")]

    async def work(page: Page) -> dict:
        graph = json.loads(workflow.read_text(encoding="utf-8"))
        await load(page, url, graph)
        await page.ask(OPEN % json.dumps(kind))
        await wait_for(page, FACES, 240)
        if "--throughout" in arguments:
            await page.ask("document.querySelector('dialog input[type=checkbox]').click()")
        for track in tracks:
            await click(page, await page.ask(CENTRE % json.dumps(track)))
        seen = {"text": await page.ask("document.querySelector('dialog').innerText"), "shown": await page.ask(SHOWN)}
        await shoot(page, folder / "dialog.png")
        await page.ask("document.querySelector('dialog .save').click()")
        saved = await page.ask("app.graph.serialize()")
        await load(page, url, saved)
        await page.ask(OPEN % json.dumps(kind))
        await wait_for(page, FACES, 240)
        seen["again"] = await page.ask(SHOWN)
        await page.ask("document.querySelector('dialog').close()")
        found = f"app.graph.nodes.find(n => n.type == {json.dumps(kind)})"
        seen["kept"] = await page.ask(f"{found}.widgets.find(w => w.name == 'faces').value")
        seen["button"] = await page.ask(f"{found}.widgets.find(w => w.name == 'choose_faces').label")
        seen["visible"] = await page.ask(f"{found}.widgets.filter(w => !w.hidden).map(w => w.name)")
        await shoot(page, folder / "node.png")
        seen["api"] = json.loads(await page.ask("app.graphToPrompt().then(p => JSON.stringify(p.output))"))
        seen["console"] = list(page.complaints)
        return seen

    return await driven(chromium, work)


async def load(page: Page, url: str, graph: dict) -> None:
    """Open a workflow in a fresh page."""
    await page.call("Page.navigate", url=url)
    await wait_for(page, READY)
    await asyncio.sleep(2)
    page.complaints.clear()  # what an empty frontend says is not about the workflow
    await page.ask(f"app.loadGraphData({json.dumps(graph)}, true, true, 'faces')")
    await asyncio.sleep(2)


async def click(page: Page, place: list[float]) -> None:
    """A click with the mouse."""
    for kind in ("mousePressed", "mouseReleased"):
        await page.call(
            "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
        )


if __name__ == "__main__":
    chromium, url, folder, workflow, kind, *rest = sys.argv[1:]
    result = asyncio.run(main(chromium, url, Path(folder), Path(workflow), kind, rest))
    sys.stdout.write(json.dumps(result))

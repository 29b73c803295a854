"""Lets the page play a preview, as if SVFR Restore Video were at work, and says which colours were seen.

    python preview_page.py CHROMIUM SERVER-URL FOLDER workflow.json

Runs in ComfyUI's Python. The preview has three frames: red, green and blue. Leaves screenshots in FOLDER and prints one
JSON object: "during" and "after", the colours that were seen while it ran and when it had ended.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from pathlib import Path

from browser import READY, driven, wait_for
from PIL import Image

COLORS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
NODE = "String(app.graph.nodes.find(n => n.type === 'SVFRRestoreVideo').id)"
API = "window.comfyAPI.api.api"
LEAST = 1000
"""Pixels that a frame of the preview covers at least."""
SHOTS = 8


async def work(page, url: str, workflow: Path, folder: Path) -> dict:
    """Open, play, look, end, look."""
    await page.call("Page.navigate", url=url)
    await wait_for(page, READY)
    await asyncio.sleep(2)
    await page.ask(f"app.loadGraphData({workflow.read_text()}, true, true, 'preview')")
    await asyncio.sleep(2)
    frames = json.dumps([picture(color) for color in COLORS.values()])
    await page.ask(f"{API}.dispatchCustomEvent('svfr.preview', {{ node: {NODE}, frames: {frames} }})")
    await asyncio.sleep(1)
    during = [await seen(page, folder, f"during{number}") for number in range(SHOTS)]
    await page.ask(f"{API}.dispatchCustomEvent('execution_success', {{ prompt_id: 'x' }})")
    await asyncio.sleep(1)
    after = [await seen(page, folder, f"after{number}") for number in range(SHOTS)]
    return {"during": during, "after": after, "console": list(page.complaints)}


def picture(color: tuple[int, int, int]) -> str:
    """A frame of one colour, as the server sends it."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode()


async def seen(page, folder: Path, name: str) -> str:
    """The colour that most pixels of the page have; "" for none of the three."""
    shot = base64.b64decode((await page.call("Page.captureScreenshot", format="png"))["data"])
    (folder / f"{name}.png").write_bytes(shot)
    pixels = Image.open(io.BytesIO(shot)).convert("RGB").getcolors(1 << 24)
    counts = {
        color: sum(count for count, pixel in pixels if max(abs(a - b) for a, b in zip(pixel, value, strict=True)) < 25)
        for color, value in COLORS.items()
    }
    most = max(counts, key=counts.get)
    return most if counts[most] > LEAST else ""


if __name__ == "__main__":
    chromium, url, folder, workflow = sys.argv[1:]
    result = asyncio.run(driven(chromium, lambda page: work(page, url, Path(workflow), Path(folder))))
    sys.stdout.write(json.dumps(result))

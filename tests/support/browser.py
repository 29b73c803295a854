"""Opens workflows in ComfyUI's own frontend, in headless Chromium, and says what a person would see.

    python browser.py CHROMIUM SERVER-URL FOLDER [--run] workflow.json ...
    python browser.py CHROMIUM SERVER-URL FOLDER --search WORDS ...
    python browser.py CHROMIUM SERVER-URL FOLDER --help-of NODE ...

Runs in ComfyUI's Python, for its websocket client. Leaves FOLDER/<name>.png for each workflow and prints one JSON
object: by name, the dialogs that stood open, what the console complained of, the types of nodes that were missing, the
graph as the frontend would queue it, what our own widgets say, and where nodes and groups lie. With --run each is also
queued, and has to show some text: "texts" is what they show, "saved" the nodes as the frontend would then save them,
"failed" the dialogs that stand open then and the errors of the run, "compared" how many frames SVFR Compare has, and
whether it has both videos.
With --search the search box is opened and each of the words typed into it: by the words, the titles of the nodes that
it lists. With --help-of the panel with each node's help page is opened: by node, the heading and, of each table, how
wide it is and how wide it is shown.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1920,1240",
)
READY = "!!(window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 100)"
DIALOGS = "[...document.querySelectorAll('[role=dialog], .p-dialog')].map(d => d.innerText)"
MISSING = "app.graph.nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
FIT = """
(() => {
  const boxes = [...app.graph.nodes.map(n => [n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]]),
                 ...app.graph.groups.map(g => [g.pos[0], g.pos[1], g.pos[0] + g.size[0], g.pos[1] + g.size[1]])];
  const low = i => Math.min(...boxes.map(b => b[i])), high = i => Math.max(...boxes.map(b => b[i]));
  const [x, y, w, h] = [low(0), low(1), high(2) - low(0), high(3) - low(1)];
  const scale = Math.min(window.innerWidth / (w + 60), window.innerHeight / (h + 180));
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [(window.innerWidth / scale - w) / 2 - x, (window.innerHeight / scale - h) / 2 - y];
  app.canvas.setDirty(true, true);
  return [x, y, w, h];
})()
"""
TEXTS = "app.graph.nodes.flatMap(n => n.widgets ?? []).map(w => w.element?.innerText).filter(t => t)"
SAID = """
[...app.graph.nodes.flatMap(n => n.widgets ?? []).map(w => w.label),
 ...[...document.querySelectorAll('.svfr-compare, .svfr-compare [title], .svfr-compare [aria-label]')]
   .flatMap(e => [e.title, e.ariaLabel, e.tagName === 'BUTTON' ? e.textContent : '']),
 ...app.graph.nodes.filter(n => n.svfrCompare).flatMap(n => Object.values(n.svfrCompare.picture.words))].filter(t => t)
"""
INFO = "document.querySelector('[data-testid=info-button]')"
TABLES = """
[...document.querySelectorAll('.node-help-content table')].map(
  t => [t.scrollWidth, Math.min(t.clientWidth, t.closest('.node-help-content').clientWidth)])
"""
IDLE = "fetch('/prompt').then(a => a.json()).then(told => told.exec_info.queue_remaining === 0)"
COMPARED = """
Promise.all(app.graph.nodes.filter(n => n.svfrCompare).map(async ({ svfrCompare: { pair } }) => {
  const whole = () => pair.videos.every(video => video.readyState >= 2);
  for (let tries = 0; tries < 60 && !whole(); tries++) await new Promise(done => setTimeout(done, 500));
  return { count: pair.count, whole: whole() };
}))
"""
ERRORS = """
fetch('/history').then(a => a.json()).then(runs => Object.values(runs).at(-1).status.messages
  .filter(([kind]) => kind === 'execution_error').map(([, told]) => told.node_type + ': ' + told.exception_message))
"""
RUN_SECONDS = 1800
RESULTS = "[...document.querySelectorAll('[data-testid=result-item]')].map(e => e.innerText.split('\\n')[0])"
BARE = """
(() => {
  const style = document.createElement('style');
  style.textContent = 'body > :not(:has(canvas)):not(canvas), .comfyui-body-top, .side-tool-bar-container, '
    + '.splitter-overlay-root, .graph-canvas-panel .p-panel, .actionbar, .comfyui-menu, .minimap-main-container '
    + '{ visibility: hidden !important }';
  document.head.append(style);
})()
"""


class Page:
    """A tab, driven through the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self.socket, self.session = socket, session
        self.complaints: list[str] = []
        self._number = 0

    async def call(self, method: str, **parameters) -> dict:
        """Send a command and wait for its answer, noting what the console says meanwhile."""
        number = await self._send(method, parameters)
        while True:
            message = await self.socket.receive_json(timeout=300)
            self._note(message)
            if message.get("method") == "Page.javascriptDialogOpening":  # whether to leave a workflow that is not saved
                await self._send("Page.handleJavaScriptDialog", {"accept": True})
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    async def _send(self, method: str, parameters: dict) -> int:
        self._number += 1
        await self.socket.send_json(
            {"id": self._number, "sessionId": self.session, "method": method, "params": parameters}
        )
        return self._number

    async def ask(self, expression: str):
        """The value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "an exception"))
        return answer["result"].get("value")

    def _note(self, message: dict) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:600])
        if message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in parameters["args"]))
        if message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")


async def settled(page: Page, expression: str):
    """The value of an expression once it has stayed the same for a second: the nodes' texts come one by one."""
    value = await page.ask(expression)
    while True:
        await asyncio.sleep(1)
        before, value = value, await page.ask(expression)
        if value == before:
            return value


async def look(page: Page, url: str, workflow: Path, folder: Path, run: bool) -> dict:
    """Open one workflow as from a file, and run it if asked to."""
    await opened(page, url)
    page.complaints.clear()  # what an empty frontend says is not about the workflow
    await page.ask(f"app.loadGraphData({workflow.read_text()}, true, true, {json.dumps(workflow.stem)})")
    await asyncio.sleep(2)
    seen = {
        "dialogs": await page.ask(DIALOGS),
        "missing": await page.ask(MISSING),
        "api": json.loads(await page.ask("app.graphToPrompt().then(p => JSON.stringify(p.output))")),
        "said": await page.ask(SAID),
        "boxes": await page.ask("app.graph.nodes.map(n => [n.id, n.type, ...n.pos, ...n.size])"),
    }
    if run:
        await page.ask("app.queuePrompt(0)")
        await wait_for(page, IDLE, RUN_SECONDS)
        await wait_for(page, f"{TEXTS}.length > 0")
        seen["texts"] = await settled(page, TEXTS)
        seen["failed"] = [*await page.ask(DIALOGS), *await page.ask(ERRORS)]
        seen["compared"] = await page.ask(COMPARED)
        seen["saved"] = await page.ask("app.graph.serialize().nodes")
    await page.ask(BARE)
    seen["extent"] = await page.ask(FIT)
    await asyncio.sleep(1)
    await shoot(page, folder / f"{workflow.stem}.png")
    seen["console"] = list(page.complaints)
    return seen


async def search(page: Page, url: str, folder: Path, words: list[str]) -> dict:
    """Type words into the box that a double click on the canvas opens."""
    await opened(page, url)
    found = {}
    for typed in words:
        await page.ask("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        await wait_for(page, "document.activeElement.tagName == 'INPUT'")
        await page.call("Input.insertText", text=typed)
        await asyncio.sleep(1)
        found[typed] = await page.ask(RESULTS)
        await shoot(page, folder / f"{typed}.png")
        await page.ask("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        await wait_for(page, "document.activeElement.tagName != 'INPUT'")
    return found


async def read_help(page: Page, url: str, folder: Path, kinds: list[str]) -> dict:
    """Open each node's help page by the button that stands over a chosen node."""
    await opened(page, url)
    found = {}
    for kind in kinds:
        await page.ask("app.graph.clear()")
        await page.ask(
            f"(node => {{ app.graph.add(node); node.pos = [500, 300]; app.canvas.ds.scale = 0.5; "
            f"app.canvas.ds.offset = [600, 300]; app.canvas.selectNode(node); }})(LiteGraph.createNode('{kind}'))"
        )
        await wait_for(page, f"!!{INFO}")
        await page.ask(f"{INFO}.click()")
        await wait_for(page, f"{TABLES}.length > 1")
        await asyncio.sleep(1)
        heading = await page.ask("document.querySelector('.node-help-content h1')?.innerText")
        found[kind] = {"heading": heading, "tables": await page.ask(TABLES)}
        await shoot(page, folder / f"help of {kind}.png")
    return found


async def shoot(page: Page, path: Path) -> None:
    """A screenshot of what the tab shows."""
    shot = await page.call("Page.captureScreenshot", format="png")
    path.write_bytes(base64.b64decode(shot["data"]))


async def opened(page: Page, url: str) -> None:
    """Load the frontend and let it settle."""
    await page.call("Page.navigate", url=url)
    await wait_for(page, READY)
    await asyncio.sleep(2)


async def wait_for(page: Page, condition: str, seconds: float = 60) -> None:
    """Until a JavaScript expression is true."""
    for _ in range(int(seconds / 0.5)):
        if await page.ask(condition):
            return
        await asyncio.sleep(0.5)
    raise TimeoutError(f"the frontend never came to: {condition}")


async def main(chromium: str, url: str, folder: Path, arguments: list[str]) -> dict:
    """Look at every workflow or search for words."""
    options = {argument for argument in arguments if argument.startswith("--")}
    rest = [argument for argument in arguments if argument not in options]

    async def work(page: Page) -> dict:
        if "--search" in options:
            return await search(page, url, folder, rest)
        if "--help-of" in options:
            return await read_help(page, url, folder, rest)
        return {Path(f).stem: await look(page, url, Path(f), folder, "--run" in options) for f in rest}

    return await driven(chromium, work)


async def driven(chromium: str, work: Callable[[Page], Awaitable[dict]]) -> dict:
    """Start the browser, let something be done with a tab of it, end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # its last process may write a moment more
        browser = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        try:
            address = next(line.split()[-1] for line in browser.stderr if line.startswith("DevTools listening"))
            async with (
                aiohttp.ClientSession() as client,
                client.ws_connect(address, max_msg_size=0) as socket,
            ):
                return await work(await open_page(socket))
        finally:
            browser.terminate()
            browser.wait(timeout=20)


async def open_page(socket: aiohttp.ClientWebSocketResponse) -> Page:
    """A new tab that reports what its console says."""
    browser = Page(socket, "")
    await socket.send_json({"id": -1, "method": "Target.createTarget", "params": {"url": "about:blank"}})
    target = (await answer_to(socket, -1))["targetId"]
    attach = {"targetId": target, "flatten": True}
    await socket.send_json({"id": -2, "method": "Target.attachToTarget", "params": attach})
    browser.session = (await answer_to(socket, -2))["sessionId"]
    for domain in ("Page", "Runtime", "Log"):
        await browser.call(f"{domain}.enable")
    await browser.call("Emulation.setDeviceMetricsOverride", width=1920, height=1240, deviceScaleFactor=1, mobile=False)
    return browser


async def answer_to(socket: aiohttp.ClientWebSocketResponse, number: int) -> dict:
    """The result of a command sent without a tab."""
    while True:
        message = await socket.receive_json(timeout=300)
        if message.get("id") == number:
            return message["result"]


if __name__ == "__main__":
    result = asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
    sys.stdout.write(json.dumps(result))

"""Queues a graph and tells what the server says over its websocket until the run is over.

    python listen.py SERVER-URL [--interrupt NODE EVENT] < graph.json

Runs in ComfyUI's Python, for its websocket client. Prints a JSON list of [seconds, type, data]; pictures are told as
["picture", bytes]. With --interrupt the run is interrupted through the API once the server has told such an
event of that node; "interrupt" has how far its bar was by then.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp

CLIENT = "listener"
OVER = {"execution_success", "execution_error", "execution_interrupted"}


async def listen(url: str, graph: dict, node: str | None, kind: str | None) -> list:
    """Everything the server says about one run, which is interrupted at an event of this kind of this node."""
    said, start, value = [], time.monotonic(), 0
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{url}/ws?clientId={CLIENT}") as socket:
        async with client.post(f"{url}/prompt", json={"prompt": graph, "client_id": CLIENT}) as answer:
            said.append([0.0, "accepted" if answer.status == 200 else "refused", await answer.json()])
        while said[-1][1] not in OVER | {"refused"}:
            message = await socket.receive(timeout=300)
            now = time.monotonic() - start
            if message.type == aiohttp.WSMsgType.BINARY:
                said.append([now, "picture", len(message.data)])
                continue
            event = json.loads(message.data)
            said.append([now, event["type"], event["data"]])
            if node is None or event["data"].get("node") != node:
                continue
            value = event["data"].get("value", value)
            if event["type"] == kind:
                kind = None
                said.append([time.monotonic() - start, "interrupt", value])
                await client.post(f"{url}/interrupt")
    return said


if __name__ == "__main__":
    chosen = sys.argv[3:5] if "--interrupt" in sys.argv else (None, None)
    events = asyncio.run(listen(sys.argv[1], json.load(sys.stdin), *chosen))
    sys.stdout.write(json.dumps(events))

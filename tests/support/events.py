"""What a server says over its websocket while a graph runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .comfy import ComfyUI, Server


def listen(comfyui: ComfyUI, server: Server, graph: dict, *options: str) -> list:
    """[seconds, type, data] of every event, see listen.py; run in ComfyUI's Python, for its websocket client."""
    script = Path(__file__).with_name("listen.py")
    done = subprocess.run(
        [comfyui.python, script, server.url, *options],
        input=json.dumps(graph),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

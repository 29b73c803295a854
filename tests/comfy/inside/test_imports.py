"""What importing the pack does to a machine, and what it gets along without."""

from __future__ import annotations

import json
import subprocess
import sys

from conftest import ROOT
from random_networks import write_random_weights

SCRIPT = """
import asyncio, importlib.util, json, os, sys

sys.dont_write_bytecode = True
import comfy.cli_args
comfy.cli_args.args.cpu = True
import comfy.samplers, comfy.sd, comfy_api.latest, folder_paths, latent_preview, torch
# As ComfyUI before it loads a pack; these models of its own make pydantic look for plug-ins, once.
import comfy_config.config_parser

# ComfyUI has what it needs; from here on these cannot be imported, not even by a function.
OTHERS = ("diffusers", "transformers", "peft", "accelerate", "huggingface_hub", "insightface", "onnxruntime", "kornia")
for name in OTHERS:
    for loaded in [key for key in sys.modules if key.split(".")[0] == name]:
        del sys.modules[loaded]
    sys.modules[name] = None

touched = []
CHANGES = ("socket.", "urllib.", "subprocess.", "shutil.", "tempfile.", "os.mkdir", "os.remove", "os.rename")

def watch(event, arguments):
    if event.startswith(CHANGES):
        touched.append([event, str(arguments)])
    elif event == "open":
        path, mode, flags = arguments
        writes = isinstance(mode, str) and set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        if writes or not str(path).endswith((".py", ".pyc")):
            touched.append([event, str(arguments)])

sys.addaudithook(watch)
initialise = torch.cuda._lazy_init
torch.cuda._lazy_init = lambda: touched.append(["cuda", ""])

root, weights = sys.argv[1:]
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
extension = asyncio.run(pack.comfy_entrypoint())
nodes = {node.__name__: node for node in asyncio.run(extension.get_node_list())}
before_running = [entry for entry in touched if not entry[0].startswith("socket.__new__")]
open(os.devnull, "w").close()
assert touched and touched[-1][0] == "open", "the watch does not see"

model = sys.modules["pack.nodes.model"].load_model(weights + "/unet.safetensors")
vae = sys.modules["pack.nodes.vae"].load_vae(weights + "/svd_vae.safetensors")
tasks = nodes["TaskVector"].execute("restore + colorize", True, False, False).args[0]
frames = nodes["Sampler"].execute(
    model, vae, torch.rand(4, 64, 64, 3), tasks, seed=1, steps=1, guidance_from=2.0, guidance_to=2.0, window=4,
    overlap=1, plan="linear", strength=1.0, decode_chunk=4, decode_overlap=0, batch=2,
).args[0]
print(json.dumps({"touched": before_running, "nodes": sorted(nodes), "shape": list(frames.shape)}))
"""


def test_importing_touches_nothing_and_needs_no_training_packages(tmp_path):
    write_random_weights(tmp_path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, ROOT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["touched"] == []
    assert len(told["nodes"]) >= 12
    assert told["shape"] == [4, 64, 64, 3]

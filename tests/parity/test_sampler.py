"""Number for number with the unmodified reference: every golden case, step by step."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.near import assert_near

from svfr_model.base.pixels import from_network_range
from svfr_model.base.tasks import Task, tasks_from_vector
from svfr_model.engine.conditioning import Conditioning, decode_clip, encode_clip
from svfr_model.engine.denoiser import guidance_schedule
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks, Sampling, encode_reference, restore, sample_pass
from svfr_model.engine.solvers import SOLVERS, euler, karras_sigmas
from svfr_model.engine.windows import WindowPlan, reference_window_starts
from svfr_model.networks.unet import DiffusersBackend, build_unet
from svfr_model.networks.vae import DiffusersVAE, build_vae

OWN = Path(__file__).parents[1] / "golden" / "svfr"
HALF_TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1.5e-1}


def golden_cases() -> list:
    """Every case of our selection, and of the folder that SVFR_GOLDEN_DIR names."""
    folders = {"own": OWN}
    if os.environ.get("SVFR_GOLDEN_DIR"):
        folders["all"] = Path(os.environ["SVFR_GOLDEN_DIR"])
    cases = []
    for origin, folder in folders.items():
        for case in json.loads((folder / "manifest.json").read_text())["cases"]:
            cases.append(pytest.param(folder, case, id=f"{origin}-{case['name']}"))
    return cases


CASES = golden_cases()
RUNS = [case for case in CASES if case.values[1].get("finite")]
FAILURES = [case for case in CASES if not case.values[1].get("finite")]


def load_networks(folder: Path, dtype: torch.dtype) -> Networks:
    manifest = json.loads((folder / "manifest.json").read_text())
    shared = shared_tensors(folder)
    unet, vae = build_unet(manifest["unet_config"]), build_vae(manifest["vae_config"])
    unet.load_state_dict({k[5:]: v for k, v in shared.items() if k.startswith("unet.")})
    vae.load_state_dict({k[4:]: v for k, v in shared.items() if k.startswith("vae.")})
    return Networks(DiffusersBackend(unet.to(dtype)), DiffusersVAE(vae.to(dtype)))


@cache
def shared_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "shared.safetensors")


def reference_picture(folder: Path, case: dict) -> torch.Tensor:
    if case["name"] == "pass2_all_frames":
        return load_file(folder / "cases/pass2_reference_image.safetensors")["ref_image"]
    return shared_tensors(folder)["input.ref_image"]


def options_of(case: dict) -> RestoreOptions:
    call = case["call"]
    guided = call.get("cfg", True)
    return RestoreOptions(
        steps=call.get("steps", 4),
        guidance=(call["gmin"], call["gmax"]) if guided else (1.0, 1.0),
        strength=call.get("i2i", 1.0),
        plan=WindowPlan(call["fpb"], call.get("overlap", 3), "reference"),
        augmentation=call.get("aug", 0.0),
        decode_chunk=call.get("chunk", 16),
        decode_overlap=0,
    )


@pytest.mark.parametrize(("folder", "case"), RUNS)
def test_case_equals_reference(folder, case, monkeypatch):
    call, golden = case["call"], load_file(folder / case["file"])
    dtype = getattr(torch, call.get("dt", "float32"))
    networks, options = load_networks(folder, dtype), options_of(case)
    shared = shared_tensors(folder)
    pixels = shared["input.lq_frames"][: call["n"]].to(dtype)
    visited = []

    def recording(denoiser, x, sigmas, callback, memory):
        def seen(x, sigma):
            visited.append(x.clone())  # the solver writes over what it has no more use for
            return denoiser(x, sigma)

        final = euler(seen, x, sigmas, callback, memory)
        visited.append(final)
        return final

    monkeypatch.setitem(SOLVERS, "euler", recording)
    task = tuple(call.get("task", [1, 0, 0]))
    clip = encode_clip(
        networks.vae,
        pixels.float(),
        tasks_from_vector(task),
        augmentation=options.augmentation,
        noise=iter(golden["aug_noise"]) if "aug_noise" in golden else None,
    )
    picture = reference_picture(folder, case) if call["with_ref"] else None
    reference = encode_reference(networks.vae, picture)
    tokens = shared["input.id_embedding"][0] if call["with_id"] else None
    latents = sample_pass(
        networks,
        clip.start,
        Conditioning(clip.degraded, task, reference, tokens),
        options,
        sampling=Sampling(noise=golden["init_noise"][0].float()),
    )
    frames = torch.cat(list(decode_clip(networks.vae, latents, chunk=options.decode_chunk)))
    frames = frames.transpose(0, 1)[None]

    def near(ours, theirs, relative, what):
        assert_near(ours, theirs, HALF_TOLERANCE.get(dtype, relative), f"{what}, {call.get('dt', 'float32')}")

    near(clip.degraded, golden["image_latents"], 1e-5, "degraded")
    if reference is not None:
        near(reference, golden["ref_latent"], 5e-6, "reference")
    near(visited[0], golden["latents_init"][0], 2e-7, "start")
    assert len(visited) == len(golden["latents_steps"]) + 1
    for ours, theirs in zip(visited[1:], golden["latents_steps"], strict=True):
        near(ours, theirs, 3e-5, "steps")
    near(latents, golden["latents_steps"][-1], 2e-5, "latents")
    near(frames, golden["frames"], 3e-5, "frames")


@pytest.mark.parametrize(("folder", "case"), RUNS)
def test_windows_and_schedule_equal_reference(folder, case):
    call, options = case["call"], options_of(case)
    for step, windows in enumerate(case["windows"]):
        starts = reference_window_starts(call["n"], call["fpb"], options.plan.overlap, step)
        assert [[start + j for j in range(call["fpb"])] for start in starts] == windows
        ours = [list(window.frames) for window in options.plan.at_step(call["n"], step)]
        assert ours == [[frame % call["n"] for frame in window] for window in windows]
    assert karras_sigmas(options.steps) == pytest.approx(case["sigmas"], rel=1e-7)
    if call.get("cfg", True):
        kept = int(options.steps * options.strength)
        assert guidance_schedule(*options.guidance, kept) == pytest.approx(case["guidance"], abs=1e-7)


@pytest.mark.parametrize("dtype", HALF_TOLERANCE)
def test_half_precision_stays_near_the_float32_reference(dtype):
    """The golden half-precision case is fp16; here both half types are held against a float32 case."""
    case = next(case.values[1] for case in RUNS if case.id == "own-n05_fpb08_g13_ref")
    golden, shared, networks = load_file(OWN / case["file"]), shared_tensors(OWN), load_networks(OWN, dtype)
    clip = encode_clip(networks.vae, shared["input.lq_frames"][:5], frozenset({Task.BFR}))
    reference = encode_reference(networks.vae, shared["input.ref_image"])
    latents = sample_pass(
        networks,
        clip.start,
        Conditioning(clip.degraded, (1, 0, 0), reference, shared["input.id_embedding"][0]),
        options_of(case),
        sampling=Sampling(noise=golden["init_noise"][0]),
    )
    assert_near(latents, golden["latents_steps"][-1], HALF_TOLERANCE[dtype], str(dtype).removeprefix("torch."))


@pytest.mark.parametrize(("folder", "case"), FAILURES)
def test_clips_that_break_the_reference_are_padded(folder, case):
    """1 to 3 frames: what we return equals a clip padded by hand with its last frame to the minimum of 4."""
    count = case["call"]["n"]
    assert count < 4
    networks = load_networks(folder, torch.float32)
    pixels = from_network_range(shared_tensors(folder)["input.lq_frames"][:count])
    options = RestoreOptions(steps=3, passes=1)
    ours = restore(networks, pixels, frozenset({Task.BFR}), options)
    by_hand = restore(networks, pixels[[min(k, count - 1) for k in range(4)]], frozenset({Task.BFR}), options)
    frames = torch.cat(list(ours.decode(networks.vae, options)))
    expected = torch.cat(list(by_hand.decode(networks.vae, options)))
    assert frames.shape[0] == count
    assert frames.isfinite().all()
    assert torch.equal(frames, expected[:count])

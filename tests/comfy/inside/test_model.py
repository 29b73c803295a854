"""SVFR's UNet as ComfyUI's MODEL: the reference's numbers, strict loading, ComfyUI's own samplers and patches."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

import comfy.lora
import comfy.model_base
import comfy.model_detection
import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import pytest
import torch
from comfy.ldm.modules.attention import SpatialVideoTransformer
from golden import OWN, cases, final_latents, folders, manifest, tensors
from near import assert_near
from random_networks import RANDOM_UNET
from svfr_pack.nodes import attention
from svfr_pack.nodes import model as native
from svfr_pack.nodes.model import TASK_KEY, ComfyBackend, load_model
from svfr_pack.svfr_model.base.errors import InputError, WeightsError
from svfr_pack.svfr_model.engine.conditioning import Conditioning
from svfr_pack.svfr_model.engine.options import RestoreOptions
from svfr_pack.svfr_model.engine.restore import Networks, Sampling, sample_pass
from svfr_pack.svfr_model.engine.solvers import karras_sigmas
from svfr_pack.svfr_model.engine.windows import WindowPlan
from svfr_pack.svfr_model.networks.comfy_keys import convert_unet
from svfr_pack.svfr_model.weights import load_strict, save

KEYS = Path(__file__).resolve().parents[2] / "golden" / "keys" / "published.json.gz"
PUBLISHED = json.loads(gzip.decompress(KEYS.read_bytes()))["unet"]
HALF_CASES = [case for case in cases((OWN,)) if case.values[1]["call"].get("dt") != "bfloat16"][:3]


@pytest.fixture
def patcher(tiny_unet):
    return load_model(tiny_unet, "fp32")


@pytest.fixture
def sample():
    """One call's worth of random inputs: 2 rows of 5 frames."""
    return (
        torch.randn(2, 5, 4, 4, 6),
        3.0,
        torch.randn(2, 5, 4, 4, 6),
        torch.randn(2, 4, 4, 6),
        torch.randn(2, 49, 32),
        torch.tensor([1.0, 0.0, 1.0]),
    )


def denoised(patcher, sample) -> torch.Tensor:
    backend = ComfyBackend(patcher)
    with backend.load(5, 4, 6):
        return backend(*sample)


def test_comfyui_keeps_its_own_nodes_module():
    assert Path(importlib.util.find_spec("nodes").origin) == Path.cwd() / "nodes.py"


@pytest.mark.parametrize(("folder", "case"), cases(folders()))
def test_case_equals_reference(folder, case, patcher):
    ours, reference = final_latents(patcher, folder, case)
    half = case["call"].get("dt", "float32")
    assert_near(ours, reference, {"float32": 1e-4, "float16": 1.5e-2, "bfloat16": 1e-1}[half], half)


@pytest.mark.parametrize(
    ("dtype", "compute", "tolerance"),
    [
        ("fp16", None, 1.5e-2),
        ("fp16", torch.float16, 1.5e-2),
        ("bf16", torch.bfloat16, 1.25e-1),
    ],
)
@pytest.mark.parametrize(("folder", "case"), HALF_CASES)
def test_half_precision_stays_near_the_reference(folder, case, dtype, compute, tolerance, tiny_unet):
    """compute None is ComfyUI's choice: on a CPU it keeps the weights in half and computes in float32."""
    patcher = load_model(tiny_unet, dtype)
    assert patcher.model_dtype() == native.DTYPES[dtype]
    if compute is not None:
        patcher.set_model_compute_dtype(compute)
    ours, reference = final_latents(patcher, folder, case)
    assert_near(ours, reference, tolerance, dtype)


def test_fp8_weights_are_kept_in_fp8_and_still_denoise(tiny_unet, sample):
    """Without scales, as ComfyUI's own loader does it: on random weights a fifth of the estimate is lost."""
    patcher = load_model(tiny_unet, "fp8_e4m3fn")
    exact = denoised(load_model(tiny_unet, "fp32"), sample)
    assert patcher.model.diffusion_model.input_blocks[0][0].weight.dtype == torch.float8_e4m3fn
    assert patcher.model_size() < load_model(tiny_unet, "fp16").model_size() * 0.51
    error = (denoised(patcher, sample) - exact).abs().mean() / exact.abs().mean()
    assert 0.01 < error < 0.3


def test_every_group_norm_has_the_eps_of_diffusers(patcher):
    """By the position of the block, written out for the tiny network's two levels (docs/reference/svfr.md#unet)."""
    small = {
        name
        for name, layer in patcher.model.diffusion_model.named_modules()
        if isinstance(layer, torch.nn.GroupNorm) and layer.eps == 1e-6
    }
    resnet = ("in_layers.0", "out_layers.0", "time_stack.in_layers.0", "time_stack.out_layers.0")
    attending = {f"input_blocks.1.0.{part}" for part in resnet}
    up = {f"output_blocks.{block}.0.{part}" for block in range(4) for part in resnet}
    transformers = {
        f"{block}.1.norm" for block in ("input_blocks.1", "middle_block", "output_blocks.2", "output_blocks.3")
    }
    assert small == attending | up | transformers


@pytest.mark.parametrize("config", [None, RANDOM_UNET], ids=["published", "tiny"])
def test_arguments_are_those_that_comfyui_detects(config):
    """Built from the config, but the same as ComfyUI reads from the keys, which know no heads and no precision."""
    shapes = PUBLISHED if config is None else {k: list(v.shape) for k, v in tensors(OWN, "unet.").items()}
    weights = convert_unet({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    ours = native._network_arguments(config, "file")
    detected = comfy.model_detection.detect_unet_config(weights, "")
    assert {key: ours[key] for key in detected} == detected
    assert set(ours) - set(detected) == {"num_heads", "num_head_channels", "attn_precision"}
    assert ours["num_head_channels"] == (64 if config is None else 16)


def test_full_size_takes_exactly_the_published_keys():
    published = {key: torch.empty(shape, device="meta") for key, shape in PUBLISHED.items()}
    network = native._plain_network(native._network_arguments(None, "file"))
    assert len(published) == 1428
    load_strict(network, convert_unet(published), "file", "unet")
    del published["mid_block.resnets.1.temporal_res_block.norm1.bias"]
    with pytest.raises(WeightsError, match=r"1 entry is missing: middle_block\.2\.time_stack\.in_layers\.0\.bias"):
        load_strict(network, convert_unet(published), "file", "unet")


def _renamed(weights, old, new):
    return {key.replace(old, new): value for key, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "conv_in.bias"}, "1 entry is missing: input_blocks.0.0.bias"),
        (lambda w: {**w, "conv_in.bias": torch.zeros(31)}, r"is \(31,\) and should be \(32,\)"),
        (lambda w: {**w, "ip_adapter.weight": torch.zeros(1)}, "ip_adapter.weight is not a key of a diffusers UNet"),
        (lambda w: _renamed(w, "conv_in", "stem"), r"stem\.\w+ is not a key"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(change, message, tmp_path):
    path = tmp_path / "unet.safetensors"
    save(change(tensors(OWN, "unet.")), path, "unet", manifest(OWN)["unet_config"])
    with pytest.raises(WeightsError, match=message) as raised:
        load_model(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": [4, 4]}, "same number at each"),
        ({"num_attention_heads": None}, "num_attention_heads is None; it must be"),
        ({"in_channels": 8}, "in_channels is 8"),
    ],
)
def test_a_config_that_comfyui_cannot_build_is_refused(change, message, tmp_path):
    path = tmp_path / "unet.safetensors"
    save(tensors(OWN, "unet."), path, "unet", {**manifest(OWN)["unet_config"], **change})
    with pytest.raises(WeightsError, match=message):
        load_model(path)


def test_without_metadata_the_published_architecture_is_demanded(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "unet.safetensors"
    save_file(tensors(OWN, "unet."), path)
    with pytest.raises(WeightsError, match=r"1088 entries are missing: input_blocks\.2\.0\."):
        load_model(path)


def test_heads_come_from_the_config(tmp_path, sample, patcher):
    """Another number of heads loads without complaint, so only the result tells."""
    path = tmp_path / "unet.safetensors"
    save(tensors(OWN, "unet."), path, "unet", {**manifest(OWN)["unet_config"], "num_attention_heads": [4, 8]})
    other = denoised(load_model(path), sample)
    assert (other - denoised(patcher, sample)).abs().max() > 1e-3


def test_rows_do_not_see_each_other(patcher, sample):
    together = denoised(patcher, sample)
    x, sigma, degraded, reference, tokens, task = sample
    alone = denoised(patcher, (x[1:], sigma, degraded[1:], reference[1:], tokens[1:], task))
    assert_near(alone, together[1:], 1e-5)


def test_each_input_has_an_effect(patcher, sample):
    before = denoised(patcher, sample)
    for index in (0, 2, 3, 4):
        changed = [*sample]
        changed[index] = torch.zeros_like(sample[index])
        assert (denoised(patcher, changed) - before).abs().max() > 1e-3, index
    assert (denoised(patcher, (*sample[:5], torch.tensor([0.0, 1.0, 1.0]))) - before).abs().max() > 1e-3


def test_the_backend_tells_what_it_needs(patcher):
    backend = ComfyBackend(patcher)
    assert (backend.token_width, backend.size_multiple_factor) == (32, 2)
    assert backend.device == torch.device("cpu")
    with backend.load(4, 3, 4), pytest.raises(InputError, match="Latents of 3x4"):
        backend(*(torch.zeros(1, 4, 4, 3, 4), 1.0, *(torch.zeros(1),) * 3, torch.zeros(3)))


def test_another_model_is_refused():
    class Other:
        model = torch.nn.Identity()

    with pytest.raises(InputError, match="MODEL is a Identity, not SVFR's"):
        ComfyBackend(Other())


LAYERS = {
    "transformer_blocks.0.attn1.to_q": "transformer_blocks.0.attn1.to_q",
    "transformer_blocks.0.attn2.to_v": "transformer_blocks.0.attn2.to_v",
    "temporal_transformer_blocks.0.attn2.to_k": "time_stack.0.attn2.to_k",
    "temporal_transformer_blocks.0.attn2.to_out.0": "time_stack.0.attn2.to_out.0",
}


@pytest.mark.parametrize("layer", LAYERS)
def test_lora_takes_part(patcher, sample, layer):
    """Named as trainers name diffusers' layers; at strength 1 the weight is W + up @ down."""
    keys = comfy.lora.model_lora_keys_unet(patcher.model, {})
    place = f"input_blocks.1.1.{LAYERS[layer]}"
    weight = f"diffusion_model.{place}.weight"
    name = next(name for name, key in keys.items() if key == weight)
    up, down = torch.randn(32, 2), torch.randn(2, 32)
    lora = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    patched, _ = comfy.sd.load_lora_for_models(patcher, None, lora, 1.0, 0.0)
    before = denoised(patcher, sample)
    after = denoised(patched, sample)
    assert (after - before).abs().max() > 1e-3
    with torch.no_grad():
        patched.detach()
        patcher.model.diffusion_model.get_submodule(place).weight += up @ down
    assert_near(after, denoised(patcher, sample), 1e-4)


def test_attention_patches_and_wrappers_take_part(patcher, sample):
    seen = set()
    changed = patcher.clone()
    changed.set_model_attn1_patch(lambda q, k, v, extra: seen.add(tuple(extra["cond_or_uncond"])) or (q, k, v))
    changed.add_wrapper("diffusion_model", lambda run, *args, **kwargs: run(*args, **kwargs) * 0.5)
    changed.set_model_unet_function_wrapper(lambda run, given: run(given["input"], given["timestep"], **given["c"]) + 1)
    # the estimate is linear in the network's output: c_skip x + c_out v, and 1 more by the outer wrapper
    skip = sample[0] / (sample[1] ** 2 + 1)
    for given, halves in ((sample, (0, 0)), (unguided(sample), (1, 1))):
        seen.clear()
        before, after = denoised(patcher, given), denoised(changed, given)
        assert seen == {halves}
        assert_near(after, 1 + skip + (before - skip) / 2, 1e-5)


def unguided(sample):
    """The same call without reference and tokens."""
    return (*sample[:3], None, None, sample[5])


def as_comfyui(patcher):
    """A copy whose cross-attention is ComfyUI's own."""
    copy = load_model(*patcher.cached_patcher_init[1])
    for part in copy.model.diffusion_model.modules():
        if type(part).__module__ == attention.__name__:
            part.__class__ = type(part).__bases__[0]
            if isinstance(part, SpatialVideoTransformer):
                part.use_spatial_context = True
    return copy


def zeros_for_none(sample):
    """The same call with zeros where it has no reference and tokens."""
    x, sigma, degraded, _, _, task = sample
    return x, sigma, degraded, torch.zeros(2, 4, 4, 6), torch.zeros(2, 49, 32), task


def test_the_cross_attention_is_comfyuis(patcher, sample):
    whole = as_comfyui(patcher)
    assert_near(denoised(patcher, sample), denoised(whole, sample), 1e-5)
    none = denoised(patcher, unguided(sample))
    assert torch.equal(none, denoised(patcher, zeros_for_none(unguided(sample))))
    assert_near(none, denoised(whole, zeros_for_none(unguided(sample))), 1e-5)


@torch.no_grad()
def test_keys_and_values_are_computed_once_for_each_window(patcher, sample):
    counts = []
    for name, layer in patcher.model.diffusion_model.named_modules():
        if "time_stack" in name and name.endswith("attn2.to_k"):
            layer.register_forward_pre_hook(lambda _, given: counts.append(tuple(given[0].shape)))
    denoised(patcher, sample)
    assert len(counts) == 4
    assert set(counts) == {(2, 49, 32)}
    counts.clear()
    denoised(patcher, unguided(sample))
    assert not counts


def _patched(patcher, kind, change):
    """A copy with the change attached to its cross-attention."""
    changed = patcher.clone()
    if kind == "patch":
        changed.set_model_attn2_patch(lambda q, k, v, _: change(q, k, v))
    elif kind == "output":
        changed.set_model_attn2_output_patch(lambda n, _: change(n)[0])
    elif kind == "replace":
        for block, number in (("input", 1), ("middle", 0), ("output", 2), ("output", 3)):
            changed.set_model_attn2_replace(lambda q, k, v, _: change(q, k, v)[0], block, number)
    else:
        changed.model_options["transformer_options"]["optimized_attention_override"] = (
            lambda function, q, k, v, *args, **kwargs: function(q, *change(k, v), *args, **kwargs)
        )
    return changed


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
@pytest.mark.parametrize("kind", ["patch", "output", "replace", "override"])
def test_what_is_attached_to_the_cross_attention_takes_part(patcher, sample, kind, guided):
    """As in ComfyUI's own network, in calls with tokens and in calls without, where it sees zeros."""
    seen = set()

    def change(first, *others):
        seen.add((first.shape, *(other.shape for other in others)))
        first *= 0.5  # in place, as patches may
        return (first + 0.25, *(other - 0.125 for other in others))

    given = sample if guided else unguided(sample)
    found = denoised(_patched(patcher, kind, change), given)
    shown = seen.copy()
    seen.clear()
    expected = denoised(_patched(as_comfyui(patcher), kind, change), given if guided else zeros_for_none(given))
    assert shown == seen or kind == "override", "another attention sees a window's pixels as one sequence"
    assert_near(found, expected, 1e-5)
    assert (found - denoised(patcher, given)).abs().max() > 1e-3


@torch.no_grad()
def test_compiled_attention_keeps_calls_with_and_without_tokens_apart(patcher):
    """As core's TorchCompileModel compiles, which lets nothing in transformer_options cause another graph."""
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    part = patcher.model.diffusion_model.middle_block[1]
    compiled = torch.compile(part, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
    x, tokens = torch.randn(10, 64, 2, 3), torch.randn(10, 49, 32)
    for given in (tokens, tokens[:, :0], tokens):
        results = [run(x, given, None, 5, None, {"block": ("middle", 0)}) for run in (compiled, part)]
        assert_near(*results, 1e-5)


def test_cancel_ends_a_call(patcher, sample):
    import comfy.model_management

    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        denoised(patcher, sample)
    denoised(patcher, sample)


def test_a_copy_is_made_from_the_file(patcher, sample):
    """As ComfyUI does it for hooks, compilation and several cards."""
    make, arguments = patcher.cached_patcher_init
    copy = make(*arguments, disable_dynamic=True)
    assert copy.model is not patcher.model
    assert torch.equal(denoised(copy, sample), denoised(patcher, sample))


def conditioning(latents, reference, tokens, task=(1, 0, 0)):
    held = reference.expand_as(latents)
    return [[tokens[None], {"concat_latent_image": torch.cat([latents, held], 1), TASK_KEY: task}]]


def test_ksampler_equals_our_sampler(patcher):
    """One window, the linear plan, constant guidance: core's euler and ours give the same clip."""
    count, steps, scale = 6, 5, 2.0
    latents, reference = torch.randn(count, 4, 4, 6), torch.randn(4, 4, 6)
    tokens, noise = torch.randn(49, 32), torch.randn(count, 4, 4, 6)
    options = RestoreOptions(steps=steps, guidance=(scale, scale), plan=WindowPlan(count, name="linear"))
    backend = ComfyBackend(patcher)
    with backend.load(count, 4, 6):
        networks = Networks(backend, type("VAE", (), {"factor": 8, "scaling_factor": 0.18215})())
        given = Conditioning(latents, (1, 0, 0), reference, tokens)
        ours = sample_pass(networks, latents, given, options, sampling=Sampling(noise=noise))
    theirs = comfy.sample.sample_custom(
        patcher,
        noise,
        scale,
        comfy.samplers.sampler_object("euler"),
        torch.tensor(karras_sigmas(steps)),
        conditioning(latents, reference, tokens),
        conditioning(latents, torch.zeros_like(reference), torch.zeros_like(tokens)),
        latents,
        disable_pbar=True,
    )
    assert_near(ours, theirs * 0.18215, 1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({TASK_KEY: None}, "lacks a task"),
        ({"concat_latent_image": None}, "lacks latents"),
        ({"concat_latent_image": torch.zeros(5, 8, 4, 6)}, r"are \(5, 8, 4, 6\), but .* needs \(6, 8, 4, 6\)"),
    ],
)
def test_ksampler_with_other_conditioning_says_what_is_needed(patcher, change, message):
    latents, noise = torch.zeros(6, 4, 4, 6), torch.zeros(6, 4, 4, 6)
    ((tokens, given),) = conditioning(latents, latents[0], torch.zeros(49, 32))
    given = {key: value for key, value in {**given, **change}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        comfy.sample.sample_custom(
            patcher,
            noise,
            1.0,
            comfy.samplers.sampler_object("euler"),
            torch.tensor(karras_sigmas(1)),
            [[tokens, given]],
            [[tokens, given]],
            latents,
            disable_pbar=True,
        )


def test_a_model_of_another_kind_refuses_svfrs_conditioning():
    """Stable Diffusion 2's would take the tokens, which are as wide as its own, and sample without a word."""
    from svfr_pack.nodes.conditioning import _conditioning

    from nodes import common_ksampler  # ComfyUI's

    config = comfy.supported_models.SD20(
        {
            **comfy.supported_models.SD20.unet_config,
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 1],
            "transformer_depth": [1, 1],
            "transformer_depth_output": [1, 1, 1, 1],
            "transformer_depth_middle": 1,
            "num_heads": -1,
            "num_head_channels": 64,
            "model_channels": 64,
            "context_dim": 1024,
            "use_temporal_attention": False,
            "use_spatial_transformer": True,
            "num_classes": None,
            "legacy": False,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    model = comfy.model_base.BaseModel(config)
    patcher = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    latents = torch.zeros(2, 4, 8, 8)
    told = _conditioning(torch.zeros(49, 1024), latents, latents, (1, 0, 0))
    plain = [[told[0][0], {}]]
    sampled = common_ksampler(patcher, 1, 1, 1.5, "euler", "karras", plain, plain, {"samples": latents})
    assert sampled[0]["samples"].shape == latents.shape
    with pytest.raises(InputError, match="the sampler's MODEL is not SVFR's"):
        common_ksampler(patcher, 1, 1, 1.5, "euler", "karras", told, told, {"samples": latents})

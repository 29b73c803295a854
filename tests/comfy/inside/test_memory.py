"""Under ComfyUI's memory management: partial loading, honest estimates, running out, and letting go."""

from __future__ import annotations

import gc
import weakref

import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.model
import comfy.model_management
import comfy.model_patcher
import pytest
import torch
from near import assert_near
from peak import Peak
from random_networks import RANDOM_PROJECTION, RANDOM_RECOGNIZER, RANDOM_VAE
from svfr_pack.nodes import model as native
from svfr_pack.nodes import vae as native_vae
from svfr_pack.nodes.memory import HalvingBatch, Resident
from svfr_pack.nodes.model import ComfyBackend, load_model
from svfr_pack.nodes.vae import ComfyVAE, load_vae
from svfr_pack.svfr_model.base.errors import InputError
from svfr_pack.svfr_model.networks.identity import IdentityEncoder, build_projection, build_recognizer
from svfr_pack.svfr_model.networks.unet import PUBLISHED_CONFIG
from svfr_pack.svfr_model.networks.vae import PUBLISHED_CONFIG as PUBLISHED_VAE
from svfr_pack.svfr_model.weights import save

BUDGETS = (0.05, 0.4, 0.8)
META = torch.device("meta")
MIB = 2**20


@pytest.fixture(scope="module")
def tiny_vae(tmp_path_factory):
    arguments = native_vae._network_arguments(RANDOM_VAE, "file")
    network = native_vae._network(arguments)  # ComfyUI's layers leave their memory as it is
    weights = {key: torch.randn(value.shape) * 0.05 for key, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save(weights, path, "vae", RANDOM_VAE)
    return path


@pytest.fixture
def budget(monkeypatch):
    """A function that lets the memory manager load only a part of each model, as on a card with little memory."""

    def limit(share):
        def load(models, **_):
            for patcher in models:
                patcher.load(patcher.load_device, lowvram_model_memory=int(patcher.model_size() * share))

        monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)

    return limit


def inputs():
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    task = torch.tensor([1.0, 0.0, 1.0])
    return random(2, 5, 4, 4, 6), 3.0, random(2, 5, 4, 4, 6), random(2, 4, 4, 6), random(2, 49, 32), task


def denoised(patcher):
    backend = ComfyBackend(patcher)
    with backend.load(5, 4, 6):
        return backend(*inputs())


def coded(vae):
    """Frames and latents through both halves, in the VAE's precision and in full."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 16, 16, generator=generator)
    latents = torch.randn(2, 4, 2, 2, generator=generator)
    return vae.encode(pixels), vae.encode(pixels, full_precision=True), vae.decode(latents)


def attended(function, *args, **kwargs):
    """torch's attention, whatever ComfyUI chose: that one asks a card for its free memory."""
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


def loaded_share(patcher):
    return patcher.loaded_size() / patcher.model_size()


@pytest.mark.parametrize("share", BUDGETS)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_partly_loaded_model_gives_the_same(tiny_unet, budget, share, dtype):
    whole = denoised(load_model(tiny_unet, dtype))
    budget(share)
    patcher = load_model(tiny_unet, dtype)
    assert_near(denoised(patcher), whole, 1e-5)
    assert loaded_share(patcher) <= share


@pytest.mark.parametrize("share", BUDGETS)
def test_a_partly_loaded_model_with_lora_gives_the_same(tiny_unet, budget, share):
    def patched():
        patcher = load_model(tiny_unet, "fp32")
        keys = [key for key in patcher.model.state_dict() if key.endswith("to_q.weight")]
        generator = torch.Generator().manual_seed(2)
        shapes = {key: patcher.model.state_dict()[key].shape for key in keys}
        changes = {key: ("diff", (torch.randn(shape, generator=generator) * 0.1,)) for key, shape in shapes.items()}
        assert len(patcher.add_patches(changes)) == len(keys) > 8
        return patcher

    whole = denoised(patched())
    assert (whole - denoised(load_model(tiny_unet, "fp32"))).abs().max() > 1e-3
    budget(share)
    assert_near(denoised(patched()), whole, 1e-5)


@pytest.mark.parametrize("share", BUDGETS)
def test_a_partly_loaded_model_never_mixes_devices(tiny_unet, budget, share):
    """The meta device computes shapes only and refuses tensors of another device."""
    patcher = load_model(tiny_unet, "fp16")
    patcher.load_device = META
    patcher.model_options["transformer_options"]["optimized_attention_override"] = attended
    budget(share)
    result = denoised(patcher)
    assert result.device == META
    assert result.shape == (2, 5, 4, 4, 6)
    devices = {weight.device.type for weight in patcher.model.parameters()}
    assert devices == ({"cpu"} if loaded_share(patcher) == 0 else {"cpu", "meta"})


@pytest.mark.parametrize("share", BUDGETS)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_partly_loaded_vae_gives_the_same(tiny_vae, budget, share, dtype):
    whole = coded(ComfyVAE(load_vae(tiny_vae, dtype)))
    budget(share)
    vae = load_vae(tiny_vae, dtype)
    for part, expected in zip(coded(ComfyVAE(vae)), whole, strict=True):
        assert_near(part, expected, 1e-5)
    assert loaded_share(vae.patcher) <= share


@pytest.mark.parametrize("share", BUDGETS)
def test_a_partly_loaded_vae_never_mixes_devices(tiny_vae, budget, share, monkeypatch):
    vae = load_vae(tiny_vae, "fp16")
    vae.device = vae.patcher.load_device = META
    for block in vae.first_stage_model.modules():
        if isinstance(block, comfy.ldm.modules.diffusionmodules.model.AttnBlock):
            block.optimized_attention = comfy.ldm.modules.diffusionmodules.model.pytorch_attention
    monkeypatch.setattr(vae.patcher, "get_free_memory", lambda device: 2.0**40, raising=False)
    budget(share)
    assert [result.shape for result in coded(ComfyVAE(vae))] == [(2, 4, 2, 2), (2, 4, 2, 2), (2, 3, 16, 16)]


@pytest.fixture(scope="module")
def full_size():
    """The published UNet without memory, in half precision."""
    config = native._SVFRConfig(native._network_arguments(PUBLISHED_CONFIG, "file"))
    config.set_inference_dtype(torch.float16, None)
    model = native.SVFRModel(config, device=META).to(META)
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=META, offload_device=META)
    patcher.model_options["transformer_options"]["optimized_attention_override"] = lambda f, q, *_, **__: q.clone()
    return patcher


@pytest.mark.parametrize(
    ("rows", "frames", "side"), [(2, 16, 64), (1, 16, 64), (2, 16, 96), (2, 4, 64), (1, 8, 64), (2, 25, 32)]
)
def test_the_estimate_holds_the_published_network(full_size, monkeypatch, rows, frames, side):
    """Not less than the tensors alive at the peak, and not so much more that other models leave without need."""
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda models, **_: None)
    backend = ComfyBackend(full_size)
    clip = torch.empty(rows, frames, 4, side, side, device=META)
    given = torch.empty(rows, 4, side, side, device=META), torch.empty(rows, 49, 1024, device=META)
    with torch.no_grad(), backend.load(frames, side, side, rows), Peak() as peak:
        backend(clip, 3.0, clip, *given, torch.zeros(3, device=META))
    assert peak.bytes > 100 * MIB
    assert peak.bytes * 1.2 < backend.estimate_memory(frames, side, side, rows) < peak.bytes * 1.4


def test_comfyuis_samplers_get_the_same_estimate(full_size):
    backend = ComfyBackend(full_size)
    assert full_size.model.memory_required([32, 4, 64, 64], cond_shapes={}) == backend.estimate_memory(16, 64, 64, 2)
    assert full_size.model.memory_required([5, 4, 64, 64]) == backend.estimate_memory(5, 64, 64, 1)


@pytest.fixture
def full_size_vae(monkeypatch):
    """The published VAE without memory, in half precision, what it asks of the memory manager, and what is free."""
    with META:
        network = native_vae._network(native_vae._network_arguments(PUBLISHED_VAE, "file")).half()
    for block in network.modules():
        if isinstance(block, comfy.ldm.modules.diffusionmodules.model.AttnBlock):
            block.optimized_attention = lambda q, k, v: q.clone()
    asked, free = [], [2.0**40]
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda models, **given: asked.append(given))
    patcher = type("Patcher", (), {"get_free_memory": lambda self, device: free[0]})()
    stock = type("VAE", (), {"first_stage_model": network, "device": META, "vae_dtype": torch.float16})()
    stock.patcher = patcher
    return ComfyVAE(stock), asked, free


def test_the_vaes_estimates_hold_the_published_network(full_size_vae):
    vae, asked, _ = full_size_vae
    with Peak() as decoding:
        vae.decode(torch.empty(8, 4, 64, 64, device=META))
    with Peak() as encoding:
        vae.encode(torch.empty(1, 3, 512, 512, device=META))
    for peak, given in zip((decoding, encoding), asked, strict=True):
        assert peak.bytes > 100 * MIB
        assert peak.bytes * 1.1 < given["memory_required"] < peak.bytes * 2


def test_where_memory_is_short_16_frames_of_512_take_two_and_a_half_gibibytes(full_size_vae):
    """A third of what they take at once; the memory manager is told so, too."""
    vae, asked, free = full_size_vae
    latents = torch.empty(16, 4, 64, 64, device=META)
    with Peak() as whole:
        vae.decode(latents)
    free[0] = asked[0]["memory_required"] - 1
    with Peak() as less:
        assert vae.decode(latents).shape == (16, 3, 512, 512)
    assert less.bytes < 2.35 * 2**30
    assert less.bytes < whole.bytes / 3
    assert less.bytes * 1.1 < asked[1]["minimum_memory_required"] < less.bytes * 1.5


def test_after_use_nothing_holds_the_model(tiny_unet):
    gc.collect()
    gc.disable()  # so that a cycle would show
    try:
        patcher = load_model(tiny_unet, "fp32")
        denoised(patcher)
        model = weakref.ref(patcher.model)
        assert any(loaded.real_model() is model() for loaded in comfy.model_management.current_loaded_models)
        del patcher
        assert model() is None
    finally:
        gc.enable()
    assert all(loaded.real_model() is not None for loaded in comfy.model_management.current_loaded_models)


def test_after_an_error_nothing_holds_the_model(tiny_unet):
    patcher = load_model(tiny_unet, "fp32")
    backend = ComfyBackend(patcher)
    x, sigma, degraded, reference, *rest = inputs()
    with backend.load(5, 4, 6), pytest.raises(InputError, match="Latents of 4x5"):
        backend(x[..., :5], sigma, degraded[..., :5], reference[..., :5], *rest)
    model = weakref.ref(patcher.model)
    assert patcher.model.current_patcher is None
    del patcher, backend
    gc.collect()
    assert model() is None


def test_after_use_nothing_holds_the_vae(tiny_vae):
    vae = load_vae(tiny_vae, "fp32")
    coded(ComfyVAE(vae))
    network = weakref.ref(vae.first_stage_model)
    del vae
    gc.collect()
    assert network() is None


def test_the_backend_is_used_within_load_only(tiny_unet):
    backend = ComfyBackend(load_model(tiny_unet, "fp32"))
    with pytest.raises(RuntimeError, match=r"outside its load\(\)"):
        backend(*inputs())


class _Card:
    """Has room for so many rows, and counts what it was asked for."""

    def __init__(self, room):
        self.room, self.asked = room, []

    def __call__(self, rows):
        count = rows.stop - rows.start
        self.asked.append(count)
        assert len(self.asked) < 20, "asked again and again for what does not fit"
        if count > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return torch.arange(rows.start, min(rows.stop, 5))


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered():
    card, batch = _Card(room=2), HalvingBatch()
    assert batch.run(card, 5, "").tolist() == [0, 1, 2, 3, 4]
    assert card.asked == [5, 3, 2, 2, 2]
    card.asked.clear()
    assert batch.run(card, 5, "").tolist() == [0, 1, 2, 3, 4]
    assert card.asked == [2, 2, 2]


def test_where_not_one_row_fits_the_setting_to_lower_is_named():
    with pytest.raises(InputError, match=r"not enough memory on cpu\. Lower the window"):
        HalvingBatch().run(_Card(room=0), 5, "Lower the window.")


@pytest.mark.parametrize("error", [RuntimeError("a shape is wrong"), ValueError("other")])
def test_other_errors_pass_through(error):
    def fails(_):
        raise error

    with pytest.raises(type(error), match=str(error)):
        HalvingBatch().run(fails, 2, "")


def test_a_call_that_does_not_fit_runs_its_rows_one_by_one(tiny_unet, monkeypatch):
    """Cancel, raised from within as an exception of its own kind, is not taken for it."""
    patcher = load_model(tiny_unet, "fp32")
    whole = denoised(patcher)
    network, real = patcher.model, patcher.model.apply_model

    def cramped(x, *args, **kwargs):
        if len(x) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(x, *args, **kwargs)

    monkeypatch.setattr(network, "apply_model", cramped)
    assert_near(denoised(patcher), whole, 1e-5)
    monkeypatch.setattr(network, "apply_model", lambda *_, **__: cramped(torch.zeros(99)))
    with pytest.raises(InputError, match="window of 5 frames does not fit: choose a shorter window or smaller crops"):
        denoised(patcher)


def test_frames_that_cannot_be_decoded_at_once_are_decoded_one_by_one_as_one_clip(tiny_vae, monkeypatch):
    vae, latents = ComfyVAE(load_vae(tiny_vae, "fp32")), torch.randn(3, 4, 4, 4)
    whole = vae.decode(latents)

    def cramped(latents):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vae.network, "decode", cramped)
    assert_near(vae.decode(latents), whole, 1e-4)
    monkeypatch.setattr(native_vae, "decode_streamed", lambda decoder, given: cramped(given))
    with pytest.raises(InputError, match="3 frames cannot be decoded together: lower the decode chunk"):
        vae.decode(latents)


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-4), ("fp16", 2e-2)])
def test_where_memory_is_short_frames_are_decoded_one_by_one_as_one_clip(
    tiny_vae, budget, monkeypatch, share, dtype, tolerance
):
    latents = torch.randn(4, 4, 4, 2)
    whole = ComfyVAE(load_vae(tiny_vae, dtype)).decode(latents)
    budget(share)
    vae = ComfyVAE(load_vae(tiny_vae, dtype))
    monkeypatch.setattr(vae.vae.patcher, "get_free_memory", lambda device: 0.0, raising=False)
    monkeypatch.setattr(vae.network, "decode", None)
    assert_near(vae.decode(latents), whole, tolerance)


def test_small_networks_are_loaded_whole_while_used_and_let_go_also_after_an_error():
    encoder = IdentityEncoder(build_recognizer(RANDOM_RECOGNIZER), build_projection(RANDOM_PROJECTION))
    resident = Resident(encoder.recognizer, encoder.projection)
    assert loaded_share(resident.patcher) == 0

    def failing():
        with resident.loaded():
            assert loaded_share(resident.patcher) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert loaded_share(resident.patcher) == 0


def test_small_networks_compute_the_same_before_within_and_after():
    encoder = IdentityEncoder(build_recognizer(RANDOM_RECOGNIZER), build_projection(RANDOM_PROJECTION))
    faces = torch.rand(2, 3, 112, 112)
    before = encoder.encode(faces)
    resident = Resident(encoder.recognizer, encoder.projection)
    for _ in range(2):
        with resident.loaded(memory=1.0):
            assert torch.equal(encoder.encode(faces.to(resident.device)).tokens, before.tokens)
    assert torch.equal(encoder.encode(faces).tokens, before.tokens)
    network = weakref.ref(encoder.recognizer)
    del encoder, resident
    gc.collect()
    assert network() is None


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_torchscript_network_is_a_resident_like_others():
    class Detector(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 16, 3)
            self.register_buffer("anchors", torch.arange(3.0))

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return self.layer(picture).mean((2, 3)) + self.anchors.sum()

    network = torch.jit.script(Detector().eval())
    resident, picture = Resident(network), torch.rand(1, 3, 8, 8)
    before = network(picture)
    with resident.loaded():
        assert loaded_share(resident.patcher) == 1
        assert torch.equal(network(picture), before)
    assert torch.equal(network(picture), before)

"""Training from a configuration: small networks, a few steps, and files that the loaders take."""

import pytest
import torch
from safetensors.torch import load_file
from support.random_networks import RANDOM_RECOGNIZER, write_random_weights
from torch.autograd.graph import saved_tensors_hooks

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.base.pixels import to_network_range
from svfr_model.faces.geometry import align_face
from svfr_model.networks.identity import build_recognizer
from svfr_model.networks.unet import load_unet
from svfr_model.networks.vae import load_vae
from svfr_model.synthesis.clips import make_clip
from svfr_model.training.config import parse_config
from svfr_model.training.feed import draw_batch, drawn_ahead
from svfr_model.training.index import IndexedClip
from svfr_model.training.latent_cache import LatentCache
from svfr_model.training.loop import read_losses
from svfr_model.training.source import SyntheticClips
from svfr_model.training.train import BatchEncoder, train, train_from_file
from svfr_model.weights import find

pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_random_weights(folder, 3)
    return folder


def config(weights, output, steps=2, **changes):
    loop = {"steps": steps, "rate": 1e-3, "warmup": 0, "ema": 0.0, "save_every": 2, **changes.pop("loop", {})}
    base = {"output": str(output), "weights": str(weights), "window": 4, "clips": 2, "synthetic_clips": 4, "workers": 0}
    return parse_config({**base, **changes, "loop": loop})


def unet_of(folder):
    return load_file(find("unet", [folder]))


class PoolingVAE:
    """Latents that show what they were made of: the picture, eight times smaller."""

    device, scaling_factor = torch.device("cpu"), 0.5

    def __init__(self):
        self.encoded = 0

    def encode(self, pixels, *, full_precision=False):
        self.encoded += len(pixels)
        assert full_precision
        small = torch.nn.functional.avg_pool2d(pixels.float(), 8)
        return torch.cat([small, small[:, :1] * 0 + 3], dim=1)


class Recogniser(torch.nn.Module):
    """A map of the face itself."""

    def forward(self, faces):
        small = torch.nn.functional.avg_pool2d(faces, 16)
        return small, small.flatten(1)


def encoder(made, vae=None, cache=None):
    return BatchEncoder(vae or PoolingVAE(), Recogniser(), made, cache)


SOURCE = SyntheticClips(6, 64)


def test_rows_pair_with_their_truth(weights, tmp_path, monkeypatch):
    """Without any damage each row's condition is its truth; and clip, identity, reference, landmarks are one clip's."""
    made = config(weights, tmp_path, clips=3, drop_both=0.0, drop_one=0.0)
    monkeypatch.setattr("svfr_model.training.feed.degrade_clip", lambda frames, *_: (frames, None))
    batch = encoder(made).encode(draw_batch(SOURCE, made, 5))
    assert torch.allclose(batch["degraded"] * 0.5, batch["clean"])
    assert len(set(batch["clip"].tolist())) == 3
    for row, number in enumerate(batch["clip"].tolist()):
        clip = make_clip(number, 24, 64)
        frames = PoolingVAE().encode(
            to_network_range(torch.from_numpy(clip.frames).permute(0, 3, 1, 2)), full_precision=True
        )
        at = [k for k in range(21) if torch.allclose(frames[k : k + 4] * 0.5, batch["clean"][row])]
        assert len(at) == 1
        other = [k for k in range(24) if torch.allclose(frames[k], batch["reference"][row])]
        assert other
        assert torch.allclose(
            batch["landmarks"][row] * 64, torch.from_numpy(clip.landmarks[at[0] : at[0] + 4]).float(), atol=1e-3
        )
        faces = torch.stack([align_face(clip.frames[k], clip.five[k], "arcface") for k in other])
        assert any(torch.allclose(face, batch["grid"][row], atol=1e-5) for face in Recogniser()(faces)[0])


def test_rows_are_damaged_as_their_task_says(weights, tmp_path):
    made = config(weights, tmp_path, clips=2)
    seen = set()
    for seed in range(12):
        drawn = draw_batch(SOURCE, made, seed)
        for row, task in enumerate(drawn["task"].tolist()):
            frames, truth = drawn["degraded"][row].float(), drawn["frames"][row % 2].float()
            assert (frames - truth).abs().mean() > 0.5
            white, grey = (frames == 255).all(-1), (frames - frames.mean(-1, keepdim=True)).abs().amax(-1) < 2
            assert bool((white & (truth < 250).any(-1)).any()) == bool(task[2])
            assert bool(grey.all()) == bool(task[1])
            seen.add(tuple(task))
    assert len(seen) == 7


def test_what_is_withheld_is_zero_as_often_as_asked(weights, tmp_path):
    """Of 600 rows: neither 0.4, only one 0.6 * 0.2; five standard deviations are allowed."""
    made = config(weights, tmp_path, clips=3, drop_both=0.4, drop_one=0.2)
    batches = encoder(made)
    drawn = draw_batch(SOURCE, made, 5)
    rows = [
        (bool(reference.any()), bool(identity))
        for seed in range(100)
        for batch in [batches.encode({**drawn, "seed": torch.tensor(seed)})]
        for reference, identity in zip(batch["reference"], batch["use_identity"], strict=True)
    ]
    for expected, found in (
        (0.4, sum(not r and not i for r, i in rows)),
        (0.06, sum(r and not i for r, i in rows)),
        (0.06, sum(i and not r for r, i in rows)),
    ):
        assert abs(found - 600 * expected) < 5 * (600 * expected * (1 - expected)) ** 0.5


def test_rows_have_noise_of_their_own(weights, tmp_path):
    made = config(weights, tmp_path)
    batch = encoder(made).encode(draw_batch(SOURCE, made, 5))
    assert torch.equal(*batch["clean"].chunk(2))
    assert len(set(batch["sigma"].tolist())) == 4
    assert not torch.equal(*batch["noise"].chunk(2))
    again = encoder(made).encode(draw_batch(SOURCE, made, 5))
    assert all(torch.equal(batch[name], again[name]) for name in batch)


def test_encodings_are_float32_under_autocast_and_of_half_networks(weights, tmp_path):
    """Clean, degraded and reference frames, and the identity."""
    made = config(weights, tmp_path, drop_both=0.0, drop_one=0.0)
    drawn = draw_batch(SOURCE, made, 5)
    recognizer = build_recognizer(RANDOM_RECOGNIZER)
    path = find("vae", [weights])
    half = load_vae(path, dtype=torch.bfloat16)
    whole = load_vae(path)
    rounded = {key: value.float() for key, value in half.network.state_dict().items()}
    whole.network.load_state_dict(rounded)
    expected = BatchEncoder(whole, recognizer, made).encode(drawn)
    with torch.autocast("cpu", torch.bfloat16):
        found = BatchEncoder(half, recognizer, made).encode(drawn)
        pixels = torch.rand(1, 3, 64, 64)
        alone = half.encode(pixels, full_precision=True)
    assert torch.equal(alone, whole.encode(pixels))
    for name in ("clean", "degraded", "reference", "grid"):
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], expected[name]), name


def test_flicker_can_be_trained(weights, tmp_path):
    """In rows of blind restoration, and in no others."""
    plain, flickering = (
        config(weights, tmp_path, **more) for more in ({}, {"brightness_flicker": 1.0, "pixel_flicker": 20.0})
    )
    for seed in range(4):
        rows = zip(*(draw_batch(SOURCE, made, seed)["degraded"] for made in (plain, flickering)), strict=True)
        tasks = draw_batch(SOURCE, plain, seed)["task"]
        for (one, other), task in zip(rows, tasks.tolist(), strict=True):
            assert torch.equal(one, other) != bool(task[0])


def test_cached_latents_are_the_same_and_encoded_once(weights, tmp_path):
    made = config(weights, tmp_path, clips=2)
    clips = [IndexedClip(f"clip{number}", "v", 24) for number in range(6)]
    vae = PoolingVAE()
    caching = encoder(made, vae, LatentCache(tmp_path / "latents", clips, 8))
    expected = {seed: encoder(made).encode(draw_batch(SOURCE, made, seed)) for seed in (1, 2, 3)}
    for turn in range(2):
        vae.encoded = 0
        for seed, batch in expected.items():
            found = caching.encode(draw_batch(SOURCE, made, seed))
            assert all(torch.equal(found[name], batch[name]) for name in batch)
        damaged = 3 * 4 * 4
        assert vae.encoded == damaged if turn else damaged < vae.encoded <= damaged + 3 * 2 * 5


def test_gradient_checkpointing_saves_less_and_changes_nothing(weights, tmp_path):
    saved = {}
    for name, on in (("with", True), ("without", False)):
        sizes = []

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.untyped_storage().nbytes())
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            train(config(weights, tmp_path / name, gradient_checkpointing=on))
        saved[name] = sum(sizes)
    assert saved["with"] < 0.4 * saved["without"]
    losses = [[row["loss"] for row in read_losses(tmp_path / name)] for name in ("with", "without")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_averaged_weights_are_exported(weights, tmp_path):
    folder = train(config(weights, tmp_path / "out", steps=3, loop={"ema": 0.9, "rate": 1e-2}))
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    names = [name for name in state["trained"]["objective"] if not name.startswith("negatives.")]
    averages = dict(zip(names, state["average"], strict=True))
    exported = unet_of(folder)["conv_in.weight"]
    assert torch.equal(exported, averages["unet.conv_in.weight"].half())
    assert not torch.equal(exported, state["trained"]["objective"]["unet.conv_in.weight"].half())
    projection = load_file(find("id_linear", [folder]))["project1024.weight"]
    assert torch.equal(projection, averages["projection.project1024.weight"].half())


def test_a_training_leaves_networks_that_load(weights, tmp_path):
    folder = train(config(weights, tmp_path / "out"))
    network = load_unet(find("unet", [folder])).network
    assert network.config.block_out_channels == load_unet(find("unet", [weights])).network.config.block_out_channels
    before, after = unet_of(weights), unet_of(folder)
    assert before.keys() == after.keys()
    assert all(value.dtype == torch.float16 for value in after.values())
    assert not torch.allclose(before["conv_in.weight"].half(), after["conv_in.weight"])
    changed = load_file(find("id_linear", [folder]))["project1024.weight"]
    assert not torch.allclose(changed, load_file(find("id_linear", [weights]))["project1024.weight"].half())
    assert (folder / "losses.png").is_file()


def test_resuming_a_training_reproduces_its_losses(weights, tmp_path):
    train(config(weights, tmp_path / "whole", steps=4))
    halves = config(weights, tmp_path / "halves", steps=4)

    class Stop(Exception):
        pass

    def stop(stage, done, total, preview):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train(halves, stop)
    train(halves)
    losses = [[(row["step"], row["loss"]) for row in read_losses(tmp_path / name)] for name in ("whole", "halves")]
    assert losses[0] == losses[1]
    assert torch.equal(*(unet_of(tmp_path / name)["conv_in.weight"] for name in ("whole", "halves")))


def test_lora_changes_the_attention_only(weights, tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft")
    folder = train(config(weights, tmp_path / "out", steps=3, lora_rank=2, loop={"rate": 1e-2}))
    before, after = unet_of(weights), unet_of(folder)
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key].half(), after[key])}
    assert changed
    assert all(any(part in key for part in (".to_q.", ".to_k.", ".to_v.", ".to_out.0.")) for key in changed)


def test_a_fresh_network_forgets_its_file(weights, tmp_path):
    folder = train(config(weights, tmp_path / "out", steps=1, fresh=True))
    assert not torch.allclose(unet_of(weights)["conv_in.weight"].half(), unet_of(folder)["conv_in.weight"], atol=1e-2)


def test_the_defaults_train_with_ulr_in_every_step_but_the_first(weights, tmp_path):
    """One clip a batch: other clips come from the steps before."""
    small = {"synthetic_clips": 50, "window": 4}
    values = {"output": str(tmp_path / "out"), "weights": str(weights), **small}
    folder = train(parse_config({**values, "loop": {"steps": 4}}))
    losses = [row["ulr"] for row in read_losses(folder)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert min(losses[1:]) > 0.01


def test_workers_change_nothing_but_who_works(weights, tmp_path):
    for count in (0, 2):
        train(config(weights, tmp_path / str(count), workers=count, steps=4))
    assert len({tuple(row["loss"] for row in read_losses(tmp_path / name)) for name in "02"}) == 1


def test_a_file_that_cannot_be_read_is_named_without_a_traceback(weights, tmp_path):
    class Broken:
        def __len__(self):
            return 4

        def draw(self, *_):
            raise InputError("the clip is gone")

    for count in (0, 1):
        with pytest.raises(InputError, match=r"^the clip is gone$"):
            next(drawn_ahead(Broken(), config(weights, tmp_path, workers=count), [1, 2]))


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match="unet"):
        train(config(tmp_path, tmp_path / "out"))


def test_an_empty_folder_of_videos_is_named(weights, tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match="holds no videos"):
        train(config(weights, tmp_path / "out", videos=str(tmp_path / "videos"), weight_prior=0))


def test_a_configuration_file_is_trained(weights, tmp_path):
    import json

    path = tmp_path / "c.json"
    values = {"output": str(tmp_path / "out"), "weights": str(weights), "window": 4, "clips": 2, "synthetic_clips": 2}
    path.write_text(json.dumps({**values, "loop": {"steps": 1, "warmup": 0}}))
    assert (train_from_file(path) / "unet.safetensors").is_file()

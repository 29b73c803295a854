"""What BFVR-STC's trainings start from: a linear map of each frame that sees brightness, and entries among latents."""

import torch

from svfr_model.stc.network import build_network, build_stage1
from svfr_model.training import stc_path
from svfr_model.training.stc_losses import CodebooksObjective
from svfr_model.training.stc_start import centres, start_books, start_frame_by_frame, start_from, start_heads

SIZES = {"ch_mult": [1, 2], "nf": 16, "emb_dim": 16, "codebook_size": 16, "groups": 4, "res_blocks": 1}


def network(seed=0):
    torch.manual_seed(seed)
    made = build_stage1(SIZES)
    start_frame_by_frame(made)
    return made


def clips(count=2, frames=3, side=16):
    return torch.rand((count, 3, frames, side, side), generator=torch.Generator().manual_seed(1))


def test_at_first_each_frame_goes_its_own_way():
    made = network()
    for block in [*made.encoder.blocks, *made.generator.blocks]:
        for layer in block.modules():
            if isinstance(layer, torch.nn.Conv3d) and layer.kernel_size[0] == 3:
                assert (layer.weight[:, :, [0, 2]] == 0).all()
    residual = made.encoder.blocks[1]
    x = torch.randn(1, 16, 3, 8, 8)
    assert torch.equal(stc_path._forward(residual)(x), x), "a branch adds nothing"


def test_at_first_brightness_is_not_lost():
    """Without constants, a normalisation would give a dark clip the latents of a bright one."""
    made, shown = network(), clips(1)
    with torch.no_grad():
        bright, dark = (stc_path.encode(made, gain * shown) for gain in (1.0, 0.5))
        assert (bright - dark).abs().mean() > 0.05 * bright.abs().mean()
        bright, dark = (stc_path.decode(made, gain * bright) for gain in (1.0, 0.5))
        assert (bright - dark).abs().mean() > 0.01


def test_centres_find_what_lies_together():
    true = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    places = true.repeat(50, 1) + 0.1 * torch.randn((150, 2), generator=torch.Generator().manual_seed(0))
    found = centres(places, 12)
    assert found.shape == (12, 2)
    assert (torch.cdist(true, found).min(1).values < 0.2).all()
    assert (torch.cdist(places, found).min(1).values < 0.3).all()
    same = torch.ones(4, 2)
    assert torch.equal(centres(same, 4), same), "an entry that nothing is nearest to stays where it was"


def test_entries_start_among_latents():
    made, shown = network(), clips()

    def error():
        with torch.no_grad():
            found = stc_path.quantise(made.quantize, stc_path.encode(made, shown))
        pairs = ((found.spatial, found.entries_s), (found.temporal, found.entries_t))
        return [float((looked_up - entry).square().mean() / looked_up.var()) for looked_up, entry in pairs]

    before = error()
    start_books(made, shown)
    after = error()
    assert all(x < 1 < y for x, y in zip(after, before, strict=True))


def test_in_our_mode_the_temporal_attention_learns_from_the_pixels():
    found = {}
    for mode in ("paper", "ours"):
        made = network()
        CodebooksObjective(made, mode, prior=0.0)(clips())["loss"].backward()
        gradient = made.quantize.SA.proj_out.weight.grad
        found[mode] = 0.0 if gradient is None else float(gradient.abs().max())
    assert found["paper"] == 0 < found["ours"]


def test_in_our_mode_the_picture_counts_tenfold():
    losses = CodebooksObjective(network(), "ours")(clips())
    told = 10 * float(losses["pixels"] + losses["perceptual"]) + float(losses["codes"] + losses["prior"])
    assert abs(float(losses["loss"].detach()) - told) < 1e-4 * told


def test_without_codes_it_is_an_autoencoder_and_the_books_stay():
    made, shown = network(), clips()
    losses = CodebooksObjective(made, "ours", prior=0.0)(shown, coded=False)
    losses["loss"].backward()
    assert float(losses["codes"]) == 0
    assert not made.quantize.embedding_s.weight.grad.any()
    with torch.no_grad():
        z = stc_path.encode(made, shown)
        looked_up = stc_path.quantise(made.quantize, z)
        expected = stc_path.decode(made, looked_up.spatial + looked_up.temporal)
    assert abs(float(losses["mse"]) - float((expected - shown).square().mean())) < 1e-6


def test_codes_are_looked_up_in_single_precision_whatever_is_trained_in():
    made, z = network(), torch.randn((1, 16, 3, 8, 8), generator=torch.Generator().manual_seed(2))
    plain = stc_path.quantise(made.quantize, z)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = stc_path.quantise(made.quantize, z)
    assert torch.equal(plain.codes_s, mixed.codes_s)
    assert torch.equal(plain.codes_t, mixed.codes_t)
    assert torch.equal(plain.use_s, mixed.use_s)


def test_heads_start_at_the_nearest_entry():
    books, shown = network(), clips(4)
    start_books(books, shown)
    shape = {**SIZES, "img_size": 16, "n_head": 1, "n_layers": 1, "connect_list": [], "residual": "frames"}
    restorer = build_network("bfr", shape)
    start_from(restorer, books)
    start_heads(restorer, shown)
    with torch.no_grad():
        z = stc_path.encode(restorer, shown)
        found = stc_path.quantise(restorer.quantize, z)
        for logits, codes in zip(stc_path.predict(restorer, z), (found.codes_s, found.codes_t), strict=True):
            majority = torch.bincount(codes.flatten()).max() / codes.numel()
            assert (logits.argmax(-1) == codes).float().mean() > max(0.6, 2 * majority)

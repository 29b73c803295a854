"""Recomputed blocks: the same gradients, a fraction of the memory; and the count of it is true."""

import sys

import pytest
import torch
from support.random_networks import RANDOM_PROJECTION, RANDOM_UNET

from svfr_model.networks.unet import PUBLISHED_CONFIG, build_unet
from svfr_model.training.recompute import recompute_blocks


@pytest.fixture(scope="module")
def memory():
    """benchmarks/training_memory.py."""
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    try:
        import training_memory
    finally:
        sys.path.pop(0)
    return training_memory


def small(memory, **changes):
    values = {"clips": 1, "frames": 4, "side": 16, "unet": RANDOM_UNET, "projection": RANDOM_PROJECTION, **changes}
    return memory.Step(**values)


def measured(memory, step):
    """Bytes that autograd really saved."""
    objective = memory.make_objective(step)
    return memory.run_forward(objective, memory.make_batch(step, objective), step)[1].bytes


def test_every_block_is_recomputed():
    with torch.device("meta"):
        assert recompute_blocks(build_unet(PUBLISHED_CONFIG)) == 16 + 22


def test_gradients_stay_the_same(memory):
    gradients = []
    for recompute in (True, False):
        torch.manual_seed(0)
        step = small(memory, clips=2, recompute=recompute, precision=torch.float32)
        objective = memory.make_objective(step)
        batch = memory.make_batch(step, objective)
        batch = {name: torch.randn_like(value) if value.dim() > 2 else value for name, value in batch.items()}
        objective(batch)["loss"].backward()
        gradients.append({name: p.grad for name, p in objective.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])
    assert any(gradients[0][name].abs().max() > 1e-4 for name in gradients[0])


def test_it_saves_most_of_the_memory(memory):
    kept, recomputed = (measured(memory, small(memory, recompute=on)) for on in (False, True))
    assert recomputed < 0.35 * kept


@pytest.mark.parametrize("changes", [{}, {"frames": 8, "lora_rank": 4}, {"clips": 2, "side": 24}])
@pytest.mark.parametrize("recompute", [True, False])
def test_the_count_is_what_autograd_saves(memory, changes, recompute):
    """Three sizes, on the CPU, whose normalisations follow the autocast's dtype."""
    if "lora_rank" in changes:
        pytest.importorskip("peft", reason="LoRA needs peft")
    step = small(memory, recompute=recompute, **changes)
    counted = memory.count_saved(step, as_cuda=False)
    assert counted == pytest.approx(measured(memory, step), rel=0.15)
    assert memory.count_saved(step, as_cuda=True) >= counted


def test_the_count_is_of_states_and_the_worst_moment(memory):
    """A small step: states as the optimizer has them, and with LoRA only the additions and heads have gradients."""
    pytest.importorskip("peft", reason="LoRA needs peft")
    whole, lora = memory.count(small(memory)), memory.count(small(memory, clips=2, lora_rank=2))
    assert 1.7 * whole.saved < lora.saved < 2.2 * whole.saved
    assert whole.optimiser == 2 * whole.parameters == 2 * whole.gradients
    assert whole.total > whole.parameters + whole.gradients + whole.optimiser + whole.average + whole.frozen
    assert lora.gradients < 0.9 * whole.gradients
    assert lora.parameters > whole.parameters


@pytest.mark.slow
def test_full_size_fits_the_cards_that_the_page_names(memory):
    """LoRA with two clips in 24 GB, all weights with one clip in 80 GB."""
    assert memory.count(memory.Step(clips=2, lora_rank=16)).total < 24e9
    assert memory.count(memory.Step(clips=1)).total < 80e9

"""The training loop: resuming changes nothing, averages are averages, and mistakes are named."""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from svfr_model.base.errors import InputError
from svfr_model.training.loop import Loop, LoopOptions, learning_rate, plot_losses, read_losses, step_seed

pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")


class Stop(Exception):
    pass


def stop_at(number):
    """A callback that ends the run when so many steps are done."""

    def stop(stage, done, total, preview):
        if done == number:
            raise Stop

    return stop


def make_loop(folder, **settings):
    torch.manual_seed(4)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1)
    )

    def step(modules, seed, number):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(seed))
        return {"loss": (modules["net"](x) - x.sum(1, keepdim=True)).pow(2).mean()}

    options = LoopOptions(
        **{"steps": 30, "rate": 1e-2, "warmup": 3, "ema": 0.9, "save_every": 10, "seed": 5, **settings}
    )
    return Loop({"net": network}, step, options, folder)


class Frozen(torch.nn.Module):
    """A large part that is not trained, a small one that is, and a count of its calls."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.large, self.small = torch.nn.Linear(64, 64).requires_grad_(False), torch.nn.Linear(64, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.small(self.large(x))


def frozen_loop(folder, **settings):
    """Its step depends on every global generator, and on how often it was called."""

    def step(modules, seed, number):
        noise = np.random.rand() + random.random() + float(torch.rand(()))
        found = modules["net"](torch.full((4, 64), float(noise)))
        return {"loss": (found - modules["net"].calls).pow(2).mean()}

    return Loop({"net": Frozen()}, step, LoopOptions(**{"steps": 9, "warmup": 0, "save_every": 3, **settings}), folder)


def use_scaler(loop, scaler):
    """What accelerate sets up for fp16 on a GPU, on the CPU."""
    from accelerate.optimizer import AcceleratedOptimizer

    loop.accelerator.scaler = scaler
    loop.accelerator.native_amp = True
    loop.optimizer = AcceleratedOptimizer(loop.optimizer.optimizer, scaler=scaler)
    loop.accelerator._optimizers = [loop.optimizer]
    loop.accelerator.state._mixed_precision = "fp16"
    loop.accelerator.autocast = nullcontext


def losses_of(folder):
    return [(row["step"], row["loss"]) for row in read_losses(folder)]


@pytest.mark.parametrize("at", [10, 14])
def test_resuming_reproduces_the_loss_curve(tmp_path, at):
    whole = make_loop(tmp_path / "whole")
    whole.run()
    broken = make_loop(tmp_path / "broken")
    with pytest.raises(Stop):
        broken.run(stop_at(at))
    resumed = make_loop(tmp_path / "broken")
    assert resumed.done == at // 10 * 10 - (10 if at == 10 else 0)
    resumed.run()
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(resumed.average, whole.average, strict=True))


def test_resuming_puts_back_buffers_and_every_generator(tmp_path):
    np.random.seed(1)
    random.seed(1)
    frozen_loop(tmp_path / "whole").run()
    np.random.seed(1)
    random.seed(1)
    with pytest.raises(Stop):
        frozen_loop(tmp_path / "broken").run(stop_at(4))
    np.random.seed(2)
    random.seed(2)
    resumed = frozen_loop(tmp_path / "broken")
    assert resumed.done == 3
    resumed.run()
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "whole")


def test_a_checkpoint_leaves_out_what_is_frozen(tmp_path):
    frozen_loop(tmp_path).run()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(state["trained"]["net"]) == {"small.weight", "small.bias", "calls"}
    assert [a.numel() for a in state["average"]] == [64, 1]


@pytest.mark.parametrize("at", [4, 7])
def test_resuming_is_exact_with_a_loss_scaler_too(tmp_path, monkeypatch, at):
    """The scale grows every second step: a new scaler would begin anew, and its first steps overflow."""

    def scaler():
        return torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_factor=4.0, growth_interval=2)

    def resume_with_scaler(loop):
        use_scaler(loop, scaler())
        return original(loop)

    original = Loop._resume
    monkeypatch.setattr(Loop, "_resume", resume_with_scaler)
    whole = make_loop(tmp_path / "whole", steps=9, save_every=3)
    use_scaler(whole, scaler())
    whole.run()
    broken = make_loop(tmp_path / "broken", steps=9, save_every=3)
    use_scaler(broken, scaler())
    with pytest.raises(Stop):
        broken.run(stop_at(at))
    resumed = make_loop(tmp_path / "broken", steps=9, save_every=3)
    resumed.run()
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "whole")
    assert resumed.accelerator.scaler.get_scale() == whole.accelerator.scaler.get_scale() != 2.0**120
    assert all(torch.equal(a, b) for a, b in zip(resumed.average, whole.average, strict=True))


def test_batches_are_drawn_outside_of_autocast(tmp_path):
    seen = []

    def draw(seed, number):
        seen.append(torch.is_autocast_enabled("cpu"))
        return torch.full((2, 3), float(number))

    def step(modules, given, number):
        seen.append(torch.is_autocast_enabled("cpu"))
        assert given[0, 0] == number
        return {"loss": modules["net"](given).sum()}

    options = LoopOptions(steps=2, accumulate=2, mixed_precision="bf16")
    Loop({"net": torch.nn.Linear(3, 1)}, step, options, tmp_path, draw).run()
    assert seen == [False, True] * 4


def test_seeds_are_those_of_the_steps_that_are_left(tmp_path):
    asked = []

    def draw(seed, number):
        asked.append(seed)
        return torch.ones(1, 3)

    def step(modules, given, number):
        return {"loss": modules["net"](given).sum()}

    def make(steps):
        options = LoopOptions(steps=steps, accumulate=2, save_every=1)
        return Loop({"net": torch.nn.Linear(3, 1)}, step, options, tmp_path, draw)

    foretold = list(make(3).seeds())
    make(2).run()
    again = make(3)
    assert list(again.seeds()) == foretold[4:]
    again.run()
    assert asked == foretold


def test_half_precision_without_a_gpu_is_named(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=r"mixed_precision is 'fp16', which needs a GPU.*use bf16"):
        Loop({"net": torch.nn.Linear(3, 1)}, lambda *_: {}, LoopOptions(mixed_precision="fp16"), tmp_path)


def test_a_finished_training_is_not_trained_again(tmp_path):
    make_loop(tmp_path).run()
    again = make_loop(tmp_path)
    again.run()
    assert again.done == 30
    assert len(losses_of(tmp_path)) == 30


def test_the_loss_falls(tmp_path):
    make_loop(tmp_path, steps=80).run()
    values = [loss for _, loss in losses_of(tmp_path)]
    assert sum(values[-10:]) < 0.3 * sum(values[:10])


def test_averages_follow_the_weights(tmp_path):
    loop = make_loop(tmp_path, steps=1, ema=0.999)
    start = [a.clone() for a in loop.average]
    loop.run()
    for before, now, average in zip(start, loop._trained, loop.average, strict=True):
        assert torch.allclose(average, before + (1 - 0.1) * (now - before), atol=1e-6)
    loop.averaged()
    assert all(torch.equal(p, a) for p, a in zip(loop.plain("net").parameters(), loop.average, strict=True))


def test_accumulated_parts_make_one_step(tmp_path):
    """Two halves differ from one whole only in their samples: the loss reported is their mean."""
    seen = []

    def step(modules, seed, number):
        seen.append(seed)
        return {"loss": modules["net"](torch.ones(1, 3)).sum() * 0 + float(len(seen))}

    Loop({"net": torch.nn.Linear(3, 1)}, step, LoopOptions(steps=1, accumulate=2), tmp_path).run()
    assert len(set(seen)) == 2
    assert losses_of(tmp_path) == [(0, 1.5)]


def test_other_networks_checkpoints_are_refused(tmp_path):
    make_loop(tmp_path).run()
    with pytest.raises(InputError, match="other networks"):
        Loop({"other": torch.nn.Linear(2, 2)}, lambda *_: {}, LoopOptions(), tmp_path)


def test_a_lost_training_says_so(tmp_path):
    def step(modules, seed, number):
        return {"loss": modules["net"](torch.ones(1, 3)).sum() * float("nan")}

    with pytest.raises(InputError, match="lower the rate"):
        Loop({"net": torch.nn.Linear(3, 1)}, step, LoopOptions(steps=3), tmp_path).run()


def test_the_rate_rises_and_falls():
    options = LoopOptions(steps=100, rate=1.0, warmup=10, final_rate=0.1)
    rates = [learning_rate(options, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_seeds_of_steps_and_processes_differ():
    seeds = {step_seed(1, step, process, part) for step in range(20) for process in range(2) for part in range(2)}
    assert len(seeds) == 80
    assert step_seed(1, 2, 0) == step_seed(1, 2, 0)


def test_the_plot_is_a_picture(tmp_path):
    import cv2

    make_loop(tmp_path).run()
    picture = cv2.imread(str(tmp_path / "losses.png"))
    assert picture.shape == (540, 960, 3)
    assert (picture < 100).any()
    assert plot_losses(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"rate": 0.0}, {"ema": 1.0}, {"mixed_precision": "fp8"}, {"accumulate": 0}]
)
def test_bad_options_are_named(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        LoopOptions(**settings)

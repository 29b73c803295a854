"""ComfyUI's own accelerators on our MODEL: refused by name, or without compiling again and again."""

from __future__ import annotations

import comfy_extras.nodes_easycache
import comfy_extras.nodes_torch_compile
import pytest
import torch
from near import assert_near
from svfr_pack.nodes.model import ComfyBackend, load_model
from svfr_pack.svfr_model.base.errors import InputError

try:
    from comfy_api.torch_helpers import set_torch_compile_wrapper
except ImportError:  # older than the node that uses it
    set_torch_compile_wrapper = None


def call(patcher, rows):
    """One call with the first rows of two windows of 5 frames."""
    generator = torch.Generator().manual_seed(1)
    shapes = (2, 5, 4, 4, 6), (2, 5, 4, 4, 6), (2, 4, 4, 6), (2, 49, 32)
    x, *given = (torch.randn(shape, generator=generator)[:rows] for shape in shapes)
    backend = ComfyBackend(patcher)
    with backend.load(5, 4, 6):
        return backend(x, 3.0, *given, torch.tensor([1.0, 0.0, 1.0]))


@pytest.mark.parametrize("name", ["EasyCache", "LazyCache"])
def test_caches_of_steps_are_refused_by_name(tiny_unet, name):
    """What they would reuse belongs to the windows of another step."""
    node = getattr(comfy_extras.nodes_easycache, f"{name}Node")
    patched = node.execute(load_model(tiny_unet, "fp32"), 0.2, 0.15, 0.95, False).args[0]
    with pytest.raises(InputError, match=f"{name} is attached to this MODEL"):
        ComfyBackend(patched)


def test_a_compiled_model_sees_one_row_at_a_time(tiny_unet, monkeypatch):
    """So that it is not compiled for one row and for two."""
    plain = load_model(tiny_unet, "fp32")
    compiled = plain.clone()
    compiled.model_options["torch_compile_kwargs"] = {}
    seen, apply = [], plain.model.apply_model
    expected = call(plain, 2)

    def applied(x, *given, **more):
        seen.append(len(x))
        return apply(x, *given, **more)

    monkeypatch.setattr(plain.model, "apply_model", applied)
    assert_near(call(compiled, 2), expected, 1e-5)
    assert seen == [5, 5]


@pytest.mark.slow  # two minutes of tracing
@pytest.mark.skipif(set_torch_compile_wrapper is None, reason="this ComfyUI compiles in another way")
def test_torch_compile_compiles_once_for_calls_of_one_and_two_rows(tiny_unet):
    graphs = []

    def counting(graph, _, **__):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    plain = load_model(tiny_unet, "fp32")
    compiled = plain.clone()
    skip = comfy_extras.nodes_torch_compile.skip_torch_compile_dict
    set_torch_compile_wrapper(model=compiled, backend=counting, options={"guard_filter_fn": skip})
    expected = call(plain, 2)
    assert_near(call(compiled, 2), expected, 1e-5)
    count = len(graphs)
    assert count > 0
    assert_near(call(compiled, 1), expected[:1], 1e-5)
    assert_near(call(compiled, 2), expected, 1e-5)
    assert len(graphs) == count

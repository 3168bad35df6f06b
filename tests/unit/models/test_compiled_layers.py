"""Compiled layers give the states and gradients of plain ones, and are compiled once for all of them."""

import pytest
import torch
from pydantic import ValidationError
from torch._dynamo.utils import counters
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from tests.unit.models.test_supervised_forward import gradients, llm_of, padded
from vlmscale.models import supervised_forward
from vlmscale.models.supervised_forward import compile_layers, compute_supervised_states
from vlmscale.settings import Execution
from vlmscale.training.stages import train_stage


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        pytest.skip(f"torch.compile finds no C++ compiler: {error}")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own parts
def test_compiled_layers_equal_plain_ones():
    llm = llm_of("qwen2")
    found = []
    for _ in range(2):
        for mask in ("padded", "apart"):
            embeds, which, seen, positions = padded(mask)
            embeds.requires_grad_()
            states = compute_supervised_states(
                llm, embeds, which, seen, positions, packing="packed"
            )
            found.append([states, *(g.clone() for g in gradients(llm, embeds, states))])
        compile_layers(llm)  # for the second round
    assert len(found) == 4
    assert counters["stats"]["unique_graphs"] == 2, (
        "one of each part, for three layers and two lengths"
    )
    for plain, compiled in zip(found[:2], found[2:], strict=True):
        assert not torch.equal(plain[1], compiled[1]), "nothing was compiled"
        for theirs, mine in zip(plain, compiled, strict=True):
            atol = 1e-5 * max(1, theirs.abs().max().item())
            torch.testing.assert_close(mine, theirs, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("chosen", [True, False])
def test_a_training_compiles_where_its_config_says_so(spec, monkeypatch, chosen):
    ran = []
    compiled = lambda part, dynamic: lambda *args: ran.append(part.__name__) or part(*args)  # noqa: E731
    monkeypatch.setattr(supervised_forward.torch, "compile", compiled)
    train_stage(spec("compiled", execution={"compile": chosen}))
    assert set(ran) == ({"_project", "_finish"} if chosen else set())


def test_what_zero_3_splits_is_not_compiled():
    with pytest.raises(ValidationError, match=r"compile: true needs whole weights.* zero: 2"):
        Execution(compile=True, zero=3)

"""A step makes the host wait for the GPU only where SITES says so.

A wait leaves the GPU idle while the host queues its next kernels. Torch's sync debug mode warns of each on
CUDA. As it is silent on CPUs, operations that would wait there are found by their names, on every device.
"""

import traceback
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.gpu.tiny import make_spec
from vlmscale.methods import list_method_names
from vlmscale.training.stages import train_stage
from vlmscale.training.trainer import BatchTrainer

# Operations whose result, or its shape, the host reads.
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")
# (file, function) of vlmscale in which a step may wait, and why.
SITES = {
    ("training/trainer.py", "compute_loss"): "stops at a loss that is not finite",
    ("models/supervised_forward.py", "_attends_to_itself"): "refuses masked supervised positions",
    ("models/supervised_forward.py", "of"): "the number of chosen tokens is a shape",
    ("models/supervised_forward.py", "compute_supervised_states"): "the same, of the last layer",
    ("models/vlm.py", "forward"): "labels of supervised positions, whose number is a shape",
    ("models/vlm_model.py", "forward"): "states of these, for a method inside the LLM",
    ("models/vlm_model.py", "find_places"): "refuses placeholders without a visual token",
    ("models/vlm_model.py", "encode_images"): "counts of visual tokens are shapes",
    ("models/vlm_model.py", "encode_questions"): "transformers looks for padding in the mask",
    ("training/loop.py", "optimise"): "gradients of what a mask chose, in Trainer's backward pass",
    ("models/vlm_model.py", "mask_absent_tokens"): "writes to the placeholders",
}


class HostReads(TorchDispatchMode):
    """Note the function of vlmscale that runs an operation in READS, or indexes by a mask."""

    def __init__(self):
        super().__init__()
        self.sites = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in READS or by_mask:
            self.sites.add(find_site())
        return func(*args, **(kwargs or {}))


def find_site():
    """Return (file, function) of vlmscale's innermost frame."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if "/src/vlmscale/" in path:
            return path.partition("/src/vlmscale/")[2], frame.name
    return "outside vlmscale", ""


def watch_steps(monkeypatch, sites):
    """Let every step after the first add to `sites` where the host reads or waits."""
    step = BatchTrainer.training_step

    def watched(self, model, inputs, *args, **kwargs):
        if self.state.global_step == 0:  # caches are filled, kernels chosen
            return step(self, model, inputs, *args, **kwargs)
        inputs = self._prepare_inputs(inputs)
        with HostReads() as reads:
            loss = step(self, model, inputs, *args, **kwargs)
        sites.update(reads.sites)
        return loss

    monkeypatch.setattr(BatchTrainer, "training_step", watched)


@pytest.mark.parametrize("kind", ["stage1", "stage2"])
@pytest.mark.parametrize("name", list_method_names())
def test_the_host_reads_only_where_it_is_named(device, parts, tmp_path, monkeypatch, name, kind):
    sites = set()
    watch_steps(monkeypatch, sites)
    train_stage(make_spec(parts, tmp_path / "run", name, kind, recipe={"steps": 2}))
    assert ("training/trainer.py", "compute_loss") in sites, "nothing was watched"
    assert sites <= set(SITES)


@pytest.mark.parametrize("kind", ["stage1", "stage2"])
@pytest.mark.parametrize("name", list_method_names())
def test_cuda_waits_only_where_it_is_named(device, parts, tmp_path, monkeypatch, name, kind):
    if device.type == "cpu":
        pytest.skip("torch warns of waits on CUDA alone")
    sites, step, show = set(), BatchTrainer.training_step, warnings.showwarning

    def note(message, *args, **kwargs):
        if "synchronizing CUDA operation" in str(message):
            sites.add(find_site())
        else:
            show(message, *args, **kwargs)

    def watched(self, model, inputs, *args, **kwargs):
        if self.state.global_step == 0:
            return step(self, model, inputs, *args, **kwargs)
        inputs = self._prepare_inputs(inputs)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            return step(self, model, inputs, *args, **kwargs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(BatchTrainer, "training_step", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        train_stage(make_spec(parts, tmp_path / "run", name, kind, recipe={"steps": 2}))
    assert ("training/trainer.py", "compute_loss") in sites, "nothing was watched"
    assert sites <= set(SITES)

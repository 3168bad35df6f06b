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
from vlmscale.models import supervised_forward
from vlmscale.training.loop import _Bookkeeping
from vlmscale.training.stages import train_stage
from vlmscale.training.trainer import BatchTrainer

# Operations whose result, or its shape, the host reads. An index by a mask is a shape, too.
READS = ("_local_scalar_dense", "nonzero", "masked_select", "masked_scatter_backward", "unique")
READS += ("equal",)
SCALAR, SHAPE = "_local_scalar_dense", "nonzero"
# Where a step may wait, in vlmscale or in transformers, for which operations, and why.
SITES = {
    ("training/trainer.py", "compute_loss"): ({SCALAR}, "stops at a loss that is not finite"),
    ("models/supervised_forward.py", "_attends_to_itself"): (
        {SCALAR},
        "refuses masked supervised positions",
    ),
    ("models/chosen_tokens.py", "of"): ({SCALAR, SHAPE}, "the number of chosen tokens"),
    ("models/supervised_forward.py", "compute_supervised_states"): (
        {SHAPE},
        "rows of supervised tokens among the chosen ones",
    ),
    ("models/chosen_tokens.py", "pick_tokens"): (
        {SHAPE},
        "states of supervised positions, for a method inside the LLM",
    ),
    ("models/packed_attention.py", "of_mask"): (
        {SCALAR, SHAPE},
        "the number of runs, of their keys, and the longest",
    ),
    ("models/vlm.py", "forward"): ({"index"}, "labels of supervised positions"),
    ("models/vlm_model.py", "find_places"): (
        {SCALAR},
        "refuses placeholders without a visual token",
    ),
    ("models/vlm_model.py", "encode_images"): ({SCALAR}, "counts of an elastic method"),
    ("models/vlm_model.py", "encode_questions"): ({SCALAR}, "transformers looks for padding"),
    ("models/vlm_model.py", "mask_absent_tokens"): (
        {"index_put_"},
        "the mask of tokens that an image lacks",
    ),
    ("models/projectors/llava_mini.py", "prepare_llm_input"): (
        {SHAPE},
        "which sequences have an image",
    ),
    ("models/layer_pruning.py", "cut"): ({SCALAR}, "whether a token is removed at all"),
    ("models/token_removal.py", "of"): ({SCALAR}, "the most tokens that a sequence keeps"),
    ("models/projectors/visionzip.py", "merge_by_keys"): (
        {SCALAR},
        "one_hot checks its classes on CPUs",
    ),
    ("transformers: trainer.py", "training_step"): (
        {"masked_scatter_backward"},
        "the number of visual tokens, in their gradients",
    ),
    ("transformers: trainer.py", "_maybe_log_save_evaluate"): (
        {SCALAR},
        "the mean loss and the norm of gradients, in fifty steps of a training",
    ),
}


class HostReads(TorchDispatchMode):
    """Note where an operation in READS runs, or an index by a mask, and its name."""

    def __init__(self):
        super().__init__()
        self.sites = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in READS or by_mask:
            self.sites.add((find_site(), name))
        return func(*args, **(kwargs or {}))


class WarningReads(HostReads):
    """Warn of the same operations on the CPU, in the words of torch's sync debug mode."""

    on = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before, self.sites = self.sites, set()
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self.sites:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
        self.sites |= before
        return result

    def switch(self, mode):
        if (mode == "warn") != self.on:
            self.on = not self.on
            self.__enter__() if self.on else self.__exit__(None, None, None)


def find_site():
    """Return (file, function) of vlmscale's innermost frame; of Trainer's where Trainer runs by itself."""
    trainers = None
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if path.endswith("transformers/trainer.py") and trainers is None:
            trainers = "transformers: trainer.py", frame.name
        if "/src/vlmscale/" in path:
            file = path.partition("/src/vlmscale/")[2]
            by_trainer = (file, frame.name) == ("training/loop.py", "optimise")
            return trainers if by_trainer and trainers else (file, frame.name)
    return "outside vlmscale", ""


def watch_second_step(monkeypatch, enter, leave):
    """Call `enter` when the second step of a training has its samples, and `leave` at its end.

    In the first step caches are filled and kernels chosen. Collating reads tensors of the host only.
    """
    take, end = BatchTrainer.get_batch_samples, _Bookkeeping.on_step_end

    def enter_with_samples(self, *args):
        samples = take(self, *args)
        if self.state.global_step == 1:
            enter()
        return samples

    def leave_at_the_end(self, args, state, *rest, **kwargs):
        if state.global_step == 2:
            leave()
        return end(self, args, state, *rest, **kwargs)

    monkeypatch.setattr(BatchTrainer, "get_batch_samples", enter_with_samples)
    monkeypatch.setattr(_Bookkeeping, "on_step_end", leave_at_the_end)


CASES = [
    (name, kind, turns)
    for name in list_method_names()
    for kind, turns in (("stage1", "joined"), ("stage2", "joined"))
] + [("tokenpacker", "stage2", "apart")]


@pytest.mark.parametrize("packing", ["padded", "packed"])
@pytest.mark.parametrize(("name", "kind", "turns"), CASES)
def test_the_host_reads_only_where_it_is_named(
    device, parts, tmp_path, monkeypatch, name, kind, turns, packing
):
    if packing == "packed" and (kind == "stage1" or name != "tokenpacker"):
        pytest.skip("attention of a training step does not depend on the method")
    monkeypatch.setattr(supervised_forward, "_choose_packing", lambda *_: packing)
    reads = HostReads()
    ended = []

    def leave():
        reads.__exit__(None, None, None)
        ended.append(True)

    watch_second_step(monkeypatch, reads.__enter__, leave)
    train_stage(make_spec(parts, tmp_path / "run", name, kind, recipe={"steps": 3, "turns": turns}))
    assert ended
    assert (("training/trainer.py", "compute_loss"), SCALAR) in reads.sites, "nothing was watched"
    assert reads.sites <= {(site, one) for site, (names, _) in SITES.items() for one in names}


WARNED_ON_CPU = (("tokenpacker", "stage2"), ("fastv", "stage2"), ("m3", "stage1"))


@pytest.mark.parametrize(("name", "kind", "turns"), CASES)
def test_cuda_waits_only_where_it_is_named(device, parts, tmp_path, monkeypatch, name, kind, turns):
    if device.type == "cpu":
        if (name, kind) not in WARNED_ON_CPU:
            pytest.skip("torch warns of waits on CUDA alone; a few cases rehearse it")
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", WarningReads().switch)
    sites, show = set(), warnings.showwarning

    def note(message, *args, **kwargs):
        if "synchronizing CUDA operation" in str(message):
            sites.add(find_site())
        else:
            show(message, *args, **kwargs)

    def switch(mode):
        return lambda: torch.cuda.set_sync_debug_mode(mode)

    watch_second_step(monkeypatch, switch("warn"), switch("default"))
    recipe = {"steps": 3, "turns": turns, "precision": "bf16"}
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        try:
            train_stage(make_spec(parts, tmp_path / "run", name, kind, recipe=recipe))
        finally:
            switch("default")()
    assert ("training/trainer.py", "compute_loss") in sites, "nothing was watched"
    assert sites <= set(SITES)

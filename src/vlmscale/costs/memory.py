"""What a training step needs of a GPU's memory, in bytes, from shapes alone; no torch, no data frame.

Mixed precision of DeepSpeed's ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1): weights and
gradients in bf16, and in fp32 a copy of the weights and Adam's two moments, K = 12 bytes for each trained
weight. One process, and several without ZeRO, train by torch's autocast: trained weights, gradients and
moments in fp32, and a 16-bit copy of each weight from the forward pass until its gradient is there.
Activations are what Llama, Qwen2 and Qwen3 keep in a training pass (models/supervised_forward.py)
with packed attention, if all positions are supervised, counted tensor by tensor, after Korthikanti et al.
2022 (arXiv 2205.05198, section 4.1), whose count is of another block. It is an estimate for planning:
run.json has what a real run needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vlmscale.costs.flops import DEFAULTS, compressor_parameters
from vlmscale.costs.shapes import Decoder, Tower
from vlmscale.settings import Stage

HALF, FULL = 2, 4  # bytes of bf16 and fp32
_ADAM = 3 * FULL  # a copy of the weight, two moments
# DeepSpeed's stage3_max_live_parameters, its default: so many gathered weights may wait to be used again.
_GATHERED = 1_000_000_000
# With overlap_comm DeepSpeed holds 4.5 times its two buckets (transformers' page on DeepSpeed), each the
# square of the LLM's width where a config says "auto".
_BUCKETS = 2 * 4.5

# Our assumption until runs were measured: a tenth goes to CUDA, NCCL and gaps between tensors.
USABLE = 0.9


@dataclass(frozen=True)
class Layout:
    """How a step is spread over GPUs."""

    gpus: int
    zero: Literal[0, 2, 3]  # what they share by ZeRO; with 0 each has all
    sequences: int  # a GPU takes at once, each copy of a sample counted (Method.count_copies)
    max_length: int = 2048  # positions of a sequence, visual tokens included
    checkpointing: bool = True  # blocks of the LLM keep their input only, and run again
    passes: int = 1  # forward and backward, of a step

    @property
    def autocast(self) -> bool:
        """Whether torch's autocast makes 16-bit copies of fp32 weights; else DeepSpeed keeps both."""
        return not self.zero or self.gpus == 1


@dataclass(frozen=True)
class GpuMemory:
    """Bytes on each GPU."""

    parameters: float  # with what ZeRO-3 has gathered
    gradients: float
    optimizer: float
    communication: float
    activations: float  # kept for the backward pass, and the most that is made beside them
    copies: float  # 16-bit ones of weights, by autocast, beside the activations
    update: (
        float  # when activations are gone: the gradients in fp32 that `gradients` does not count
    )

    @property
    def total(self) -> float:
        kept = self.parameters + self.gradients + self.optimizer + self.communication
        return kept + max(self.copies + self.activations, self.update)


def gpu_memory(
    decoder: Decoder,
    tower: Tower,
    method: str,
    visual_tokens: int,
    stage: Stage,
    layout: Layout,
    options: Mapping[str, str] = DEFAULTS,
) -> GpuMemory:
    """Return the most that a GPU holds during a step of one cell's training.

    All sequences are taken as long as the layout allows; most real batches are shorter. Raises UserError
    for a count the method cannot give.
    """
    width = decoder.hidden_size
    compressor = compressor_parameters(
        method,
        visual_tokens,
        tower=tower,
        llm_width=width,
        layer_parameters=decoder.layer_parameters,
        options=options,
    )
    llm = decoder.total_b * 1e9
    everything = compressor + llm + round(tower.total_b * 1e9)
    trained = compressor + (llm if stage == "stage2" else 0)
    kept = layout.sequences * compressor_activations(tower, width)
    kept += decoder_activations(
        decoder,
        layout.sequences,
        layout.max_length,
        trained=stage == "stage2",
        checkpointing=layout.checkpointing,
    )
    if layout.autocast:
        # An embedding that is no head is looked up in fp32.
        looked_up = 0 if decoder.tied_head else decoder.vocabulary * width
        copied = trained - looked_up if stage == "stage2" else trained
        last_block = layout.sequences * layout.max_length * _made_in_block(decoder)
        gradients = FULL * trained
        return GpuMemory(
            parameters=HALF * everything + HALF * trained,
            # Those of a step's only pass grow while activations shrink.
            gradients=gradients if layout.passes > 1 else 0,
            optimizer=2 * FULL * trained,
            communication=0 if layout.gpus == 1 else gradients,  # DistributedDataParallel's buckets
            activations=kept,
            copies=HALF * copied,
            update=last_block + (gradients if layout.passes == 1 else 0),
        )
    share = 1 / layout.gpus
    if layout.zero < 3:
        parameters = HALF * everything
    else:
        parameters = HALF * (everything * share + min(everything, _GATHERED))
    return GpuMemory(
        parameters=parameters,
        gradients=HALF * trained * share,
        optimizer=_ADAM * trained * share,
        communication=HALF * _BUCKETS * width**2,
        activations=kept,
        copies=0,
        update=FULL * trained * share,
    )


def decoder_activations(
    decoder: Decoder, sequences: int, length: int, *, trained: bool, checkpointing: bool
) -> float:
    """Return bytes at the peak of a pass through the LLM, forward and backward, over padded sequences.

    trained: whether its weights are trained; a frozen LLM keeps less, since no weight needs its input.
    Gradients of weights are not included.
    """
    h, f = decoder.hidden_size, decoder.intermediate_size
    q, kv = decoder.attention_width, decoder.key_value_width
    # A norm keeps its input in fp32; to learn, also what its weight scales, and its output.
    norm = (FULL + 2 * HALF if trained else FULL) * h
    # Queries, keys, values and output, and each head's log-sum in fp32.
    attention = HALF * (2 * q + 2 * kv) + FULL * decoder.heads
    if decoder.head_norms:
        attention += (FULL + 2 * HALF if trained else FULL) * (q + kv)
    # Gate before and after its activation, up; to learn, their product.
    mlp = HALF * (4 if trained else 3) * f
    block = 2 * norm + attention + mlp
    # In the head, in fp32, the log-softmax, its gradient and that of the logits.
    made = _made_in_block(decoder)
    head = norm + 3 * FULL * decoder.vocabulary
    if checkpointing:
        kept, most = HALF * h * decoder.layers, max(head, block + made)
    else:
        kept, most = block * decoder.layers, max(head, made)
    return sequences * length * (kept + most)


def _made_in_block(decoder: Decoder) -> float:
    """Return bytes a position of what a block's backward pass makes beside what was kept.

    The gradients of three wide tensors of the MLP and of the stream, and in the last block what is learned
    of the stream and its norm.
    """
    h, f = decoder.hidden_size, decoder.intermediate_size
    return HALF * (3 * f + 2 * h) + FULL * h


def answer_memory(
    decoder: Decoder, positions: float, *, tower: Tower | None, compressor: float
) -> float:
    """Return bytes that one answer takes; arguments as of answer_memory_lines.

    positions: of text, image and answer in the LLM.
    """
    lines = answer_memory_lines(decoder, tower=tower, compressor=compressor)
    return max(fixed + each * positions for fixed, each in lines)


def answer_memory_lines(
    decoder: Decoder, *, tower: Tower | None, compressor: float
) -> list[tuple[float, float]]:
    """Return what one answer takes in 16 bits, batch 1, as lines (bytes, bytes a position).

    It takes the largest of them: weights, keys and values, and activations of the LLM or of the tower.
    tower: None where its features are stored. compressor: parameters of the projector. A tenth is left for
    CUDA and gaps, as in training.
    """
    h, f = decoder.hidden_size, decoder.intermediate_size
    weights = HALF * (1e9 * decoder.total_b + compressor)
    cache = decoder.key_value_bytes
    # Of one block at a time: the stream and its copy, queries to output, gate and up with their product.
    activations = [(float(FULL * decoder.vocabulary), HALF * (6 * h + 3 * f))]
    if tower is not None:
        weights += HALF * 1e9 * tower.total_b
        width = 6 * tower.hidden_size + 2 * tower.intermediate_size
        activations.append((HALF * (tower.special_positions + tower.patches) * width, 0))
    return [((weights + fixed) / USABLE, (cache + each) / USABLE) for fixed, each in activations]


def compressor_activations(tower: Tower, llm_width: int) -> float:
    """Return the most bytes that a projector of any method keeps for one image.

    What reads most of the tower is a key and a value for each patch from all selected layers, each by a
    two-layer MLP, their attention, and a query as fine as the patches; what writes most is an MLP on each
    patch at the LLM's width.
    """
    read = (2 * tower.feature_layers + 20) * tower.hidden_size
    return HALF * tower.patches * (read + 3 * llm_width)

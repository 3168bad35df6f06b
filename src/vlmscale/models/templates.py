"""Templates: the fixed text around what the human and the assistant say."""

import json
from dataclasses import asdict, dataclass, replace

from vlmscale.settings import PromptLayout


@dataclass(frozen=True, kw_only=True)
class Template:
    """Fixed strings around what the human and the assistant say, in their order.

    A prompt ends with `answer_open`. `answer_lead` and `answer_close` are supervised with the answer:
    the model learns to stop by the second.
    """

    system: str = ""
    human_open: str = ""
    human_close: str = ""
    answer_open: str = ""
    answer_lead: str = ""
    answer_close: str
    answer_after: str = ""
    # Tokens that are always supervised. If there are any, `answer_open` is supervised, too.
    supervised_marks: tuple[str, ...] = ()
    # Whether a turn that begins with the image stays as it is, without a line of its own for the image.
    keeps_leading_image: bool = False
    # Whether questions and answers lose the spaces and line ends around them.
    trims: bool = False

    @property
    def strings(self) -> tuple[str, ...]:
        """Return all text that the template adds, in its order."""
        return tuple(text for text in asdict(self).values() if isinstance(text, str))

    def write_jinja(self, layout: PromptLayout = "image_first") -> str:
        """Write the template for transformers' `apply_chat_template`: the same prompts as `encode_all`."""
        jinja = _JINJA if layout == "image_first" else _JINJA.replace(_IMAGE_FIRST, _TEXT_FIRST)
        return "{% set template = " + json.dumps(asdict(self)) + " %}" + jinja


_JINJA = """{{ template.system }}
{%- for message in messages %}
    {%- set parts = message.content %}
    {%- if parts is string %}
        {%- set parts = [{"type": "text", "text": parts}] %}
    {%- endif %}
    {%- set text = parts | selectattr("type", "equalto", "text") | map(attribute="text") | join %}
    {%- set images = parts | selectattr("type", "equalto", "image") | list | length %}
    {%- set images = images + text.count("<image>") %}
    {%- set said = text | replace("<image>", "") %}
    {%- if template.trims %}
        {%- set said = said | trim %}
    {%- endif %}
    {%- if message.role == "user" and images < 2 %}
        {{- template.human_open }}
        {{- ("<image>\n" + said | trim) | trim if images else said }}
        {{- template.human_close }}
        {%- if add_generation_prompt or not loop.last %}
            {{- template.answer_open }}
        {%- endif %}
    {%- elif message.role == "assistant" and not images %}
        {{- template.answer_lead + said + template.answer_close + template.answer_after }}
    {%- else %}
        {{- raise_exception("Leave out the system prompt, which is the training's, and other images.") }}
    {%- endif %}
{%- endfor %}"""

# In the template above.
_IMAGE_FIRST, _TEXT_FIRST = '("<image>\n" + said | trim)', '(said | trim + "\n<image>")'

_QWEN = Template(
    system="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    human_open="<|im_start|>user\n",
    human_close="<|im_end|>\n",
    answer_open="<|im_start|>assistant\n",
    answer_close="<|im_end|>",
    answer_after="\n",
)

_CHATML_SYSTEM = "<|im_start|>system\n{}<|im_end|>\n"

TEMPLATES = {
    # For the tiny LLMs that a study trains: questions of the generated world end with a mark of their
    # own, so only the answer's end is marked. The space keeps question and answer two words.
    "qa": Template(answer_lead=" ", answer_close="<eos>"),
    # ChatML with Qwen's default system prompt.
    "qwen": _QWEN,
    # The same with the loss of the LLaVA-NeXT code, which leaves turns alone that begin with the image.
    "qwen_next": replace(
        _QWEN, supervised_marks=("<|im_start|>", "<|im_end|>", "\n"), keeps_leading_image=True
    ),
    # Vicuna 1.1 and later, as in LLaVA-1.5.
    "vicuna_v1": Template(
        system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. ",
        human_open="USER: ",
        answer_open=" ASSISTANT:",
        answer_lead=" ",
        answer_close="</s>",
    ),
    "qwen2_5": replace(
        _QWEN,
        system=_CHATML_SYSTEM.format(
            "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        ),
    ),
    # Without thinking: every answer, not the last alone, follows the empty thought that ends a prompt.
    "qwen3": replace(
        _QWEN, system="", answer_open="<|im_start|>assistant\n<think>\n\n</think>\n\n"
    ),
    "smollm2": replace(
        _QWEN,
        system=_CHATML_SYSTEM.format(
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
        ),
    ),
    # Llama 3.1 to 3.3. The date is the one that their template names where none is given.
    "llama3": Template(
        system="<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|>",
        human_open="<|start_header_id|>user<|end_header_id|>\n\n",
        human_close="<|eot_id|>",
        answer_open="<|start_header_id|>assistant<|end_header_id|>\n\n",
        answer_close="<|eot_id|>",
        trims=True,
    ),
}

"""Inference scaling laws of vision-language models: LLM size against visual tokens."""

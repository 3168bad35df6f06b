"""The configuration of a vision-language model: LLaVA's, plus the method."""

from transformers import LlavaConfig

from vlmscale.models.projectors.base import Widths
from vlmscale.models.tower import count_special_positions, find_grid_side
from vlmscale.settings import Setting
from vlmscale.settings.towers import find_tower_family


class VlmConfig(LlavaConfig):
    """LLaVA's config plus a `Setting`. `vision_feature_layer` lists the tower's selected layers."""

    model_type = "vlmscale"

    method: str = "mlp"
    visual_tokens: int = 1
    method_options: dict | None = None
    template: str = "qa"

    @property
    def setting(self) -> Setting:
        return Setting(
            method=self.method,
            visual_tokens=self.visual_tokens,
            options=dict(self.method_options or {}),
        )

    @setting.setter
    def setting(self, setting: Setting) -> None:
        self.method, self.visual_tokens = setting.method, setting.visual_tokens
        self.method_options = dict(setting.options)

    @property
    def grid_side(self) -> int:
        return find_grid_side(self.vision_config)

    @property
    def special_positions(self) -> int:
        """Positions of the tower before its patches."""
        return count_special_positions(self.vision_config)

    @property
    def layers(self) -> list[int]:
        layers = self.vision_feature_layer
        return [layers] if isinstance(layers, int) else list(layers)

    @property
    def widths(self) -> Widths:
        return Widths(
            tower=self.vision_config.hidden_size,
            layers=len(self.layers),
            llm=self.text_config.hidden_size,
            grid_side=self.grid_side,
            has_cls=find_tower_family(self.vision_config.model_type).has_cls,
            llm_config=self.text_config,
        )

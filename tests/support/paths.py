"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RESOURCES = ROOT / "src/vlmscale/resources"

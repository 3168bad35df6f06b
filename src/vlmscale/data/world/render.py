"""Draw scenes and pages as pixels, and tell which patch shows what."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlmscale.data.world.scenes import COLOURS, LETTERS, SHAPES, Object, Page, Scene, Subject
from vlmscale.settings import World


@dataclass(frozen=True)
class Picture:
    """An image and, for each pixel, the class of what it shows (0: background)."""

    image: Image.Image
    colour: np.ndarray  # (h, w) int8, 1 + index in COLOURS
    shape: np.ndarray  # (h, w) int8, 1 + index in SHAPES
    letter: np.ndarray  # (h, w) int8, 1 + index in LETTERS

    def tag_patches(self, patch: int) -> dict[str, list[int]]:
        """Return for each patch, row by row, the most frequent class if it fills a quarter, else 0."""
        return {
            name: [_find_majority(block) for block in _split_patches(getattr(self, name), patch)]
            for name in ("colour", "shape", "letter")
        }


def render(world: World, subject: Subject, rng: np.random.Generator) -> Picture:
    """Draw a scene or a page."""
    if isinstance(subject, Scene):
        return render_scene(world, subject, rng)
    return render_page(world, subject, rng)


def render_scene(world: World, scene: Scene, rng: np.random.Generator) -> Picture:
    """Draw objects on a dark, noisy background; size and position vary a little."""
    side = world.image_size
    image = _draw_background(side, rng, noise=16 * world.difficulty)
    colour, shape = np.zeros((2, side, side), dtype=np.int8)
    cell = side / 3
    for item in scene.objects:
        jitter = rng.integers(-1, 2, size=2)
        centre_x = (item.column + 0.5) * cell + jitter[0]
        centre_y = (item.row + 0.5) * cell + jitter[1]
        mask = _draw_outline(item, side, centre_x, centre_y, r=cell * rng.uniform(0.31, 0.44))
        image.paste(COLOURS[item.colour], mask=mask)
        covered = np.asarray(mask) > 0
        colour[covered] = 1 + list(COLOURS).index(item.colour)
        shape[covered] = 1 + SHAPES.index(item.shape)
    return Picture(image, colour, shape, np.zeros((side, side), dtype=np.int8))


def render_page(world: World, page: Page, rng: np.random.Generator) -> Picture:
    """Draw letters on a grid of cells, from the top left, each with a small jitter.

    Cells have the size of those of the fullest page, so a page with few letters is partly empty.
    """
    side = world.image_size
    dark, light = rng.integers(0, 70, size=3), rng.integers(170, 256, size=3)
    ink, paper = (dark, light) if rng.random() < 0.5 else (light, dark)
    image = Image.new("RGB", (side, side), tuple(map(int, paper)))
    width, height = side / world.columns, side / world.lines
    font = ImageFont.load_default(size=min(width * 0.95, height * 0.75))
    draw = ImageDraw.Draw(image)
    letter = np.zeros((side, side), dtype=np.int8)
    for row, line in enumerate(page.lines):
        for column, character in enumerate(line):
            jitter = rng.integers(-1, 2, size=2)
            x, y = (column + 0.5) * width + jitter[0], (row + 0.5) * height + jitter[1]
            draw.text((x, y), character, fill=tuple(map(int, ink)), font=font, anchor="mm")
            box = np.s_[
                round(row * height) : round((row + 1) * height),
                round(column * width) : round((column + 1) * width),
            ]
            letter[box] = 1 + LETTERS.index(character)
    empty = np.zeros((side, side), dtype=np.int8)
    return Picture(image, empty, empty, letter)


def _draw_background(side: int, rng: np.random.Generator, *, noise: float) -> Image.Image:
    base = rng.integers(10, 60, size=3)
    pixels = base + rng.uniform(-noise, noise, size=(side, side, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")


def _draw_outline(item: Object, side: int, x: float, y: float, r: float) -> Image.Image:
    mask = Image.new("L", (side, side))
    draw, box = ImageDraw.Draw(mask), (x - r, y - r, x + r, y + r)
    match item.shape:
        case "circle":
            draw.ellipse(box, fill=255)
        case "ring":
            draw.ellipse(box, outline=255, width=2)
        case "square":
            draw.rectangle((x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r), fill=255)
        case "bar":
            draw.rectangle((x - r, y - 0.35 * r, x + r, y + 0.35 * r), fill=255)
        case "cross":
            draw.rectangle((x - r, y - 0.3 * r, x + r, y + 0.3 * r), fill=255)
            draw.rectangle((x - 0.3 * r, y - r, x + 0.3 * r, y + r), fill=255)
        case "triangle":
            draw.polygon([(x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)], fill=255)
        case "diamond":
            draw.polygon([(x, y - r), (x + r, y), (x, y + r), (x - r, y)], fill=255)
        case "star":
            spokes = [(r if i % 2 == 0 else 0.4 * r, i * math.pi / 5) for i in range(10)]
            draw.polygon([(x + d * math.sin(a), y - d * math.cos(a)) for d, a in spokes], fill=255)
    return mask


def _split_patches(labels: np.ndarray, patch: int) -> np.ndarray:
    side = labels.shape[0] // patch  # in patches
    blocks = labels.reshape(side, patch, side, patch).swapaxes(1, 2)
    return blocks.reshape(side * side, patch * patch)


def _find_majority(block: np.ndarray) -> int:
    counts = np.bincount(block[block > 0])
    return int(counts.argmax()) if counts.size and counts.max() * 4 >= block.size else 0

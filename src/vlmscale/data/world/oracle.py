"""Answers to questions about the generated world, read off the subject instead of the image.

It understands the words of a question and knows nothing of how the question was drawn, so that it checks
questions.py and is what a perfect model would score.
"""

from vlmscale.data.world.scenes import Facts, Object, Page, Scene


def answer_question(question: str, subject: Scene | Page, facts: Facts) -> str:
    """The one right answer. Raises KeyError or ValueError for what the question cannot be asked of."""
    words = question.removesuffix(" ?").split()
    if isinstance(subject, Page):
        return _about_page(words, subject)
    things = {thing.colour: thing for thing in subject.objects}
    match words:
        case ["any", colour, shape]:
            there = colour in things and things[colour].shape == shape
            return "yes" if there else "no"
        case ["how", "many"]:
            return str(len(things))
        case ["shape", "of", colour]:
            return things[colour].shape
        case [one, ("left" | "above") as relation, other]:
            first, second = things[one], things[other]
            holds = first.column < second.column if relation == "left" else first.row < second.row
            return "yes" if holds else "no"
        case [relation, "of", colour, "plus", number]:
            return str(_value(facts, things[colour], relation) + int(number))
        case [relation, "of", colour]:
            return str(_value(facts, things[colour], relation))
        case [colour, ":", *options]:
            return options[options.index(things[colour].shape) - 1]
    raise ValueError(f"no such question about a scene: {question}")


def _about_page(words: list[str], page: Page) -> str:
    match words:
        case ["letter", place]:
            return page.cells()[place]
        case ["line", number]:
            return " ".join(page.lines[int(number) - 1])
        case ["after", first]:
            (line,) = (line for line in page.lines if line[0] == first)
            return " ".join(line[1:])
    raise ValueError(f"no such question about a page: {' '.join(words)} ?")


def _value(facts: Facts, thing: Object, relation: str) -> int:
    return facts.values[thing.colour, thing.shape, relation]

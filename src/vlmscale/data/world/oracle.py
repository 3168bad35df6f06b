"""Answer questions about the generated world from the subject of an image.

The oracle reads the words of a question and does not know how it was drawn: it checks questions.py, and
its score is that of a perfect model.
"""

from vlmscale.data.world.scenes import Facts, Page, Subject


def answer_question(question: str, subject: Subject, facts: Facts) -> str:
    """Return the right answer. Raises KeyError or ValueError if the question does not fit `subject`."""
    words = question.removesuffix(" ?").split()
    if isinstance(subject, Page):
        return _answer_about_page(words, subject)
    objects = {item.colour: item for item in subject.objects}
    match words:
        case ["any", colour, shape]:
            shown = colour in objects and objects[colour].shape == shape
            return "yes" if shown else "no"
        case ["how", "many"]:
            return str(len(objects))
        case ["shape", "of", colour]:
            return objects[colour].shape
        case [one, ("left" | "above") as relation, other]:
            first, second = objects[one], objects[other]
            holds = first.column < second.column if relation == "left" else first.row < second.row
            return "yes" if holds else "no"
        case [relation, "of", colour, "plus", number]:
            item = objects[colour]
            return str(facts.values[item.colour, item.shape, relation] + int(number))
        case [relation, "of", colour]:
            return facts.tell(colour, objects[colour].shape, relation)
        case [colour, ":", *options]:
            return options[options.index(objects[colour].shape) - 1]
    raise ValueError(f"no such question about a scene: {question}")


def _answer_about_page(words: list[str], page: Page) -> str:
    match words:
        case ["letter", place]:
            return page.list_cells()[place]
        case ["line", number]:
            return " ".join(page.lines[int(number) - 1])
        case ["after", first]:
            (line,) = (line for line in page.lines if line[0] == first)
            return " ".join(line[1:])
    raise ValueError(f"no such question about a page: {' '.join(words)} ?")

"""Answers in words are read as a person reads them, or not at all."""

import pytest

from vlmscale.evaluation.answers import read_choice, read_list, read_number

YES_NO, PARTS, CUPS = ["Yes", "No"], ["3/11", "8/11", "6/11"], ["a red cup", "a blue cup", "a cup"]


@pytest.mark.parametrize(
    "answer",
    [
        "Yes", "yes", "YES", "Yes.", " yes !", "**Yes**", "*Yes*", "`Yes`", '"Yes"', "“Yes.”", "(A)", "A", "a",
        "A.", "A)", "A: Yes", "(A) Yes", "Yes, it is.", "Yes. There are two.", "Yes; both", "Yes because it is",
        "The answer is Yes", "The answer is: yes.", "Answer: Yes", "Final answer: **Yes**", "answer = yes",
        "The correct answer is A", "The answer is (A).", "Option A", "So the answer is yes, since it fits.",
        "\\boxed{Yes}", "\\boxed{\\text{Yes}}", "$\\text{Yes}$", "The answer is $\\boxed{A}$.", "Yes\nNo doubt",
    ],
)  # fmt: skip
def test_a_yes_is_read_in_every_form(answer):
    assert read_choice(answer, YES_NO) == "A"


@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [
        ("8/11", PARTS, "B"),
        ("b.", PARTS, "B"),
        ("(C) 6/11", PARTS, "C"),
        ("It is 6/11 of them", PARTS, "C"),
        ("\\frac{8}{11}", PARTS, "B"),
        ("a blue cup", CUPS, "B"),
        ("The blue cup.", CUPS, "B"),
        ("I see a red cup on a table.", CUPS, "A"),
        ("The answer is a cup", CUPS, "C"),
        ("It is not a red cup but a blue cup.", CUPS, "B"),
        ("The answer is B because A is too small", CUPS, "B"),
        ("Choice C", CUPS, "C"),
        ("The answer is A because B is too small", CUPS, "A"),
        ("3.5", ["3", "3.5"], "B"),
    ],
)
def test_an_option_is_read_by_letter_or_text(answer, choices, letter):
    assert read_choice(answer, choices) == letter


@pytest.mark.parametrize(
    ("answer", "choices"),
    [
        ("", YES_NO),
        ("Maybe", YES_NO),
        ("I have no idea", YES_NO),
        ("Yes and no", YES_NO),
        ("(A) or (B)", YES_NO),
        ("The answer is A or B", CUPS),
        ("The answer is B or C", CUPS),
        ("Answer: B, C", CUPS),
        ("Answer: B/C", CUPS),
        ("E", PARTS),
        ("8 of 11", PARTS),
        ("18/11", PARTS),
        ("A man", PARTS),
        ("The answer is A man", PARTS),
        ("a red cup or a blue cup", CUPS),
        ("not a red cup", CUPS[:2]),
    ],
)
def test_what_names_no_option_or_several_is_not_read(answer, choices):
    assert read_choice(answer, choices) is None


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("14", "14"),
        ("**14**", "14"),
        ("14.", "14."),
        ("The number is 14.", "14."),
        ("1,234 of them", "1234"),
        ("between 2-3", "3"),
        ("-5", "-5"),
        ("−5", "-5"),
        (".5", ".5"),
        ("1e3", "1e3"),
        ("5 + 9 = 14", "14"),
        ("The answer is 14 because 5 + 9 is", "14"),
        ("The answer is 14 (5 + 9)", "14"),
        ("Answer: 5 + 9 = 14", "14"),
        ("$\\boxed{14}$", "14"),
        ("5 m^2", "5"),
        ("5 m2", "5"),
        ("fourteen", "14"),
        ("There are Twenty-one dogs.", "21"),
        ("one hundred and five", "105"),
        ("two thousand three hundred", "2300"),
        ("Two of the three", "3"),
        ("The last one has seven legs", "7"),
        ("zero", "0"),
    ],
)
def test_a_number_is_read_in_digits_and_words(answer, number):
    assert read_number(answer) == number


@pytest.mark.parametrize(
    "answer", ["", "none", "no one", "the other one", "many", "-", "x2", "hundred"]
)
def test_an_answer_without_number_is_not_read(answer):
    assert read_number(answer) is None


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("3/4", "0.75"),
        ("The answer is 3/4.", "0.75"),
        ("\\frac{3}{4}", "0.75"),
        ("1/0", "0"),
        ("0.75", "0.75"),
    ],
)
def test_fractions_are_divided_where_decimals_are_asked_for(answer, number):
    assert read_number(answer, fractions=True) == number


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[2007, 2008]", "[2007, 2008]"),
        ("Between [2007,2008].", "[2007, 2008]"),
        ("so [0.5, 1].", "[0.5, 1]"),
        ("**[1, 2]**", "[1, 2]"),
        ("2007 and 2008", "[2007, 2008]"),
        ("2007, 2008", "[2007, 2008]"),
        ("(0.5, 1)", "[0.5, 1]"),
        ("The answer is 1, 2, and 3.", "[1, 2, 3]"),
        ("from 2007 to 2008", None),
        ("[1, 2", None),
        ("[a, b]", None),
        ("", None),
    ],
)
def test_a_list_is_read_in_brackets_or_alone(answer, found):
    assert read_list(answer) == found

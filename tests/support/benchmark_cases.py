"""Questions of every real benchmark with answers and their scores, worked out by hand."""

from .benchmark_files import mme, people, rotations, ten

# Benchmark -> rows with the model's answers and the score of each, and the metric over them.
GQA = {"imageId": "n1", "question": "What is it?", "answer": "dog"}
AI2D = {"question": "Which one?", "options": ["leaf", "stem", "root", "sun"], "answer": "1"}
MMMU = {"question": "Look at <image 1>.", "options": "['red', 'green', 'blue']", "answer": "B"}
MMMU["question_type"] = "multiple-choice"
OPEN = {"question": "How many in <image 1>?", "options": "[]", "question_type": "open"}
SQA = {"question": "Which?", "choices": ["cat", "dog"], "answer": 1, "hint": "", "solution": "x"}
ABOUT = {"split": "testmini", "skills": ["x"]}
CHOICE = {"question": "Which?", "question_type": "multi_choice", "answer_type": "text"}
CHOICE |= {"choices": ["3/11", "8/11", "6/11"], "answer": "8/11", "query": "q", "metadata": ABOUT}
FREE = {"question": "How much?", "question_type": "free_form", "query": "q", "metadata": ABOUT}
WHOLE = {**FREE, "answer_type": "integer", "answer": "14"}
REAL_NUMBER = {**FREE, "answer_type": "float", "precision": 1.0, "answer": "0.6"}
PAIR = {**FREE, "answer_type": "list", "answer": "[2007, 2008]"}
VQA = {"question": "Is it?", "multiple_choice_answer": "yes"}
WORDS = {"question": "What?", "multiple_choice_answer": "don't"}
TEXTVQA = {"question": "Which Brand?", "ocr_tokens": ["NOKIA", "3310"]}

CASES = {
    # Existence (2 images): 200 and 0 points of 200; colour (1): one of two right, 50 and no bonus; code 200.
    "mme": (
        [
            *mme("existence", ("Yes", "No.", 1), ("maybe", "yes", 0)),
            *mme("color", ("yes, it is", "Yes", None)),
            *mme("code_reasoning", ("y", "n", 1)),
        ],
        (100 + 50 + 200) / 2800,
    ),
    "mme_perception": (
        [
            *mme("existence", ("Yes", "No.", 1), ("maybe", "yes", 0)),
            *mme("code_reasoning", ("y", "n", "other")),
        ],
        100 / 2000,
    ),
    "gqa": (
        [
            ({"id": "1", **GQA}, "Dog.", 1),
            ({"id": "2", **GQA, "imageId": "n2"}, "a dog", 0),
            ({"id": "3", **GQA, "answer": "yes"}, "no", 0),
        ],
        1 / 3,
    ),
    "ai2d": (
        [
            (AI2D, "B", 1),
            (AI2D, "(B)", 1),
            (AI2D, "B. stem", 1),
            (AI2D, "The answer is B", 0),
            ({**AI2D, "answer": "0"}, "leaf", 0),
        ],
        3 / 5,
    ),
    # Right only if all rotations are: the first question once in two, the second always.
    "mmbench": (
        list(
            zip(
                [
                    *rotations(7, "AB", ["a red cup", "a blue cup"]),
                    *rotations(8, "ABCD", ["one", "two", "three", "four"], hint="Count."),
                    *rotations(9, "A", ["tall", "short"]),
                ],
                ["A", "A", "A", "(B) one", "one", "The answer is D", "???"],
                [1, 0, 1, 1, 1, 1, 0],
                strict=True,
            )
        ),
        1 / 3,
    ),
    "mmmu": (
        [
            ({"id": "validation_Art_1", **MMMU}, "B", 1),
            ({"id": "validation_Art_2", **MMMU}, "(A) or (B)", 1),
            ({"id": "validation_Math_1", **MMMU}, "nonsense", 0),
            ({"id": "validation_Math_2", **OPEN, "answer": "1,200"}, "It is 1200.", 1),
            ({"id": "validation_Math_3", **OPEN, "answer": "seven"}, "eight", 0),
        ],
        3 / 5,
    ),
    "scienceqa": (
        [(SQA, "b", 1), (SQA, "B. dog", 1), (SQA, "(B)", 0), ({**SQA, "answer": 0}, "The answer is A", 0)],
        2 / 4,
    ),
    "mathvista": (
        [
            ({"pid": "1", **CHOICE}, "B", 1),
            ({"pid": "2", **CHOICE}, "(B) 8/11", 1),
            ({"pid": "3", **CHOICE}, "6/11", 0),
            ({"pid": "4", **CHOICE}, "8 of 11", 0),  # the nearest by letters is the right one
            ({"pid": "5", **WHOLE}, "The number is 14.", 1),
            ({"pid": "6", **WHOLE}, "many", 0),
            ({"pid": "7", **REAL_NUMBER}, "0.62", 1),
            ({"pid": "8", **PAIR}, "Between [2007,2008].", 1),
        ],
        5 / 8,
    ),
    # Pooled and exact: 2 hits, 1 false alarm, 1 miss by "No." counting as neither.
    "pope": (
        [
            ({"id": "0", "question": "Cat?", "answer": "yes", "category": "random"}, "Yes", 1),
            ({"id": "1", "question": "Dog?", "answer": "no", "category": "random"}, "yes", 0),
            ({"id": "2", "question": "Cup?", "answer": "yes", "category": "popular"}, "yes", 1),
            ({"id": "3", "question": "Car?", "answer": "no", "category": "popular"}, "No.", 0),
            ({"id": "4", "question": "Bus?", "answer": "yes", "category": "popular"}, "no", 0),
        ],
        2 * (2 / 3) * (2 / 3) / (4 / 3),
    ),
    # LLaVA's reading: random has precision 1/2 and recall 1, popular precision 1 and recall 1/2.
    "pope_mean": (
        [
            ({"id": "0", "question": "Cat?", "answer": "yes", "category": "random"}, "It is.", 1),
            ({"id": "1", "question": "Dog?", "answer": "no", "category": "random"}, "yes", 0),
            ({"id": "2", "question": "Cup?", "answer": "yes", "category": "popular"}, "yes", 1),
            ({"id": "3", "question": "Car?", "answer": "no", "category": "popular"}, "No, it", 1),
            ({"id": "4", "question": "Bus?", "answer": "yes", "category": "popular"}, "not", 0),
        ],
        2 / 3,
    ),
    "chartqa": (
        [
            ({"type": "human_test", "question": "?", "answer": "100"}, "104", 1),
            ({"type": "human_test", "question": "?", "answer": "10"}, "10%", 0),
            ({"type": "augmented_test", "question": "?", "answer": "0"}, "0.0", 0),
            ({"type": "augmented_test", "question": "?", "answer": "Peru"}, "peru", 1),
        ],
        2 / 4,
    ),
    "docvqa": (
        [
            ({"questionId": "1", "question": "?", "answers": ["Acme", "ACME Inc"]}, "acme", 1),
            ({"questionId": "2", "question": "?", "answers": ["1985"]}, "1986", 3 / 4),
            ({"questionId": "3", "question": "?", "answers": ["1985"]}, "20", 0),
        ],
        1.75 / 3,
    ),
    # Of ten answers one is left out in turn; three of the rest make it right.
    "textvqa": (
        [
            ({**TEXTVQA, "question_id": 1, "answers": ten(*["nokia"] * 4)}, "Nokia", 1),
            (
                {**TEXTVQA, "question_id": 2, "answers": ten("2", "2")},
                "two",
                (8 * 2 / 3 + 2 * 1 / 3) / 10,
            ),
            ({**TEXTVQA, "question_id": 3, "answers": ten()}, "me", 0),
        ],
        (1 + 0.6) / 3,
    ),
    "vizwiz": (
        [
            (
                {"question_id": "a", "question": "What?", "answers": ten(*["unanswerable"] * 5)},
                "Unanswerable",
                1,
            ),
            ({"question_id": "b", "question": "What?", "answers": ten("can")}, "a can", 0.9 / 3),
        ],
        1.3 / 2,
    ),
    "vqav2": (
        [
            ({**VQA, "question_id": 1, "answers": people(*["yes"] * 10)}, "yes", 1),
            ({**WORDS, "question_id": 2, "answers": people("don't", "don't")}, "dont", 0.6),
        ],
        1.6 / 2,
    ),
}  # fmt: skip

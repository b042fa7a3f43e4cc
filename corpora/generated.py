"""A small corpus that the project writes itself: for tests, and for a quickstart offline.

Sentences from templates, 9 in 10 tokens outside, three entity types of which one is rare.
Dev and test have names that train has not, so that context must be learnt.
"""

import json
import random
from pathlib import Path
from typing import Iterator, List, Tuple

SIZES = {"train": 400, "dev": 120, "test": 120}
FILLERS = (
    "honestly i cannot believe how long this week has been , can you ?",
    "we talked about it for hours and nothing came of it in the end .",
    "the weather was fine , so they went out again after lunch .",
    "it is what it is , and nobody here is going to change that soon .",
    "please send me the notes when you have a minute , thanks a lot !",
)
TEMPLATES = (
    ("yesterday {person} told me that the train was late again .", 4),
    ("nobody at the office has seen {person} since last monday morning .", 4),
    ("they are moving to {city} because the rents here are too high .", 4),
    ("the flight from {city} was full , so i took the bus instead .", 4),
    ("my new {product} stopped working after only two days , sadly .", 1),
)
SYLLABLES = ("ba", "ren", "to", "mi", "lor", "ka", "sen", "du", "vel", "ni", "gra", "po")


def write(folder: Path, seed: int = 0, empty: float = 0.4) -> Path:
    """Write train.conll, dev.conll and test.conll. The same seed gives the same files.

    empty: the share of sentences without an entity. Near 1 the corpus is as imbalanced as real
    ones whose entities are rare.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        lines = [line for _ in range(size) for line in (*_sentence(rng, empty), "")]
        (folder / f"{split}.conll").write_text("\n".join(lines), encoding="utf8")
    return folder


def _sentence(rng: random.Random, empty: float) -> Iterator[str]:
    if rng.random() < empty:
        text = rng.choice(FILLERS)
    else:
        text = rng.choices([t for t, _ in TEMPLATES], [w for _, w in TEMPLATES])[0]
    for token in text.split():
        if token.startswith("{"):
            for word, tag in _entity(token[1:-1], rng):
                yield f"{word}\t{tag}"
        else:
            yield f"{token}\tO"


def _entity(label: str, rng: random.Random) -> List[Tuple[str, str]]:
    words = []
    for _ in range(rng.choice((1, 2, 3) if label == "city" else (1, 2))):
        word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3))))
        words.append(word.capitalize())
    if label == "product" and len(words) > 1:
        words[-1] = str(rng.randint(2, 900))
    return [(word, ("I-" if i else "B-") + label) for i, word in enumerate(words)]


def write_questions(path: Path) -> Path:
    """Write a file of SQuAD 1.1: a question for each of 24 texts."""
    paragraphs = []
    for number, name in enumerate(("Ada", "Bruno", "Clara", "Derek", "Elena", "Felix") * 4):
        answers = [{"text": name, "answer_start": 4}]
        question = {"id": str(number), "question": "Who lives there?", "answers": answers}
        context = f"Now {name} lives there, at number {number}."
        paragraphs.append({"context": context, "qas": [question]})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf8")
    return path

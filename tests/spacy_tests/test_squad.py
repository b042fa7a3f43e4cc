"""Files of SQuAD, and its metric."""

import json
import logging

import pytest
import spacy
from thinc.api import ConfigValidationError

from spacy_dice.reading.questions import read
from spacy_dice.reading.squad import score_answer, squad_reader

CONTEXT = "Ada's cat, Tom, sleeps. The other cat is Tom too: an old-timer."


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def write(path, *qas, context=CONTEXT):
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}))
    return path


def qa(number, *answers, question="Who sleeps?", **more):
    answers = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": number, "question": question, "answers": answers, **more}


def test_questions_and_answers(nlp, tmp_path):
    path = write(
        tmp_path / "a.json",
        qa("q1", ("Tom", 11), ("cat", 6)),
        qa(2, is_impossible=True, plausible_answers=[{"text": "Ada", "answer_start": 0}]),
        qa("q3", ("timer", 57)),
    )
    (example,) = squad_reader(path)(nlp)
    ids = ["q1", "2", "q3"]
    assert example.predicted._.questions == [{"id": i, "text": "Who sleeps?"} for i in ids]
    assert example.predicted.text == example.reference.text == CONTEXT
    found = [question[2:] for question in read(example.reference, "test")]
    assert found == [([(11, 14), (6, 9)], ["Tom", "cat"]), ([], []), ([(57, 62)], ["timer"])]
    each = list(squad_reader(path, per_question=True)(nlp))
    assert [eg.reference._.questions[0]["id"] for eg in each] == ids
    assert [eg.predicted._.questions[0]["id"] for eg in each] == ids
    assert len(list(squad_reader(path, per_question=True, limit=2)(nlp))) == 2


def test_answers_that_are_not_at_their_offset(nlp, tmp_path, caplog):
    """They are taken from the nearest place; absent ones are scored by, but not learned."""
    qas = [qa("moved", ("Tom", 40)), qa("absent", ("Bob", 3)), qa("right", ("Tom", 11))]
    path = write(tmp_path / "a.json", *qas, qa("before", ("Ada", -3)))
    with caplog.at_level(logging.INFO, "spacy.dice_qa"):
        logging.getLogger("spacy").propagate = True
        (example,) = squad_reader(path)(nlp)
    assert "3 of 4 answers are not at their offset (questions moved, before, absent" in caplog.text
    assert "2 are elsewhere in the text, and read from there; 1 are nowhere" in caplog.text
    found = [question[2:] for question in read(example.reference, "test")]
    assert found == [([(41, 44)], ["Tom"]), (None, ["Bob"]), ([(11, 14)], ["Tom"])] + [
        ([(0, 3)], ["Ada"])
    ]


@pytest.mark.parametrize(
    "content, message",
    [
        ("no json", "is no file of SQuAD"),
        ("[]", "is no file of SQuAD"),
        ('{"data": [{"paragraphs": [{"context": "a"}]}]}', "each with 'context' and 'qas'"),
        ([[qa("q")], " "], "paragraph 1: the context is empty"),
        ([[qa("q", question=" ")], CONTEXT], "question 'q' of a doc is empty"),
        ([[qa("q", ("", 0))], CONTEXT], "an answer of question 'q' is empty"),
        ([[qa("q"), qa("q")], CONTEXT], "two questions of a doc have the id 'q'"),
    ],
)
def test_files_that_are_none(content, message, nlp, tmp_path):
    path = tmp_path / "a.json"
    if isinstance(content, str):
        path.write_text(content)
    else:
        write(path, *content[0], context=content[1])
    with pytest.raises(ConfigValidationError, match=f"spacy_dice.squad.v1: .*{message}") as error:
        list(squad_reader(path, per_question=True)(nlp))
    assert str(path) in str(error.value)


def test_paths_that_are_none(nlp, tmp_path):
    with pytest.raises(ConfigValidationError, match="path is null"):
        list(squad_reader(None)(nlp))
    with pytest.raises(ConfigValidationError, match="there is no file"):
        list(squad_reader(tmp_path / "none.json")(nlp))


def test_metric_by_hand():
    assert score_answer(["the Cat!"], "cat") == (1.0, 1.0)
    assert score_answer(["old cat", "dog"], "the old dog") == (0.0, pytest.approx(2 / 3))
    assert score_answer([], "") == score_answer(["a", "!"], "the") == (1.0, 1.0)
    assert score_answer([], "cat") == score_answer(["cat"], "") == (0.0, 0.0)

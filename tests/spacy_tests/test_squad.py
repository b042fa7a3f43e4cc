"""Files of SQuAD, and its metric."""

import json
import logging
import random
from types import SimpleNamespace

import pytest
import spacy
from spacy.training import Corpus
from thinc.api import ConfigValidationError

from spacy_dice.reading import squad
from spacy_dice.reading.corpus import SquadFile, squad_reader
from spacy_tests import reading

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
        qa("q2", is_impossible=True, plausible_answers=[{"text": "Ada", "answer_start": 0}]),
        qa("q3", ("timer", 57)),
    )
    (example,) = squad_reader(path)(nlp)
    assert example.predicted._.questions == [
        {"id": "q1", "text": "Who sleeps?"},
        {"id": "q2", "text": "Who sleeps?"},
        {"id": "q3", "text": "Who sleeps?"},
    ]
    assert example.reference._.questions[0]["answers"][1] == {"text": "cat", "answer_start": 6}
    assert example.reference._.questions[1]["answers"] == []
    spans = [(s.text, s.id_) for s in example.reference.spans["answers"]]
    assert spans == [("Tom", "q1"), ("cat", "q1"), ("timer", "q3")]
    assert example.predicted.text == CONTEXT and not example.predicted.spans
    each = list(squad_reader(path, per_question=True)(nlp))
    assert [eg.reference._.questions[0]["id"] for eg in each] == ["q1", "q2", "q3"]
    assert [len(eg.reference.spans["answers"]) for eg in each] == [2, 0, 1]
    assert len(list(squad_reader(path, per_question=True, limit=2)(nlp))) == 2


def test_misaligned_answers_are_counted(nlp, tmp_path, caplog):
    path = write(
        tmp_path / "a.json",
        qa("moved", ("Tom", 40)),
        qa("absent", ("Bob", 3)),
        qa("cut", ("imer", 58)),
        qa("right", ("Tom", 11)),
    )
    file_ = SquadFile(path)
    with caplog.at_level(logging.INFO, "spacy.dice_qa"):
        logging.getLogger("spacy").propagate = True
        (doc,) = file_.docs(nlp)
    assert (file_.answers, file_.moved, file_.absent, file_.cut) == (4, 1, 1, 1)
    assert "2 of 4 answers are not at their offset (questions moved, absent ...)" in caplog.text
    assert "1 of 4 answers begin or end within a token" in caplog.text
    assert [(s.text, s.id_, s.start_char) for s in doc.spans["answers"]] == [
        ("Tom", "moved", 41),  # the nearest place
        ("timer", "cut", 57),
        ("Tom", "right", 11),
    ]
    with pytest.raises(ConfigValidationError, match="'Tom' to question 'moved' is not in the"):
        list(squad_reader(path, strict=True)(nlp))


def test_an_absent_answer_is_scored_by_but_not_learned(nlp, tmp_path):
    from spacy_dice.reading.questions import read

    path = write(tmp_path / "a.json", qa("absent", ("Bob", 3)))
    (example,) = squad_reader(path)(nlp)
    (question,) = read(example.reference, "test")
    assert question.answers is None and question.texts == ["Bob"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("no json", "is no file of SQuAD"),
        ("[]", "is no file of SQuAD"),
        ('{"data": [{"paragraphs": [{"context": "a"}]}]}', "paragraph 1: expected 'context' and"),
    ],
)
def test_files_that_are_none(content, message, nlp, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigValidationError, match=message):
        list(squad_reader(tmp_path / "a.json")(nlp))


def test_what_is_empty_is_an_error(nlp, tmp_path):
    path = tmp_path / "a.json"
    for qas, context, message in (
        ([qa("q")], " ", "paragraph 1: the context is empty"),
        ([qa("q", question=" ")], CONTEXT, "question 'q' is empty"),
        ([qa("q", ("", 0))], CONTEXT, "an answer to question 'q' is empty"),
        ([qa("q"), qa("q")], CONTEXT, "two questions have the id 'q'"),
    ):
        write(path, *qas, context=context)
        with pytest.raises(ConfigValidationError, match=message):
            list(squad_reader(path)(nlp))
    with pytest.raises(ConfigValidationError, match="path is null"):
        list(squad_reader(None)(nlp))
    with pytest.raises(ConfigValidationError, match="there is no file"):
        list(squad_reader(tmp_path / "none.json")(nlp))
    with pytest.raises(ConfigValidationError, match="there is no .spacy file"):
        list(squad_reader(tmp_path / "none.spacy")(nlp))


def test_files_of_spacy_hold_all_of_it(nlp, tmp_path):
    path = reading.write(tmp_path / "a.json", 3, impossible=True)
    SquadFile(path).to_disk(tmp_path / "a.spacy", nlp)
    for options in ({}, {"per_question": True}):
        direct = list(squad_reader(path, **options)(nlp))
        stored = list(squad_reader(tmp_path / "a.spacy", **options)(nlp))
        assert len(direct) == len(stored) == (9 if options else 3)
        for a, b in zip(direct, stored):
            assert a.predicted._.questions == b.predicted._.questions
            flat = lambda doc: json.loads(json.dumps(doc._.questions))  # noqa: E731
            assert flat(a.reference) == flat(b.reference)
            spans = lambda doc: [(s.start, s.end, s.id_) for s in doc.spans["answers"]]  # noqa: E731
            assert spans(a.reference) == spans(b.reference)
    (tmp_path / "plain").mkdir()
    docs = [eg.reference for eg in Corpus(tmp_path / "a.spacy")(nlp)]
    for doc in docs:
        doc._.questions = None
    spacy.tokens.DocBin(docs=docs).to_disk(tmp_path / "plain/b.spacy")
    with pytest.raises(ConfigValidationError, match="a doc without doc._.questions"):
        list(squad_reader(tmp_path / "plain")(nlp))


# -- the metric -------------------------------------------------------------------------

WORDS = ["the", "a", "an", "The", "Ada", "ada", "cat,", "(cat)", "co-op", "U.S.", "–", "  ", "7½"]


def test_metric_is_that_of_transformers():
    """On random answers and guesses, of which many are empty, alike, or but punctuation."""
    from transformers.data.metrics.squad_metrics import squad_evaluate

    rng = random.Random(0)
    some = lambda n: " ".join(rng.choice(WORDS) for _ in range(rng.randrange(n)))  # noqa: E731
    truths = {str(i): [some(5) for _ in range(rng.randrange(4))] for i in range(2000)}
    guesses = {i: rng.choice([*of, some(5), some(2)]) for i, of in truths.items()}
    examples = [
        SimpleNamespace(qas_id=i, answers=[{"text": text} for text in of])
        for i, of in truths.items()
    ]
    theirs = squad_evaluate(examples, guesses)
    ours = squad.evaluate(truths, guesses)
    assert 100 * ours.exact == theirs["exact"] and 0.1 < ours.exact < 0.9
    assert 100 * ours.f1 == pytest.approx(theirs["f1"], rel=1e-14)
    assert ours.total == theirs["total"] == 2000


def test_metric_by_hand():
    assert squad.of_question(["the Cat!"], "cat") == (1.0, 1.0, 1)
    assert squad.of_question(["old cat", "dog"], "the old dog") == (0.0, pytest.approx(2 / 3), 1)
    assert squad.of_question([], "") == (1.0, 1.0, 1) and squad.of_question([], "cat").f1 == 0.0
    with pytest.raises(ValueError, match="no guess for 1 of 2 questions, e.g. 'b'"):
        squad.evaluate({"a": [], "b": []}, {"a": ""})

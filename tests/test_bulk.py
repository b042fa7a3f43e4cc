"""Tagging in bulk: what is added to a batch, and that a killed job loses nothing."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy
import psutil
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["Ann saw Bob .", "nothing here", "", "Bob and Ann"]


@Language.component("fails_on_bombs")
def fails_on_bombs(doc):
    if "bomb" in doc.text:
        raise RuntimeError("boom")
    doc.spans["sc"] = list(doc.ents)
    doc.spans["sc"].attrs["scores"] = [0.5] * len(doc.ents)
    return doc


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    nlp = spacy.blank("en")
    people = [{"label": "PER", "pattern": name} for name in ("Ann", "Bob")]
    nlp.add_pipe("entity_ruler").add_patterns(people)
    folder = tmp_path_factory.mktemp("bulk")
    nlp.to_disk(folder / "plain")
    nlp.add_pipe("fails_on_bombs")
    nlp.to_disk(folder / "fails")
    return folder


def column(values):
    made = numpy.empty(len(values), dtype=object)
    made[:] = values
    return made


def test_a_pipeline_s_columns(pipeline):
    from spacy_dice.bulk import TagTexts

    tag = TagTexts(str(pipeline / "fails"), columns=["ents", "spans", "tags"])
    texts = [*TEXTS, None, 3, "a bomb for Ann"]
    out = tag({"text": column(texts), "id": numpy.arange(len(texts))})
    assert list(out) == ["text", "id", "ents", "spans", "tags", "error"]
    assert out["id"].tolist() == list(range(len(texts)))
    errors = out["error"].tolist()
    assert errors == ["", "", "", "", "no text, but None", "no text, but 3", "RuntimeError: boom"]
    assert out["ents"].tolist()[4:] == [None, None, None]
    nlp = spacy.load(pipeline / "fails")
    for doc, ents, spans, tags in zip(nlp.pipe(TEXTS), out["ents"], out["spans"], out["tags"]):
        gold = [(e.start_char, e.end_char, e.label_, e.text) for e in doc.ents]
        assert [tuple(e.values()) for e in json.loads(ents)] == gold
        assert [tuple(s.values()) for s in json.loads(spans)] == [("sc", *e, 0.5) for e in gold]
        assert [t["start"] for t in json.loads(tags)] == [token.idx for token in doc]


@pytest.mark.parametrize(
    "options, batch, message",
    [
        ({"columns": ["entities"]}, None, "columns must be of ents, spans, cats, tags"),
        ({"text": "body"}, {"text": column(["a"])}, "there is no 'body' among text"),
        ({}, {"text": column(["a"]), "ents": column(["b"])}, "there is a column 'ents'"),
    ],
)
def test_mistakes(pipeline, options, batch, message):
    from spacy_dice.bulk import TagTexts

    with pytest.raises(ValueError, match=message):
        TagTexts(str(pipeline / "plain"), **options)(batch)


@pytest.fixture(scope="module")
def flair_model(tmp_path_factory):
    """A stock tagger that knows two names."""
    import flair
    from flair.data import Dictionary, Sentence
    from flair.embeddings import OneHotEmbeddings
    from flair.models import SequenceTagger

    words = Dictionary()
    for word in ("Ann", "Bob", "saw"):
        words.add_item(word)
    tags = Dictionary(add_unk=False)
    for tag in ("O", "S-PER", "B-PER", "I-PER", "E-PER"):
        tags.add_item(tag)
    flair.set_seed(0)
    model = SequenceTagger(
        embeddings=OneHotEmbeddings(words, embedding_length=8),
        tag_dictionary=tags,
        tag_type="ner",
        use_rnn=False,
        use_crf=False,
    )
    import torch

    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        data = [Sentence("Ann saw Bob"), Sentence("Bob saw")]
        for sentence in data:
            for i, token in enumerate(sentence):
                if token.text in ("Ann", "Bob"):
                    sentence[i : i + 1].add_label("ner", "PER")
        optimizer.zero_grad()
        model.forward_loss(data)[0].backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("flair") / "model.pt"
    model.save(path)
    return path


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["Ann", "Bob", "saw", " ", "\u200b", "\ufe0f", "❤️", "."])))
def test_offsets_are_of_the_given_text(flair_model, parts):
    """Flair reads a text without some of its characters."""
    from flair.data import Sentence

    from flair_dice.bulk import TagTexts

    if not hasattr(test_offsets_are_of_the_given_text, "tag"):
        test_offsets_are_of_the_given_text.tag = TagTexts(str(flair_model))
    tag = test_offsets_are_of_the_given_text.tag
    text = "Ann " + "".join(parts)
    out = tag({"text": column([text])})
    assert out["error"].tolist() == [""]
    ents = json.loads(out["ents"][0])
    assert ents and ents[0]["start"] == 0
    sentence = Sentence(text)
    tag.model.predict(sentence)
    expected = [span.text for span in sentence.get_spans("ner")]
    read = [Sentence._handle_problem_characters(text[e["start"] : e["end"]]) for e in ents]
    assert read == expected and all(e["text"] == text[e["start"] : e["end"]] for e in ents)


def test_flair_s_bad_records(flair_model):
    from flair_dice.bulk import TagTexts

    out = TagTexts(str(flair_model))({"text": column(["Ann", None, ""])})
    assert out["error"].tolist() == ["", "no text, but None", ""]
    assert json.loads(out["ents"][0])[0]["label"] == "PER" and json.loads(out["ents"][2]) == []


N_FILES = 12


@pytest.fixture
def job(pipeline, tmp_path):
    """The example on several files, as a process of its own."""
    import pyarrow
    import pyarrow.parquet as parquet

    (tmp_path / "texts").mkdir()
    texts = {}
    for n in range(N_FILES):
        found = {f"{n}-{i}": f"Ann saw {n} and {i} ." for i in range(1500)}
        rows = pyarrow.table({"id": list(found), "text": list(found.values())})
        parquet.write_table(rows, tmp_path / "texts" / f"{n:02}.parquet")
        texts.update(found)
    args = [ROOT / "examples" / "bulk.py", tmp_path / "texts", tmp_path / "out", pipeline / "plain"]

    def start():
        return subprocess.Popen(
            [sys.executable, *map(str, args), "--batch-size", "200"],
            cwd=ROOT,
            env={**os.environ, "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return tmp_path / "out", texts, start


def workers(process):
    """Processes of this job that hold a pipeline."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it is gone
            if "TagTexts" in " ".join(child.cmdline()):
                found.append(child)
    return found


def workers_after(process, out, n_files):
    """The workers of a job that has written so many files, and is not done."""
    deadline = time.monotonic() + 900  # of a machine that is busy
    while len(list(out.glob("*.parquet"))) < n_files or not workers(process):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    found = workers(process)
    assert process.poll() is None and len(list(out.glob("*.parquet"))) < N_FILES
    return found


def test_a_killed_job_and_a_killed_worker_lose_and_double_nothing(job, pipeline):
    """The job is killed while it writes, and the same command continues; of that job a worker is
    killed, and it goes on without a word from outside."""
    import pyarrow.parquet as parquet

    out, texts, start = job
    process = start()
    workers_after(process, out, 1)
    process.kill()
    process.wait()
    process = start()
    workers_after(process, out, 0)[0].kill()
    assert process.wait(timeout=900) == 0
    rows = parquet.read_table(out).to_pylist()
    assert sorted(row["id"] for row in rows) == sorted(texts)
    nlp = spacy.load(pipeline / "plain")
    docs = dict(zip(texts, nlp.pipe(texts.values())))
    for row in rows:
        ents = [(e["start"], e["end"], e["label"]) for e in json.loads(row["ents"])]
        assert ents == [(e.start_char, e.end_char, e.label_) for e in docs[row["id"]].ents]

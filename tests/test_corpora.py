"""Reading, downloading and generating corpora."""

import hashlib
import http.server
import threading

import pytest
import spacy
from spacy.tokens import DocBin

from corpora import (
    columns,
    download,
    edos,
    emotions,
    folders,
    generated,
    in_spacy,
    messages,
    ncbi_disease,
    offsets,
    wnut17,
)

CONLLU = """# text = Dogs bark
1	Dogs	dog	NOUN	PL-NOM	Number=Plur	2	nsubj	_	_
2	bark	bark	VERB	PRES	Mood=Ind|Tense=Pres	0	root	_	_

# text = No
1	No	no	INTJ	_	_	0	root	_	_

"""
EDOS = "one\tnot sexist\tnone\ntwo\tsexist\t1.1 threats\nthree\tsexist\t2.3 other\n"
# Beyond the basic plane one character is one code point.
SPANS = (
    '{"text": "\U0001f620 you idiot !", "spans": [[6, 11]]}\n{"text": "an idiotic", "spans": []}\n'
)


def read(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def converted(folder, ending, text):
    """The docs of dev, of a folder whose splits have this text."""
    for split in folders.SPLITS:
        (folder / f"en-{split}.{ending}").write_text(text)
    n = in_spacy.write_folder(folder, folder / "out")["dev"]
    docs = read(folder / "out/dev.spacy")
    assert len(docs) == n
    return docs


def test_columns(tmp_path):
    path = tmp_path / "x.columns"
    path.write_text(
        "-DOCSTART- O\n\n# a comment\nAnn\tB-person\nLee\tI-person\n\t\nin\tO\n"
        "Rome\tB-location,I-group\n\n\nx\tI-group\ny\tE-person\n#\tS-tag\n"
    )
    assert list(columns.read(path)) == [
        (["Ann", "Lee"], ["B-person", "I-person"]),
        (["in", "Rome"], ["O", "B-location"]),
        (["x", "y", "#"], ["B-group", "B-person", "B-tag"]),
    ]
    doc = converted(tmp_path, "conll", "Ann\tB-person\nLee\tI-person\n")[0]
    for spans in (doc.ents, doc.spans["sc"]):
        assert [(e.text, e.label_) for e in spans] == [("Ann Lee", "person")]


def test_universal_dependencies(tmp_path):
    dogs, no = converted(tmp_path, "conllu", CONLLU)
    assert [t.tag_ for t in dogs] == ["NOUN", "VERB"] and [t.tag_ for t in no] == ["INTJ"]
    assert [t.lemma_ for t in dogs] == ["dog", "bark"] and dogs[0].head.i == 1


def test_labelled_texts_are_split_by_a_seed(tmp_path):
    rows = [f"{'spam' if i % 5 == 0 else 'ham'}\tmessage {i}" for i in range(100)]
    (tmp_path / "sms.tsv").write_text("Label\tSMS\n" + "\n".join(rows) + "\n")
    assert in_spacy.write_folder(tmp_path, tmp_path / "out") == {"train": 70, "dev": 10, "test": 20}
    docs = [doc for split in folders.SPLITS for doc in read(tmp_path / f"out/{split}.spacy")]
    assert sorted(doc.text for doc in docs) == sorted(row.split("\t")[1] for row in rows)
    for doc in docs:
        spam = int(doc[1].text) % 5 == 0
        assert doc.cats == {"ham": float(not spam), "spam": float(spam)}
    again = messages.docs(tmp_path / "sms.tsv")
    assert [doc.text for doc in again["train"]] == [doc.text for doc in docs[:70]]


def test_a_sample_is_drawn_from_all_of_train_anew_for_each_seed(tmp_path):
    generated.write(tmp_path / "in")
    drawn = []
    for seed in (0, 0, 1):
        sizes = in_spacy.write_folder(tmp_path / "in", tmp_path / "out", limit=40, seed=seed)
        assert sizes == {"train": 40, "dev": 120, "test": 120}
        drawn.append([doc.text for doc in read(tmp_path / "out/train.spacy")])
    assert drawn[0] == drawn[1] != drawn[2]
    docs = list(range(5))
    assert folders.sample(docs, None, 0) == folders.sample(docs, 9, 0) == docs


def test_texts_with_any_number_of_labels(tmp_path):
    (tmp_path / "labels.txt").write_text("joy\nfear\nneutral\n")
    good, bad = converted(tmp_path, "tsv", "so good\t0,2\tid1\nhelp!\t1\n")
    assert good.text == "so good" and good.cats == {"joy": 1.0, "fear": 0.0, "neutral": 1.0}
    assert bad.text == "help!" and bad.cats == {"joy": 0.0, "fear": 1.0, "neutral": 0.0}


def test_edos(tmp_path):
    for split in folders.SPLITS:
        (tmp_path / f"{split}.tsv").write_text(EDOS)
    a, c = (list(in_spacy.splits(tmp_path, task)["test"]) for task in edos.TASKS)
    assert [doc.cats["sexist"] for doc in a] == [0.0, 1.0, 1.0]
    assert [doc.text for doc in c] == ["two", "three"]
    assert c[0].cats == {"1.1 threats": 1.0, "2.3 other": 0.0}
    with pytest.raises(ValueError, match="task must be one of A, C, got 'B'"):
        list(edos.docs(tmp_path / "test.tsv", "B"))


def test_spans_by_code_points(tmp_path):
    first, second = converted(tmp_path, "jsonl", SPANS)
    assert [(s.text, s.label_) for s in first.spans["sc"]] == [("idiot", "toxic")]
    assert "sc" in second.spans and not len(second.spans["sc"])
    path = tmp_path / "dev.jsonl"
    path.write_text('{"text": "an idiotic man", "spans": [[3, 8], [11, 14]]}\n')
    with pytest.warns(UserWarning, match="1 of 2 spans do not begin and end with tokens"):
        (doc,) = offsets.docs(path)
    assert [s.text for s in doc.spans["sc"]] == ["man"]


@pytest.mark.parametrize(
    "reader, text, message",
    [
        (columns.read, "Ann\tO\nLee\n", "line 2: expected a token and its tag"),
        (messages.read, "Label\tSMS\nham no tab\n", "line 2: expected label TAB text"),
        (emotions.read, "fine\t0\nno label\n", "line 2: expected text TAB comma-joined ids"),
        (emotions.read, "fine\t0\ntext\t3\n", "line 2: expected text TAB comma-joined ids"),
        (edos.read, "one\tsexist\n", "line 1: expected text TAB sexist"),
        (offsets.docs, '\n{"text": "a", "spans": [[3, 8]]}\n', "line 2: the span 3 to 8 is not"),
    ],
)
def test_a_line_that_does_not_fit_is_named(reader, text, message, tmp_path):
    (tmp_path / "labels.txt").write_text("joy\nfear\nneutral\n")
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match=message):
        list(reader(tmp_path / "x"))


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold one file for each of train, dev, test"):
        in_spacy.write_folder(tmp_path, tmp_path / "out")


def test_generated_is_the_same_for_the_same_seed(tmp_path):
    made = [generated.write(tmp_path / str(i), seed=i // 2) / "train.conll" for i in range(3)]
    assert made[0].read_bytes() == made[1].read_bytes() != made[2].read_bytes()
    rarer = generated.write(tmp_path / "rarer", empty=0.9) / "train.conll"
    for path, low, high in ((made[0], 0.85, 0.95), (rarer, 0.97, 1.0)):
        tags = [tag for _, sentence in columns.read(path) for tag in sentence]
        assert {tag[2:] for tag in tags if tag != "O"} <= {"person", "city", "product"}
        assert low < tags.count("O") / len(tags) < high


@pytest.mark.parametrize("corpus", [ncbi_disease, wnut17], ids=lambda module: module.__name__)
def test_download_once_and_verify(corpus, tmp_path, monkeypatch):
    """From a server on this machine in place of the corpus's home."""
    contents = {"/" + remote: f"{remote}\tO\n".encode() for remote, _ in corpus.FILES.values()}
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(contents[self.path])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(corpus, "HOME", f"http://127.0.0.1:{server.server_port}/")
    pinned = {
        split: (remote, hashlib.sha256(contents["/" + remote]).hexdigest())
        for split, (remote, _) in corpus.FILES.items()
    }
    monkeypatch.setattr(corpus, "FILES", pinned)
    for _ in range(2):
        files = corpus.locate(tmp_path / "cache")
        assert folders.files(tmp_path / "cache") == files and len(asked) == 3
    files["dev"].write_text("incomplete")
    corpus.locate(tmp_path / "cache")
    assert len(asked) == 4
    contents["/" + pinned["train"][0]] = b"something else"
    with pytest.raises(ValueError, match="is not the file that this project was made for"):
        corpus.locate(tmp_path / "other")
    assert not (tmp_path / "other").exists()
    server.shutdown()
    server.server_close()
    with pytest.raises(download.Unreachable):
        corpus.locate(tmp_path / "other")

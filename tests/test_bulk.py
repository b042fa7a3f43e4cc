"""Bulk tagging: what is written is what `nlp.pipe` and Flair's `predict` say, whatever dies on the
way. In one process where Ray is not what is tested."""

import gzip
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pages
import pytest
import spacy

import spacy_dice.cli  # noqa: F401 - adds the command
from spacy_tests.helpers import invoke

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("ray")

from dice_bulk import Options, tag  # noqa: E402
from dice_bulk.records import Source  # noqa: E402
from dice_bulk.taggers import import_code  # noqa: E402
from dice_bulk.worker import table_of  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CRASH = "crash here"
# A component of a user's, which fails on some texts.
CODE = """
from spacy.language import Language

@Language.component("fragile")
def fragile(doc):
    if "crash here" in doc.text:
        raise RuntimeError("cannot do this one")
    return doc

@Language.component("lethal")
def lethal(doc):
    if "crash here" in doc.text:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return doc
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A pipeline with entities, spans with scores, categories and tags."""
    folder = tmp_path_factory.mktemp("model") / "model"
    nlp = pages.pipeline("ner", "spancat", "textcat_multilabel", "tagger", updates=12)
    nlp.to_disk(folder)
    return str(folder)


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with two workers' room."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def texts(n):
    whole = [doc.text for doc in pages.docs(6)]
    return [f"{whole[i % 6]} {i}" for i in range(n)]


def write_lines(path, records):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(line + "\n" for line in lines), "utf8")
    return str(path)


def write_table(path, n, **options):
    columns = {"body": texts(n), "url": [f"u{i}" for i in range(n)], "n": list(range(n))}
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def rows_of(out):
    return pq.read_table(out).to_pylist()


def expected(doc):
    """A doc's row, from spaCy's own names of it."""

    def span(each, score):
        return (each.start_char, each.end_char, each.label_, each.text, score)

    return {
        "ents": [span(ent, None) for ent in doc.ents],
        "spans": [
            ("sc", *span(each, score))
            for each, score in zip(doc.spans["sc"], doc.spans["sc"].attrs.get("scores", []))
        ],
        "cats": list(doc.cats.items()),
        "tags": [(token.idx, token.idx + len(token), token.tag_) for token in doc],
    }


def assert_same(rows, docs):
    """Rows say of each doc what it says itself; scores to what other batches change in them."""
    assert len(rows) == len(docs)
    n_ents = n_spans = 0
    for row, doc in zip(rows, docs):
        gold = expected(doc)
        names = ("start", "end", "label", "text", "score")
        assert [tuple(ent[name] for name in names) for ent in row["ents"]] == gold["ents"]
        found = [tuple(span[name] for name in ("key", *names)) for span in row["spans"]]
        assert [span[:-1] for span in found] == [span[:-1] for span in gold["spans"]]
        scores = [span[-1] for span in gold["spans"]]
        assert [span[-1] for span in found] == pytest.approx(scores, abs=1e-4)
        assert {c["label"]: c["score"] for c in row["cats"]} == pytest.approx(
            dict(gold["cats"]), abs=1e-4
        )
        assert [(t["start"], t["end"], t["tag"]) for t in row["tags"]] == gold["tags"]
        n_ents += len(row["ents"])
        n_spans += len(row["spans"])
    assert n_ents and n_spans, "the model finds nothing: this shows nothing"


def test_ray_gives_what_pipe_gives(model, cluster, tmp_path):
    source = write_table(tmp_path / "in.parquet", 90, row_group_size=40)
    options = Options(text="body", id="n", keep=("url",), workers=2, rows=25, batch_size=8)
    done = []
    summary = tag(model, source, str(tmp_path / "out"), options, lambda *d: done.append(d))
    assert (summary.tagged, summary.bad, summary.parts, summary.resumed) == (90, 0, 4, 0)
    assert sorted(part.number for part, _ in done) == [0, 1, 2, 3]
    rows = rows_of(tmp_path / "out")
    assert [row["row"] for row in rows] == [row["id"] for row in rows] == list(range(90))
    assert [row["url"] for row in rows] == [f"u{i}" for i in range(90)]
    assert {row["file"] for row in rows} == {"in.parquet"}
    assert_same(rows, list(spacy.load(model).pipe(texts(90))))


@pytest.mark.slow
def test_a_worker_is_killed(model, cluster, tmp_path):
    """Its part is done again by another, and all is there once."""
    source = write_table(tmp_path / "in.parquet", 480)
    out = tmp_path / "out"
    options = Options(text="body", field=("cats",), workers=2, rows=80, batch_size=16)
    killed = []

    def kill(part, done):
        end = time.monotonic() + 2
        while not killed and time.monotonic() < end:
            for draft in (out / "_tmp").iterdir():  # of one that is at work
                if draft.suffix != ".jsonl":
                    killed.append(int(draft.suffix[1:]))
                    os.kill(killed[0], signal.SIGKILL)
                    break

    summary = tag(model, source, str(out), options, kill)
    assert killed and (summary.tagged, summary.parts) == (480, 6)
    assert [row["row"] for row in rows_of(out)] == list(range(480))
    assert not (out / "_tmp").exists()


def test_bad_records_go_to_the_side_with_the_reason(model, tmp_path):
    (tmp_path / "code.py").write_text(CODE)
    import_code(str(tmp_path / "code.py"))
    nlp = spacy.load(model)
    nlp.add_pipe("fragile")
    nlp.to_disk(tmp_path / "fragile")
    good = texts(8)
    records = [
        {"text": good[0], "id": "a", "at": [1, 2]},
        "{not json",
        "",
        {"text": None},
        {"id": "no text"},
        {"text": 7},
        '"only text"',
        {"text": CRASH, "id": "b"},
        '{"text": "half \\ud800 pair"}',
        {"text": "", "id": 3},
        {"text": good[1]},
        *({"text": each} for each in good[2:]),
    ]
    source = write_lines(tmp_path / "in.jsonl", records)
    with open(source, "ab") as file:
        file.write(b'{"text": "\xff"}')  # and no line end
    options = Options(
        local=True, id="id", keep=("at",), rows=9, batch_size=4, code=str(tmp_path / "code.py")
    )
    summary = tag(str(tmp_path / "fragile"), source, str(tmp_path / "out"), options)
    rows = rows_of(tmp_path / "out")
    assert [row["row"] for row in rows] == [0, 9, 10, 11, 12, 13, 14, 15, 16]
    assert [row["id"] for row in rows[:3]] == ["a", "3", None] and rows[0]["at"] == "[1, 2]"
    assert rows[1]["tags"] == [] and rows[1]["cats"]  # of no words
    assert_same(rows, list(nlp.pipe([good[0], "", *good[1:]])))
    lines = "".join(f.read_text() for f in sorted((tmp_path / "out/_bad").iterdir()))
    bad = {entry["row"]: entry for entry in map(json.loads, lines.splitlines())}
    assert {row: entry["reason"].partition(":")[0] for row, entry in bad.items()} == {
        1: "invalid JSON",
        3: "no text",
        4: "no text",
        5: "the text is of type int",
        6: "the line is no JSON object",
        7: "RuntimeError",
        8: "the text is not valid Unicode",
        17: "the line is not UTF-8",
    }
    assert (summary.tagged, summary.bad) == (9, 8)
    assert "cannot do this one" in bad[7]["reason"] and bad[7]["record"] == CRASH
    assert bad[1]["record"] == "{not json" and bad[1]["file"] == "in.jsonl"


def with_lethal_texts(model, folder, **options):
    """A pipeline that two texts of twelve kill, texts, and the options of a job."""
    (folder / "code.py").write_text(CODE)
    import_code(str(folder / "code.py"))
    nlp = spacy.load(model)
    nlp.add_pipe("lethal")
    nlp.to_disk(folder / "lethal")
    bodies = [CRASH if i in (2, 3) else text for i, text in enumerate(texts(12))]
    source = write_lines(folder / "in.jsonl", [{"text": body} for body in bodies])
    given = Options(code=str(folder / "code.py"), field=("cats",), batch_size=4, **options)
    return str(folder / "lethal"), source, given


def assert_lethal_are_bad(out, summary):
    assert (summary.tagged, summary.bad) == (10, 2)
    assert [row["row"] for row in rows_of(out)] == [0, 1, *range(4, 12)]
    bad = [json.loads(line) for line in (out / "_bad" / "part-000000.jsonl").open()]
    assert [(each["row"], each["record"]) for each in bad] == [(2, CRASH), (3, CRASH)]
    assert all("process died on this text" in each["reason"] for each in bad)
    assert not (out / "_tmp").exists()


def test_a_text_that_kills_the_process_is_bad_in_the_end(model, tmp_path):
    """The same command goes on, and knows what it died over."""
    lethal, source, options = with_lethal_texts(model, tmp_path, local=True)
    for _ in range(5):  # in the batch, then twice for each text
        job = multiprocessing.get_context("fork").Process(
            target=tag, args=(lethal, source, str(tmp_path / "out"), options)
        )
        job.start()
        job.join()
        assert job.exitcode == -signal.SIGKILL
    assert_lethal_are_bad(tmp_path / "out", tag(lethal, source, str(tmp_path / "out"), options))


@pytest.mark.slow
def test_a_text_that_kills_workers_is_bad_in_the_end(model, cluster, tmp_path):
    lethal, source, options = with_lethal_texts(model, tmp_path, workers=2, rows=6)
    assert_lethal_are_bad(tmp_path / "out", tag(lethal, source, str(tmp_path / "out"), options))


@pytest.mark.slow
def test_a_job_stops_when_more_workers_die_than_it_may_lose(model, cluster, tmp_path):
    lethal, source, options = with_lethal_texts(model, tmp_path, workers=1, deaths=2)
    with pytest.raises(ChildProcessError, match="A worker failed"):
        tag(lethal, source, str(tmp_path / "out"), options)


def test_a_job_that_was_killed_goes_on(model, tmp_path):
    """Parts that were done are not touched, and nothing is there twice."""
    source = write_table(tmp_path / "in.parquet", 1000)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "spacy_dice.bulk", model, source, str(out), "--local"]
    command += ["--text", "body", "--field", "cats", "--rows", "50", "--batch-size", "10"]
    job = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not table_of(out, 2).exists() and job.poll() is None:
        time.sleep(0.01)
    job.kill()
    job.wait()
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.parquet")}
    assert 3 <= len(before) < 20
    options = Options(local=True, text="body", field=("cats",), rows=50, batch_size=64)
    summary = tag(model, source, str(out), options)
    assert (summary.tagged, summary.resumed) == (1000, len(before))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert [row["row"] for row in rows_of(out)] == list(range(1000))
    assert sorted(file.name for file in out.iterdir() if file.suffix != ".parquet") == ["_job.json"]
    again = tag(model, source, str(out), options)
    assert (again.tagged, again.resumed) == (1000, 20)


@pytest.mark.parametrize("zipped", [False, True])
def test_parts_of_lines_are_all_lines_once(zipped, tmp_path, monkeypatch):
    """Whatever the size of a part, a batch and the pieces that files are read in."""
    monkeypatch.setattr("dice_bulk.records.CHUNK", 64)
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    whole = {"b.jsonl": 23, "below/a.jsonl": 10, "empty.jsonl": 0}
    for name, n in whole.items():
        lines = "\n".join(json.dumps({"text": f"{name} {i}" * (i % 3 + 1)}) for i in range(n))
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(lines.encode()))
        else:
            (folder / name).write_text(lines + "\n" * (name == "b.jsonl"))
    (folder / "_ignored.jsonl").write_text("{}\n")
    for rows in (1, 5, 10, 23, 100):
        source = Source(str(folder), Options(rows=rows, batch_size=4))
        found = {}
        for part in source.parts():
            for batch in source.batches(part):
                assert not batch.bad
                for row, text in zip(batch.rows, batch.texts):
                    assert found.setdefault((source.name_of(part.file), row), text) is text
        end = ".gz" if zipped else ""
        assert found == {
            (name + end, i): f"{name} {i}" * (i % 3 + 1)
            for name, n in whole.items()
            for i in range(n)
        }


def test_flair(tmp_path):
    """Entities of a tagger with their scores, and where they are in the text."""
    names = pages.for_flair(tmp_path)
    names["ModelTrainer"](names["tagger"], names["corpus"]).train(
        str(tmp_path / "t"), learning_rate=1.0, mini_batch_size=2, max_epochs=20
    )
    file = tmp_path / "model.pt"
    names["tagger"].save(file)
    bodies = ["  they are moving to Rome", "", "my new  phone is fine", "Rome"]
    source = write_lines(tmp_path / "in.jsonl", [{"text": body} for body in bodies])
    tag(str(file), source, str(tmp_path / "out"), Options(local=True, batch_size=2))
    from flair.data import Sentence
    from flair.nn import Classifier

    model = Classifier.load(file)
    rows = rows_of(tmp_path / "out")
    found = 0
    for body, row in zip(bodies, rows):
        sentence = Sentence(body)
        if len(sentence):
            model.predict(sentence)
        spans = sentence.get_spans("ner") if len(sentence) else []
        assert [(e["label"], e["score"]) for e in row["ents"]] == [
            (span.tag, pytest.approx(span.score, abs=1e-4)) for span in spans
        ]
        assert all(body[ent["start"] : ent["end"]] == ent["text"] for ent in row["ents"])
        found += len(spans)
    assert len(rows) == 4 and found and "tags" not in rows[0]


def test_what_is_wrong_is_said_in_one_line(model, tmp_path):
    table = write_table(tmp_path / "in.parquet", 5)
    lines = write_lines(tmp_path / "in.jsonl", [{"text": "a b"}])
    out, local = tmp_path / "out", Options(local=True, text="body")

    def error(*args, **options):
        with pytest.raises((ValueError, OSError)) as raised:
            tag(*map(str, args), Options(**{"local": True, "text": "body", **options}))
        return str(raised.value)

    assert "has no column 'text'; it has body, url, n" in error(model, table, out, text="text")
    assert "column 'n' is of int64, not of text" in error(model, table, out, text="n")
    assert "has no 'body'; it has text" in error(model, lines, out)
    assert "Parquet and JSON Lines" in error(model, tmp_path, out)
    assert "There is no" in error(model, tmp_path / "nothing", out)
    assert "is none of .parquet" in error(model, Path(model) / "config.cfg", out)
    assert f"Did you mean {model}" not in error(tmp_path, table, out)
    assert "neither a package" in error(tmp_path, table, out)
    assert "is no file of a Flair model" in error(table, table, out)
    assert "'file' is written already" in error(model, table, out, keep=("file",))
    assert "field must be one of" in error(model, table, out, field=("entities",))
    assert "batch_size must be 1 or more" in error(model, table, out, batch_size=0)
    assert "local is one process" in error(model, table, out, workers=2)
    assert "other things in it" in error(model, table, tmp_path)
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path / "plain")
    assert "no component says" in error(tmp_path / "plain", table, out)
    assert "gives no ents; it gives nothing" in error(
        tmp_path / "plain", table, out, field=("ents",)
    )
    tag(model, table, str(out), local)
    assert "another option (keep: [] then, ['url'] now)" in error(model, table, out, keep=("url",))
    assert "another fields" in error(model, table, out, field=("cats",))
    os.utime(table)
    assert "another input" in error(model, table, out)
    status, printed = invoke("dice", "bulk", model, lines, tmp_path / "new", "--text", "x")
    assert status == 1 and printed.count("\n") == 1 and "has no 'x'" in printed, printed
    lines = write_lines(tmp_path / "bad.jsonl", [{"text": 1}])
    status, printed = invoke("dice", "bulk", model, lines, tmp_path / "new", "--local")
    assert status == 1 and "All 1 records are bad" in printed


@pytest.mark.slow
def test_20_of_20_killed_workers_lose_nothing(model, cluster, tmp_path):
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        test_a_worker_is_killed(model, None, folder)

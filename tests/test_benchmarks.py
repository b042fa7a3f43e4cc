"""The benchmarks run, from the command line that their docstrings give."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from benchmarks import results
from benchmarks.compare import (
    calibration,
    grid,
    recipes,
    rivals,
    scores,
    tried,
    with_flair,
    with_spacy,
)
from benchmarks.compare import cell as benchmark
from benchmarks.report import components, pages, plots, tables
from benchmarks.speed import growth
from corpora import folders, generated

ROOT = Path(__file__).resolve().parent.parent


def run(*args):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("model", ["ner", "dice_ner"])
def test_a_cell_is_measured_once(model, tmp_path):
    data = generated.write(tmp_path / "generated")
    path = tmp_path / "results.jsonl"
    command = ["benchmarks.compare.cell", "--data", data, "--model", model, "--loss", "dice_ce"]
    command += ["--size", 50, "--results", path, "--keep", tmp_path / "model"]
    command += ["--set", "training.max_steps=20", "training.eval_frequency=10"]
    command += ["training.optimizer.learn_rate=0.01"]
    run(*command)
    assert "Done already" in run(*command)
    (line,) = path.read_text().splitlines()
    done = json.loads(line)
    assert (done["data"], done["size"], done["seed"]) == ("generated", 50, 0)
    assert [row[0] for row in done["curve"]] == [0, 10, 20]
    assert set(done["test"]) == {"f", "p", "r", "macro_f", "per_type", "seqeval_f"}
    assert done["test"]["seqeval_f"] == pytest.approx(done["test"]["f"])
    assert done["versions"]["spacy"] and sum(done["train_counts"].values()) > 20
    output = run("benchmarks.compare.calibration", "--data", data, tmp_path / "model")
    assert output.count("ECE") + output.count("no entities") == 2
    if model == "ner":
        assert output.count("by a beam of 16") == 2
    if model == "dice_ner":
        assert done["best_threshold"]["dev"] >= done["dev"]["f"]
        rows = run("benchmarks.compare.thresholds", "--data", data, tmp_path / "model").splitlines()
        assert len(rows) == 24 and rows[0].split() == ["dev", "precision", "recall", "F1"]


@pytest.mark.parametrize("model, lowest", [("tagger", 0.4), ("textcat", 0.3), ("spancat", 0.4)])
def test_cells_of_other_components(model, lowest, tagged, tmp_path):
    """Their predictions are scored, which scores of 0 would not show."""
    data = tmp_path / "in"
    data.mkdir()
    write = {"tagger": write_conllu, "textcat": write_messages, "spancat": generated.write}
    write[model](data)
    path = tmp_path / "results.jsonl"
    command = ["benchmarks.compare.cell", "--data", data, "--model", model, "--loss", "dice_ce"]
    command += ["--results", path, "--set", "training.max_steps=120"]
    run(*command, "training.eval_frequency=20")
    (line,) = path.read_text().splitlines()
    done = json.loads(line)
    assert done["test"]["f"] > lowest
    assert done["curve"][-1][0] == 120 and sum(done["train_counts"].values()) > 20


@pytest.mark.parametrize(
    "model, settings",
    [
        ("spancat", ["components.spancat.suggester.sizes=[1,2]"]),
        ("span_finder", []),
        ("textcat_multilabel", []),
        ("textcat_multilabel_reduce", []),
        ("textcat_multilabel_bow", ["training.optimizer.learn_rate=0.05"]),
        ("morphologizer", []),
    ],
)
def test_cells_of_stock_components(model, settings, tmp_path):
    """With the library's loss and without the library, in this process; and a cell is the same
    whatever was trained before it."""
    data, path = tmp_path / "in", tmp_path / "results.jsonl"
    data.mkdir()
    write = {"morphologizer": write_conllu, "textcat": write_labelled}
    write.get(model if model in write else model[:7], generated.write)(data)
    common = ["--data", data, "--model", model, "--size", 60, "--learn-rate", 0.01]
    common += ["--set", "training.max_steps=60", "training.eval_frequency=20", *settings]
    for loss, file_ in (("stock", path), ("dice_ce", path), ("stock", tmp_path / "again")):
        command = [*common, "--loss", loss, "--results", file_]
        benchmark.main([str(part) for part in command])
    stock, ours = (json.loads(line) for line in path.read_text().splitlines())
    again = json.loads((tmp_path / "again").read_text())
    assert again["test"] == stock["test"] and again["dev"] == stock["dev"]
    assert [row[:2] for row in again["curve"]] == [row[:2] for row in stock["curve"]]
    steps, _, seconds = zip(*ours["curve"])
    assert steps == (0, 20, 40, 60) and sorted(seconds) == list(seconds) and seconds[-1] > 0
    assert max(ours["test"]["macro_f"], ours["test"]["f"]) > 0.2
    assert ours["words_per_second"] > 0 and sum(ours["train_counts"].values()) > 20
    curves = [[score for _, score, _ in line["curve"]] for line in (stock, ours)]
    assert model == "morphologizer" or curves[0] != curves[1]


@pytest.mark.parametrize(
    "model, every", [("spancat_transformer", 4), ("textcat_multilabel_transformer", 1)]
)
def test_cells_on_a_transformer(model, every, tmp_path):
    """With the library's loss and without; the learning rate is the first of a schedule."""
    from flair_tests.helpers import BERT

    data, path = tmp_path / "in", tmp_path / "results.jsonl"
    data.mkdir()
    (generated.write if model.startswith("spancat") else write_labelled)(data)
    common = ["--data", data, "--model", model, "--size", 20, "--learn-rate", 0.0005]
    common += ["--transformer", f"MiniLM={BERT}", "--results", path]
    for loss in ("stock", "ce"):
        settings = [f"training.max_steps={2 * every}", f"training.eval_frequency={every}"]
        settings += ["training.optimizer.learn_rate.warmup_steps=1"]
        benchmark.main([str(part) for part in (*common, "--loss", loss, "--set", *settings)])
    stock, ours = results.read([path])
    assert stock["learn_rate"] == 0.0005 and "transformer=MiniLM" in stock["settings"]
    curves = [[score for _, score, _ in line["curve"]] for line in (stock, ours)]
    assert curves[0] != curves[1] and max(curves[1]) > curves[1][0]


def write_labelled(folder):
    (folder / "labels.txt").write_text("good\nbad\nodd\n")
    rows = [("fine nice", "0"), ("awful poor", "1"), ("fine strange", "0,2"), ("plain text", "2")]
    for split in folders.SPLITS:
        lines = [f"{rows[i % 4][0]} {i}\t{rows[i % 4][1]}" for i in range(80)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def test_what_is_not_stock_has_no_stock_cells(tmp_path):
    data = generated.write(tmp_path / "in")
    command = [
        "--data",
        data,
        "--model",
        "dice_ner",
        "--loss",
        "stock",
        "--results",
        tmp_path / "r",
    ]
    with pytest.raises(ValueError, match="dice_ner is not stock"):
        benchmark.main([str(part) for part in command])


def test_a_rate_is_tuned_with_the_first_seed(tmp_path):
    """All rates are tried with seed 0; then the one with the best dev is taken, loss by loss."""
    block = grid.Block("d", 300, "spancat", (), ("ce",))
    path = tmp_path / "r.jsonl"
    assert grid.rates(block, "ce", 1, path, [0.003, 0.001]) == [0.003]
    path.write_text(component("ce", 0, 50, 0.003) + component("ce", 0, 52, 0.001))
    assert grid.rates(block, "ce", 0, path, [0.003, 0.001]) == [0.003, 0.001]
    assert grid.rates(block, "ce", 1, path, [0.003, 0.001]) == [0.001]
    assert grid.rates(block, "focal", 1, path, [0.003, 0.001]) == [0.003]


def component(
    loss, seed, f, rate=0.003, model="spancat", curve=(), labels="X", tuned=None, estimate=None
):
    """A line of results: F1 of dev is f, of test one more; with "tune" it is tuned, estimate what
    that expects."""
    of_split = {
        split: {"f": (f + more) / 100, "p": 0.5, "r": 0.25, "macro_f": 0.1, "per_type": {"X": 0.2}}
        for split, more in (("dev", 0), ("test", 1))
    }
    line = {"data": "d", "size": 300, "model": model, "loss": loss, "seed": seed, "settings": []}
    line.update(learn_rate=rate, curve=curve, words_per_second=9000, **of_split)
    line["train_counts"] = dict.fromkeys(labels, 5)
    if tuned is not None:
        errors = {"before": [0.02 + seed / 100, 0.1], "calibrated": [0.01, 0.1]}
        line["tuned"] = {
            "test": {"f": tuned / 100, "macro_f": 0.3, "per_type": {}},
            "errors": errors,
        }
        if estimate is not None:
            line["tuned"]["estimate"] = {"micro_f": estimate / 100, "macro_f": 0.3}
    return json.dumps(line) + "\n"


def test_tables_of_components_by_hand(tmp_path):
    """Stock 40 and 42, cross-entropy 2 and 4 more; the slower rate was worse with seed 0."""
    from matplotlib.image import imread

    slow, quick = [[0, 0.0, 0.0], [30, 0.2, 3.0], [60, 0.4, 6.0]], [[0, 0.1, 0.0], [30, 0.41, 2.0]]
    path = tmp_path / "r.jsonl"
    path.write_text(
        component("stock", 0, 40, curve=slow)
        + component("stock", 1, 42, curve=slow)
        + component("ce", 0, 42, curve=quick)
        + component("ce", 1, 46, curve=quick)
        + component("ce", 0, 41, 0.001)
        + component("ce", 0, 60, model="tagger")
    )
    groups = components.grouped(results.read([path]))
    (spans, tags) = groups
    assert spans == ("d", "300", "spancat") and tags == ("d", "300", "tagger")
    assert list(groups[spans]["ce"]) == [0, 1]
    assert components.scores(groups, ["stock", "ce", "auto"])[2:] == [
        "| spancat, d, 300 | 2 | 42.0 | +3.0 ± 12.7 | +3.0 ± 12.7 |",
        "| tagger, d, 300 | 1 | 10.0 |  | stock |",
    ]
    assert components.means(groups, ["stock", "ce"], "dev")[2:] == [
        "| spancat, d, 300 | 2 | 41.0 | **44.0** |"
    ]
    assert components.sooner(groups, ["stock", "ce"])[2:] == [
        "| spancat, d, 300 | 60 (6.0 s) | 30 (2.0 s) |",
        "| median ratio of updates (cells) | 1 | 0.50 (1) |",
    ]
    assert components.early(groups, ["stock", "ce"])[2:] == [
        "| spancat, d, 300 | 20.0 / 40.0 | 41.0 /  |"
    ]
    assert components.rates(groups, ["ce"])[2] == "| spancat, d, 300 | 0.003 |"
    slow_rate = components.grouped(results.read([path]), rate=0.001)
    assert [list(by_loss) for by_loss in slow_rate.values()] == [["ce", "auto"], []]
    assert components.wins(groups, ["stock", "ce"])[2:] == [
        "| sigmoid, spans | stock | 1 | 0 | 0 | -3.0 | -3.0 | 0 | 0 |",
        "| sigmoid, spans | CE | 1 | 1 | 1 | +0.0 | +0.0 | 0 | 0 |",
        "| softmax, no background | CE | 1 | 1 | 1 | +0.0 | +0.0 | 0 | 0 |",
    ]
    of_ner = json.loads(component("stock", 0, 40, model="ner"))
    in_ner = components.grouped([*results.read([path]), of_ner])
    assert components.ner(in_ner, ["stock"])[2:] == [
        "| d, 300 | ner | stock | 1 | 40.0 | 41.0 | 50.0 | 25.0 | 9,000 |",
        "| d, 300 | spancat | stock | 2 | 41.0 | 42.0 | 50.0 | 25.0 | 9,000 |",
    ]
    assert not components.ner(groups, ["stock"])[2:]  # there is one way alone
    cells = results.read([path])
    assert components.recommended(("d", "300", "ner"), cells) == "stock"
    assert components.recommended(("d", "300", "dice_ner"), cells) == "dice_ce"
    for kind, of_kind in pages.COMPONENTS.items():  # "auto" is a column of all of them
        rows = of_kind(cells, ["stock", "ce", "auto"])[2:]
        in_tagger = [row for row in rows if "tagger" in row]
        assert not in_tagger or ("stock |" in in_tagger[0]), kind
    assert not tables.grouped(results.read([path]))
    assert "**gains**" in run("benchmarks.report", path)
    assert "Wrote" in run("benchmarks.report", path, "--picture", tmp_path / "a.png")
    more = [json.loads(component("ce", 0, 9, model=f"spancat_{i}")) for i in range(8)]
    plots.picture(components.grouped([*cells, *more]), tmp_path / "b.png")
    small, high = (imread(tmp_path / name).shape for name in ("a.png", "b.png"))
    assert (high[0] - small[0]) / 8 == pytest.approx(150 * plots.ROW, abs=1)
    assert high[1] == small[1]


def test_tables_over_cells_by_hand():
    """Cross-entropy gains 2 in one cell and loses 2 in the other, where it is never above stock."""
    curve = lambda *steps: [[i, f, float(i)] for i, f in steps]  # noqa: E731
    lines = [
        component("stock", 0, 38, 0.001, curve=curve((0, 0.0), (100, 0.4))),
        component("ce", 0, 40, 0.001, curve=curve((0, 0.0), (30, 0.5))),
        component("stock", 0, 52, 0.001, "span_finder", curve=curve((0, 0.0), (50, 0.7))),
        component("ce", 0, 50, 0.001, "span_finder", curve=curve((0, 0.0), (50, 0.7))),
        component("stock", 0, 90, 0.003),
    ]
    cells = [json.loads(line) for line in lines]
    assert pages.COMPONENTS["plain"](cells, ["stock", "ce"])[2:] == [
        "| span_finder, d, 300 | 1 | 53.0 | -2.0 |",
        "| spancat, d, 300 | 1 | 39.0 | +2.0 |",
    ]
    assert pages.COMPONENTS["sooner_plain"](cells, ["stock", "auto"])[2:] == [
        "| span_finder, d, 300 | 50 (50.0 s) | - |",
        "| spancat, d, 300 | 100 (100.0 s) | 30 (30.0 s) |",
        "| median ratio of updates (cells) | 1 | - (2) |",
    ]
    (stock, auto, _) = components.wins(
        components.grouped(cells, rate=0.001), ["stock", "auto", "ce"]
    )[2:]
    assert stock == "| sigmoid, spans | stock | 2 | 1 | 1 | +0.0 ± 25.4 | +0.0 ± 25.4 | 0 | 0 |"
    assert auto == "| sigmoid, spans | auto | 2 | 1 | 1 | +0.0 ± 0.0 | +0.0 ± 0.0 | 0 | 0 |"


def test_table_of_tuning_by_hand():
    """Micro F1 of spans goes from 41 and 43 to 44 and 42; that of texts counts as macro F1."""
    lines = [
        component("stock", 0, 40, tuned=44),
        component("stock", 1, 42, tuned=42),
        component("stock", 2, 10),
        component("ce", 0, 50, model="textcat_multilabel", tuned=49, labels="XY"),
    ]
    cells = [json.loads(line) for line in lines]
    assert pages.COMPONENTS["tuned"](cells, ["stock", "ce"])[2:] == [
        "| spancat, d, 300 | stock | 2 | 42.0 -> 43.0 | 10.0 -> 30.0 | +1.0 ± 25.4 | -1.0 "
        "| 0.025 -> 0.010 |",
        "| textcat_multilabel, d, 300 | CE | 1 | 51.0 -> 49.0 | 10.0 -> 30.0 | +20.0 | +20.0 "
        "| 0.020 -> 0.010 |",
    ]


def test_tables_of_other_cells_by_hand():
    """Of Flair's, whose own loss is cross-entropy, and of a component on a transformer."""
    by_epoch = {"curve": [[1, 0.1], [2, 0.2]], "labels": "XYZ", "model": "flair_texts"}
    after = {"curve": [[30, 0.4, 2.0]], "model": "spancat_transformer"}
    lines = [
        component("stock", 0, 50, **by_epoch),
        component("ce", 0, 50, **by_epoch),
        component("balanced_macro", 0, 50, tuned=52, **by_epoch),
        component("stock", 0, 40, **after),
        component("ce", 0, 43, **after),
    ]
    cells = [json.loads(line) for line in lines]
    cells[2]["test"]["macro_f"] = 0.14
    del cells[2]["tuned"]["errors"], cells[2]["words_per_second"]  # which Flair's do not have
    made = {
        kind: of_kind(cells, ["stock", "ce", "auto", "balanced_macro"])[2:]
        for kind, of_kind in pages.COMPONENTS.items()
    }
    assert made["gains"] == [
        "| spancat_transformer, d, 300 | 1 | 41.0 | +3.0 | +3.0 |  |",
        "| flair_texts, d, 300 | 1 | 10.0 | +0.0 | +4.0 | +4.0 |",
    ]
    assert made["rivals"][:2] == [
        "| spancat_transformer, d, 300 | 1 | 41.0 | 44.0 | 44.0 | +3.0, stock |",
        "| flair_texts, d, 300 | 1 | 10.0 | 10.0 | 14.0 | +4.0, stock |",
    ]
    assert made["tuned"] == [
        "| flair_texts, d, 300 | balanced CE + macro Dice | 1 | 51.0 -> 52.0 | 14.0 -> 30.0 "
        "| +16.0 | +16.0 |  |"
    ]
    assert [row.split(" | ")[0] for row in made["sooner"][:-1]] == ["| spancat_transformer, d, 300"]


def test_tables_of_rivals_by_hand():
    """With one label "auto" is cross-entropy. Focal is best on dev over the seeds that all have,
    and not on test; ASL, of one seed, is not. The tagger's "auto" is stock, which is cross-entropy:
    a rival is above it."""
    lines = [
        *(component("ce", seed, f, tuned=f + 3) for seed, f in enumerate((40, 44, 48))),
        *(component("focal", seed, f) for seed, f in enumerate((45, 45, 45))),
        component("asl", 0, 44),
        component("logit_adjustment", 0, 99),
        component("logit_adjustment_0.5", 0, 30, tuned=40, estimate=50),
        component("stock", 0, 20, tuned=46, estimate=40),
        component("stock", 0, 60, 0.001),
        *(component("ce", 0, 30, model=model) for model in ("ner", "textcat")),
        component("logit_adjustment", 0, 33, model="textcat", labels="XY"),
        component("logit_adjustment_0.5", 0, 35, model="textcat", labels="XY"),
    ]
    cells = [json.loads(line) for line in lines]
    cells[-2]["test"]["macro_f"] = 0.12  # by which texts count; it is 0.1 in the others
    asked = ["stock", "ce", "focal", "asl", "weighted_ce", "logit_adjustment"]
    head, _, *rows = pages.COMPONENTS["rivals"](cells, asked)
    names = [cell.strip() for cell in head.split("|")[3:-1]]
    assert names == [*(components.NAMES[x] for x in asked if x != "weighted_ce"), "auto", names[-1]]
    assert rows == [
        "| spancat, d, 300 | 3 | 61.0 (1) | 45.0 | 46.0 | 45.0 (1) | 31.0 (1) | 45.0 "
        "| -20.0 (1), stock |",
        "| textcat, d, 300 | 1 | 10.0 | 10.0 |  |  | 12.0 | stock | -2.0, logit adjustment |",
        "| mean over cells |  |  |  |  |  |  |  | -11.0 ± 114.4; above 0 in 0 of 2 |",
    ]
    rows = pages.COMPONENTS["rivals"](cells, ["focal", "asl"])[2:]
    assert rows[0].endswith("| 61.0 (1) | 46.0 | 45.0 (1) | 45.0 | -20.0 (1), stock |")
    without = [cell for cell in cells if cell["loss"] != "stock"]
    rows = pages.COMPONENTS["rivals"](without, ["focal", "asl"])[2:]
    assert rows[0].endswith("| 46.0 | 45.0 (1) | 45.0 | -1.0 ± 9.9, focal |")
    # Tuned: the rate is still the one that is best untuned, where stock has no line.
    tuned = pages.COMPONENTS["rivals_tuned"](cells, asked)[2:]
    assert tuned == [
        "| spancat, d, 300 | 3 | 47.0 | 40.0 (1) | 47.0 | +3.0 (1), logit adjustment |",
        "| mean over cells |  |  |  |  | +3.0; above 0 in 1 of 1 |",
    ]


@pytest.mark.parametrize(
    "model, n_labels, loss",
    [
        ("spancat", 1, "ce"),
        ("spancat", 3, "weighted_ce"),
        ("span_finder", 3, "ce"),
        ("textcat_multilabel", 3, "balanced_macro"),
        ("textcat", 3, "balanced_macro"),
        ("textcat", 2, "stock"),
        ("ner", 3, "stock"),
        ("tagger", 3, "stock"),
        ("morphologizer", 3, "stock"),
    ],
)
def test_auto_is_what_the_library_recommends(model, n_labels, loss):
    """The report says what use_loss takes, for stock components; the losses are equal."""
    from thinc.api import registry

    import spacy_dice
    from spacy_dice.switch import STOCK_TO_DICE

    cell = json.loads(component(loss, 0, 50, model=model, labels="XYZ"[:n_labels]))
    assert components.recommended(("d", "300", model), [cell]) == loss
    pipe = spacy.blank("en").add_pipe(model)
    if model == "morphologizer":
        pipe.add_label("Number=Sing")
    elif model != "span_finder":
        for label in "XYZ"[:n_labels]:
            pipe.add_label(label)
    found = STOCK_TO_DICE[type(pipe)].recommended(pipe)
    assert (found is None) == (loss == "stock")
    if found is not None:
        config = {"loss": recipes.as_config(recipes.RECIPES[loss])}
        losses = [registry.resolve(config)["loss"], spacy_dice.make_loss(found)]
        p, y = (
            numpy.random.default_rng(0).dirichlet([1, 1, 1], 20),
            numpy.eye(3)[[0, 0, 0, 1, 2] * 4],
        )
        for of_loss in losses:
            of_loss.activation = "softmax" if model == "textcat" else "sigmoid"
        gradients = [of_loss(p, y)[0] for of_loss in losses]
        assert numpy.allclose(*gradients) and abs(gradients[0]).max() > 0.01


@pytest.mark.parametrize("name", list(rivals.RIVALS))
def test_gradients_of_rivals(name):
    """By finite differences of the value, by the logits; of heads of sigmoids."""
    from thinc.api import registry

    loss = registry.resolve({"loss": recipes.as_config(rivals.RIVALS[name])})["loss"]
    loss.activation = "sigmoid"
    rng = numpy.random.default_rng(0)
    z = rng.normal(size=(5, 3)) * 2
    y = numpy.asarray([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]], dtype="float64")

    def value_and_gradient(logits):
        gradient, value = loss(1 / (1 + numpy.exp(-logits)), y)
        return value, gradient

    _, gradient = value_and_gradient(z)
    for i, j in numpy.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[i, j] += 1e-5
        down[i, j] -= 1e-5
        slope = (value_and_gradient(up)[0] - value_and_gradient(down)[0]) / 2e-5
        assert gradient[i, j] == pytest.approx(slope, abs=1e-6)


def test_asl_by_hand():
    p, y = numpy.array([[0.8, 0.04]]), numpy.array([[1.0, 0.0]])
    gradient, value = rivals.AsymmetricLoss(activation="sigmoid")(p, y)
    assert value == pytest.approx(-numpy.log(0.8))
    assert gradient.tolist() == [[pytest.approx(-0.2), 0.0]]  # below the margin: learnt


def write_conllu(folder):
    row = "{}\t{}\t_\t{}\t_\t_\t0\troot\t_\t_"
    words = [("Dogs", "NOUN"), ("bark", "VERB"), ("loudly", "ADV")]
    sentence = "\n".join(row.format(i, word, tag) for i, (word, tag) in enumerate(words, 1))
    for split in folders.SPLITS:
        (folder / f"{split}.conllu").write_text((sentence + "\n\n") * 30)


def write_messages(folder):
    rows = [f"spam\twin {i} now" if i % 5 == 0 else f"ham\tsee you {i}" for i in range(200)]
    (folder / "sms.tsv").write_text("label\ttext\n" + "\n".join(rows) + "\n")


def test_every_recipe_is_a_loss_of_both_toolkits():
    from thinc.api import registry

    import flair_dice

    for name, recipe in recipes.RECIPES.items():
        filled = recipes.with_labels(recipe, 3)
        ours = registry.resolve({"loss": recipes.as_config(filled)})["loss"]
        theirs = flair_dice.make_loss(filled)
        assert type(ours).__name__ == type(theirs).__name__, name


def test_counts_carried_over_batches_by_hand():
    """One batch alone is Dice, balanced or not; then half of what was counted is still there."""
    import torch

    import flair_dice

    torch.manual_seed(0)
    logits, y = torch.randn(2, 6, 3, requires_grad=True), torch.tensor([0, 0, 1, 1, 2, 0])
    for average in ("macro", "micro"):
        options = {"average": average, "background": [0]}
        stock = flair_dice.Dice(level="batch", squared=False, **options)
        for momentum, balance in ((0.5, 0.0), (0.0, 0.0)):
            loss = tried.CarriedDice(momentum=momentum, balance=balance, **options)
            assert loss(logits[0], y).item() == pytest.approx(stock(logits[0], y).item())
            gradient = torch.autograd.grad(loss(logits[1], y), logits)[0]
            kept = torch.softmax(logits[0], 1)[:, 1:].detach(), torch.eye(3)[y][:, 1:]
            p, gold = torch.softmax(logits[1], 1)[:, 1:], torch.eye(3)[y][:, 1:]
            num = momentum * (2 * kept[0] * kept[1]).sum(0) + (2 * p * gold).sum(0)
            den = momentum * (kept[0] + kept[1]).sum(0) + (p + gold).sum(0)
            if average == "micro":
                num, den = num.sum(), den.sum()
            n = 1 + momentum
            by_hand = n * (1 - (num + n) / (den + n)).mean()
            expected = torch.autograd.grad(by_hand, logits)[0]
            assert torch.allclose(gradient, expected, atol=1e-7)


def test_the_grid_names_what_there_is():
    """Each cell once, of a model and a loss that exist."""
    known = {*recipes.RECIPES, *rivals.RIVALS, "stock"}
    for part, blocks in grid.PARTS.items():
        cells = [
            (block.data, block.size, block.model, block.settings, loss, seed)
            for block in blocks
            for loss in block.losses
            for seed in block.seeds
        ]
        assert len(cells) == len(set(cells)) > 0, part
        for block in blocks:
            assert set(block.losses) <= known
            model = with_spacy.VARIANTS.get(block.model, (block.model,))[0]
            files = (ROOT / "configs" / f"{model}.cfg", ROOT / "examples" / f"{model}.py")
            assert any(path.exists() for path in files), block.model


def test_options_of_a_script():
    options = with_flair.options(["crf=false", "epochs=8", "x=true"])
    assert options == ["--no-crf", "--epochs", "8", "--x"]


def test_strict_scores_by_hand(tmp_path):
    """Of two entities one is found whole, the other in part; one more is made up."""
    (tmp_path / "test.tsv").write_text(
        "Ann B-x B-x\nLee I-x I-x\nin O O\n\nNew B-y B-y\nYork I-y O\nnow O B-x\n\n"
    )
    found = scores.of_columns(tmp_path / "test.tsv")
    assert (found["p"], found["r"]) == (pytest.approx(1 / 3), 0.5)
    assert found["per_type"] == {"x": pytest.approx(2 / 3), "y": 0.0}
    assert found["macro_f"] == pytest.approx(1 / 3) and found["f"] == pytest.approx(0.4)


def test_scores_of_texts_by_hand(tmp_path):
    """Of three labels two are found, and one more is made up; a text may hold what the file says
    of texts."""
    (tmp_path / "test.tsv").write_text(
        "It is: - Gold: no\n - Gold: x, y\n - Pred: x\n -> MISMATCH!\n\n"
        "Fine\n - Gold: \n - Pred: x\n -> MISMATCH!\n\nOdd\n - Gold: y\n - Pred: y\n\n"
    )
    found = scores.of_texts(tmp_path / "test.tsv")
    assert (found["p"], found["r"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert found["per_type"] == {"x": pytest.approx(2 / 3), "y": pytest.approx(2 / 3)}


def test_cells_of_texts_in_flair(tmp_path):
    """Flair's own loss, and the library's with cuts tuned, at a learning rate of the cell's."""
    from flair_tests.helpers import BERT

    data, path = tmp_path / "in", tmp_path / "results.jsonl"
    data.mkdir()
    write_labelled(data)
    command = ["--data", data, "--model", "flair_texts", "--size", 40, "--learn-rate", 0.0001]
    command += ["--transformer", f"MiniLM={BERT}", "--results", path]
    for loss, more in (("ce", []), ("balanced_macro", ["--tune"])):
        settings = ["epochs=2", "mini-batch-size=4"]
        benchmark.main([str(x) for x in (*command, *more, "--loss", loss, "--set", *settings)])
    stock, ours = results.read([path])
    assert results.counts_macro(ours["data"], ours["model"])
    assert sum(ours["train_counts"].values()) == sum(stock["train_counts"].values()) >= 40
    for line in (stock, ours):
        assert [row[0] for row in line["curve"]] == [1, 2]
        assert max(row[1] for row in line["curve"]) == pytest.approx(
            line["dev"]["macro_f"], abs=1e-3
        )
    assert ours["curve"] != stock["curve"] and ours["tuned"]["test"]["macro_f"] > 0.5
    assert "tuned" not in stock


def test_shares(tmp_path):
    command = ["benchmarks.compare.shares", "--data", generated.write(tmp_path), "--size", 50]
    rows = run(
        *command, "--set", "training.max_steps=20", "training.eval_frequency=10"
    ).splitlines()
    assert rows[0].split("  ")[3:] == [
        "cross_entropy on O, on entities",
        "dice on O, on entities",
    ]
    assert [row.split()[0] for row in rows[1:]] == ["0", "10", "20"]
    assert all(float(value) >= 0 for row in rows[1:] for value in row.split())


@pytest.mark.parametrize("write", ["write_conllu", "write_messages", "generated"])
def test_probe(write, tmp_path, capsys):
    """It learns; a seed gives what it gave before, whatever else runs; cells are done once."""
    from benchmarks.compare import probe
    from flair_tests.helpers import BERT

    def run(*args):
        probe.main([str(arg) for arg in args])
        return capsys.readouterr().out

    {"generated": generated.write}.get(write, globals().get(write))(made(tmp_path / "data/x"))
    command = ["--data", tmp_path / "data", "--transformer", BERT]
    command += ["--corpus", "x", "--size", 60, "--epochs", 12, "--cache", tmp_path / "cache"]
    command += ["--learning-rate", 0.003, "--loss", "ce", "dice_ce_macro_later", "--seeds"]
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    run(*command, 2, "--results", files[0])
    assert not run(*command, 2, "--results", files[0])
    run(*command, 1, "--results", files[1])
    once, again = (results.read([path]) for path in files)
    assert [(c["loss"], c["seed"]) for c in once] == [
        ("ce", 0),
        ("ce", 1),
        ("dice_ce_macro_later", 0),
        ("dice_ce_macro_later", 1),
    ]
    assert [c["test"] for c in again] == [c["test"] for c in once[::2]]
    for cell in once:
        assert cell["test"]["f"] > 0.2
        assert cell["best_threshold"]["dev"] >= results.points(cell, "dev") / 100 - 1e-6


def made(folder):
    folder.mkdir(parents=True)
    return folder


@pytest.mark.slow
def test_cells_at_once_are_those_one_by_one(tmp_path):
    """As tasks of Ray, each in a process of its own; what fails is no line."""
    pytest.importorskip("ray")
    data = generated.write(made(tmp_path / "in"))
    common = ["--data", str(data), "--model", "spancat", "--size", "40", "--learn-rate", "0.01"]
    settings = ["--set", "training.max_steps=30", "training.eval_frequency=10"]
    settings += ["components.spancat.suggester.sizes=[1,2]"]
    commands = [
        [*common, "--loss", loss, "--seed", seed, *settings]
        for loss in ("stock", "dice_ce")
        for seed in ("0", "1")
    ]
    commands.append(["--data", "nowhere", *commands[0][2:]])
    found = []
    for workers in (1, 2):
        path = tmp_path / f"{workers}.jsonl"
        grid.run_all(commands, path, workers)
        cells = sorted(results.read([path]), key=lambda cell: (cell["loss"], cell["seed"]))
        kept = ("loss", "seed", "dev", "test", "train_counts")
        found.append([{name: cell[name] for name in kept} for cell in cells])
    assert len(found[0]) == 4 and found[0] == found[1]
    assert any(cell["test"]["f"] > 0 for cell in found[0])


def test_spans_of_tags():
    tags = ["B-x", "I-x", "O", "I-x", "I-y", "B-x", "B-x", "I-x", "O"]
    assert scores.spans(tags, [5, 4]) == [
        (0, 2, "x"),
        (3, 4, "x"),
        (4, 5, "y"),
        (5, 6, "x"),
        (6, 8, "x"),
    ]


def results_file(path):
    """Three seeds of cross-entropy and of a loss that gains 1, 2 and 3 points."""
    lines = []
    for loss, points in {"ce": (40, 50, 60), "dice": (41, 52, 63), "one_seed": (45,)}.items():
        for seed, f in enumerate(points):
            test = {"f": f / 100, "p": 0.5, "r": 0.5, "macro_f": 0.1, "per_type": {"X": 0.2}}
            line = {"data": "d", "size": 300, "model": "ner", "loss": loss, "seed": seed}
            line.update(settings=[], dev=test, test=test, curve=[[0, 0.0], [100, f / 100]])
            lines.append(json.dumps({**line, "train_counts": {"X": 7}}))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_report_by_hand(tmp_path):
    """Gains of 1, 2 and 3: the mean is 2, the deviation 1, t of 2 degrees 4.303."""
    groups = tables.grouped(results.read([results_file(tmp_path / "r.jsonl")]))
    ((group, by_loss),) = groups.items()
    found = results.gain(by_loss["dice"], by_loss["ce"])
    assert found.mean == pytest.approx(2) and found.half == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert tables.table(group, by_loss)[2:] == [
        "| loss | seeds | dev | test | gain on test |",
        "|---|---|---|---|---|",
        "| ce | 3 | 50.0 | 50.0 |  |",
        "| dice | 3 | 52.0 | 52.0 | +2.0 ± 2.5 |",
        "| one_seed | 1 | 45.0 | 45.0 | +5.0 |",
    ]
    assert tables.summary(groups, ["dice", "one_seed", "none"]) == [
        "| data | size | model | ce | dice | one_seed | none |",
        "|---|---|---|---|---|---|---|",
        "| d | 300 | ner | 50.0 | +2.0 ± 2.5 (3) | +5.0 (1) |  |",
    ]
    assert tables.types(group, by_loss, ["dice", "none"])[2:] == [
        "| type | in training | ce | dice |",
        "|---|---|---|---|",
        "| X | 7 | 20.0 | 20.0 |",
    ]
    for seed, cell in by_loss["dice"].items():
        cell["best_threshold"] = {"test": 0.4 + seed / 10}
    assert tables.table(group, by_loss)[2:6] == [
        "| loss | seeds | dev | test | gain on test | test, best threshold |",
        "|---|---|---|---|---|---|",
        "| ce | 3 | 50.0 | 50.0 |  |  |",
        "| dice | 3 | 52.0 | 52.0 | +2.0 ± 2.5 | 50.0 |",
    ]


def test_the_tables_of_the_evidence_are_those_of_the_results():
    cells = results.read(sorted(results.FOLDER.glob("*.jsonl")))
    document = (ROOT / "docs/evidence.md").read_text()
    assert document.count("<!-- end -->") >= 5
    assert pages.filled(document, cells) == document, "run benchmarks.report --fill"
    with pytest.raises(ValueError, match="no cells of wnut17 7 ner"):
        pages.filled("<!-- table wnut17 7 ner -->\n<!-- end -->", cells)


def test_report_prints_what_was_measured_and_plots(tmp_path):
    assert "**wnut17, full, dice_ner**" in run("benchmarks.report")
    output = run(
        "benchmarks.report", results_file(tmp_path / "r.jsonl"), "--plots", tmp_path / "plots"
    )
    names = {"gains", "curves-d-300-ner", "precision-recall-d-300-ner", "types-d-300-ner"}
    assert {path.stem for path in (tmp_path / "plots").glob("*.png")} == names
    assert output.count("Wrote") == 4


def test_scores_of_tags_by_hand():
    vocab = spacy.blank("en").vocab
    words = list("abcde")
    gold = Doc(vocab, words=words, tags=["X", "X", "Y", "Y", ""])
    examples = [Example(Doc(vocab, words=words, tags=["X", "Y", "Y", "Z", "X"]), gold)]
    found = scores.of_tokens(examples)
    assert (found["f"], found["p"], found["r"]) == (0.5, 0.5, 0.5)
    assert found["per_type"] == pytest.approx({"X": 2 / 3, "Y": 0.5, "Z": 0.0})
    assert found["macro_f"] == pytest.approx(7 / 18)


def test_speed(tmp_path):
    data = generated.write(tmp_path)
    options = ("--data", data, "--sentences", 40, "--rounds", 1)
    for of, n in (((), 12), (("--predict",), 4)):
        output = run("benchmarks.speed.components", *options, *of)
        assert len([line for line in output.splitlines() if "(from" in line]) == n


def test_growth_is_measured_and_drawn(tmp_path):
    cases = ["tokens, torch loss", "candidates, spancat"]
    path = tmp_path / "growth.jsonl"
    command = ["benchmarks.speed.growth", "--small", "--rounds", 1, "--results", path]
    output = run(*command, "--only", *cases)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["case"], row["size"]) for row in rows] == [
        (cases[0], 300),
        (cases[0], 1_000),
        (cases[1], 1_000),
        (cases[1], 3_000),
    ]
    assert all(row["seconds"][which] > 0 for row in rows for which in growth.LINES)
    assert all(row["bytes"]["ours"] > 4 * 4 * row["size"] for row in rows[2:])
    assert len([line for line in output.splitlines() if line.startswith("| ")]) == 3
    assert path.with_suffix(".png").stat().st_size > 1_000


def test_exponents_by_hand():
    def row(size, seconds):
        return {"size": size, "seconds": {"ours": seconds, "theirs": 1.0}}

    # Over the upper half alone: what a call costs at least is left out.
    rows = [row(10, 5.0), row(100, 5.0), row(1_000, 8.0), row(10_000, 800.0)]
    assert growth.exponent(rows, "ours") == pytest.approx(2.0)
    assert growth.exponent(rows, "theirs") == pytest.approx(0.0)


def test_losses_on_a_device():
    command = ["benchmarks.speed.devices", "--device", "cpu", "--sizes", "64x5", "--docs", 4]
    output = run(*command, "--labels", 5, "--rounds", 1).splitlines()
    assert len([line for line in output if line.startswith("torch 64 x 5 ")]) == 4
    assert output[-1].startswith("thinc 4 documents x 5 labels, DiceCE")


def test_calibration_error_by_hand():
    p = numpy.array([0.15, 0.15, 0.95, 0.95, 1.0])
    right = numpy.array([True, False, True, True, False])
    bins = calibration.reliability(p, right)
    assert [b.count for b in bins] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    # 2 of 5 are off by 0.5 - 0.15, 3 of 5 by 29/30 - 2/3.
    assert calibration.expected_calibration_error(p, right) == pytest.approx(0.4 * 0.35 + 0.6 * 0.3)

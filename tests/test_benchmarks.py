"""The benchmarks run, from the command line that their docstrings give."""

import json
import random
from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from benchmarks import results
from benchmarks.compare import grid, recipes, scores, training
from benchmarks.report import components, pages, tables
from benchmarks.speed import growth
from corpora import folders, generated

ROOT = Path(__file__).resolve().parent.parent


def write_labelled(folder):
    (folder / "labels.txt").write_text("good\nbad\nodd\n")
    rows = [("fine nice", "0"), ("awful poor", "1"), ("fine strange", "0,2"), ("plain text", "2")]
    for split in folders.SPLITS:
        lines = [f"{rows[i % 4][0]} {i}\t{rows[i % 4][1]}" for i in range(80)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def write_conllu(folder):
    """Sentences of five words, of which a fifth have a tag that is not theirs."""
    tags, row = ("NOUN", "VERB", "ADV"), "{}\t{}\t_\t{}\t_\t_\t0\troot\t_\t_"
    for split in folders.SPLITS:
        rng, lines = random.Random(split), []
        for i in range(300):
            tag = rng.choice(tags)
            word = f"{tag.lower()}{rng.randrange(9)}"
            lines.append(row.format(i % 5 + 1, word, rng.choice([tag] * 4 + list(tags))))
            lines += [""] if i % 5 == 4 else []
        (folder / f"{split}.conllu").write_text("\n".join(lines) + "\n")


WRITERS = {"texts": write_labelled, "tags": write_conllu, "spans": generated.write}


@pytest.fixture
def data(tmp_path):
    """A folder of a corpus for each kind of component."""
    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    return tmp_path


STEPS = ("training.max_steps=60", "training.eval_frequency=20")
SIZES = "components.spancat.suggester.sizes=[1,2]"
LEARNS = [
    ("spans", "spancat", (SIZES,)),
    ("spans", "dice_ner", ()),
    ("spans", "span_finder", ()),
    ("tags", "tagger", ()),
    ("texts", "textcat_multilabel", ()),
    ("texts", "textcat_multilabel_reduce", ()),
    ("texts", "textcat_multilabel_bow", ()),
    ("texts", "textcat_multilabel_init", ("training.optimizer.learn_rate=0.05",)),
]


@pytest.mark.parametrize("corpus, model, settings", LEARNS)
def test_runs(corpus, model, settings, data):
    """Each model learns with the library's loss, and trains without the library, in this process,
    the same whatever was trained before it; scores of a model that predicts nothing would be 0."""
    is_init = model.endswith("_init")
    rates = () if is_init else (0.01,)
    block = grid.Block(corpus, 60, model, (*STEPS, *settings), ("stock", "dice_ce"), rates=rates)
    block = block._replace(dev=60, test=60)
    (rate,) = [0.05] if model.endswith("_bow") else grid.rates(block, "dice_ce", 0, data / "none")
    path = data / "r.jsonl"
    losses = ["ce" if model == "dice_ner" else "stock", "auto" if is_init else "dice_ce"]
    if model in ("spancat", "textcat_multilabel"):
        losses.append(losses[0])
    for loss in losses:
        grid.run(block, loss, 0, rate, data, path)
    stock, ours, *again = results.read([path])
    assert results.is_done(grid.key_of(block, losses[1], 0, rate), path)
    for found in again:
        assert (found["dev"], found["test"]) == (stock["dev"], stock["test"])
        assert found["curve"] == stock["curve"]
    assert ours["curve"] != stock["curve"]
    assert [step for step, _ in ours["curve"]] == [0, 20, 40, 60]
    assert max(ours["test"]["macro_f"], ours["test"]["f"]) > 0.2
    assert ours["words_per_second"] > 0 and sum(ours["train_counts"].values()) > 20
    assert set(ours["tuned"]["test"]) == set(ours["test"])
    assert ("errors" in ours["tuned"]) != is_init


def test_runs_on_a_transformer(data, small_bert, tmp_path):
    """The config of `spacy init config --gpu`, with the learning rate that the block names."""
    rate = "training.optimizer.learn_rate.initial_rate=0.001"
    settings = ("training.max_steps=2", "training.eval_frequency=1", rate, SIZES)
    block = grid.Block("spans", 20, "spancat_init_gpu", settings, grid.FLAG, rates=())
    block = block._replace(dev=10, test=10)
    for loss in grid.FLAG:
        grid.run(block, loss, 1, None, data, tmp_path / "r", str(small_bert))
    stock, ours = results.read([tmp_path / "r"])
    assert stock["curve"] != ours["curve"] and len(ours["curve"]) == 3
    with pytest.raises(SystemExit, match="needs --transformer"):
        training.configured("spancat_init_gpu", "stock", [])
    with pytest.raises(ValueError, match="dice_ner is not stock"):
        training.configured("dice_ner", "stock", [])


def test_a_run_is_measured_once(data, tmp_path, monkeypatch, capsys):
    """From the command line of the grid, and its list says what is left."""
    block = grid.Block("spans", 20, "spancat", (*STEPS, SIZES), ("stock", "ce"), range(1))
    monkeypatch.setitem(grid.PARTS, "reduce", (block,))
    command = ["--data", data, "--part", "reduce", "--results", tmp_path / "r", "--only", "stock"]
    for more in ([], [], ["--list"]):
        grid.main([str(arg) for arg in (*command, *more)])
    rows = [line.partition(" {")[0] for line in capsys.readouterr().out.splitlines()]
    assert rows.count("done already") == 4  # two learning rates, twice
    assert [line["learn_rate"] for line in results.read([tmp_path / "r"])] == list(grid.RATES)


def test_a_rate_is_tuned_with_the_first_seed(tmp_path):
    """All rates are tried with the first seed; then the best on dev is chosen, loss by loss."""
    block = grid.Block("d", 300, "spancat", (), ("ce",))
    path = tmp_path / "r.jsonl"
    assert grid.rates(block, "ce", 1, path) == [0.003]
    path.write_text(line("ce", 0, 50, 0.003) + line("ce", 0, 52, 0.001))
    assert grid.rates(block, "ce", 0, path) == [0.003, 0.001]
    assert grid.rates(block, "ce", 1, path) == [0.001]
    assert grid.rates(block, "focal", 1, path) == [0.003]
    assert grid.rates(block._replace(rates=()), "ce", 1, path) == [None]


def test_the_grid_names_what_there_is():
    """Each run once, of a model and a loss that exist."""
    for part, blocks in grid.PARTS.items():
        found = ((b, loss, seed) for b in blocks for loss in b.losses for seed in b.seeds)
        keys = [json.dumps(grid.key_of(*one, None)) for one in found]
        assert len(keys) == len(set(keys)) > 0, part
        for block in blocks:
            assert set(block.losses) <= set(recipes.LOSSES)
            if training.INIT not in block.model:
                model = training.VARIANTS.get(block.model, (block.model,))[0]
                assert (ROOT / "configs" / f"{model}.cfg").exists(), block.model


def test_every_recipe_is_a_loss_of_both_toolkits():
    from thinc.api import registry

    import flair_dice

    for name, recipe in recipes.RECIPES.items():
        ours = registry.resolve({"loss": recipes.as_config(recipe)})["loss"]
        assert type(ours).__name__ == type(flair_dice.make_loss(recipe)).__name__, name


def test_scores_of_tags_by_hand():
    vocab = spacy.blank("en").vocab
    words = list("abcde")
    gold = Doc(vocab, words=words, tags=["X", "X", "Y", "Y", ""])
    examples = [Example(Doc(vocab, words=words, tags=["X", "Y", "Y", "Z", "X"]), gold)]
    found = scores.score_tags(examples)
    assert (found["f"], found["p"], found["r"]) == (0.5, 0.5, 0.5)
    assert found["per_type"] == pytest.approx({"X": 2 / 3, "Y": 0.5, "Z": 0.0})
    assert found["macro_f"] == pytest.approx(7 / 18)


def line(loss, seed, f, rate=0.003, model="spancat", curve=(), labels="X", tuned=None, **more):
    """A line of results: F1 of dev is f, of test one more, and after `tune` tuned."""
    made = {"data": "d", "size": 300, "model": model, "loss": loss, "seed": seed, "settings": []}
    for split, points in (("dev", f), ("test", f + 1)):
        made[split] = {"f": points / 100, "p": 0.5, "r": 0.25, "macro_f": 0.1, "per_type": {}}
    made.update(learn_rate=rate, curve=curve, words_per_second=9000)
    made["train_counts"] = dict.fromkeys(labels, 5)
    if tuned is not None:
        errors = {"before": [0.02 + seed / 100, 0.1], "calibrated": [0.01, 0.1]}
        test = {"f": tuned / 100, "macro_f": 0.3, "per_type": {}}
        made["tuned"] = {"test": test, "errors": errors, **more}
    return json.dumps(made) + "\n"


def parsed(lines):
    return [json.loads(one) for one in lines]


def rows(kind, runs, *losses):
    return pages.TABLES[kind](runs, list(losses))[2:]


def test_tables_of_components_by_hand(run, tmp_path):
    """Stock 40 and 42, cross-entropy 2 and 4 more; the slower rate was worse with seed 0."""
    slow, quick = [[0, 0.0, 0.0], [30, 0.2, 3.0], [60, 0.4, 6.0]], [[0, 0.1, 0.0], [30, 0.41, 2.0]]
    text = "".join(line("stock", seed, f, curve=slow) for seed, f in enumerate((40, 42)))
    text += "".join(line("ce", seed, f, curve=quick) for seed, f in enumerate((42, 46)))
    text += line("ce", 0, 41, 0.001) + line("ce", 0, 60, model="tagger")
    runs = parsed(text.splitlines())
    assert rows("gains", runs, "stock", "ce", "auto") == [
        "| spancat, d, 300 | 2 | 42.0 | +3.0 ± 12.7 | +3.0 ± 12.7 |",
        "| tagger, d, 300 | 1 | 10.0 |  | stock |",
    ]
    assert rows("dev", runs, "stock", "ce") == ["| spancat, d, 300 | 2 | 41.0 | **44.0** |"]
    assert components.sooner(components.grouped(runs), ["stock", "ce"])[2:] == [
        "| spancat, d, 300 | 60 | 30 |",
        "| median ratio of updates (experiments) | 1 | 0.50 (1) |",
    ]
    assert not tables.grouped(runs)
    (tmp_path / "r.jsonl").write_text(text)
    assert "**gains**" in run("benchmarks.report.__main__", tmp_path / "r.jsonl")


def test_table_of_tuning_by_hand():
    """Micro F1 of spans goes from 41 and 43 to 44 and 42; that of texts counts as macro F1."""
    lines = [line("stock", seed, f, tuned=tuned) for seed, f, tuned in ((0, 40, 44), (1, 42, 42))]
    lines.append(line("ce", 0, 50, model="textcat_multilabel", tuned=49, labels="XY"))
    assert rows("tuned", parsed([*lines, line("stock", 2, 10)]), "stock", "ce") == [
        "| spancat, d, 300 | stock | 2 | 42.0 -> 43.0 | 10.0 -> 30.0 | +1.0 ± 25.4 | -1.0 "
        "| 0.025 -> 0.010 |",
        "| textcat_multilabel, d, 300 | CE | 1 | 51.0 -> 49.0 | 10.0 -> 30.0 | +20.0 | +20.0 "
        "| 0.020 -> 0.010 |",
    ]


def test_tables_of_rivals_by_hand():
    """With one label "auto" is cross-entropy. Focal is best on dev over the seeds that all have,
    and not on test; ASL, of one seed, is not. Tuned, the best is that by its own estimate."""
    lines = [line("ce", seed, f, tuned=f + 3) for seed, f in enumerate((40, 44, 48))]
    lines += [line("focal", seed, 45) for seed in range(3)]
    lines += [line("asl", 0, 44), line("logit_adjustment", 0, 99), line("ce", 0, 30, model="ner")]
    lines.append(line("logit_adjustment_0.5", 0, 30, tuned=40, estimate={"micro_f": 0.5}))
    runs = parsed([*lines, line("stock", 0, 20, tuned=46, estimate={"micro_f": 0.4})])
    asked = ["ce", "focal", "asl", "weighted_ce", "logit_adjustment"]
    head, _, *found = pages.TABLES["rivals"](runs, asked)
    assert head.split(" | ")[2:-2] == ["stock", "CE", "focal", "ASL", "logit adjustment"]
    assert found == [
        "| spancat, d, 300 | 3 | 21.0 (1) | 45.0 | 46.0 | 45.0 (1) | 31.0 (1) | 45.0 "
        "| -1.0 ± 9.9, focal |",
        "| mean over experiments |  |  |  |  |  |  |  | -1.0; above 0 in 0 of 1 |",
    ]
    assert rows("rivals_tuned", runs, *asked) == [
        "| spancat, d, 300 | 3 | 46.0 (1) | 47.0 | 40.0 (1) | 47.0 | +3.0 (1), logit adjustment |",
        "| mean over experiments |  |  |  |  |  | +3.0; above 0 in 1 of 1 |",
    ]


def test_tables_of_init_config_by_hand():
    """Stock 41 and 43, the flag 10 more; `tune` adds 2 to stock and 4 to the flag."""
    model, runs = "spancat_init_gpu", []
    for seed, f in enumerate((40, 42)):
        curve = [[0, 0.0, 0.0], [40, 0.1, 1.0], [80, 0.3 + seed / 100, 2.0]]
        runs += [line("stock", seed, f, None, model, curve, tuned=f + 3)]
        curve = [[0, 0.0, 0.0], [40, 0.32, 1.0], [80, 0.5, 2.0]]
        runs += [line("auto", seed, f + 10, None, model, curve, tuned=f + 15)]
    runs = parsed([*runs, line("auto", 2, 90, None, model, curve, tuned=91)])
    assert rows("init_config", runs, "_init_gpu") == [
        "| spancat, d, 300, small BERT | 2 | 42.0 ± 12.7 | 52.0 ± 12.7 | 44.0 ± 12.7 | 56.0 ± 12.7 "
        "| +10.0 ± 0.0 | +2.0 ± 0.0 | +14.0 ± 0.0 |"
    ]
    assert not rows("init_config", runs, "_init") and not tables.grouped(runs)
    assert rows("init_config_curves", runs, "_init_gpu") == [
        "| spancat, d, 300, small BERT | stock | 2 | 40: 10.0, 80: 30.5 | 80 |",
        "| spancat, d, 300, small BERT | the flag | 3 | 40: 32.0, 80: 50.0 | 40 |",
    ]
    long = [[step, 0.5, 0.0] for step in range(0, 2000, 100)]
    stock, _ = rows(
        "init_config_curves", parsed(line(x, 0, 1, None, model, long) for x in grid.FLAG)
    )
    assert stock.count(":") == 4 and "400: 50.0" in stock


def test_ner_or_dice_ner_by_hand():
    """ner 41, dice_ner 43 with cross-entropy, 42 and 44 with DiceCE, of the seeds that all have."""
    ner_runs = [line("stock", seed, 40, None, "ner_init") for seed in (1, 2, 3)]
    ce_runs = [line("ce", seed, 42, None, "dice_ner_init") for seed in (1, 2)]
    dice_runs = [line("auto", seed, 40 + 2 * seed, None, "dice_ner_init") for seed in (2, 1)]
    runs = parsed(ner_runs + ce_runs + dice_runs)
    runs = [{**run, "words_per_second": 12_345} for run in runs]
    assert rows("entities", runs, "_init") == [
        "| d, 300, config as written | 2 | 41.0 | 43.0 | 44.0 | **+2.0 ± 0.0** | +1.0 ± 12.7 "
        "| 12,000 / 12,000 |"
    ]
    assert not rows("entities", runs, "_init_gpu")


def test_gains_by_hand():
    """Gains of 1, 2 and 3: the mean is 2, the deviation 1, t of 2 degrees 4.303."""
    points = {"ce": (40, 50, 60), "dice": (41, 52, 63), "one_seed": (45,)}
    lines = [line(x, i, f, None, "ner") for x, found in points.items() for i, f in enumerate(found)]
    ((group, by_loss),) = tables.grouped(parsed(lines)).items()
    found = results.gain(by_loss["dice"], by_loss["ce"])
    assert found.mean == pytest.approx(2) and found.half == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert tables.table(group, by_loss)[4:] == [
        "| ce | 3 | 50.0 | 51.0 |  |",
        "| dice | 3 | 52.0 | 53.0 | +2.0 ± 2.5 |",
        "| one_seed | 1 | 45.0 | 46.0 | +5.0 |",
    ]


def test_speed(run):
    for more, n in ((("--only", "tagger", "dice_ner"), 2), (("--predict",), 2)):
        output = run("benchmarks.speed.components", "--sentences", 40, "--rounds", 1, *more)
        assert len([row for row in output.splitlines() if "(from" in row]) == n


def test_losses(run):
    command = ["benchmarks.speed.losses", "--sizes", "64x5", "--losses", "DiceCE", "--rounds", 1]
    assert [row.split()[0] for row in run(*command).splitlines()] == ["torch", "thinc"]


def test_growth(run, tmp_path):
    command = ["benchmarks.speed.growth", "--sizes", 1_000, 3_000, "--rounds", 1]
    command += ["--results", tmp_path / "g", "--only", "tokens, torch loss", "candidates, spancat"]
    output = run(*command)
    found = parsed((tmp_path / "g").read_text().splitlines())
    assert [row["size"] for row in found] == [1_000, 3_000] * 2
    assert all(row["seconds"][side] > 0 for row in found for side in growth.SIDES)
    assert all(row["bytes"]["ours"] > 4 * 4 * row["size"] for row in found[2:])
    assert len([row for row in output.splitlines() if row.startswith("| ")]) == 3


def test_exponents_by_hand():
    def row(size, seconds):
        return {"size": size, "seconds": {"ours": seconds, "theirs": 1.0}}

    # Over the upper half alone: what a call costs at least is left out.
    found = [row(10, 5.0), row(100, 5.0), row(1_000, 8.0), row(10_000, 800.0)]
    assert growth.exponent(found, "ours") == pytest.approx(2.0)
    assert growth.exponent(found, "theirs") == pytest.approx(0.0)

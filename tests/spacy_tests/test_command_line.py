"""spaCy's own command line with our configs and components, as users run it."""

import json
import re
from pathlib import Path

import pytest
import spacy
from thinc.api import Config

from spacy_tests import reading, test_pairs
from spacy_tests.helpers import invoke, paths, scores, without_us

SHORT = ("--training.max_steps", 20, "--training.eval_frequency", 10)
LONG = ("--training.max_steps", 200, "--training.eval_frequency", 100)
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


BARE = '[initialize.after_init]\n@callbacks = "spacy_dice.use_loss.v1"\ntune = true\n'
NAMED = """[initialize.after_init]
@callbacks = "spacy_dice.use_loss.v1"

[initialize.after_init.losses]

[initialize.after_init.losses.{name}]
@losses = "spacy_dice.DiceCE.v1"
"""


def with_loss(name):
    """One of our configs, with a loss that it names, as text."""
    text = (CONFIGS / f"{name}.cfg").read_text()
    assert text.count(BARE) == 1
    return text.replace(BARE, "" if name.startswith("dice_") else NAMED.format(name=name))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, configs, corpus, tagged):
    """The folder of the best model of one of our configs, which is trained once."""
    made = {}

    def train(name):
        if name not in made:
            out, data = tmp_path_factory.mktemp(name), tagged if "t" in name[0] else corpus
            config = configs / f"{name}.cfg"
            if name == "tagger_of_ours":
                config = saved_as_stock(configs / "tagger.cfg", out / "config.cfg")
            status, output = invoke("train", config, "-o", out, *paths(data), *LONG)
            assert status == 0 and scores(output)[-1] > 0.7, output
            made[name] = out / ("model-last" if name == "tagger_of_ours" else "model-best")
        return made[name]

    return train


def saved_as_stock(path, to):
    """The config of a tagger, for a dice_tagger of another name that is saved as a stock one, with
    thresholds."""
    config = Config().from_disk(path, interpolate=False)
    tagger = config["components"].pop("tagger")
    ours = {"factory": "dice_tagger", "model": tagger["model"]}
    config["components"]["my_tagger"] = ours
    config["nlp"]["pipeline"] = ["tok2vec", "my_tagger"]
    config["training"]["before_to_disk"] = {"@callbacks": "spacy_dice.to_stock.v1"}
    config.to_disk(to, interpolate=False)
    return to


def test_configs_train_and_what_is_saved_is_stock(trained, tmp_path):
    """The models load, and predict, where this package is not installed."""
    names = ("ner", "textcat", "spancat", "tagger", "tagger_of_ours")
    models = [str(trained(name)) for name in names]
    found = without_us(f"""
for path in {models}:
    nlp = spacy.load(path)
    doc = nlp("the flight from Barento was full .")
    name = nlp.pipe_names[-1]
    print(type(nlp.get_pipe(name)).__module__, name, name in nlp.meta["spacy_dice"], doc[6].tag_)
""")
    rows = [line.split() for line in found.splitlines()]
    assert [row[0] for row in rows] == [f"spacy.pipeline.{name}" for name in (*names[:4], "tagger")]
    assert {row[2] for row in rows} == {"True"}  # what was tuned
    assert [row[1::2] for row in rows[3:]] == [["tagger", "PUNCT"], ["my_tagger", "PUNCT"]]
    status, output = invoke("package", models[-1], tmp_path, "--force", "--build", "none")
    (meta,) = tmp_path.glob("en_pipeline-*/meta.json")
    assert status == 0 and "flair" not in meta.read_text(), output


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_configs_have_what_auto_takes(config):
    """Stock components the flag alone, with thresholds; ours their default loss."""
    blocks = Config().from_disk(config, interpolate=False)
    for block in blocks["components"].values():
        if block["factory"].startswith("dice_"):
            default = spacy.blank("en").get_factory_meta(block["factory"]).default_config
            assert block["loss"] == default["loss"]
    if config.stem != "dice_qa":
        assert config.read_text().endswith(BARE) and len(blocks["initialize"]["after_init"]) == 2


def test_the_same_seed_gives_the_same_scores(configs, corpus):
    command = ("train", configs / "dice_ner.cfg", *paths(corpus), *SHORT)
    first, second = (scores(invoke(*command)[1]) for _ in range(2))
    assert first == second and len(first) == 3


def test_a_schedule_from_the_config_is_followed(corpus, tmp_path):
    """Dice from step 12 on: until then the same losses as with cross-entropy alone, then not."""
    reported = []
    for switch_at in (1000, 12):
        config = Config().from_str(with_loss("ner"), interpolate=False)
        then = {"@schedules": "constant.v1", "rate": 1.0}
        weight = {"@schedules": "constant_then.v1", "rate": 0.0, "steps": switch_at}
        loss = {"@losses": "spacy_dice.DiceCE.v1", "weight": {**weight, "schedule": then}}
        config["initialize"]["after_init"]["losses"]["ner"] = loss
        config["training"]["accumulate_gradient"] = 2
        config.to_disk(tmp_path / "config.cfg", interpolate=False)
        with pytest.warns(UserWarning, match="accumulate_gradient = 2") as warned:
            status, output = invoke("train", tmp_path / "config.cfg", *paths(corpus), *SHORT)
        assert status == 0 and sum("accumulate" in str(w.message) for w in warned) == 1, output
        rows = [line.split() for line in output.splitlines() if re.match(r"\s+\d+\s+\d+ ", line)]
        reported.append([float(row[3]) for row in rows])
    never, from_12 = reported
    assert never[:2] == from_12[:2] and from_12[2] > 1.02 * never[2]


@pytest.fixture(scope="module")
def data_of(tmp_path_factory, corpus, tagged):
    """The data that one of our configs trains on, as its arguments."""
    folder = tmp_path_factory.mktemp("debug")
    for split in ("train", "dev"):
        reading.write(folder / f"{split}.json", 70)
        test_pairs.write(folder / f"{split}.tsv", 120)

    def data(config):
        ending = {"dice_qa": "json", "textcat_pairs": "tsv"}.get(config.stem, "spacy")
        where = tagged if config.stem.startswith(("tagger", "textcat")) else corpus
        where = where if ending == "spacy" else folder
        given = []
        for split in ("train", "dev"):
            given += [f"--paths.{split}", where / f"{split}.{ending}"]
        if "\ntransformer = " in config.read_text():
            given += ["--paths.transformer", reading.BERT]
        return given

    return data


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_configs_are_complete(config, data_of):
    """The files as they are pass spaCy's checks, without being filled in."""
    for command in ("config", "data"):
        status, output = invoke("debug", command, config, *data_of(config))
        assert status == 0 and "✘" not in output, output
    assert "checks passed" in output


@pytest.mark.parametrize("name", ["ner", "dice_ner", "spancat"])
def test_config_tools(name, corpus, tmp_path):
    """A config that is filled in shows the options, and trains with labels from a file."""
    filled, labels = tmp_path / "filled.cfg", tmp_path / "labels"
    (tmp_path / "config.cfg").write_text(with_loss(name))
    assert invoke("init", "fill-config", tmp_path / "config.cfg", filled)[0] == 0
    assert "smooth = 1.0" in filled.read_text() and 'background = "auto"' in filled.read_text()
    status, output = invoke("init", "labels", filled, labels, *paths(corpus))
    assert status == 0, output
    config = Config().from_disk(filled, interpolate=False)
    read = {"@readers": "spacy.read_labels.v1", "path": str(labels / f"{name}.json")}
    config["initialize"]["components"][name] = {"labels": read}
    config.to_disk(filled)
    out = tmp_path / "out"
    status, output = invoke("train", filled, "-o", out, *paths(corpus), *SHORT)
    assert status == 0, output
    found = set(spacy.load(out / "model-last").get_pipe(name).labels)
    assert found == {"person", "city", "product"}


def test_commands_on_what_was_trained(trained, corpus, tmp_path):
    model = trained("dice_ner")
    nlp = spacy.load(model)
    invoke("evaluate", model, corpus / "test.spacy", "-o", tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["ents_f"] > 0.7
    assert nlp("the flight from Barento was full").has_annotation("ENT_IOB")
    status, output = invoke("find-function", "spacy_dice.DiceCE.v1", "-r", "losses")
    assert status == 0 and "spacy_dice" in output, output
    command = ("find-threshold", model, corpus / "dev.spacy", "dice_ner", "threshold", "ents_f")
    status, output = invoke(*command, "--n_trials", 5)
    assert status == 0, output
    rows = re.findall(r"^([\d.]+) +([\d.]+) *$", output, flags=re.M)
    found = {float(threshold): float(score) for threshold, score in rows}
    assert list(found) == [0.0, 0.25, 0.5, 0.75, 1.0] and found[0.5] > found[1.0], output
    status, output = invoke("package", model, tmp_path, "--name", "probe", "--build", "none")
    meta = json.loads(next(tmp_path.rglob("meta.json")).read_text())
    assert any(r.startswith("spacy-flair-dice") for r in meta["requirements"]), meta


DICE_CE = '"spacy_dice.DiceCE.v1"'
# What use_loss finds, what a component's own block has, and what a config cannot say.
MISTAKES = [
    ("ner", "after_init.losses.ner]", "after_init.losses.nre]", "there is no component 'nre'"),
    ("dice_ner", DICE_CE, '"CategoricalCrossentropy.v1"', "'dice_ner': loss must be a loss"),
    ("dice_ner", DICE_CE, f"{DICE_CE}\nsmooth = -1.0", "smooth must be a finite number from 0 on"),
    ("ner", DICE_CE, f"{DICE_CE}\nsmoothing = 1.0", "smoothing"),
    ("dice_ner", DICE_CE, f'{DICE_CE}\nbackground = "X"', "background has the label 'X'"),
]


@pytest.mark.parametrize("name, old, new, message", MISTAKES)
def test_mistakes_end_with_one_clear_line_and_train_nothing(
    name, old, new, message, corpus, tmp_path
):
    head, found, tail = with_loss(name).rpartition(old)
    (tmp_path / "config.cfg").write_text(head + new + tail)
    command = ("train", tmp_path / "config.cfg", "-o", tmp_path / "out", *paths(corpus), *SHORT)
    status, output = invoke(*command)
    assert found and status == 1 and "Traceback" not in output and message in output, output
    assert not list((tmp_path / "out").iterdir())

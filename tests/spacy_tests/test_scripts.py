"""Chinese, Arabic and Hindi: our configs train, offsets and thresholds are right, tables too."""

import random
import unicodedata
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Corpus

import spacy_dice
from dice_core.thresholds.report import table
from spacy_dice.cli.common import as_table
from spacy_tests.helpers import invoke, paths

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHORT = ("--training.max_steps", 40, "--training.eval_frequency", 20)
SHORT += ("--training.optimizer.learn_rate", 0.005)
# Without it, the configs' own tokenizer splits at spaces, which Chinese does not have.
TOKENIZER = {"zh": ("--nlp.tokenizer.@tokenizers", "spacy.zh.ChineseTokenizer")}
# Sentences with {} in the place of a word, and the label of these words.
SENTENCES = {
    "zh": [("昨天{}来了。", "人名"), ("我住在{}，很大。", "地名"), ("没有人知道，很晚了。", "")],
    "ar": [("جاء {} أمس .", "شخص"), ("أسكن في {} الآن .", "مدينة"), ("لا أحد يعرف ذلك .", "")],
    "hi": [("कल {} आया था ।", "व्यक्ति"), ("मैं {} में रहता हूँ ।", "शहर"), ("किसी को पता नहीं ।", "")],
}
WORDS = {
    "人名": ["王小明", "李雪", "陈大文"],
    "地名": ["北京", "上海市", "广州"],
    "شخص": ["ليلى", "عمر حسن", "سعاد"],
    "مدينة": ["دمشق", "بغداد", "الدار البيضاء"],
    "व्यक्ति": ["मीना", "राम कुमार", "सीता"],
    "शहर": ["दिल्ली", "नई मुंबई", "पटना"],
}


def annotated(doc, start, end, label):
    """A doc with annotation for all four components: of one span, or of none."""
    spans = [doc.char_span(start, end, label)] if label else []
    doc.ents = doc.spans["sc"] = spans
    for token in doc:
        token.tag_ = "PUNCT" if token.is_punct else "NAME" if token.ent_type_ else "WORD"
    doc.cats = {"某": float(bool(label)), "无": float(not label)}
    return doc


def write(lang, folder):
    """train.spacy and dev.spacy. RETURNS the folder."""
    nlp, rng = spacy.blank(lang), random.Random(0)
    for split in ("train", "dev"):
        docs = DocBin()
        for _ in range(60):
            template, label = rng.choice(SENTENCES[lang])
            word = rng.choice(WORDS[label]) if label else ""
            start = template.index("{") if label else 0
            doc = nlp.make_doc(template.format(word))
            docs.add(annotated(doc, start, start + len(word), label))
        docs.to_disk(folder / f"{split}.spacy")
    return folder


def trained(name, lang, folder):
    """The pipeline that `spacy train` makes of one of our configs in another language."""
    given = ("--nlp.lang", lang, *TOKENIZER.get(lang, ()), *paths(folder), *SHORT)
    status, output = invoke("train", CONFIGS / f"{name}.cfg", "-o", folder / name, *given)
    assert status == 0, output
    return spacy.load(folder / name / "model-best")


def width(line):
    """Columns on a screen."""
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in line)


RUNS = [(lang, "dice_ner") for lang in SENTENCES]
RUNS += [("zh", "spancat"), ("zh", "textcat_multilabel"), ("hi", "tagger")]


@pytest.mark.parametrize("lang, name", RUNS)
def test_learns(lang, name, tmp_path):
    """From raw text to offsets in it; thresholds are chosen on what spaCy itself scores."""
    nlp = trained(name, lang, write(lang, tmp_path))
    examples = list(Corpus(tmp_path / "dev.spacy")(nlp))
    scores = nlp.evaluate(examples)
    key = {"dice_ner": "ents_f", "spancat": "spans_sc_f", "tagger": "tag_acc"}.get(name)
    assert scores[key or "cats_macro_f"] > 0.8, scores
    if name in ("dice_ner", "spancat"):
        template, label = SENTENCES[lang][0]
        word, start = WORDS[label][0], template.index("{")
        doc = nlp(template.format(word))
        (span,) = doc.ents if name == "dice_ner" else doc.spans["sc"]
        assert (span.start_char, span.end_char) == (start, start + len(word))
        assert (span.text, span.label_) == (word, label)
    report = spacy_dice.tune(nlp, examples, progress=False)
    before = report[name].before
    assert (before.macro.f if key is None else before.micro.f) == scores[key or "cats_macro_f"]
    assert {one.label for one in report[name].labels} <= {
        *WORDS,
        "某",
        "无",
        "PUNCT",
        "NAME",
        "WORD",
    }
    assert all(one.label in str(report) or not report[name].tuned for one in report[name].labels)


def test_tables_of_wide_labels():
    """All lines end at the same column of a screen."""
    rows = [["人名", "1"], ["ab", "23"], ["한국어", "456"], ["ﾊﾝｶｸ", "7"]]
    for lines in (as_table(["标签", "数"], rows).splitlines(), table(["", "n"], rows)):
        assert len({width(line) for line in lines}) == 1, lines
        assert all(label in "\n".join(lines) for label, _ in rows)

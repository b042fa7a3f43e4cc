"""SQuAD's metric: exact match and F1 of answers as strings.

Source: Rajpurkar et al. 2016 and 2018, and the evaluation scripts that they released.
"""

import re
import string
from collections import Counter
from typing import Dict, List, NamedTuple, Sequence


class Score(NamedTuple):
    """Means over questions, from 0 to 1."""

    exact: float
    f1: float
    total: int


def normalize(answer: str) -> str:
    """Lower case, without punctuation, articles and more than single spaces."""
    answer = "".join(char for char in answer.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def exact(truth: str, guess: str) -> float:
    """1 if both are the same once normalised, else 0."""
    return float(normalize(truth) == normalize(guess))


def f1(truth: str, guess: str) -> float:
    """F1 of the bags of words. If either has none, 1 if both have none, else 0."""
    of_truth, of_guess = normalize(truth).split(), normalize(guess).split()
    if not of_truth or not of_guess:
        return float(of_truth == of_guess)
    same = sum((Counter(of_truth) & Counter(of_guess)).values())
    if not same:
        return 0.0
    precision, recall = same / len(of_guess), same / len(of_truth)
    return 2 * precision * recall / (precision + recall)


def of_question(truths: Sequence[str], guess: str) -> Score:
    """The best score of a guess over all answers to its question. truths: without any, or with
    none but punctuation and articles, the right guess is "".
    """
    answers: List[str] = [truth for truth in truths if normalize(truth)] or [""]
    return Score(max(exact(a, guess) for a in answers), max(f1(a, guess) for a in answers), 1)


def evaluate(truths: Dict[str, Sequence[str]], guesses: Dict[str, str]) -> Score:
    """Exact match and F1 of a file of predictions, as SQuAD 1.1 and 2.0 define them.

    Args:
        truths: The answers to each question, by its id; none for "no answer".
        guesses: One answer to each of these questions, "" for "no answer".

    Returns:
        Means over the questions, from 0 to 1 (SQuAD's scripts print 100 times that).

    Raises:
        ValueError: A question without a guess, or no questions at all.
    """
    absent = [question for question in truths if question not in guesses]
    if absent or not truths:
        raise ValueError(
            f"There is no guess for {len(absent)} of {len(truths)} questions"
            + (f", e.g. {absent[0]!r}." if absent else ".")
        )
    scores = [of_question(answers, guesses[question]) for question, answers in truths.items()]
    return mean(scores)


def mean(scores: Sequence[Score]) -> Score:
    """The mean of scores of single questions."""
    n = len(scores)
    return Score(sum(s.exact for s in scores) / n, sum(s.f1 for s in scores) / n, n)

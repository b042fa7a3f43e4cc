"""Forward-backward against the sum over all tag sequences, and against Flair's ViterbiLoss."""

import pytest
import torch
from flair.models.sequence_tagger_utils.crf import CRF
from flair.models.sequence_tagger_utils.viterbi import ViterbiLoss
from torch.testing import assert_close

from dice_core.labels import LabelSpec
from dice_core.losses import BoundLoss
from dice_core.tags import Scheme
from flair_dice.losses import core_loss
from flair_dice.models import chain_head, columns
from flair_dice.targets import read_targets
from flair_tests.helpers import LOSSES, bioes_dictionary, brute_force

LENGTHS = torch.tensor([4, 3, 1, 1])


def scores(tags, dtype=torch.float64, spread=2.0):
    """Random scores and gold tags of a batch, as Flair's layers give them."""
    torch.manual_seed(0)
    if not tags.start_stop_tags_are_set():
        tags.set_start_stop_tags()
    crf = CRF(tags, len(tags), False).to(dtype)
    emissions = (spread * torch.randn(4, 4, len(tags), dtype=dtype)).requires_grad_()
    gold = torch.randint(0, len(tags) - 2, (int(LENGTHS.sum()),))
    return emissions, crf, gold


def well_formed(tags):
    """Gold tags of entities: two in the first sentence, one in the last."""
    found = [["B-X", "E-X", "S-X", "O"], ["O", "O", "O"], ["O"], ["S-X"]]
    if not tags.has_item("S-X"):
        found = [["B-X", "I-X", "B-X", "O"], ["O", "B-X", "O"], ["O"], ["B-X"]]
    return torch.tensor([tags.get_idx_for_item(tag) for sentence in found for tag in sentence])


def test_marginals_and_likelihood_are_the_sums_over_all_sequences():
    tags = bioes_dictionary()
    emissions, crf, gold = scores(tags)
    features = crf(emissions)
    head = chain_head((features, LENGTHS, crf.transitions), gold, tags)
    start, stop = tags.get_idx_for_item("<START>"), tags.get_idx_for_item("<STOP>")
    row, likelihood = 0, 0.0
    for i, length in enumerate(LENGTHS.tolist()):
        log_z, shares = brute_force(features[i, :length], crf.transitions, start, stop)
        likelihood = likelihood - shares[tuple(gold[row : row + length].tolist())].log()
        for t in range(length):
            for column, tag in enumerate(columns(tags)):
                marginal = sum(share for path, share in shares.items() if path[t] == tag)
                assert_close(head.logits.softmax(dim=1)[row, column], marginal)
            row += 1
    assert_close(head._negative_log_likelihood(), likelihood)


@pytest.mark.parametrize("tag_format", ["BIOES", "BIO"])
def test_span_marginals_are_the_sums_over_all_sequences(tag_format):
    tags = bioes_dictionary(tag_format=tag_format)
    emissions, crf, _ = scores(tags)
    gold = well_formed(tags)
    features = crf(emissions)
    head = chain_head((features, LENGTHS, crf.transitions), gold, tags)
    names = [tags.get_item_for_index(column) for column in columns(tags)]
    paths = Scheme(names).gold_paths(head.gold.numpy(), LENGTHS.tolist())
    found = head._path_probabilities(paths)
    start, stop = tags.get_idx_for_item("<START>"), tags.get_idx_for_item("<STOP>")
    ends = LENGTHS.cumsum(0).tolist()
    assert len(found) == (3 if tag_format == "BIOES" else 7)
    for path, probability in enumerate(found):
        rows = paths.rows[paths.ids == path].tolist()
        cells = [columns(tags)[column] for column in paths.columns[paths.ids == path].tolist()]
        i = next(i for i, end in enumerate(ends) if rows[0] < end)
        begin = ends[i] - LENGTHS[i].item()
        _, shares = brute_force(features[i, : LENGTHS[i]], crf.transitions, start, stop)
        expected = sum(
            share
            for sequence, share in shares.items()
            if all(sequence[row - begin] == tag for row, tag in zip(rows, cells))
        )
        assert_close(probability, expected)


def test_cross_entropy_is_viterbi_loss():
    tags = bioes_dictionary()
    for spread in (0.1, 2.0, 30.0):
        emissions, crf, gold = scores(tags, spread=spread)
        theirs = ViterbiLoss(tags)((crf(emissions), LENGTHS, crf.transitions), gold)
        theirs.backward()
        expected = emissions.grad.clone(), crf.transitions.grad.clone()
        emissions.grad = crf.transitions.grad = None
        head = chain_head((crf(emissions), LENGTHS, crf.transitions), gold, tags)
        ours = head._negative_log_likelihood()
        ours.backward()
        assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        assert_close(emissions.grad, expected[0], rtol=1e-8, atol=1e-10)
        assert_close(crf.transitions.grad, expected[1], rtol=1e-8, atol=1e-10)


def total(spec, scores, gold, tags):
    """The loss of the four sentences, in two parts as they come in chunks."""
    features, transitions = scores
    names = tuple(tags.get_item_for_index(column) for column in columns(tags))
    labels = LabelSpec("test", names, ("O",), crf=True)
    bound, parts, first = BoundLoss(core_loss(spec, "test")), [], 0
    for sentences in (slice(0, 3), slice(3, 4)):
        n = int(LENGTHS[sentences].sum())
        part = (features[sentences], LENGTHS[sentences], transitions)
        head = chain_head(part, gold[first : first + n], tags)
        like = head.logits.detach()
        parts.append((head, read_targets(head.gold, None, like, labels, head.lengths)))
        first += n
    totals = sum(head.totals(bound, targets) for head, targets in parts)
    totals = bound.accumulate(totals, len(names))
    return sum(head.loss(bound, targets, totals) for head, targets in parts)


@pytest.mark.parametrize("tag_format", ["BIOES", "BIO"])
@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES)
def test_gradcheck(spec, tag_format):
    tags = bioes_dictionary(tag_format=tag_format)
    emissions, crf, _ = scores(tags, spread=1.0)
    gold = well_formed(tags)
    transitions = torch.randn_like(crf.transitions).requires_grad_()  # finite: no -10000

    def value(emissions, transitions):
        return total(spec, (emissions.unsqueeze(-1) + transitions, transitions), gold, tags)

    assert torch.autograd.gradcheck(value, [emissions, transitions])


@pytest.mark.parametrize("spec", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types(spec, dtype):
    """float16 and bfloat16 scores are read exactly, and extreme ones give no NaN."""
    tags = bioes_dictionary()
    for spread in (1.0, 300.0):
        emissions, crf, _ = scores(tags, spread=spread)
        gold = well_formed(tags)
        features = crf(emissions).detach().to(dtype).requires_grad_()
        transitions = crf.transitions.detach().to(dtype).requires_grad_()
        narrow = total(spec, (features, transitions), gold, tags)
        narrow.backward()
        assert narrow.dtype == torch.float32
        assert features.grad.isfinite().all() and transitions.grad.isfinite().all()
        same = total(spec, (features.float(), transitions.float()), gold, tags)
        assert_close(narrow, same, rtol=0, atol=0)
        if spread == 1.0:
            wide = total(spec, (features.double(), transitions.double()), gold, tags)
            assert narrow.item() == pytest.approx(wide.item(), rel=1e-5)

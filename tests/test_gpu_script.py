"""`make gpu` on a CPU, and what the losses do on a device on which the host must not wait."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import flair_dice
from benchmarks import gpu
from dice_core import losses as core
from flair_dice import heads, targets


def test_all_checks_on_a_cpu(capfd):
    """Every group, small: nothing fails, and nothing is skipped but what needs a device."""
    assert gpu.main(["--device", "cpu", "--quick"]) == 0
    table = [line for line in capfd.readouterr().out.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    outcomes = {row[0]: row[1:] for row in cells if row[1] in ("passed", "skipped", "FAILED")}
    skipped = {name for name, (outcome, *_) in outcomes.items() if outcome == "skipped"}
    assert skipped == {"losses, torch: the host never waits"}
    for part in ("spancat", "dice_qa", "CRF", "two processes", "Trainer", "dice tune", "updates"):
        assert any(part in name for name in outcomes), part
    ratios = [float(row[1]) for row in cells[len(outcomes) + 1 :] if row[1] != "ratio"]
    assert len(ratios) > 4 and min(ratios) > 0


def fails():
    raise ValueError("of | this")


def is_missing():
    gpu.needs("no_such_toolkit")


def test_what_fails_and_what_is_missing(monkeypatch, capsys):
    """A failure gives its reason and the exit status; a toolkit that is not there is a skip."""
    group = [("bad", fails), ("gone", is_missing), ("good", lambda: [("some", 1.5, "(more)")])]
    monkeypatch.setitem(gpu.GROUPS, "losses", lambda at: iter(group))
    command = ["--device", "cpu", "--quick", "--only", "losses"]
    assert gpu.main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| bad | FAILED | ") and "of / this" in line for line in lines)
    assert any("| gone | skipped | " in line and "no_such_toolkit is not" in line for line in lines)
    assert "| some | 1.5 | (more) |" in lines
    monkeypatch.setitem(gpu.GROUPS, "losses", lambda at: iter(group[1:]))
    assert gpu.main(command) == 0


def test_a_group_in_a_process_of_its_own(monkeypatch):
    rows = list(gpu.in_own_process("losses", "cpu"))
    assert [row["outcome"] for row in rows] == ["passed"] * 4 + ["skipped"]
    monkeypatch.setitem(gpu.LIMIT, "cpu", 0.1)
    (row,) = gpu.in_own_process("losses", "cpu")
    assert row["outcome"] == "FAILED" and "it has 0.1 s at most" in row["reason"]


class Watch(TorchDispatchMode):
    """Fails where a number is read on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func._schema.name not in ("aten::_local_scalar_dense", "aten::nonzero"), func
        return func(*args, **(kwargs or {}))


SINGLE = [kind() for kind in core.LOSSES if kind not in (core.Compound, core.EntityDice)]
SINGLE += [replace(loss, level="batch") for loss in SINGLE if hasattr(loss, "level")]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("loss", SINGLE, ids=repr)
def test_the_host_reads_nothing(loss, masked, monkeypatch):
    """Class ids, some unknown, as on a device: the same value and gradient, and no waiting."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 7, (60,), generator=generator)
    ids[::5] = -100
    mask = torch.rand(60, generator=generator) < 0.7 if masked else None
    given = torch.randn(60, 7, generator=generator)
    given[0] = float("nan")  # what stands in unknown rows does not matter
    seen = []
    for device in (False, True):
        if device:
            monkeypatch.setattr(targets, "on_host", lambda tensor: False)
            monkeypatch.setattr(heads, "on_host", lambda tensor: False)
        for how in ("softmax", "sigmoid"):
            if isinstance(loss, core.AsymmetricLoss) and how == "softmax":
                continue
            logits = given.clone().requires_grad_()
            module = flair_dice.as_torch(loss, activation=how)
            if device:
                with Watch():
                    value = module(logits, ids, mask)
                    value.backward()
            else:
                value = module(logits, ids, mask)
                value.backward()
            seen.append((value.detach(), logits.grad))
    for one, other in zip(seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        assert_close(one, other)

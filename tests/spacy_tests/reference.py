"""Every loss again, in torch, from logits and from the definitions: nothing is shared with
the package, so that agreement means something."""

import torch


def view(z, activation):
    """log p and log (1-p), accurate at both ends, of logits (N, C)."""
    if activation == "sigmoid":
        return torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
    log_p = torch.log_softmax(z, dim=1)
    columns = []
    for c in range(z.shape[1]):
        others = [k for k in range(z.shape[1]) if k != c]
        columns.append(torch.logsumexp(log_p[:, others], dim=1))
    return log_p, torch.stack(columns, dim=1)


def cross_entropy(z, y, activation, weights=None, negative_weights=None, gamma=0.0, smoothing=0.0):
    log_p, log_q = view(z, activation)
    n_classes = z.shape[1]
    w1 = (
        torch.ones(n_classes, dtype=z.dtype)
        if weights is None
        else torch.tensor(weights, dtype=z.dtype)
    )
    w0 = w1 if negative_weights is None else torch.tensor(negative_weights, dtype=z.dtype)
    if activation == "sigmoid":
        y = y * (1 - smoothing) + smoothing / 2
    else:
        y = y * (1 - smoothing) + (y.sum(1, keepdim=True) - y) * smoothing / (n_classes - 1)
    total = -(w1 * y * torch.exp(gamma * log_q) * log_p).sum()
    if activation == "sigmoid":
        total = total - (w0 * (1 - y) * torch.exp(gamma * log_p) * log_q).sum()
    return total


def coefficient_loss(num, den, smooth, log):
    f = (num + smooth) / (den + smooth)
    return -torch.log(f) if log else 1 - f


def counts(z, y, activation, kind, **options):
    log_p, log_q = view(z, activation)
    p, q = log_p.exp(), log_q.exp()
    if kind == "dice":
        return 2 * p * y, (p**2 + y**2 if options["squared"] else p + y)
    if kind == "dsc":
        # The loss is a function of p as a float: where that is 1, (1-p)^alpha is 0.
        weight = torch.exp(options["alpha"] * torch.where(p < 1, log_q, -1e6))
        if options["detach_weight"]:
            weight = weight.detach()
        if options.get("squared"):
            return 2 * weight * p * y, (weight * p) ** 2 + y**2
        return 2 * weight * p * y, weight * p + y
    tp, fp, fn = p * y, p * (1 - y), q * y
    return tp, tp + options["alpha"] * fp + options["beta"] * fn


def overlap(z, y, activation, kind, level, average, smooth, log=False, background=(), **options):
    num, den = counts(z, y, activation, kind, **options)
    if level == "element":
        return coefficient_loss(num, den, smooth, log).sum()
    counted = [c for c in range(z.shape[1]) if c not in background]
    if average == "micro":
        num, den = num[:, counted].sum(), den[:, counted].sum()
        return len(z) * coefficient_loss(num, den, smooth, log)
    present = [c for c in counted if y[:, c].sum() > 0]
    if not present:
        return z.sum() * 0
    terms = [coefficient_loss(num[:, c].sum(), den[:, c].sum(), smooth, log) for c in present]
    return len(z) * sum(terms) / len(terms)


def entity_dice(z, activation, tags, lengths, columns, smooth, beta, log):
    """tags: gold BILUO strings; columns: the tag of each column."""
    log_p, _ = view(z, activation)
    found, n_gold, row = z.sum() * 0, 0, 0
    for length in lengths:
        doc = tags[row : row + length]
        start = None
        for i, tag in enumerate(doc):
            if tag[0] in "BU":
                start = i
            if tag[0] in "LU":
                cells = [log_p[row + k, columns.index(doc[k])] for k in range(start, i + 1)]
                found = found + torch.exp(sum(cells))
                n_gold += 1
        row += length
    starts = [c for c, tag in enumerate(columns) if tag[0] in "BU"]
    expected = log_p[:, starts].exp().sum()
    f = coefficient_loss((1 + beta**2) * found, expected + beta**2 * n_gold, smooth, log)
    return len(z) * f

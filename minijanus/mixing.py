"""How many samples of each task a step takes, and which ones (paper §4.1, Table 1).

The plan is a pure function of the step: the counts up to any step are the exact shares,
rounded by largest remainder, and a step takes the difference of two such totals. So the
remainder is carried, a resumed run needs no state, and each task counts its own samples.
"""

TASKS = ("understanding", "text", "generation")


def totals(ratio: tuple[int, int, int], batch: int, steps: int) -> list[int]:
    """Samples of each task in the first `steps` steps, by largest remainder."""
    parts = [batch * steps * share for share in ratio]  # in units of 1 / sum(ratio)
    counts = [part // sum(ratio) for part in parts]
    remainders = [part % sum(ratio) for part in parts]
    by_remainder = sorted(range(len(ratio)), key=lambda task: (-remainders[task], task))
    for task in by_remainder[: batch * steps - sum(counts)]:
        counts[task] += 1
    return counts


def plan(ratio: tuple[int, int, int], batch: int, step: int) -> dict[str, range]:
    """The sample indices of each task in this step; every task has its own counter."""
    before, after = totals(ratio, batch, step), totals(ratio, batch, step + 1)
    if any(a < b for b, a in zip(before, after, strict=True)):  # a batch of 1 can do that
        raise ValueError(
            f"a batch of {batch} is too small for the ratio {ratio}, as step {step} would "
            "take a sample back: make the batch larger."
        )
    return {task: range(*span) for task, *span in zip(TASKS, before, after, strict=True)}

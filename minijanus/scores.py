"""A measured number with all that it means: interval, floor, ceiling, n, conditions."""

from collections.abc import Callable

from torch import Generator, Tensor, ones, randint, stack, tensor, zeros

RESAMPLES = 2000
INTERVAL = (0.025, 0.975)  # 95 %


Statistic = Callable[[Tensor], Tensor]  # means of groups, g ... or g ... k -> ...


def mean_of_groups(means: Tensor) -> Tensor:
    """The mean of the groups' means, so that each group counts as much as another."""
    return means.mean(dim=0)


def statistic_of(groups: list[Tensor], statistic: Statistic = mean_of_groups) -> float:
    """A statistic of the groups' means; a group holds numbers n, or rows of them n k."""
    return float(statistic(stack([values.double().mean(dim=0) for values in groups])))


def drawn_anew(groups: list[Tensor], statistic: Statistic = mean_of_groups) -> Tensor:
    """The statistic of the groups' means RESAMPLES times, their members drawn anew.

    A group holds one number, or one row of them, per prompt, question or picture.
    """
    generator = Generator().manual_seed(0)
    means = []
    for values in groups:
        n = len(values)
        again = randint(n, (RESAMPLES, n), generator=generator)
        times = zeros(RESAMPLES, n).double()  # how often each member was drawn
        times.scatter_add_(1, again, ones(RESAMPLES, n).double())
        means.append(times @ values.double() / n)
    return statistic(stack(means))


def bootstrap(
    groups: list[Tensor], statistic: Statistic = mean_of_groups, biased: bool = False
) -> tuple[float, float]:
    """The 95 % interval of a statistic of the groups' means.

    A distance grows when pictures are drawn anew, as some then come twice: the interval of
    such a `biased` statistic is moved so that its draws lie about the value. Where all are
    right, or none, drawing anew finds nothing else, and the bound of n equal ones stands.
    """
    always = {float(x) for values in groups for x in values.unique()}
    if statistic is mean_of_groups and always in ({0.0}, {1.0}):
        bound = INTERVAL[0] ** (1 / sum(len(values) for values in groups))
        return (0.0, 1 - bound) if always == {0.0} else (bound, 1.0)
    found = drawn_anew(groups, statistic)
    if biased:
        found = found - found.mean() + statistic_of(groups, statistic)
    low, high = found.quantile(tensor(INTERVAL).double()).tolist()
    return low, high


def mean(groups: list[Tensor]) -> float:
    """The mean of the groups' means, so that each group counts as much as another."""
    return round(statistic_of(groups), 4)


def score(
    groups: list[Tensor],
    floor: float | None,
    ceiling: float | None,
    conditions: str,
    statistic: Statistic = mean_of_groups,
    biased: bool = False,
) -> dict:
    """One entry of the scores' JSON; None where there is no floor or ceiling."""
    low, high = bootstrap(groups, statistic, biased)
    n = sum(len(values) for values in groups)
    numbers = {"value": statistic_of(groups, statistic), "low": low, "high": high}
    numbers |= {"floor": floor, "ceiling": ceiling}
    rounded = {name: x if x is None else round(x, 4) for name, x in numbers.items()}
    return {**rounded, "n": n, "conditions": conditions}

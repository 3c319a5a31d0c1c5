"""A measured number with all that it means: interval, floor, ceiling, n, conditions."""

from torch import Generator, Tensor, randint, stack, tensor

RESAMPLES = 2000
INTERVAL = (0.025, 0.975)  # 95 %


def bootstrap(groups: list[Tensor]) -> tuple[float, float]:
    """The 95 % interval of the mean of the groups' means, their members drawn anew.

    A group holds one number per prompt, question or picture, from 0 to 1.
    """
    generator = Generator().manual_seed(0)
    means = []
    for values in groups:
        again = randint(len(values), (RESAMPLES, len(values)), generator=generator)
        means.append(values.double()[again].mean(dim=1))
    low, high = stack(means).mean(dim=0).quantile(tensor(INTERVAL).double()).tolist()
    return low, high


def mean(groups: list[Tensor]) -> float:
    """The mean of the groups' means, so that each group counts as much as another."""
    return round(sum(float(v.double().mean()) for v in groups) / len(groups), 4)


def score(
    groups: list[Tensor], floor: float | None, ceiling: float | None, conditions: str
) -> dict:
    """One entry of the scores' JSON; None where there is no floor or ceiling."""
    low, high = bootstrap(groups)
    n = sum(len(values) for values in groups)
    numbers = {"value": mean(groups), "low": low, "high": high}
    numbers |= {"floor": floor, "ceiling": ceiling}
    rounded = {name: x if x is None else round(x, 4) for name, x in numbers.items()}
    return {**rounded, "n": n, "conditions": conditions}

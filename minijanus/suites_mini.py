"""The eight understanding benchmarks of Table 2 in miniature, as data (paper §4.3).

Each says what its rows are, how an answer is read and marked, and what is made of the
marks. Prompts are the questions themselves: `tiny` never saw a protocol's further words.
"""

import re

import torch
from torch import Tensor

from minijanus.benchmark import Benchmark, Line, Measure, Row
from minijanus.choices_mini import mmb_rows, mmmu_rows, seed_rows
from minijanus.reading import (
    agreement,
    letter,
    normal,
    plain_yes_or_no,
    told_facts,
    vqa_accuracy,
    yes_or_no,
)
from minijanus.rows_mini import gqa_rows, mme_rows, pope_rows, vet_rows, vqa_rows
from minijanus.scores import mean_of_groups

KINDS_OF_ANSWER = ((True, True), (True, False), (False, True))  # (said yes, is yes)
LONG = 64  # tokens of a free answer; the longest true one has 48
POINTS = 100.0  # of each of MME's two accuracies of a kind


def units(lines: list[Line]) -> dict[str, list[list[Line]]]:
    """The lines of each part, those of one unit together."""
    found: dict[str, dict[str, list[Line]]] = {}
    for line in lines:
        found.setdefault(line.part, {}).setdefault(line.unit, []).append(line)
    return {part: list(some.values()) for part, some in found.items()}


def share(some: list[Line]) -> float:
    """The mean score of some lines."""
    return sum(line.score for line in some) / len(some)


def accuracy(lines: list[Line]) -> dict[str, Measure]:
    """The share of right answers in each part, and the mean of the parts."""
    parts = {
        part: torch.tensor([share(some) for some in every])
        for part, every in units(lines).items()
    }
    measures = {part: Measure([values], mean_of_groups) for part, values in parts.items()}
    return measures | {"accuracy": Measure(list(parts.values()), mean_of_groups)}


def f1(means: Tensor) -> Tensor:
    """F1 from the shares of true yes, false yes, missed yes; the mean of the parts."""
    right, false, missed = means.unbind(dim=-1)
    return (2 * right / (2 * right + false + missed).clamp(min=1e-9)).mean(dim=0)


def precision(means: Tensor) -> Tensor:
    """The share of yes answers that are right; the mean of the parts."""
    right, false, _ = means.unbind(dim=-1)
    return (right / (right + false).clamp(min=1e-9)).mean(dim=0)


def recall(means: Tensor) -> Tensor:
    """The share of things that are there and found; the mean of the parts."""
    right, _, missed = means.unbind(dim=-1)
    return (right / (right + missed).clamp(min=1e-9)).mean(dim=0)


def pope_measures(lines: list[Line]) -> dict[str, Measure]:
    """POPE's five numbers, of each split (its accuracy bears its name) and of all."""
    counted, said = {}, {}
    for part, every in units(lines).items():
        pairs = [
            [(one.parsed == "yes", one.truths[0] == "yes") for one in u] for u in every
        ]
        counted[part] = torch.tensor(
            [
                [float(sum(pair == kind for pair in some)) for kind in KINDS_OF_ANSWER]
                for some in pairs
            ]
        )
        said[part] = torch.tensor([sum(yes for yes, _ in u) / len(u) for u in pairs])
    found = accuracy(lines)
    for before, parts in {"": list(counted), **{f"{p}_": [p] for p in counted}}.items():
        some = [counted[part] for part in parts]
        for name, statistic in {"precision": precision, "recall": recall, "f1": f1}.items():
            found[before + name] = Measure(some, statistic)
        ratio = [said[part] for part in parts]
        found[before + "yes_ratio"] = Measure(ratio, mean_of_groups, None)
    return found


def mme_measures(lines: list[Line]) -> dict[str, Measure]:
    """MME: accuracy, accuracy+ (both questions of a pair right), and points of both."""
    parts = [
        torch.tensor([[share(some), float(share(some) == 1)] for some in every])
        for every in units(lines).values()
    ]
    most = 2 * POINTS * len(parts)
    return accuracy(lines) | {
        "accuracy_plus": Measure(parts, second_column),
        "points": Measure(parts, points, most),
    }


def second_column(means: Tensor) -> Tensor:
    """The mean of the parts' second numbers."""
    return means[..., 1].mean(dim=0)


def points(means: Tensor) -> Tensor:
    """All numbers of all parts, in percent, added up."""
    return POINTS * means.sum(dim=-1).sum(dim=0)


def mmb_measures(lines: list[Line]) -> dict[str, Measure]:
    """MMBench: right in the first order (vanilla), and in all four (circular)."""
    first = [line for line in lines if line.id.endswith("/0")]
    vanilla = accuracy(first)
    parts = [
        torch.tensor([float(share(some) == 1) for some in every])
        for every in units(lines).values()
    ]
    kinds = {f"vanilla_{part}": found for part, found in vanilla.items()}
    kinds["vanilla"] = kinds.pop("vanilla_accuracy")
    return kinds | {"circular": Measure(parts, mean_of_groups)}


def vqa_measures(lines: list[Line]) -> dict[str, Measure]:
    """VQA's accuracy, and beside it the share of answers that are the truth itself."""
    found = accuracy(lines)
    parts = [
        torch.tensor([float(some[0].parsed == normal(some[0].truths[0])) for some in every])
        for every in units(lines).values()
    ]
    return found | {"exact": Measure(parts, mean_of_groups)}


def exact(answer: str, row: Row) -> float:
    """Whether the answer is the truth, in VQA's normal form."""
    return float(answer == normal(row.truths[0]))


def same(answer: str, row: Row) -> float:
    """Whether the answer that was read is the truth."""
    return float(answer == row.truths[0])


def read_choice(said: str, row: Row) -> str:
    """A letter where the row has options, else the answer in VQA's normal form."""
    return letter(said, row.options) if row.options else normal(said)


def mark_choice(answer: str, row: Row) -> float:
    """Whether letter or answer is right."""
    return same(answer, row) if row.options else exact(answer, row)


def facts(said: str, row: Row) -> str:
    """The facts of a free answer: numbers of a chart, or things that are named."""
    found = chart_facts(said) if row.part == "chart" else told_facts(said, row.options)
    return "; ".join(sorted(found))


def chart_facts(said: str) -> set[str]:
    """The numbers that a description of a chart states: "red bar six"."""
    found = re.findall(r"\b(\w+) (bar|slice|row) is (\w+)", said.lower())
    return {" ".join(fact) for fact in found}


def mark_facts(answer: str, row: Row) -> float:
    """Facts both told and true, as a share of those told or true."""
    true = facts(row.truths[0], row)
    told, true = (set(filter(None, text.split("; "))) for text in (answer, true))
    return agreement(told, true)


def mark_vqa(answer: str, row: Row) -> float:
    """VQA's accuracy against the ten annotators, who stand behind the truth."""
    return vqa_accuracy(answer, row.truths[1:])


SUITES = (
    Benchmark(
        "pope_mini", pope_rows, lambda said, row: yes_or_no(said), same, pope_measures
    ),
    Benchmark(
        "mme_mini", mme_rows, lambda said, row: plain_yes_or_no(said), same, mme_measures
    ),
    Benchmark(
        "mmb_mini", mmb_rows, read_choice, mark_choice, mmb_measures, max_tokens=LONG
    ),
    Benchmark("seed_mini", seed_rows, read_choice, mark_choice, accuracy, max_tokens=LONG),
    Benchmark("vqa_mini", vqa_rows, lambda said, row: normal(said), mark_vqa, vqa_measures),
    Benchmark("gqa_mini", gqa_rows, lambda said, row: normal(said), exact, accuracy),
    Benchmark("mmmu_mini", mmmu_rows, read_choice, mark_choice, accuracy, max_tokens=LONG),
    Benchmark(  # the one that the authors ask with the system prompt
        "vet_mini",
        vet_rows,
        facts,
        mark_facts,
        accuracy,
        max_tokens=LONG,
        system_prompt=True,
    ),
)

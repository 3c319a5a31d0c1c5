"""Drawing: guidance, the cache and batches, against a slow sampler of its own (§3.4)."""

import inspect

import pytest
import torch
from torch import Generator, Tensor

from minijanus.cfg_sampler import drawing, prompt_ids
from minijanus.janus import Janus
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import pack
from minijanus.text import Tokenizer
from minijanus.train import lay_out

PROMPTS = ["dog", "a red dog. it is left of a blue car.", "a blue car", "a red car. yes."]


def generators(*seeds: int) -> list[Generator]:
    """One generator for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@torch.no_grad()
def draw(*arguments, **options) -> torch.Tensor:
    """The whole pictures at the end of `drawing`."""
    *_, ids = drawing(*arguments, **options)
    return ids


def slow_draw(
    janus: Janus, rows: list[list[int]], weights: list[float], generator: Generator
) -> list[int]:
    """One picture without cache, batch or mask: each row alone, all of it at each step.

    The logits of the rows are added up with these weights.
    """
    drawn: list[int] = []
    for _ in range(janus.gen.n_tokens):
        logits = 0.0
        for row, weight in zip(rows, weights, strict=True):
            words = [janus.llm.embed_tokens.weight[i] for i in row]
            codes = [janus.gen.adaptor(janus.gen.embedding.weight[c]) for c in drawn]
            vectors = torch.stack(words + codes)[None]
            hidden = janus.llm(vectors, torch.arange(vectors.shape[1])[None])[0, -1]
            logits = logits + weight * janus.image_head(hidden)
        chances = logits.softmax(-1).float()
        drawn.append(int(torch.multinomial(chances, 1, generator=generator)))
    return drawn


def in_pads(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """BOS, as many PADs as the prompt has tokens, BOI."""
    return [tokenizer.bos] + [tokenizer.pad] * (len(ids) - 2) + [tokenizer.boi]


@pytest.fixture
def rows(janus, tokenizer) -> list[list[int]]:
    """Prompts of several lengths; the Janus beside them is in float64."""
    janus.double()
    rows = [prompt_ids(prompt, janus, tokenizer, 3) for prompt in PROMPTS]
    assert len({len(row) for row in rows}) == len(rows)
    return rows


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5, 5.0])
def test_drawing_is_the_slow_sampler_of_l_u_plus_s_times_the_difference(
    guidance, janus, tokenizer, rows
):
    """Catches another mix, such as Show-o's (1 + s) l_c - s l_u, a cache that differs, a
    wrong position or mask of the new token, a token fed back to one row only.
    """
    for seed, row in enumerate(rows):
        [fast] = draw(janus, [row], tokenizer.pad, generators(seed), guidance).tolist()
        both, weights = [row, in_pads(row, tokenizer)], [guidance, 1.0 - guidance]
        assert fast == slow_draw(janus, both, weights, *generators(seed))


def test_s_1_is_conditional_and_s_0_unconditional(janus, tokenizer, rows):
    """Catches a scale that is off by one: then neither identity holds."""
    seeds = range(len(rows))
    with_prompt = draw(janus, rows, tokenizer.pad, generators(*seeds), 1.0).tolist()
    without = draw(janus, rows, tokenizer.pad, generators(*seeds), 0.0).tolist()
    for seed, row in enumerate(rows):
        assert with_prompt[seed] == slow_draw(janus, [row], [1.0], *generators(seed))
        pads = in_pads(row, tokenizer)
        assert without[seed] == slow_draw(janus, [pads], [1.0], *generators(seed))
    guided = draw(janus, rows, tokenizer.pad, generators(*seeds), 5.0).tolist()
    for one in zip(with_prompt, without, guided, strict=True):
        assert len(set(map(tuple, one))) == 3, "the test is blind: guidance does nothing"


def test_a_batch_gives_what_each_prompt_gives_alone(janus, tokenizer, rows):
    """Catches left filler that is seen or shifts positions, and one generator for all."""
    seeds = [5, 6, 7, 8]
    together = draw(janus, rows, tokenizer.pad, generators(*seeds)).tolist()
    for row, seed, picture in zip(rows, seeds, together, strict=True):
        assert draw(janus, [row], tokenizer.pad, generators(seed)).tolist() == [picture]
    backwards = draw(janus, rows[::-1], tokenizer.pad, generators(*seeds[::-1])).tolist()
    assert backwards[::-1] == together
    same = draw(janus, [rows[0]] * 3, tokenizer.pad, generators(5, 9, 5)).tolist()
    assert same[0] == same[2] == together[0] != same[1]


def test_drawn_ids_are_codes_and_the_default_scale_is_5(janus, tokenizer, rows):
    """Catches a picture of another size, and another default than the paper's s = 5."""
    ids = draw(janus, rows, tokenizer.pad, generators(1, 2, 3, 4))
    assert ids.shape == (4, janus.gen.n_tokens)
    assert 0 <= int(ids.min()) and int(ids.max()) < janus.cfg.n_codes
    assert inspect.signature(drawing).parameters["guidance"].default == 5.0
    explicit = draw(janus, rows, tokenizer.pad, generators(1, 2, 3, 4), guidance=5.0)
    assert torch.equal(ids, explicit)


BY_HAND = {
    1: ["BOS", " a", " red", " dog", "BOI"],
    2: ["BOS", " a", " red", " dog", "BOI"],
    3: ["BOS", "User", ":", " a", " red", " dog", "\n", "\n", "Assistant", ":", "BOI"],
}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_prompt_has_the_format_of_the_checkpoints_stage(number, janus, tokenizer):
    """Catches drawing after stage II with the template of stage III, token by token."""
    names = {tokenizer.bos: "BOS", tokenizer.boi: "BOI"}
    ids = prompt_ids("a red dog", janus, tokenizer, number)
    assert [names.get(i) or tokenizer.decode([i]) for i in ids] == BY_HAND[number]


def trained_rows(janus, tokenizer, number: int, prompt: str) -> dict[str, list[int]]:
    """The sequences that training makes of a prompt: one with it, one that dropped it."""
    record = Record("generation", [None], turns(prompt, IMAGE))
    stage, found = janus.cfg.stage(number), {}
    for index in range(1000):
        sequence = lay_out(janus.cfg, stage, tokenizer, janus.lengths(), index, record)
        found["dropped" if tokenizer.pad in sequence.ids else "kept"] = sequence
        if len(found) == 2:
            return found
    raise AssertionError("no drawing was dropped, or all were")


def what_the_head_sees(janus: Janus, monkeypatch) -> list[tuple[Tensor, Tensor]]:
    """The hidden states that `draw` hands to the image head, as it goes."""
    seen, real = [], janus.image_head.sample

    def sample(cond, uncond, *rest):
        seen.append((cond, uncond))
        return real(cond, uncond, *rest)

    monkeypatch.setattr(janus.image_head, "sample", sample)
    return seen


@pytest.mark.parametrize("number", [1, 2, 3])
@torch.no_grad()
def test_the_unconditional_row_is_trainings_dropped_row(
    number, janus, tokenizer, monkeypatch
):
    """Catches a null prompt that training never saw (an empty caption, PAD masked, a kept
    "User:"): token for token, and in the hidden state at BOI.
    """
    janus.double()
    prompt = "a red dog."  # one sentence: stage II has nothing to cut
    trained = trained_rows(janus, tokenizer, number, prompt)
    fed, seen = [], what_the_head_sees(janus, monkeypatch)
    hook = janus.llm.embed_tokens.register_forward_pre_hook(
        lambda module, given: fed.append(given[0].tolist())
    )
    longer = "a red dog. it is left of a blue car."  # so that there is filler too
    ids = [prompt_ids(p, janus, tokenizer, number) for p in (prompt, longer)]
    draw(janus, ids, tokenizer.pad, generators(0, 1))
    hook.remove()
    boi = trained["kept"].ids.index(tokenizer.boi)
    [cond, _, uncond, _] = fed[0]
    assert cond[-boi - 1 :] == trained["kept"].ids[: boi + 1]
    assert uncond[-boi - 1 :] == trained["dropped"].ids[: boi + 1]
    states = dict(zip(("kept", "dropped"), (s[0] for s in seen[0]), strict=True))
    for name, sequence in trained.items():
        codes = torch.zeros(1, janus.gen.n_tokens, dtype=torch.long)
        hidden = janus(pack([sequence], 1, 256), {"gen": codes})[0, boi]
        torch.testing.assert_close(states[name], hidden, rtol=0, atol=1e-10)

"""Drawing: one image token after another, with classifier-free guidance (paper §3.4).

Each picture is two rows of one batch: the prompt, and the prompt turned into PAD. The image
head mixes the two; the drawn token is fed back into both.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minijanus.janus import Janus
from minijanus.llm import KVCache, attention_mask
from minijanus.records import IMAGE, Record, turns
from minijanus.sequence import left_filled, to_sequence, without_condition
from minijanus.text import Tokenizer


def prompt_ids(
    prompt: str, janus: Janus, tokenizer: Tokenizer, stage_number: int
) -> list[int]:
    """The ids from BOS to BOI of a drawing prompt, in this stage's format (paper §4.2).

    They are cut out of the very sequence that training would have made of the prompt.
    """
    # No picture yet: only its place counts.
    record = Record("generation", [None], turns(prompt, IMAGE))
    stage = janus.cfg.stage(stage_number)
    sequence = to_sequence(record, stage, tokenizer, janus.lengths())
    return sequence.ids[: sequence.spans[0].start]


@torch.no_grad()
def drawing(
    janus: Janus,
    prompts: list[list[int]],
    pad: int,
    generators: list[torch.Generator],
    guidance: float = 5.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Tensor]:
    """Yield the image ids so far, b m, for each m from 1 to n, as they are drawn.

    Prompts are ids from BOS to BOI, one generator per picture: a picture depends on its own
    prompt and generator only, not on its batch mates.
    """
    device = janus.device
    n = janus.gen.n_tokens
    rows = prompts + [without_condition(ids, len(ids) - 1, pad) for ids in prompts]
    ids, documents, positions = (tensor.to(device) for tensor in left_filled(rows))
    dtype = janus.text_head.weight.dtype
    cache = KVCache(janus.cfg, len(rows), ids.shape[1] + n, device, dtype)
    embedded, state, drawn = janus.llm.embed_tokens(ids), janus.gen.first_state(), []
    for _ in range(n):
        mask = attention_mask(documents, new=embedded.shape[1])
        hidden = janus.llm(embedded, positions, mask, cache)
        cond, uncond = hidden[:, -1].chunk(2)
        new = janus.image_head.sample(
            cond, uncond, guidance, generators, temperature, top_k, top_p
        )
        drawn.append(new)
        yield torch.stack(drawn, dim=1)
        embedded, state = janus.gen.feedback(torch.cat([new, new]), state)
        documents = torch.cat([documents, documents[:, -1:]], dim=1)
        positions = positions[:, -1:] + 1

"""Janus: one transformer, two visual encoders, two heads (paper §3.1, Fig. 2, Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from minijanus.adaptors import GenerationPathway, UnderstandingPathway
from minijanus.config import Config, Stage
from minijanus.heads import ImageHead
from minijanus.llm import Llama, attention_mask
from minijanus.mixing import TASKS
from minijanus.sequence import Batch, Span

if TYPE_CHECKING:
    from PIL.Image import Image

    from minijanus.hub import Pretrained


class Janus(nn.Module):
    """The whole model: two picture pathways into one LLM, and a head for each output."""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.und = UnderstandingPathway(cfg)
        self.gen = GenerationPathway(cfg)
        self.llm = Llama(cfg)
        self.text_head = nn.Linear(cfg.llm_width, cfg.vocabulary, bias=False)
        nn.init.normal_(self.text_head.weight, std=cfg.llm_width**-0.5)
        self.image_head = ImageHead(cfg)
        self.pretrained: Pretrained | None = None  # what came with weights from a folder

    @staticmethod
    def from_pretrained(
        name_or_folder: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Janus:
        """The model in a folder or of a name on the hub; UserError if it is unfit."""
        from minijanus import hub  # which imports this file

        return hub.from_pretrained(name_or_folder, device, dtype)

    @staticmethod
    def from_parts(
        siglip: str | Path,
        llm: str | Path,
        vq: str | Path,
        device: torch.device | str = "cpu",
    ) -> Janus:
        """A model before stage I, of three pretrained parts; UserError if one is unfit."""
        from minijanus import parts

        return parts.from_parts(siglip, llm, vq, device)

    def save_pretrained(self, folder: str | Path, layout: str = "official") -> None:
        """Write the model into a new folder, as "official" or as "transformers" has it."""
        from minijanus import hub

        hub.save_pretrained(self, folder, layout)

    def draw(
        self,
        prompts: str | Sequence[str],
        n: int = 1,
        guidance: float = 5.0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seeds: Sequence[int] | None = None,
        on_step: Callable[[list[Image]], None] | None = None,
    ) -> list[Image]:
        """Draw each prompt n times; all pictures of the first prompt come first.

        In float32 each picture equals the one drawn alone with its seed; half precision
        rounds a batch otherwise. `seeds` has one per picture, by default 0, 1, 2 and so on.
        on_step gets the unfinished pictures of a batch after each row of codes. Only for a
        model of from_pretrained; UserError for bad input.
        """
        from minijanus import given, studio  # which import this file

        prompts = [prompts] if isinstance(prompts, str) else prompts
        how = (guidance, temperature, top_k, top_p)
        return studio.draw(*given.loaded(self), prompts, n, *how, seeds, on_step)

    def answer(
        self,
        conversation: str | Sequence[dict[str, str]],
        images: Sequence[Image] = (),
        stream: bool = False,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str | Iterator[str]:
        """Answer a question, or go on with a conversation whose last turn is the user's.

        Pictures stand where the IMAGE marks are or, without marks, before the first turn.
        With `stream` the answer comes in pieces that never break a character. Temperature 0
        takes the likeliest token. Only for a model of from_pretrained; UserError for bad
        input.
        """
        from minijanus import given, studio  # which import this file

        asked = given.conversation(conversation, images)
        pieces = studio.reply(
            *given.loaded(self), asked, max_tokens, temperature, top_p, seed
        )
        return pieces if stream else "".join(pieces)

    def answers(
        self,
        conversations: Sequence[str | Sequence[dict[str, str]]],
        images: Sequence[Sequence[Image]],
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[str]:
        """As `answer`, for several conversations in one batch, each with its pictures."""
        from minijanus import given, text_sampler  # which import this file

        given.check_pairs(conversations, images)
        asked = list(map(given.conversation, conversations, images))
        given.check_sampling(temperature, None, top_p)
        janus, tokenizer, stage = given.loaded(self)
        how = (max_tokens, temperature, top_p, seeds)
        return text_sampler.replies(janus, tokenizer, asked, stage, *how)

    def parts(self) -> dict[str, nn.Module]:
        """The parts of Figure 3 by the paper's names; every parameter is in exactly one."""
        return {
            "und_encoder": self.und.encoder,
            "und_adaptor": self.und.adaptor,
            "gen_encoder": self.gen.encoder,
            "gen_adaptor": nn.ModuleList([self.gen.embedding, self.gen.adaptor]),
            "llm": self.llm,
            "text_head": self.text_head,
            "image_head": self.image_head,
        }

    def set_stage(self, stage: Stage) -> list[tuple[str, nn.Parameter]]:
        """Freeze and unfreeze as Figure 3 says; return the named parameters that train."""
        self.requires_grad_(False)
        for part, module in self.parts().items():  # one object may be two parts
            if stage.trains(part):
                module.requires_grad_(True)
        if not stage.train_gen_embedding:
            self.gen.embedding.requires_grad_(False)
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.text_head.weight.device

    @property
    def pathways(self) -> dict[str, nn.Module]:
        """The picture pathways by the names that spans use."""
        return {"und": self.und, "gen": self.gen}

    def lengths(self) -> dict[str, int]:
        """How many positions a picture takes in each pathway."""
        return {name: pathway.n_tokens for name, pathway in self.pathways.items()}

    def embed(self, batch: Batch, pictures: dict[str, Tensor]) -> Tensor:
        """Text and pictures as one sequence of vectors, b t d.

        `pictures[pathway]` holds what that pathway's `encode` gave, one row for each of its
        spans, in their order.
        """
        embedded = rearrange(self.llm.embed_tokens(batch.ids), "b t d -> (b t) d")
        for name, cached in pictures.items():
            where = flat_positions([s for s in batch.spans if s.pathway == name], batch.ids)
            vectors = rearrange(self.pathways[name].embed(cached), "m n d -> (m n) d")
            embedded = embedded.index_put((where,), vectors.to(embedded.dtype))
        return rearrange(embedded, "(b t) d -> b t d", b=batch.ids.shape[0])

    def forward(self, batch: Batch, pictures: dict[str, Tensor]) -> Tensor:
        """Hidden states b t d of a packed batch."""
        mask = attention_mask(batch.documents, batch.span_ids)
        return self.llm(self.embed(batch, pictures), batch.positions, mask)

    def loss(self, batch: Batch, pictures: dict[str, Tensor]) -> dict[str, Tensor]:
        """Eq. 1 as one mean over all targets of the step, and each task's mean beside it.

        A target is predicted from the position before it: the first image token from BOI.
        No task has a weight (paper §3.3).
        """
        hidden = rearrange(self(batch, pictures), "b t d -> (b t) d")
        (scored,) = torch.where(rearrange(batch.scored, "b t -> (b t)"))
        ids = rearrange(batch.ids, "b t -> (b t)")
        # One position earlier is still the same sequence: BOS, its first, is never scored.
        text = F.cross_entropy(
            self.text_head(hidden[scored - 1]).float(), ids[scored], reduction="none"
        )
        # A picture that is only read (one shared encoder, paper Table 5) is no target.
        drawn = [s.drawn for s in batch.spans if s.pathway == "gen"]
        if any(drawn):
            where = flat_positions([s for s in batch.spans if s.drawn], batch.ids)
            codes = rearrange(pictures["gen"][torch.tensor(drawn)], "m n -> (m n)")
            image = self.image_head.loss(hidden[where - 1], codes)
        else:
            image = text[:0]
        losses = {"loss": torch.cat([text, image]).mean()}
        of_task = rearrange(batch.tasks, "b t -> (b t)")[scored]
        for number, task in enumerate(TASKS[:2]):
            if (of_task == number).any():
                losses[task] = text[of_task == number].mean().detach()
        if len(image):
            losses["generation"] = image.mean().detach()
        return losses


def flat_positions(spans: list[Span], ids: Tensor) -> Tensor:
    """The positions of the spans' tokens in the rows laid end to end."""
    width = ids.shape[1]
    starts = [(span.row * width + span.start, span.length) for span in spans]
    return torch.cat([torch.arange(s, s + n) for s, n in starts]).to(ids.device)

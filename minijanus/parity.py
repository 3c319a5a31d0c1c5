"""`python -m minijanus parity`: our numbers against those of transformers' port of Janus.

Both sides get the same random weights, so no download is needed and nothing can agree by
luck. The port is code that is not ours; where it is known to differ from the released
code, the row says what was done about it. Only this file and the tests import transformers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version

import torch
from torch import Tensor
from torch.nn import functional as F

from minijanus.cfg_sampler import drawing, prompt_ids
from minijanus.config import PAPER, Config
from minijanus.conversion import tensors_in
from minijanus.folders import TINY_FOLDER
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.llm import KVCache
from minijanus.records import turns
from minijanus.releasing import small_files
from minijanus.text import SYSTEM_PROMPT, Tokenizer
from minijanus.text_sampler import speaking

BOUND = 1e-5  # of the relative error ||a - b|| / ||b||, in float32
WORDS, GUIDANCE, PROMPT = 24, 5.0, "a red car left of a dog"
SMALL = replace(
    PAPER,
    name="parity",
    image_size=16,
    und_patch=2,
    und_width=24,
    und_depth=2,
    und_heads=3,
    n_codes=40,
    d_code=6,
    vq_multipliers=(1, 2),
    vq_res_blocks=1,
    vq_latent=12,
    vocabulary=2048,
    llm_width=32,
    llm_depth=2,
    llm_heads=4,
    llm_ff=40,
    max_positions=300,
)


@dataclass(frozen=True)
class Row:
    """One comparison; a share of differing choices has the bound 0."""

    part: str
    against: str
    error: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the two sides agree."""
        return self.error <= self.bound


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """The relative error of everything together; 1 where there is nothing to compare."""
    if ours.shape != theirs.shape or not theirs.norm() > 0.1:
        return 1.0
    return float((ours - theirs).norm() / theirs.norm())


def differing(ours: Tensor, theirs: Tensor) -> float:
    """The share of differing choices; 1 where all of theirs are one and the same."""
    if ours.shape != theirs.shape or len(theirs.unique()) < 2:
        return 1.0
    return float((ours != theirs).float().mean())


@torch.no_grad()
def random_janus(cfg: Config, seed: int = 0) -> Janus:
    """A Janus whose every number is random, so that a forgotten bias or norm shows."""
    torch.manual_seed(seed)
    janus = Janus(cfg).eval()
    for parameter in janus.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn_like(parameter))
    table = janus.gen.encoder.quantize.embedding.weight
    table.copy_(torch.randn_like(table))  # rows of all lengths
    janus.gen.embedding.weight.copy_(torch.randn_like(janus.gen.embedding.weight))
    return janus


def port_of(janus: Janus, tokenizer: Tokenizer):
    """The port with the very tensors of our model; UserError without transformers."""
    try:
        from transformers import JanusConfig, JanusForConditionalGeneration
    except ImportError as error:
        raise UserError(
            "parity compares with transformers, which is not installed: type "
            "`pip install -e '.[test]'`."
        ) from error
    files = small_files(janus.cfg, "transformers", tokenizer, True, "float32")
    port = JanusForConditionalGeneration(JanusConfig(**json.loads(files["config.json"])))
    dtypes = {name: tensor.dtype for name, tensor in janus.state_dict().items()}
    # Assigned, not copied: at full size two sets of weights would not fit.
    port.load_state_dict(tensors_in(janus, "transformers", dtypes), assign=True)
    told = json.loads(files["generation_config.json"])
    for name, value in told.items():
        setattr(port.generation_config, name, value)
    return port.eval()


def encoders(janus: Janus, port, noise: torch.Generator) -> Iterator[Row]:
    """Pictures into both pathways."""
    cfg, n = janus.cfg, janus.gen.n_tokens
    pixels = torch.rand(1, 3, cfg.image_size, cfg.image_size, generator=noise) * 2 - 1
    seen = port.model.vision_model(pixels).last_hidden_state
    yield Row(
        "SigLIP features", "port", relative_error(janus.und.encode(pixels), seen), BOUND
    )
    embedded = port.model.aligner(seen)
    error = relative_error(janus.und.embed(seen), embedded)
    yield Row("understanding adaptor", "port", error, BOUND)
    ids = torch.randint(cfg.n_codes, (1, n), generator=noise)
    embedded = port.prepare_embeddings_for_image_generation(ids)
    yield Row(
        "generation adaptor", "port", relative_error(janus.gen.embed(ids), embedded), BOUND
    )
    pictures = port.model.vqmodel.decode(ids)
    error = relative_error(janus.gen.encoder.decode(ids), pictures)
    yield Row("VQ decode", "port", error, BOUND)
    yield from vq_encoding(janus, port, pixels)


def vq_encoding(janus: Janus, port, pixels: Tensor) -> Iterator[Row]:
    """The ids of a picture; the port forgets to normalise, the released code does not."""
    theirs = port.model.vqmodel
    z = theirs.quant_conv(theirs.encoder(pixels)).flatten(2).mT  # 1 n d
    latents = janus.gen.encoder.latents(pixels).flatten(1, 2)
    unit = F.normalize(z, dim=-1)
    yield Row(
        "VQ encode, before the nearest code", "port", relative_error(latents, unit), BOUND
    )
    ids, table = janus.gen.encode(pixels)[0], theirs.quantize.embedding.weight
    similar = torch.stack([F.cosine_similarity(v[None], table) for v in z[0]])
    nearest = similar.argmax(dim=1)
    error = differing(ids, nearest)
    yield Row("VQ encode, any codebook", "nearest by brute force", error, 0.0)
    kept = table.detach().clone()
    table.copy_(F.normalize(kept, dim=-1))  # in place: the port's table is ours too
    error = differing(janus.gen.encode(pixels)[0], theirs.encode(pixels).image_tokens)
    table.copy_(kept)
    yield Row("VQ encode, codebook of unit rows", "port", error, 0.0)


def language(janus: Janus, port, noise: torch.Generator) -> Iterator[Row]:
    """The language model with and without a cache, and both heads."""
    cfg = janus.cfg
    ids = torch.randint(cfg.vocabulary, (2, 12), generator=noise)
    theirs = port(input_ids=ids).logits
    embedded, positions = janus.llm.embed_tokens(ids), torch.arange(12).expand(2, 12)
    logits = janus.text_head(janus.llm(embedded, positions))
    yield Row("LLM and text head", "port", relative_error(logits, theirs), BOUND)
    cache = KVCache(cfg, 2, 12)
    steps = [
        janus.llm(embedded[:, some], positions[:, some], cache=cache)
        for some in (slice(0, 7), *(slice(i, i + 1) for i in range(7, 12)))
    ]
    logits = janus.text_head(torch.cat(steps, dim=1))
    yield Row("LLM and text head, cached", "port", relative_error(logits, theirs), BOUND)
    hidden = torch.randn(2, 5, cfg.llm_width, generator=noise)
    theirs = port.model.generation_head(hidden)
    yield Row("image head", "port", relative_error(janus.image_head(hidden), theirs), BOUND)


def choices(janus: Janus, port, tokenizer: Tokenizer) -> Iterator[Row]:
    """Words and codes that are chosen one after another."""
    question = turns("What is in the picture?")
    steps = speaking(janus, tokenizer, [(question, [])], 3, max_tokens=WORDS)
    ours = torch.tensor([token for (token,) in steps])
    (first,) = question
    # Written out, not taken from ours: a turn laid out wrongly would show here too.
    prompt = f"{SYSTEM_PROMPT}\n\nUser: {first['content']}\n\nAssistant:"
    ids = torch.tensor([[tokenizer.bos, *tokenizer.encode(prompt)]])
    mask = torch.ones_like(ids)
    how = {"max_new_tokens": len(ours), "do_sample": False}
    said = port.generate(ids, attention_mask=mask, **how)[0, ids.shape[1] :]
    yield Row("greedy text", "port.generate", differing(ours, said), 0.0)
    prompt = prompt_ids(PROMPT, janus, tokenizer, 3)
    generator = torch.Generator().manual_seed(7)
    *_, drawn = drawing(janus, [prompt], tokenizer.pad, [generator], GUIDANCE)
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    torch.manual_seed(7)  # the port draws from the global numbers: the same ones
    how = {"do_sample": True, "guidance_scale": GUIDANCE, "top_k": 0}
    theirs = port.generate(ids, attention_mask=mask, generation_mode="image", **how)
    yield Row("guided drawing, sampled", "port.generate", differing(drawn, theirs), 0.0)


@torch.no_grad()
def parity(full: bool = False) -> dict:
    """All rows for random weights, and what was compared.

    `full` takes the shapes of Janus 1.3B, which needs about 20 GB, and leaves out what is
    chosen token by token.
    """
    tokenizer = Tokenizer.load(TINY_FOLDER / "tokenizer.json")
    janus = random_janus(PAPER if full else SMALL)
    port, noise = port_of(janus, tokenizer), torch.Generator().manual_seed(3)
    rows = [*encoders(janus, port, noise), *language(janus, port, noise)]
    rows += [] if full else choices(janus, port, tokenizer)
    return {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "parameters": sum(p.numel() for p in janus.parameters()),
        "rows": [vars(row) | {"holds": row.holds} for row in rows],
    }

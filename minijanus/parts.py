"""A Janus from three pretrained parts, as the paper begins stage I (paper §3.2, §4.1).

The understanding encoder comes from a transformers folder of SigLIP, the language model
from one of any Llama, the VQ tokenizer from LlamaGen's file. Adaptors and image head are
new; the embedding of codes starts from the codebook.
"""

from dataclasses import replace
from pathlib import Path

import tokenizers
import torch
from einops import repeat
from torch import Tensor

from minijanus import memory
from minijanus.config import PAPER, Config
from minijanus.conversion import TIED, together
from minijanus.hub import Pretrained, local_folder
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.names import port_names
from minijanus.released import llm_sizes, refuse_others, sizes
from minijanus.text import BOS, EOS, SPECIAL, Tokenizer
from minijanus.weights import Shards, open_bin, read_json

SIGLIP = (  # our field, transformers' key, its value where the key is left out
    ("image_size", "image_size", 224),
    ("und_patch", "patch_size", 16),
    ("und_width", "hidden_size", 768),
    ("und_depth", "num_hidden_layers", 12),
    ("und_heads", "num_attention_heads", 12),
)


def from_parts(
    siglip: str | Path, llm: str | Path, vq: str | Path, device: torch.device | str = "cpu"
) -> Janus:
    """A Janus before stage I, in float32; folders or names on the hub, and a VQ file.

    Special tokens that the language model lacks are added behind its own. UserError if a
    part is missing, damaged, or of a shape that these classes cannot take.
    """
    siglip, llm = local_folder(siglip), local_folder(llm)
    codes = vq_tensors(Path(vq))
    seen, text = read_json(siglip / "config.json"), read_json(llm / "config.json")
    refuse_others(text, {"model_type": "llama"})
    core = read_words(llm / "tokenizer.json")
    new = [name for name in SPECIAL if core.token_to_id(name) is None]
    core.add_special_tokens(new)
    tokenizer, read = Tokenizer(core), llm_sizes(text, grouped=True)
    read["vocabulary"] = max(read["vocabulary"], tokenizer.vocabulary)
    read |= siglip_sizes(seen.get("vision_config", seen)) | vq_sizes(codes)
    try:
        cfg = replace(PAPER, name="parts", **read)
    except AssertionError as error:
        raise UserError(f"the three parts do not fit together: {error}.") from error
    check_memory(cfg, llm)
    torch.manual_seed(cfg.seed)
    janus = Janus(cfg)
    put(janus, "und.encoder.", siglip_tensors(siglip, janus))
    put(janus, "gen.encoder.", {"gen.encoder." + n: t for n, t in codes.items()})
    # BOS and EOS, if new, begin as the tokens that the language model knows for them.
    like = {BOS: first(text.get("bos_token_id")), EOS: first(text.get("eos_token_id"))}
    rows = {core.token_to_id(name): like.get(name) for name in new}
    put(janus, ("llm.", "text_head."), llm_tensors(llm, text, cfg, rows))
    janus.gen.start_from_codebook()
    dtypes = {name: tensor.dtype for name, tensor in janus.state_dict().items()}
    janus.pretrained = Pretrained("parts", tokenizer, True, 1, dtypes, {}, {})
    with memory.told("a Janus of these three parts"):
        return janus.to(device).eval()


def read_words(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of the language model; UserError if there is none that can be read."""
    try:
        return Tokenizer.read_core(path)
    except UserError as error:  # whose advice is for tokenizers that are trained here
        raise UserError(
            f"{path} is missing or damaged: take a Llama whose folder has one."
        ) from error


def check_memory(cfg: Config, llm: Path) -> None:
    """UserError if the whole in float32 does not fit beside what is read of the Llama."""
    with torch.device("meta"):
        shapes = Janus(cfg)
    numbers = sum(p.numel() for p in shapes.parameters())
    # Of the two tables, which are made longer: one done, one in float32, and that longer.
    tables = 3 * cfg.vocabulary * cfg.llm_width
    needed = torch.float32.itemsize * (numbers + tables) + Shards(llm).size()
    memory.need("a Janus of these three parts", needed, "cpu")


def first(ids: int | list[int] | None) -> int | None:
    """The first of several ids, as some Llamas have ends of sentence."""
    return ids[0] if isinstance(ids, list) else ids


def put(janus: Janus, part: str | tuple[str, ...], tensors: dict[str, Tensor]) -> None:
    """Load all tensors of a part; UserError names the first that does not fit."""
    own = {n: tuple(t.shape) for n, t in janus.state_dict().items() if n.startswith(part)}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in [*own, *found]:
        if own.get(name) != found.get(name):
            raise UserError(
                f"the tensor {name} has shape {found.get(name)} where Janus needs "
                f"{own.get(name)}: use another checkpoint of this part."
            )
    janus.load_state_dict(tensors, strict=False)  # which casts what it copies


def lacking(shards: Shards, names: list[str]) -> None:
    """UserError names the first of the tensors that a folder does not have."""
    for name in names:
        if name not in shards.shapes:
            raise UserError(f"{shards.folder} lacks the tensor {name}: download it again.")


def siglip_sizes(vision: dict) -> dict:
    """Our fields of SigLIP's vision transformer, from transformers' config of one."""
    found = sizes(vision, SIGLIP)
    wide = {"intermediate_size": vision.get("intermediate_size", 3072)}
    refuse_others(wide, {"intermediate_size": 4 * found["und_width"]})
    refuse_others(vision, {"layer_norm_eps": 1e-6})
    # Differs: SigLIP learned with the tanh approximation of GELU; the released Janus
    # computes the exact one in its SigLIP, so stage I begins with that here too.
    if vision.get("hidden_act") != "gelu_pytorch_tanh":
        refuse_others(vision, {"hidden_act": "gelu"})
    return found


def siglip_tensors(folder: Path, janus: Janus) -> dict[str, Tensor]:
    """Our tensors of the understanding encoder; pooling head and text tower stay unread."""
    shards, found = Shards(folder), {}
    whole = any(name.startswith("vision_model.") for name in shards.shapes)
    for name in [n for n in janus.state_dict() if n.startswith("und.encoder.")]:
        there = [n.replace("projection_layer", "out_proj") for n in port_names(name)]
        prefix = "model." if whole else "model.vision_model."
        there = [n.removeprefix(prefix) for n in there]
        lacking(shards, there)
        found[name] = together([shards.read(n) for n in there], name, "transformers")
    return found


def llm_tensors(
    folder: Path, text: dict, cfg: Config, rows: dict[int, int | None]
) -> dict[str, Tensor]:
    """Our tensors of a Llama folder: each head with its own keys, and the rows added."""
    shards, found = Shards(folder), {}
    for name in shards.shapes:
        if name.startswith("model.") and not name.endswith(".rotary_emb.inv_freq"):
            found["llm." + name.removeprefix("model.")] = shards.read(name)
    lacking(shards, ["model.embed_tokens.weight"])
    if TIED not in shards.shapes and not text.get("tie_word_embeddings", False):
        lacking(shards, [TIED])
    # A tied head becomes one of its own, which computes the same and then trains apart.
    head = TIED if TIED in shards.shapes else "model.embed_tokens.weight"
    found["text_head.weight"] = shards.read(head)
    groups = text.get("num_key_value_heads") or cfg.llm_heads
    for name in [n for n in found if n.endswith((".k_proj.weight", ".v_proj.weight"))]:
        shared = cfg.llm_heads // groups
        if len(found[name]) * shared == cfg.llm_width:
            found[name] = repeat(found[name], "(g d) w -> (g s d) w", g=groups, s=shared)
    for name in ("llm.embed_tokens.weight", "text_head.weight"):
        found[name] = with_rows(found[name].float(), cfg.vocabulary, rows)
    return found


def with_rows(table: Tensor, n: int, rows: dict[int, int | None]) -> Tensor:
    """A table v d with n rows; those in `rows` are copies of others, or like no other.

    The paper does not say how new tokens begin: here near the mean of all rows.
    """
    mean, spread = table.mean(dim=0), table.std(dim=0)
    longer = torch.randn(n, table.shape[1]).mul_(0.1 * spread).add_(mean)
    longer[: len(table)] = table
    for row, like in rows.items():
        # A table may be longer than its tokenizer: a new token's row is there, untrained.
        new = mean + 0.1 * spread * torch.randn(table.shape[1])
        longer[row] = new if like is None else table[like]
    return longer


def vq_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of LlamaGen's VQ file by their names there; the unused counter goes."""
    if not path.is_file():
        raise UserError(f"there is no file {path}: give LlamaGen's vq_ds16_t2i.pt.")
    found = open_bin(path)
    return {name: t for name, t in found.items() if name != "quantize.codebook_used"}


def vq_sizes(codes: dict[str, Tensor]) -> dict:
    """Our fields of a VQ tokenizer; LlamaGen's file has no config, so from its shapes."""
    try:
        channels = len(codes["encoder.conv_in.weight"])
        n_codes, d_code = codes["quantize.embedding.weight"].shape
        latent = len(codes["encoder.conv_out.weight"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the VQ file holds no {error}: give LlamaGen's vq_ds16_t2i.pt."
        ) from error
    block = "encoder.conv_blocks.{}.res.{}.conv1.weight"
    levels = [n for n in range(len(codes)) if block.format(n, 0) in codes]
    res = [n for n in range(len(codes)) if block.format(0, n) in codes]
    multipliers = tuple(len(codes[block.format(n, 0)]) // channels for n in levels)
    return {
        "n_codes": n_codes,
        "d_code": d_code,
        "vq_channels": channels,
        "vq_multipliers": multipliers,
        "vq_res_blocks": len(res),
        "vq_latent": latent,
    }

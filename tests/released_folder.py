"""Small folders as the released Janus has them, written without any of minijanus' tables.

The names and shapes are typed from the released file; a test compares them with all 882
tensors of Janus 1.3B at its full size.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from minijanus.text import Tokenizer


@dataclass(frozen=True)
class Sizes:
    """The numbers of a model; of a small one unless said otherwise."""

    image: int = 16
    patch: int = 2
    width: int = 24
    depth: int = 2
    heads: int = 3
    codes: int = 40
    code: int = 6
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2)
    res_blocks: int = 1
    latent: int = 12
    used: int = 7
    vocabulary: int = 410
    llm: int = 32
    layers: int = 2
    llm_heads: int = 4
    ff: int = 40


FULL = Sizes(
    *(384, 16, 1024, 24, 16, 16384, 8, 128, (1, 1, 2, 2, 4), 2, 256, 65536),
    *(102400, 2048, 24, 16, 5632),
)


def affine(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """A weight and its bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def res(name: str, c_in: int, c_out: int) -> dict[str, tuple[int, ...]]:
    """A residual block of the VQ tokenizer."""
    found = affine(f"{name}.norm1", c_in) | affine(f"{name}.conv1", c_out, c_in, 3, 3)
    found |= affine(f"{name}.norm2", c_out) | affine(f"{name}.conv2", c_out, c_out, 3, 3)
    if c_in != c_out:
        found |= affine(f"{name}.nin_shortcut", c_out, c_in, 1, 1)
    return found


def look(name: str, c: int) -> dict[str, tuple[int, ...]]:
    """An attention block of the VQ tokenizer."""
    found = affine(f"{name}.norm", c)
    for part in ("q", "k", "v", "proj_out"):
        found |= affine(f"{name}.{part}", c, c, 1, 1)
    return found


def siglip_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """The tensors of the understanding encoder, the unused pooling head too."""
    tower, d = "vision_model.vision_tower.", s.width
    found = {tower + "pos_embed": (1, (s.image // s.patch) ** 2, d)}
    found |= affine(tower + "patch_embed.proj", d, 3, s.patch, s.patch)
    for i in range(s.depth):
        block = f"{tower}blocks.{i}."
        found |= affine(block + "norm1", d) | affine(block + "norm2", d)
        found |= affine(block + "attn.qkv", 3 * d, d) | affine(block + "attn.proj", d, d)
        found |= affine(block + "mlp.fc1", 4 * d, d) | affine(block + "mlp.fc2", d, 4 * d)
    found |= affine(tower + "norm", d)
    pool = tower + "attn_pool."
    found |= {pool + "latent": (1, 1, d)} | affine(pool + "norm", d)
    found |= affine(pool + "q", d, d) | affine(pool + "kv", 2 * d, d)
    found |= affine(pool + "proj", d, d)
    found |= affine(pool + "mlp.fc1", 4 * d, d) | affine(pool + "mlp.fc2", d, 4 * d)
    return found


def vq_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """The tensors of the generation encoder, the unused counter too."""
    widths, found = [s.channels * m for m in s.multipliers], {}
    last, top = len(widths) - 1, widths[-1]
    for half, into, out, n in (
        ("encoder", [s.channels, *widths[:-1]], widths, s.res_blocks),
        ("decoder", [top, *widths[:0:-1]], widths[::-1], s.res_blocks + 1),
    ):
        name = f"gen_vision_model.{half}."
        ends = (3, s.channels, s.latent) if half == "encoder" else (s.latent, top, 3)
        found |= affine(name + "conv_in", ends[1], ends[0], 3, 3)
        found |= affine(name + "norm_out", out[-1])
        found |= affine(name + "conv_out", ends[2], out[-1], 3, 3)
        for i in (0, 2):
            found |= res(f"{name}mid.{i}", top, top)
        found |= look(f"{name}mid.1", top)
        for i in range(last + 1):
            level = f"{name}conv_blocks.{i}."
            for j in range(n):
                found |= res(f"{level}res.{j}", out[i] if j else into[i], out[i])
                if i == (last if half == "encoder" else 0):
                    found |= look(f"{level}attn.{j}", out[i])
            if i < last:
                step = "downsample" if half == "encoder" else "upsample"
                found |= affine(f"{level}{step}.conv", out[i], out[i], 3, 3)
    found["gen_vision_model.quantize.embedding.weight"] = (s.codes, s.code)
    found["gen_vision_model.quantize.codebook_used"] = (s.used,)
    found |= affine("gen_vision_model.quant_conv", s.code, s.latent, 1, 1)
    return found | affine("gen_vision_model.post_quant_conv", s.latent, s.code, 1, 1)


def official_shapes(s: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of a released file of these sizes."""
    d, model = s.llm, "language_model.model."
    found = siglip_shapes(s) | vq_shapes(s)
    found |= affine("aligner.layers.0", d, s.width) | affine("aligner.layers.2", d, d)
    found |= affine("gen_aligner.layers.0", d, s.code) | affine(
        "gen_aligner.layers.2", d, d
    )
    found |= affine("gen_head.output_mlp_projector", d, d)
    found |= affine("gen_head.vision_head", s.codes, d)
    found["gen_embed.weight"] = (s.codes, s.code)
    found[model + "embed_tokens.weight"] = (s.vocabulary, d)
    found["language_model.lm_head.weight"] = (s.vocabulary, d)
    found[model + "norm.weight"] = (d,)
    for i in range(s.layers):
        layer = f"{model}layers.{i}."
        for part in "qkvo":
            found[f"{layer}self_attn.{part}_proj.weight"] = (d, d)
        for part, shape in (("gate", (s.ff, d)), ("up", (s.ff, d)), ("down", (d, s.ff))):
            found[f"{layer}mlp.{part}_proj.weight"] = shape
        for part in ("input", "post_attention"):
            found[f"{layer}{part}_layernorm.weight"] = (d,)
    return found


def random_tensors(s: Sizes, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    """Numbers for every tensor, none of them 0 or 1: a norm that is mixed up shows."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in official_shapes(s).items():
        numbers = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            fan_in = numbers[0].numel() if "embed" not in name else 1
            numbers = numbers * fan_in**-0.5
        else:
            numbers = 0.2 * numbers + (1.0 if name.endswith("weight") else 0.0)
        found[name] = numbers.to(dtype)
    return found


def official_config(s: Sizes) -> dict:
    """config.json as the released file has it, with keys for what is small here."""
    mlp = {"projector_type": "mlp_gelu", "depth": 2, "n_embed": s.llm}
    vision = {"image_size": s.image, "model_name": "siglip_large_patch16_384"}
    vision |= {"select_feature": "same", "select_layer": -1}
    vision |= {"width": s.width, "layers": s.depth, "heads": s.heads}
    vision |= {"patch_size": s.patch}
    vq = {"image_token_size": s.codes, "n_embed": s.code, "z_channels": s.latent}
    vq |= {"encoder_ch_mult": list(s.multipliers), "num_res_blocks": s.res_blocks}
    head = {"n_embed": s.llm, "image_token_embed": s.llm, "image_token_size": s.codes}
    text = {"model_type": "llama", "hidden_size": s.llm, "intermediate_size": s.ff}
    text |= {"num_attention_heads": s.llm_heads, "num_hidden_layers": s.layers}
    text |= {"num_key_value_heads": s.llm_heads, "vocab_size": s.vocabulary}
    text |= {"max_position_embeddings": 300, "torch_dtype": "bfloat16"}
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": "bfloat16",
        "vision_config": {"cls": "CLIPVisionTower", "params": vision},
        "aligner_config": {"cls": "MlpProjector", "params": {**mlp, "input_dim": s.width}},
        "gen_vision_config": {"cls": "VQ-16", "params": vq},
        "gen_aligner_config": {"cls": "MlpProjector", "params": {**mlp, "input_dim": 6}},
        "gen_head_config": {"cls": "vision_head", "params": head},
        "language_config": text,
    }


def write_json(path: Path, content: dict) -> None:
    """An object as JSON."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def write_weights(folder: Path, tensors: dict[str, Tensor], kind: str, n: int) -> None:
    """The tensors as kind "safetensors" or "bin", in n files, with an index if n > 1."""
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names, where = list(tensors), {}
    for i in range(n):
        file = f"{stem}.{kind}" if n == 1 else f"{stem}-{i + 1:05}-of-{n:05}.{kind}"
        held = {name: tensors[name] for name in names[i::n]}
        if kind == "safetensors":
            save_file(held, folder / file, metadata={"format": "pt"})
        else:
            torch.save(held, folder / file)
        where |= dict.fromkeys(held, file)
    if n > 1:
        write_json(folder / f"{stem}.{kind}.index.json", {"weight_map": where})


def official_folder(
    folder: Path,
    tokenizer: Tokenizer,
    sizes: Sizes = Sizes(),  # noqa: B008
    dtype: torch.dtype = torch.float32,
    kind: str = "safetensors",
    n: int = 1,
    template: str = "deepseek_old",
) -> Path:
    """A folder like the released one, of random weights; returns it."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", official_config(sizes))
    write_json(
        folder / "preprocessor_config.json",
        {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    )
    write_json(folder / "processor_config.json", {"sft_format": template})
    (folder / "tokenizer.json").write_text(tokenizer.core.to_str(), encoding="utf-8")
    write_weights(folder, random_tensors(sizes, dtype), kind, n)
    return folder

"""config.json of the released Janus and of transformers' port, read into our Config.

Sizes are read, never guessed; what these classes cannot compute, such as another
activation, is refused by name. The three released models are here as Configs too.
"""

from dataclasses import replace

from minijanus.config import PAPER, Config
from minijanus.lab import UserError

# Released models and the template their weights learned. The released files give 16,384
# positions, where the paper's context is 4,096.
JANUS_1B = replace(PAPER, name="Janus-1.3B", max_positions=16_384)
RELEASED = {
    "Janus-1.3B": (JANUS_1B, "deepseek_old"),
    "Janus-Pro-1B": (replace(JANUS_1B, name="Janus-Pro-1B"), "deepseek"),
    "Janus-Pro-7B": (
        replace(
            JANUS_1B,
            name="Janus-Pro-7B",
            llm_width=4096,
            llm_depth=30,
            llm_heads=32,
            llm_ff=11_008,
        ),
        "deepseek",
    ),
}

# In all tables below: our field, the key in the file, the value where the key is left out.
LLM = (  # transformers' LlamaConfig; Janus-Pro-7B leaves out what equals these
    ("llm_width", "hidden_size", 4096),
    ("llm_depth", "num_hidden_layers", 32),
    ("llm_heads", "num_attention_heads", 32),
    ("llm_ff", "intermediate_size", 11_008),
    ("vocabulary", "vocab_size", 32_000),
    ("max_positions", "max_position_embeddings", 2048),
    ("norm_eps", "rms_norm_eps", 1e-6),
)
# The released code always builds SigLIP-L and VQ-16 and ignores most of these keys; they
# are there so that smaller models can stand in the same layout.
OFFICIAL_VISION = (
    ("image_size", "image_size", 384),
    ("und_patch", "patch_size", 16),
    ("und_width", "width", 1024),
    ("und_depth", "layers", 24),
    ("und_heads", "heads", 16),
)
OFFICIAL_VQ = (
    ("n_codes", "image_token_size", 16_384),
    ("d_code", "n_embed", 8),
    ("vq_channels", "ch", 128),
    ("vq_multipliers", "encoder_ch_mult", (1, 1, 2, 2, 4)),
    ("vq_res_blocks", "num_res_blocks", 2),
    ("vq_latent", "z_channels", 256),
)
PORT_VISION = (
    ("image_size", "image_size", 384),
    ("und_patch", "patch_size", 16),
    ("und_width", "hidden_size", 1024),
    ("und_depth", "num_hidden_layers", 24),
    ("und_heads", "num_attention_heads", 16),
)
PORT_VQ = (
    ("n_codes", "num_embeddings", 16_384),
    ("d_code", "embed_dim", 8),
    ("vq_channels", "base_channels", 128),
    ("vq_multipliers", "channel_multiplier", (1, 1, 2, 2, 4)),
    ("vq_res_blocks", "num_res_blocks", 2),
    ("vq_latent", "latent_channels", 256),
)
ROPE_SCALING = {  # the numbers of Config.rope_scaling, by transformers' rope_type
    "default": (),
    "linear": ("factor",),
    "llama3": (
        *("factor", "low_freq_factor", "high_freq_factor"),
        "original_max_position_embeddings",
    ),
}
# What these classes compute; another value in the file is refused.
SAME_LLM = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
SAME_OFFICIAL_VISION = {"select_layer": -1, "pixel_mean": None, "pixel_std": None}
SAME_ADAPTOR = {"projector_type": "mlp_gelu", "depth": 2}
SAME_PORT_VISION = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "mlp_ratio": 4,
    "attention_bias": True,
    "use_qk_norm": False,
    "depth": 2,
}
SAME_PORT_VQ = {"double_latent": False, "num_hidden_layers": 2, "hidden_act": "gelu"}


def layout_of(raw: dict) -> str:
    """Which layout a config.json describes; UserError if it is of another model."""
    kind = raw.get("model_type")
    if kind == "multi_modality" and "gen_vision_config" in raw:
        return "official"
    if kind == "janus":
        return "transformers"
    raise UserError(
        f'config.json is of a model "{kind}", no Janus or Janus-Pro: give the folder of '
        "one of these."
    )


def section(raw: dict, name: str) -> dict:
    """One part of a config.json; UserError if it is not there."""
    found = raw.get(name)
    if not isinstance(found, dict):
        raise UserError(f"config.json has no {name}: it is no Janus, give another folder.")
    return found


def sizes(part: dict, table: tuple) -> dict:
    """Our fields and their values in one part; UserError for what is no positive number."""
    found = {ours: part.get(key, default) for ours, key, default in table}
    for ours, key, default in table:
        value = found[ours]
        numbers = value if isinstance(default, tuple) else [value]
        if not isinstance(numbers, list | tuple) or not all(
            type(n) in (int, type(default)) and n > 0 for n in numbers
        ):
            raise UserError(f"config.json has {key} = {value}: download the file again.")
        if isinstance(default, tuple):
            found[ours] = tuple(value)
    return found


def refuse_others(part: dict, same: dict) -> None:
    """UserError if a part of a config.json asks for what these classes do not compute."""
    for key, value in same.items():
        if part.get(key, value) != value:
            raise UserError(
                f"config.json has {key} = {part[key]}, where minijanus knows only {value}: "
                "use another checkpoint."
            )


def rope_scaling(rope: dict) -> tuple[float, ...]:
    """The numbers by which a Llama's rotations are slowed, as `llm.slowed` takes them."""
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ROPE_SCALING:
        raise UserError(
            f"config.json has rope_type = {kind}, where minijanus knows only "
            f"{', '.join(ROPE_SCALING)}: use another checkpoint."
        )
    if lacks := [key for key in ROPE_SCALING[kind] if key not in rope]:
        raise UserError(
            f"config.json has the rope_type {kind} without {lacks[0]}: download it again."
        )
    table = tuple((key, key, 0.0) for key in ROPE_SCALING[kind])
    return tuple(sizes(rope, table).values())


def llm_sizes(text: dict, grouped: bool = False) -> dict:
    """Our fields of a Llama, from transformers' config of one.

    With `grouped`, several heads may share their keys and values.
    """
    refuse_others(text, SAME_LLM)
    found = sizes(text, LLM)
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    found["rope_scaling"] = rope_scaling(rope)
    found["rope_theta"] = float(rope.get("rope_theta", text.get("rope_theta", 10_000.0)))
    whole = {"head_dim": found["llm_width"] // found["llm_heads"]}
    if not grouped:
        whole["num_key_value_heads"] = found["llm_heads"]
    refuse_others({k: text[k] for k in whole if text.get(k) is not None}, whole)
    return found


def official_sizes(raw: dict) -> dict:
    """Our fields of a config.json of class multi_modality."""
    vision = section(raw, "vision_config").get("params", {})
    refuse_others(vision, SAME_OFFICIAL_VISION)
    refuse_others(vision, {"model_name": "siglip_large_patch16_384"})
    for name in ("aligner_config", "gen_aligner_config"):
        refuse_others(section(raw, name).get("params", {}), SAME_ADAPTOR)
    drawn = section(raw, "gen_vision_config")
    refuse_others(drawn, {"cls": "VQ-16"})
    return {
        **sizes(vision, OFFICIAL_VISION),
        **sizes(drawn.get("params", {}), OFFICIAL_VQ),
        **llm_sizes(section(raw, "language_config")),
    }


def port_sizes(raw: dict) -> dict:
    """Our fields of a config.json of transformers' JanusForConditionalGeneration."""
    vision, drawn = section(raw, "vision_config"), section(raw, "vq_config")
    refuse_others(vision, SAME_PORT_VISION)
    refuse_others(drawn, SAME_PORT_VQ)
    text = section(raw, "text_config")
    refuse_others(text, {"model_type": "llama"})
    return {**sizes(vision, PORT_VISION), **sizes(drawn, PORT_VQ), **llm_sizes(text)}


def read_config(raw: dict, name: str) -> Config:
    """The Config of a config.json in either layout; UserError names what does not fit."""
    layout = layout_of(raw)
    found = official_sizes(raw) if layout == "official" else port_sizes(raw)
    try:
        cfg = replace(PAPER, name=name, **found)
    except AssertionError as error:
        raise UserError(f"config.json does not fit together: {error}.") from error
    check_released(cfg, layout)
    return cfg


def check_released(cfg: Config, layout: str) -> None:
    """UserError if a model of this layout would compute something else than ours."""
    if cfg.vq_local:
        raise UserError(
            f"the VQ tokenizer of {cfg.name} sees each square alone, which no released "
            "layout knows: a preset without vq_local can be saved."
        )
    if cfg.und_convolutions:
        raise UserError(
            f"the understanding encoder of {cfg.name} begins with convolutions, which no "
            "released layout knows: a preset without und_convolutions can be saved."
        )
    if cfg.und_places:
        raise UserError(
            f"{cfg.name} is told the places of what it sees, which no released layout "
            "knows: a preset without und_places can be saved."
        )
    if cfg.vq_channels < 128:
        raise UserError(
            f"{cfg.name} has {cfg.vq_channels} VQ channels, too few for the 32 groups of "
            "released ones: at least 128 are needed."
        )
    if layout == "transformers" and cfg.und_patch != cfg.vq_downsample:
        raise UserError(
            f"in {cfg.name} a patch has {cfg.und_patch} pixels a side and a code "
            f"{cfg.vq_downsample}, which transformers takes for one number: save it as "
            "official."
        )

"""What `save_pretrained` writes beside the weights: config.json and the small files.

Written only if the model came from another layout; a folder of the same layout gets its
own files back, unchanged.
"""

import json

from minijanus.config import Config
from minijanus.released import (
    LLM,
    OFFICIAL_VISION,
    OFFICIAL_VQ,
    PORT_VISION,
    PORT_VQ,
    ROPE_SCALING,
    SAME_ADAPTOR,
)
from minijanus.text import BOI, BOS, EOI, EOS, IMAGE, PAD, PRO_ROLES, Tokenizer


def values(cfg: Config, table: tuple) -> dict:
    """The keys of a table with this Config's values."""
    found = {key: getattr(cfg, ours) for ours, key, _ in table}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def official_config(cfg: Config, dtype: str) -> dict:
    """The config.json of class multi_modality of a model; dtype as in "bfloat16"."""
    adaptor, d = {**SAME_ADAPTOR, "n_embed": cfg.llm_width}, cfg.llm_width
    parts = {
        "vision": (
            "CLIPVisionTower",
            {
                **values(cfg, OFFICIAL_VISION),
                "model_name": "siglip_large_patch16_384",
                "select_feature": "same",
                "select_layer": -1,
            },
        ),
        "aligner": ("MlpProjector", {**adaptor, "input_dim": cfg.und_width}),
        "gen_vision": ("VQ-16", values(cfg, OFFICIAL_VQ)),
        "gen_aligner": ("MlpProjector", {**adaptor, "input_dim": cfg.d_code}),
        "gen_head": (
            "vision_head",
            {"n_embed": d, "image_token_embed": d, "image_token_size": cfg.n_codes},
        ),
    }
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": dtype,
        **{
            f"{part}_config": {"cls": kind, "model_type": part, "params": params}
            for part, (kind, params) in parts.items()
        },
        "language_config": {**text_config(cfg), "torch_dtype": dtype},
    }


def text_config(cfg: Config) -> dict:
    """A Llama's part of either config.json."""
    n = len(cfg.rope_scaling)
    kind, keys = next((kind, keys) for kind, keys in ROPE_SCALING.items() if len(keys) == n)
    scaling = {"rope_type": kind, **dict(zip(keys, cfg.rope_scaling, strict=True))}
    return {
        "model_type": "llama",
        **values(cfg, LLM),
        "num_key_value_heads": cfg.llm_heads,
        "rope_theta": cfg.rope_theta,
        **({"rope_scaling": scaling} if n else {}),
        "tie_word_embeddings": False,
    }


def port_config(cfg: Config, dtype: str, ids: dict[str, int], tied: bool) -> dict:
    """The config.json of transformers' port; ids has bos, eos, pad and image."""
    text = {f"{name}_token_id": ids[name] for name in ("bos", "eos", "pad")}
    return {
        "architectures": ["JanusForConditionalGeneration"],
        "model_type": "janus",
        "dtype": dtype,
        "image_token_id": ids["image"],
        "tie_word_embeddings": tied,
        "text_config": {**text_config(cfg), **text, "tie_word_embeddings": tied},
        "vision_config": {
            "model_type": "janus_vision_model",
            **values(cfg, PORT_VISION),
            "projection_dim": cfg.llm_width,
            "num_image_tokens": (cfg.image_size // cfg.und_patch) ** 2,
        },
        "vq_config": {
            "model_type": "janus_vqgan",
            **values(cfg, PORT_VQ),
            "num_patches": cfg.image_size // cfg.vq_downsample,
            "projection_dim": cfg.llm_width,
            "image_token_embed_dim": cfg.llm_width,
        },
    }


def preprocessor_config(cfg: Config, layout: str, do_normalize: bool) -> dict:
    """preprocessor_config.json: how a picture becomes pixels."""
    shared = {
        "do_normalize": do_normalize,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "min_size": 14,
        "rescale_factor": 1 / 255,
    }
    if layout == "official":
        kinds = {"image_processor_type": "VLMImageProcessor"}
        kinds |= {"processor_class": "VLChatProcessor", "image_size": cfg.image_size}
        return {**kinds, **shared, "background_color": [127, 127, 127]}
    size = {"height": cfg.image_size, "width": cfg.image_size}
    kinds = {"image_processor_type": "JanusImageProcessor"}
    return {**kinds, "processor_class": "JanusProcessor", **shared, "size": size}


def tokenizer_config(cfg: Config) -> dict:
    """tokenizer_config.json: which strings are special."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "model_max_length": cfg.max_positions,
        **{"bos_token": BOS, "eos_token": EOS, "pad_token": PAD},
        **{"image_token": IMAGE, "boi_token": BOI, "eoi_token": EOI},
    }


def generation_config(ids: dict[str, int]) -> dict:
    """generation_config.json of the port; ids has bos, eos, pad and boi."""
    return {
        **{f"{name}_token_id": ids[name] for name in ("bos", "eos", "pad")},
        "generation_kwargs": {"boi_token_id": ids["boi"]},
        "guidance_scale": 5,
    }


def processor_config(template: str, n_tokens: int) -> dict:
    """processor_config.json of the official layout; the template by its released name."""
    return {
        "processor_class": "VLChatProcessor",
        "sft_format": template,
        "image_tag": IMAGE,
        "num_image_tokens": n_tokens,
        "add_special_token": False,
        "ignore_id": -100,
        "mask_prompt": True,
    }


def chat_template(roles: dict[str, str]) -> str:
    """The released conversation format in the language of transformers' templates."""
    content = (
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{{{{ '{IMAGE}\\n' }}}}"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    )
    return (
        "{% for message in messages %}"
        f"{{% if message['role'] == 'user' %}}{roles['user']}: {content}{{{{ '\\n\\n' }}}}"
        f"{{% elif message['role'] == 'assistant' %}}{roles['assistant']}: {content}{EOS}"
        f"{{% else %}}{content}{{{{ '\\n\\n' }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{roles['assistant']}:{{% endif %}}"
    )


def small_files(
    cfg: Config,
    layout: str,
    tokenizer: Tokenizer,
    do_normalize: bool,
    dtype: str,
    tied: bool = False,
) -> dict[str, str]:
    """The files of a folder in this layout without its weights, as texts by name."""
    ids = {name: getattr(tokenizer, name) for name in ("bos", "eos", "pad", "boi", "image")}
    files = {
        "preprocessor_config.json": preprocessor_config(cfg, layout, do_normalize),
        "tokenizer_config.json": tokenizer_config(cfg),
    }
    if layout == "official":
        template = "deepseek" if tokenizer.roles == PRO_ROLES else "deepseek_old"
        n_tokens = (cfg.image_size // cfg.und_patch) ** 2
        files["processor_config.json"] = processor_config(template, n_tokens)
        files["config.json"] = official_config(cfg, dtype)
    else:
        files["generation_config.json"] = generation_config(ids)
        files["config.json"] = port_config(cfg, dtype, ids, tied)
    texts = {name: json.dumps(content, indent=2) + "\n" for name, content in files.items()}
    if layout == "transformers":
        texts["chat_template.jinja"] = chat_template(tokenizer.roles)
    return {**texts, "tokenizer.json": tokenizer.core.to_str(pretty=True) + "\n"}

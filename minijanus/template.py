"""What a model's folder says of words and pixels: its template, tokenizer, do_normalize.

Janus-1.3B and Janus-Pro differ in what they call the two sides of a conversation; under the
wrong names a model answers badly without any error, so these are checked at loading.
"""

from dataclasses import replace
from pathlib import Path

from minijanus.config import Config
from minijanus.lab import UserError
from minijanus.released import RELEASED
from minijanus.text import PRO_ROLES, ROLES, Tokenizer
from minijanus.weights import read_json

TEMPLATES = {"deepseek_old": ROLES, "deepseek": PRO_ROLES}


def learned_by(cfg: Config) -> set[str]:
    """The templates that a released model of this name or, if it has none, size learned."""
    if cfg.name in RELEASED:
        return {RELEASED[cfg.name][1]}
    same = {"name": cfg.name, "max_positions": cfg.max_positions}
    return {
        template
        for released, template in RELEASED.values()
        if replace(released, **same) == cfg
    }


def read_template(folder: Path, cfg: Config) -> dict[str, str]:
    """What a folder's conversation format calls the two sides; UserError if it is unclear.

    `cfg` has the name and the sizes of the model. Templates are looked at and never run.
    """
    told = {}
    for name in ("processor_config.json", "chat_template.json", "tokenizer_config.json"):
        if (folder / name).exists():
            told = {**read_json(folder / name), **told}
    jinja = folder / "chat_template.jinja"
    text = (
        jinja.read_text(encoding="utf-8") if jinja.exists() else told.get("chat_template")
    )
    template, known = told.get("sft_format"), learned_by(cfg)
    if template is None and text:
        template = "deepseek" if PRO_ROLES["user"] in str(text) else "deepseek_old"
    if template is None and cfg.name in RELEASED:
        (template,) = known
    if template not in TEMPLATES:
        raise UserError(
            f"{folder / 'processor_config.json'} does not say which template the model "
            'learned: write {"sft_format": "deepseek_old"} into it for Janus-1.3B, '
            '"deepseek" for Janus-Pro.'
        )
    if known and template not in known:
        raise UserError(
            f"{cfg.name} has the name or the sizes of a released model that learned the "
            f"template {min(known)}, but its files say {template}: download "
            "processor_config.json again."
        )
    return TEMPLATES[template]


def read_do_normalize(folder: Path) -> bool:
    """Whether the model reads pixels in [-1, 1]; UserError if in yet another range."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return True  # as in the released models since November 2024
    found = read_json(path)
    if not found.get("do_normalize", True):
        return False
    for key in ("image_mean", "image_std"):
        if found.get(key) != [0.5] * 3:
            raise UserError(
                f"{path} has {key} = {found.get(key)}, where Janus learned three times "
                "0.5: download it again."
            )
    return True


def read_tokenizer(folder: Path, cfg: Config, roles: dict[str, str]) -> Tokenizer:
    """The tokenizer of a folder with its template; UserError if the two do not fit."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"{path} is missing: download it again.")
    try:
        tokenizer = Tokenizer.load(path)
    except UserError as error:  # whose advice is for tokenizers trained here
        fault = str(error).rpartition(": ")[0]
        raise UserError(f"{fault}: download {path} again.") from error
    tokenizer.roles = roles
    if tokenizer.vocabulary > cfg.vocabulary:
        raise UserError(
            f"{path} has {tokenizer.vocabulary} tokens but the model {cfg.vocabulary}: "
            "download both again."
        )
    # Only this way round is it surely wrong. Janus-Pro learned its roles as tokens, and
    # Janus-1.3B's folder said "deepseek" until January 2025. The other way, a tokenizer
    # may hold tokens that its model never learned to speak with: the folder's own word
    # counts, or a copy of Janus-1.3B under another name could not be loaded.
    lacks = tokenizer.core.token_to_id(PRO_ROLES["user"]) is None
    if cfg.name not in RELEASED and roles == PRO_ROLES and lacks:
        raise UserError(
            f"{path} lacks {PRO_ROLES['user']} as a token, so the model did not learn "
            'Janus-Pro\'s template: write "sft_format": "deepseek_old" into '
            "processor_config.json, or name the folder after the released model it holds."
        )
    return tokenizer

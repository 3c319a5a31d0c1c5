"""What a model's folder says of words and pixels: its template, tokenizer, do_normalize.

Janus-1.3B and Janus-Pro differ in what they call the two sides of a conversation; under the
wrong names a model answers badly without any error, so these are checked at loading.
"""

from pathlib import Path

from minijanus.lab import UserError
from minijanus.released import RELEASED
from minijanus.text import PRO_ROLES, ROLES, Tokenizer
from minijanus.weights import read_json

TEMPLATES = {"deepseek_old": ROLES, "deepseek": PRO_ROLES}


def read_template(folder: Path, model: str) -> dict[str, str]:
    """What a folder's conversation format calls the two sides; UserError if it is unclear.

    `model` is the name it was asked for by. Templates are looked at and never run.
    """
    told = {}
    for name in ("processor_config.json", "chat_template.json", "tokenizer_config.json"):
        if (folder / name).exists():
            told = {**read_json(folder / name), **told}
    jinja = folder / "chat_template.jinja"
    text = (
        jinja.read_text(encoding="utf-8") if jinja.exists() else told.get("chat_template")
    )
    known = next((RELEASED[n][1] for n in RELEASED if n == model), None)
    template = told.get("sft_format")
    if template is None and text:
        template = "deepseek" if PRO_ROLES["user"] in str(text) else "deepseek_old"
    template = template or known
    if template not in TEMPLATES:
        raise UserError(
            f"{folder / 'processor_config.json'} does not say which template the model "
            'learned: write {"sft_format": "deepseek_old"} into it for Janus-1.3B, '
            '"deepseek" for Janus-Pro.'
        )
    if known and template != known:
        raise UserError(
            f"{model} is the name of a model that learned the template {known}, but its "
            f"files say {template}: download processor_config.json again."
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


def read_tokenizer(folder: Path, roles: dict[str, str], vocabulary: int) -> Tokenizer:
    """The tokenizer of a folder with its template; UserError if the two do not fit."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"{path} is missing: download it again.")
    tokenizer = Tokenizer.load(path)
    tokenizer.roles = roles
    if tokenizer.vocabulary > vocabulary:
        raise UserError(
            f"{path} has {tokenizer.vocabulary} tokens but the model {vocabulary}: "
            "download both again."
        )
    has_pro_roles = tokenizer.core.token_to_id(PRO_ROLES["user"]) is not None
    if roles == ROLES and has_pro_roles:
        raise UserError(
            f"{path} is that of a Janus-Pro, but the template is that of Janus-1.3B: write "
            '"sft_format": "deepseek" into processor_config.json.'
        )
    if roles == PRO_ROLES and not has_pro_roles:
        raise UserError(
            f"{path} is that of Janus-1.3B, but the template is that of Janus-Pro: write "
            '"sft_format": "deepseek_old" into processor_config.json.'
        )
    return tokenizer

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

    `model` is what the model is called. Templates are looked at and never run.
    """
    told = {}
    for name in ("processor_config.json", "chat_template.json", "tokenizer_config.json"):
        if (folder / name).exists():
            told = {**read_json(folder / name), **told}
    jinja = folder / "chat_template.jinja"
    text = (
        jinja.read_text(encoding="utf-8") if jinja.exists() else told.get("chat_template")
    )
    known = RELEASED.get(model, (None, None))[1]
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


def read_tokenizer(
    folder: Path, model: str, roles: dict[str, str], vocabulary: int
) -> Tokenizer:
    """The tokenizer of a folder with its template; UserError if the two do not fit.

    A released model under its own name has been checked by `read_template`; of others the
    tokenizer tells which template they learned.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"{path} is missing: download it again.")
    try:
        tokenizer = Tokenizer.load(path)
    except UserError as error:  # whose advice is for tokenizers trained here
        fault = str(error).rpartition(": ")[0]
        raise UserError(f"{fault}: download {path} again.") from error
    tokenizer.roles = roles
    if tokenizer.vocabulary > vocabulary:
        raise UserError(
            f"{path} has {tokenizer.vocabulary} tokens but the model {vocabulary}: "
            "download both again."
        )
    is_pro = tokenizer.core.token_to_id(PRO_ROLES["user"]) is not None
    if model not in RELEASED and is_pro != (roles == PRO_ROLES):
        has, learned = ("has", "deepseek") if is_pro else ("lacks", "deepseek_old")
        raise UserError(
            f"{path} {has} {PRO_ROLES['user']} as a token, so the model seems to have "
            f'learned another template: write "sft_format": "{learned}" into '
            "processor_config.json, or name the folder after the released model it holds."
        )
    return tokenizer

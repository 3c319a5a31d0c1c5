"""Text in and out of token ids, and how a conversation is written down (paper §4.2).

Byte-level BPE: any text in any script becomes ids and comes back unchanged. The special
tokens and the chat template are those of the released code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from minijanus import checkpoint
from minijanus.lab import UserError
from minijanus.records import IMAGE

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
PAD = "<｜▁pad▁｜>"
BOI = "<begin_of_image>"
EOI = "<end_of_image>"
SPECIAL = (BOS, EOS, PAD, BOI, EOI, IMAGE)
BYTES = 256

# What the released code puts before a conversation, with pictures or without; before a
# drawing prompt it puts "".
SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
ROLES = {"user": "User", "assistant": "Assistant"}  # Janus 1.3B: "deepseek_old"
# Janus-Pro, "deepseek": each role is one token where the tokenizer has it.
PRO_ROLES = {"user": "<|User|>", "assistant": "<|Assistant|>"}


class Tokenizer:
    """Byte-level BPE with six special tokens, which no text can produce, only their ids."""

    def __init__(self, core: tokenizers.Tokenizer, roles: dict[str, str] = ROLES):
        self.core = core
        self.roles = roles  # what a conversation calls its two sides
        # Without this, a user who types "<begin_of_image>" would open a picture.
        self.core.encode_special_tokens = True
        self.core.no_truncation()  # which the file may hold from somebody's training
        self.core.no_padding()
        ids = [core.token_to_id(name) for name in SPECIAL]
        missing = [name for name, i in zip(SPECIAL, ids, strict=True) if i is None]
        if missing:
            raise UserError(f"the tokenizer lacks {', '.join(missing)}: train it again.")
        self.bos, self.eos, self.pad, self.boi, self.eoi, self.image = ids
        if self.pad == self.eos:
            # The fault of the released model's first days: guidance stopped working.
            raise UserError("the tokenizer has one id for PAD and EOS: give PAD its own.")

    def __reduce__(self):
        # A copy sent to another process would forget `encode_special_tokens`.
        return Tokenizer, (self.core, self.roles)

    @classmethod
    def train(cls, lines: Iterable[str], vocabulary: int) -> Tokenizer:
        """Learn at most `vocabulary` tokens; the same lines give the same tokenizer."""
        smallest = BYTES + len(SPECIAL)
        if vocabulary < smallest:
            raise ValueError(f"vocabulary is {vocabulary}: make it at least {smallest}.")
        core = tokenizers.Tokenizer(models.BPE())
        # Single digits, so that a number never seen before is made of known tokens.
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        core.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        core.train_from_iterator(lines, trainer)
        return cls(core)

    @staticmethod
    def read_core(path: str | Path) -> tokenizers.Tokenizer:
        """What a tokenizer.json holds; UserError if it is missing or no tokenizer."""
        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no tokenizer {path}: make one with `make train`.")
        try:
            return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise UserError(
                f"{path} is not a tokenizer: make one with `make train`."
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer written by `save`; UserError if it is missing or unfit."""
        return cls(cls.read_core(path))

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON, beside and then renamed: never half a file."""
        checkpoint.write_text(Path(path), self.core.to_str(pretty=True) + "\n")

    @property
    def vocabulary(self) -> int:
        """How many ids there are, special tokens included."""
        return 1 + max(self.core.get_vocab().values())  # some tokenizers skip ids

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no BOS is added and special strings are ordinary text."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError("the text is not valid UTF-8: type it again.") from error
        return self.core.encode(text, add_special_tokens=False).ids

    def encode_piece(self, text: str) -> list[int]:
        """Ids of a piece of a conversation; a whole role may be one id, as in Janus-Pro."""
        one = self.core.token_to_id(text) if text in PRO_ROLES.values() else None
        return self.encode(text) if one is None else [one]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of the ids; bytes that form no character become U+FFFD."""
        return self.core.decode(list(ids), skip_special_tokens=skip_special)


def chat_pieces(
    messages: Sequence[dict[str, str]],
    system: str = "",
    roles: dict[str, str] = ROLES,
) -> list[tuple[str, bool]]:
    """The conversation as (text, is an answer); EOS ends each answer (paper §4.2).

    An empty message leaves its turn open: "Assistant:" is where the model goes on.
    """
    # Differs: the released code's "User: ..\n\nAssistant: ..<EOS>" where the paper
    # prints "User: ..\n Assistant: ..", because the released weights learned the former.
    pieces = [(system + "\n\n", False)] if system else []
    for message in messages:
        role, content = message["role"], message["content"]
        pieces += [(_name(role, roles), False), (":", False)]
        if not content:
            continue
        # A drawing follows "Assistant:" at once, as it does when the model draws.
        gap = "" if role == "assistant" and content.startswith(IMAGE) else " "
        end = EOS if role == "assistant" else "\n\n"
        pieces.append((gap + content + end, role == "assistant"))
    return _joined(pieces)


def plain_pieces(messages: Sequence[dict[str, str]]) -> list[tuple[str, bool]]:
    """Contents one after the other as (text, is an answer), no EOS (paper §4.2)."""
    pieces = []
    for message in messages:
        role, content = message["role"], message["content"]
        _name(role)  # refuse an unknown role
        # Differs: text gets a leading space in stages I and II, so that a word there is
        # the same token as after "Assistant:" in stage III; the paper does not say.
        gap = "" if not content or content.startswith(IMAGE) else " "
        pieces.append((gap + content, role == "assistant"))
    return _joined(pieces)


def _name(role: str, roles: dict[str, str] = ROLES) -> str:
    if role not in roles:
        raise ValueError(f'a message has the role "{role}": use "user" or "assistant".')
    return roles[role]


def _joined(pieces: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Join neighbouring prompt pieces; answers and Pro's roles stay pieces of their own."""
    result: list[tuple[str, bool]] = []
    for text, answer in pieces:
        if not text:
            continue
        alone = {text, *(before for before, _ in result[-1:])} & {*PRO_ROLES.values()}
        if result and not answer and not result[-1][1] and not alone:
            text = result.pop()[0] + text
        result.append((text, answer))
    return result

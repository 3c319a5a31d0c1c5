"""Our tensor names and those of the released Janus 1.3B, side by side.

At `paper` size the parts have the released shapes, and inside each part the released
names too, so that one table of prefixes maps them all.
"""

# ours, released
RELEASED_NAMES = (
    ("und.encoder.", "vision_model.vision_tower."),
    ("und.adaptor.", "aligner."),
    ("gen.encoder.", "gen_vision_model."),
    ("gen.embedding.", "gen_embed."),
    ("gen.adaptor.", "gen_aligner."),
    ("llm.", "language_model.model."),
    ("text_head.", "language_model.lm_head."),
    ("image_head.", "gen_head."),
)

# In the released file, but its forward pass never reads them: SigLIP's pooling head and a
# counter of the VQ tokenizer's training.
UNUSED = (
    "vision_model.vision_tower.attn_pool.",
    "gen_vision_model.quantize.codebook_used",
)


def released_name(name: str) -> str:
    """The released name of one of our tensors; ValueError if the table has none."""
    for ours, released in RELEASED_NAMES:
        if name.startswith(ours):
            return released + name.removeprefix(ours)
    raise ValueError(f"{name} is no tensor of Janus: add its prefix to RELEASED_NAMES.")

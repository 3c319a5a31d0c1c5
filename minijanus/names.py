"""Our tensor names beside those of the released Janus and of transformers' port of it.

At `paper` size the parts have the released shapes, and inside each part the released
names too, so that one table of prefixes maps them all. The port renames inside the parts
as well, keeps SigLIP's positions without the leading 1, and cuts its qkv in three.
"""

LAYOUTS = ("official", "transformers")

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
POOLING = (
    *("latent", "q.weight", "q.bias", "kv.weight", "kv.bias", "proj.weight", "proj.bias"),
    *("norm.weight", "norm.bias", "mlp.fc1.weight", "mlp.fc1.bias"),
    *("mlp.fc2.weight", "mlp.fc2.bias"),
)
UNUSED = (
    *(f"vision_model.vision_tower.attn_pool.{name}" for name in POOLING),
    "gen_vision_model.quantize.codebook_used",
)

# ours, the port's; the first that fits counts
PORT_NAMES = (
    ("und.encoder.pos_embed", "model.vision_model.embeddings.position_embedding.weight"),
    ("und.encoder.patch_embed.proj.", "model.vision_model.embeddings.patch_embedding."),
    ("und.encoder.blocks.", "model.vision_model.encoder.layers."),
    ("und.encoder.norm.", "model.vision_model.post_layernorm."),
    ("und.adaptor.layers.0.", "model.aligner.fc1."),
    ("und.adaptor.layers.2.", "model.aligner.hidden_layers.0."),
    ("gen.encoder.encoder.conv_blocks.", "model.vqmodel.encoder.down."),
    ("gen.encoder.decoder.conv_blocks.", "model.vqmodel.decoder.up."),
    ("gen.encoder.", "model.vqmodel."),
    ("gen.embedding.", "model.generation_embeddings."),
    ("gen.adaptor.layers.0.", "model.generation_aligner.fc1."),
    ("gen.adaptor.layers.2.", "model.generation_aligner.hidden_layers.0."),
    ("llm.", "model.language_model."),
    ("text_head.", "lm_head."),
    ("image_head.output_mlp_projector.", "model.generation_head.proj_out."),
    ("image_head.vision_head.", "model.generation_head.vision_head."),
)
# within that part of ours: ours, the port's
PORT_INSIDE = (
    ("und.encoder.blocks.", ".norm1.", ".layer_norm1."),
    ("und.encoder.blocks.", ".norm2.", ".layer_norm2."),
    ("und.encoder.blocks.", ".attn.proj.", ".self_attn.projection_layer."),
    ("und.encoder.blocks.", ".attn.qkv.", ".self_attn.qkv."),
    ("gen.encoder.", ".res.", ".block."),
    ("gen.encoder.", ".mid.0.", ".mid.block_1."),
    ("gen.encoder.", ".mid.1.", ".mid.attn_1."),
    ("gen.encoder.", ".mid.2.", ".mid.block_2."),
)


def released_name(name: str) -> str:
    """The released name of one of our tensors; ValueError if the table has none."""
    for ours, released in RELEASED_NAMES:
        if name.startswith(ours):
            return released + name.removeprefix(ours)
    raise ValueError(f"{name} is no tensor of Janus: add its prefix to RELEASED_NAMES.")


def port_names(name: str) -> list[str]:
    """The port's name of one of our tensors, or three for q, k and v; else ValueError."""
    for ours, port in PORT_NAMES:
        if name.startswith(ours):
            found = port + name.removeprefix(ours)
            break
    else:
        raise ValueError(f"{name} is no tensor of Janus: add its prefix to PORT_NAMES.")
    for part, before, after in PORT_INSIDE:
        if name.startswith(part):
            found = found.replace(before, after)
    if ".qkv." not in found:
        return [found]
    return [found.replace(".qkv.", f".{one}_proj.") for one in "qkv"]


def names_in(layout: str, name: str) -> list[str]:
    """What holds one of our tensors in a layout: one name, or those of its pieces."""
    return port_names(name) if layout == "transformers" else [released_name(name)]

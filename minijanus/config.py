"""Every number of minijanus, each with its source: the model, the phases, Table 1 as data.

Legend used in all files: b batch, t positions, n image tokens, d width, v vocabulary,
k codes of the codebook, c h w picture. `# Differs:` marks a departure from the paper.
"""

import json
from dataclasses import asdict, dataclass, replace

# Figure 3, one row per part: the stages in which it trains (paper Fig. 3).
TRAINS_IN = {
    "und_encoder": (3,),
    "und_adaptor": (1, 2, 3),
    "gen_encoder": (),
    "gen_adaptor": (1, 2, 3),
    "llm": (2, 3),
    "text_head": (2, 3),
    "image_head": (1, 2, 3),
}


@dataclass(frozen=True)
class Phase:
    """One run of the optimiser; AdamW with betas (0.9, 0.95) everywhere (paper Table 1)."""

    name: str
    learning_rate: float
    steps: int
    batch: int
    warmup: int = 0
    schedule: str = "constant"  # or "cosine", down to zero
    weight_decay: float = 0.0
    clip: float = 1.0
    rate_shares: tuple[tuple[str, float], ...] = ()  # for names that begin so; others 1


@dataclass(frozen=True)
class Stage(Phase):
    """One training stage of the paper, as data (paper §3.2, §4.2, Table 1, Fig. 3)."""

    number: int = 0
    ratio: tuple[int, int, int] = (1, 0, 1)  # understanding : text : generation
    template: str = "plain"  # "plain": contents joined; "chat": User / Assistant turns
    scored_text: str = "all"  # "all": every text token; "answers": the assistant's only
    system_prompt: bool = False  # the released one, before all but drawing prompts
    category_first: float = 0.0  # share of the steps that draw category pictures
    first_sentence: float = 0.0  # how often a drawing caption keeps only its first sentence
    drop_condition: float = 0.1  # how often the prompt becomes PAD (paper fn. 2)
    train_gen_embedding: bool = True  # not in Figure 3: trains with the generation adaptor

    def trains(self, part: str) -> bool:
        """Whether the part's flame burns in this stage (paper Fig. 3)."""
        return self.number in TRAINS_IN[part]


TABLE_1 = (
    Stage(
        "stage1", 1e-3, 10_000, 256, warmup=300, schedule="cosine",
        number=1, ratio=(1, 0, 1), category_first=1.0,
    ),
    Stage(
        "stage2", 1e-4, 180_000, 512, warmup=5_000,
        number=2, ratio=(2, 3, 5), category_first=2 / 3, first_sentence=0.25,
    ),
    Stage(
        "stage3", 2e-5, 24_000, 256, weight_decay=0.1,
        number=3, ratio=(7, 3, 10), template="chat", scored_text="answers",
        system_prompt=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The whole model and its training; derived numbers are properties, never fields."""

    name: str = "paper"
    seed: int = 0
    image_size: int = 384  # §4.1: all pictures are 384 x 384

    # The understanding encoder: SigLIP-Large-Patch16-384 (paper §4.1)
    und_patch: int = 16
    und_width: int = 1024
    und_depth: int = 24
    und_heads: int = 16
    und_text_depth: int = 24  # the text tower, used by pre-training only
    und_convolutions: bool = False  # several, in the place of one matrix a patch
    und_places: bool = False  # each adapted vector is told its place in the picture

    # The generation encoder: LlamaGen's VQ tokenizer, 16,384 codes, 16x down (paper §4.1)
    n_codes: int = 16_384
    d_code: int = 8
    vq_channels: int = 128
    vq_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    vq_res_blocks: int = 2
    vq_latent: int = 256
    vq_local: bool = False  # a code depends on the pixels of its own square alone
    vq_perceptual: bool = True
    vq_adversarial_from: int | None = 20_000  # first step of the PatchGAN; None: never

    # The language model: DeepSeek-LLM 1.3B (paper §4.1)
    vocabulary: int = 102_400
    llm_width: int = 2048
    llm_depth: int = 24
    llm_heads: int = 16
    llm_ff: int = 5632
    max_positions: int = 4096  # §4.1: maximum supported sequence length
    rope_theta: float = 10_000.0
    rope_scaling: tuple[float, ...] = ()  # of a Llama with a longer context: llm.slowed
    norm_eps: float = 1e-6

    # Training
    pack_length: int = 4096  # of a packed row; a longer sequence gets a longer one
    workers: int = 0  # processes that prepare samples; 0: the training process does
    bf16: bool = True  # autocast on a GPU; the CPU always computes in float32
    siglip: Phase = Phase("siglip", 1e-3, 0, 0)  # the paper starts from released weights
    vq: Phase = Phase("vq", 1e-4, 0, 0)
    llm: Phase = Phase("llm", 4.2e-4, 0, 0)
    stages: tuple[Stage, ...] = TABLE_1

    # The world the data come from (ours; the paper's pictures cannot be had here)
    concepts: str = "tiny"  # which list of concepts.py: tiny or small
    styles: tuple[str, ...] = ("fluent-flat", "noto", "twemoji")
    n_scenes: int = 0  # pictures of each stream before they come back; 0: none ever does

    def __post_init__(self):
        assert self.image_size % self.und_patch == 0, "image_size must be whole patches"
        assert self.image_size % self.vq_downsample == 0, "image_size must be whole codes"
        assert self.llm_width % self.llm_heads == 0, "llm_heads must divide llm_width"

    @property
    def vq_downsample(self) -> int:
        """How many pixels of one side share a code."""
        return 2 ** (len(self.vq_multipliers) - 1)

    def stage(self, number: int) -> Stage:
        """The stage with this number, 1 to 3."""
        return self.stages[number - 1]


def differing_fields(cfg: Config, made_by: dict) -> list[str]:
    """Fields in which a config differs from one read back from a manifest.

    Workers and a GPU's precision do not count. A newer field had its default before.
    """
    now, default = (json.loads(json.dumps(asdict(each))) for each in (cfg, PAPER))
    names = [name for name in now if name not in ("workers", "bf16")]
    return [name for name in names if made_by.get(name, default[name]) != now[name]]


PAPER = Config()

# Differs: tiny and small train for far fewer steps, with smaller batches, shorter warm-ups
# and far higher learning rates, because models some hundred times smaller see less data.
# Differs: pictures have 64 or 128 pixels a side where the paper has 384, codes stand for
# 8 x 8 pixels and are fewer, because two CPU cores or one GPU must do.
TINY = Config(
    name="tiny",
    image_size=64,
    und_patch=8,
    und_width=128,
    und_depth=4,
    und_heads=4,
    und_text_depth=3,
    # Differs: SigLIP embeds a patch by one matrix; after convolutions with residual blocks
    # more is named right (data/results/experiments.md, on how "nothing was found").
    und_convolutions=True, und_places=True,  # adaptors.py says why places
    n_codes=1024,
    vq_channels=16,
    vq_multipliers=(1, 2, 2, 4),
    vq_res_blocks=1,
    vq_latent=64,
    # Differs: LlamaGen's encoder sees the whole picture behind every code; a model this
    # small learns to draw far sooner if equal squares of a picture get equal codes, and
    # plain background one and not hundreds (data/results/experiments.md).
    vq_local=True,
    # Differs: tiny's VQ has neither the perceptual nor the adversarial loss, which cost
    # more minutes of two CPU cores than flat drawings of 64 pixels repay.
    vq_perceptual=False,
    vq_adversarial_from=None,
    vocabulary=2048,
    llm_width=192,
    llm_depth=6,
    llm_heads=6,
    llm_ff=512,
    max_positions=512, pack_length=192,
    siglip=Phase("siglip", 1e-3, 1500, 64, warmup=80, schedule="cosine", weight_decay=0.1),
    vq=Phase("vq", 1e-3, 2000, 16, warmup=100, schedule="cosine"),
    llm=Phase("llm", 2e-3, 1300, 30, warmup=50),
    stages=(
        replace(TABLE_1[0], learning_rate=2e-3, steps=400, batch=30, warmup=12),
        # Differs: category pictures for a third of stage II, not two thirds: single things
        # are learned long before, and what goes together is the harder part here.
        replace(
            TABLE_1[1], learning_rate=2e-3, steps=1700, batch=30, warmup=40,
            category_first=1 / 3,
        ),
        # Differs: the rate of tiny's stage III rises over 50 steps and falls to zero, where
        # Table 1 has neither: it is far higher than the paper's, and the run far shorter.
        # Differs: the understanding encoder gets a tenth of it, or it forgets what it knew:
        # at a rate so high, questions cost it more than they teach.
        # Differs: tiny and small know no system prompt, which would be a third of the
        # tokens of every question and never changes.
        replace(
            TABLE_1[2], learning_rate=1.5e-3, steps=3600, batch=30, warmup=50,
            schedule="cosine", rate_shares=(("und.encoder.", 0.1),), system_prompt=False,
        ),
    ),
)  # fmt: skip

SMALL = replace(
    TINY,
    name="small",
    image_size=128,
    und_patch=16,
    und_width=224,
    und_depth=5,
    und_heads=7,
    und_text_depth=4,
    n_codes=4096,
    vq_channels=32,
    vq_res_blocks=2,
    vq_latent=128,
    vq_perceptual=True,
    vq_adversarial_from=6_000,
    vocabulary=4096,
    llm_width=320,
    llm_heads=10,
    llm_ff=864,
    max_positions=2048,
    pack_length=640,
    workers=8,
    siglip=Phase("siglip", 1e-3, 8_000, 512, 300, "cosine", weight_decay=0.1),
    vq=Phase("vq", 4e-4, 16_000, 64, warmup=300, schedule="cosine"),
    llm=Phase("llm", 1e-3, 6_000, 240, warmup=200),
    stages=(
        replace(TABLE_1[0], learning_rate=1e-3, steps=1_500, batch=240, warmup=45),
        replace(TABLE_1[1], learning_rate=1e-3, steps=9_000, batch=240, warmup=250),
        # The eye's tenth, as in tiny's stage III, is Table 1's own 2e-5 here. Like its
        # convolutions and places, it was found on tiny and not tried at this size.
        replace(
            TABLE_1[2], learning_rate=2e-4, steps=2_000, batch=240,
            rate_shares=TINY.stage(3).rate_shares, system_prompt=False,
        ),
    ),
    concepts="small",
    styles=("fluent-3d", "fluent-flat", "noto", "twemoji"),
)  # fmt: skip

PRESETS = {"tiny": TINY, "small": SMALL, "paper": PAPER}

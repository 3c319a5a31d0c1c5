"""Three pretrained parts become one Janus, each computing what it did before."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copyfile, copytree

import pytest
import torch
from released_folder import Sizes, random_tensors
from tokenizers import Tokenizer, models
from torch import Tensor, nn

from minijanus import finetune, memory
from minijanus.folders import REPO
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.parts import with_rows
from minijanus.releasing import text_config
from minijanus.text import BOI, BOS, EOS, IMAGE, PAD
from minijanus.weights import Shards

transformers = pytest.importorskip("transformers")
VQ = "gen_vision_model."
LINEAR = {"rope_type": "linear", "factor": 4.0}
# Of the four rotations of a head of 8, one is kept, one slowed in part and two wholly.
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.25}
LLAMA_3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def shaken(model: nn.Module) -> nn.Module:
    """The model with every number moved, so that no norm is still 1 and no bias 0."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def siglip():
    """SigLIP as transformers has it; exact GELU, so that the numbers can be compared."""
    sizes = {"hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 3}
    vision = sizes | {"image_size": 16, "patch_size": 2, "hidden_act": "gelu"}
    config = transformers.SiglipConfig(
        vision_config=vision,
        text_config=sizes | {"vocab_size": 9, "projection_size": 24, "bos_token_id": 1}
        | {"eos_token_id": 2},
    )  # fmt: skip
    return shaken(transformers.SiglipModel(config))


def make_llama(rope: dict) -> nn.Module:
    """A Llama as SmolLM2 is one: two heads share keys and values, tables are tied."""
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=90,
        bos_token_id=3,
        eos_token_id=4,
        tie_word_embeddings=True,
        rope_parameters={"rope_theta": 100_000.0, **rope},
    )
    return shaken(transformers.LlamaForCausalLM(config))


@pytest.fixture(scope="module")
def llama():
    """One whose rotations are as they always were."""
    return make_llama({"rope_type": "default"})


@pytest.fixture(scope="module")
def parts(tmp_path_factory, siglip, llama):
    """The three on the disk."""
    folder = tmp_path_factory.mktemp("parts")
    siglip.save_pretrained(folder / "siglip")
    llama.save_pretrained(folder / "llm")
    words = {f"w{i}": i for i in range(90)}
    core = Tokenizer(models.WordLevel(words, unk_token="w0"))
    core.save(str(folder / "llm" / "tokenizer.json"))
    held = random_tensors(Sizes(), torch.float32)
    codes = {n.removeprefix(VQ): t for n, t in held.items() if n.startswith(VQ)}
    torch.save({"model": codes}, folder / "vq.pt")
    return folder


@pytest.fixture(scope="module")
def janus(parts) -> Janus:
    """The Janus made of them."""
    return Janus.from_parts(parts / "siglip", parts / "llm", parts / "vq.pt")


def error(found: Tensor, expected: Tensor) -> float:
    """The relative error."""
    return float((found - expected).norm() / expected.norm())


@torch.no_grad()
def test_siglip_sees_as_before(janus, siglip):
    """Catches q, k and v in another order, and a norm left behind."""
    shown = torch.rand(2, 3, 16, 16) * 2 - 1
    expected = siglip.vision_model(shown).last_hidden_state
    assert error(janus.und.encode(shown), expected) <= 1e-5


@torch.no_grad()
def test_the_language_model_speaks_as_before(janus, llama):
    """Catches keys of the wrong heads, another theta, a head that is not the table."""
    ids = torch.randint(90, (2, 12))
    hidden = janus.llm(janus.llm.embed_tokens(ids), torch.arange(12).expand(2, 12))
    assert error(janus.text_head(hidden)[..., :90], llama(input_ids=ids).logits) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("rope", [LINEAR, LLAMA_3], ids=lambda rope: rope["rope_type"])
def test_a_llama_with_a_longer_context_speaks_as_before(rope, parts, tmp_path):
    """Catches rotations at full speed, and a band of them that is slowed too much."""
    llama = make_llama(rope)
    llama.save_pretrained(tmp_path)
    copyfile(parts / "llm" / "tokenizer.json", tmp_path / "tokenizer.json")
    janus = Janus.from_parts(parts / "siglip", tmp_path, parts / "vq.pt")
    ids = torch.randint(90, (2, 40))
    hidden = janus.llm(janus.llm.embed_tokens(ids), torch.arange(40).expand(2, 40))
    expected = llama(input_ids=ids).logits
    assert error(janus.text_head(hidden)[..., :90], expected) <= 1e-5
    plain = make_llama({"rope_type": "default"})
    plain.load_state_dict(llama.state_dict())  # other weights would differ anyway
    assert error(plain(input_ids=ids).logits, expected) > 1e-3, "it makes a difference"
    janus.save_pretrained(tmp_path / "again")
    assert Janus.from_pretrained(tmp_path / "again").cfg == replace(janus.cfg, name="again")
    known = transformers.LlamaConfig(**text_config(janus.cfg)).rope_parameters
    assert known == {"rope_theta": 100_000.0, **rope}, "the port's folder says the same"


@torch.no_grad()
def test_the_vq_tokenizer_is_llamagens(janus, parts):
    """Every tensor, and the codes the language model reads start from its codebook."""
    saved = torch.load(parts / "vq.pt", weights_only=True)["model"]
    held = janus.gen.encoder.state_dict()
    assert set(saved) == {*held, "quantize.codebook_used"}
    assert all(torch.equal(held[name], saved[name]) for name in held)
    rows = saved["quantize.embedding.weight"]
    unit = rows / rows.norm(dim=-1, keepdim=True)
    assert torch.allclose(janus.gen.embedding.weight, unit, atol=1e-6)


def test_new_tokens_stand_behind_the_old_ones(janus, llama):
    """BOS and EOS begin as what the model knew for them; PAD is never EOS."""
    tokenizer, table = janus.pretrained.tokenizer, janus.llm.embed_tokens.weight
    assert [tokenizer.core.token_to_id(n) for n in (BOS, EOS, PAD, BOI)] == [90, 91, 92, 93]
    assert tokenizer.image == tokenizer.core.token_to_id(IMAGE) == len(table) - 1
    before = llama.get_input_embeddings().weight
    assert torch.equal(table[90], before[3]) and torch.equal(table[91], before[4])
    assert len(table.unique(dim=0)) == len(table) - 2, "new tokens differ from each other"
    assert janus.text_head.weight is not table


def test_new_tokens_are_new_where_the_table_was_longer_than_its_tokenizer():
    """Catches rows of padding, never trained, that BOI and the like would keep."""
    torch.manual_seed(0)
    table = torch.cat([torch.randn(90, 8), torch.zeros(10, 8)])
    longer = with_rows(table, 102, {90: 3, 91: None, 101: None})
    assert len(longer) == 102 and torch.equal(longer[:90], table[:90])
    assert torch.equal(longer[90], table[3])
    assert longer[91].abs().sum() > 0 and longer[101].abs().sum() > 0
    assert not torch.equal(longer[91], longer[101])
    assert (longer[91] - table.mean(dim=0)).norm() < table.std(dim=0).norm()


def test_it_can_be_saved_and_comes_back(janus, tmp_path):
    """What stage I begins with is a Janus like any other."""
    janus.save_pretrained(tmp_path / "official")
    again = Janus.from_pretrained(tmp_path / "official")
    state = again.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in janus.state_dict().items())


def test_parts_larger_than_the_memory_are_refused_before_they_are_made(
    parts, janus, monkeypatch
):
    """Catches a model that is made first, which the system then kills."""
    numbers = sum(parameter.numel() for parameter in janus.parameters())
    numbers += 3 * janus.llm.embed_tokens.weight.numel()
    needed = 4 * numbers + Shards(parts / "llm").size()
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed - 1)
    with pytest.raises(UserError, match=r"three parts needs [\d.]+ GB .* free on cpu"):
        Janus.from_parts(parts / "siglip", parts / "llm", parts / "vq.pt")
    monkeypatch.setattr(memory, "free_bytes", lambda device: needed)
    Janus.from_parts(parts / "siglip", parts / "llm", parts / "vq.pt")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only on Linux")
def test_parts_take_the_memory_that_was_asked_for(parts, tmp_path):
    """Catches tables held twice, for which 15 GB were taken where 12.7 were asked for."""
    config = transformers.LlamaConfig(
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        vocab_size=60_000,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        large = transformers.LlamaForCausalLM(config).bfloat16()
    large.to_empty(device="cpu").save_pretrained(tmp_path)
    copyfile(parts / "llm" / "tokenizer.json", tmp_path / "tokenizer.json")
    script = Path(__file__).with_name("parts_memory.py")
    command = [sys.executable, script, parts / "siglip", parts / "llm", tmp_path]
    command += [parts / "vq.pt"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
    grown, asked_for = map(int, done.stdout.split())
    assert asked_for > 3e8 and 0.7 * asked_for < grown < 1.05 * asked_for


def test_a_llama_without_words_is_refused(parts, tmp_path):
    """Catches the advice to train a tokenizer, which no Llama would understand."""
    copytree(parts / "llm", tmp_path / "llm")
    (tmp_path / "llm" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing or damaged"):
        Janus.from_parts(parts / "siglip", tmp_path / "llm", parts / "vq.pt")


def test_after_fine_tuning_it_is_saved_as_official(janus, tmp_path):
    """Catches a training that cannot be saved, as no folder is laid out in parts."""
    finetune.save(janus, tmp_path / "model")
    assert Janus.from_pretrained(tmp_path / "model").pretrained.layout == "official"


def test_parts_that_do_not_fit_are_refused(parts, tmp_path):
    """Each in a sentence that says which part it is."""
    with pytest.raises(UserError, match="intermediate_size"):
        Janus.from_parts(parts / "llm", parts / "llm", parts / "vq.pt")
    with pytest.raises(UserError, match="config.json is missing"):
        Janus.from_parts(tmp_path, parts / "llm", parts / "vq.pt")
    with pytest.raises(UserError, match="there is no file"):
        Janus.from_parts(parts / "siglip", parts / "llm", tmp_path / "vq.pt")
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "vq.pt")
    with pytest.raises(UserError, match=r"holds no 'encoder\.conv_in\.weight'"):
        Janus.from_parts(parts / "siglip", parts / "llm", tmp_path / "vq.pt")
    with pytest.raises(UserError, match="model_type = siglip"):
        Janus.from_parts(parts / "siglip", parts / "siglip", parts / "vq.pt")

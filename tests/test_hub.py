"""Folders of the released layouts: read whole, written back bit by bit, or refused."""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro_run import save_run
from released_folder import (
    FULL,
    Sizes,
    official_config,
    official_folder,
    official_shapes,
    random_tensors,
    write_json,
    write_weights,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from minijanus import config, hub
from minijanus.config import PAPER
from minijanus.janus import Janus
from minijanus.lab import UserError
from minijanus.names import UNUSED
from minijanus.released import RELEASED, check_released, read_config
from minijanus.sequence import encode_piece
from minijanus.template import TEMPLATES, read_template
from minijanus.text import (
    BOI,
    IMAGE,
    PAD,
    PRO_ROLES,
    ROLES,
    SYSTEM_PROMPT,
    Tokenizer,
    chat_pieces,
)

SHAPES = Path(__file__).parent / "data" / "janus_1p3b_state_dict_shapes.json"
REPO = Path(__file__).parents[1]
SMALL = Sizes()


@pytest.fixture(scope="module")
def released(tmp_path_factory, tokenizer) -> Path:
    """A small folder in the official layout, bfloat16 as the released one."""
    folder = tmp_path_factory.mktemp("released") / "Small"
    return official_folder(folder, tokenizer, dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def original() -> dict[str, Tensor]:
    """The tensors in it."""
    return random_tensors(SMALL, torch.bfloat16)


@pytest.fixture
def copy(released, tmp_path) -> Path:
    """A folder like it that a test may harm."""
    return Path(shutil.copytree(released, tmp_path / "Harmed"))


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names, dtypes and bits."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def refusal(folder: Path) -> str:
    """What loading says instead of loading: one sentence."""
    with pytest.raises(UserError) as caught:
        Janus.from_pretrained(folder)
    told = str(caught.value)
    assert told.endswith(".") and ". " not in told and "\n" not in told, told
    return told


def change_json(path: Path, change) -> None:
    """Apply a function to the object in a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


def test_the_fixture_is_the_released_file_at_full_size():
    """A fixture made with our own tables would agree with any mistake in them."""
    shapes = {name: list(shape) for name, shape in official_shapes(FULL).items()}
    assert shapes == json.loads(SHAPES.read_text(encoding="utf-8"))


def test_official_to_ours_to_official_is_bit_exact(released, original, tmp_path):
    """A cast, a transposed qkv or a dropped counter would change a published model."""
    janus = Janus.from_pretrained(released)
    assert set(janus.pretrained.unused) == set(UNUSED) and len(UNUSED) == 14
    janus.save_pretrained(tmp_path / "again")
    assert_same_bits(load_file(tmp_path / "again" / "model.safetensors"), original)
    for path in released.glob("*.json"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_model_computed_in_float32_is_saved_in_its_own_dtype(
    released, original, tmp_path
):
    """On a CPU one computes in float32; the file must not double for that."""
    janus = Janus.from_pretrained(released, dtype=torch.float32)
    assert {p.dtype for p in janus.parameters()} == {torch.float32}
    janus.save_pretrained(tmp_path / "again")
    assert_same_bits(load_file(tmp_path / "again" / "model.safetensors"), original)


def test_official_through_transformers_to_official(released, original, tmp_path):
    """q, k and v in another order, or a position shifted, would come back changed."""
    Janus.from_pretrained(released).save_pretrained(tmp_path / "port", "transformers")
    port = Janus.from_pretrained(tmp_path / "port")
    assert port.pretrained.unused == {}, "the port has no unused tensors"
    port.save_pretrained(tmp_path / "again", "official")
    kept = {name: t for name, t in original.items() if name not in UNUSED}
    assert_same_bits(load_file(tmp_path / "again" / "model.safetensors"), kept)
    again = Janus.from_pretrained(tmp_path / "again")
    assert replace(again.cfg, name="") == replace(port.cfg, name="")
    assert again.pretrained.tokenizer.roles == ROLES


@pytest.mark.parametrize(("kind", "n"), [("safetensors", 3), ("bin", 1), ("bin", 2)])
def test_every_kind_of_weight_file(tokenizer, tmp_path, original, kind: str, n: int):
    """The 1.3B came as one .bin, the 7B as shards."""
    folder = official_folder(tmp_path / "In", tokenizer, SMALL, torch.bfloat16, kind, n)
    janus = Janus.from_pretrained(folder)
    hub.save_pretrained(janus, tmp_path / "out", shard_bytes=3_000_000)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05}.safetensors"
    found = {}
    for file in files:
        held = load_file(tmp_path / "out" / file)
        assert all(index["weight_map"][name] == file for name in held)
        found |= held
    assert_same_bits(found, original)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in original.values())


def test_a_bin_of_an_old_torch(tokenizer, tmp_path, original):
    """Files from before torch 1.6 cannot be mapped, but can be read."""
    folder = official_folder(tmp_path / "Old", tokenizer, kind="bin")
    path = folder / "pytorch_model.bin"
    torch.save(original, path, _use_new_zipfile_serialization=False)
    janus = Janus.from_pretrained(folder)
    assert torch.equal(janus.gen.embedding.weight, original["gen_embed.weight"])


def test_own_runs(tokenizer, cfg, new_janus, tmp_path, monkeypatch):
    """The shipped model goes through the same door, but no released layout can hold it."""
    monkeypatch.setitem(config.PRESETS, "micro", cfg)
    made = new_janus(cfg)
    janus = Janus.from_pretrained(save_run(tmp_path / "run", tokenizer, made))
    assert_same_bits(janus.state_dict(), made.state_dict())
    assert janus.pretrained.stage == 3
    assert janus.pretrained.tokenizer.vocabulary == tokenizer.vocabulary
    with pytest.raises(UserError, match="at least 128 are needed"):
        janus.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", ["vq_local", "und_convolutions", "und_places"])
def test_what_no_released_layout_computes_is_not_saved(field):
    """Catches a tiny model saved as if released code could load it."""
    with pytest.raises(UserError, match=f"a preset without {field} can be saved"):
        check_released(replace(PAPER, **{field: True}), "official")


def test_released_sizes_from_their_config_files():
    """Janus-Pro-7B leaves out what equals Llama's defaults: 4096 wide, 32 heads."""
    raw = official_config(FULL)
    for part in ("vision_config", "gen_vision_config"):  # what the released file lacks
        for key in ("width", "layers", "heads", "patch_size", "z_channels"):
            raw[part]["params"].pop(key, None)
        for key in ("encoder_ch_mult", "num_res_blocks"):
            raw[part]["params"].pop(key, None)
    raw["language_config"]["max_position_embeddings"] = 16_384
    assert read_config(raw, "Janus-1.3B") == RELEASED["Janus-1.3B"][0]
    assert read_config(raw, "Janus-Pro-1B") == RELEASED["Janus-Pro-1B"][0]
    left_out = ("hidden_size", "intermediate_size", "num_attention_heads")
    for key in (*left_out, "num_key_value_heads"):
        del raw["language_config"][key]
    raw["language_config"]["num_hidden_layers"] = 30
    assert read_config(raw, "Janus-Pro-7B") == RELEASED["Janus-Pro-7B"][0]
    assert RELEASED["Janus-1.3B"][0] == replace(
        PAPER, name="Janus-1.3B", max_positions=16384
    )


def talk(*contents: str) -> list[dict[str, str]]:
    """Messages of the user and the assistant in turn."""
    roles = ("user", "assistant") * len(contents)
    return [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]


@pytest.mark.parametrize("name", RELEASED)
def test_prompt_strings_of_the_released_code(name: str):
    """Under the wrong roles a model answers badly, and nothing says why."""
    user, assistant = {
        "Janus-1.3B": ("User", "Assistant"),
        "Janus-Pro-1B": ("<|User|>", "<|Assistant|>"),
        "Janus-Pro-7B": ("<|User|>", "<|Assistant|>"),
    }[name]
    roles = TEMPLATES[RELEASED[name][1]]
    drawn = "".join(text for text, _ in chat_pieces(talk("a cat", ""), roles=roles)) + BOI
    assert drawn == f"{user}: a cat\n\n{assistant}:<begin_of_image>"
    turns = talk(f"{IMAGE}\nhello", "a dog", "world", "")
    asked = "".join(text for text, _ in chat_pieces(turns, SYSTEM_PROMPT, roles))
    assert asked == (
        f"{SYSTEM_PROMPT}\n\n{user}: <image_placeholder>\nhello\n\n"
        f"{assistant}: a dog<｜end▁of▁sentence｜>{user}: world\n\n{assistant}:"
    )


def pro_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with Janus-Pro's roles as tokens of their own."""
    core = type(tokenizer.core).from_str(tokenizer.core.to_str())
    core.add_special_tokens(list(PRO_ROLES.values()))
    return Tokenizer(core, PRO_ROLES)


def test_roles_of_pro_are_one_token_but_not_if_typed(tokenizer):
    """The released tokenizer sees one id; a user who types it must not open a turn."""
    pro = pro_tokenizer(tokenizer)
    pieces = chat_pieces(talk("say <|Assistant|>:", ""), "be kind", PRO_ROLES)
    ids = [i for text, answer in pieces for i in encode_piece(text, answer, pro)]
    user, assistant = (pro.core.token_to_id(role) for role in PRO_ROLES.values())
    assert ids.count(user) == 1 and ids.count(assistant) == 1
    plain = type(pro.core).from_str(pro.core.to_str())  # reads special strings as tokens
    plain.encode_special_tokens = False
    kind = chat_pieces(talk("a dog", "a red car", "dog", ""), "be kind", PRO_ROLES)
    ids = [i for text, answer in kind for i in encode_piece(text, answer, pro)]
    whole = "".join(text for text, _ in kind)
    assert ids == plain.encode(whole, add_special_tokens=False).ids
    assert ids[-2:] == [assistant, *pro.encode(":")]


def test_template_and_range_are_read_from_the_folder(tokenizer, tmp_path):
    """do_normalize changed in the released folder a month after the release."""
    pro = pro_tokenizer(tokenizer)
    folder = official_folder(tmp_path / "Pro", pro, template="deepseek")
    change_json(folder / "preprocessor_config.json", lambda c: c.update(do_normalize=False))
    janus = Janus.from_pretrained(folder)
    assert janus.pretrained.tokenizer.roles == PRO_ROLES
    assert not janus.pretrained.do_normalize
    janus.save_pretrained(tmp_path / "port", "transformers")
    kept = Janus.from_pretrained(tmp_path / "port").pretrained
    assert kept.tokenizer.roles == PRO_ROLES and not kept.do_normalize
    plain = official_folder(tmp_path / "plain", tokenizer, template="deepseek")
    assert "lacks <|User|> as a token" in refusal(plain)
    own = plain.rename(tmp_path / "Janus-Pro-1B")  # its own name and template agree
    assert Janus.from_pretrained(own).pretrained.tokenizer.roles == PRO_ROLES
    named = folder.rename(tmp_path / "Janus-1.3B")
    assert "learned the template deepseek_old" in refusal(named)


def test_a_folder_of_another_name_is_believed(tokenizer, tmp_path):
    """Catches a copy of Janus-1.3B whose tokenizer happens to hold the tokens of Pro."""
    pro = pro_tokenizer(tokenizer)
    folder = official_folder(tmp_path / "my-tuned-janus", pro, template="deepseek_old")
    janus = Janus.from_pretrained(folder)
    assert janus.pretrained.tokenizer.roles == ROLES
    janus.save_pretrained(tmp_path / "port", "transformers")
    assert Janus.from_pretrained(tmp_path / "port").pretrained.tokenizer.roles == ROLES
    change_json(folder / "processor_config.json", lambda c: c.pop("sft_format"))
    assert "does not say which template" in refusal(folder)


def test_a_pro_checkpoint_under_the_template_of_another(tokenizer, tmp_path):
    """Catches answers gone bad without an error; by its name, or by sizes no other has."""
    named = official_folder(tmp_path / "Janus-Pro-7B", tokenizer, template="deepseek_old")
    assert "learned the template deepseek, but" in refusal(named)
    seven, one = (replace(RELEASED[f"Janus-Pro-{n}B"][0], name="mine") for n in (7, 1))
    with pytest.raises(UserError, match="the template deepseek, but its files say deeps"):
        read_template(named, seven)
    # Janus-1.3B and Janus-Pro-1B are of one size: only the folder can tell.
    assert read_template(named, one) == ROLES
    change_json(named / "processor_config.json", lambda c: c.update(sft_format="deepseek"))
    assert read_template(named, one) == read_template(named, seven) == PRO_ROLES


def test_a_model_of_the_hub_is_known_by_its_name(tokenizer, tmp_path, monkeypatch):
    """In the hub's cache the folder is named after a commit, which says nothing."""
    for name, refused in (("Janus-1.3B", False), ("Janus-Pro-1B", True)):
        kept = tmp_path / f"models--deepseek-ai--{name}" / "snapshots" / "960ab331"
        official_folder(kept, tokenizer, template="deepseek_old")
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, k=kept, **__: k)
        if refused:
            with pytest.raises(UserError, match=f"{name} has the name or the sizes of"):
                Janus.from_pretrained(f"deepseek-ai/{name}")
        else:
            assert Janus.from_pretrained(f"deepseek-ai/{name}").cfg.name == name


def test_a_tensor_too_few_too_many_or_misshapen_is_named(copy, original):
    """Silently left at random, a tensor would spoil every answer."""
    path, name = copy / "model.safetensors", "gen_aligner.layers.2.bias"
    save_file({n: t for n, t in original.items() if n != name}, path)
    assert f"lacks the tensor {name}" in refusal(copy)
    save_file(original | {"gen_aligner.layers.4.bias": torch.zeros(32)}, path)
    assert "holds gen_aligner.layers.4.bias" in refusal(copy)
    save_file(original | {name: torch.zeros(33)}, path)
    assert f"{name} has shape (33,)" in refusal(copy)
    pool = "vision_model.vision_tower.attn_pool."
    save_file(original | {pool + "other": torch.zeros(1)}, path)
    assert f"holds {pool}other" in refusal(copy)
    save_file(original | {pool + "mlp.fc1.weight": torch.zeros(96, 23)}, path)
    assert f"{pool}mlp.fc1.weight has shape (96, 23)" in refusal(copy)
    save_file(original | {name: torch.zeros(32, dtype=torch.int8)}, path)
    assert f"holds {name} in a number format" in refusal(copy)


def test_half_downloaded_files_are_named(copy, original, tokenizer, tmp_path):
    """What a broken connection leaves behind is the commonest fault of all."""
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert f"{path} is damaged or only half here" in refusal(copy)
    path.unlink()
    assert f"{copy} holds no weights" in refusal(copy)
    shards = official_folder(tmp_path / "Shards", tokenizer, kind="bin", n=2)
    path = shards / "pytorch_model-00002-of-00002.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path} is damaged" in refusal(shards)
    path.unlink()
    assert f"{path} is missing" in refusal(shards)
    index = shards / "pytorch_model.bin.index.json"
    write_json(index, {"weight_map": {"a": "../elsewhere.bin"}})
    assert "does not say which files" in refusal(shards)
    index.write_text("{")
    assert "cannot be read as JSON" in refusal(shards)


class Program:
    """What a pickle may do while it is opened."""

    def __reduce__(self):
        return (Path.touch, (Path(self.where),))


def test_no_program_in_a_checkpoint_runs(copy, tmp_path):
    """A .bin is a pickle, and a pickle is a program."""
    (copy / "model.safetensors").unlink()
    trap = Program()
    trap.where = str(tmp_path / "it ran")
    torch.save({"gen_embed.weight": trap}, copy / "pytorch_model.bin")
    assert "is not opened" in refusal(copy)
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(trap, 2))
    assert "is not opened" in refusal(copy)
    assert not (tmp_path / "it ran").exists()


def test_a_config_of_another_model_is_refused(copy):
    """Shapes may agree while the computation does not."""
    path = copy / "config.json"
    for part, key, value in (
        ("language_config", "hidden_act", "gelu"),
        ("language_config", "num_key_value_heads", 2),
        ("language_config", "rope_scaling", {"type": "dynamic", "factor": 2.0}),
        ("language_config", "rope_scaling", {"rope_type": "linear", "factor": "4"}),
        ("language_config", "num_hidden_layers", "2"),
    ):
        write_json(path, official_config(SMALL))
        change_json(path, lambda c, p=part, k=key, v=value: c[p].update({k: v}))
        assert "config.json has" in refusal(copy)
    write_json(path, official_config(SMALL))
    change_json(
        path, lambda c: c["language_config"].update(rope_scaling={"rope_type": "linear"})
    )
    assert "the rope_type linear without factor" in refusal(copy)
    for key, value in (("select_layer", -2), ("model_name", "siglip_so400m_patch14_384")):
        write_json(path, official_config(SMALL))
        change_json(
            path, lambda c, k=key, v=value: c["vision_config"]["params"].update({k: v})
        )
        assert f"has {key} = {value}" in refusal(copy)
    write_json(path, {"model_type": "llava"})
    assert 'a model "llava"' in refusal(copy)
    write_json(path, {"model_type": "multi_modality", "vision_gen_enc_config": {}})
    assert "no Janus or Janus-Pro" in refusal(copy)  # JanusFlow
    path.unlink()
    assert f"{path} is missing" in refusal(copy)


def test_a_tokenizer_that_does_not_fit_is_refused(copy, tokenizer):
    """With PAD = EOS, guidance stops working: the first bug of the released model."""
    path = copy / "tokenizer.json"
    content = json.loads(tokenizer.core.to_str())
    content["model"]["vocab"][PAD] = tokenizer.eos
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != PAD]
    write_json(path, content)
    assert "one id for PAD and EOS" in refusal(copy)
    larger = type(tokenizer.core).from_str(tokenizer.core.to_str())
    larger.add_tokens([f"word{i}" for i in range(500)])
    path.write_text(larger.to_str(), encoding="utf-8")
    assert "tokens but the model 410" in refusal(copy)
    path.unlink()
    assert f"{path} is missing" in refusal(copy)
    change_json(copy / "processor_config.json", lambda c: c.pop("sft_format"))
    assert "does not say which template" in refusal(copy)
    change_json(copy / "preprocessor_config.json", lambda c: c.pop("image_mean"))
    change_json(copy / "processor_config.json", lambda c: c.update(sft_format="deepseek"))
    assert "has image_mean = None" in refusal(copy)


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    """Without a network the library raises one of a dozen errors of its own."""
    with pytest.raises(UserError, match="there is no folder"):
        Janus.from_pretrained(tmp_path / "nothing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="could not be fetched from the hub") as caught:
        Janus.from_pretrained("nobody/no-such-model")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot compute in torch.int8"):
        Janus.from_pretrained(tmp_path, dtype=torch.int8)


def test_a_folder_with_a_model_is_not_written_over(released, tmp_path):
    """Two models in one folder would load as a mixture."""
    janus = Janus.from_pretrained(released)
    with pytest.raises(UserError, match="already holds a model"):
        janus.save_pretrained(released)
    with pytest.raises(UserError, match='no layout "onnx"'):
        janus.save_pretrained(tmp_path / "out", "onnx")
    write_weights(tmp_path, {"a": torch.zeros(1)}, "bin", 1)
    with pytest.raises(UserError, match="already holds a model"):
        janus.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="came from no folder"), torch.device("meta"):
        Janus(janus.cfg).save_pretrained(tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only on Linux")
def test_loading_takes_little_more_memory_than_the_weights(
    released, tokenizer, tmp_path, monkeypatch
):
    """Read into a model that already has weights, 4 GB would take 8."""
    sizes = Sizes(vocabulary=12_000, llm=1024, layers=5, llm_heads=8, ff=2816)
    nothing = {n: torch.zeros(x).bfloat16() for n, x in official_shapes(sizes).items()}
    monkeypatch.setattr("released_folder.random_tensors", lambda _, dtype: nothing)
    large = [
        official_folder(tmp_path / kind, tokenizer, sizes, torch.bfloat16, kind)
        for kind in ("safetensors", "bin")
    ]
    script = Path(__file__).with_name("loading_memory.py")
    command = [sys.executable, script, released, *large]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
    assert len(done.stdout.splitlines()) == 2
    for line in done.stdout.splitlines():
        grown, held = map(int, line.split())
        assert held > 1.9e8 and 0.75 * held < grown < 1.1 * held

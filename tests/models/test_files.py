"""Models from files: what is read, what is refused, and that a retrained network is explained as it is in memory."""

from __future__ import annotations

import copy
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import kdb
from kdb.errors import BindError, Error, ModelError
from kdb.models import zoo
from kdb.models.torchvision_compat import import_torchvision

SIZE = (64, 64)
PHOTO = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
CREATE = "CREATE OR REPLACE MODEL m FROM '{}' (arch = 'squeezenet1_1', input = (64, 64){})"
QUERY = "OCCLUDE $image STRIDE 24 USING m FOR ALL CLASSES SCORE logit"


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class Sorted(nn.Module):
    """Each row in order, which is no operator of kdb's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(dim=3).values


@pytest.fixture
def db() -> kdb.Session:
    return kdb.connect()


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = import_torchvision().models.squeezenet1_1(weights=None, num_classes=classes)
    return module.eval()


def occluded_logits(module: nn.Module, hm: kdb.HeatMap, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """[classes, rows, cols], by the module itself in float64."""
    images = np.repeat(PHOTO[None].astype(np.float64), hm.positions[..., 0].size, axis=0)
    for image, (y, x) in zip(images, hm.positions.reshape(-1, 2), strict=True):
        image[y : y + 16, x : x + 16] = 0
    with torch.no_grad():
        logits = module.double().eval()(torch.from_numpy((images / 255 - mean) / std).permute(0, 3, 1, 2))
    return logits.numpy().T.reshape(hm.values.shape)


class TestStateDicts:
    @pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
    @pytest.mark.parametrize("wrapped", ["", "state_dict", "model"])
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_a_state_dict_is_the_module(
        self, db: kdb.Session, tmp_path: Path, suffix: str, wrapped: str, prefix: str
    ) -> None:
        module, path = small(), tmp_path / f"weights{suffix}"
        state = {prefix + key: value for key, value in module.state_dict().items()}
        torch.save({wrapped: state, "epoch": 3} if wrapped else state, path)
        db.execute(CREATE.format(path, ", mean = 0.5, std = 0.25, classes = 3"))
        hm = db.execute(QUERY, {"image": PHOTO})
        expected = occluded_logits(module, hm, 0.5, 0.25)
        assert np.ptp(expected) > 0 and np.abs(hm.values - expected).max() <= 1e-4 * np.abs(expected).max()

    def test_safetensors_say_the_same(self, db: kdb.Session, tmp_path: Path) -> None:
        safetensors = pytest.importorskip("safetensors.torch")
        module, path = small(), tmp_path / "weights.safetensors"
        safetensors.save_file(module.state_dict(), path)
        db.execute(CREATE.format(path, ", mean = 0, std = 1"))
        hm = db.execute(QUERY, {"image": PHOTO})
        assert np.allclose(hm.values, occluded_logits(module, hm), atol=1e-4)

    def test_grey_networks_and_labels(self, db: kdb.Session, tmp_path: Path) -> None:
        module, path, labels = small(), tmp_path / "grey.pt", tmp_path / "labels.txt"
        first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
        first.weight = nn.Parameter(first.weight[:, :1].contiguous())
        torch.save(module.state_dict(), path)
        labels.write_text("cat\ndog\nfox\n")
        created = db.execute(CREATE.format(path, f", labels = '{labels}'"))
        assert created.columns[-1] == "images" and created.rows[0][:3] == ("m", str(path), "1x64x64")
        hm = db.execute("OCCLUDE $image STRIDE 24 USING m FOR CLASS 'dog'", {"image": PHOTO[..., 0]})
        assert hm.label == "dog" and hm.class_index == 1
        with pytest.raises(BindError, match="3 classes, but 2 labels"):
            labels.write_text("cat\ndog\n")
            db.execute(CREATE.format(path, f", labels = '{labels}'"))

    def test_a_retrained_resnet18_is_explained_as_in_memory(self, db: kdb.Session, tmp_path: Path) -> None:
        """Which of four photographs a crop is out of, by a new last layer on fixed features."""
        photos, classes = _photographs(), 4
        model = zoo.resolve("resnet18", {"weights": "random", "input": SIZE})
        module, rng = model.module, np.random.default_rng(0)
        crops, of = [], []
        for i in range(240):
            photo = photos[i % classes]
            y, x = (int(rng.integers(0, side - SIZE[0])) for side in photo.shape[:2])
            crops.append(photo[y : y + SIZE[0], x : x + SIZE[1]])
            of.append(i % classes)
        inputs = torch.from_numpy(model.preprocessing.normalise(np.stack(crops))).permute(0, 3, 1, 2)
        found: list[torch.Tensor] = []
        with torch.no_grad():
            module.fc.register_forward_pre_hook(lambda _, given: found.append(given[0]))  # type: ignore[union-attr]
            module(inputs)
        module.fc._forward_pre_hooks.clear()  # type: ignore[union-attr]
        (features,), target = found, torch.tensor(of)
        layer = nn.Linear(512, classes)
        optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(features[:160]), target[:160]).backward()
            optimizer.step()
        accuracy = float((layer(features[160:]).argmax(1) == target[160:]).float().mean())
        assert accuracy > 0.6, "the task was not learnt"
        module.fc = layer
        path = tmp_path / "photos.pt"
        torch.save(module.state_dict(), path)
        wanted = model.preprocessing
        db.execute(
            f"CREATE MODEL m FROM '{path}' (arch = 'resnet18', classes = 4, labels = ('cat', 'coffee', 'woman', "
            f"'rocket'), input = (64, 64), mean = {wanted.mean}, std = {wanted.std})"
        )
        hm = db.execute(QUERY, {"image": PHOTO})
        expected = occluded_logits(module, hm, np.array(wanted.mean), np.array(wanted.std))  # type: ignore[arg-type]
        assert hm.label == ("cat", "coffee", "woman", "rocket")
        for values, right in zip(hm.values, expected, strict=True):
            assert np.abs(values - right).max() <= min(1e-4 * np.abs(right).max(), 1e-3 * np.ptp(right))


def _photographs() -> list[np.ndarray]:
    data = pytest.importorskip("skimage.data")
    return [data.chelsea(), data.coffee(), data.astronaut(), data.rocket()]


class TestWhatIsRefused:
    def test_names_and_options(self, db: kdb.Session, tmp_path: Path) -> None:
        path = tmp_path / "weights.pt"
        torch.save(small().state_dict(), path)
        create = f"CREATE MODEL m FROM '{path}'"
        for text, kind, message in (
            (create, BindError, "arch = 'resnet18'"),
            (f"{create} (arch = 'resnet19')", BindError, "did you mean 'resnet1[08]'|did you mean"),
            (f"{create} (arch = 'resnet81', classes = 4, input = 64)", BindError, "did you mean 'resnet18'"),
            (f"{create} (arch = 'ResNet_18')", BindError, "did you mean 'resnet18'"),
            (f"{create} (arch = 3)", BindError, "arch = 3 is not a name"),
            (f"{create} (arch = 'resnet18')", ModelError, "not those of resnet18 .*missing"),
            (f"{create} (arch = 'squeezenet1_1', classes = 4)", ModelError, r"is \[3, 512, 1, 1\], not \[4"),
            (f"{create} (arch = 'squeezenet1_1', classes = 0)", BindError, "classes = 0"),
            (f"{create} (arch = 'squeezenet1_1', classs = 3)", BindError, "did you mean 'classes'"),
            ("CREATE MODEL m FROM 'nowhere.pt' (arch = 'resnet18')", ModelError, "no file 'nowhere.pt'"),
            ("CREATE MODEL m FROM 'weights.h5'", ModelError, "the extension must be one of"),
        ):
            with pytest.raises(kind, match=message):
                db.execute(text)
        db.execute(CREATE.format(path, ""))
        with pytest.raises(BindError, match="CREATE OR REPLACE"):
            db.execute(CREATE.format(path, "").replace("OR REPLACE ", ""))
        db.execute("DROP MODEL m")

    def test_code_is_never_run(self, db: kdb.Session, tmp_path: Path) -> None:
        made = tmp_path / "made"
        for suffix in (".pt", ".pth", ".bin", ".ckpt", ".pt2", ".safetensors", ".onnx"):
            path = tmp_path / f"bad{suffix}"
            path.write_bytes(pickle.dumps({"fc.weight": Payload(made)}))
            with pytest.raises(Error):
                db.execute(CREATE.format(path, ""))
            torch.save({"fc.weight": Payload(made)}, path)
            with pytest.raises(Error):
                db.execute(CREATE.format(path, ""))
            assert not made.exists()

    def test_what_unpacks_to_more_than_the_file_holds(self, db: kdb.Session, tmp_path: Path) -> None:
        """Archives that are compressed, or whose parts lie over one another, and types of any size."""
        sound, path = tmp_path / "sound.pt", tmp_path / "bomb.pt"
        torch.save({"w": torch.zeros(1 << 22)}, sound)
        with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for part in archive.infolist():
                packed.writestr(part.filename, archive.read(part))
        assert path.stat().st_size < sound.stat().st_size // 100
        with pytest.raises(ModelError, match="that is compressed; save the state_dict"):
            db.execute(CREATE.format(path, ""))
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("a", bytes(1000))
            packed.filelist += [copy.copy(packed.filelist[0]) for _ in range(999)]
        with pytest.raises(ModelError, match="larger than the whole"):
            db.execute(CREATE.format(path, ""))
        for opened in (b"\x80\x02cbuiltins\nbytearray\n", b"\x80\x02c__builtin__\nbytearray\n"):
            pickled = opened + b"J\x00\xca\x9a\x3b\x85R."  # bytearray(10**9)
            with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(path, "w") as packed:
                for part in archive.infolist():
                    packed.writestr(part, pickled if part.filename.endswith(".pkl") else archive.read(part))
            with pytest.raises(ModelError, match="holds a bytearray"):
                db.execute(CREATE.format(path, ""))

    @pytest.mark.parametrize("old", [False, True])
    def test_a_key_that_folds_out(self, db: kdb.Session, tmp_path: Path, old: bool) -> None:
        """Of 100 tuples that hold the one before twice: a few hundred bytes, and 2^100 parts to hash."""
        sound, path = tmp_path / "sound.pt", tmp_path / "folded.pt"
        key = b"N\x85q\x00" + b"".join(b"h%c\x86q%c" % (k, k + 1) for k in range(100))
        for pickled in (b"\x80\x02}" + key + b"K\x01s.", b"\x80\x02}cbuiltins\nset\n(" + key + b"e\x85Rs."):
            torch.save({"w": torch.zeros(1)}, sound)
            with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(path, "w") as packed:
                for part in archive.infolist():
                    packed.writestr(part, pickled if part.filename.endswith(".pkl") else archive.read(part))
            if old:
                torch.save({"w": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
                heads = path.read_bytes().split(b".\x80")[:3]
                path.write_bytes(b".\x80".join(heads) + b"." + pickled)
            with pytest.raises(ModelError, match="tuples of tuples"):
                db.execute(CREATE.format(path, ""))

    @pytest.mark.parametrize("old", [False, True])
    def test_a_whole_checkpoint_is_read(self, db: kdb.Session, tmp_path: Path, old: bool) -> None:
        """With an optimizer, numbers, texts, sets and lists beside the weights."""
        module, path = small(), tmp_path / "checkpoint.pt"
        optimizer = torch.optim.Adam(module.parameters())
        module(torch.rand(1, 3, *SIZE)).sum().backward()
        optimizer.step()
        held = {"state_dict": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5}
        held |= {"history": [(i, i / 3, None) for i in range(1000)], "seen": {1, 2}, "name": "x", "on": True}
        torch.save(held, path, _use_new_zipfile_serialization=not old)
        db.execute(CREATE.format(path, ""))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: torch.zeros(1).expand(10**12),
            lambda: torch.zeros(1, 1, 1, 1).expand(10**7, 512, 1, 1),  # as the last layer's: of so many classes
            lambda: torch.zeros(2, device="meta"),
            lambda: torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(0), (10**12,)),
            lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_tensors_of_elements_that_the_file_does_not_hold(
        self, db: kdb.Session, tmp_path: Path, make: Callable[[], torch.Tensor]
    ) -> None:
        path = tmp_path / "thin.pt"
        torch.save({**small().state_dict(), "classifier.1.weight": make(), "classifier.1.bias": make()}, path)
        with pytest.raises(ModelError, match=r"'classifier\.1\.(weight|bias)' in .* is no plain tensor"):
            db.execute(CREATE.format(path, ""))

    @pytest.mark.parametrize("length", [2**60, 2**63 - 1, 2**40, 100])
    def test_safetensors_that_declare_too_much(self, db: kdb.Session, tmp_path: Path, length: int) -> None:
        pytest.importorskip("safetensors")
        path = tmp_path / "declares.safetensors"
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(ModelError, match=r"it is damaged, or no \.safetensors file \(.*[hH]eader"):
            db.execute(CREATE.format(path, ""))
        header = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(ModelError, match="it is damaged"):
            db.execute(CREATE.format(path, ""))

    def test_whole_modules_and_scripts(self, db: kdb.Session, tmp_path: Path) -> None:
        path = tmp_path / "module.pt"
        torch.save(small(), path)
        with pytest.raises(ModelError, match="could run code"):
            db.execute(CREATE.format(path, ""))
        torch.jit.save(torch.jit.script(nn.Conv2d(3, 4, 3)), path)
        with pytest.raises(ModelError, match=r"TorchScript|could run code"):
            db.execute(CREATE.format(path, ""))

    @pytest.mark.parametrize("text", ["", "hello", "a text\n" * 50, "version https://git-lfs.github.com/spec\n"])
    @pytest.mark.parametrize("suffix", [".pt", ".PTH"])
    def test_texts_are_no_weights(self, db: kdb.Session, tmp_path: Path, text: str, suffix: str) -> None:
        path = tmp_path / f"text{suffix}"
        path.write_text(text)
        with pytest.raises(ModelError, match="it is no PyTorch file: it ") as caught:
            db.execute(CREATE.format(path, ""))
        assert str(caught.value).endswith(f"begins with {text[:24]!r}" if text else "is empty")

    @pytest.mark.parametrize("held", [{}, {"epoch": 3}, [1, 2], 7, {"state_dict": {}}])
    def test_files_without_weights(self, db: kdb.Session, tmp_path: Path, held: object) -> None:
        path = tmp_path / "none.pt"
        torch.save(held, path)
        with pytest.raises(ModelError, match="holds no"):
            db.execute(CREATE.format(path, ""))

    def test_optimizers_hold_no_weights(self, db: kdb.Session, tmp_path: Path) -> None:
        path, module = tmp_path / "optimizer.pt", small()
        optimizer = torch.optim.Adam(module.parameters())
        module(torch.rand(1, 3, *SIZE)).sum().backward()
        optimizer.step()
        for held in (optimizer.state_dict(), {"optimizer": optimizer.state_dict(), "epoch": 3}):
            torch.save(held, path)
            with pytest.raises(ModelError, match=r"holds an optimizer's state and no weights; save .*state_dict\(\)"):
                db.execute(CREATE.format(path, ""))
        torch.save({"optimizer": optimizer.state_dict(), "generator": module.state_dict()}, path)
        with pytest.raises(ModelError, match="more under 'generator' is there"):
            db.execute(CREATE.format(path, ""))

    @pytest.mark.parametrize("head", ["", "head.weight", "projection.0.weight"])
    @pytest.mark.parametrize("prefix", ["backbone.", "encoder.net."])
    def test_a_prefix_before_all_names_is_told(self, db: kdb.Session, tmp_path: Path, prefix: str, head: str) -> None:
        """Also where the last layer is another one."""
        path, state = tmp_path / "prefixed.pt", small().state_dict()
        held = {prefix + key: value for key, value in state.items() if not head or not key.startswith("classifier")}
        torch.save(held | ({head: torch.ones(2, 2)} if head else {}), path)
        with pytest.raises(ModelError, match=rf"squeezenet1_1 begin with '{prefix}' there: save the state_dict"):
            db.execute(CREATE.format(path, ""))
        torch.save({prefix + "own": torch.ones(2), "classifier.1.bias": state["classifier.1.bias"]}, path)
        with pytest.raises(ModelError, match=r"register_model"):
            db.execute(CREATE.format(path, ""))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=40),
        st.floats(0, 1),
    )
    def test_damaged_files_give_kdb_errors_or_load(
        self, tmp_path: Path, changes: list[tuple[float, int]], kept: float
    ) -> None:
        path = tmp_path / "mutated.pt"
        torch.save({"w": torch.arange(4.0), "b": torch.ones(2)}, path)
        data = bytearray(path.read_bytes())
        for at, value in changes:
            data[int(at * len(data))] = value
        path.write_bytes(data[: max(int(len(data) * (0.5 + kept / 2)), 1)])
        with pytest.raises(Error):  # at best the tensors load, and are not those of the network
            kdb.connect().execute(CREATE.format(path, ""))


class TestExportedPrograms:
    def export(self, path: Path, batch: bool = True) -> nn.Module:
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        shapes = ({0: torch.export.Dim("batch")},) if batch else None
        program = torch.export.export(module.eval(), (torch.rand(2, 3, *SIZE),), dynamic_shapes=shapes)
        torch.export.save(program, path)
        return module

    def test_a_query_refuses_them(self, db: kdb.Session, tmp_path: Path) -> None:
        path = tmp_path / "program.pt2"
        self.export(path)
        with pytest.raises(ModelError, match="trusted=True"):
            db.execute(f"CREATE MODEL m FROM '{path}'")
        with pytest.raises(BindError, match="trusted=True"):
            db.load_exported(path)

    @pytest.mark.parametrize("suffix", [".pt2", ".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".onnx"])
    def test_what_is_planted_in_an_archive_is_not_run(self, db: kdb.Session, tmp_path: Path, suffix: str) -> None:
        program, planted, made = tmp_path / "program.pt2", tmp_path / f"planted{suffix}", tmp_path / "made"
        self.export(program)
        with zipfile.ZipFile(program) as old, zipfile.ZipFile(planted, "w") as new:
            names = [name for name in old.namelist() if not name.endswith("sample_inputs/model.pt")]
            for name in names:
                new.writestr(name, old.read(name))
            for name in ("data/sample_inputs/model.pt", "data.pkl"):
                new.writestr(f"program/{name}", pickle.dumps(Payload(made)))
        options = "" if suffix in (".pt2", ".onnx") else " (arch = 'squeezenet1_1')"
        rng = np.random.default_rng(0)
        for _ in range(20):
            with pytest.raises(ModelError):
                db.execute(f"CREATE MODEL m FROM '{planted}'{options}")
            with pytest.raises(BindError):
                db.load_exported(planted)
            data = bytearray(planted.read_bytes())  # once more, with a few bytes changed
            for place in rng.integers(len(data), size=4):
                data[place] = rng.integers(256)
            planted.write_bytes(data)
        assert not made.exists()
        pickle.loads(pickle.dumps(Payload(made)))
        assert made.exists()

    def test_python_loads_them_where_they_are_trusted(self, db: kdb.Session, tmp_path: Path) -> None:
        path = tmp_path / "m.pt2"
        module = self.export(path)
        assert db.load_exported(path, trusted=True) == "m"
        hm = db.execute(QUERY, {"image": PHOTO})
        assert np.allclose(hm.values, occluded_logits(module, hm), atol=1e-4)
        assert db.load_exported(path, "other", trusted=True, labels=["a", "b", "c"]) == "other"

    def test_one_size_of_batch_is_refused(self, db: kdb.Session, tmp_path: Path) -> None:
        path = tmp_path / "fixed.pt2"
        self.export(path, batch=False)
        with pytest.raises(ModelError, match="batches of 2"):
            db.load_exported(path, trusted=True)
        path.write_bytes(b"PK no archive")
        with pytest.raises(ModelError, match=r"cannot load .* damaged, or no \.pt2 file"):
            db.load_exported(path, trusted=True)
        with pytest.raises(ModelError, match="there is no file"):
            db.load_exported(tmp_path / "nowhere.pt2", trusted=True)


class TestDescribe:
    def test_a_model_is_described(self, db: kdb.Session) -> None:
        db.register_model("mine", small(), input_size=SIZE, labels=["a", "b", "c"], mean=0.5)
        table = db.execute("DESCRIBE MODEL mine WITH patch(8, 8)")
        text = str(table)
        assert "3 classes, softmax: 'a', 'b', 'c'" in text and "64 x 64 RGB" in text and "patch 8 x 8" in text
        assert table.columns[:3] == ("layer", "operator", "output")
        assert table.rows[0][:3] == ("image", "image", "3x64x64") and table.rows[0][-2:] == ("8x8", 1.6)
        weights = sum(value.numel() for value in small().parameters())
        assert sum(row[3] for row in table.rows) == weights

    def test_the_bound_is_that_of_equation_14(self, db: kdb.Session) -> None:
        db.register_model(
            "two", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(1024, 2)), input=16
        )
        # All 16 x 16 outputs against the 6 x 6 around a patch of 4 x 4, and the dense layer in both.
        full, some = 256 * 4 * 27 + 2048, 36 * 4 * 27 + 2048
        described = str(db.execute("DESCRIBE MODEL two WITH patch(4, 4)"))
        assert f"at most {full / some:.1f} times less arithmetic than full inference (equation 14)" in described
        assert "patch 16 x 16" in str(db.execute("DESCRIBE MODEL two"))

    def test_a_model_that_is_partly_outside_the_vocabulary_has_no_bound(self, db: kdb.Session) -> None:
        module = nn.Sequential(nn.Conv2d(3, 4, 3), Sorted(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
        db.register_model("mine", module, input_size=8)
        text = str(db.execute("DESCRIBE MODEL mine"))
        assert "patch 8 x 8 in the middle: no bound" in text and "outside the vocabulary" in text

    def test_a_patch_too_large(self, db: kdb.Session) -> None:
        db.register_model("mine", small(), input_size=SIZE)
        with pytest.raises(BindError, match="larger than the image"):
            db.execute("DESCRIBE MODEL mine WITH patch(65, 3)")


class TestOnnx:
    def test_a_file_is_the_module_that_it_was_made_of(self, db: kdb.Session, tmp_path: Path) -> None:
        onnx = pytest.importorskip("onnx")
        helper, rng = onnx.helper, np.random.default_rng(0)
        weight, bias = rng.normal(size=(4, 3, 3, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["g"]),
            helper.make_node("Flatten", ["g"], ["f"]),
            helper.make_node("MatMul", ["f", "m"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, *SIZE])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])],
            [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "m")],
        )
        path = tmp_path / "m.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
        created = db.execute(f"CREATE MODEL m FROM '{path}' (labels = ('a', 'b', 'c'))")
        assert created.rows[0][:3] == ("m", str(path), "3x64x64")
        assert "mean 0 and std 1 are assumed" in created.rows[0][3]
        module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        module += nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
        module.load_state_dict({"0.weight": torch.from_numpy(weight), "4.weight": torch.from_numpy(bias.T.copy())})
        hm = db.execute(QUERY, {"image": PHOTO})
        expected = occluded_logits(module, hm)
        assert hm.label == ("a", "b", "c") and np.abs(hm.values - expected).max() <= 1e-4 * np.abs(expected).max()
        with pytest.raises(BindError, match="arch belongs to state dicts"):
            db.execute(f"CREATE OR REPLACE MODEL m FROM '{path}' (arch = 'resnet18')")

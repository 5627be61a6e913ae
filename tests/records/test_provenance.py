"""What a record says of the code, the machine and the settings that made it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Quick
from waiting_record import write_record

from gmm_pipeline.records import artifacts, contents, provenance
from gmm_pipeline.records.code_state import LONGEST_DIFF, source_digest, state_of, why_unknown
from gmm_pipeline.records.files import write_json
from gmm_pipeline.records.json_files import read_json
from gmm_pipeline.tracking import loggable


def git(folder: Path, *arguments: str) -> str:
    own = ("-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
    ended = subprocess.run(["git", *own, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout of the same layout, all of it committed."""
    root = tmp_path / "checkout"
    for name in ("gmm_pipeline/__init__.py", "conf/fit.yaml", "README.md", "dvc.lock", ".gitignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("one\ntwo\n" if name != ".gitignore" else "__pycache__\n")
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "all")
    return root


def test_a_clean_checkout_has_a_commit_and_no_diff(checkout):
    state = state_of(checkout / "gmm_pipeline")
    assert state == (git(checkout, "rev-parse", "HEAD"), False, "")
    assert state.diff_digest is None


def test_what_decides_no_result_makes_no_run_dirty(checkout):
    for name in ("README.md", "dvc.lock", "notes.txt"):
        (checkout / name).write_text("edited\n")
    (checkout / "gmm_pipeline" / "__pycache__").mkdir()
    (checkout / "gmm_pipeline" / "__pycache__" / "x.pyc").write_bytes(b"\0")
    assert not state_of(checkout / "gmm_pipeline").dirty


def test_the_diff_makes_the_code_that_ran_from_the_commit(checkout, tmp_path):
    (checkout / "conf" / "fit.yaml").write_text("one\nthree\n")
    (checkout / "gmm_pipeline" / "__init__.py").unlink()
    git(checkout, "rm", "-q", "--cached", "gmm_pipeline/__init__.py")
    (checkout / "gmm_pipeline" / "__init__.py").write_text("changed = 'ä'")  # with no end of line
    (checkout / "gmm_pipeline" / "new.py").write_text("a = 1\n\nb = 2\n")
    (checkout / "gmm_pipeline" / "new one.py").write_text("c = 3\n")
    git(checkout, "add", "gmm_pipeline/__init__.py", "gmm_pipeline/new one.py")
    state = state_of(checkout / "gmm_pipeline")
    assert state.dirty
    assert state.diff_digest == hashlib.sha256(state.diff.encode()).hexdigest()
    git(tmp_path, "clone", "-q", str(checkout), "clone")
    (tmp_path / "code.diff").write_text(state.diff)
    git(tmp_path / "clone", "apply", "../code.diff")
    for name in ("conf/fit.yaml", "gmm_pipeline/__init__.py", "gmm_pipeline/new.py", "gmm_pipeline/new one.py"):
        assert (tmp_path / "clone" / name).read_bytes() == (checkout / name).read_bytes(), name


def test_what_is_no_text_or_too_long_is_named_alone(checkout):
    (checkout / "conf" / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (checkout / "conf" / "long.yaml").write_text("x" * 3 * LONGEST_DIFF)
    diff = state_of(checkout / "gmm_pipeline").diff
    assert "b/conf/long.yaml" in diff
    assert len(diff) < LONGEST_DIFF + 100
    (checkout / "conf" / "long.yaml").unlink()
    assert "Binary files /dev/null and b/conf/picture.png differ" in state_of(checkout / "gmm_pipeline").diff


def test_outside_of_a_checkout_nothing_is_known(tmp_path, checkout):
    (checkout / "installed" / "gmm_pipeline").mkdir(parents=True)
    (checkout / "installed" / "gmm_pipeline" / "__init__.py").touch()
    for package in (tmp_path, checkout / "installed" / "gmm_pipeline"):  # in a folder that git ignores or does not know
        assert state_of(package) == (None, None, "")


def test_a_checkout_that_git_does_not_read_is_named_with_its_remedy(checkout, tmp_path, monkeypatch):
    package = checkout / "gmm_pipeline"
    assert why_unknown(package) == ""
    (tmp_path / "installed" / "gmm_pipeline").mkdir(parents=True)
    assert why_unknown(tmp_path / "installed" / "gmm_pipeline") == ""  # which is no checkout
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert state_of(package).commit is None
    assert why_unknown(package).endswith(f"git config --global --add safe.directory {checkout}")
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git cannot be run" in why_unknown(package)


def test_a_record_names_the_versions_and_the_settings_of_now(monkeypatch):
    import jax

    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    with jax.default_matmul_precision("highest"):
        found = provenance.provenance("cpu")
    assert found["versions"]["jax"] == jax.__version__
    assert set(provenance.COMPUTING) <= set(found["versions"])
    assert found["jax"]["settings"]["threefry_partitionable"] == jax.config.values["jax_threefry_partitionable"]
    assert found["jax"]["environment"]["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=false"
    assert found["devices"] == {"count": jax.device_count(), "platform": "cpu"}
    assert found["cpu"]["cores"] > 0
    json.dumps(found, allow_nan=False)
    assert "jax" not in provenance.provenance()


@pytest.mark.parametrize("decorated", ["", "import jax\n@jax.jit\n"])
def test_the_digest_of_the_source_counts_the_files_of_plugins(tmp_path, monkeypatch, decorated):
    import importlib

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_prior", raising=False)
    (tmp_path / "their_prior.py").write_text(f"{decorated}def ridge(): ...\n")
    theirs = importlib.import_module("their_prior").ridge
    known = source_digest(theirs)
    assert len({known, source_digest(), source_digest(json.dumps)}) == 3
    (tmp_path / "their_prior.py").write_text(f"{decorated}def ridge(): ...  # changed\n")
    source_digest.cache_clear()
    assert source_digest(theirs) != known


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def made(quick: Quick, folder: Path) -> Path:
    """A fit, and a sweep of two whose one run is the fit's."""
    if not any(folder.iterdir()):
        small = ("search=none", "steps=12", "restarts=2", "data.n_draws=60")
        words = ("figures=none", "animation=none", "tracking=none", *small)
        assert quick("fit", *words, "hydra.run.dir=outputs/fit/one", cwd=folder).returncode == 0
        assert quick("fit", "-m", "sweep=s", "seed=0,1", *words, cwd=folder).returncode == 0
    return folder / "outputs" / "fit" / "one"


def test_the_digests_are_those_of_the_files(made, folder):
    swept = folder / "outputs" / "sweeps" / "s"
    about, alike, other = (read_json(record / artifacts.RECORD) for record in (made, swept / "0", swept / "1"))
    digests = about["digests"]
    for name, sha in digests["results"].items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == sha
    assert set(digests["results"]) == {"parameters.json", "metrics.json", "restarts.json", "history.npz"} | {
        "assignments.parquet"
    }
    assert digests["data"] == read_json(made / artifacts.DATA)["digest"]
    assert alike["digests"] == digests
    assert other["digests"]["config"] != digests["config"]
    assert {key: other["digests"][key] for key in ("data", "code")} == {key: digests[key] for key in ("data", "code")}


def test_the_diff_lies_beside_the_record_once_for_a_sweep(made, folder):
    git_state = read_json(made / artifacts.RECORD)["provenance"]["git"]
    kept = [made / "code.diff", *(folder / "outputs" / "sweeps" / "s").rglob("*.diff")]
    if git_state["diff"] is None:
        assert not any(path.exists() for path in kept)
        return
    assert len(kept) == 2
    assert kept[1].parent.name == "s"
    for path in kept:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == git_state["diff"]
    assert artifacts.find_diff(folder / "outputs/sweeps/s/1", git_state["diff"]) == kept[1]


def test_a_diff_is_kept_under_its_own_name_for_each_state_of_the_code(tmp_path):
    record = tmp_path / "sweep" / "0"
    for diff, digest in (("a", "1" * 64), ("b", "2" * 64), ("a", "1" * 64), ("", None)):
        artifacts.write_diff(record, diff, digest, of_sweep=True)
    assert {path.read_text() for path in record.parent.iterdir()} == {"a", "b"}
    artifacts.write_diff(record, "c", "3" * 64, of_sweep=False)
    found = [artifacts.find_diff(record, digit * 64) for digit in "123"]
    assert [path.read_text() for path in found if path is not None] == ["a", "b", "c"]


def test_tags_tell_what_was_made_with_what(tmp_path):
    record = write_record(tmp_path / "one")
    old = loggable.tags(record, contents.read(record))
    assert not any(name.startswith(("digest.", "jax.", "gmm_pipeline.origin")) for name in old)
    about = read_json(record / artifacts.RECORD)
    about["provenance"] |= {"jax": {"settings": {"enable_x64": True, "platforms": None}, "environment": {}}}
    about["provenance"]["git"]["diff"] = "d" * 64
    of_metrics = artifacts.digests_of(record)["metrics.json"]
    about["digests"] = {"config": "c" * 64, "results": {"metrics.json": of_metrics}}
    about["origin"] = {"record": "/there/outputs/fit/first", "run_id": None}
    write_json(record / artifacts.RECORD, about)
    tags = loggable.tags(record, contents.read(record))
    assert tags["jax.settings"] == "enable_x64=true platforms=null"
    assert "jax.environment" not in tags
    assert tags["git.diff"] == "d" * 64
    assert tags["digest.config"] == "c" * 64
    assert tags["digest.results"] == hashlib.sha256(f"{of_metrics}  metrics.json\n".encode()).hexdigest()
    assert tags["gmm_pipeline.origin"] == "/there/outputs/fit/first"

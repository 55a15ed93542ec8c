"""Networks from what weights there are."""

import pytest

from everanimate_core.digests import sha256
from everanimate_core.evaluation import networks
from everanimate_core.evaluation.networks import Networks, load_networks


def test_without_weights_every_metric_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = load_networks()
    assert found == Networks()
    assert list(found.missing) == ["lpips", "fid", "videomae"]
    assert all(how.startswith("n/a (weights missing, get them with ") for how in found.missing.values())
    assert "everanimate evaluate --fetch-lpips" in found.missing["lpips"]


def test_lpips_of_the_users_cache(lpips_file):
    found = load_networks()
    assert list(found.missing) == ["fid", "videomae"]
    assert found.sha256 == {"lpips": sha256(lpips_file)}


@pytest.mark.parametrize("name", ["lpips", "inception"])
def test_a_file_that_is_not_there(name, tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="none"):
        load_networks(**{name: tmp_path / "none"})


def test_every_metric_with_weights_has_a_word_for_their_absence():
    assert set(networks.MISSING) == {"lpips", "fid", "videomae"} < set(vars(Networks()))

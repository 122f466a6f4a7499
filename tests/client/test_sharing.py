"""The key of share links."""

import stat

import pytest

from burrow.cli.share import parse_duration
from burrow.client.sharing import share_key, with_share_key
from burrow.errors import ConfigError
from burrow.policy.share import public_half


def test_it_is_made_once_and_for_its_user_alone(tmp_path):
    folder = tmp_path / "burrow"
    key = public_half(share_key(folder))
    assert public_half(share_key(folder)) == key
    assert stat.S_IMODE((folder / "share-key").stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == ["share-key"]
    new = public_half(share_key(folder, new=True))
    assert new != key
    assert public_half(share_key(folder)) == new
    assert stat.S_IMODE((folder / "share-key").stat().st_mode) == 0o600


def test_tunnels_are_told_the_public_half(tmp_path):
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    assert with_share_key({"share-links": False}, environ) == {"share-links": False}
    assert list(tmp_path.iterdir()) == []
    told = with_share_key({"share-links": True}, environ)
    assert told["share-key"] == public_half(share_key(tmp_path / "burrow"))


def test_a_file_that_holds_none(tmp_path):
    (tmp_path / "share-key").write_text("nothing")
    with pytest.raises(ConfigError, match="--new-key"):
        share_key(tmp_path)
    share_key(tmp_path, new=True)
    share_key(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="XDG_STATE_HOME"):
        share_key(tmp_path / "file" / "folder")


def test_durations():
    assert [parse_duration(text) for text in ("45s", "30m", "2h", "7d", "1w")] == [
        45,
        1800,
        7200,
        604800,
        604800,
    ]
    for text in ("", "2", "h", "-1h", "0h", "2 h", "1.5h", "400d", "٢h"):
        with pytest.raises(ValueError, match="as in 30m"):
            parse_duration(text)

"""The cache of on-demand prices: whatever lies in its place, a price is asked for again and never an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from training.cloud.aws import prices
from training.cloud.aws.client import Cloud
from training.config import AwsSettings

KIND = "g5.xlarge"
NOW = 1_800_000_000.0
SOUND = {"usd_per_hour": 1.5, "at": NOW - 60}


class Pricing:
    """A cloud whose Pricing API says one price, and counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.cloud = Cloud(AwsSettings())
        monkeypatch.setattr(prices, "_ask_pricing", self.answer)

    def answer(self, _cloud: Cloud, _kind: str) -> float:
        self.asked += 1
        return 2.0

    def price(self) -> float:
        return prices._on_demand(self.cloud, KIND).usd_per_hour


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prices, "time", SimpleNamespace(time=lambda: NOW))
    path = tmp_path / "f1tenth-training" / "prices-us-east-2.json"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "5", "null", '"text"', "[" * 100_000, '{"g5.xlarge": 5}', '{"g5.xlarge": []}'),
        *(
            json.dumps({KIND: {**SOUND, **wrong}})
            for wrong in (
                *({"usd_per_hour": value} for value in (0, -1, "x", None, [], float("nan"), float("inf"), 1e9)),
                *({"at": value} for value in (0, "x", None, float("nan"), float("-inf"), NOW + 1e6)),
            )
        ),
        '{"g5.xlarge": {"usd_per_hour": 1' + "0" * 400 + ', "at": 1}}',
    ],
    ids=lambda _: "text",  # it holds the time, and two workers would collect tests of different names
)  # fmt: skip
def test_a_broken_cache_is_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    cache.write_text(text)
    pricing = Pricing(monkeypatch)
    assert (pricing.price(), pricing.asked) == (2.0, 1)
    assert (pricing.price(), pricing.asked) == (2.0, 1), "it is kept now"


def test_a_sound_cache_asks_nothing_and_keeps_the_prices_of_other_types(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text(json.dumps({KIND: SOUND}))
    pricing = Pricing(monkeypatch)
    assert (pricing.price(), pricing.asked) == (1.5, 0)
    prices._on_demand(pricing.cloud, "g6.xlarge")
    assert json.loads(cache.read_text())[KIND] == SOUND


def bytes_of_no_text(cache: Path) -> None:
    cache.write_bytes(bytes(range(256)))


def folder_instead(cache: Path) -> None:
    (cache / "x").mkdir(parents=True)


def file_instead_of_folder(cache: Path) -> None:
    cache.parent.rmdir()
    cache.parent.write_text("")


def link_to_nowhere(cache: Path) -> None:
    cache.parent.rmdir()
    cache.parent.symlink_to("/proc/self/no/such/folder")


@pytest.mark.parametrize(
    "breaking", [bytes_of_no_text, folder_instead, file_instead_of_folder, link_to_nowhere]
)
def test_a_cache_that_cannot_be_used_costs_a_request(
    cache: Path, monkeypatch: pytest.MonkeyPatch, breaking: Callable[[Path], None]
) -> None:
    breaking(cache)
    pricing = Pricing(monkeypatch)
    assert (pricing.price(), pricing.asked) == (2.0, 1)
    if cache.parent.is_dir():
        assert [one.name for one in cache.parent.iterdir()] == [cache.name], "nothing is left beside it"


def test_a_read_only_cache_costs_a_request(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # as root, no folder is read-only

    monkeypatch.setattr(prices.tempfile, "NamedTemporaryFile", refuse)
    pricing = Pricing(monkeypatch)
    assert [pricing.price(), pricing.price()] == [2.0, 2.0]
    assert pricing.asked == 2
    assert not cache.exists()

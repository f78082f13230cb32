"""Names of channels: any string is exactly one of ours, or none."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.channels import Channel, ChannelKind, channel_of, viewer, watching

S, V = "5" * 24, "7" * 24  # a streamer, a viewer

ENCRYPTED = Channel("presence-enc-stream-viewer", S, "sd", V)
FAMILIES = (*watching(S), *viewer(S, V, "preview", "sd"), ENCRYPTED)
IDS = st.text("0123456789abcdef", min_size=24, max_size=24)
PIECES = ("presence", "private", "-enc", "-stream", "-viewer", "-user", "@", ".sd.", ".preview.", ".", S, V, "\n", "A")


@pytest.mark.parametrize("channel", FAMILIES, ids=lambda channel: channel.name)
def test_a_channels_name_reads_back(channel: Channel) -> None:
    assert channel_of(channel.name) == channel


def test_every_family_is_looked_at() -> None:
    assert {channel.kind for channel in FAMILIES} == set(get_args(ChannelKind))


@given(st.sampled_from(FAMILIES), IDS, IDS)
def test_any_channels_name_reads_back(family: Channel, owner: str, viewer_id: str) -> None:
    channel = replace(family, owner_id=owner, viewer_id=family.viewer_id and viewer_id)

    assert channel_of(channel.name) == channel


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)))
def test_any_string_is_the_one_name_of_a_channel_or_no_channel(name: str) -> None:
    channel = channel_of(name)

    assert channel is None or channel.name == name


@given(
    st.sampled_from(FAMILIES).map(lambda channel: channel.name),
    st.integers(0, 90),
    st.integers(0, 2),
    st.one_of(st.text(max_size=2), st.sampled_from(PIECES)),
)
def test_a_name_with_something_changed_is_another_channels_or_none(name: str, at: int, cut: int, put: str) -> None:
    changed = name[:at] + put + name[at + cut :]
    channel = channel_of(changed)

    assert channel is None or (channel.name == changed and (changed == name) is (channel == channel_of(name)))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "private-user@",
        f"private-user@{S[1:]}",
        f"private-user@{S}5",
        f"private-user@{S}\n",
        f"private-user@{'A' * 24}",
        f" private-user@{S}",
        f"private-user@{S}.preview.{V}",
        f"presence-user@{S}",
        f"presence-cache-stream@{S}",
        f"private-encrypted-user@{S}",
        f"presence-stream-viewer@{S}",
        f"presence-stream-viewer@{S}.preview",
        f"presence-stream-viewer@{S}.hd.{V}",
        f"private-stream-viewer@{S}.preview.{V}",
        f"presence-enc-stream-viewer@{S}.preview.{V}",
        f"presence-enc-stream-viewer@{S}",
        f"presence-enc-stream@{S}",
        f"presence-stream@{S}.sd.{V}",
        f"private-user@{S}.sd.{V}",
        f"presence-stream-viewer@{S}.sd.{V}.sd.{V}",
        f"presence-stream-viewer@{S}.sd.{'٣' * 24}",
        f"#server-to-user-{S}",
        f"stream@{S}",
    ],
)
def test_what_is_not_exactly_a_name_of_ours_is_no_channel(name: str) -> None:
    assert channel_of(name) is None


def test_names_fit_pusher() -> None:
    longest = max((c.name for c in (*watching(S), *viewer(S, V, "preview", "sd"))), key=len)

    assert len(longest) <= 164

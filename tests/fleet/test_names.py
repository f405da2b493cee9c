"""Names of hosts as tokens of subjects: two hosts never share one, whatever they are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbprocess import CBProcessError
from cbprocess.fleet import names

hosts = st.text(min_size=1, max_size=40).filter(lambda text: len(text.encode("utf-8", "replace")) < 200)


@given(hosts, hosts)
def test_a_token_is_a_name_and_no_other(one: str, other: str) -> None:
    if any(0xD800 <= ord(c) < 0xDC80 or 0xDCFF < ord(c) <= 0xDFFF for c in one + other):
        return
    token = names.token(one)
    # What NATS takes for one token of a subject, and for a key of a bucket.
    assert re.fullmatch(r"[-_=a-zA-Z0-9]+", token)
    assert names.name_of(token) == one
    assert (names.token(other) == token) == (other == one)


def test_dots_do_not_make_two_hosts_one() -> None:
    assert len({names.token(name) for name in ("a.b", "a_b", "a-b", "a=2Eb", "a b", "ab")}) == 6


@pytest.mark.parametrize("wrong", ["", None, 7, b"web1", "x" * 254])
def test_what_is_no_name_is_refused(wrong: object) -> None:
    with pytest.raises(CBProcessError) as caught:
        names.token(wrong)
    assert caught.value.code == 87


@pytest.mark.parametrize("wrong", ["", "a.b", "a b", "a*", ">", "x" * 33, None, "a\n", "ä"])
def test_what_is_no_tenant_is_refused(wrong: object) -> None:
    with pytest.raises(CBProcessError) as caught:
        names.checked_tenant(wrong)
    assert caught.value.code == 87


def test_subjects_of_two_tenants_and_hosts_are_four() -> None:
    found = {names.event_subject(tenant, host) for tenant in ("a", "b") for host in ("x", "y")}
    assert len(found) == 4

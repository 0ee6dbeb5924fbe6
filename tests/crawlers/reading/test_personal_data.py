from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlers.reading.personal_data import ADDRESS, EMAIL, PHONE, SECRET, mask


@pytest.mark.parametrize(
    ("text", "masked", "kind"),
    [
        ("write to jane.doe+x@mail.firma.de.", f"write to {EMAIL}.", "email"),
        ("ssh root@93.184.216.34 now", f"ssh root@{ADDRESS} now", "address"),
        ("at 2606:4700:4700::1111 too", f"at {ADDRESS} too", "address"),
        ("call +49 30 901820 today", f"call {PHONE} today", "phone"),
        ("call (212) 555-0187 or", f"call {PHONE} or", "phone"),
        ("key AKIAIOSFODNN7EXAMPLE end", f"key {SECRET} end", "secret"),
        ("token ghp_" + "a1B2" * 9 + " end", f"token {SECRET} end", "secret"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", SECRET, "secret"),
    ],
)
def test_personal_data_is_masked_and_counted(text: str, masked: str, kind: str) -> None:
    assert mask(text) == (masked, {kind: 1})


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com and user@localhost",
        "127.0.0.1, 10.0.0.1, 192.168.1.1, ::1, fe80::1",
        "version 1.2.3.4.5 and 2024-05-06 and 10:11:12",
        "1234567890123 and 3.14159265358979 and 1,000,000,000",
        ">>> f(1, 2)\n3",
        "a @decorator and x@y",
        "ISBN 978-3-16-148410-0",
        "npm install and awesome eyJ",
    ],
)
def test_text_without_personal_data_is_not_changed(text: str) -> None:
    assert mask(text) == (text, {})


@given(st.text(max_size=300))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once, _ = mask(text)
    assert mask(once)[0] == once

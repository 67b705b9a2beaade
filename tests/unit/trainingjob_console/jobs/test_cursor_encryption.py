"""Encrypted cursors can be read only with the secret, and any change is detected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainingjob_console.jobs.cursor_encryption import decrypt, encrypt


@given(text=st.text(max_size=300), secret=st.binary(min_size=1, max_size=64))
def test_only_the_secret_decrypts_a_cursor(text: str, secret: bytes) -> None:
    word = encrypt(secret, text)
    assert decrypt(secret, word) == text
    assert encrypt(secret, text) != word
    with pytest.raises(ValueError, match="not an encrypted cursor"):
        decrypt(secret + b"x", word)


@given(text=st.text(min_size=8, max_size=50), place=st.integers(0), other=st.integers(1, 63))
def test_a_changed_cursor_is_refused(text: str, place: int, other: int) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    word = encrypt(b"secret", text)
    place %= len(word) - 1  # the last character may have bits that belong to no byte
    changed = letters[(letters.index(word[place]) + other) % 64]
    with pytest.raises(ValueError, match="not an encrypted cursor"):
        decrypt(b"secret", word[:place] + changed + word[place + 1 :])


@pytest.mark.parametrize("word", ["", "A", "AAAA", "é", "!" * 60, "A" * 44])
def test_an_invalid_cursor_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="not an encrypted cursor"):
        decrypt(b"secret", word)

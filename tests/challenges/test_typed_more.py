"""Rotation, recordings and questions: what they take, how they show, what is read off the event loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycap.challenges import AudioToText, RotateImage, TextQuestion, images_of
from anycap.challenges.images import AudioFile, inspect_recording
from anycap.errors import InvalidChallenge
from anycap.providers import get

GIF = b"GIF89a" + bytes([1, 0, 1, 0]) + bytes(110)
MP3 = b"ID3" + bytes(97)


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf3\x40\x00", "mp3"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "wav"),
        (b"OggS\x00", "ogg"),
        (b"fLaC\x00", "flac"),
        (b"\x00\x00\x00\x20ftypM4A ", "m4a"),
        (b"RIFF\x00\x00\x00\x00WEBP", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"\xff", None),
        (b"<html>", None),
    ],
)
def test_a_recordings_format_is_in_its_first_bytes(data: bytes, form: str | None) -> None:
    assert inspect_recording(data) == form


def test_a_recording_is_read_by_load_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "captcha.mp3"
    path.write_bytes(MP3)
    challenge = AudioToText(path, language="en")
    assert not challenge.loaded
    with pytest.raises(InvalidChallenge, match="the audio file has not been read yet"):
        get("2captcha").prepare(challenge)
    read = challenge.load()
    assert read.loaded and type(read.audio) is AudioFile and images_of(read) == [AudioFile(MP3)]
    assert get("2captcha").prepare(read).task["lang"] == "en"


def test_a_file_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    with pytest.raises(InvalidChallenge, match="the audio file .*missing.mp3.* cannot be read"):
        AudioToText(tmp_path / "missing.mp3").load()


def test_every_picture_of_a_rotation_is_read(tmp_path: Path) -> None:
    path = tmp_path / "part.gif"
    path.write_bytes(GIF)
    challenge = RotateImage(path, background=[GIF, path], instructions=path)
    assert not challenge.loaded and challenge.load().loaded
    assert len(images_of(challenge)) == 4


@pytest.mark.parametrize(
    ("recording", "says"),
    [
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "the audio file: wav recording; 2captcha takes mp3"),
        (b"<html>", "the audio file: these bytes are no recording by their first bytes; 2captcha takes mp3"),
        (MP3 + bytes(1_100_000), "is too large; 2captcha takes up to 1,000,000"),
    ],
)
def test_a_recording_that_the_vendor_does_not_take_is_not_sent(recording: bytes, says: str) -> None:
    with pytest.raises(InvalidChallenge, match=says):
        get("2captcha").prepare(AudioToText(recording, language="en"))


def test_what_a_vendor_needs_is_said_before_anything_is_sent() -> None:
    with pytest.raises(InvalidChallenge, match="2captcha needs language for this"):
        get("2captcha").prepare(AudioToText(MP3))
    with pytest.raises(InvalidChallenge, match="capmonster needs module for this"):
        get("capmonster").prepare(RotateImage(GIF))
    with pytest.raises(
        InvalidChallenge, match="2captcha has no field for background .* Providers that take it: capmonster, capsolver"
    ):
        get("2captcha").prepare(RotateImage(GIF, module="rotate_1", background=GIF))
    with pytest.raises(InvalidChallenge, match="capsolver takes one picture for background, not 2"):
        get("capsolver").prepare(RotateImage(GIF, module="rotate_1", background=[GIF, GIF]))
    with pytest.raises(
        InvalidChallenge, match="anti-captcha does not solve this. Providers that take it: 2captcha, rucaptcha"
    ):
        get("anti-captcha").prepare(TextQuestion("Two and two?"))

"""The context of foreign parsers: every fault is one error with the file's name; requests pass."""

import errno
import zlib

import pytest

from pit_jax.reading import FileError, check_declared, reading


class PanicException(BaseException):
    """The error of a Rust library, which is no Exception."""


class Stopped(BaseException):
    """A request to stop, like those of pit_jax.signals."""


@pytest.mark.parametrize(
    "raised",
    [
        *(zlib.error("bad"), RecursionError("deep"), OverflowError("large"), MemoryError()),
        *(PanicException("panicked"), AssertionError(), KeyError("a"), OSError("no number")),
        ValueError("line one\nline two"),
    ],
)
def test_all_errors_of_a_parser_become_one_error_with_the_name_of_the_file(raised):
    with pytest.raises(FileError, match="a.bin .*Get another copy") as error:
        with reading("a.bin", "a picture"):
            raise raised
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), Stopped(), FileError("mine")]
)
def test_requests_to_stop_and_errors_of_ours_pass_unchanged(raised):
    with pytest.raises(type(raised)) as error:
        with reading("a.bin"):
            raise raised
    assert error.value is raised


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_errors_of_the_operating_system_are_reported_as_such(number):
    with pytest.raises(FileError, match="a.bin cannot be read") as error, reading("a.bin"):
        raise OSError(number, "text")
    assert "copy" not in str(error.value)


@pytest.mark.parametrize("declared", [-1, 11, 10**12])
def test_declared_sizes_are_compared_with_the_bytes_that_are_there(declared):
    check_declared("a.bin", "pixels", 10, 10)
    with pytest.raises(FileError, match="a.bin is damaged: its header declares .* of pixels"):
        check_declared("a.bin", "pixels", declared, 10)

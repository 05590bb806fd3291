"""What an operation and a bit from memory take, at 45 nm after Horowitz (ISSCC 2014)."""

from dataclasses import dataclass

KB = 1024
Number = int | float


@dataclass(frozen=True)
class Picojoules:
    """An addition or comparison (`ac`), a product and its addition (`mac`), a product alone.

    The defaults are for 32-bit floats (Appendix E.2).
    """

    ac: Number = 0.9
    mac: Number = 4.6
    multiply: Number = 3.7


FLOAT32 = Picojoules()
# 32-bit sums of products of 8-bit integers.
INT8 = Picojoules(ac=0.1, mac=0.3, multiply=0.2)


@dataclass(frozen=True)
class Memory:
    """pJ for 64 bits by the bytes of a memory; beyond them is DRAM, at the low end of 1.3 – 2.6 nJ.

    What a layer keeps lies in the smallest memory that holds it.
    """

    sizes: tuple[tuple[int, Number], ...] = ((8 * KB, 10.0), (32 * KB, 20.0), (KB * KB, 100.0))
    beyond: Number = 1300.0

    def per_bit(self, stored_bits: Number) -> Number:
        """pJ to read or write one of so many bits."""
        for size, picojoules in self.sizes:
            if stored_bits <= 8 * size:
                return picojoules / 64
        return self.beyond / 64


@dataclass(frozen=True)
class Bits:
    """The bits of a weight, of a pixel, and of a membrane or another sum."""

    weight: int = 16
    pixel: int = 8
    membrane: int = 32


HOROWITZ, WIDTHS = Memory(), Bits()

"""The energy of an operation and of a bit from memory, at 45 nm (Horowitz, ISSCC 2014)."""

from dataclasses import dataclass

KB = 1024
Number = int | float


@dataclass(frozen=True)
class Picojoules:
    """pJ of an addition or comparison (`ac`), of a MAC, and of a product alone (`multiply`).

    The defaults are those of 32-bit floats (Appendix E.2).
    """

    # A MAC is a product and a sum: 4.6 = 3.7 + 0.9.
    ac: Number = 0.9
    mac: Number = 4.6
    multiply: Number = 3.7


FLOAT32 = Picojoules()
"""The prices of 32-bit floats."""
INT8 = Picojoules(ac=0.1, mac=0.3, multiply=0.2)
"""The prices of 32-bit sums of products of 8-bit integers."""


@dataclass(frozen=True)
class Memory:
    """pJ of an access of 64 bits by the bytes of the memory; larger memories are DRAM (`beyond`).

    A layer's data are in the smallest memory that holds them. Horowitz has 1.3 – 2.6 nJ for DRAM;
    the default is the low end.
    """

    sizes: tuple[tuple[int, Number], ...] = ((8 * KB, 10.0), (32 * KB, 20.0), (KB * KB, 100.0))
    beyond: Number = 1300.0

    def per_bit(self, stored_bits: Number) -> Number:
        """Return the pJ to read or write one bit of a memory of `stored_bits`."""
        for size, picojoules in self.sizes:
            # Sizes are in bytes.
            if stored_bits <= 8 * size:
                return picojoules / 64
        return self.beyond / 64


@dataclass(frozen=True)
class Bits:
    """The widths in bits of a weight, of a pixel, and of a membrane or another sum."""

    # 16 is what Table 3 charges: its S-ACE is 0.56 G products times 16 times T * D.
    weight: int = 16
    pixel: int = 8
    membrane: int = 32


HOROWITZ, WIDTHS = Memory(), Bits()

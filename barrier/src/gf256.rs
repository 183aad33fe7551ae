//! Arithmetic in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (0x11b), the field of AES and of Vault's shares. Without
//! tables and without branches on the operands: a share byte steers neither the cache nor the branch predictor
//! (the class of CVE-2023-25000).

use std::hint::black_box;

/// The product of `a` and `b`: shift and add, eight steps whatever the operands.
pub(crate) fn mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut shifted = a;
    for bit in 0..8 {
        product ^= shifted & mask(b >> bit);
        shifted = (shifted << 1) ^ (0x1b & mask(shifted >> 7));
    }
    product
}

/// The inverse of `a`, and 0 for 0: a^254, since a^255 = 1 for every other element.
pub(crate) fn inverse(a: u8) -> u8 {
    let a2 = mul(a, a);
    let a3 = mul(a2, a);
    let a6 = mul(a3, a3);
    let a12 = mul(a6, a6);
    let a15 = mul(a12, a3);
    let a30 = mul(a15, a15);
    let a60 = mul(a30, a30);
    let a120 = mul(a60, a60);
    let a126 = mul(a120, a6);
    let a127 = mul(a126, a);
    mul(a127, a127)
}

/// All ones if the lowest bit of `x` is set, else zero. The black box keeps the optimiser from finding the bit
/// again and branching on it.
fn mask(x: u8) -> u8 {
    0u8.wrapping_sub(black_box(x & 1))
}

#[cfg(test)]
mod tests {
    use super::{inverse, mul};

    /// Schoolbook: carry-less product of up to 15 bits, then long division by 0x11b.
    fn reference_mul(a: u8, b: u8) -> u8 {
        let mut wide: u16 = 0;
        for bit in 0..8 {
            if b & (1 << bit) != 0 {
                wide ^= u16::from(a) << bit;
            }
        }
        for bit in (8..15).rev() {
            if wide & (1 << bit) != 0 {
                wide ^= 0x11b << (bit - 8);
            }
        }
        u8::try_from(wide).unwrap()
    }

    #[test]
    fn all_65536_products_equal_the_reference() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), reference_mul(a, b), "{a:#x} * {b:#x}");
            }
        }
    }

    /// FIPS 197 section 4.2: {57} * {83} = {c1}, {57} * {13} = {fe}.
    #[test]
    fn products_of_fips_197() {
        assert_eq!(mul(0x57, 0x83), 0xc1);
        assert_eq!(mul(0x57, 0x13), 0xfe);
    }

    #[test]
    fn every_element_but_zero_has_its_inverse() {
        assert_eq!(inverse(0), 0);
        for a in 1..=255 {
            assert_eq!(mul(a, inverse(a)), 1, "{a:#x}");
        }
    }
}

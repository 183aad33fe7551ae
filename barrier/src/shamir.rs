//! Shamir's secret sharing over GF(2^8), byte by byte, with shares in Vault's layout: the y bytes, then x. It
//! knows no seal and no generation; a wrong share gives a wrong secret, which [`crate::SealConfig`] detects.
//!
//! Our own because no published crate has all of: no secret-dependent table or branch, uniform coefficients
//! including zero, x distinct and never zero, and a wiped polynomial.

use zeroize::Zeroizing;

use crate::gf256::{inverse, mul};
use crate::{Entropy, Error, SecretBytes};

/// The longest secret that is split, in bytes.
pub const MAX_SECRET_BYTES: usize = 1024;

/// Splits `secret` into `shares` shares of which any `threshold` give it back and fewer tell nothing. Each share
/// is one byte longer than the secret. One share with a threshold of 1 is the secret itself, as in Vault.
///
/// # Errors
/// [`Error::ShareNumbers`] unless `1 <= threshold <= shares`, with a threshold of 1 for a single share only;
/// [`Error::MalformedShare`] for an empty secret; [`Error::TooLarge`] above [`MAX_SECRET_BYTES`].
pub fn split(
    secret: &[u8],
    shares: u8,
    threshold: u8,
    entropy: &mut dyn Entropy,
) -> Result<Vec<SecretBytes>, Error> {
    check_numbers(shares, threshold)?;
    if secret.is_empty() {
        return Err(Error::MalformedShare {
            reason: "there is no secret to share",
        });
    }
    if secret.len() > MAX_SECRET_BYTES {
        return Err(Error::TooLarge {
            what: "secret to share, in bytes,",
            limit: MAX_SECRET_BYTES,
        });
    }
    if threshold == 1 {
        return Ok(vec![SecretBytes::copy_of(secret)]);
    }
    // Row i holds the coefficients of x^(i+1), one for each byte of the secret; the secret is row zero.
    let mut coefficients = Zeroizing::new(vec![0; usize::from(threshold - 1) * secret.len()]);
    entropy.fill(&mut coefficients);
    let xs = distinct_nonzero(usize::from(shares), entropy);
    Ok(xs.iter().map(|&x| evaluate(secret, &coefficients, x)).collect())
}

/// Gives the secret back from `threshold` or more shares, which must all be genuine: nothing here can tell.
///
/// # Errors
/// [`Error::TooFewShares`]; [`Error::MalformedShare`] for shares of different lengths, without y bytes or with
/// x = 0; [`Error::DuplicateShare`] for two with the same x.
pub fn combine(shares: &[SecretBytes], threshold: u8) -> Result<SecretBytes, Error> {
    let Some(first) = shares
        .first()
        .filter(|_| threshold > 0 && shares.len() >= usize::from(threshold))
    else {
        return Err(Error::TooFewShares {
            given: shares.len(),
            needed: usize::from(threshold).max(1),
        });
    };
    if threshold == 1 {
        return match shares {
            [only] => Ok(only.clone()),
            _ => Err(Error::MalformedShare {
                reason: "a threshold of 1 has a single share",
            }),
        };
    }
    let mut points = Vec::with_capacity(shares.len());
    for share in shares {
        points.push(point(share, first.len())?);
    }
    let mut secret = Zeroizing::new(vec![0; first.len() - 1]);
    for (index, &(x, y)) in points.iter().enumerate() {
        let weight = weight_at_zero(
            x,
            points
                .iter()
                .enumerate()
                .filter(|&(i, _)| i != index)
                .map(|(_, p)| p.0),
        )?;
        for (byte, &y) in secret.iter_mut().zip(y) {
            *byte ^= mul(y, weight);
        }
    }
    Ok(SecretBytes::from(secret))
}

/// Whether `shares` and `threshold` make a sharing, with the limits Vault has.
pub(crate) fn check_numbers(shares: u8, threshold: u8) -> Result<(), Error> {
    let reason = match (shares, threshold) {
        (0, _) => "there must be a share",
        (_, 0) => "the threshold must not be zero",
        (n, t) if t > n => "the threshold exceeds the number of shares",
        (2.., 1) => "several shares need a threshold above one",
        _ => return Ok(()),
    };
    Err(Error::ShareNumbers {
        shares,
        threshold,
        reason,
    })
}

/// One share: the polynomials at `x` by Horner's rule, highest coefficient first, then `x` itself.
fn evaluate(secret: &[u8], coefficients: &[u8], x: u8) -> SecretBytes {
    let mut share = Zeroizing::new(Vec::with_capacity(secret.len() + 1));
    share.resize(secret.len(), 0);
    for row in coefficients.chunks_exact(secret.len()).rev().chain([secret]) {
        for (y, &coefficient) in share.iter_mut().zip(row) {
            *y = mul(*y, x) ^ coefficient;
        }
    }
    share.push(x);
    SecretBytes::from(share)
}

/// The first `count` of a random order of 1..=255 (Fisher and Yates). Which x a share has is no secret, but it
/// should not tell which operator was first.
fn distinct_nonzero(count: usize, entropy: &mut dyn Entropy) -> Vec<u8> {
    let mut order: Vec<u8> = (1..=u8::MAX).collect();
    for place in 0..count {
        let left = order.len() - place;
        order.swap(place, place + below(left, entropy));
    }
    order.truncate(count);
    order
}

/// A uniform number below `bound` (1..=255): bytes that would favour the small ones are drawn again.
fn below(bound: usize, entropy: &mut dyn Entropy) -> usize {
    let fair = 256 - 256 % bound;
    loop {
        let mut byte = [0];
        entropy.fill(&mut byte);
        let [byte] = byte.map(usize::from);
        if byte < fair {
            return byte % bound;
        }
    }
}

/// A share as (x, y bytes), checked.
fn point(share: &SecretBytes, len: usize) -> Result<(u8, &[u8]), Error> {
    let malformed = |reason| Error::MalformedShare { reason };
    if share.len() != len {
        return Err(malformed("the shares differ in length"));
    }
    match share.expose().split_last() {
        None | Some((_, [])) => Err(malformed("it is too short")),
        Some((0, _)) => Err(malformed("its x is zero")),
        Some((&x, y)) => Ok((x, y)),
    }
}

/// Lagrange's weight of the point at `x` for the value at zero: the product of other / (other - x).
fn weight_at_zero(x: u8, others: impl Iterator<Item = u8>) -> Result<u8, Error> {
    let mut weight = 1;
    for other in others {
        if other == x {
            return Err(Error::DuplicateShare);
        }
        weight = mul(weight, mul(other, inverse(other ^ x)));
    }
    Ok(weight)
}

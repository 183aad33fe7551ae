//! The secret-carrying types: what they do, and the traits they must and must not have.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod common;

use std::fmt::{Debug, Display};

use aes::Aes256;
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use common::Seeded;
use conclave_barrier::{
    Barrier, BarrierId, Error, Key32, Keyring, NameKey, Recipient, RootKey, SecretBytes, ShareProgress,
};
use sha2::Sha256;
use zeroize::ZeroizeOnDrop;

/// Does not compile for a type that implements the trait: the inferred marker is ambiguous then.
macro_rules! assert_without {
    ($trait:path: $($secret:ty),+) => { $({
        trait Ambiguous<Marker> { fn here() {} }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Has;
        impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
        <$secret as Ambiguous<_>>::here();
    })+ };
}

#[test]
fn secrets_cannot_be_printed_or_compared_in_the_open() {
    assert_without!(Debug: SecretBytes, Key32, RootKey, NameKey, Keyring, Barrier, Recipient, ShareProgress);
    assert_without!(Display: SecretBytes, Key32, RootKey, NameKey, Keyring, Barrier, Recipient, ShareProgress);
    assert_without!(PartialEq: SecretBytes, Key32, RootKey, NameKey);
    assert_without!(Copy: SecretBytes, Key32, RootKey, NameKey);
}

#[test]
fn keys_and_the_ciphers_that_hold_them_are_wiped_when_dropped() {
    fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<SecretBytes>();
    wiped::<Key32>();
    wiped::<NameKey>();
    // The ciphers do so with a feature that is off by default.
    wiped::<XChaCha20Poly1305>();
    wiped::<ChaCha20Poly1305>();
    wiped::<Aes256>();
    // An HMAC's state is two of these.
    wiped::<Sha256>();
}

#[test]
fn an_opened_barrier_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Barrier>();
    fn sent<T: Send>() {}
    sent::<Recipient>();
    sent::<ShareProgress>();
}

#[test]
fn keys_have_exactly_their_length() {
    for len in [0, 16, 31, 33, 64] {
        let wrong = Some(Error::KeyLength {
            what: "key",
            expected: 32,
            found: len,
        });
        assert_eq!(Key32::from_slice(&vec![1; len]).err(), wrong);
        assert_eq!(RootKey::from_slice(&vec![1; len]).err(), wrong);
    }
    let key = Key32::from_slice(&[5; 32]).unwrap();
    assert!(key.matches(&[5; 32]) && !key.matches(&[6; 32]) && !key.matches(&[5; 31]));
    assert_eq!(key.clone().expose(), &[5; 32]);
    let wrong = Err(Error::KeyLength {
        what: "barrier id",
        expected: 16,
        found: 15,
    });
    assert_eq!(BarrierId::from_slice(&[0; 15]), wrong);
    let id = BarrierId::generate(&mut Seeded::new(1));
    assert_eq!(BarrierId::from_slice(id.as_bytes()), Ok(id));
    assert_ne!(id, BarrierId::generate(&mut Seeded::new(2)));
}

#[test]
fn secret_bytes_compare_by_content_and_length() {
    let secret = SecretBytes::copy_of(b"abc");
    assert!(
        secret.matches(b"abc")
            && !secret.matches(b"abd")
            && !secret.matches(b"ab")
            && !secret.matches(b"abcd")
    );
    assert_eq!((secret.len(), secret.is_empty()), (3, false));
    assert!(SecretBytes::new(Vec::new()).is_empty());
    assert_eq!(secret.clone().expose(), b"abc");
}

#[test]
fn errors_say_what_to_do_without_saying_a_secret() {
    let texts = [
        (
            Error::NotAShare { generation: 3 },
            "not a share of seal generation 3",
        ),
        (
            Error::UnknownTerm { ring: 0, term: 4 },
            "ring 0 has no key of term 4",
        ),
        (Error::TooFewShares { given: 1, needed: 3 }, "1 of 3 shares given"),
        (
            Error::WrongKey {
                what: "sealed keyring",
            },
            "sealed keyring was sealed under another key",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}

//! URLs that allow one thing with one object for a while.

use std::fmt;

use data_encoding::HEXLOWER;
use firebrick_core::cloud::Verb;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::ids::LedgerId;

/// What stays as it is in a part of a path or of a query.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Why a signed URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlRefused {
    #[error("the URL is not signed for this method and this object")]
    Signature,
    #[error("the URL has expired; ask for another one")]
    Expired,
}

/// Signs URLs and checks them. Its key is kept, so that URLs survive a restart.
pub(crate) struct Signer {
    /// Filled up with zeros to a block of the hash.
    key: Zeroizing<[u8; 64]>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// What a URL is for.
pub(crate) struct Target<'a> {
    pub(crate) verb: Verb,
    pub(crate) ledger: &'a LedgerId,
    pub(crate) store: &'a str,
    pub(crate) key: &'a str,
    /// In seconds since 1970.
    pub(crate) expires: u64,
}

/// A target and its signature: a URL but for the server's name and the transaction, which are not signed.
#[derive(Debug)]
pub(crate) struct Signature {
    target: String,
    signature: String,
}

impl Signature {
    pub(crate) fn url(&self, base: &str, tid: &str) -> String {
        let Self { target, signature } = self;
        let tid = utf8_percent_encode(tid, KEPT);
        format!("{base}{target}{tid}&x-sig={signature}")
    }
}

impl Signer {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(key);
        Self { key: block }
    }

    /// The URL below `base`, which ends without a slash.
    pub(crate) fn url(&self, base: &str, target: &Target<'_>, tid: &str) -> String {
        self.sign(target).url(base, tid)
    }

    /// What is the same in all URLs for a target.
    pub(crate) fn sign(&self, target: &Target<'_>) -> Signature {
        let part = |text| utf8_percent_encode(text, KEPT);
        let target_part = format!(
            "/store/{}/{}/{}/{}?x-method={}&x-exp={}&tid=",
            part(target.ledger.tenant.as_str()),
            part(target.ledger.ledger.as_str()),
            part(target.store),
            part(target.key),
            target.verb.as_str(),
            target.expires,
        );
        Signature {
            target: target_part,
            signature: HEXLOWER.encode(&self.mac(target).finalize().into_bytes()),
        }
    }

    /// Checks the signature in constant time, then the expiry.
    pub(crate) fn check(
        &self,
        target: &Target<'_>,
        signature: &str,
        now: u64,
    ) -> Result<(), UrlRefused> {
        let signature = HEXLOWER
            .decode(signature.as_bytes())
            .map_err(|_| UrlRefused::Signature)?;
        self.mac(target)
            .verify_slice(&signature)
            .map_err(|_| UrlRefused::Signature)?;
        if now >= target.expires {
            return Err(UrlRefused::Expired);
        }
        Ok(())
    }

    /// Each part with its length before it, so that no two targets look alike.
    fn mac(&self, target: &Target<'_>) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*self.key).into());
        mac.update(b"firebrick signed url 1");
        for part in [
            target.verb.as_str(),
            target.ledger.tenant.as_str(),
            target.ledger.ledger.as_str(),
            target.store,
            target.key,
        ] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&target.expires.to_be_bytes());
        mac
    }
}

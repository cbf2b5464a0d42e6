//! Keys for tokens: JWKs of the curve P-256.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use firebrick_core::cloud::Claims;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

/// Keys in text are longer than this only by mistake.
const MAX_TEXT_LEN: usize = 64 << 10;

/// Why text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormError {
    /// Neither JSON nor base58 or base64 of it.
    #[error("neither a JWK nor a set of JWKs, nor either in base58 (z…) or base64")]
    Text,
    /// Another kind of key.
    #[error("not a key for ES256: it needs kty EC, crv P-256, x and y")]
    Kind,
    /// The private part is missing or does not fit.
    #[error("not a private key: d is missing or does not belong to x and y")]
    Private,
    /// The system gives no random bytes, or signing fails.
    #[error("the key cannot be made or used for signing")]
    Crypto,
}

#[derive(Serialize, Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// A key that checks tokens.
#[derive(Clone)]
pub struct PublicKey {
    id: Option<String>,
    x: String,
    y: String,
    key: DecodingKey,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.x, &self.y) == (&other.id, &other.x, &other.y)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("id", &self.id)
            .field("x", &self.x)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Reads a JWK, a set of them, or either in base58 (`z…`) or base64. Of private keys the public part
    /// is taken. Keys of other kinds in a set are left out.
    ///
    /// ```
    /// use firebrick_server::token::{PublicKey, SigningKey};
    ///
    /// let key = SigningKey::generate()?;
    /// assert_eq!(PublicKey::parse(&key.public_jwk())?, [key.public().clone()]);
    /// assert!(PublicKey::parse("no key").is_err());
    /// # Ok::<(), firebrick_server::token::KeyFormError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyFormError`] if there is no key for ES256.
    pub fn parse(text: &str) -> Result<Vec<PublicKey>, KeyFormError> {
        let json = json(text)?;
        let keys = match json.get("keys") {
            Some(Json::Array(keys)) => keys.as_slice(),
            _ => std::slice::from_ref(&json),
        };
        let keys: Vec<PublicKey> = keys.iter().filter_map(Self::from_jwk).collect();
        if keys.is_empty() {
            return Err(KeyFormError::Kind);
        }
        Ok(keys)
    }

    fn from_jwk(json: &Json) -> Option<Self> {
        let jwk = Jwk::deserialize(json).ok()?;
        if (jwk.kty.as_str(), jwk.crv.as_str()) != ("EC", "P-256") {
            return None;
        }
        Some(Self {
            key: super::decoding(&jwk.x, &jwk.y)?,
            id: jwk.kid,
            x: jwk.x,
            y: jwk.y,
        })
    }

    pub(super) fn id(&self) -> Option<&String> {
        self.id.as_ref()
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

/// A key that signs tokens.
///
/// ```
/// use firebrick_server::token::{KeyFormError, SigningKey};
///
/// let key = SigningKey::generate()?;
/// let same = SigningKey::parse(key.to_jwk())?;
/// assert_eq!(same.public(), key.public());
/// let public = SigningKey::parse(&key.public_jwk());
/// assert!(matches!(public, Err(KeyFormError::Private)));
/// # Ok::<(), KeyFormError>(())
/// ```
pub struct SigningKey {
    jwk: Zeroizing<String>,
    public: PublicKey,
    key: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyFormError::Crypto`] if the system gives no random bytes.
    pub fn generate() -> Result<Self, KeyFormError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| KeyFormError::Crypto)?;
        let secret = pair
            .private_key()
            .as_be_bytes()
            .map_err(|_| KeyFormError::Crypto)?;
        let [x, y] = coordinates(pair.public_key().as_ref()).ok_or(KeyFormError::Crypto)?;
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y,
            "d": BASE64URL_NOPAD.encode(secret.as_ref()),
        });
        Self::parse(&jwk.to_string())
    }

    /// Reads a private JWK, in the forms of [`PublicKey::parse`].
    ///
    /// # Errors
    /// [`KeyFormError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyFormError> {
        let json = json(text)?;
        let public = PublicKey::from_jwk(&json).ok_or(KeyFormError::Kind)?;
        let jwk = Jwk::deserialize(&json).map_err(|_| KeyFormError::Kind)?;
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let secret = jwk.d.as_deref().and_then(decode).map(Zeroizing::new);
        let secret = secret.ok_or(KeyFormError::Private)?;
        let mut point = vec![4];
        point.extend(decode(&jwk.x).ok_or(KeyFormError::Kind)?);
        point.extend(decode(&jwk.y).ok_or(KeyFormError::Kind)?);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &secret,
            &point,
        )
        .map_err(|_| KeyFormError::Private)?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyFormError::Crypto)?;
        Ok(Self {
            jwk: Zeroizing::new(json.to_string()),
            public,
            key: EncodingKey::from_ec_der(der.as_ref()),
        })
    }

    /// The key as a JWK. It is the secret.
    #[must_use]
    pub fn to_jwk(&self) -> &str {
        &self.jwk
    }

    /// What checks the tokens.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public part as a JWK.
    #[must_use]
    pub fn public_jwk(&self) -> String {
        let PublicKey { id, x, y, .. } = &self.public;
        let mut jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": "ES256"});
        if let Some(id) = id {
            jwk["kid"] = json!(id);
        }
        jwk.to_string()
    }

    /// A token.
    ///
    /// # Errors
    /// [`KeyFormError::Crypto`].
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyFormError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid.clone_from(&self.public.id);
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| KeyFormError::Crypto)
    }
}

fn coordinates(point: &[u8]) -> Option<[String; 2]> {
    let (4, xy) = point.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    let (x, y) = xy.split_at_checked(32)?;
    Some([x, y].map(|part| BASE64URL_NOPAD.encode(part)))
}

fn json(text: &str) -> Result<Json, KeyFormError> {
    let text = text.trim();
    if text.len() > MAX_TEXT_LEN {
        return Err(KeyFormError::Text);
    }
    let parse = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|_| KeyFormError::Text);
    if text.starts_with('{') {
        return parse(text.as_bytes());
    }
    // Decoding base58 takes quadratic time.
    if let Some(digits) = text.strip_prefix('z')
        && digits.len() <= 4096
        && let Ok(bytes) = bs58::decode(digits).into_vec()
        && let Ok(json) = parse(&bytes)
    {
        return Ok(json);
    }
    [BASE64, BASE64_NOPAD, BASE64URL_NOPAD]
        .iter()
        .find_map(|encoding| parse(&encoding.decode(text.as_bytes()).ok()?).ok())
        .ok_or(KeyFormError::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let key = SigningKey::generate().unwrap();
        let jwk = key.to_jwk().to_owned();
        let again = SigningKey::parse(&jwk).unwrap();
        assert_eq!(again.public(), key.public());
        for text in [
            jwk.clone(),
            key.public_jwk(),
            format!(r#"{{"keys":[{{"kty":"RSA","n":"x"}},{jwk}]}}"#),
            format!("z{}", bs58::encode(&jwk).into_string()),
            BASE64.encode(jwk.as_bytes()),
            format!("  {}\n", BASE64URL_NOPAD.encode(jwk.as_bytes())),
        ] {
            let keys = PublicKey::parse(&text).unwrap();
            assert_eq!(keys, [key.public().clone()], "{text}");
        }
        for bad in [
            "",
            "z",
            "x",
            "{}",
            r#"{"keys":[]}"#,
            r#"{"kty":"EC","crv":"P-256","x":"","y":5}"#,
        ] {
            assert!(PublicKey::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            SigningKey::parse(&key.public_jwk()).unwrap_err(),
            KeyFormError::Private
        );
        // The private part of another key.
        let other = SigningKey::generate().unwrap();
        let mut mixed: Json = serde_json::from_str(&jwk).unwrap();
        let other: Json = serde_json::from_str(other.to_jwk()).unwrap();
        mixed["d"] = other["d"].clone();
        assert_eq!(
            SigningKey::parse(&mixed.to_string()).unwrap_err(),
            KeyFormError::Private
        );
    }
}

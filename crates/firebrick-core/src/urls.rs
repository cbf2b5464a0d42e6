//! Store URLs (format §11): what JavaScript makes of a base URL and a ledger's name.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// The four stores of a ledger's data or of its indexes, each by its URL.
///
/// ```
/// use firebrick_core::urls::{StoreUrl, StoreUrls, UrlOptions, store_urls};
/// let urls: StoreUrls = store_urls("one", &UrlOptions::default()).data;
/// for (url, store) in [(&urls.car, "car"), (&urls.file, "file"), (&urls.wal, "wal")] {
///     assert_eq!(StoreUrl::parse(url).get("store"), Some(store));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreUrls {
    /// CARs.
    pub car: String,
    /// File CARs.
    pub file: String,
    /// Meta events.
    pub meta: String,
    /// The write-ahead log.
    pub wal: String,
}

/// All stores of a ledger.
///
/// ```
/// use firebrick_core::urls::{LedgerUrls, StoreUrl, UrlOptions, store_urls};
/// let urls: LedgerUrls = store_urls("one", &UrlOptions::default());
/// assert_eq!(StoreUrl::parse(&urls.data.car).get("index"), None);
/// assert_eq!(StoreUrl::parse(&urls.idx.car).get("index"), Some("idx"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LedgerUrls {
    /// The documents.
    pub data: StoreUrls,
    /// The indexes.
    pub idx: StoreUrls,
}

/// URLs for single stores, in the place of the base URL.
///
/// ```
/// use firebrick_core::urls::{StoreOverrides, UrlOptions, store_urls};
/// let data = StoreOverrides { car: Some("memory://cars".into()), ..StoreOverrides::default() };
/// let urls = store_urls("one", &UrlOptions { data, ..UrlOptions::default() });
/// assert!(urls.data.car.starts_with("memory://cars?"));
/// assert!(urls.data.file.starts_with("memory://cars?")); // where the CARs are
/// assert!(!urls.data.meta.starts_with("memory://cars?"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreOverrides {
    /// CARs; also the default of the file CARs.
    pub car: Option<String>,
    /// File CARs.
    pub file: Option<String>,
    /// Meta events.
    pub meta: Option<String>,
    /// The write-ahead log.
    pub wal: Option<String>,
}

/// Where a ledger is.
///
/// ```
/// use firebrick_core::urls::{UrlOptions, store_urls};
/// let options = UrlOptions { base: "memory://here".into(), ..UrlOptions::default() };
/// let urls = store_urls("one", &options);
/// assert!(urls.data.wal.starts_with("memory://here?"));
/// assert!(urls.idx.meta.starts_with("memory://here?"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UrlOptions {
    /// The URL of all stores that are not named below.
    pub base: String,
    /// Stores of the documents, and the default for those of the indexes.
    pub data: StoreOverrides,
    /// Stores of the indexes.
    pub idx: StoreOverrides,
}

/// The name of the key that a store uses unless its URL says `storekey`.
///
/// ```
/// assert_eq!(firebrick_core::urls::default_key_name("one", "data"), "@one-data@");
/// ```
#[must_use]
pub fn default_key_name(ledger: &str, store: &str) -> String {
    format!("@{ledger}-{store}@")
}

/// The eight store URLs of a ledger.
///
/// ```
/// use firebrick_core::urls::{UrlOptions, store_urls};
/// let options = UrlOptions { base: "file:///data".into(), ..UrlOptions::default() };
/// let urls = store_urls("one", &options);
/// assert_eq!(urls.data.meta, "file:///data?name=one&store=meta&storekey=%40one-meta%40");
/// assert!(urls.idx.meta.ends_with("&storekey=%40one-meta-idx%40"));
/// ```
#[must_use]
pub fn store_urls(name: &str, options: &UrlOptions) -> LedgerUrls {
    let base = options.base.as_str();
    let data = Bases::new(&options.data, None, base);
    let idx = Bases::new(&options.idx, Some(&data), base);
    LedgerUrls {
        data: data.urls(name, None),
        idx: idx.urls(name, Some("idx")),
    }
}

/// The URL that each store starts from.
struct Bases<'a> {
    car: &'a str,
    file: &'a str,
    meta: &'a str,
    wal: &'a str,
}

impl<'a> Bases<'a> {
    fn new(own: &'a StoreOverrides, other: Option<&Bases<'a>>, base: &'a str) -> Self {
        let pick = |own: Option<&'a String>, other: Option<&'a str>| {
            own.map(String::as_str).or(other).unwrap_or(base)
        };
        let car = own.car.as_ref();
        Self {
            car: pick(car, other.map(|b| b.car)),
            file: pick(own.file.as_ref().or(car), other.map(|b| b.file)),
            meta: pick(own.meta.as_ref(), other.map(|b| b.meta)),
            wal: pick(own.wal.as_ref(), other.map(|b| b.wal)),
        }
    }

    fn urls(&self, name: &str, index: Option<&str>) -> StoreUrls {
        StoreUrls {
            car: url(self.car, name, "car", index),
            file: url(self.file, name, "file", index),
            meta: url(self.meta, name, "meta", index),
            wal: url(self.wal, name, "wal", index),
        }
    }
}

/// The URL of one store: the base with the parameters that it lacks, sorted.
fn url(base: &str, name: &str, store: &str, index: Option<&str>) -> String {
    let mut url = StoreUrl::parse(base);
    url.default("store", store);
    url.default("name", name);
    if let Some(index) = index {
        url.default("index", index);
    }
    if store == "car" {
        url.default("suffix", ".car");
    }
    let kind = if matches!(store, "car" | "file") {
        "data"
    } else {
        store
    };
    let kind = index.map_or(kind.to_owned(), |index| format!("{kind}-{index}"));
    let key_name = default_key_name(url.get("name").unwrap_or(name), &kind);
    url.default("storekey", &key_name);
    url.to_string()
}

/// A URL whose parameters can be read and set. The rest stays as it is.
///
/// ```
/// use firebrick_core::urls::StoreUrl;
/// let mut url = StoreUrl::parse("file:///data?z=1");
/// url.default("name", "my db");
/// assert_eq!(url.to_string(), "file:///data?name=my%20db&z=1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    path: String,
    parameters: BTreeMap<String, String>,
}

impl StoreUrl {
    /// Splits a URL. Of a repeated parameter the last counts.
    ///
    /// ```
    /// use firebrick_core::urls::StoreUrl;
    /// let url = StoreUrl::parse("file:///data?name=my+db&x=1&x=2#end");
    /// assert_eq!(url.get("name"), Some("my db"));
    /// assert_eq!(url.get("x"), Some("2"));
    /// ```
    #[must_use]
    pub fn parse(url: &str) -> Self {
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let parameters = query.split('&').filter(|part| !part.is_empty());
        Self {
            path: path.into(),
            parameters: parameters
                .map(|part| part.split_once('=').unwrap_or((part, "")))
                .map(|(key, value)| (decode(key), decode(value)))
                .collect(),
        }
    }

    /// Everything before the parameters.
    ///
    /// ```
    /// use firebrick_core::urls::StoreUrl;
    /// assert_eq!(StoreUrl::parse("file:///data?name=one").path(), "file:///data");
    /// ```
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter.
    ///
    /// ```
    /// use firebrick_core::urls::StoreUrl;
    /// let url = StoreUrl::parse("file:///data?storekey=%40one%40");
    /// assert_eq!(url.get("storekey"), Some("@one@"));
    /// assert_eq!(url.get("name"), None);
    /// ```
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parameters.get(key).map(String::as_str)
    }

    /// Sets a parameter unless it is there.
    ///
    /// ```
    /// use firebrick_core::urls::StoreUrl;
    /// let mut url = StoreUrl::parse("file:///data?name=one");
    /// url.default("name", "other"); // is there already
    /// url.default("store", "car");
    /// assert_eq!(url.to_string(), "file:///data?name=one&store=car");
    /// ```
    pub fn default(&mut self, key: &str, value: &str) {
        self.parameters
            .entry(key.into())
            .or_insert_with(|| value.into());
    }
}

/// The URL with its parameters in order.
impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// What `encodeURIComponent` leaves as it is.
        const KEPT: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b'!')
            .remove(b'~')
            .remove(b'*')
            .remove(b'\'')
            .remove(b'(')
            .remove(b')');
        f.write_str(&self.path)?;
        for (at, (key, value)) in self.parameters.iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            let encode = |text| utf8_percent_encode(text, KEPT);
            write!(f, "{mark}{}={}", encode(key), encode(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_base_win() {
        let options = UrlOptions {
            base: "file:///data?storekey=insecure&x=1%202".into(),
            data: StoreOverrides {
                meta: Some("memory://m?name=other".into()),
                ..StoreOverrides::default()
            },
            ..UrlOptions::default()
        };
        let urls = store_urls("my db", &options);
        assert_eq!(
            urls.data.car,
            "file:///data?name=my%20db&store=car&storekey=insecure&suffix=.car&x=1%202"
        );
        assert_eq!(
            urls.idx.meta,
            "memory://m?index=idx&name=other&store=meta&storekey=%40other-meta-idx%40"
        );
    }

    #[test]
    fn odd_urls_do_not_fail() {
        for url in ["", "?", "?=&&a", "x?%zz=%ff", "a#b?c"] {
            let _ = StoreUrl::parse(url).to_string();
        }
    }
}

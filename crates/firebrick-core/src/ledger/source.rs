//! Where the files of a ledger are read from.

use bytes::Bytes;

/// Why a source could not be read, in its own words.
///
/// ```
/// use firebrick_core::ledger::{Source, SourceError};
///
/// let locked = |_: &str| -> Result<Option<bytes::Bytes>, SourceError> { Err("no permission".into()) };
/// assert!(locked.read("meta/main.json").is_err_and(|error| error.to_string() == "no permission"));
/// ```
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// A ledger's directory, or anything that looks like one.
///
/// ```
/// use bytes::Bytes;
/// use firebrick_core::ledger::{Source, SourceError};
///
/// let files = |path: &str| -> Result<Option<Bytes>, SourceError> {
///     Ok((path == "meta/main.json").then(|| "[]".into()))
/// };
/// assert_eq!(files.read("meta/main.json")?, Some("[]".into()));
/// assert_eq!(files.read("wal/main.json")?, None);
/// # Ok::<(), SourceError>(())
/// ```
pub trait Source {
    /// The content of a file by its path in the directory, such as `meta/main.json`; `None` if
    /// there is no such file.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use firebrick_core::ledger::{Source, SourceError};
    ///
    /// struct Files(BTreeMap<String, bytes::Bytes>);
    ///
    /// impl Source for Files {
    ///     fn read(&self, path: &str) -> Result<Option<bytes::Bytes>, SourceError> {
    ///         Ok(self.0.get(path).cloned())
    ///     }
    /// }
    /// let files = Files([("meta/main.json".into(), "[]".into())].into());
    /// assert!(files.read("meta/main.json")?.is_some() && files.read("other")?.is_none());
    /// # Ok::<(), SourceError>(())
    /// ```
    ///
    /// # Errors
    /// Whatever prevented reading.
    fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError>;
}

impl<F: Fn(&str) -> Result<Option<Bytes>, SourceError>> Source for F {
    fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError> {
        self(path)
    }
}

/// Which of the two block stores of a directory.
///
/// ```
/// # use firebrick_core::genesis::GENESIS;
/// # use firebrick_core::keys::Key;
/// # use firebrick_core::ledger::{Ledger, SourceError};
/// # use firebrick_core::meta::MetaEvent;
/// use firebrick_core::ledger::Part;
///
/// # let newest = MetaEvent { cars: vec![GENESIS.car.cid], parents: vec![] };
/// # let data = format!("data/{}.car", GENESIS.car.cid);
/// # let source = move |path: &str| -> Result<Option<bytes::Bytes>, SourceError> {
/// #     Ok(match path {
/// #         "meta/main.json" => Some(newest.to_main_json().into()),
/// #         _ => (path == data).then(|| GENESIS.car_bytes()),
/// #     })
/// # };
/// let documents = Ledger::open(&source, None::<Key>, Part::Data);
/// let indexes = Ledger::open(&source, None::<Key>, Part::Index);
/// assert_eq!((documents.metas().len(), indexes.metas().len()), (1, 0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The documents.
    Data,
    /// The indexes.
    Index,
}

impl Part {
    /// What the names of its directories begin with.
    ///
    /// ```
    /// use firebrick_core::ledger::Part;
    ///
    /// assert_eq!(format!("{}meta", Part::Data.prefix()), "meta");
    /// assert_eq!(format!("{}meta", Part::Index.prefix()), "idx-meta");
    /// ```
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Part::Data => "",
            Part::Index => "idx-",
        }
    }
}

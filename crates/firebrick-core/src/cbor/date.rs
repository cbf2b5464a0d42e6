//! Values that JavaScript has and dag-cbor has not.

use serde::{Serialize, Serializer};

/// Marks `undefined` on its way through serde.
pub(super) const UNDEFINED: &str = "$firebrick::undefined";
/// Marks a date on its way through serde.
pub(super) const DATE: &str = "$firebrick::date";

/// JavaScript's `undefined`: left out as a map entry of a document, an error anywhere else.
///
/// ```
/// use firebrick_core::cbor::{self, CborError, Undefined, Value};
/// # use firebrick_core::document;
/// # use std::collections::BTreeMap;
/// let block = document::encode("one", &BTreeMap::from([("gone", Undefined)]))?;
/// let stored: Option<Value> = document::decode(&block.bytes)?;
/// assert!(stored.is_some_and(|stored| stored.get("gone").is_none()));
/// assert_eq!(cbor::to_vec(&Undefined), Err(CborError::Undefined));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undefined;

impl Serialize for Undefined {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(UNDEFINED, &())
    }
}

/// A JavaScript `Date`, in milliseconds since the Unix epoch: ISO 8601 text in a document, an
/// error anywhere else and below keys that begin with `_` (format §4.3).
///
/// ```
/// use firebrick_core::cbor::{Date, Value};
/// # use firebrick_core::document;
/// # use std::collections::BTreeMap;
/// let date = Date(1_721_000_000_000);
/// assert_eq!(date.to_string(), "2024-07-14T23:33:20.000Z");
/// let block = document::encode("one", &BTreeMap::from([("at", date)]))?;
/// let stored: Option<Value> = document::decode(&block.bytes)?;
/// assert_eq!(stored.expect("not a tombstone")["at"].as_str(), Some("2024-07-14T23:33:20.000Z"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Date(pub i64);

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(DATE, &self.0)
    }
}

impl std::fmt::Display for Date {
    /// `YYYY-MM-DDTHH:mm:ss.sssZ`, the year with six digits and a sign if it needs them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        match year {
            0..=9999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+07}")?,
        }
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        let (second, milli) = (ms / 1000 % 60, ms % 1000);
        write!(
            f,
            "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// Year, month and day of a day number since 1970-01-01 in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last day of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn iso_text() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_721_000_000_000, "2024-07-14T23:33:20.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
        ] {
            assert_eq!(Date(ms).to_string(), text);
        }
    }
}

//! The vectors' notation for values, which also says what JSON cannot.

use anyhow::{Context, Result, anyhow, bail};
use firebrick_core::cbor::{Date, Link, Undefined, Value};
use firebrick_core::charwise::Key;
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tagged {
    Undef(True),
    Null(True),
    Bool(bool),
    Num(Number),
    Big(String),
    Str(String),
    Bytes(Hex),
    Link(Link),
    List(Vec<Tagged>),
    Map(Vec<(String, Tagged)>),
    Date(String),
    /// In results only: there is none.
    Error(True),
}

/// The content of a tag that needs none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct True;

impl<'de> Deserialize<'de> for True {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match bool::deserialize(deserializer)? {
            true => Ok(True),
            false => Err(D::Error::custom(
                "the tag of a value without content is true",
            )),
        }
    }
}

/// A double in decimal text, as JavaScript prints it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Bytes in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
        bytes.map(Self).map_err(D::Error::custom)
    }
}

impl Hex {
    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl Tagged {
    /// The value, if the data model has it.
    pub(crate) fn value(&self) -> Result<Value> {
        Ok(match self {
            Tagged::Null(_) => Value::Null,
            Tagged::Bool(value) => Value::Bool(*value),
            Tagged::Num(number) if number.0.is_finite() => number.0.into(),
            Tagged::Big(text) => Value::Int(text.parse()?),
            Tagged::Str(text) => Value::Text(text.clone()),
            Tagged::Bytes(bytes) => Value::Bytes(bytes.0.clone()),
            Tagged::Link(link) => Value::Link(link.clone()),
            Tagged::List(items) => {
                Value::List(items.iter().map(Tagged::value).collect::<Result<_>>()?)
            }
            Tagged::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.value()?)))
                    .collect::<Result<_>>()?,
            ),
            other => bail!("{other:?} is no value"),
        })
    }

    /// The index key, if it can be one.
    pub(crate) fn key(&self) -> Result<Key> {
        Ok(match self {
            Tagged::Undef(_) => Key::Undefined,
            Tagged::Num(number) => Key::Number(number.0),
            Tagged::List(items) => Key::List(items.iter().map(Tagged::key).collect::<Result<_>>()?),
            other => Key::try_from(&other.value()?)?,
        })
    }
}

/// As an application's data.
impl Serialize for Tagged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tagged::Undef(_) => Undefined.serialize(serializer),
            Tagged::Null(_) => serializer.serialize_unit(),
            Tagged::Bool(value) => serializer.serialize_bool(*value),
            Tagged::Num(number) => serializer.serialize_f64(number.0),
            Tagged::Big(text) => serializer.serialize_i128(text.parse().map_err(S::Error::custom)?),
            Tagged::Str(text) => serializer.serialize_str(text),
            Tagged::Bytes(bytes) => serializer.serialize_bytes(&bytes.0),
            Tagged::Link(link) => link.serialize(serializer),
            Tagged::List(items) => serializer.collect_seq(items),
            Tagged::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Tagged::Date(text) => {
                let date = parse_date(text).map_err(S::Error::custom)?;
                date.serialize(serializer)
            }
            Tagged::Error(_) => Err(S::Error::custom("an error is no value")),
        }
    }
}

/// Reads what [`Date`] prints.
pub(crate) fn parse_date(text: &str) -> Result<Date> {
    let wrong = || anyhow!("{text:?} is not a date");
    let (date, time) = text.split_once('T').with_context(wrong)?;
    let (year_month, day) = date.rsplit_once('-').with_context(wrong)?;
    let (year, month) = year_month.rsplit_once('-').with_context(wrong)?;
    let (year, month, day): (i64, i64, i64) = (year.parse()?, month.parse()?, day.parse()?);
    let time = time.strip_suffix('Z').with_context(wrong)?;
    let numbers: Vec<i64> = time
        .split([':', '.'])
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [hour, minute, second, milli] = numbers[..] else {
        return Err(wrong());
    };
    // Days since 0000-03-01, whose year begins with the month after the leap day.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Ok(Date(
        (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + milli,
    ))
}

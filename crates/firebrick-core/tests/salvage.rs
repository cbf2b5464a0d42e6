//! Damaged ledgers of the golden fixtures give back more than JavaScript gets out of them.

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use bytes::Bytes;
    use firebrick_core::Cid;
    use firebrick_core::cbor::Value;
    use firebrick_core::keys::Key;
    use firebrick_core::ledger::{Ledger, Part, Source, SourceError};

    struct Directory(PathBuf);

    impl Source for Directory {
        fn read(&self, path: &str) -> Result<Option<Bytes>, SourceError> {
            Ok(fs::read(self.0.join(path)).ok().map(Bytes::from))
        }
    }

    fn open(fixture: &str) -> Ledger<Directory, Key> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures");
        Ledger::open(Directory(path.join(fixture)), None, Part::Data)
    }

    #[test]
    fn a_car_that_no_meta_names_is_adopted() {
        let mut ledger = open("orphan-car/ledger/orphan");
        assert_eq!(ledger.document::<Value>("lost").unwrap(), None);
        let data = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden/fixtures/orphan-car/ledger/orphan/data");
        let mut cars: Vec<Cid> = fs::read_dir(data)
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name();
                name.to_str()?.strip_suffix(".car")?.parse().ok()
            })
            .collect();
        cars.retain(|car| ledger.car(car).is_none());
        assert_eq!(cars.len(), 1);
        assert!(ledger.add_group(&cars));
        for id in ["lost", "kept", "later"] {
            assert!(ledger.document::<Value>(id).unwrap().is_some(), "{id}");
        }
    }

    #[test]
    fn what_a_missing_car_leaves() {
        let ledger = open("missing-car/ledger/holes");
        assert_eq!(ledger.missing().len(), 1);
        let salvaged = ledger.salvage().unwrap();
        let readable = |id: &str| ledger.document::<Value>(id).is_ok_and(|doc| doc.is_some());
        for id in ["alpha", "beta", "delta", "epsilon", "zeta"] {
            assert!(salvaged.iter().any(|s| s.id == id && s.is_certain), "{id}");
            assert!(readable(id), "{id}");
        }
        // Its link is known, its block is not there.
        assert!(ledger.document::<Value>("gamma").is_err());
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::memory::MemoryBlocks;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn entries(tree: &Tree, blocks: &MemoryBlocks) -> Model {
    let mut out = Model::new();
    let mut cursor = tree.cursor(blocks, 0).unwrap();
    while let Some((key, value)) = cursor.entry() {
        assert!(out.last_key_value().is_none_or(|(last, _)| &last[..] < key));
        out.insert(key.to_vec(), value.to_vec());
        cursor.next(blocks).unwrap();
    }
    out
}

fn apply(model: &mut Model, edits: &[Edit]) -> u64 {
    let mut absent = 0;
    let last: BTreeMap<_, _> = edits.iter().map(|edit| (&edit.key, &edit.value)).collect();
    for (key, value) in last {
        match value {
            Some(value) => drop(model.insert(key.clone(), value.clone())),
            None => absent += u64::from(model.remove(key).is_none()),
        }
    }
    absent
}

fn difference(old: &Model, new: &Model) -> Vec<Change> {
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |key: &Vec<u8>| Change {
        key: key.clone(),
        old: old.get(key).cloned(),
        new: new.get(key).cloned(),
    };
    let changes = keys.into_iter().map(change);
    changes.filter(|change| change.old != change.new).collect()
}

fn check(tree: &Tree, model: &Model, blocks: &MemoryBlocks) {
    assert_eq!(tree.len(), model.len() as u64);
    assert_eq!(tree.is_empty(), model.is_empty());
    assert_eq!(&entries(tree, blocks), model);
    for (rank, (key, value)) in model.iter().enumerate().step_by(17) {
        assert_eq!(tree.rank(blocks, key).unwrap(), rank as u64);
        assert_eq!(tree.get(blocks, key).unwrap().as_ref(), Some(value));
    }
    assert_eq!(tree.rank(blocks, &[255; 2000]).unwrap(), tree.len());
    let mut cursor = tree.cursor(blocks, tree.len().saturating_sub(1)).unwrap();
    for (key, value) in model.iter().rev() {
        assert_eq!(cursor.entry(), Some((&key[..], &value[..])));
        cursor.previous(blocks).unwrap();
    }
    assert!(cursor.entry().is_none());
}

fn save(tree: &Tree, blocks: &MemoryBlocks) -> Tree {
    let saved = tree.save();
    for block in &saved.blocks {
        blocks.insert(block);
    }
    assert_eq!(saved.tree.unsaved_bytes(), 0);
    saved.tree
}

/// Keys of very different lengths, so that nodes differ in how many entries they take.
fn key() -> impl Strategy<Value = Vec<u8>> + Clone {
    (
        any::<u16>(),
        prop_oneof![9 => 0..40_usize, 1 => 0..1500_usize],
    )
        .prop_map(|(n, length)| [&(n % 3000).to_be_bytes()[..], &vec![7; length]].concat())
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let value = prop::option::weighted(0.6, prop::collection::vec(any::<u8>(), 0..60));
    let edit = (key(), value).prop_map(|(key, value)| Edit { key, value });
    prop_oneof![
        3 => prop::collection::vec(edit.clone(), 0..20),
        1 => prop::collection::vec(edit, 200..900),
        1 => (any::<u16>(), 0..1500_u16).prop_map(|(from, count)| {
            // A run of removals empties whole nodes.
            (0..count).map(|n| Edit::remove((from % 3000).wrapping_add(n).to_be_bytes())).collect()
        }),
        1 => (any::<u16>(), 0..1500_u16).prop_map(|(from, count)| {
            (0..count).map(|n| Edit::put((from % 3000).wrapping_add(n).to_be_bytes(), "v")).collect()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec((edits(), any::<bool>()), 1..12)) {
        let blocks = MemoryBlocks::new();
        let (mut tree, mut model) = (Tree::empty(), Model::new());
        for (edits, saves) in steps {
            let (old, old_model) = (tree.clone(), model.clone());
            let absent = apply(&mut model, &edits);
            let edited = tree.edit(&blocks, edits).unwrap();
            prop_assert_eq!(edited.absent, absent);
            tree = edited.tree;
            if saves {
                tree = save(&tree, &blocks);
            }
            check(&tree, &model, &blocks);
            prop_assert_eq!(Tree::diff(&old, &tree, &blocks).unwrap(), difference(&old_model, &model));
            prop_assert_eq!(entries(&old, &blocks), old_model);
        }
    }

    #[test]
    fn any_bytes_are_a_node_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Node::decode(&[b"fbi1", &bytes[..]].concat());
    }
}

/// Counts what is read.
struct Counting<'a>(&'a MemoryBlocks, std::cell::Cell<usize>);

impl NodeSource for Counting<'_> {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>, TreeError> {
        self.1.set(self.1.get() + 1);
        self.0.node(cid)
    }
}

#[test]
fn costs_follow_the_change_and_not_the_size() {
    let blocks = MemoryBlocks::new();
    let put = |n: u32| Edit::put(n.to_be_bytes(), "value");
    let all = (0..200_000).map(|n| put(n * 2)).collect();
    let tree = save(&Tree::empty().edit(&blocks, all).unwrap().tree, &blocks);
    assert_eq!(tree.height(), 3);

    let counting = Counting(&blocks, std::cell::Cell::new(0));
    let edited = tree.edit(&counting, vec![put(77_777)]).unwrap().tree;
    assert!(counting.1.get() <= 5, "{} nodes read", counting.1.get());
    let saved = edited.save();
    assert!(saved.blocks.len() <= 4, "{} new nodes", saved.blocks.len());
    let edited = save(&edited, &blocks);

    counting.1.set(0);
    assert_eq!(Tree::diff(&tree, &edited, &counting).unwrap().len(), 1);
    assert!(counting.1.get() <= 12, "{} nodes read", counting.1.get());

    counting.1.set(0);
    assert_eq!(
        edited.rank(&counting, &u32::MAX.to_be_bytes()).unwrap(),
        200_001
    );
    assert!(edited.cursor(&counting, 150_000).unwrap().entry().is_some());
    assert!(counting.1.get() <= 6, "{} nodes read", counting.1.get());

    let mut named = 0;
    edited.nodes(&blocks, &mut |_| named += 1).unwrap();
    assert!(named > 300, "{named}");
}

#[test]
fn damage_is_named() {
    let blocks = MemoryBlocks::new();
    let all = (0..5000_u32)
        .map(|n| Edit::put(n.to_be_bytes(), ""))
        .collect();
    let tree = save(&Tree::empty().edit(&blocks, all).unwrap().tree, &blocks);
    let mut cids = Vec::new();
    tree.nodes(&blocks, &mut |cid| cids.push(cid)).unwrap();
    let leaf = cids[1];
    assert!(blocks.remove(&leaf));
    let read = (0..5000_u32).try_for_each(|n| tree.rank(&blocks, &n.to_be_bytes()).map(drop));
    assert!(matches!(read, Err(TreeError::Missing(cid)) if cid == leaf));

    let long = Edit::put(vec![0; MAX_ENTRY_BYTES + 1], "");
    let refused = Tree::empty().edit(&blocks, vec![long]);
    assert!(matches!(refused, Err(TreeError::TooLarge(_))));
}

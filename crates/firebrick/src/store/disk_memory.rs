//! A disk in memory that fails on demand and knows what a loss of power would leave.
//!
//! Every file has *live* bytes, which readers see, and *durable* ones. A write reaches the durable
//! bytes by a sync; before that, a loss of power keeps any subset of its sectors. Names behave alike:
//! without a directory sync, a loss of power keeps a prefix of what was done to them. A failed sync
//! throws away what it should have written, as real systems do: the live bytes look fine, and a later
//! sync does not bring them back.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, Lock};
use crate::lock;

const SECTOR_BYTES: usize = 512;

/// What happens at an operation that changes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// An I/O error; a write is half done.
    Fail,
    /// An I/O error, although all was done.
    FailAfter,
    /// No space from here on, until [`MemoryDisk::heal`]; a write is half done.
    Full,
    /// The machine stops; a write is half done. Every later operation fails.
    Stop,
}

/// How a stopped machine comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// Only the process died.
    Process,
    /// Power was lost, and with it everything that was not synced.
    PowerAll,
    /// Power was lost, and with it a random part of what was not synced.
    Power(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk {
    world: Arc<Mutex<World>>,
}

#[derive(Default, Debug)]
struct World {
    files: HashMap<u64, FileData>,
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Naming>,
    next_file: u64,
    operations: u64,
    plan: Option<(u64, Fault)>,
    full: bool,
    stopped: bool,
    locked: Arc<()>,
}

#[derive(Clone, Default, Debug)]
struct FileData {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug)]
enum Naming {
    Set(String, u64),
    Remove(String),
    Rename(String, String),
}

#[derive(Debug)]
struct MemoryFile {
    world: Arc<Mutex<World>>,
    id: u64,
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = *offset as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(data);
            }
            Self::Length(len) => bytes.resize(*len as usize, 0),
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }

    fn directory(&self) -> &str {
        let (Self::Set(name, _) | Self::Remove(name) | Self::Rename(name, _)) = self;
        directory(name)
    }
}

fn directory(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

impl World {
    /// Counts an operation that changes something. `Err(true)` asks for half of it first.
    fn step(&mut self, grows: bool) -> Result<Option<Fault>, io::Error> {
        if self.stopped {
            return Err(io::Error::other("the machine is stopped"));
        }
        let now = self.operations;
        self.operations += 1;
        let fault = self.plan.filter(|(at, _)| *at == now).map(|(_, f)| f);
        match fault {
            Some(Fault::Full) => self.full = true,
            Some(Fault::Stop) => self.stopped = true,
            _ => {}
        }
        if self.full && grows {
            return Ok(Some(Fault::Full));
        }
        Ok(fault.filter(|fault| *fault != Fault::Full))
    }

    fn alive(&self) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other("the machine is stopped"));
        }
        Ok(())
    }

    fn name(&mut self, naming: Naming) -> io::Result<()> {
        let grows = matches!(naming, Naming::Set(..));
        let fault = self.step(grows)?;
        if matches!(fault, None | Some(Fault::FailAfter)) {
            naming.apply(&mut self.live);
            self.pending.push(naming);
        }
        fail(fault)
    }
}

fn fail(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => Ok(()),
        Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
        Some(other) => Err(io::Error::other(format!("injected: {other:?}"))),
    }
}

/// A small generator for tests.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self {
            world: Arc::default(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock::lock(&self.world)
    }

    /// Lets an operation fail, counted from now.
    pub(crate) fn plan(&self, after: u64, fault: Fault) {
        let mut world = self.world();
        world.plan = Some((world.operations + after, fault));
    }

    /// Ends a lack of space.
    pub(crate) fn heal(&self) {
        let mut world = self.world();
        world.full = false;
        world.plan = None;
    }

    /// Operations that changed something.
    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The disk as it is found after a crash.
    pub(crate) fn crash(&self, crash: Crash) -> Self {
        let world = self.world();
        let mut after = World {
            files: world.files.clone(),
            next_file: world.next_file,
            ..World::default()
        };
        match crash {
            Crash::Process => after.live = world.live.clone(),
            Crash::PowerAll => {
                after.live = world.durable.clone();
                for file in after.files.values_mut() {
                    file.live = file.durable.clone();
                }
            }
            Crash::Power(seed) => {
                let mut random = Random(seed);
                after.live = world.durable.clone();
                // Names survive in order, each directory for itself.
                for directory in ["", "log", "index"] {
                    let names = world.pending.iter();
                    let names: Vec<_> = names.filter(|n| n.directory() == directory).collect();
                    let keep = random.below(names.len() as u64 + 1) as usize;
                    names[..keep].iter().for_each(|n| n.apply(&mut after.live));
                }
                for file in after.files.values_mut() {
                    file.live = file.durable.clone();
                    for change in &file.pending {
                        keep_some(change, &mut file.live, &mut random);
                    }
                }
            }
        }
        for file in after.files.values_mut() {
            if !matches!(crash, Crash::Process) {
                file.durable = file.live.clone();
                file.pending.clear();
            }
        }
        match crash {
            Crash::Process => {
                after.durable = world.durable.clone();
                after.pending = world.pending.clone();
            }
            _ => after.durable = after.live.clone(),
        }
        Self {
            world: Arc::new(Mutex::new(after)),
        }
    }

    /// Names of all files.
    pub(crate) fn files(&self) -> Vec<String> {
        self.world().live.keys().cloned().collect()
    }

    /// The live bytes of a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let world = self.world();
        world.files[&world.live[name]].live.clone()
    }

    /// Replaces a file, durably.
    pub(crate) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let id = match world.live.get(name) {
            Some(id) => *id,
            None => world.new_file(name),
        };
        world.durable.insert(name.to_owned(), id);
        world.files.insert(
            id,
            FileData {
                live: bytes.to_vec(),
                durable: bytes.to_vec(),
                pending: Vec::new(),
            },
        );
    }

    /// Removes a file, durably.
    pub(crate) fn lose(&self, name: &str) {
        let mut world = self.world();
        world.live.remove(name);
        world.durable.remove(name);
    }
}

impl World {
    fn new_file(&mut self, name: &str) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, FileData::default());
        self.live.insert(name.to_owned(), self.next_file);
        self.next_file
    }
}

/// Applies a random part of a change that was not synced.
fn keep_some(change: &Change, bytes: &mut Vec<u8>, random: &mut Random) {
    match change {
        Change::Length(_) => {
            if random.below(2) == 0 {
                change.apply(bytes);
            }
        }
        Change::Write(offset, data) => {
            // All, nothing, or some sectors.
            let style = random.below(3);
            let mut at = 0;
            while at < data.len() {
                let position = *offset as usize + at;
                let len = (SECTOR_BYTES - position % SECTOR_BYTES).min(data.len() - at);
                if style == 0 || style == 2 && random.below(2) == 0 {
                    Change::Write(position as u64, data[at..at + len].to_vec()).apply(bytes);
                }
                at += len;
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn create_directories(&self, _names: &[&str]) -> io::Result<()> {
        self.world().alive()
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let world = self.world();
        world.alive()?;
        Ok(world.live.get(name).map(|id| {
            Arc::new(MemoryFile {
                world: self.world.clone(),
                id: *id,
            }) as Arc<dyn DiskFile>
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        let existing = world.live.get(name).copied();
        let id = if let Some(id) = existing {
            drop(world);
            let file = MemoryFile {
                world: self.world.clone(),
                id,
            };
            file.set_len(0)?;
            id
        } else {
            world.next_file += 1;
            let id = world.next_file;
            world.files.insert(id, FileData::default());
            world.name(Naming::Set(name.to_owned(), id))?;
            id
        };
        Ok(Arc::new(MemoryFile {
            world: self.world.clone(),
            id,
        }))
    }

    fn list(&self, wanted: &str) -> io::Result<Vec<String>> {
        let world = self.world();
        world.alive()?;
        let mut names: Vec<String> = Vec::new();
        for name in world.live.keys() {
            if directory(name) == wanted {
                names.push(name.rsplit('/').next().unwrap_or(name).to_owned());
            } else if wanted.is_empty() {
                names.push(directory(name).to_owned());
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world()
            .name(Naming::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.alive()?;
        if world.live.contains_key(name) {
            world.name(Naming::Remove(name.to_owned()))?;
        }
        Ok(())
    }

    fn remove_directory(&self, _name: &str) -> io::Result<()> {
        self.world().alive()
    }

    fn sync_directory(&self, wanted: &str) -> io::Result<()> {
        let mut world = self.world();
        let fault = world.step(false)?;
        if matches!(fault, None | Some(Fault::FailAfter)) {
            let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut world.pending)
                .into_iter()
                .partition(|naming| naming.directory() == wanted);
            world.pending = rest;
            for naming in done {
                naming.apply(&mut world.durable);
            }
        }
        fail(fault)
    }

    fn lock(&self) -> io::Result<Result<Lock, String>> {
        let world = self.world();
        world.alive()?;
        if Arc::strong_count(&world.locked) > 1 {
            return Ok(Err("a test".to_owned()));
        }
        Ok(Ok(Box::new(world.locked.clone())))
    }
}

impl MemoryFile {
    fn change(&self, change: Change, grows: bool) -> io::Result<()> {
        let mut world = lock::lock(&self.world);
        let fault = world.step(grows)?;
        let done = match (fault, change) {
            (None | Some(Fault::FailAfter), change) => Some(change),
            (Some(_), Change::Write(offset, data)) => {
                Some(Change::Write(offset, data[..data.len() / 2].to_vec()))
            }
            (Some(_), Change::Length(_)) => None,
        };
        if let (Some(change), Some(file)) = (done, world.files.get_mut(&self.id)) {
            change.apply(&mut file.live);
            file.pending.push(change);
        }
        fail(fault)
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = lock::lock(&self.world);
        world.alive()?;
        let bytes = &world.files[&self.id].live;
        let start = (offset as usize).min(bytes.len());
        let len = buffer.len().min(bytes.len() - start);
        buffer[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()), true)
    }

    fn len(&self) -> io::Result<u64> {
        let world = lock::lock(&self.world);
        world.alive()?;
        Ok(world.files[&self.id].live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // A shorter file needs no space.
        let grows = len > self.len()?;
        self.change(Change::Length(len), grows)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = lock::lock(&self.world);
        let fault = world.step(false)?;
        if let Some(file) = world.files.get_mut(&self.id) {
            let pending = match fault {
                Some(Fault::Stop) => Vec::new(),
                _ => std::mem::take(&mut file.pending),
            };
            if matches!(fault, None | Some(Fault::FailAfter)) {
                let mut durable = std::mem::take(&mut file.durable);
                pending.iter().for_each(|change| change.apply(&mut durable));
                file.durable = durable;
            }
        }
        fail(fault)
    }
}

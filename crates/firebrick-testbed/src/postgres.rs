//! A cluster of PostgreSQL that nobody else uses.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// PostgreSQL in a temporary directory, reached by a socket there. It ends with this, or with the thread
/// that has started it.
#[derive(Debug)]
pub struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    running: Option<Child>,
    settings: Vec<String>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut this = Self {
            programs: programs(),
            dir,
            running: None,
            settings: Vec::new(),
        };
        if is_root() {
            finish(Command::new("chown").arg(USER).arg(this.dir.path()));
        }
        finish(
            this.command("initdb")
                .args(["--username", USER, "--auth", "trust", "--no-sync"])
                .args(["--no-locale", "--encoding", "UTF8", "--pgdata"])
                .arg(this.data()),
        );
        this.resume();
        this
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        let dir = self.dir.path().display();
        format!("postgresql:///postgres?host={dir}&user={USER}")
    }

    /// Starts it again on a port of this machine that only takes encrypted connections. The
    /// certificate and its key are PEM; the port is returned.
    pub fn encrypt(&mut self, certificate: &str, key: &str) -> u16 {
        self.stop();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(name);
            std::fs::write(&path, text).unwrap();
            finish(Command::new("chmod").arg("600").arg(&path));
            if is_root() {
                finish(Command::new("chown").arg(USER).arg(&path));
            }
        }
        let only = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n";
        std::fs::write(self.data().join("pg_hba.conf"), only).unwrap();
        // Free now, and hardly taken by somebody else in between.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        self.settings = vec![
            "ssl=on".into(),
            "listen_addresses=127.0.0.1".into(),
            format!("port={port}"),
        ];
        self.resume();
        port
    }

    /// Starts it again.
    pub fn resume(&mut self) {
        assert!(self.running.is_none());
        let started = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-c", "fsync=off", "-c", "listen_addresses="])
            .args(["-c", "shared_buffers=16MB", "-c", "max_connections=60"])
            .arg("-c")
            .arg(format!(
                "unix_socket_directories={}",
                self.dir.path().display()
            ))
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.running = Some(started);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once, as a crash does; what was committed stays.
    pub fn stop(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        let ended = Command::new("kill")
            .args(["-QUIT", &running.id().to_string()])
            .status();
        assert!(ended.unwrap().success());
        running.wait().unwrap();
    }

    /// What a query gives, as text.
    pub fn query(&self, sql: &str) -> String {
        let output = self
            .command("psql")
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--username"])
            .arg(USER)
            .arg("--host")
            .arg(self.dir.path())
            .args(["--port", &self.port()])
            .args(["--command", sql, "postgres"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn port(&self) -> String {
        let mut set = self.settings.iter();
        let port = set.find_map(|setting| setting.strip_prefix("port="));
        port.unwrap_or("5432").to_owned()
    }

    fn is_ready(&self) -> bool {
        let output = self
            .command("pg_isready")
            .arg("--host")
            .arg(self.dir.path())
            .args(["--port", &self.port()])
            .output();
        output.unwrap().status.success()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// One of its programs, as a user who may run it.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        // Ends with us, however we end.
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=QUIT");
        if is_root() {
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
        }
        command.arg(program).current_dir(self.dir.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Gone already, maybe.
            let _ = Command::new("kill")
                .args(["-QUIT", &running.id().to_string()])
                .status();
            let _ = running.wait();
        }
    }
}

fn finish(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The newest version's folder. Debian has its programs outside of the path.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = Vec::new();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        found.extend(versions.map(|version| version.unwrap().path().join("bin")));
        found.sort_by_key(|bin| {
            let version = bin.parent().and_then(Path::file_name);
            version.and_then(|v| v.to_string_lossy().parse::<u32>().ok())
        });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.reverse();
    found.extend(std::env::split_paths(&path));
    let is_whole = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    match found.into_iter().find(is_whole) {
        Some(bin) => bin,
        None => panic!(
            "this test needs PostgreSQL: install Debian's package `postgresql`, as `cargo xtask test` does"
        ),
    }
}

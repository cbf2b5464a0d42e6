//! The library's errors as failures of a command: which exit code, and which way out there is on
//! the command line.

use firebrick::core::keys::wrapped::WrapError;
use firebrick::gateway::{GatewayError, GatewayErrorKind};
use firebrick::store::StoreError;
use firebrick::{BackupError, Error};

use super::{Exit, Failure};

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::Document(_) => Failure::new(Exit::BadInput, "bad_document", message),
            Error::Config(_) => Failure::bad_input(message),
            Error::Store(error) => store(&error, message),
            Error::Gateway(error) => gateway(&error, message),
            Error::MissingBlock { .. } => Failure::new(Exit::NotFound, "missing_block", message)
                .hint("`firebrick sync` fetches it as soon as a remote has it; everything else can be read"),
            Error::MissingFile { .. } => Failure::new(Exit::NotFound, "missing_file", message)
                .hint("it comes as soon as a remote has it; `firebrick remotes` lists yours"),
            Error::FileSource { .. } => Failure::new(Exit::BadInput, "bad_file", message),
            Error::FileTooLarge { .. } => Failure::new(Exit::BadInput, "too_large", message)
                .hint("without --single-block it is cut into pieces"),
            Error::Compacted { .. } => Failure::new(Exit::NotFound, "compacted", message),
            Error::Malformed { .. } => Failure::new(Exit::Store, "malformed", message),
            Error::NeedsKey { .. } => Failure::new(Exit::Store, "needs_key", message)
                .hint("there: firebrick keys export; here: firebrick keys import, or attach --key"),
            Error::MissingKey { .. } => Failure::new(Exit::Store, "missing_key", message)
                .hint("is this the right --keybag, and the right --ledger?"),
            Error::WrappedKeys(WrapError::WrongPassphrase) => {
                Failure::new(Exit::BadInput, "wrong_passphrase", message)
            }
            Error::WrappedKeys(_) => Failure::new(Exit::BadInput, "bad_key_export", message),
            Error::Keys(_) => Failure::new(Exit::BadInput, "bad_key", message),
            Error::NeedsMerge { .. } => Failure::new(Exit::Remote, "needs_merge", message)
                .hint("to join the two for good: firebrick attach URL --merge"),
            Error::NeedsAuth { .. } => Failure::new(Exit::Remote, "needs_auth", message),
            Error::NoRemote(_) => Failure::not_found(message).hint("`firebrick remotes` lists them"),
            Error::Detached(_) => Failure::new(Exit::Negative, "detached", message),
            Error::QueryKey(_) => Failure::new(Exit::BadInput, "bad_key_value", message),
            Error::IndexFailed { .. } => Failure::new(Exit::Negative, "index_failed", message),
            Error::IndexDamaged { .. } => Failure::new(Exit::Store, "index_damaged", message)
                .hint("run the query again"),
            Error::Timeout { .. } => Failure::new(Exit::Negative, "timeout", message)
                .hint("nothing is lost: what is stored here goes out as soon as it can"),
            Error::Conflict { .. } => Failure::new(Exit::Negative, "conflict", message),
            Error::UnknownEvent { .. } | Error::NoVersion { .. } => Failure::not_found(message),
            Error::Closed => Failure::new(Exit::Store, "closed", message),
            Error::ReadOnly => Failure::new(Exit::Store, "read_only", message),
            Error::Io { .. } => Failure::new(Exit::Store, "io", message),
            Error::Backup(error) => backup(&error, message),
            _ => Failure::new(Exit::Negative, "failed", message),
        }
    }
}

fn backup(error: &BackupError, message: String) -> Failure {
    let kind = match error {
        BackupError::WrongKey { .. } => {
            return Failure::new(Exit::Store, "missing_key", message)
                .hint("restore --key KEY; `firebrick keys export` prints it where it is");
        }
        BackupError::NotEmpty { .. } => {
            return Failure::new(Exit::BadInput, "not_empty", message)
                .hint("name another folder with --db");
        }
        BackupError::Exists { .. } => {
            return Failure::new(Exit::BadInput, "exists", message).hint("--replace");
        }
        BackupError::NameTaken { .. } => {
            return Failure::new(Exit::BadInput, "name_taken", message)
                .hint("another --db, or --ledger NAME");
        }
        BackupError::CipherMismatch { .. } => {
            return Failure::new(Exit::BadInput, "wrong_key", message)
                .hint("--insecure restores what was made with it");
        }
        BackupError::Foreign { .. } => "foreign",
        BackupError::Newer { .. } => "newer_version",
        BackupError::Truncated { .. } => "truncated_backup",
        BackupError::Damaged { .. } => "damaged_backup",
        BackupError::MissingBase { .. } | BackupError::WrongOrder { .. } => "backup_order",
        BackupError::UnknownBase { .. } => "unknown_base",
        _ => "backup",
    };
    Failure::new(Exit::BadInput, kind, message)
}

fn store(error: &StoreError, message: String) -> Failure {
    let failure = |kind: &str| Failure::new(Exit::Store, kind, message.as_str());
    match error {
        StoreError::Locked { .. } => failure("locked"),
        StoreError::WrongKey { .. } => {
            failure("wrong_key").hint("is this the right --keybag, and the right --ledger?")
        }
        StoreError::CipherMismatch { .. } => {
            failure("wrong_key").hint("--insecure opens what was made with it")
        }
        StoreError::Foreign { .. } => {
            failure("foreign").hint("--db names the folder of the database")
        }
        StoreError::Newer { .. } => failure("newer_version"),
        StoreError::NeedsUpgrade { .. } => failure("older_version"),
        StoreError::NotFound { .. } => Failure::new(Exit::NotFound, "no_database", message),
        StoreError::Poisoned { .. } => failure("poisoned"),
        StoreError::Full { .. } => failure("disk_full"),
        StoreError::Io { .. } => failure("io"),
        StoreError::Corrupt { .. } | StoreError::Damaged { .. } => failure("corrupt"),
        StoreError::TooLarge { .. } => {
            Failure::new(Exit::BadInput, "too_large", message).hint("a smaller --batch")
        }
        StoreError::ReadOnly => failure("read_only"),
        StoreError::Closed => failure("closed"),
        _ => failure("store"),
    }
}

fn gateway(error: &GatewayError, message: String) -> Failure {
    let kind = match error.kind() {
        GatewayErrorKind::InvalidUrl | GatewayErrorKind::Unsupported => {
            return Failure::new(Exit::BadInput, "bad_url", message);
        }
        GatewayErrorKind::NotFound => "remote_not_found",
        GatewayErrorKind::Unavailable => "remote_unavailable",
        GatewayErrorKind::NeedsAuth => "needs_auth",
        GatewayErrorKind::Denied => "remote_denied",
        GatewayErrorKind::ReadOnly => "remote_read_only",
        GatewayErrorKind::Full => "remote_full",
        GatewayErrorKind::Foreign => "remote_foreign",
        GatewayErrorKind::Corrupt => "remote_corrupt",
        GatewayErrorKind::TooLarge => "too_large",
        _ => "remote",
    };
    Failure::new(Exit::Remote, kind, message)
}

//! The texts that `--help` teaches with.

pub(super) const ABOUT: &str = "\
A local-first, end-to-end-encrypted document database that syncs through anything.

A database is a folder of documents: maps with an `_id`. It works without a network. Attach it
to a remote (a shared folder, for instance) and every database that is attached there, and has
the key, ends with the same documents.

  firebrick put '{\"_id\": \"milk\", \"litres\": 2}'      store a document
  firebrick get milk                                 print it
  firebrick attach file:///mnt/shared/shopping       connect to a shared folder, and sync
  firebrick watch                                    see changes as they come
  firebrick demo                                     see all of it work, on real records

`firebrick COMMAND --help` shows each command with examples.";

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a negative outcome: not converged, not in sync in time
  2    the command line could not be understood
  3    not found: a document, a database, a remote
  4    bad input: a document, an id, a line of NDJSON, a key, a URL, a file
  5    the database cannot be used: locked, damaged, made by a newer version, wrong key, disk full
  6    the remote cannot be used: out of reach, access denied, another ledger's data
  130  interrupted

With --json an error is one line on stderr: {\"error\": {\"kind\", \"message\", \"hint\", \"exit_code\"}}.
In a pipe, documents come as NDJSON even without --json.";

pub(super) const PUT: &str = "\
Examples:
  firebrick put '{\"_id\": \"milk\", \"litres\": 2}'    the id is in the document
  firebrick put --id milk '{\"litres\": 2}'           the id is beside it
  echo '{\"litres\": 2}' | firebrick put              no id: one is made and printed

The whole document is replaced. Bytes are written {\"/\": {\"bytes\": \"BASE64\"}}, links {\"/\": \"CID\"}.";

pub(super) const GET: &str = "\
Examples:
  firebrick get milk
  firebrick get milk bread --json | jq .litres
  firebrick get milk --at bafyrei...   as it was at that head

Exit code 3 if one of them does not exist; the others are printed.";

pub(super) const LIST: &str = "\
Examples:
  firebrick list                      a table; in a pipe NDJSON
  firebrick list --prefix user: -n 20
  firebrick list --ids | wc -l
  firebrick list --after user:0020 -n 20     the next page";

pub(super) const HISTORY: &str = "\
Examples:
  firebrick history milk
  firebrick history milk -n 5
  firebrick history milk --json | jq 'select(.deleted)'

Deleted versions are listed too. Looks back through all events, so -n saves time.";

pub(super) const CONFLICTS: &str = "\
Examples:
  firebrick conflicts                 the documents that were written in several places at once
  firebrick conflicts milk            their versions, the winner first

A conflict ends with the next write of the document that came after all its versions:
  firebrick put '{\"_id\": \"milk\", \"litres\": 3}'";

pub(super) const DIFF: &str = "\
Examples:
  firebrick diff bafyrei...                    what changed since that head
  firebrick diff bafyrei... --to bafyrej...

`status`, `log` and `put --json` print heads.";

pub(super) const REVERT: &str = "\
Examples:
  firebrick history milk
  firebrick revert milk bafyrei...             the event of the version

Nothing is rewritten: the old version becomes the newest one.";

pub(super) const LOG: &str = "\
Examples:
  firebrick log -n 20
  firebrick log --graph               lines that fork where databases wrote apart, and join again
  firebrick log --json | jq .ids";

pub(super) const QUERY: &str = "\
Examples:
  firebrick query age                        ordered by age
  firebrick query age --range 18..65 --docs
  firebrick query age --descending -n 3      the three oldest
  firebrick query address.town --key Oslo
  firebrick query last,first --prefix Lee    by two fields
  firebrick query 'tags[]' --key red         documents whose list `tags` has red in it
  firebrick query age --range 18.. --watch   what enters and leaves the result, as it happens

The first query by a field makes an index, which is kept up to date from then on. Keys are JSON; what
is no JSON is text. They sort null, booleans, numbers, text, lists. Documents without the field, or with
null there, are not listed.";

pub(super) const CHANGES: &str = "\
Examples:
  firebrick changes
  firebrick changes --since bafyrei...   only what came after that head

The head to go on from is in `clock` of the last line, and in `status`.";

pub(super) const COMPACT: &str = "\
Examples:
  firebrick compact                    keep the present versions only
  firebrick compact --keep-versions 5
  firebrick compact --keep-age 30d
  firebrick compact --dry-run          only say how much there is to give back

Reads and writes go on meanwhile. Values of dropped versions are gone for good here; every event
stays, so that databases which were away can still be merged.";

pub(super) const WATCH: &str = "\
Examples:
  firebrick watch                     in one terminal ...
  firebrick put '{\"litres\": 3}'       ... and this in another
  firebrick watch --json --docs | jq .

While it runs, other commands on the same database work through it. Ctrl-C ends it.";

pub(super) const IMPORT: &str = "\
Examples:
  firebrick import people.ndjson
  firebrick import --id-field email people.ndjson
  zcat dump.ndjson.gz | firebrick import --skip-bad

Each batch is stored as a whole. A bad line stops the import: the lines before it are stored,
the error names the line, and --start-line goes on from there.";

pub(super) const EXPORT: &str = "\
Examples:
  firebrick export backup.ndjson
  firebrick export | gzip > backup.ndjson.gz
  firebrick export --prefix user: | firebrick --db other import";

pub(super) const ATTACH: &str = "\
Examples:
  firebrick attach file:///mnt/shared/shopping
  firebrick attach file:///mnt/shared/shopping --name home --watch
  firebrick --db copy attach file:///mnt/shared/shopping --key \"$(firebrick keys export)\"

The remote is remembered: `sync` and `watch` use it from now on.";

pub(super) const SYNC: &str = "\
Examples:
  firebrick sync
  firebrick sync --timeout 30 || echo 'not in sync yet'
  firebrick sync --watch              keep syncing; other commands work through it

Ends when everything stored here is on the remotes, and everything there is here.";

pub(super) const FILES: &str = "\
Examples:
  firebrick files put holiday photo.jpg
  firebrick files list holiday
  firebrick files get holiday photo.jpg -o copy.jpg
  firebrick files get holiday film.mp4 --range 0..1000 | file -
  tar c folder | firebrick files put backup - --name folder.tar

Files up to 16 MiB are single blocks, which JavaScript reads; longer ones are cut into pieces
unless --single-block says otherwise. Contents come from the remotes when they are read.
`put` of a document replaces its list of files too: keep `_files` in it to keep them.";

pub(super) const BACKUP: &str = "\
Examples:
  firebrick backup monday.fbk
  firebrick backup --since monday.fbk tuesday.fbk      only what came in between
  firebrick keys export --passphrase > keys.txt        keep it too, elsewhere

It holds documents, versions, history and files as of one moment. It is encrypted with the ledger's
key, which is not in it: without the key nobody can restore it. Remotes are not in it either.";

pub(super) const RESTORE: &str = "\
Examples:
  firebrick --db copy restore monday.fbk tuesday.fbk
  firebrick restore --dry-run monday.fbk               is it whole?
  firebrick --db copy restore monday.fbk --key z...    on a machine without the key

The database appears when it is whole, or not at all; what exists is never overwritten. The key is
looked for among all keys of the keybag. (An old version of one document: `firebrick revert`.)";

pub(super) const VERIFY: &str = "\
Examples:
  firebrick verify
  firebrick verify --json | jq '.findings[] | {holds, id, fault, remotes}'

Reads every block and checks it against its hash: events, the tree, documents, versions, files,
indexes. Exit code 1 if something is damaged or missing; it says what, and which remote has it.";

pub(super) const REPAIR: &str = "\
Examples:
  firebrick repair
  firebrick attach file:///mnt/shared/shopping && firebrick repair

Takes what has the right hash, makes damaged indexes anew, and makes nothing up. Exit code 1 if
something is still wrong: attach a remote that has it, or restore a backup.";

pub(super) const STATS: &str = "\
Examples:
  firebrick stats
  firebrick stats --json | jq .live_bytes

Reads everything, as `verify` does, and changes nothing. Remotes are not asked: the figures are as of
the last contact.";

pub(super) const KEYS: &str = "\
Examples:
  firebrick keys list
  firebrick keys export | ssh other firebrick keys import
  firebrick keys export --passphrase > keys.txt      to keep, or to send
  firebrick --db copy keys import \"$(cat keys.txt)\"
  firebrick keys rotate                              then export again for the others

Databases that share a key share a ledger. Keys are in the keybag (--keybag), not in the database.
After `rotate` the old keys still read. Peers need the new one: until they import it, their status
names its fingerprint.";

pub(super) const SERVE: &str = "\
Examples:
  firebrick serve                             prints a URL and a token, which clients attach with
  firebrick serve --data /srv/firebrick --listen 0.0.0.0:8909
  firebrick serve --public-url https://sync.example.com     behind a proxy that does TLS
  firebrick serve --jwks-url https://id.example.com/.well-known/jwks.json
  firebrick serve --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem
  firebrick serve --tenant-bytes 1000000000 --tenants /etc/firebrick/tenants.json
  firebrick serve --log-level info --log-format json 2>>/var/log/firebrick.jsonl
  firebrick serve --check-config && systemctl restart firebrick

Metas, keys and CARs are in the data directory, as is the key that signs tokens. JavaScript clients send
the keys of their ledgers to the server: whoever has the data directory can read what they write.
GET /healthz and /readyz say how it is; /metrics is for Prometheus and needs the admin token, which is in
the data directory unless $FIREBRICK_ADMIN_TOKEN has it. SIGTERM lets requests end first.";

pub(super) const TOKEN: &str = "\
Examples:
  firebrick token mint acme/notes --user ada --email ada@example.com
  firebrick token mint acme/notes acme/wiki:read --days 1
  firebrick token inspect \"$TOKEN\" --json | jq .claims.ledgers

`mint` uses the key of the data directory (--data), which `serve` checks tokens with, or --key, or
$CLOUD_SESSION_TOKEN_SECRET.";

pub(crate) const BENCH_SERVER: &str = "\
Examples:
  firebrick bench server                                a server of its own; some minutes
  firebrick bench server idle --connections 20000
  firebrick bench server fanout --rate 0                as fast as the server acknowledges
  firebrick bench server soak --duration 2h --json > soak.ndjson
  firebrick bench server fanout --url fpcloud://sync.example.com --token \"$TOKEN\"

All clients are in this process, so on one machine they take their share of it; the server's memory
and CPU time are its own. Use a ledger for this alone on a server that others use. Exit code 1 if an
event is lost or a client is dropped.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  firebrick completions bash > ~/.local/share/bash-completion/completions/firebrick
  firebrick completions zsh > ~/.zfunc/_firebrick
  firebrick completions fish > ~/.config/fish/completions/firebrick.fish";

pub(super) const DEMO: &str = "\
Examples:
  firebrick demo                      3,376 airports, 5 databases
  firebrick demo people.ndjson --databases 8
  firebrick demo --dir /tmp/look --keep     and look at the files afterwards

Each database is a process of its own, with its own folder, its own keybag and its own share of
the records. One of them is killed in the middle of its sync and started again. Exit code 1
unless every database ends with every record.";

pub(super) const SHELL: &str = "\
Every line is a command without the word `firebrick`; a document needs no quotes around it:

  firebrick> put {\"_id\": \"milk\", \"litres\": 2}
  firebrick> get milk
  firebrick> help list
  firebrick> exit                  or Ctrl-D

Tab completes commands, options and ids. The database stays open, so attached remotes keep syncing
and each command starts at once. What you type is kept in memory only, unless --history names a file.

From a pipe the lines are a script: it stops at the first command that fails, with its exit code.

  firebrick shell < script.txt     # lines that begin with # are comments";

//! Releases: versions to come, made from the program that is built for that, signed, and served over HTTP by a server that can be as bad as servers are.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minisign::KeyPair;
use ring::digest::{SHA256, digest};
use switchboard::release::Release;
use switchboard::update::manifest::TARGET;

/// As `next_version.rs` reads it.
const MARK: &str = "\nNEXT VERSION ";

/// When their manifests expire.
pub(crate) const EXPIRES: &str = "2999-12-31T00:00:00Z";

/// A version to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) version: &'static str,
    pub(crate) nature: &'static str,
    pub(crate) change: &'static str,
}

impl Next {
    pub(crate) fn new(nature: &'static str, change: &'static str) -> Self {
        Self { version: "0.2.0", nature, change }
    }

    /// The oldest schema whose programs can read what it makes of a ledger, by its own word.
    fn oldest_reader(self) -> u32 {
        let (newest, oldest_reader) = Release::THIS.schema();
        if self.change == "breaking" { newest + 1 } else { oldest_reader }
    }

    /// Its program.
    pub(crate) fn program(self) -> Vec<u8> {
        let Self { version, nature, change } = self;
        let being = serde_json::json!({ "version": version, "nature": nature, "change": change });
        [small(&built()), format!("{MARK}{being}").into_bytes()].concat()
    }
}

/// Builds the example, which is there already when everything is tested.
fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let binary = Path::new(env!("CARGO_BIN_EXE_switchboard"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--offline", "--locked", "--package", "switchboard", "--example", "next_version"]);
        let directory = binary.parent().expect("in a directory");
        if directory.file_name().is_some_and(|name| name == "release") {
            command.arg("--release");
        }
        let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs, as it runs the tests");
        assert!(status.success(), "the version to come is not built");
        directory.join("examples/next_version")
    };
    BUILT.get_or_init(build).clone()
}

/// A program without what only debuggers need: it is copied often.
pub(crate) fn small(program: &Path) -> Vec<u8> {
    static MADE: Mutex<Vec<(PathBuf, Vec<u8>)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, bytes)) = made.iter().find(|(path, _)| path == program) {
        return bytes.clone();
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let target = dir.path().join("small");
    // It belongs to the linker that built the program; without it the copies are only larger.
    let stripped = Command::new("strip").arg("-o").arg(&target).arg(program).status().is_ok_and(|status| status.success());
    let bytes = std::fs::read(if stripped { &target } else { program }).expect("readable");
    made.push((program.to_owned(), bytes.clone()));
    bytes
}

/// The SHA-256 of these bytes, in hexadecimal.
pub(crate) fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with the next answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every connection ends after so many bytes of a program.
    CutAfter(u64),
    /// Every connection falls silent after so many bytes of a program, until whoever asked is gone.
    SilentAfter(u64),
    /// It knows no ranges, and sends all of it each time.
    NoRanges,
}

/// A server of releases, and whoever makes them.
pub(crate) struct Releases {
    dir: tempfile::TempDir,
    keys: KeyPair,
    address: String,
    fault: Arc<Mutex<Option<Fault>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Releases {
    pub(crate) fn serve() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}/", listener.local_addr().expect("bound"));
        let (fault, asked) = (Arc::<Mutex<Option<Fault>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (root, broken, heard) = (dir.path().to_owned(), fault.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let fault = *broken.lock().unwrap_or_else(PoisonError::into_inner);
                // A client that goes away is its own affair.
                _ = answer(stream, &root, fault, &heard);
            }
        });
        Self { dir, keys: KeyPair::generate_unencrypted_keypair().expect("random"), address, fault, asked }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The folder that is served.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn public_key(&self) -> String {
        self.keys.pk.to_base64()
    }

    /// Releases are signed with another key from now on.
    pub(crate) fn change_key(&mut self) {
        self.keys = KeyPair::generate_unencrypted_keypair().expect("random");
    }

    pub(crate) fn break_it(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// Every range that was asked for.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes a version; its manifest's text is changed by `change` before it is signed.
    pub(crate) fn publish_as(&self, next: Next, change: impl FnOnce(String) -> String) {
        let program = next.program();
        std::fs::write(self.dir.path().join("switchboard"), &program).expect("writable");
        let artifact = serde_json::json!({ "target": TARGET, "url": "switchboard", "sha256": sum(&program), "size": program.len() });
        let manifest = serde_json::json!({
            "version": next.version, "oldest_reader": next.oldest_reader(), "expires": EXPIRES, "artifacts": [artifact],
        });
        self.sign(&change(manifest.to_string()));
    }

    pub(crate) fn publish(&self, next: Next) {
        self.publish_as(next, |text| text);
    }

    /// As minisign keeps it, without a password.
    pub(crate) fn secret_key(&self) -> String {
        self.keys.sk.to_box(None).expect("a good key").into_string()
    }

    fn sign(&self, text: &str) {
        self.sign_in(self.dir.path(), text);
    }

    /// Signs and writes a manifest.
    pub(crate) fn sign_in(&self, folder: &Path, text: &str) {
        let signature = minisign::sign(Some(&self.keys.pk), &self.keys.sk, text.as_bytes(), None, None).expect("a good key");
        std::fs::write(folder.join("manifest.json"), text).expect("writable");
        std::fs::write(folder.join("manifest.json.minisig"), signature.into_string()).expect("writable");
    }
}

/// One request, one answer, one connection (RFC 9110: ranges in section 14).
fn answer(mut stream: TcpStream, root: &Path, fault: Option<Fault>, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    asked.lock().unwrap_or_else(PoisonError::into_inner).extend(range.clone());
    let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let Ok(mut file) = std::fs::File::open(root.join(&path)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let size = file.metadata()?.len();
    let from = range.filter(|_| fault != Some(Fault::NoRanges)).and_then(|range| range.trim_end_matches('-').parse::<u64>().ok());
    let head = match from {
        Some(from) if from >= size => "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        Some(from) => {
            file.seek(SeekFrom::Start(from))?;
            let (left, last) = (size - from, size - 1);
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {left}\r\nContent-Range: bytes {from}-{last}/{size}\r\nConnection: close\r\n\r\n"
            )
        }
        None => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"),
    };
    stream.write_all(head.as_bytes())?;
    let most = match fault {
        Some(Fault::CutAfter(bytes) | Fault::SilentAfter(bytes)) if path == "switchboard" => bytes,
        _ => u64::MAX,
    };
    std::io::copy(&mut file.take(most), &mut stream)?;
    if matches!(fault, Some(Fault::SilentAfter(_))) && most < u64::MAX {
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

//! The way to a directory, every place and every link on it: whether anybody but root could lead root elsewhere.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::Account;

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A directory on the way, or what the way leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Where it is.
    path: PathBuf,
    /// Whose it is.
    uid: u32,
    /// Its group.
    gid: u32,
    /// What its user, its group and others may do, and whether it is sticky.
    mode: u32,
    /// Whether it is a link, which only leads on.
    is_link: bool,
}

/// A way, as it was when it was looked at. Where only root can change what is on it, it stays so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The places that lead to the end, the root first.
    places: Vec<Place>,
    /// Links on it that others than root can exchange.
    links: Vec<PathBuf>,
    /// Places on it in which others than root can exchange what leads on.
    loose: Vec<PathBuf>,
    /// Whether the end of it is there.
    is_whole: bool,
}

impl Place {
    /// Whether somebody but root can put something into it.
    fn is_open(&self) -> bool {
        self.uid != 0 || self.mode & 0o022 != 0
    }

    /// Whether somebody but root can exchange what stands in it and is this user's (unlink(2), `S_ISVTX` in inode(7)).
    fn lets_exchange(&self, uid: u32) -> bool {
        self.is_open() && !(self.uid == 0 && self.mode & 0o1000 != 0 && uid == 0)
    }

    /// Whether an account, which has no other group, can go through it.
    fn lets_through(&self, account: Account) -> bool {
        let bit = if self.uid == account.uid {
            0o100
        } else if self.gid == account.gid {
            0o010
        } else {
            0o001
        };
        self.mode & bit != 0
    }
}

impl Way {
    /// Goes it, as the kernel would, as far as it leads.
    ///
    /// # Errors
    /// When a place cannot be looked at, or it goes in circles.
    pub fn to(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (mut way, mut links) = (Self { places: vec![place("/".into())?], is_whole: true, ..Self::default() }, 0);
        let mut ahead: Vec<OsString> = words(&path);
        while let Some(name) = ahead.pop() {
            if name == ".." {
                way.places.truncate(way.places.len().saturating_sub(1).max(1));
                continue;
            }
            let next = match place(way.end().join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    way.is_whole = false;
                    break;
                }
                found => found?,
            };
            if next.is_link {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::other("its links lead in circles"));
                }
                let target = std::fs::read_link(&next.path)?;
                way.pass(&next);
                if target.is_absolute() {
                    way.places.truncate(1);
                }
                ahead.extend(words(&target));
            } else {
                way.pass(&next);
                way.places.push(next);
            }
        }
        Ok(way)
    }

    /// Remembers what can be exchanged under whoever goes on.
    fn pass(&mut self, next: &Place) {
        if let Some(here) = self.places.last().filter(|here| here.lets_exchange(next.uid)) {
            self.loose.push(here.path.clone());
            self.links.extend(next.is_link.then(|| next.path.clone()));
        }
    }

    /// What it leads to, without links.
    pub fn end(&self) -> &Path {
        self.places.last().map_or(Path::new("/"), |place| &place.path)
    }

    /// Whose that is, if it is there.
    pub fn owner(&self) -> Option<u32> {
        self.places.last().filter(|_| self.is_whole).map(|place| place.uid)
    }

    /// Why work at its end must not be done as this account; none: it may.
    pub fn refuses(&self, account: Account) -> Option<String> {
        let end = self.end().display();
        if let Some(reason) = self.refuses_links() {
            return Some(reason);
        }
        if let Some(uid) = self.owner().filter(|uid| *uid != account.uid) {
            return Some(format!("{end} belongs to user {uid}, and the gateway is run as user {}", account.uid));
        }
        let open = || Some(format!("{}: others than root can put something else there", self.open_to_others()?.display()));
        account.is_root().then(open).flatten()
    }

    /// Why it must not be gone at all.
    pub fn refuses_links(&self) -> Option<String> {
        let link = self.links.first()?.display();
        Some(format!("{} is reached through {link}, a link that others than root can exchange", self.end().display()))
    }

    /// The first place in which somebody but root can put something else in the place of what leads on, or into the end.
    pub fn open_to_others(&self) -> Option<&Path> {
        let end = || self.places.last().filter(|end| end.is_open()).map(|end| end.path.as_path());
        self.open_on_the_way().or_else(end)
    }

    /// The same before the end.
    pub fn open_on_the_way(&self) -> Option<&Path> {
        self.loose.first().map(PathBuf::as_path)
    }

    /// The first place that an account cannot go through on its way to the end.
    pub fn hidden_from(&self, account: Account) -> Option<&Path> {
        let before = &self.places[..self.places.len().saturating_sub(1)];
        before.iter().find(|place| !place.lets_through(account)).map(|place| &*place.path)
    }
}

fn place(path: PathBuf) -> io::Result<Place> {
    let found = std::fs::symlink_metadata(&path)?;
    Ok(Place { path, uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777, is_link: found.is_symlink() })
}

/// The words of a path, the last one first.
fn words(path: &Path) -> Vec<OsString> {
    let word = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// One through these places; a link has no mode.
    fn way(places: &[(&str, u32, u32)]) -> Way {
        let mut way = Way { is_whole: true, ..Way::default() };
        for (path, uid, mode) in places {
            let place = Place { path: path.into(), uid: *uid, gid: *uid, mode: *mode, is_link: *mode == 0 };
            way.pass(&place);
            way.places.extend((!place.is_link).then_some(place));
        }
        way
    }

    #[test]
    fn g40_root_works_nowhere_that_others_can_lead_it_to() {
        let (root, theirs) = (Account { uid: 0, gid: 0 }, Account { uid: 7, gid: 7 });
        let check = |account, places: &[(&str, u32, u32)], expected: Option<&str>| {
            let refused = way(places).refuses(account);
            let told = match (&refused, expected) {
                (Some(words), Some(expected)) => words.contains(expected),
                (refused, expected) => refused.is_none() && expected.is_none(),
            };
            assert!(told, "{account:?} {places:?}: {refused:?}");
        };
        let top = ("/", 0, 0o755);
        check(theirs, &[top, ("/v", 0, 0o700), ("/v/s", 7, 0o700)], None);
        check(theirs, &[top, ("/v", 0, 0o755), ("/v/s", 8, 0o700)], Some("/v/s belongs to user 8, and the gateway is run as user 7"));
        check(theirs, &[top, ("/v", 0, 0o755), ("/v/s", 0, 0o700)], Some("belongs to user 0"));
        // It can be exchanged under a child that has their rights anyhow.
        check(theirs, &[top, ("/h", 7, 0o755), ("/h/s", 7, 0o700)], None);
        check(theirs, &[top, ("/h", 7, 0o755), ("/h/l", 7, 0), ("/h/s", 7, 0o700)], Some("reached through /h/l, a link"));
        check(theirs, &[top, ("/t", 0, 0o1777), ("/t/l", 7, 0), ("/t/s", 7, 0o700)], Some("reached through /t/l, a link"));
        check(theirs, &[top, ("/v", 0, 0o755), ("/v/l", 7, 0), ("/v/s", 7, 0o700)], None);
        check(root, &[top, ("/v", 0, 0o755), ("/v/s", 0, 0o700)], None);
        check(root, &[top, ("/t", 0, 0o1777), ("/t/s", 0, 0o700)], None);
        check(root, &[top, ("/t", 0, 0o777), ("/t/s", 0, 0o700)], Some("/t: others than root"));
        check(root, &[top, ("/t", 0, 0o1777), ("/t/x", 7, 0o755), ("/t/x/s", 0, 0o700)], Some("/t: others than root"));
        check(root, &[top, ("/h", 7, 0o755), ("/h/s", 0, 0o700)], Some("/h: others than root"));
        check(root, &[top, ("/v", 0, 0o775), ("/v/s", 0, 0o700)], Some("/v: others than root"));
        check(root, &[top, ("/v", 0, 0o755), ("/v/s", 0, 0o777)], Some("/v/s: others than root"));
        check(root, &[top, ("/v", 0, 0o755), ("/v/s", 7, 0o700)], Some("belongs to user 7"));
    }

    #[test]
    fn g40_what_an_account_cannot_go_through_is_found() {
        let way = way(&[("/", 0, 0o755), ("/v", 0, 0o755), ("/v/private", 0, 0o700), ("/v/private/s", 7, 0o700)]);
        assert_eq!(way.hidden_from(Account { uid: 7, gid: 7 }), Some(Path::new("/v/private")));
        assert_eq!(way.hidden_from(Account { uid: 0, gid: 0 }), None);
    }

    #[test]
    fn g40_a_way_is_gone_as_the_kernel_goes_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = std::fs::canonicalize(dir.path()).expect("there");
        std::fs::create_dir_all(root.join("a/b")).expect("writable");
        symlink("b/../b", root.join("a/near")).expect("writable");
        symlink(root.join("a/near"), root.join("far")).expect("writable");
        symlink("round", root.join("round")).expect("writable");
        let to = |name: &str| Way::to(&root.join(name));
        for name in ["a/b", "a/near", "far", "far/../b"] {
            let way = to(name).expect("there");
            assert!(way.is_whole && way.end() == root.join("a/b"), "{name}: {way:?}");
        }
        let open = !rustix::process::geteuid().is_root();
        assert_eq!(to("far").expect("there").links.is_empty(), !open, "in a directory of root's nobody else exchanges a link");
        let missing = to("a/c/d").expect("it is only not there");
        assert!(!missing.is_whole && missing.end() == root.join("a") && missing.owner().is_none());
        assert!(to("round").expect_err("it has no end").to_string().contains("in circles"));
    }
}

//! A changed file is taken up by itself, however links lead to it; or only when asked.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::authority::Authority;
use crate::support::proxy::free_address;
use crate::support::{Client, eventually, tool};

/// A proxy by a file in a folder that the test arranges.
struct Watched {
    root: PathBuf,
    web: SocketAddr,
    child: Option<Child>,
}

impl Watched {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("ringress-watch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        Self { root, web: free_address(), child: None }
    }

    /// A configuration that answers with this word.
    fn config(&self, word: &str) -> String {
        format!(
            "[listeners.web]\naddress = \"{}\"\n[[routes]]\nname = \"a\"\nfilters = [{{ respond = {{ status = 200, body = \"{word}\" }} }}]\n",
            self.web
        )
    }

    fn write(&self, path: &str, word: &str) -> PathBuf {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, self.config(word)).unwrap();
        path
    }

    fn run(&mut self, path: &Path) {
        let log = std::fs::File::create(self.root.join("process.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ringress"))
            .arg("run")
            .arg(path)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually("it listens", || std::net::TcpStream::connect(self.web).is_ok());
    }

    fn says(&self, word: &str) {
        eventually(&format!("it says {word}"), || Client::connect(self.web).get("/").text() == word);
    }

    /// Puts a link in the place of another, at once.
    fn point(&self, link: &str, to: impl AsRef<Path>) {
        let next = self.root.join(link.to_owned() + ".next");
        symlink(to, &next).unwrap();
        std::fs::rename(next, self.root.join(link)).unwrap();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.root.join("process.log")).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

#[test]
fn a_release_that_is_pointed_to_elsewhere_is_seen_again_and_again() {
    let mut watched = Watched::new("release");
    for word in ["v1", "v2", "v3"] {
        watched.write(&format!("releases/{word}/r.toml"), word);
    }
    watched.point("current", "releases/v1");
    watched.run(&watched.root.join("current/r.toml"));
    watched.says("v1");
    for word in ["v2", "v3", "v1"] {
        watched.point("current", format!("releases/{word}"));
        watched.says(word);
    }
    // The file that it leads to now, written in place.
    watched.write("releases/v1/r.toml", "v1 again");
    watched.says("v1 again");
}

#[test]
fn a_link_to_a_file_elsewhere_is_followed_by_a_relative_path_too() {
    let mut watched = Watched::new("elsewhere");
    let store = watched.write("store/r.toml", "first");
    watched.point("r.toml", &store);
    watched.run(Path::new("r.toml"));
    watched.says("first");
    watched.write("store/r.toml", "second");
    watched.says("second");
    // As editors write: another file in its place.
    let next = watched.write("store/next", "third");
    std::fs::rename(next, &store).unwrap();
    watched.says("third");
    // As Nix does: the link leads into another store.
    watched.point("r.toml", watched.write("store2/r.toml", "fourth"));
    watched.says("fourth");
}

#[test]
fn a_map_of_kubernetes_and_a_folder_that_is_made_again_are_seen() {
    let mut watched = Watched::new("map");
    watched.write("map/..1/r.toml", "1");
    watched.point("map/..data", "..1");
    watched.point("map/r.toml", "..data/r.toml");
    watched.run(&watched.root.join("map/r.toml"));
    watched.says("1");
    for (word, before) in [("2", "1"), ("3", "2")] {
        watched.write(&format!("map/..{word}/r.toml"), word);
        watched.point("map/..data", format!("..{word}"));
        std::fs::remove_dir_all(watched.root.join(format!("map/..{before}"))).unwrap();
        watched.says(word);
    }
    std::fs::remove_dir_all(watched.root.join("map")).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    watched.says("3");
    watched.write("map/r.toml", "4");
    watched.says("4");
}

#[test]
fn a_certificate_behind_links_is_renewed() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut watched = Watched::new("certbot");
    let root = watched.root.clone();
    let put = |authority: &Authority, number: u32| {
        let archive = root.join("archive");
        std::fs::create_dir_all(&archive).unwrap();
        let issued = authority.issue("site", &["a.test"]);
        std::fs::copy(&issued.cert, archive.join(format!("cert{number}.pem"))).unwrap();
        std::fs::copy(&issued.key, archive.join(format!("key{number}.pem"))).unwrap();
    };
    put(&old, 1);
    std::fs::create_dir_all(watched.root.join("live")).unwrap();
    let point = |watched: &Watched, number: u32| {
        for name in ["cert", "key"] {
            watched.point(&format!("live/{name}.pem"), format!("../archive/{name}{number}.pem"));
        }
    };
    point(&watched, 1);
    let text = watched
        .config("x")
        .replace("[[routes]]", "tls.certificates = [{ cert = \"live/cert.pem\", key = \"live/key.pem\" }]\n[[routes]]");
    let path = watched.root.join("r.toml");
    std::fs::write(&path, text).unwrap();
    watched.run(&path);
    let works = |ca: PathBuf| {
        let url = format!("https://a.test:{}/", watched.web.port());
        let resolve = format!("a.test:{}:127.0.0.1", watched.web.port());
        let mut curl = tool("curl", "curl");
        let output = curl.args(["-sS", "--resolve", &resolve, &url, "--cacert"]).arg(ca).output().unwrap();
        output.stdout == b"x"
    };
    eventually("the old one is served", || works(old.ca()));
    put(&new, 2);
    point(&watched, 2);
    eventually("the new one is served", || works(new.ca()));
}

#[test]
fn where_nothing_is_watched_a_change_waits_to_be_asked_for() {
    let mut watched = Watched::new("unwatched");
    let put = |watched: &Watched, word: &str| {
        let text = format!("watch = false\n{}", watched.config(word));
        std::fs::write(watched.root.join("r.toml"), text).unwrap();
    };
    put(&watched, "before");
    watched.run(&watched.root.join("r.toml"));
    watched.says("before");
    put(&watched, "after");
    std::thread::sleep(Duration::from_millis(1_000));
    watched.says("before");
    let id = watched.child.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    watched.says("after");
    // It can be switched on again, by a reload.
    std::fs::write(watched.root.join("r.toml"), watched.config("on")).unwrap();
    assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    watched.says("on");
    std::fs::write(watched.root.join("r.toml"), watched.config("seen")).unwrap();
    watched.says("seen");
}

//! Storage as people put it behind a proxy: WebDAV, S3 with signed requests, and a registry of images.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::go::{program, serve};
use crate::support::proxy::service;
use crate::support::python::python;
use crate::support::{ENGINES, Proxy, authority, noise, output};

/// A folder of this test alone, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringress-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn inner(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Files with names that need care.
fn fill(folder: &Path) {
    let names =
        ["plain.txt", "with space", "a+b", "50%", "%41", "ü/é", "ha#sh", "q&a=1", "semi;colon", "deep/er/still"];
    for (number, name) in names.iter().enumerate() {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, noise(number as u64, 1_000 * number)).unwrap();
    }
    std::fs::write(folder.join("large"), noise(99, 9 * 1024 * 1024)).unwrap();
}

fn rclone(arguments: &[&str], remote: &[&str]) -> String {
    let mut command = program("rclone");
    // One file at a time: a server of rclone's own now and then answers 500 to one of several that come at once, with no proxy before it.
    command.args(["--config", "", "--transfers", "1", "--retries", "1", "--low-level-retries", "1"]);
    output(command.args(remote).args(arguments))
}

#[test]
fn files_go_up_and_down_by_webdav() {
    let folder = Folder::new("webdav");
    let from = folder.inner("from");
    fill(&from);
    for engine in ENGINES {
        let there = folder.inner(&format!("there-{engine}"));
        let (_server, address) = serve("rclone", &["serve", "webdav", there.to_str().unwrap(), "--addr", "ADDRESS"]);
        let proxy = Proxy::to(engine, &[address]);
        let url = format!("http://{}", proxy.address);
        let remote = ["--webdav-url", &url, "--webdav-vendor", "rclone"];
        let from = from.to_str().unwrap();
        rclone(&["copy", from, ":webdav:tree"], &remote);
        rclone(&["check", "--download", from, ":webdav:tree"], &remote);
        // The field `Destination` has the URL of the proxy.
        rclone(&["moveto", ":webdav:tree/with space", ":webdav:tree/moved #1"], &remote);
        assert!(there.join("tree/moved #1").is_file() && !there.join("tree/with space").exists(), "{engine}");
        let back = folder.inner(&format!("back-{engine}"));
        rclone(&["copy", ":webdav:tree", back.to_str().unwrap()], &remote);
        assert_eq!(std::fs::read(back.join("large")).unwrap(), noise(99, 9 * 1024 * 1024), "{engine}");
        rclone(&["purge", ":webdav:tree"], &remote);
        assert!(!there.join("tree").exists(), "{engine}");
    }
}

/// Storage of S3 that verifies signatures.
fn s3(folder: &Path) -> (crate::support::Running, SocketAddr) {
    let key = "somebody,whatever-it-is";
    serve("rclone", &["serve", "s3", folder.to_str().unwrap(), "--addr", "ADDRESS", "--auth-key", key])
}

#[test]
fn signed_requests_reach_s3_as_they_were_signed() {
    let folder = Folder::new("s3");
    let from = folder.inner("from");
    fill(&from);
    for engine in ENGINES {
        let there = folder.inner(&format!("there-{engine}"));
        let (_server, address) = s3(&there);
        // What is signed is the path as it was sent.
        let proxy = Proxy::start(engine, &service(&[address], "path = \"as_sent\""));
        let url = format!("http://{}", proxy.address);
        assert_eq!(output(python("s3_client.py").args([&url, "none"])).trim(), "all is well", "{engine}");
        let remote = [
            "--s3-provider",
            "Rclone",
            "--s3-endpoint",
            &url,
            "--s3-access-key-id",
            "somebody",
            "--s3-secret-access-key",
            "whatever-it-is",
        ];
        let from = from.to_str().unwrap();
        rclone(&["copy", from, ":s3:bucket/tree"], &remote);
        rclone(&["check", "--download", from, ":s3:bucket/tree"], &remote);
        rclone(&["purge", ":s3:bucket"], &remote);
        assert!(!there.join("bucket").exists(), "{engine}");
    }
}

#[test]
fn parts_without_a_length_reach_s3_with_one() {
    let folder = Folder::new("s3-tls");
    let authority = authority::Authority::new();
    let issued = authority.issue("storage", &["127.0.0.1"]);
    let web = format!("tls = {{ certificates = [{}] }}", issued.toml());
    for engine in ENGINES {
        let there = folder.inner(engine);
        let (_server, address) = s3(&there);
        // Over TLS a current client signs no body: it sends chunks, with the sum behind them.
        let rest = format!(
            "[[routes]]\nname = \"s3\"\nservice = \"s3\"\nfilters = [{{ buffer = {{ max = \"8MiB\" }} }}]\n\
             [services.s3]\nendpoints = [\"{address}\"]\npath = \"as_sent\"\n"
        );
        let proxy = Proxy::start_with(engine, &web, &rest);
        let url = format!("https://{}", proxy.address);
        let told = output(python("s3_client.py").args([&url, authority.ca().to_str().unwrap()]));
        assert_eq!(told.trim(), "all is well", "{engine}");
    }
}

#[test]
fn images_go_to_a_registry_and_come_back() {
    let folder = Folder::new("registry");
    let layer = folder.0.join("layer.tar");
    std::fs::write(folder.0.join("file"), noise(7, 20 * 1024 * 1024)).unwrap();
    output(Command::new("tar").args(["-C", folder.0.to_str().unwrap(), "-cf", layer.to_str().unwrap(), "file"]));
    for engine in ENGINES {
        let (_server, address) = serve("crane", &["registry", "serve", "--address", "ADDRESS"]);
        let proxy = Proxy::to(engine, &[address]);
        let crane = |arguments: &[&str]| output(program("crane").args(arguments));
        let image = format!("{}/some/image:v1", proxy.address);
        crane(&["append", "-f", layer.to_str().unwrap(), "-t", &image]);
        let digest = crane(&["digest", &image]);
        assert_eq!(digest, crane(&["digest", &format!("{address}/some/image:v1")]), "{engine}");
        crane(&["validate", "--remote", &image]);
        let tarball = folder.0.join("back.tar");
        crane(&["pull", &image, tarball.to_str().unwrap()]);
        crane(&["validate", "--tarball", tarball.to_str().unwrap()]);
        crane(&["tag", &image, "v2"]);
        crane(&["copy", &image, &format!("{}/other/image:v1", proxy.address)]);
        assert_eq!(crane(&["digest", &format!("{address}/other/image:v1")]), digest, "{engine}");
        assert!(crane(&["ls", &format!("{}/some/image", proxy.address)]).contains("v2"), "{engine}");
    }
}

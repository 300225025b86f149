//! What surrounds the process: a manager that wants to hear of it, signals at any time, logs that nobody reads, sockets for others.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::proxy::free_address;
use crate::support::{Client, ENGINES, Origin, PATIENCE, eventually, tool};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringress-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ringress(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    command.arg("run").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
}

/// How it ended, within a bound.
fn ended(child: &mut Child) -> std::process::ExitStatus {
    let start = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None => assert!(start.elapsed() < PATIENCE, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn listens(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

#[test]
fn where_nobody_reads_the_logs_the_control_plane_goes_on() {
    for engine in ENGINES {
        let folder = Folder::new(&format!("pipe-{engine}"));
        let (web, admin) = (free_address(), free_address());
        let origin = Origin::text("served");
        let config = folder.file(
            "r.toml",
            &format!(
                "[workers]\nthreads = 1\nengine = \"{engine}\"\n[access_log]\npath = \"-\"\n[admin]\naddress = \"{admin}\"\nhosts = [\"test\"]\n[listeners.web]\n\
                 address = \"{web}\"\n[[routes]]\nname = \"a\"\nservice = \"a\"\n[services.a]\nendpoints = [\"{}\"]\n\
                 health = {{ interval = \"50ms\" }}\n[shutdown]\ngrace = \"1s\"\n",
                origin.address
            ),
        );
        // One pipe for both, as of a container whose output nobody reads.
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = ringress(&config).stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
        eventually("it listens", || listens(web) && listens(admin));
        let mut client = Client::connect(web);
        let fields = format!("User-Agent: {}\r\n", "x".repeat(2_000));
        // Far more than a pipe holds (64 KiB); then something for the process log, too.
        for _ in 0..200 {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(client.response("GET").text(), "served", "{engine}");
        }
        for _ in 0..20 {
            send(&child, "USR1");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(Client::connect(admin).get("/ping").status, 200, "{engine}");
        assert_eq!(Client::connect(admin).get("/metrics").status, 200, "{engine}");
        let before = origin.connections();
        eventually("it is still checked", || origin.connections() > before + 2);
        assert_eq!(client.get("/").text(), "served");
        drop(client);
        send(&child, "TERM");
        assert_eq!(ended(&mut child).code(), Some(0), "{engine}");
        drop(reader);
    }
}

/// Waits until the program itself runs, and no longer the loader: from then on signals are held. Then so many milliseconds more.
fn wait_for_its_first_instruction(child: &mut Child, more_ms: u64) {
    eventually("it runs", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        // SIGHUP is the first bit: held back, or caught already.
        (mask("SigBlk:") | mask("SigCgt:")) & 1 == 1
    });
    std::thread::sleep(Duration::from_millis(more_ms));
}

#[test]
fn a_signal_before_it_is_ready_is_obeyed_when_it_is() {
    let folder = Folder::new("signals");
    let web = free_address();
    let config = folder.file("r.toml", &format!("[listeners.web]\naddress = \"{web}\"\n"));
    // At once, and within its first 40 ms.
    for after_ms in [0, 0, 1, 2, 5, 10, 20, 40] {
        for signal in ["HUP", "USR1"] {
            let log = std::fs::File::create(folder.0.join("log")).unwrap();
            let mut child = ringress(&config).stderr(log).spawn().unwrap();
            wait_for_its_first_instruction(&mut child, after_ms);
            send(&child, signal);
            eventually("it listens", || {
                assert!(child.try_wait().unwrap().is_none(), "SIG{signal} after {after_ms} ms ended it");
                listens(web)
            });
            let expected = if signal == "HUP" { "SIGHUP" } else { "SIGUSR1" };
            eventually("it was obeyed", || std::fs::read_to_string(folder.0.join("log")).unwrap().contains(expected));
            send(&child, "TERM");
            assert_eq!(ended(&mut child).code(), Some(0));
        }
        let mut child = ringress(&config).spawn().unwrap();
        wait_for_its_first_instruction(&mut child, after_ms);
        send(&child, "TERM");
        assert_eq!(ended(&mut child).code(), Some(0), "SIGTERM after {after_ms} ms");
    }
}

/// What a service manager heard until this came.
fn heard(manager: &UnixDatagram, until: &str) -> Vec<String> {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut all = Vec::new();
    loop {
        let mut buffer = [0; 512];
        let length = match manager.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("{until} never came: {error}; {all:?}"),
        };
        all.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        if all.last().unwrap().starts_with(until) {
            return all;
        }
    }
}

#[test]
fn a_service_manager_hears_of_start_reload_life_and_end() {
    let folder = Folder::new("notify");
    let path = folder.0.join("notify.sock");
    let name = format!("ringress-test-{}", std::process::id());
    let abstract_name = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    for (manager, address) in [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
        (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}")),
    ] {
        let web = free_address();
        let config = folder.file("r.toml", &format!("[workers]\nthreads = 2\n[listeners.web]\naddress = \"{web}\"\n"));
        let mut child =
            ringress(&config).env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "200000").spawn().unwrap();
        heard(&manager, "READY=1");
        for _ in 0..5 {
            heard(&manager, "WATCHDOG=1");
        }
        send(&child, "HUP");
        let told = heard(&manager, "RELOADING=1\nMONOTONIC_USEC=");
        assert!(
            told.iter().all(|state| state.starts_with("WATCHDOG=1") || state.starts_with("RELOADING=1")),
            "{told:?}"
        );
        heard(&manager, "READY=1");
        send(&child, "TERM");
        heard(&manager, "STOPPING=1");
        assert_eq!(ended(&mut child).code(), Some(0));
    }
}

#[test]
fn a_unix_socket_is_for_those_whom_mode_and_group_let() {
    let folder = Folder::new("access");
    let socket = folder.0.join("web.sock");
    let config = |keys: &str| {
        folder.file("r.toml", &format!("[listeners.web]\naddress = \"unix:{}\"\n{keys}\n", socket.display()))
    };
    let log = folder.0.join("log");
    let file = config("");
    let mut child = ringress(&file).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mode = || std::fs::metadata(&socket).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    eventually("everybody may connect, as with nginx", || mode() == 0o666);
    assert!(UnixStream::connect(&socket).is_ok());
    let group: u32 =
        if std::fs::metadata(&folder.0).unwrap().uid() == 0 { 33 } else { std::fs::metadata(&folder.0).unwrap().gid() };
    config(&format!("mode = \"0660\"\ngroup = \"{group}\""));
    eventually("it is changed without a new socket", || {
        mode() == 0o660 && std::fs::metadata(&socket).is_ok_and(|metadata| metadata.gid() == group)
    });
    config("mode = \"0600\"\ngroup = \"no-such-group\"");
    eventually("a group that is not there is a problem", || {
        std::fs::read_to_string(&log).unwrap().contains("this host has no group `no-such-group`")
    });
    assert_eq!(mode(), 0o660, "what was good stays");
    send(&child, "TERM");
    ended(&mut child);
    let check = |text: &str| {
        let path = folder.file("check.toml", text);
        let output = Command::new(env!("CARGO_BIN_EXE_ringress")).arg("check").arg(path).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(check("[listeners.web]\naddress = \":80\"\nmode = \"0660\"\n").contains("only a Unix socket has one"));
    assert!(check("[listeners.web]\naddress = \"unix:/x\"\nmode = \"rw\"\n").contains("`rw` is not a file mode"));
}

#[test]
fn a_process_that_was_killed_gives_way_to_the_next_at_once() {
    for engine in ENGINES {
        let folder = Folder::new(&format!("again-{engine}"));
        let (web, admin) = (free_address(), free_address());
        let config = folder.file(
            "r.toml",
            &format!(
                "[workers]\nengine = \"{engine}\"\n[admin]\naddress = \"{admin}\"\n[listeners.web]\naddress = \"{web}\"\n\
                 [listeners.unix]\naddress = \"unix:{}\"\n",
                folder.0.join("web.sock").display()
            ),
        );
        let mut child = ringress(&config).spawn().unwrap();
        for round in 0..10 {
            eventually("it listens", || {
                assert!(child.try_wait().unwrap().is_none(), "{engine}: it ended in round {round}");
                listens(web)
            });
            child.kill().unwrap();
            let next = ringress(&config).spawn().unwrap();
            child.wait().unwrap();
            child = next;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn few_descriptors_are_told_at_start_and_clients_beyond_them_once() {
    let folder = Folder::new("few");
    let web = free_address();
    let config = folder.file("r.toml", &format!("[workers]\nthreads = 1\n[listeners.web]\naddress = \"{web}\"\n"));
    let log = folder.0.join("log");
    let mut child = tool("prlimit", "util-linux")
        .args(["--nofile=96:96", env!("CARGO_BIN_EXE_ringress"), "run"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = || std::fs::read_to_string(&log).unwrap();
    eventually("it listens", || listens(web));
    eventually("it is told", || {
        told().contains("leaves room for few connections") && told().contains("\"wanted\":2112")
    });
    let mut clients: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(web).unwrap()).collect();
    eventually("clients beyond the limit are told", || told().contains("client connections are closed"));
    // One that was there from the beginning was silent for longest, and gave way.
    clients[0].set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(clients[0].read(&mut [0]).unwrap_or(0), 0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(told().matches("client connections are closed").count(), 1, "{}", told());
    drop(clients);
    send(&child, "TERM");
    ended(&mut child);
}

#[test]
fn a_command_whose_output_is_not_read_ends_without_a_word() {
    for arguments in ["schema", "explain-cause", "explain-cause --markdown", "completions bash"] {
        let program = env!("CARGO_BIN_EXE_ringress");
        // The reader is gone before the first byte, or after one line.
        for reader in ["true", "head -1"] {
            let script = format!("{program} {arguments} | {reader}");
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{script}");
        }
    }
}

//! The process among its limits: io_uring forbidden, descriptors used up, names instead of addresses.
#![expect(unsafe_code, reason = "limits are set between fork and exec")]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::support::proxy::{free_address, service};
use crate::support::{Client, ENGINES, Origin, Proxy, eventually};

/// A command of this program in which io_uring_setup fails with EPERM, as under a container's seccomp profile.
fn without_io_uring() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    let forbid = || {
        let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
        let load = u16::try_from(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS).unwrap();
        let equal = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).unwrap();
        let end = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap();
        let number = u32::try_from(libc::SYS_io_uring_setup).unwrap();
        let mut filter = [
            statement(load, 0),
            libc::sock_filter { code: equal, jt: 0, jf: 1, k: number },
            statement(end, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
            statement(end, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: the call takes integers only.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the program points to the filter of this frame, which outlives the call.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(forbid) };
    command
}

#[test]
fn where_io_uring_is_forbidden_epoll_runs_and_one_line_says_why() {
    let origin = Origin::text("epoll");
    let listen = free_address();
    let log = std::env::temp_dir().join(format!("ringress-seccomp-{}.log", std::process::id()));
    let mut child = without_io_uring()
        .args(["--to", &origin.address.to_string(), "--listen", &listen.to_string()])
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    eventually("it listens", || std::net::TcpStream::connect(listen).is_ok());
    assert_eq!(Client::connect(listen).get("/").text(), "epoll");
    eventually("its first lines are written", || std::fs::read_to_string(&log).unwrap().contains("listening"));
    let told = std::fs::read_to_string(&log).unwrap();
    assert_eq!(told.matches("\"message\":\"engine\"").count(), 1, "{told}");
    assert!(told.contains("seccomp profile or kernel.io_uring_disabled forbids it"), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();

    let version = without_io_uring().arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains("engine: epoll; io_uring: "));

    let path = std::env::temp_dir().join(format!("ringress-forced-{}.toml", std::process::id()));
    std::fs::write(&path, format!("[workers]\nengine = \"io_uring\"\n[listeners.web]\naddress = \"{listen}\"\n"))
        .unwrap();
    let forced = without_io_uring().arg("run").arg(&path).stdin(Stdio::null()).output().unwrap();
    assert_eq!(forced.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&forced.stderr).contains("workers.engine: io_uring: "));
}

#[test]
fn used_up_descriptors_shed_clients_and_pass_by() {
    for engine in ENGINES {
        let origin = Origin::text("x");
        let proxy = Proxy::start(engine, &service(&[origin.address], ""));
        let mut before = Client::connect(proxy.address);
        assert_eq!(before.get("/").status, 200);
        // Fewer than it already uses: every accept fails now.
        let id = libc::pid_t::try_from(proxy.id()).unwrap();
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a limit of this frame; nothing is set.
        let result = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old) };
        assert_eq!(result, 0);
        let limit = libc::rlimit { rlim_cur: 5, ..old };
        // SAFETY: the pointer is to a limit of this frame.
        let result = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
        assert_eq!(result, 0);
        let cpu = proxy.cpu_ticks();
        let mut waiting: Vec<_> = (0..5).map(|_| Client::connect(proxy.address)).collect();
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(before.get("/").status, 200, "{engine}: open connections go on");
        assert!(proxy.cpu_ticks() - cpu < 25, "{engine}: it does not spin");
        // SAFETY: as above.
        let result = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, &raw const old, std::ptr::null_mut()) };
        assert_eq!(result, 0);
        let start = std::time::Instant::now();
        assert_eq!(Client::connect(proxy.address).get("/").status, 200);
        assert!(start.elapsed().as_millis() < 1_000, "{engine}: it recovers within a second");
        assert!(proxy.metric("ringress_accept_errors_total") > 0);
        waiting.clear();
    }
}

#[test]
fn an_endpoint_may_be_a_name() {
    for engine in ENGINES {
        let origin = Origin::text("by name");
        let rest = format!(
            "[[routes]]\nname = \"all\"\nservice = \"all\"\n[services.all]\nendpoints = [\"localhost:{}\"]\nhost = \"endpoint\"\n",
            origin.address.port()
        );
        let proxy = Proxy::start(engine, &rest);
        // localhost may be both ::1, where nobody listens, and 127.0.0.1.
        let mut client = Client::connect(proxy.address);
        let texts: Vec<_> = (0..4).map(|_| client.get("/").text().to_owned()).collect();
        assert!(texts.iter().any(|text| text == "by name"), "{engine} {texts:?}");
        let expected = format!("localhost:{}", origin.address.port());
        assert_eq!(origin.requests()[0].field("host"), Some(expected.as_str()));
    }
}

/// A connection of its own for each request: the status, or what went wrong.
fn asked_alone(address: std::net::SocketAddr) -> String {
    use std::io::{Read as _, Write as _};
    let ask = || {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    ask().map_or_else(|error: std::io::Error| error.to_string(), |answer| answer.chars().take(15).collect())
}

#[test]
fn an_old_and_a_new_process_share_a_port_and_nobody_is_lost() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    for engine in ENGINES {
        let origin = Origin::text("here");
        let both = free_address();
        let config = |shared: &str| {
            format!("[listeners.both]\naddress = \"{both}\"\n{shared}\n") + &service(&[origin.address], "")
        };
        let mut old = Proxy::start(engine, &config("port_use = \"shared\""));
        let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let load = || {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(asked_alone(both), "HTTP/1.1 200 OK", "{engine}");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            };
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
            let more = |than: usize| eventually("requests are answered", || count.load(Ordering::Relaxed) > than + 50);
            more(0);
            let new = Proxy::start(engine, &config("port_use = \"shared\""));
            eventually("the new one has requests", || !new.access_log().is_empty());
            old.signal("TERM");
            assert_eq!(old.wait(), 0);
            more(count.load(Ordering::Relaxed));
            is_over.store(true, Ordering::Relaxed);
            clients.into_iter().for_each(|client| client.join().unwrap());
            // Whoever does not agree to share is told, and the other one stays.
            let file = new.folder.join("alone.toml");
            std::fs::write(&file, config("")).unwrap();
            let alone = Command::new(env!("CARGO_BIN_EXE_ringress")).arg("run").arg(&file).output().unwrap();
            let told = String::from_utf8_lossy(&alone.stderr).into_owned();
            assert!(!alone.status.success() && told.contains("`port_use = \"shared\"` of a listener"), "{told}");
            assert_eq!(asked_alone(both), "HTTP/1.1 200 OK", "{engine}");
        });
    }
}

//! The demonstration: a proxy before upstreams of its own, one of which has the flaw that this program exists for.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::arguments::Arguments;
use super::inline::{access_log, inline};
use super::run;

/// Longest request that the built-in upstreams read, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What a built-in upstream does after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Waits for the next request.
    KeepsAlive,
    /// Closes without having said so, as uWSGI's `http` router does without `http-keepalive`.
    Closes,
}

/// Runs until a signal ends it; the exit code.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<i32> {
    let good = start(Manner::KeepsAlive)?;
    let flawed = start(Manner::Closes)?;
    let address = arguments.listen.to_string();
    let listen = if address.starts_with(':') { format!("localhost{address}") } else { address.clone() };
    let text = format!(
        "{}[listeners.demo]\naddress = {address:?}\ndetails = \"body\"\n\
         [admin]\naddress = \"127.0.0.1:9000\"\n\
         [[routes]]\nname = \"good\"\nservice = \"good\"\n\
         [[routes]]\nname = \"flawed\"\nservice = \"flawed\"\npaths = [{{ prefix = \"/flawed\" }}]\n\
         [[routes]]\nname = \"gone\"\nservice = \"gone\"\npaths = [{{ prefix = \"/gone\" }}]\n\
         [services.good]\nendpoints = [\"{good}\"]\n\
         [services.flawed]\nendpoints = [\"{flawed}\"]\n\
         [services.gone]\nendpoints = [\"127.0.0.1:1\"]\n",
        access_log()
    );
    let source = inline(&text)?;
    println!(
        "Ringress demonstration. Open or try:\n\
         \x20 curl -i http://{listen}/            an upstream that keeps connections alive\n\
         \x20 curl -i http://{listen}/flawed      one that closes after each response without saying so\n\
         \x20 ab -k -c 20 -n 10000 http://{listen}/flawed     none is lost, and one log line says what to change there\n\
         \x20 curl -i http://{listen}/gone        one that is not there: the answer says why\n\
         \x20 curl -s http://127.0.0.1:9000/metrics\n\
         \x20 curl -s http://127.0.0.1:9000/api/snapshot\n\
         \x20 curl -s http://127.0.0.1:9000/api/endpoints\n\
         End it with Ctrl-C."
    );
    run::run(arguments, None, source)
}

/// Starts an upstream on a thread of its own; its address.
fn start(manner: Manner) -> anyhow::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-upstream".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                accept(listener, manner).await;
            }
        });
    })?;
    Ok(address)
}

async fn accept(listener: TcpListener, manner: Manner) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // A client that goes away ends its connection and nothing else.
                    let _ = answer(stream, manner).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a demonstration upstream cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers requests without looking at their bodies: it is a demonstration.
async fn answer(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut number = 0;
    let mut request = Vec::new();
    loop {
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        number += 1;
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let habit = match manner {
            Manner::KeepsAlive => "keeps connections alive",
            Manner::Closes => "closes after each response without saying so",
        };
        let line = String::from_utf8_lossy(line);
        let body = format!("An upstream that {habit}.\nRequest {number} on this connection: {line}\n");
        let response =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(response.as_bytes()).await?;
        if manner == Manner::Closes {
            return Ok(());
        }
        request.clear();
    }
}

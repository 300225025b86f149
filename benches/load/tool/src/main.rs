//! Origin, load generator and reference relays of the comparative benchmark, each a subcommand.
//!
//! Everything runs on the loopback interface, in threads that share nothing but the result.

mod chunked;
mod connection;
mod generate;
mod handshakes;
mod net;
mod origin;
mod relay;
mod requests;
mod response;
mod ring;
mod websocket;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(version, about = "Origin, load generator and reference relays of the comparative benchmark")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers by path: /200, /16k, /1m and so on, /chunked, a WebSocket echo; reads whatever body comes.
    Origin {
        /// Port on 127.0.0.1.
        #[arg(long)]
        listen: u16,
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Says "ready" when all connections are warm, runs on a line of input, prints one line of JSON, ends with its input.
    Generate(generate::Arguments),
    /// Opens connections that have one answer each, says "ready" and keeps them until its input ends.
    Hold {
        /// Port on 127.0.0.1.
        #[arg(long)]
        connect: u16,
        #[arg(long)]
        connections: usize,
        /// With TLS.
        #[arg(long)]
        tls: bool,
    },
    /// A new connection with TLS for each request, as many at a time as there are threads; else as `generate`.
    Handshakes(handshakes::Arguments),
    /// The practical limit: takes bytes from one side to the other and parses nothing.
    Relay {
        /// Port on 127.0.0.1.
        #[arg(long)]
        listen: u16,
        /// The origin's port on 127.0.0.1.
        #[arg(long)]
        origin: u16,
        #[arg(long, default_value = "epoll")]
        engine: Engine,
        /// Most microseconds that a turn of the ring waits for a second completion (multishot only).
        #[arg(long, default_value_t = 0)]
        min_wait_us: u32,
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
}

/// How the relay moves bytes.
#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    /// `epoll_wait`, `recv`, `send`.
    Epoll,
    /// One receive and one send on an io_uring for each read.
    Ring,
    /// Multishot receives into provided buffers on an io_uring.
    Multishot,
}

fn main() -> anyhow::Result<()> {
    net::raise_file_limit()?;
    match Arguments::parse().command {
        Command::Origin { listen, threads } => net::in_threads(threads, move |_| origin::run(listen)),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Hold { connect, connections, tls } => generate::hold(connect, connections, tls),
        Command::Handshakes(arguments) => handshakes::run(&arguments),
        Command::Relay { listen, origin, engine, min_wait_us, threads } => {
            net::in_threads(threads, move |_| match engine {
                Engine::Epoll => relay::run(listen, origin),
                Engine::Ring => ring::run(listen, origin, ring::Receive::Single, min_wait_us),
                Engine::Multishot => ring::run(listen, origin, ring::Receive::Multishot, min_wait_us),
            })
        }
    }
}

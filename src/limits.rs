//! Every bound of the data plane, with its unit and its source.
//!
//! A queue, loop, buffer or head without a row here is a defect.

/// Longest request or response head, in bytes, terminating empty line included.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest request target, in bytes. RFC 9110 §4.1 asks for at least 8,000.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Most fields in one head: as many as a list of [`HEAD_BYTES_MAX`] has where each is counted with 32 bytes more, as HTTP/2 counts
/// them (RFC 9113 §6.5.2).
pub const FIELDS_MAX: usize = HEAD_BYTES_MAX / 32;
/// Fields of a head that has no more than usual, for which nothing is allocated.
pub const FIELDS_USUAL: usize = 128;
/// Longest host in an authority, in bytes (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 255;
/// Most empty lines skipped before a request line (RFC 9112 §2.2 asks for at least one).
pub const EMPTY_LINES_MAX: usize = 4;

/// Most hexadecimal digits in a chunk size: what fills a `u64`.
pub const CHUNK_SIZE_DIGITS_MAX: u8 = 16;
/// Most bytes of chunk extension in one chunk.
pub const CHUNK_EXTENSION_BYTES_MAX: u32 = 256;
/// Most bytes of chunk extensions in one body.
pub const BODY_EXTENSION_BYTES_MAX: u32 = 4 * 1024;
/// Most bytes of a trailer section.
pub const TRAILER_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// Most fields in a trailer section.
pub const TRAILER_FIELDS_MAX: usize = FIELDS_MAX;

/// Most bytes of interim responses (1xx) before one final response: an upload that is told its progress (104) has hundreds.
pub const INTERIM_BYTES_MAX: usize = 1024 * 1024;
/// Requests answered on one client connection before it is closed.
pub const REQUESTS_PER_CONNECTION_MAX: u32 = 100_000;
/// Most bytes of an unread request body that are read and thrown away to keep a connection usable.
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// Bytes that one set of regular expressions may take, compiled: what the `regex` crate allows one expression.
pub const REGEX_SET_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Sets of regular expressions of the paths of one host.
pub const REGEX_SETS_MAX: usize = 4;

/// Places on a hash ring that are looked at for one of a certain endpoint: with a hundred endpoints one is found nearly always.
pub const RING_PLACES_MAX: u32 = 512;

/// Copies of requests that a worker has on their way at most.
pub const COPIES_MAX: usize = 256;

/// Bytes of bodies of all copies that a worker has on their way at most.
pub const COPIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the body of a copy.
pub const COPY_BYTES_MAX: u64 = 1024 * 1024;

/// Pages that a worker asks services for at once; beyond that errors go as they are.
pub const PAGES_MAX: usize = 64;

/// Bytes of what is fetched for a filter, as a JWK set.
pub const FETCH_BYTES_MAX: usize = 1024 * 1024;

/// How long an endpoint has to answer with it, in milliseconds.
pub const FETCH_MS: u64 = 10_000;

/// Half of the wait after the first fetch that failed, in milliseconds; it doubles with each to 64 times this.
pub const FETCH_RETRY_MS: u64 = 500;

/// Bytes of a page that goes in the place of an error.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes read after the last answer, so that closing does not reset the connection.
pub const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Slowest pace of a client, in bytes per second, where none is configured: of a request body after [`RATE_GRACE_MS`] of waiting, of
/// an answer after [`SEND_GRACE_MS`].
pub const CLIENT_BYTES_PER_S_MIN: u64 = 500;
/// Waiting for body bytes that is allowed before the slowest body rate counts, in milliseconds.
pub const RATE_GRACE_MS: u64 = 10_000;
/// Waiting for a client to take the response before the slowest send rate counts, in milliseconds.
pub const SEND_GRACE_MS: u64 = 30_000;

/// First receive buffer of a client connection, in bytes: what an idle connection holds.
/// Typical heads are 0.3 to 1.5 KiB.
pub const HEAD_BUFFER_BYTES: usize = 2 * 1024;
/// Most bytes of request bodies that one worker holds to be sent again.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Attempts beyond the first that can be configured.
pub const RETRY_ATTEMPTS_MAX: u8 = 10;
/// Receive buffer of a body or an upstream connection, in bytes.
pub const BODY_BUFFER_BYTES: usize = 32 * 1024;
/// Receive buffer of a body that has more than one of [`BODY_BUFFER_BYTES`] left, in bytes.
pub const LONG_BODY_BUFFER_BYTES: usize = 128 * 1024;
/// Longest rest of a body, either way, that is looked for behind its head, so that both leave in one send, in bytes.
pub const JOINED_SEND_BYTES_MAX: usize = 24 * 1024;
/// Room for the fields that are added to a head, in bytes; a buffer grows where they are more.
pub const ADDED_FIELDS_BYTES: usize = 512;
/// Spare heads, and buffers of a head's size, that a worker keeps for reuse: as many as there are requests in flight at
/// a busy moment.
pub const SPARE_HEADS_MAX: usize = 4096;
/// Spare buffers of a body's size that a worker keeps for reuse.
pub const SPARE_BODIES_MAX: usize = 256;
/// Spare buffers of a long body's size that a worker keeps for reuse.
pub const SPARE_LONG_BODIES_MAX: usize = 32;

/// Plaintext that is enciphered at once, in bytes: four records of TLS.
pub const SEALED_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a frame of HTTP/2 without its header: the initial SETTINGS_MAX_FRAME_SIZE, which is neither raised nor exceeded.
pub const H2_FRAME_BYTES_MAX: usize = 16 * 1024;
/// Body bytes of one DATA frame: with its header they fill a record (RFC 8446 §5.1).
pub const H2_DATA_BYTES_MAX: usize = 16 * 1024 - 9;
/// Connections of one client, where nothing else is configured: far more than people have behind one address, and far fewer than a
/// process can hold.
pub const CONNECTIONS_PER_CLIENT: usize = 10_000;
/// Bytes of the heads of requests in flight that one worker holds; whoever comes beyond them is refused.
pub const HEADS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same for one connection of HTTP/2, each field counted with 32 more: a hundred usual requests have less, and a few references
/// into a table of fields can stand for a hundred times their bytes.
pub const H2_HEADS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of early data of one client.
pub const EARLY_DATA_BYTES_MAX: u32 = 16 * 1024;
/// Sessions that are remembered for a listener with early data or without tickets, some 1 KiB each; the oldest go first.
pub const TLS_SESSIONS_MAX: usize = 32 * 1024;
/// TLS handshakes of one worker at a time, from their ClientHello on; where there are more, the one that began first is closed.
pub const HANDSHAKES_MAX: usize = 2048;
/// Days before the end of a certificate's validity from which on its nearness is told.
pub const CERTIFICATE_DAYS_MIN: i64 = 21;

/// Streams of one HTTP/2 connection at a time; a slot is free again once the upstream's side of it is.
pub const H2_STREAMS_MAX: u32 = 100;
/// Window of one stream, in bytes, where nothing is known of its peer: what is measured raises it (`proto/h2/window.rs`).
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// What the window of one stream is raised to at most where nothing else is configured, in bytes.
pub const H2_WINDOW_BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Window of a connection, in bytes, beside what waits in its streams for slow readers.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes that wait in the streams of a connection before its window pays for them: slow readers then slow down the others.
pub const H2_HELD_BYTES_MAX: usize = 7 * 1024 * 1024;
/// Bytes by which all windows of a worker are raised together at most.
pub const H2_RAISED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// List of header fields, in bytes, each field counted with 32 more (RFC 9113 §6.5.2).
pub const H2_HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// List of header fields that goes to an upstream before it has said how much it takes, in bytes counted so too.
pub const H2_USUAL_HEAD_BYTES: usize = 4 * 1024;
/// Bytes of frames that are gathered for one send.
pub const H2_FRAMES_BYTES_MAX: usize = 64 * 1024;
/// Bytes of frames that wait to be sent; beyond them nothing is received, for a peer that does not read shall not ask.
pub const H2_UNSENT_BYTES_MAX: usize = 128 * 1024;
/// CONTINUATION frames of one block of fields.
pub const H2_CONTINUATIONS_MAX: u32 = 20;
/// Streams that were closed of late and are remembered, so that what was on its way is told from an error.
pub const H2_CLOSED_STREAMS_MAX: usize = 256;
/// SETTINGS of a client in one second.
pub const H2_SETTINGS_PER_S: u32 = 50;
/// PING of a client in one second, besides those that our frames of a body provoke.
pub const H2_PINGS_PER_S: u32 = 100;
/// PING of a client for each frame of a body that was sent to it: clients measure the bandwidth by them.
pub const H2_PINGS_PER_DATA: u32 = 1;
/// RST_STREAM of a client in one second, besides one for each stream that it opens.
pub const H2_RESETS_PER_S: u32 = 100;
/// PRIORITY of a client in one second, besides those that go with its streams.
pub const H2_PRIORITIES_PER_S: u32 = 1_000;
/// PRIORITY of a client for each stream that it opens.
pub const H2_PRIORITIES_PER_STREAM: u32 = 4;
/// Frames of unknown kinds in one second; clients send some on purpose (RFC 8701).
pub const H2_UNKNOWN_PER_S: u32 = 100;
/// DATA without a byte that does not end its stream, in one second.
pub const H2_EMPTIES_PER_S: u32 = 100;
/// WINDOW_UPDATE of a client in one second, besides those for what was sent to it.
pub const H2_WINDOW_UPDATES_PER_S: u32 = 1_000;
/// WINDOW_UPDATE of a client for each frame of a body that was sent to it: one of the stream, one of the connection.
pub const H2_WINDOW_UPDATES_PER_DATA: u32 = 2;
/// WINDOW_UPDATE of a client for each KiB that was sent to it.
pub const H2_WINDOW_UPDATES_PER_KIB: u32 = 1;
/// Streams that a client resets at once, in one second, before their answer has begun; each stream that is answered allows
/// another.
pub const H2_EARLY_RESETS_PER_S: u32 = 100;
/// How soon a reset is one at once, in milliseconds: who has waited longer has run out of patience, and is no attacker.
pub const H2_EARLY_RESET_MS: u64 = 50;
/// Faults of a client that cost a stream of its own, in one second; each stream that is answered allows another.
pub const H2_FAULTS_PER_S: u32 = 100;
/// Blocks of fields of a client that begin nothing, in one second; each stream that is answered allows another.
pub const H2_DROPPED_PER_S: u32 = 500;
/// Bytes of a frame of a body from which on it earns WINDOW_UPDATE.
pub const H2_EARNING_BYTES_MIN: usize = 512;
/// How often a client may be beyond a bound: it is told to leave the first time, and its connection ends the last time.
pub const H2_EXCESSES_MAX: u32 = 3;
/// What a client may save up of each of these.
pub const H2_SAVED_MAX: u32 = 10_000;

/// How much sooner than ours an upstream's clock may say that a deadline is over, in milliseconds: two ticks of our timers.
pub const DEADLINE_SLACK_MS: u64 = 32;

/// Accept operations in flight for each listener of a worker: one completes per turn of the loop.
pub const ACCEPTS_IN_FLIGHT: usize = 4;
/// Descriptors kept free of connections: logs, snapshots, listeners, the admin listener.
pub const RESERVED_DESCRIPTORS: usize = 64;
/// Client connections that a proxy should have room for; where the limit of open files leaves less, it is told at start.
pub const CONNECTIONS_WANTED: usize = 1024;
/// Shortest pause after an accept failed for lack of descriptors, in milliseconds.
pub const ACCEPT_BACKOFF_MS_MIN: u64 = 10;
/// Longest pause after an accept failed for lack of descriptors, in milliseconds.
pub const ACCEPT_BACKOFF_MS_MAX: u64 = 100;
/// Submission queue entries that are asked for first; halved on ENOMEM.
pub const RING_ENTRIES: u32 = 4096;
/// Fewest submission queue entries before the epoll driver is taken instead.
pub const RING_ENTRIES_MIN: u32 = 256;
/// Completion queue entries for each submission entry: overflow is slow.
pub const COMPLETIONS_PER_ENTRY: u32 = 8;

/// Access log: bytes of lines that a worker gathers before handing them to the writing thread.
pub const LOG_BATCH_BYTES: usize = 32 * 1024;
/// Access log: batches in flight between one worker and the writing thread; past that lines drop.
pub const LOG_BATCHES_MAX: usize = 64;
/// Lines of the process log that wait to be written; what comes beyond them is dropped and counted.
pub const LOG_LINES_MAX: usize = 4096;
/// Access log: longest line, in bytes; longer values are cut.
pub const LOG_VALUE_BYTES_MAX: usize = 2 * 1024;

/// Most distinct combinations of labels that a worker counts; further ones share one series.
pub const METRIC_SERIES_MAX: usize = 50_000;
/// Most buckets of a duration histogram.
pub const METRIC_BUCKETS_MAX: usize = 16;
/// The window of a compressed answer, as a power of two of bytes: 256 KiB.
pub const COMPRESS_WINDOW_BITS: u32 = 18;
/// Bytes that one received part of an encoded answer may stand for, where it is decoded.
pub const DECODED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The window of an answer in Zstandard that is decoded, as a power of two of bytes: 8 MiB (RFC 9659).
pub const ZSTD_WINDOW_BITS_MAX: u32 = 23;
/// Answers that one worker compresses at a time, each with half a MiB or so; further ones go as they are.
pub const COMPRESSIONS_MAX: usize = 128;
/// What is kept of the body of an answer to `forward_auth`, which may go to the client, in bytes.
pub const AUTH_BODY_BYTES_MAX: usize = 64 * 1024;
/// Seconds before its end in which a session of `oidc` is renewed, where they are less than a quarter of its time.
pub const REFRESH_AHEAD_S: u64 = 60;
/// How long a worker remembers what came of a refresh token, in milliseconds.
pub const RENEWAL_KNOWN_MS: u64 = 30_000;
/// Longest password that is looked at, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Passwords that wait to be verified, in the whole process: of a bcrypt of cost 12, eight seconds' worth.
pub const PASSWORDS_WAITING_MAX: usize = 32;

/// Requests with the same password that wait for one verification of it.
pub const PASSWORD_WAITERS_MAX: usize = 256;
/// Bytes of a request body without a length that are held for an application server, where no `buffer` says otherwise.
pub const GATEWAY_BODY_BYTES: u64 = 1024 * 1024;
/// Bytes of what a FastCGI program says of itself in one answer that are logged.
pub const STDERR_BYTES_MAX: usize = 4 * 1024;
/// Answers of services that one worker remembers for `forward_auth`.
pub const ANSWERS_KNOWN_MAX: usize = 4_096;
/// Bytes of the head and the body of one that is remembered.
pub const ANSWER_KNOWN_BYTES_MAX: usize = 4_096;
/// Passwords that one worker remembers to be right.
pub const PASSWORDS_KNOWN_MAX: usize = 4_096;
/// How long it remembers one, in milliseconds.
pub const PASSWORDS_KNOWN_MS: u64 = 5 * 60 * 1_000;
/// Keys that a rate or concurrency limit remembers where nothing else is configured, 16 bytes each: as many as Traefik 1.7.
pub const LIMIT_KEYS: usize = 65_536;
/// Most keys that a limit may be told to remember.
pub const LIMIT_KEYS_MAX: usize = 16 * 1024 * 1024;
/// Endpoints, at most, of one service.
pub const ENDPOINTS_MAX: usize = 4096;
/// Points on the hash ring for one unit of weight.
pub const HASH_POINTS_PER_WEIGHT: u32 = 64;
/// Endpoints, at most, that one hash is spread over.
pub const HASH_SUBSET_MAX: usize = 16;
/// Milliseconds after which what is known of an endpoint's latency counts for little more than a third.
pub const LATENCY_MEMORY_MS: u64 = 10_000;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(HEAD_BUFFER_BYTES < HEAD_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(RING_ENTRIES >= RING_ENTRIES_MIN);
const _: () = assert!(ACCEPT_BACKOFF_MS_MIN <= ACCEPT_BACKOFF_MS_MAX);

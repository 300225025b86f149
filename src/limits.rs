//! Every bound of the data plane, with its unit and its source.
//!
//! A queue, loop, buffer or head without a row here is a defect.

/// Longest request or response head, in bytes, terminating empty line included.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest request target, in bytes. RFC 9110 §4.1 asks for at least 8,000.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Most fields in one head.
pub const FIELDS_MAX: usize = 128;
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
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Most fields in a trailer section.
pub const TRAILER_FIELDS_MAX: usize = 64;

/// Most interim responses (1xx) before one final response.
pub const INTERIM_RESPONSES_MAX: u8 = 16;
/// Requests answered on one client connection before it is closed.
pub const REQUESTS_PER_CONNECTION_MAX: u32 = 100_000;
/// Most bytes of an unread request body that are read and thrown away to keep a connection usable.
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// Most bytes read after the last answer, so that closing does not reset the connection.
pub const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Slowest client body, in bytes per second, once [`RATE_GRACE_MS`] of waiting has passed.
pub const CLIENT_BODY_BYTES_PER_S_MIN: u64 = 500;
/// Slowest client receiving a response, in bytes per second, once the grace has passed.
pub const CLIENT_SEND_BYTES_PER_S_MIN: u64 = 500;
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
/// Longest `Retry-After` that is waited out before another attempt, in seconds; a longer one passes the answer on.
pub const RETRY_AFTER_S_MAX: u32 = 5;
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
/// Frames of HTTP/2 that are fewer bytes than this wait for others to share a record with, as long as there are others.
pub const RECORD_BYTES_MIN: usize = 4 * 1024;
/// Body bytes of one DATA frame: with its head they fill a record (RFC 8446 §5.1).
pub const H2_DATA_BYTES_MAX: usize = 16 * 1024 - 9;
/// Bytes of early data of one client.
pub const EARLY_DATA_BYTES_MAX: u32 = 16 * 1024;
/// Sessions that are remembered for a listener with early data, some 1 KiB each; the oldest go first.
pub const EARLY_SESSIONS_MAX: usize = 32 * 1024;
/// TLS handshakes of one worker at a time; whoever comes beyond them is closed.
pub const HANDSHAKES_MAX: usize = 2048;
/// Days before the end of a certificate's validity from which on its nearness is told.
pub const CERTIFICATE_DAYS_MIN: i64 = 21;

/// Streams of one HTTP/2 connection at a time; a slot is free again once the upstream's side of it is.
pub const H2_STREAMS_MAX: u32 = 100;
/// Window of one stream, in bytes.
pub const H2_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Window of a connection, in bytes.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// List of header fields, in bytes, each field counted with 32 more (RFC 9113 §6.5.2).
pub const H2_HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of answers that wait in one stream until its client's window takes them.
pub const H2_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of frames that are gathered for one send.
pub const H2_FRAMES_BYTES_MAX: usize = 64 * 1024;
/// CONTINUATION frames of one block of fields.
pub const H2_CONTINUATIONS_MAX: u32 = 20;
/// SETTINGS of a client in one second.
pub const H2_SETTINGS_PER_S: u32 = 50;
/// PING of a client in one second.
pub const H2_PINGS_PER_S: u32 = 100;
/// RST_STREAM of a client in one second.
pub const H2_RESETS_PER_S: u32 = 100;
/// PRIORITY of a client in one second.
pub const H2_PRIORITIES_PER_S: u32 = 200;
/// Frames of unknown kinds in one second; clients send some on purpose (RFC 8701).
pub const H2_UNKNOWN_PER_S: u32 = 100;
/// WINDOW_UPDATE of a client in one second, besides those for what was sent to it.
pub const H2_WINDOW_UPDATES_PER_S: u32 = 1_000;
/// WINDOW_UPDATE of a client for each KiB that was sent to it.
pub const H2_WINDOW_UPDATES_PER_KIB: u32 = 1;
/// Streams that a client resets before their answer has begun; each answer that was sent allows another.
pub const H2_EARLY_RESETS_MAX: u32 = 50;
/// RST_STREAM that a client's faults make us send over a connection.
pub const H2_FAULTS_MAX: usize = 100;

/// Accept operations in flight for each listener of a worker: one completes per turn of the loop.
pub const ACCEPTS_IN_FLIGHT: usize = 4;
/// Descriptors kept free of connections: logs, snapshots, listeners, the admin listener.
pub const RESERVED_DESCRIPTORS: usize = 64;
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
/// Access log: longest line, in bytes; longer values are cut.
pub const LOG_VALUE_BYTES_MAX: usize = 2 * 1024;

/// Most distinct combinations of labels that a worker counts; further ones share one series.
pub const METRIC_SERIES_MAX: usize = 50_000;
/// Most buckets of a duration histogram.
pub const METRIC_BUCKETS_MAX: usize = 16;
/// Endpoints, at most, of one service.
pub const ENDPOINTS_MAX: usize = 4096;
/// Points on the hash ring for one unit of weight.
pub const HASH_POINTS_PER_WEIGHT: u32 = 64;

const _: () = assert!(TARGET_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(HEAD_BUFFER_BYTES < HEAD_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(RING_ENTRIES >= RING_ENTRIES_MIN);
const _: () = assert!(ACCEPT_BACKOFF_MS_MIN <= ACCEPT_BACKOFF_MS_MAX);
